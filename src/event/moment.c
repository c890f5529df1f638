// The zone is libc's (tzset, mktime), set once for the process: it knows the rules and their
// history, is reentrant once set, and one process serves one account.
#include "event/moment.h"

#include "base/clock.h"
#include "event/event.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static bool zone_is_set;

static bool
is_zone_name(const char *zone)
{
    for (const char *c = zone; *c; c++)
        if (!((*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z') ||
              (*c >= '0' && *c <= '9') || strchr("_+-/", *c)))
            return false;
    return zone[0] != '/' && !strstr(zone, "//");
}

int
event_zone_set(const char *zone, struct err *err)
{
    char path[256];

    zone_is_set = false;
    if (!*zone)
        return 0;
    if (!is_zone_name(zone) ||
        snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", zone) >= (int)sizeof path ||
        access(path, R_OK) < 0)
        return err_set(err, ERR_INPUT,
                       "time zone %s: not known here (expected a name like "
                       "America/Chicago; is tzdata installed?)",
                       zone);
    setenv("TZ", zone, 1);
    tzset();
    zone_is_set = true;
    return 0;
}

// The number in so many digits; *good becomes false when one is none.
static inline int
number(const char *at, int digits, bool *good)
{
    unsigned n = 0;

    for (int i = 0; i < digits; i++) {
        unsigned digit = (unsigned)at[i] - '0';
        *good = *good && digit <= 9;
        n = n * 10 + digit;
    }
    return *good ? (int)n : 0;
}

static bool
is_date(int year, int month, int day)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return year > 0 && month >= 1 && month <= 12 && day >= 1 &&
           day <= days[month - 1] + (month == 2 && leap);
}

// The offset behind the time, in seconds. false when it is none.
static bool
take_offset(struct span s, int64_t *offset)
{
    bool good = s.len >= 5 && (s.at[0] == '+' || s.at[0] == '-');
    size_t colon = good && s.at[3] == ':'; // optional

    *offset = 0;
    if (span_is(s, "Z") || span_is(s, "z"))
        return true;
    if (!good || s.len != 5 + colon)
        return false;
    int hours = number(s.at + 1, 2, &good), minutes = number(s.at + 3 + colon, 2, &good);
    *offset = (s.at[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return good && hours <= 23 && minutes <= 59;
}

// mktime decides a doubled or skipped hour by tm_isdst. Asked both ways: where both give the
// wall time back, the hour is doubled and the earlier is meant; where neither does, it is
// skipped, and the later answer is the one moved forward.
static int64_t
local_seconds(const struct tm *wall)
{
    struct tm summer = *wall, winter = *wall;

    summer.tm_isdst = 1;
    winter.tm_isdst = 0;
    int64_t a = mktime(&summer), b = mktime(&winter);
    bool a_is = summer.tm_hour == wall->tm_hour && summer.tm_min == wall->tm_min;
    bool b_is = winter.tm_hour == wall->tm_hour && winter.tm_min == wall->tm_min;
    if (a_is && b_is)
        return a < b ? a : b;
    if (a_is != b_is)
        return a_is ? a : b;
    return a > b ? a : b;
}

// 2026-03-02T11:20:00, with 'T' or a blank in the middle.
enum { WALL = 19 };

static bool
take_wall(struct span *s, struct tm *wall)
{
    const char *at = s->at;
    bool good = s->len >= WALL && at[4] == '-' && at[7] == '-' &&
                (at[10] == 'T' || at[10] == ' ') && at[13] == ':' && at[16] == ':';

    if (!good)
        return false;
    int year = number(at, 4, &good);
    *wall = (struct tm){.tm_year = year - 1900,
                        .tm_mon = number(at + 5, 2, &good) - 1,
                        .tm_mday = number(at + 8, 2, &good),
                        .tm_hour = number(at + 11, 2, &good),
                        .tm_min = number(at + 14, 2, &good),
                        .tm_sec = number(at + 17, 2, &good)};
    *s = span_from(*s, WALL);
    return good && is_date(year, wall->tm_mon + 1, wall->tm_mday) &&
           wall->tm_hour <= 23 && wall->tm_min <= 59 && wall->tm_sec <= 60;
}

static void
skip_fraction(struct span *s)
{
    size_t n = 1;

    if (s->len == 0 || s->at[0] != '.')
        return;
    while (n < s->len && s->at[n] >= '0' && s->at[n] <= '9')
        n++;
    *s = span_from(*s, n);
}

bool
moment_read(int64_t *us, struct span s)
{
    struct tm wall;
    int64_t offset;

    if (!take_wall(&s, &wall))
        return false;
    skip_fraction(&s);
    if (s.len == 0) {
        if (zone_is_set)
            *us = local_seconds(&wall) * 1000000;
        return zone_is_set;
    }
    if (!take_offset(s, &offset))
        return false;
    int64_t days = clock_days(wall.tm_year + 1900, wall.tm_mon + 1, wall.tm_mday);
    int64_t seconds = days * 86400 + wall.tm_hour * 3600 + wall.tm_min * 60 + wall.tm_sec;
    *us = (seconds - offset) * 1000000;
    return true;
}
