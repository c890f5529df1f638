#include "base/clock.h"

#include <criterion/criterion.h>

// Calls as fast as the pace allows, each `late_us` after its time.
static int64_t
time_of_calls(int calls, double rate, int64_t late_us)
{
    struct pace p;
    int64_t now = 1000000;

    pace_init(&p, rate);
    for (int i = 0; i < calls; i++) {
        now += pace_wait(&p, now);
        pace_take(&p, now);
        now += i + 1 < calls ? late_us : 0;
    }
    return now - 1000000;
}

Test(pace, spreads_calls_evenly)
{
    cr_assert_eq(time_of_calls(9, 4, 0), 2000000);
}

Test(pace, uses_the_whole_rate_although_each_call_takes_time)
{
    cr_assert_eq(time_of_calls(9, 4, 200000), 2000000);
}

Test(pace, does_not_save_up_what_was_not_used)
{
    struct pace p;

    pace_init(&p, 4);
    pace_take(&p, 0);
    pace_take(&p, 60000000);
    cr_assert_eq(pace_wait(&p, 60000000), 250000);
}

Test(pace, holds_until_it_is_told)
{
    struct pace p;

    pace_init(&p, 4);
    pace_hold(&p, 30000000);
    cr_assert_eq(pace_wait(&p, 1000000), 29000000);
    pace_hold(&p, 2000000);
    cr_assert_eq(pace_wait(&p, 1000000), 29000000, "a later hold stays");
}
