// Numbers, durations and sizes. The last two carry units, so that nobody has to guess
// whether 4000 was meant in milliseconds.
#include "base/text.h"
#include "config/kind.h"

#include <stdlib.h>

struct unit {
    const char *name;
    double factor;
};

static const struct unit durations[] = {{"us", 1},   {"ms", 1e3},   {"s", 1e6},
                                        {"m", 60e6}, {"h", 3600e6}, {"d", 86400e6},
                                        {NULL, 0}};
static const struct unit sizes[] = {{"B", 1},
                                    {"KiB", 1024},
                                    {"MiB", 1048576},
                                    {"GiB", 1073741824.0},
                                    {"TiB", 1099511627776.0},
                                    {NULL, 0}};

static const char *
read_amount(const char *text, const struct unit *units, double *amount)
{
    char *end;

    if (!(text[0] >= '0' && text[0] <= '9') || strchr(text, 'x'))
        return "not a number with a unit";
    *amount = strtod(text, &end);
    for (const struct unit *u = units; u->name; u++)
        if (strcmp(end, u->name) == 0) {
            *amount *= u->factor;
            return NULL;
        }
    return *end ? "an unknown unit" : "a number without a unit";
}

static const char *
check_bounds(const struct setting *s, double amount)
{
    if (s->least == 0 && s->most == 0)
        return NULL;
    if (amount < s->least)
        return "less than is allowed";
    return amount > s->most ? "more than is allowed" : NULL;
}

READ(read_duration_us)
{
    UNUSED;
    double amount;
    const char *wrong = read_amount(text, durations, &amount);

    if (!wrong)
        wrong = check_bounds(s, amount);
    if (!wrong)
        *(int64_t *)field = (int64_t)amount;
    return wrong;
}

READ(read_duration_ms)
{
    UNUSED;
    double amount;
    const char *wrong = read_amount(text, durations, &amount);

    if (!wrong)
        wrong = check_bounds(s, amount / 1000);
    if (!wrong)
        *(int64_t *)field = (int64_t)(amount / 1000);
    return wrong;
}

READ(read_size)
{
    UNUSED;
    double amount;
    const char *wrong = read_amount(text, sizes, &amount);

    if (!wrong)
        wrong = check_bounds(s, amount);
    if (!wrong)
        *(uint64_t *)field = (uint64_t)amount;
    return wrong;
}

READ(read_count)
{
    UNUSED;
    uint64_t n;

    if (!text_number(&n, span_of(text), INT64_MAX))
        return "not a whole number";
    const char *wrong = check_bounds(s, (double)n);
    if (!wrong)
        *(uint64_t *)field = n;
    return wrong;
}

READ(read_int)
{
    uint64_t n;
    const char *wrong = read_count(r, s, text, &n);

    if (!wrong)
        *(int *)field = (int)n;
    return wrong;
}

READ(read_rate)
{
    UNUSED;
    char *end;

    if (!(text[0] >= '0' && text[0] <= '9'))
        return "not a number";
    double n = strtod(text, &end);
    const char *wrong = *end ? "not a number" : check_bounds(s, n);
    if (!wrong)
        *(double *)field = n;
    return wrong;
}

KIND(kind_duration_us, "a duration like 250ms, 10s, 5m, 24h, 7d", read_duration_us, false,
     NULL);
KIND(kind_duration_ms, "a duration like 250ms, 10s, 5m, 24h", read_duration_ms, false,
     NULL);
KIND(kind_size, "a size like 512KiB, 1MiB, 8GiB", read_size, false, NULL);
KIND(kind_count, "a whole number", read_count, false, NULL);
KIND(kind_int, "a whole number", read_int, false, NULL);
KIND(kind_rate, "a number", read_rate, false, NULL);
