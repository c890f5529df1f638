#include "base/clock.h"

#include <criterion/criterion.h>

enum { SECOND = 1000000 };

static const int64_t DAY = INT64_C(86400) * SECOND, YEAR = INT64_C(365) * 86400 * SECOND;

static struct clock_watch w;
static int64_t wall, boot;

static void
start(void)
{
    wall = 50 * YEAR;
    boot = 5 * SECOND;
    w = (struct clock_watch){.settle_us = 600 * (int64_t)SECOND};
    cr_assert_eq(clock_watch_check(&w, wall, boot), CLOCK_STEADY);
}

static enum clock_watch_result
pass(int64_t seconds, int64_t step_us)
{
    boot += seconds * SECOND;
    wall += seconds * SECOND + step_us;
    return clock_watch_check(&w, wall, boot);
}

TestSuite(clock_watch, .init = start);

Test(clock_watch, believes_clocks_that_run_together)
{
    for (int i = 0; i < 100; i++)
        cr_assert_eq(pass(5, i % 2 ? 900 : -900), CLOCK_STEADY);
}

Test(clock_watch, a_suspended_machine_is_no_step)
{
    cr_assert_eq(pass(86400 * 30, 0), CLOCK_STEADY);
}

Test(clock_watch, holds_after_a_step_in_either_direction_and_believes_it_after_a_while)
{
    for (int direction = -1; direction <= 1; direction += 2) {
        start();
        cr_assert_eq(pass(5, direction * 8 * DAY), CLOCK_STEPPED);
        cr_assert_eq(w.step_us, direction * 8 * DAY);
        for (int s = 5; s < 600; s += 5)
            cr_assert_eq(pass(5, 0), CLOCK_HELD);
        cr_assert_eq(pass(5, 0), CLOCK_SETTLED);
        cr_assert_eq(pass(5, 0), CLOCK_STEADY);
        cr_assert_eq(w.step_us, 0);
    }
}

Test(clock_watch, a_step_of_years_is_held_like_one_of_minutes)
{
    cr_assert_eq(pass(5, -40 * YEAR), CLOCK_STEPPED);
    cr_assert_eq(pass(5, 200 * YEAR), CLOCK_HELD);
    cr_assert_eq(pass(599, 0), CLOCK_HELD, "the second step counts anew");
    cr_assert_eq(pass(5, 0), CLOCK_SETTLED);
}

Test(clock_watch, a_step_that_is_undone_is_over_at_once)
{
    cr_assert_eq(pass(5, 8 * DAY), CLOCK_STEPPED);
    cr_assert_eq(pass(5, -8 * DAY), CLOCK_UNDONE);
    cr_assert_eq(pass(5, 0), CLOCK_STEADY);
}

Test(clock_watch, follows_a_slow_drift_but_not_many_small_steps)
{
    for (int i = 0; i < 100000; i++)
        cr_assert_eq(pass(5, 500), CLOCK_STEADY, "100 parts in a million");
    enum clock_watch_result last = CLOCK_STEADY;
    for (int i = 0; i < 5 && last == CLOCK_STEADY; i++)
        last = pass(5, 30 * (int64_t)SECOND);
    cr_assert_eq(last, CLOCK_STEPPED);
}
