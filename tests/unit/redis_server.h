// A private redis-server for a test program: on a unix socket in a directory of its own,
// ended with the test. Readiness is a PONG, not a sleep.
#ifndef ACRELAY_TESTS_REDIS_SERVER_H
#define ACRELAY_TESTS_REDIS_SERVER_H

#include "base/clock.h"
#include "edge/redis.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct redis_server {
    char directory[64], socket[96];
    pid_t pid;
};

static inline struct redis_options
redis_server_options(const struct redis_server *s)
{
    struct redis_options o = {.connect_ms = 20000, .command_ms = 20000};

    snprintf(o.url.path, REDIS_PATH, "%s", s->socket);
    return o;
}

static inline struct redis *
redis_server_open(const struct redis_server *s)
{
    struct redis_options o = redis_server_options(s);
    struct redis *r = NULL;
    struct err err = {0};

    for (int64_t until = clock_mono_ms() + 60000; !r && clock_mono_ms() < until;) {
        r = redis_open(&o, &err);
        if (!r)
            clock_sleep_ms(5);
    }
    cr_assert(r, "no redis-server: %s", err.text);
    return r;
}

static inline void
redis_server_run(struct redis_server *s)
{
    s->pid = fork();
    cr_assert(s->pid >= 0);
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        const char *program = getenv("ACRELAY_REDIS_SERVER");
        program = program ? program : "redis-server";
        execlp(program, program, "--port", "0", "--unixsocket", s->socket, "--dir",
               s->directory, "--save", "", "--appendonly", "no", "--enable-debug-command",
               "yes", "--logfile", "redis.log", "--loglevel", "warning", NULL);
        _exit(127);
    }
    struct redis *r = redis_server_open(s);
    const struct redis_reply *reply = NULL;
    do
        reply = redis_ask(r, NULL, "PING", NULL);
    while (reply && redis_value(reply).kind == REDIS_ERROR); // LOADING
    redis_close(r);
}

static inline void
redis_server_start(struct redis_server *s)
{
    signal(SIGPIPE, SIG_IGN);
    snprintf(s->directory, sizeof s->directory, "/var/tmp/acrelay-redis-XXXXXX");
    cr_assert(mkdtemp(s->directory));
    snprintf(s->socket, sizeof s->socket, "%s/s", s->directory);
    redis_server_run(s);
}

static inline void
redis_server_kill(struct redis_server *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    unlink(s->socket);
}

static inline void
redis_server_stop(struct redis_server *s)
{
    char command[128];

    redis_server_kill(s);
    snprintf(command, sizeof command, "rm -rf %s", s->directory);
    cr_assert(system(command) == 0);
}

#endif
