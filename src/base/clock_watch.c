#include "base/clock_watch.h"

#include <stdlib.h>

enum { DRIFT_PART = 1000, SAME_US = 1000000 };

void
clock_watch_init(struct clock_watch *w, int64_t settle_us)
{
    *w = (struct clock_watch){.settle_us = settle_us};
}

// follow moves the base towards the difference that was seen, as far as a clock may drift.
static void
follow(struct clock_watch *w, int64_t difference, int64_t elapsed_us)
{
    int64_t most = elapsed_us / DRIFT_PART, by = difference - w->base_us;

    w->base_us += by > most ? most : by < -most ? -most : by;
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
    int64_t difference = watched_us - boot_us, elapsed_us = boot_us - w->seen_us;

    if (!w->started)
        w->base_us = difference;
    w->started = true;
    w->seen_us = boot_us;
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
