// The clock: real time for records and people, monotonic time for waiting. Microseconds
// since 1970-01-01 UTC fit an int64_t until the year 294,000.
#ifndef ACRELAY_BASE_CLOCK_H
#define ACRELAY_BASE_CLOCK_H

#include "base/span.h"

#include <stdint.h>

// clock_now_us is the wall clock, clock_mono_us one that never steps (CLOCK_MONOTONIC).
int64_t clock_now_us(void);
int64_t clock_mono_us(void);

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

// clock_days counts days since 1970-01-01 of a civil date (proleptic Gregorian calendar);
// month is 1 to 12. clock_civil is its inverse.
int64_t clock_days(int64_t year, int month, int day);
void clock_civil(int64_t days, int64_t *year, int *month, int *day);

#endif
