// What the scenes of tests/unit use of Criterion, which cannot run under TSan.
#ifndef ACRELAY_TESTS_THREADS_CRITERION_H
#define ACRELAY_TESTS_THREADS_CRITERION_H

#include <stdio.h>
#include <stdlib.h>

#define cr_assert(...) THREADS_CHECK(__VA_ARGS__, "")
#define cr_assert_eq(a, b) cr_assert((a) == (b))
#define cr_assert_not_null(a) cr_assert((a) != NULL)
#define cr_expect(...) cr_assert(__VA_ARGS__)
#define cr_expect_eq(a, b, ...) cr_assert((a) == (b))
#define THREADS_CHECK(condition, ...)                                                    \
    do {                                                                                 \
        if (condition)                                                                   \
            break;                                                                       \
        fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);          \
        printf("0 passed, 1 failed\n");                                                  \
        exit(1);                                                                         \
    } while (0)

#endif
