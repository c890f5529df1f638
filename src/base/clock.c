// Dates are computed here, without gmtime: no lock, no locale, and the event floor may use
// it as pure code. The calendar arithmetic counts years from 1 March, so that the leap day
// is the last of its year, in cycles of 400 years (146,097 days).
#include "base/clock.h"

#include <string.h>
#include <stdio.h>
#include <time.h>

static int64_t
read_us(clockid_t which)
{
    struct timespec now;

    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t
clock_now_us(void)
{
    return read_us(CLOCK_REALTIME);
}

int64_t
clock_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

void
clock_sleep_ms(int64_t ms)
{
    struct timespec wait = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&wait, NULL);
}

static int64_t
divide_down(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

int64_t
clock_days(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t cycle = divide_down(y, 400);
    int64_t year_of_cycle = y - cycle * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_cycle =
        year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;

    return cycle * 146097 + day_of_cycle - 719468;
}

void
clock_civil(int64_t days, int64_t *year, int *month, int *day)
{
    int64_t shifted = days + 719468;
    int64_t cycle = divide_down(shifted, 146097);
    int64_t doc = shifted - cycle * 146097;
    int64_t yoc = (doc - doc / 1460 + doc / 36524 - doc / 146096) / 365;
    int64_t doy = doc - (365 * yoc + yoc / 4 - yoc / 100);
    int64_t m = (5 * doy + 2) / 153;

    *day = (int)(doy - (153 * m + 2) / 5 + 1);
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = yoc + cycle * 400 + (*month <= 2);
}

static char *
put_two(char *to, unsigned value)
{
    static const char all[] = "00010203040506070809101112131415161718192021222324"
                              "25262728293031323334353637383940414243444546474849"
                              "50515253545556575859606162636465666768697071727374"
                              "75767778798081828384858687888990919293949596979899";

    memcpy(to, all + (size_t)(value % 100) * 2, 2);
    return to + 2;
}

static char *
put_two_after(char *to, char before, unsigned value)
{
    *to = before;
    return put_two(to + 1, value);
}

enum { DATE = sizeof "2026-03-02" - 1, DAYS_KEPT = 4 };

struct date {
    int64_t days;
    char text[DATE]; // all zero: none yet
};

static void
write_date(struct date *d, int64_t days)
{
    int64_t year;
    int month, day;
    char *to = d->text;

    clock_civil(days, &year, &month, &day);
    to = put_two(to, (unsigned)year / 100);
    to = put_two(to, (unsigned)year);
    to = put_two_after(to, '-', (unsigned)month);
    put_two_after(to, '-', (unsigned)day);
    d->days = days;
}

// Dates are kept for the days last asked for: most times are of one day or two.
static const char *
date_of(int64_t days)
{
    static _Thread_local struct date kept[DAYS_KEPT];
    struct date *d = &kept[days & (DAYS_KEPT - 1)];

    if (!d->text[0] || d->days != days)
        write_date(d, days);
    return d->text;
}

static char *
put_seconds(char *to, int64_t seconds)
{
    int64_t days = divide_down(seconds, 86400);
    unsigned second = (unsigned)(seconds - days * 86400);

    memcpy(to, date_of(days), DATE);
    to = put_two_after(to + DATE, 'T', second / 3600);
    to = put_two_after(to, ':', second / 60 % 60);
    return put_two_after(to, ':', second % 60);
}

void
clock_format_us(char *to, int64_t us)
{
    int64_t seconds = divide_down(us, 1000000);
    unsigned rest = (unsigned)(us - seconds * 1000000);

    to = put_seconds(to, seconds);
    to = put_two_after(to, '.', rest / 10000);
    to = put_two(to, rest / 100);
    to = put_two(to, rest);
    memcpy(to, "Z", 2);
}

void
clock_format_seconds(char *to, int64_t us)
{
    memcpy(put_seconds(to, divide_down(us, 1000000)), "Z", 2);
}

bool
clock_parse(int64_t *us, struct span text)
{
    char copy[CLOCK_TEXT] = "";
    int year, month, day, hour, minute, second;

    memcpy(copy, text.at, text.len < sizeof copy - 1 ? text.len : sizeof copy - 1);
    if (sscanf(copy, "%4d-%2d-%2dT%2d:%2d:%2d", &year, &month, &day, &hour, &minute,
               &second) != 6 ||
        month < 1 || month > 12)
        return false;
    int64_t minutes = (clock_days(year, month, day) * 24 + hour) * 60 + minute;
    *us = (minutes * 60 + second) * 1000000;
    return true;
}
