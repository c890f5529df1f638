#include "program/terminal.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

bool
terminal_is_there(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

static volatile sig_atomic_t caught;

static void
catch_signal(int number)
{
    caught = number;
}

// Signals come only while it waits for a line, which ppoll(2) ends, and not between a look at
// `caught` and the wait.
static ssize_t
read_hidden(const char *question, char *to, size_t size)
{
    static const int ending[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction catcher = {.sa_handler = catch_signal}, before[3];
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    struct termios normal;
    sigset_t blocked, open;

    sigemptyset(&blocked);
    for (int i = 0; i < 3; i++) {
        sigaddset(&blocked, ending[i]);
        sigaction(ending[i], &catcher, &before[i]);
        if (before[i].sa_handler == SIG_IGN) // by who started us: it stays so
            sigaction(ending[i], &before[i], NULL);
    }
    sigprocmask(SIG_BLOCK, &blocked, &open);
    tcgetattr(STDIN_FILENO, &normal);
    struct termios silent = normal;
    silent.c_lflag = (normal.c_lflag & ~(tcflag_t)ECHO) | ECHONL;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    fputs(question, stderr);
    ssize_t n = ppoll(&input, 1, NULL, &open) > 0 ? read(STDIN_FILENO, to, size) : -1;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &normal);
    for (int i = 0; i < 3; i++)
        sigaction(ending[i], &before[i], NULL);
    sigprocmask(SIG_SETMASK, &open, NULL);
    if (caught)
        raise(caught);
    return n;
}

int
terminal_read(const char *question, struct buf *to, bool echo, struct err *err)
{
    char *room = buf_room(to, to->max);

    if (echo)
        fputs(question, stderr);
    ssize_t n =
        echo ? read(STDIN_FILENO, room, to->max) : read_hidden(question, room, to->max);

    if (n <= 0)
        return err_exit(err, EXIT_CODE_USAGE, "the input ended before all was answered");
    to->len = (size_t)n - 1;
    return room[n - 1] == '\n' ? 0
                               : err_exit(err, EXIT_CODE_USAGE,
                                          "an answer longer than %zu bytes", to->max - 1);
}

bool
terminal_confirm(const char *question)
{
    struct buf line;
    struct err err;

    fputs(question, stderr);
    buf_init(&line, 64);
    bool yes =
        terminal_read(" [y/N] ", &line, true, &err) == 0 &&
        (span_is_nocase(buf_span(&line), "y") || span_is_nocase(buf_span(&line), "yes"));
    buf_release(&line);
    return yes;
}
