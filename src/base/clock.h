// The clock: real time for records and people, monotonic time for waiting, rate
// limits and back-off. Microseconds since 1970-01-01 UTC fit an int64_t until the year 294,000.
#ifndef ACRELAY_BASE_CLOCK_H
#define ACRELAY_BASE_CLOCK_H

#include "base/span.h"

#include <stdint.h>
#include <time.h>

// clock_read_us reads one of the system's clocks. clock_now_us is the wall clock: it may
// be wrong by years, and step in both directions. clock_mono_us never steps
// (CLOCK_MONOTONIC); it stands still while the machine is suspended. clock_boot_us never
// steps and counts suspended time too (CLOCK_BOOTTIME): ages are measured with it.
int64_t clock_read_us(clockid_t which);

static inline int64_t
clock_now_us(void)
{
    return clock_read_us(CLOCK_REALTIME);
}

static inline int64_t
clock_mono_us(void)
{
    return clock_read_us(CLOCK_MONOTONIC);
}

static inline int64_t
clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

static inline int64_t
clock_boot_us(void)
{
    return clock_read_us(CLOCK_BOOTTIME);
}

static inline int64_t
clock_boot_ms(void)
{
    return clock_boot_us() / 1000;
}

// clock_timespec is a time or a duration as system calls take it.
static inline struct timespec
clock_timespec(int64_t us)
{
    return (struct timespec){us / 1000000, (long)(us % 1000000) * 1000};
}

// clock_sleep_ms sleeps; a signal may end it early.
void clock_sleep_ms(int64_t ms);

enum {
    CLOCK_TEXT = 32,
    CLOCK_SECONDS = sizeof "2026-03-02T11:20:00Z" - 1, // lengths of what is written
    CLOCK_US = sizeof "2026-03-02T11:20:00.000000Z" - 1,
};

// clock_format writes RFC 3339 UTC into to[CLOCK_TEXT]: with microseconds
// ("2026-11-24T00:13:53.000042Z") or whole seconds ("2026-11-24T00:13:53Z"), for the years
// 0 to 9999.
void clock_format_us(char *to, int64_t us);
void clock_format_seconds(char *to, int64_t us);

// clock_parse reads what clock_format_* wrote; false for anything else.
bool clock_parse(int64_t *us, struct span text);

// clock_take_wall takes "2026-03-02T11:20:00", with 'T' or a blank in the middle, off the
// front of *s: a date of the calendar, and a time up to 23:59:60. false when no such time is
// there. clock_utc_seconds counts its seconds since 1970 if it is UTC.
bool clock_take_wall(struct span *s, struct tm *wall);
int64_t clock_utc_seconds(const struct tm *wall);

// clock_digits gives the number in so many digits; *ok becomes false when one is none.
static inline int
clock_digits(const char *at, int digits, bool *ok)
{
    unsigned n = 0;

    for (int i = 0; i < digits; i++) {
        unsigned digit = (unsigned)at[i] - '0';
        *ok = *ok && digit <= 9;
        n = n * 10 + digit;
    }
    return *ok ? (int)n : 0;
}

// clock_is_zone says whether the system's time zones have one of this name
// ("America/Chicago"); a directory or another file among them is none.
bool clock_is_zone(const char *zone);

// --- waiting ------------------------------------------------------------------------------

// times_ms returns a built-in time that no setting changes, but that tests shorten: the
// environment variable ACRELAY_TEST_TIMES holds "name=milliseconds" pairs, separated by
// blanks. Each module asks for its own when it starts, so that a time is defined where it is
// used.
int64_t times_ms(const char *name, int64_t else_ms);

// random_ms returns a random time between both, so that many waiting clients do not retry
// at the same moment. backoff_ms gives how long to wait before the next attempt: between half of
// *step_ms and all of it; then *step_ms doubles, up to max_ms. A *step_ms of 0 begins
// with min_ms.
int64_t random_ms(int64_t from_ms, int64_t to_ms);
int64_t backoff_ms(int64_t *step_ms, int64_t min_ms, int64_t max_ms);

// A rate limit spreads calls evenly, and the server too sees no more of them in any second than the
// rate: when a call arrives there is not known, only that it had arrived by the time of its answer.
// So at 4 a second the fifth call is made a second after the answer to the first.
// Pure: the caller gives the time, in microseconds of a clock that never steps.
enum { RATE_LIMIT_CALLS = 8 };

struct rate_limit {
    int64_t interval_us; // between two calls
    int64_t next_us;     // when the next one may be made
    int64_t window_us;   // which has at most `calls`
    size_t calls, at;
    int64_t ended_us[RATE_LIMIT_CALLS]; // the last ones, the oldest `at`
};

// rate_limit_init: second_us is 1,000,000 but in tests.
static inline void
rate_limit_init(struct rate_limit *p, double calls_per_second, int64_t second_us)
{
    size_t calls = 1;

    while (calls < RATE_LIMIT_CALLS && (double)calls < calls_per_second)
        calls++;
    *p = (struct rate_limit){
        .interval_us = (int64_t)((double)second_us / calls_per_second),
        .window_us = (int64_t)((double)calls * (double)second_us / calls_per_second),
        .calls = calls};
    for (size_t i = 0; i < calls; i++)
        p->ended_us[i] = -p->window_us;
}

// rate_limit_wait says how long to wait before the next call, 0 for not at all.
static inline int64_t
rate_limit_wait(const struct rate_limit *p, int64_t now_us)
{
    int64_t free_us = p->ended_us[p->at] + p->window_us,
            due_us = p->next_us > free_us ? p->next_us : free_us;

    return due_us > now_us ? due_us - now_us : 0;
}

// rate_limit_take counts a call that is made now, rate_limit_end that it has its answer, or none.
// A call that is a little late does not shift those after it, so that the whole rate is used; time
// that was not used is not saved up.
static inline void
rate_limit_take(struct rate_limit *p, int64_t now_us)
{
    int64_t on_time = p->next_us + p->interval_us;

    p->next_us = on_time > now_us ? on_time : now_us + p->interval_us;
    p->ended_us[p->at] = now_us;
    p->at = (p->at + 1) % p->calls;
}

static inline void
rate_limit_end(struct rate_limit *p, int64_t now_us)
{
    p->ended_us[(p->at + p->calls - 1) % p->calls] = now_us;
}

// rate_limit_hold allows no call before `until_us`.
static inline void
rate_limit_hold(struct rate_limit *p, int64_t until_us)
{
    if (p->next_us < until_us)
        p->next_us = until_us;
}

// rate_limit_follow has p continue from the state of `before`, whose rate may differ.
static inline void
rate_limit_follow(struct rate_limit *p, const struct rate_limit *before)
{
    size_t last = (before->at + before->calls - 1) % before->calls;

    if (p->interval_us == before->interval_us) {
        *p = *before;
        return;
    }
    rate_limit_hold(p, before->next_us);
    rate_limit_hold(p, before->ended_us[last] + before->window_us);
}

// --- a clock that is watched --------------------------------------------------------------

// A clock watch compares a clock that may step (the wall clock, Redis's TIME) with
// CLOCK_BOOTTIME, which does not, and reports when the two diverge. While they do, nothing is
// deleted because of its age by the watched clock. Pure: the caller reads both clocks, in
// microseconds, every few seconds. One thread.
enum {
    CLOCK_STEP_MAX_US = 60 * 1000000, // more is a step
    CLOCK_SETTLE_MS = 10 * 60 * 1000, // a new difference must stay the same this long
};

enum clock_watch_result {
    CLOCK_STEADY, // as before
    CLOCK_STEPPED, // it just diverged by step_us: suspend what depends on it, raise the alarm
    CLOCK_HELD,    // it has diverged and is not believed yet
    CLOCK_UNDONE,  // it is back where it was: resume
    CLOCK_SETTLED, // it was stable for settle_us: resume, this is the new base
};

struct clock_watch {
    int64_t settle_us;    // set before the first check; the rest is zero then
    int64_t base_us;      // watched clock minus boot clock, as believed
    int64_t new_us;       // the same since the step
    int64_t new_since_us; // boot clock
    int64_t checked_us;   // boot clock
    int64_t step_us;      // how far the clock is from where it should be
    bool started, holding;
};

// clock_watch_check takes both clocks, read one right after the other. The first check is
// believed. A slow drift (up to 0.1 %) is followed.
enum clock_watch_result clock_watch_check(struct clock_watch *w, int64_t watched_us,
                                          int64_t boot_us);

#endif
