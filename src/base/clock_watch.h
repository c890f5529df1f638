// A clock watch compares a clock that may lie (the wall clock, Redis's TIME) with
// CLOCK_BOOTTIME, which does not, and says when the two part. While they do, nothing is
// deleted for its age by the clock that is watched. Pure: the caller reads both clocks, in
// microseconds, every few seconds. One thread.
#ifndef ACRELAY_BASE_CLOCK_WATCH_H
#define ACRELAY_BASE_CLOCK_WATCH_H

#include <stdbool.h>
#include <stdint.h>

enum {
    CLOCK_STEP_MAX_US = 60 * 1000000, // more is a step
    CLOCK_SETTLE_MS = 10 * 60 * 1000, // so long a new difference must stay the same
};

enum clock_watch_result {
    CLOCK_STEADY,  // as before
    CLOCK_STEPPED, // it just parted by step_us: hold what goes by it, raise the alarm
    CLOCK_HELD,    // it has parted and is not believed yet
    CLOCK_UNDONE,  // it is back where it was: go on
    CLOCK_SETTLED, // it has stayed where it went for settle_us: go on, this is the new base
};

struct clock_watch {
    int64_t settle_us;
    int64_t base_us;      // watched clock minus boot clock, as believed
    int64_t new_us;       // the same since the step
    int64_t new_since_us; // boot clock
    int64_t seen_us;      // boot clock, at the last look
    int64_t step_us;      // how far the clock is away from where it should be
    bool started, holding;
};

void clock_watch_init(struct clock_watch *w, int64_t settle_us);

// clock_watch_check takes both clocks, read one right after the other. The first check is
// believed. A slow drift (up to 0.1 %) is followed.
enum clock_watch_result clock_watch_check(struct clock_watch *w, int64_t watched_us,
                                          int64_t boot_us);

#endif
