// The zone is libc's (tzset, mktime), set once for the process: it knows the rules and their
// history, is reentrant once set, and one process serves one account.
#include "event/moment.h"

#include "base/clock.h"
#include "event/event.h"

#include <stdlib.h>
#include <time.h>

static bool zone_is_set;

int
event_zone_set(const char *zone, struct err *err)
{
    zone_is_set = false;
    if (!*zone)
        return 0;
    if (!clock_is_zone(zone))
        return err_set(err, ERR_INPUT,
                       "time zone %s: not known here (expected a name like "
                       "America/Chicago; is tzdata installed?)",
                       zone);
    setenv("TZ", zone, 1);
    tzset();
    zone_is_set = true;
    return 0;
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
    int hours = clock_digits(s.at + 1, 2, &good),
        minutes = clock_digits(s.at + 3 + colon, 2, &good);
    *offset = (s.at[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return good && hours <= 23 && minutes <= 59;
}

// mktime decides a doubled or skipped hour by tm_isdst. Asked both ways: where both give the
// wall time back, the hour is doubled and the earlier is meant; where neither does, it is
// skipped, and the later answer is the one moved forward. The seconds are added afterwards: a
// 60th would show as another minute in both answers.
static int64_t
local_seconds(const struct tm *wall)
{
    struct tm summer = *wall, winter = *wall;

    summer.tm_isdst = 1;
    winter.tm_isdst = 0;
    summer.tm_sec = winter.tm_sec = 0;
    int64_t a = mktime(&summer), b = mktime(&winter);
    bool a_is = summer.tm_hour == wall->tm_hour && summer.tm_min == wall->tm_min;
    bool b_is = winter.tm_hour == wall->tm_hour && winter.tm_min == wall->tm_min;
    int64_t minute;
    if (a_is != b_is)
        minute = a_is ? a : b;
    else if (a_is)
        minute = a < b ? a : b;
    else
        minute = a > b ? a : b;
    return minute + wall->tm_sec;
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

    if (!clock_take_wall(&s, &wall))
        return false;
    skip_fraction(&s);
    if (s.len == 0) {
        if (zone_is_set)
            *us = local_seconds(&wall) * 1000000;
        return zone_is_set;
    }
    if (!take_offset(s, &offset))
        return false;
    *us = (clock_utc_seconds(&wall) - offset) * 1000000;
    return true;
}
