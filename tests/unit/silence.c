// A hook's silence under clocks that lie. Times are in hours; Redis's clock is `ahead` of the
// boot clock.
#include "worker/worker.h"

#include <criterion/criterion.h>

static const int64_t hour = INT64_C(3600) * 1000000,
                     start_us = INT64_C(1700000000) * 1000000;
static struct silence_clock c;
static struct silence s;
static bool stepped;

static void
at(int64_t boot_h, int64_t ahead_h)
{
    stepped = silence_clock_set(&c, start_us + (boot_h + ahead_h) * hour, boot_h * hour);
}

static void
event(int64_t redis_h)
{
    silence_record(&s, &c, start_us + redis_h * hour);
}

static int64_t
silent(void)
{
    int64_t watched_us;

    return silence_us(&s, &c, &watched_us) / hour;
}

static int64_t
seen(void)
{
    int64_t watched_us;

    (void)silence_us(&s, &c, &watched_us);
    return watched_us / hour;
}

static void
begin(void)
{
    c = (struct silence_clock){.watch.settle_us = hour / 6};
    at(100, 0);
    s = (struct silence){.since_us = 100 * hour};
}

Test(silence, counts_from_the_last_event_by_redis, .init = begin)
{
    event(70);
    cr_assert_eq(silent(), 30, "it was before this process");
    cr_assert_eq(seen(), 0);
    at(110, 0);
    cr_assert_eq(silent(), 40);
    cr_assert_eq(seen(), 10);
    event(108);
    cr_assert_eq(silent(), 0, "just seen, though it may have been earlier");
}

Test(silence, counts_from_the_start_where_there_was_no_event, .init = begin)
{
    at(103, 0);
    silence_record(&s, &c, 0);
    cr_assert_eq(silent(), 3);
}

Test(silence, is_not_ended_by_a_redis_that_lost_data, .init = begin)
{
    event(90);
    at(101, 0);
    event(60);
    silence_record(&s, &c, 0);
    cr_assert_eq(silent(), 11);
}

Test(silence, is_not_judged_while_redis_clock_steps, .init = begin)
{
    event(99);
    at(101, 0);
    cr_assert(c.steady);
    at(101, 48);
    cr_assert(stepped && !c.steady);
    at(101, 0);
    cr_assert(c.steady && !stepped);
    cr_assert_eq(silent(), 2);
}

Test(silence, begins_anew_when_a_step_has_settled, .init = begin)
{
    event(99);
    at(101, 48);
    at(102, 48);
    cr_assert(c.steady, "believed now");
    cr_assert_eq(silent(), 0, "49 hours of that are the step's");
    at(105, 48);
    cr_assert_eq(silent(), 3);
    cr_assert_eq(seen(), 3);
}

Test(silence, an_event_from_while_the_clock_was_ahead_is_no_silence_later, .init = begin)
{
    event(90);
    at(130, 0);
    at(130, 48);
    event(178);
    at(130, 0);
    cr_assert_eq(silent(), 0, "30 hours after the start");
    at(132, 0);
    cr_assert_eq(silent(), 2);
    event(132);
    cr_assert_eq(s.last_us, start_us + 132 * hour, "the bogus one does not stay");
}

Test(silence, one_ahead_of_redis_at_the_start_counts_from_there, .init = begin)
{
    event(5000);
    cr_assert_eq(silent(), 0);
    at(107, 0);
    cr_assert_eq(silent(), 7);
}

Test(silence, a_step_too_small_to_notice_makes_none, .init = begin)
{
    event(90);
    at(101, 0);
    event(101);
    silence_clock_set(&c, start_us + 101 * hour + 50000000, 101 * hour);
    cr_assert(c.steady);
    int64_t watched_us;
    cr_assert_eq(silence_us(&s, &c, &watched_us), 0);
}
