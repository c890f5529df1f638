#include "base/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

// The leak check at a sanitizer's end is a debugger of its own.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED
#endif

// The wrong way round, so that whoever reads or writes there gets an error, as if it were still
// closed, and does not take nothing for an input or a lost text for a printed one.
static void
open_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

void
process_prepare(void)
{
    struct rlimit none = {0, 0};

    open_standard();
    umask(077);
    setrlimit(RLIMIT_CORE, &none); // lowering a limit cannot fail
#ifndef SANITIZED
    prctl(PR_SET_DUMPABLE, 0);
#endif
    signal(SIGPIPE, SIG_IGN);
}
