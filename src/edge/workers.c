// A read of civetweb's ends only when it has all it wants, the connection breaks, or a pause
// lasts for the whole timeout: a byte now and then holds a thread for ever, and nothing in
// its interface says otherwise. So a timekeeper looks at what each thread waits for, and
// sends SIGURG to one that is late: poll(2) fails with EINTR, and civetweb gives up. Reading
// byte by byte was rejected for its cost, shutdown(2) because the descriptor is not told.
#include "edge/workers.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/thread.h"

#include <signal.h>

static void
interrupt_if_late(struct worker *w, int64_t now_ms)
{
    pthread_mutex_lock(&w->lock);
    if (w->deadline_ms && w->deadline_ms <= now_ms)
        pthread_kill(w->thread, SIGURG);
    pthread_mutex_unlock(&w->lock);
}

// A signal that falls between two polls is lost; the next tick sends another.
static void *
keep_time(void *workers)
{
    struct workers *ws = workers;

    for (;;) {
        clock_sleep_ms(WORKERS_TICK_MS);
        pthread_mutex_lock(&ws->lock);
        struct worker *first = ws->first;
        pthread_mutex_unlock(&ws->lock);
        int64_t now_ms = clock_mono_ms();
        for (struct worker *w = first; w; w = w->next) {
            interrupt_if_late(w, now_ms);
            laters_expire(&w->laters, now_ms, ws->expire);
        }
    }
    return NULL; // never
}

static void
do_nothing(int signal)
{
    (void)signal; // its arrival is all that is wanted
}

int
workers_start(struct workers *ws, void (*expire)(struct later *l), struct err *err)
{
    struct sigaction action = {.sa_handler = do_nothing};
    pthread_t timekeeper;

    ws->first = NULL;
    ws->expire = expire;
    pthread_mutex_init(&ws->lock, NULL);
    sigemptyset(&action.sa_mask);
    sigaction(SIGURG, &action, NULL);
    if (thread_start(&timekeeper, "http-timeouts", keep_time, ws, err) < 0)
        return -1;
    pthread_detach(timekeeper);
    return 0;
}

struct worker *
workers_add(struct workers *ws)
{
    struct worker *w = memory_get(sizeof *w);

    *w = (struct worker){.thread = pthread_self(), .fd = -1};
    pthread_mutex_init(&w->lock, NULL);
    pthread_mutex_lock(&ws->lock);
    w->next = ws->first;
    ws->first = w;
    pthread_mutex_unlock(&ws->lock);
    return w;
}

void
worker_set_deadline(struct worker *w, int64_t deadline_ms)
{
    pthread_mutex_lock(&w->lock);
    w->deadline_ms = deadline_ms;
    pthread_mutex_unlock(&w->lock);
}
