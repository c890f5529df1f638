// The clock: real time for records and people, monotonic time for waiting. Microseconds
// since 1970-01-01 UTC fit an int64_t until the year 294,000.
#ifndef ACRELAY_BASE_CLOCK_H
#define ACRELAY_BASE_CLOCK_H

#include "base/span.h"

#include <stdint.h>
#include <time.h>

// clock_now_us is the wall clock: it may be wrong by years, and step in both directions.
// clock_mono_us never steps (CLOCK_MONOTONIC); it stands still while the machine is suspended.
// clock_boot_us never steps and counts suspended time too (CLOCK_BOOTTIME): ages are
// measured with it.
int64_t clock_now_us(void);
int64_t clock_mono_us(void);
int64_t clock_boot_us(void);

static inline int64_t
clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

// clock_sleep_ms sleeps; a signal may end it early.
void clock_sleep_ms(int64_t ms);

enum {
    CLOCK_TEXT = 32,
    CLOCK_SECONDS = sizeof "2026-03-02T11:20:00Z" - 1, // lengths of what is written
    CLOCK_US = sizeof "2026-03-02T11:20:00.000000Z" - 1,
};

// clock_format writes RFC 3339 UTC into to[CLOCK_TEXT]: with microseconds
// ("2026-11-24T00:13:53.000042Z") or whole seconds ("2026-11-24T00:13:53Z").
void clock_format_us(char *to, int64_t us);
void clock_format_seconds(char *to, int64_t us);

// clock_parse reads what clock_format_* wrote, fractions dropped; false for anything else.
bool clock_parse(int64_t *us, struct span text);

// clock_take_wall takes "2026-03-02T11:20:00", with 'T' or a blank in the middle, off the
// front of *s: a date of the calendar, and a time up to 23:59:60. false when no such time is
// there. clock_utc_seconds counts its seconds since 1970 if it is UTC.
bool clock_take_wall(struct span *s, struct tm *wall);
int64_t clock_utc_seconds(const struct tm *wall);

// clock_digits gives the number in so many digits; *good becomes false when one is none.
static inline int
clock_digits(const char *at, int digits, bool *good)
{
    unsigned n = 0;

    for (int i = 0; i < digits; i++) {
        unsigned digit = (unsigned)at[i] - '0';
        *good = *good && digit <= 9;
        n = n * 10 + digit;
    }
    return *good ? (int)n : 0;
}

// clock_is_zone says whether the system's time zones have one of this name
// ("America/Chicago"); a directory or another file among them is none.
bool clock_is_zone(const char *zone);

// clock_days counts days since 1970-01-01 of a civil date (proleptic Gregorian calendar);
// month is 1 to 12. clock_civil is its inverse.
int64_t clock_days(int64_t year, int month, int day);
void clock_civil(int64_t days, int64_t *year, int *month, int *day);

#endif
