#include "base/clock.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(clock, formats_utc_across_leap_days_and_centuries)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {951782400000042, "2000-02-29T00:00:00.000042Z"},
        {4107542400000000, "2100-03-01T00:00:00.000000Z"},
        {-1, "1969-12-31T23:59:59.999999Z"},
    };
    char to[CLOCK_TEXT];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        clock_format_us(to, cases[i].us);
        cr_assert_str_eq(to, cases[i].text);
    }
}

Test(clock, parses_what_it_formats_and_nothing_else)
{
    static const char *const wrong[] = {
        "",
        "2026-02-99T99:99:99 junk",
        "2026-02-29T00:00:00Z",
        "2026-02-28T24:00:00Z",
        "2026-02-28T23:59:60Z",
        "2026-02-28T23:59:00",
        "2026-02-28 23:59:00Z",
        "2026-02-28T23:59:00.Z",
        "2026-02-28T23:59:00.1x",
        "2026-02-28T23:59:00Z ",
        "+026-02-28T23:59:00Z",
        "2026-2-28T23:59:00Z",
    };
    char text[CLOCK_TEXT];
    int64_t us;

    for (int64_t at = -1000000; at < INT64_C(5000000000000000); at += 123456789012345) {
        clock_format_us(text, at);
        cr_assert(clock_parse(&us, span_of(text)), "%s", text);
        cr_assert_eq(us, at, "%s", text);
        clock_format_seconds(text, at);
        cr_assert(clock_parse(&us, span_of(text)), "%s", text);
        cr_assert(us <= at && at - us < 1000000, "%s", text);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_expect_not(clock_parse(&us, span_of(wrong[i])), "%s", wrong[i]);
}

Test(clock, counts_the_days_of_the_calendar)
{
    for (time_t at = -719162 * INT64_C(86400); at < INT64_C(253402300800);
         at += 86400 * 97) {
        struct tm date;
        cr_assert_eq(clock_utc_seconds(gmtime_r(&at, &date)), at);
    }
}

Test(clock, backs_off_to_a_ceiling)
{
    static const int64_t steps[] = {100, 200, 400, 500, 500};
    int64_t step_ms = 0;

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        int64_t ms = backoff_ms(&step_ms, 100, 500);
        cr_assert(ms >= steps[i] / 2 && ms <= steps[i], "%zu: %lld", i, (long long)ms);
    }
}

Test(times, gives_the_default_unless_the_environment_has_another)
{
    unsetenv("ACRELAY_TEST_TIMES");
    cr_assert_eq(times_ms("lease", 15000), 15000);
    setenv("ACRELAY_TEST_TIMES", "lease_more=1 lease=1500  look=20", 1);
    cr_assert_eq(times_ms("lease", 15000), 1500);
    cr_assert_eq(times_ms("look", 5), 20);
    cr_assert_eq(times_ms("loo", 5), 5);
}

// --- a rate limit -------------------------------------------------------------------------

// Calls as fast as the limit allows, each `late_us` after its time.
static int64_t
time_of_calls(int calls, double rate, int64_t late_us)
{
    struct rate_limit p;
    int64_t now = 1000000;

    rate_limit_init(&p, rate, 1000000);
    for (int i = 0; i < calls; i++) {
        now += rate_limit_wait(&p, now) + late_us;
        rate_limit_take(&p, now);
        rate_limit_end(&p, now);
    }
    return now - late_us - 1000000;
}

Test(rate_limit, spreads_calls_evenly)
{
    cr_assert_eq(time_of_calls(9, 4, 0), 2000000);
}

Test(rate_limit, uses_the_whole_rate_although_each_call_is_late)
{
    cr_assert_eq(time_of_calls(9, 4, 200), 2000000 + 2 * 200);
}

// Requests arrive at any time between their start and their answer.
static void
check_arrivals(double rate, size_t most, int64_t window_us, int64_t took_max_us)
{
    enum { CALLS = 1000 };
    struct rate_limit p;
    int64_t now = 0, at[CALLS];

    rate_limit_init(&p, rate, 1000000);
    for (size_t i = 0; i < CALLS; i++) {
        now += rate_limit_wait(&p, now) + random() % 20000;
        rate_limit_take(&p, now);
        int64_t took_us = random() % took_max_us;
        at[i] = now + random() % (took_us + 1);
        now += took_us;
        rate_limit_end(&p, now);
        if (i >= most)
            cr_assert_geq(at[i] - at[i - most], window_us, "call %zu", i);
    }
}

Test(rate_limit, holds_in_every_second_where_calls_arrive)
{
    check_arrivals(5, 5, 1000000, 190000);
    check_arrivals(3, 3, 1000000, 900000);
    check_arrivals(2.5, 3, 1200000, 300000);
    check_arrivals(0.5, 1, 2000000, 300000);
}

Test(rate_limit, goes_on_where_another_one_stands)
{
    struct rate_limit before, same, other;

    rate_limit_init(&before, 2, 1000000);
    rate_limit_take(&before, 0);
    rate_limit_end(&before, 100000);
    rate_limit_init(&same, 2, 1000000);
    rate_limit_follow(&same, &before);
    cr_assert_eq(rate_limit_wait(&same, 100000), 400000);
    rate_limit_init(&other, 4, 1000000);
    rate_limit_follow(&other, &before);
    cr_assert_eq(rate_limit_wait(&other, 100000), 1000000, "all calls are a second ago");
}

Test(rate_limit, does_not_save_up_what_was_not_used)
{
    struct rate_limit p;

    rate_limit_init(&p, 4, 1000000);
    rate_limit_take(&p, 0);
    rate_limit_take(&p, 60000000);
    cr_assert_eq(rate_limit_wait(&p, 60000000), 250000);
}

Test(rate_limit, holds_until_it_is_told)
{
    struct rate_limit p;

    rate_limit_init(&p, 4, 1000000);
    rate_limit_hold(&p, 30000000);
    cr_assert_eq(rate_limit_wait(&p, 1000000), 29000000);
    rate_limit_hold(&p, 2000000);
    cr_assert_eq(rate_limit_wait(&p, 1000000), 29000000, "a later hold stays");
}

// --- a clock that is watched --------------------------------------------------------------

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
