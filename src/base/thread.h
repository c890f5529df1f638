// Starting a thread, in one way for all modules.
#ifndef ACRELAY_BASE_THREAD_H
#define ACRELAY_BASE_THREAD_H

#include "base/err.h"

#include <pthread.h>

// thread_start starts run(context) with every signal blocked: signals are the main
// thread's. `name` (at most 15 bytes, pthread_setname_np(3)) is what top -H, ps -L and a
// debugger show. EXIT_CODE_FAILURE when the system gives no thread.
int thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *context,
                 struct err *err);

#endif
