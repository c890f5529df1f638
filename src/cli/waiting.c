// A thread of its own looks whether it is time: the one that waits is in a system call, and a
// signal would cut it short.
#include "cli/waiting.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { POLL_MS = 100, AFTER_MS = 1500, AFTER_TERMINAL_MS = 300 };

static struct {
    pthread_mutex_t lock;
    char text[300]; // "": nothing is waited for
    int64_t since_ms;
    bool started, said;
} waiting = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *
look(void *unused)
{
    bool terminal = isatty(STDERR_FILENO);
    int64_t after = terminal ? AFTER_TERMINAL_MS : AFTER_MS;

    for (;;) {
        clock_sleep_ms(POLL_MS);
        pthread_mutex_lock(&waiting.lock);
        if (waiting.text[0] && !waiting.said &&
            clock_mono_ms() - waiting.since_ms >= after) {
            fprintf(stderr, terminal ? "\r%s ... \033[K" : "acrelay: %s ...\n",
                    waiting.text);
            waiting.said = true;
        }
        pthread_mutex_unlock(&waiting.lock);
    }
    return unused;
}

// Without a thread nothing is said, and all else is as it was.
static void
start_thread(void)
{
    pthread_t thread;
    struct err err;

    if (thread_start(&thread, "waiting", look, NULL, &err) == 0)
        pthread_detach(thread);
}

static void
wipe(void)
{
    if (waiting.said && isatty(STDERR_FILENO)) {
        fputs("\r\033[K", stderr);
        waiting.said = false;
    }
}

void
waiting_wipe(void)
{
    pthread_mutex_lock(&waiting.lock);
    wipe();
    pthread_mutex_unlock(&waiting.lock);
}

static void
set(const char *text)
{
    pthread_mutex_lock(&waiting.lock);
    wipe();
    snprintf(waiting.text, sizeof waiting.text, "%s", text);
    waiting.since_ms = clock_mono_ms();
    waiting.said = false;
    if (!waiting.started && text[0]) {
        waiting.started = true;
        start_thread();
    }
    pthread_mutex_unlock(&waiting.lock);
}

void
waiting_for(const char *format, ...)
{
    char raw[256], text[sizeof waiting.text];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(text, sizeof text, span_of(raw));
    set(text);
}

void
waiting_end(void)
{
    set("");
}
