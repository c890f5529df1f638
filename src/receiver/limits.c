#include "receiver/receiver.h"

#include <sys/resource.h>

enum { THREADS_MIN = 4, DESCRIPTORS_USED_MAX = 65536 };

static uint64_t
raise_soft_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return DESCRIPTORS_USED_MAX;
    rlim_t soft = limit.rlim_cur, wish = limit.rlim_max;
    if (wish > DESCRIPTORS_USED_MAX)
        wish = DESCRIPTORS_USED_MAX;
    limit.rlim_cur = wish;
    if (wish > soft && setrlimit(RLIMIT_NOFILE, &limit) == 0)
        soft = wish;
    return soft;
}

// A thread may open one more beside its connection, to look for that among all descriptors.
int
limits_fit(struct limits *l, int threads, uint64_t descriptors, struct err *err)
{
    l->descriptors = descriptors ? descriptors : raise_soft_limit();
    uint64_t left = l->descriptors > LIMITS_RESERVE ? l->descriptors - LIMITS_RESERVE : 0;
    uint64_t queue = left / 4 < LIMITS_QUEUE ? left / 4 : LIMITS_QUEUE;
    uint64_t threads_max = (left - queue) / 2;

    if (threads_max < THREADS_MIN)
        return err_exit(err, EXIT_CODE_FAILURE,
                        "the limit of %llu open files is too low for any connections: "
                        "raise it (LimitNOFILE in the unit, ulimit -n) to 1024 or more",
                        (unsigned long long)l->descriptors);
    l->queue = (int)queue;
    l->threads = threads_max < (uint64_t)threads ? (int)threads_max : threads;
    return 0;
}
