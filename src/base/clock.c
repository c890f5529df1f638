// Dates are computed here, without gmtime: no lock, no locale, and the event floor may use
// it as pure code. The calendar arithmetic counts years from 1 March, so that the leap day
// is the last of its year, in cycles of 400 years (146,097 days).
#include "base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

int64_t
clock_boot_us(void)
{
    return read_us(CLOCK_BOOTTIME);
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
    bool is_ours = text.len > 10 && text.at[10] == 'T';
    struct tm wall;
    size_t digits = 0;

    if (!is_ours || !clock_take_wall(&text, &wall) || wall.tm_sec > 59)
        return false;
    *us = clock_utc_seconds(&wall) * 1000000;
    if (text.len > 0 && text.at[0] == '.') {
        text = span_from(text, 1);
        while (digits < text.len && text.at[digits] >= '0' && text.at[digits] <= '9')
            digits++;
        is_ours = digits > 0;
    }
    return is_ours && span_is(span_from(text, digits), "Z");
}

static bool
is_date(int year, int month, int day)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return year > 0 && month >= 1 && month <= 12 && day >= 1 &&
           day <= days[month - 1] + (month == 2 && leap);
}

enum { WALL = 19 };

bool
clock_take_wall(struct span *s, struct tm *wall)
{
    const char *at = s->at;
    bool good = s->len >= WALL && at[4] == '-' && at[7] == '-' &&
                (at[10] == 'T' || at[10] == ' ') && at[13] == ':' && at[16] == ':';

    if (!good)
        return false;
    int year = clock_digits(at, 4, &good);
    *wall = (struct tm){.tm_year = year - 1900,
                        .tm_mon = clock_digits(at + 5, 2, &good) - 1,
                        .tm_mday = clock_digits(at + 8, 2, &good),
                        .tm_hour = clock_digits(at + 11, 2, &good),
                        .tm_min = clock_digits(at + 14, 2, &good),
                        .tm_sec = clock_digits(at + 17, 2, &good)};
    *s = span_from(*s, WALL);
    return good && is_date(year, wall->tm_mon + 1, wall->tm_mday) &&
           wall->tm_hour <= 23 && wall->tm_min <= 59 && wall->tm_sec <= 60;
}

int64_t
clock_utc_seconds(const struct tm *wall)
{
    int64_t days = clock_days(wall->tm_year + 1900, wall->tm_mon + 1, wall->tm_mday);

    return days * 86400 + wall->tm_hour * 3600 + wall->tm_min * 60 + wall->tm_sec;
}

static bool
is_zone_name(const char *zone)
{
    for (const char *c = zone; *c; c++)
        if (!((*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z') ||
              (*c >= '0' && *c <= '9') || strchr("_+-/", *c)))
            return false;
    return zone[0] && zone[0] != '/' && !strstr(zone, "//");
}

// RFC 9636: a file of zone data begins with these four bytes.
bool
clock_is_zone(const char *zone)
{
    static const char begin[] = "TZif";
    char path[256], bytes[sizeof begin - 1];
    struct stat st;

    if (!is_zone_name(zone) ||
        snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", zone) >= (int)sizeof path)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    bool is = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
              read(fd, bytes, sizeof bytes) == sizeof bytes &&
              memcmp(bytes, begin, sizeof bytes) == 0;
    close(fd);
    return is;
}
