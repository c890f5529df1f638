// A thread, because the main thread cannot unblock the signals meanwhile: the threads that it
// starts get its mask, and would end the program in the middle of its work later. SIGUSR1 is
// how that thread is told to end; pthread_cancel could take a signal with it.
#include "receiver/hearer.h"

#include "base/log.h"
#include "base/thread.h"

#include <signal.h>

static void
fill_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGUSR1);
}

static void *
hear(void *unused)
{
    sigset_t set;
    int signal;

    (void)unused;
    fill_set(&set);
    if (sigwait(&set, &signal) != 0 || signal == SIGUSR1)
        return NULL;
    log_info("receiver: stopped before it took any post");
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(signal); // as if it had not been blocked
    return NULL;
}

int
hearer_start(struct hearer *h, struct err *err)
{
    sigset_t set;

    fill_set(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return thread_start(&h->thread, "startup-signals", hear, NULL, err);
}

void
hearer_stop(struct hearer *h)
{
    pthread_kill(h->thread, SIGUSR1);
    pthread_join(h->thread, NULL);
}
