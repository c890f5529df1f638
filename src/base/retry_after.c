#include "base/retry_after.h"

#include "base/clock.h"

#include <stdio.h>

enum { TEXT_MAX = 64 };

// The zone is always GMT. strptime reads the names in any case, as the C locale has them.
static bool
read_date(int64_t *seconds, struct span s)
{
    static const char *const forms[] = {
        "%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"};
    char text[TEXT_MAX];

    if (s.len >= sizeof text)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)s.len, s.at);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);
        if (!end || *end)
            continue;
        *seconds = clock_utc_seconds(&tm);
        return true;
    }
    return false;
}

static int64_t
bound(int64_t ms)
{
    return ms < 0 ? 0 : ms > RETRY_AFTER_MAX_MS ? RETRY_AFTER_MAX_MS : ms;
}

// Seconds with an optional fraction, digits below a millisecond dropped; -1 for anything else.
static int64_t
read_seconds(struct span s)
{
    int64_t ms = 0, unit = 1000;
    bool fraction = false;

    if (s.len == 0 || s.at[0] < '0' || s.at[0] > '9')
        return -1;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (s.at[i] < '0' || s.at[i] > '9')
            return -1;
        int64_t digit = s.at[i] - '0';
        if (!fraction)
            ms = bound(ms * 10 + digit * 1000);
        else
            ms += digit * (unit /= 10);
    }
    return bound(ms);
}

int64_t
retry_after_ms(struct span value, struct span date)
{
    int64_t then, now, longest = -1;

    value = span_trim(value);
    if (read_date(&then, value))
        return read_date(&now, span_trim(date)) ? bound((then - now) * 1000) : -1;
    while (value.len) {
        int64_t ms = read_seconds(span_trim(span_cut(&value, ',')));
        if (ms > longest)
            longest = ms;
    }
    return longest;
}
