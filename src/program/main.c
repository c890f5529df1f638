// What the three programs do first, before they hold a secret.
#include "program/options.h"
#include "program/output.h"

#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static void
protect_process(void)
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

static bool
has_color(bool json)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return !json && isatty(STDOUT_FILENO) && !(no && *no) &&
           !(term && strcmp(term, "dumb") == 0);
}

int
program_start(struct options *o, const struct program *p, int argc, char **argv)
{
    protect_process();
    int code = options_parse(o, p, argc, argv);
    if (code >= 0)
        return code;
    const char *form = options_text(o, "log", "auto");
    int i = 0; // the words stand in the order of enum log_form
    while (strcmp(options_log_forms[i], form) != 0)
        i++;
    log_start((enum log_form)i,
              options_has(o, "verbose") ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    bool json = options_has(o, "json");
    output = (struct output){p->name, json, has_color(json)};
    return code;
}

void
program_block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    sigprocmask(SIG_BLOCK, signals, NULL);
}
