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

static bool
take_number(struct span *s, size_t digits, int *number)
{
    *number = 0;
    if (s->len < digits)
        return false;
    for (size_t i = 0; i < digits; i++) {
        if (s->at[i] < '0' || s->at[i] > '9')
            return false;
        *number = *number * 10 + (s->at[i] - '0');
    }
    *s = span_from(*s, digits);
    return true;
}

static bool
take_byte(struct span *s, const char *one_of)
{
    if (s->len == 0 || !strchr(one_of, s->at[0]) || s->at[0] == '\0')
        return false;
    *s = span_from(*s, 1);
    return true;
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
    int hours, minutes, sign = s.at[0] == '-' ? -1 : 1;

    if (span_is(s, "Z") || span_is(s, "z")) {
        *offset = 0;
        return true;
    }
    if (!take_byte(&s, "+-") || !take_number(&s, 2, &hours))
        return false;
    take_byte(&s, ":"); // optional
    if (!take_number(&s, 2, &minutes) || s.len > 0 || hours > 23 || minutes > 59)
        return false;
    *offset = sign * (hours * 3600 + minutes * 60);
    return true;
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

bool
moment_read(int64_t *us, struct span s)
{
    int year, month, day, hour, minute, second, digit;
    int64_t offset;

    if (!take_number(&s, 4, &year) || !take_byte(&s, "-") ||
        !take_number(&s, 2, &month) || !take_byte(&s, "-") || !take_number(&s, 2, &day) ||
        !take_byte(&s, "T ") || !take_number(&s, 2, &hour) || !take_byte(&s, ":") ||
        !take_number(&s, 2, &minute) || !take_byte(&s, ":") ||
        !take_number(&s, 2, &second))
        return false;
    if (take_byte(&s, "."))
        while (take_number(&s, 1, &digit))
            ;
    if (!is_date(year, month, day) || hour > 23 || minute > 59 || second > 60)
        return false;
    if (s.len == 0) {
        struct tm wall = {.tm_year = year - 1900,
                          .tm_mon = month - 1,
                          .tm_mday = day,
                          .tm_hour = hour,
                          .tm_min = minute,
                          .tm_sec = second};
        if (!zone_is_set)
            return false;
        *us = local_seconds(&wall) * 1000000;
        return true;
    }
    if (!take_offset(s, &offset))
        return false;
    int64_t seconds =
        clock_days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *us = (seconds - offset) * 1000000;
    return true;
}
