// Linked into every program of the coverage build: writes down ten times a second what was
// reached. The programs of the tests are killed, or end with _exit(2), and libgcov writes only
// when main returns.
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

void __gcov_dump(void);
void __gcov_reset(void);
_Noreturn void __real__exit(int code);
_Noreturn void __wrap__exit(int code);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void
dump(void)
{
    pthread_mutex_lock(&lock);
    __gcov_dump();
    __gcov_reset();
    pthread_mutex_unlock(&lock);
}

static void *
keep_dumping(void *nothing)
{
    struct timespec pause = {0, 100000000};

    (void)nothing;
    for (;;) {
        nanosleep(&pause, NULL);
        dump();
    }
    return NULL;
}

_Noreturn void
__wrap__exit(int code)
{
    dump();
    __real__exit(code);
}

// libgcov writes by itself when main returns: nobody may be at it then.
static void
stop(void)
{
    pthread_mutex_lock(&lock);
}

// No signal may find this thread: the programs wait for theirs.
__attribute__((constructor)) static void
begin(void)
{
    sigset_t all, before;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, keep_dumping, NULL) == 0)
        pthread_detach(thread);
    atexit(stop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
