// What setup's steps are made of: a line about each, programs of this machine, systemd's units.
#include "cli/setup.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SAID_MAX = 1 << 20 };

void
setup_show(const char *result, const char *what, const char *format, ...)
{
    bool faint = strcmp(result, "already") == 0 || strcmp(result, "kept") == 0;
    char raw[1024], text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(text, sizeof text, span_of(raw));
    output_wipe();
    output_text("result", span_of(result));
    output_text("what", span_of(what));
    output_text("text", span_of(text));
    output_say("%s%-8s%s %-10s %s\n", output_color(faint ? OUTPUT_FAINT : OUTPUT_OK),
               result, output_color(OUTPUT_PLAIN), what, text);
    fflush(stdout); // what comes next may take a while
}

// --- other programs -------------------------------------------------------------------------

// SIGPIPE is ignored here, and would be there.
static int
start(pid_t *pid, int out, const char *const *words)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;

    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    for (int fd = STDOUT_FILENO; out >= 0 && fd <= STDERR_FILENO; fd++)
        posix_spawn_file_actions_adddup2(&actions, out, fd);
    int failed = posix_spawnp(pid, words[0], &actions, &attributes,
                              (char *const *)(uintptr_t)words, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return failed;
}

int
setup_run(struct buf *output_to, struct err *err, const char *const *words)
{
    int fds[2] = {-1, -1}, status = 0;
    char piece[4096];
    pid_t pid;

    if (output_to && pipe2(fds, O_CLOEXEC) < 0)
        return err_errno(err, "pipe");
    errno = start(&pid, fds[1], words);
    int failed = errno ? err_errno(err, "cannot run %s", words[0]) : 0;
    close(fds[1]);
    for (ssize_t n; !failed && output_to && (n = read(fds[0], piece, sizeof piece)) != 0;)
        if (n > 0)
            buf_add(output_to, span_make(piece, (size_t)n));
        else if (errno != EINTR)
            break;
    close(fds[0]);
    while (!failed && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return failed ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_CODE_FAILURE;
}

// By "is-active" or "is-enabled".
static bool
unit_is(const char *question, const char *unit)
{
    const char *words[] = {"systemctl", question, "--quiet", unit, NULL};
    struct err unused;

    return setup_run(NULL, &unused, words) == 0;
}

bool
setup_is_running(const char *unit)
{
    return unit_is("is-active", unit) && unit_is("is-enabled", unit);
}

static int
change_unit(const char *verb, const char *unit, const char *what, struct err *err)
{
    const char *words[] = {"systemctl", verb, "--now", unit, NULL};
    struct buf said;

    buf_init(&said, SAID_MAX);
    output_wait("%s", unit);
    int code = setup_run(&said, err, words);
    output_wait_end();
    struct span rest = buf_span(&said), line = span_cut(&rest, '\n');
    if (code > 0)
        err_exit(err, EXIT_CODE_UNAVAILABLE,
                 "%s cannot be %s: %.*s `journalctl -u %s` shows why", unit, what,
                 (int)(line.len < 200 ? line.len : 200), line.at, unit);
    else if (code == 0)
        setup_show("done", "unit", "%s %s and %sd", unit, what, verb);
    buf_release(&said);
    return code == 0 ? 0 : -1;
}

int
setup_start(const char *unit, struct err *err)
{
    if (setup_is_running(unit)) {
        setup_show("already", "unit", "%s runs", unit);
        return 0;
    }
    return change_unit("enable", unit, "started", err);
}

int
setup_stop(const char *unit, struct err *err)
{
    if (!unit_is("is-active", unit) && !unit_is("is-enabled", unit))
        return 0;
    return change_unit("disable", unit, "stopped", err);
}
