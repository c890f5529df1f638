// The zone is libc's (tzset, localtime_r), set once for the process: it knows the rules and
// their history, is reentrant once set, and one process serves one account.
#include "event/event.h"

#include "base/clock.h"

#include <stdlib.h>
#include <time.h>

static bool zone_is_set;

int
event_zone_set(const char *zone, struct err *err)
{
    zone_is_set = false;
    if (!zone || !*zone)
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

// The offset after the time, in seconds. false when it is none.
static bool
take_offset(struct span s, int64_t *offset)
{
    bool ok = s.len >= 5 && (s.at[0] == '+' || s.at[0] == '-');
    size_t colon = ok && s.at[3] == ':'; // optional

    *offset = 0;
    if (span_is(s, "Z") || span_is(s, "z"))
        return true;
    if (!ok || s.len != 5 + colon)
        return false;
    int hours = clock_digits(s.at + 1, 2, &ok),
        minutes = clock_digits(s.at + 3 + colon, 2, &ok);
    *offset = (s.at[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return ok && hours <= 23 && minutes <= 59;
}

// The zone's offset from UTC in seconds, at a time of UTC.
static int64_t
offset_at(int64_t seconds)
{
    time_t at = (time_t)seconds;
    struct tm local;

    return localtime_r(&at, &local) ? local.tm_gmtoff : 0;
}

// A wall time near a change of offset was shown twice, once or never, whatever made the
// change (summer time, or another standard time). So it is read with the offsets of the
// day before and the day after: the greater gives the earlier time; one that is not in
// force at its own time was not shown. The seconds are added last: a 60th belongs to its
// minute.
static int64_t
local_seconds(const struct tm *wall)
{
    enum { DAY = 86400 };
    int64_t minute = clock_utc_seconds(wall) - wall->tm_sec;
    int64_t before = offset_at(minute - DAY), after = offset_at(minute + DAY);
    int64_t great = before > after ? before : after;
    int64_t small = before > after ? after : before;
    int64_t offset = before; // of a skipped time

    if (great == small || offset_at(minute - great) == great)
        offset = great;
    else if (offset_at(minute - small) == small)
        offset = small;
    return minute - offset + wall->tm_sec;
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

// What four digits can show.
static bool
set_time(int64_t *us, int64_t seconds)
{
    if (seconds < 0 || seconds > INT64_C(253402300799))
        return false;
    *us = seconds * 1000000;
    return true;
}

bool
ac_time_parse(int64_t *us, struct span s)
{
    struct tm wall;
    int64_t offset;

    if (!clock_take_wall(&s, &wall))
        return false;
    skip_fraction(&s);
    if (s.len == 0)
        return zone_is_set && set_time(us, local_seconds(&wall));
    return take_offset(s, &offset) && set_time(us, clock_utc_seconds(&wall) - offset);
}
