#include "base/thread.h"

#include <signal.h>

int
thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *context,
             struct err *err)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(thread, NULL, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return err_exit(
            err, EXIT_CODE_FAILURE,
            "cannot start the thread %s (out of memory, or too many processes?)", name);
    pthread_setname_np(*thread, name); // fails for a longer name only
    return 0;
}
