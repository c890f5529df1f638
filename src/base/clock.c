// Dates are computed here and not by gmtime_r and timegm: every event writes two and
// reads one, and libc takes a lock for each and needs ten times as long.
#include "base/clock.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

int64_t
clock_read_us(clockid_t which)
{
    struct timespec now;

    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void
clock_sleep_ms(int64_t ms)
{
    struct timespec wait = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&wait, NULL);
}

// --- writing ----------------------------------------------------------------------------

enum { DAY_SECONDS = 86400, MARCH_OF_YEAR_0 = 719468 }; // days before 1970

static int64_t
divide_down(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static char *
put_two(char *to, unsigned value, char after) // '\0': nothing
{
    to[0] = (char)('0' + value / 10);
    to[1] = (char)('0' + value % 10);
    to[2] = after;
    return to + (after ? 3 : 2);
}

// Years begin on 1 March here, so that the leap day is the last of its year; 400 of them
// are a cycle of 146,097 days. A month of them begins after (153 * month + 2) / 5 days.
static char *
put_date(char *to, uint64_t day, char after)
{
    unsigned cycle = (unsigned)(day / 146097), d = (unsigned)(day % 146097);
    unsigned years = (d - d / 1460 + d / 36524 - d / 146096) / 365;
    unsigned month = (5 * (d -= years * 365 + years / 4 - years / 100) + 2) / 153;
    unsigned year = cycle * 400 + years + (month > 9);

    to = put_two(to, year / 100 % 100, '\0');
    to = put_two(to, year % 100, '-');
    to = put_two(to, month > 9 ? month - 9 : month + 3, '-');
    return put_two(to, d - (153 * month + 2) / 5 + 1, after);
}

static char *
put_seconds(char *to, int64_t seconds, char after)
{
    int64_t day = divide_down(seconds, DAY_SECONDS);
    unsigned second = (unsigned)(seconds - day * DAY_SECONDS);

    to = put_date(to, (uint64_t)(day + MARCH_OF_YEAR_0), 'T');
    to = put_two(to, second / 3600, ':');
    to = put_two(to, second / 60 % 60, ':');
    return put_two(to, second % 60, after);
}

void
clock_format_us(char *to, int64_t us)
{
    int64_t seconds = divide_down(us, 1000000);
    unsigned part = (unsigned)(us - seconds * 1000000);

    to = put_seconds(to, seconds, '.');
    to = put_two(to, part / 10000, '\0');
    to = put_two(to, part / 100 % 100, '\0');
    *put_two(to, part % 100, 'Z') = '\0';
}

void
clock_format_seconds(char *to, int64_t us)
{
    *put_seconds(to, divide_down(us, 1000000), 'Z') = '\0';
}

// --- reading ----------------------------------------------------------------------------

bool
clock_parse(int64_t *us, struct span text)
{
    bool is_ours = text.len > 10 && text.at[10] == 'T';
    int64_t part = 0, unit = 1000000;
    struct tm wall;

    if (!is_ours || !clock_take_wall(&text, &wall) || wall.tm_sec > 59)
        return false;
    if (text.len > 1 && text.at[0] == '.' && text.at[1] != 'Z')
        for (text = span_from(text, 1); text.len > 0; text = span_from(text, 1)) {
            unsigned digit = (unsigned)text.at[0] - '0';
            if (digit > 9)
                break;
            part += digit * (unit /= 10);
        }
    *us = clock_utc_seconds(&wall) * 1000000 + part;
    return span_is(text, "Z");
}

static bool
is_date(int year, int month, int day)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return year > 0 && month >= 1 && month <= 12 && day >= 1 &&
           day <= days[month - 1] + (month == 2 && leap);
}

enum { WALL = sizeof "2026-03-02T11:20:00" - 1 };

bool
clock_take_wall(struct span *s, struct tm *wall)
{
    const char *at = s->at;
    bool ok = s->len >= WALL && at[4] == '-' && at[7] == '-' &&
              (at[10] == 'T' || at[10] == ' ') && at[13] == ':' && at[16] == ':';

    if (!ok)
        return false;
    int year = clock_digits(at, 4, &ok);
    *wall = (struct tm){.tm_year = year - 1900,
                        .tm_mon = clock_digits(at + 5, 2, &ok) - 1,
                        .tm_mday = clock_digits(at + 8, 2, &ok),
                        .tm_hour = clock_digits(at + 11, 2, &ok),
                        .tm_min = clock_digits(at + 14, 2, &ok),
                        .tm_sec = clock_digits(at + 17, 2, &ok)};
    *s = span_from(*s, WALL);
    return ok && is_date(year, wall->tm_mon + 1, wall->tm_mday) && wall->tm_hour <= 23 &&
           wall->tm_min <= 59 && wall->tm_sec <= 60;
}

// put_date's count, backwards.
int64_t
clock_utc_seconds(const struct tm *wall)
{
    int month = wall->tm_mon < 2 ? wall->tm_mon + 10 : wall->tm_mon - 2;
    int64_t year = wall->tm_year + 1900 - (month > 9);
    int64_t day = year * 365 + year / 4 - year / 100 + year / 400 +
                  (153 * month + 2) / 5 + wall->tm_mday - 1 - MARCH_OF_YEAR_0;

    return day * DAY_SECONDS + wall->tm_hour * 3600 + wall->tm_min * 60 + wall->tm_sec;
}

// --- zones ------------------------------------------------------------------------------

// RFC 9636: a file of zone data begins with these four bytes.
bool
clock_is_zone(const char *zone)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789_+-/";
    bool is_name = zone[0] && zone[0] != '/' && !zone[strspn(zone, letters)];
    char path[256];
    struct buf data;

    if (!is_name || strstr(zone, "//") ||
        snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", zone) >= (int)sizeof path)
        return false;
    buf_init(&data, 1 << 20);
    bool is =
        file_read(path, &data, NULL) == 0 && span_starts(buf_span(&data), SPAN("TZif"));
    buf_release(&data);
    return is;
}

// --- waiting ----------------------------------------------------------------------------

int64_t
times_ms(const char *name, int64_t else_ms)
{
    const char *at = getenv("ACRELAY_TEST_TIMES");
    size_t len = strlen(name);

    for (; at && *at; at += strcspn(at, " ")) {
        at += strspn(at, " ");
        if (strncmp(at, name, len) == 0 && at[len] == '=')
            return strtoll(at + len + 1, NULL, 10);
    }
    return else_ms;
}

int64_t
random_ms(int64_t from_ms, int64_t to_ms)
{
    uint32_t random = 0;

    if (getrandom(&random, sizeof random, 0) != sizeof random)
        random = (uint32_t)clock_mono_us();
    return from_ms + random % (to_ms - from_ms + 1);
}

int64_t
backoff_ms(int64_t *step_ms, int64_t min_ms, int64_t max_ms)
{
    int64_t step = *step_ms ? *step_ms : min_ms;

    *step_ms = step * 2 < max_ms ? step * 2 : max_ms;
    return random_ms(step / 2, step);
}

// --- a clock that is watched ------------------------------------------------------------

enum { DRIFT_PART = 1000, SAME_US = 1000000 };

// follow moves the base towards the difference that was seen, as far as a clock may drift.
static void
follow(struct clock_watch *w, int64_t difference, int64_t elapsed_us)
{
    int64_t max = elapsed_us / DRIFT_PART, by = difference - w->base_us;

    w->base_us += by > max ? max : by < -max ? -max : by;
}

static bool
is_near(int64_t a, int64_t b, int64_t max)
{
    return llabs((long long)(a - b)) <= max;
}

static enum clock_watch_result
settle(struct clock_watch *w, int64_t difference, int64_t boot_us)
{
    if (is_near(difference, w->base_us, CLOCK_STEP_MAX_US)) {
        w->holding = false;
        return CLOCK_UNDONE;
    }
    if (!is_near(difference, w->new_us, SAME_US)) {
        w->new_us = difference;
        w->new_since_us = boot_us;
    }
    if (boot_us - w->new_since_us < w->settle_us)
        return CLOCK_HELD;
    w->base_us = difference;
    w->holding = false;
    return CLOCK_SETTLED;
}

enum clock_watch_result
clock_watch_check(struct clock_watch *w, int64_t watched_us, int64_t boot_us)
{
    int64_t difference = watched_us - boot_us, elapsed_us = boot_us - w->checked_us;

    if (!w->started)
        w->base_us = difference;
    w->started = true;
    w->checked_us = boot_us;
    w->step_us = difference - w->base_us;
    if (w->holding)
        return settle(w, difference, boot_us);
    if (is_near(difference, w->base_us, CLOCK_STEP_MAX_US)) {
        follow(w, difference, elapsed_us);
        return CLOCK_STEADY;
    }
    w->holding = true;
    w->new_us = difference;
    w->new_since_us = boot_us;
    return CLOCK_STEPPED;
}
