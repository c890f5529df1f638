// Name servers that do not answer.
#include "edge/resolve.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <netdb.h>
#include <stdatomic.h>

static _Atomic(int) asked;
static _Atomic(bool) answers;

// In the place of libc's.
int
getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
            struct addrinfo **list)
{
    (void)host, (void)service, (void)hints, (void)list;
    atomic_fetch_add(&asked, 1);
    while (!atomic_load(&answers))
        clock_sleep_ms(1);
    return EAI_AGAIN;
}

static void
ask(const char *host, int64_t wait_ms, const char *answer)
{
    struct socket_watch none = {0};
    struct resolved found;
    struct err err;

    cr_assert(resolve_host(host, 1, clock_mono_ms() + wait_ms, &none, &found, &err) < 0);
    cr_assert(strstr(err.text, answer), "%s", err.text);
}

Test(resolve, asks_once_for_each_name_while_no_answer_comes)
{
    for (int i = 0; i < 3; i++) {
        ask("one.example", 20, "no name server answers in time for one.example");
        ask("two.example", 20, "no name server answers in time for two.example");
    }
    while (atomic_load(&asked) < 2)
        clock_sleep_ms(1);
    cr_expect_eq(atomic_load(&asked), 2);
    atomic_store(&answers, true);
    while (atomic_load(&asked) < 3) // until both are over, and one is asked for anew
        ask("one.example", 1000, "cannot resolve one.example");
}
