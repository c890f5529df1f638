#include "receiver/limits.h"

#include <sys/resource.h>

enum { THREADS_MIN = 4, DESCRIPTORS_USED_MAX = 65536 };

uint64_t
limits_raise(void)
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
    uint64_t left = descriptors > LIMITS_RESERVE ? descriptors - LIMITS_RESERVE : 0;
    uint64_t queue = left / 4 < LIMITS_QUEUE ? left / 4 : LIMITS_QUEUE;
    uint64_t most = (left - queue) / 2;

    if (most < THREADS_MIN)
        return err_exit(
            err, EXIT_CODE_FAILURE,
            "only %llu files may be open at once, too few for any connections: "
            "raise the limit (LimitNOFILE in the unit, ulimit -n) to 1024 or "
            "more",
            (unsigned long long)descriptors);
    l->queue = (int)queue;
    l->threads = most < (uint64_t)threads ? (int)most : threads;
    return 0;
}
