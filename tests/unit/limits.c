// Connections never take the last descriptors.
#include "receiver/receiver.h"

#include <criterion/criterion.h>
#include <sys/resource.h>

Test(limits, threads_fit_into_the_descriptors_there_are)
{
    struct limits l;
    struct err err = {0};

    cr_assert_eq(limits_fit(&l, 1024, 65536, &err), 0);
    cr_assert_eq(l.threads, 1024);
    cr_assert_eq(l.queue, LIMITS_QUEUE);
    for (uint64_t n = 1; n < 3000; n++) {
        if (limits_fit(&l, 1024, n, &err) < 0) {
            cr_assert_lt(n, 96u);
            continue;
        }
        cr_assert_geq(l.threads, 4);
        cr_assert_geq(l.queue, 1);
        cr_assert_leq((uint64_t)(2 * l.threads + l.queue + LIMITS_RESERVE), n);
    }
}

Test(limits, the_soft_limit_is_raised_to_the_hard_one)
{
    struct rlimit limit = {100, 200};
    struct limits l;
    struct err err = {0};

    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(limits_fit(&l, 1024, 0, &err), 0);
    cr_assert_eq(l.descriptors, 200u);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(limit.rlim_cur, 200u);
}
