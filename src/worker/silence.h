// How long a hook has been silent. Its last event has Redis's time, so "now" is Redis's too, and
// no clock of this machine matters; what this process saw itself counts on CLOCK_BOOTTIME. A
// clock that steps is not believed (base/clock.h). Pure.
#ifndef ACRELAY_WORKER_SILENCE_H
#define ACRELAY_WORKER_SILENCE_H

#include "base/clock.h"

// Redis's clock, as read last.
struct silence_clock {
    struct clock_watch watch;
    int64_t redis_us, boot_us;
    int64_t
        step_us; // by boot clock: times from before cannot be compared with now; 0: none
    bool steady;
};

// The last event of a hook; times by Redis, and by boot clock when this process saw it.
struct silence {
    int64_t last_us, seen_us, since_us; // 0: none; since_us: watched since, by boot clock
};

void silence_clock_init(struct silence_clock *c, int64_t settle_us);

// silence_clock_set takes both clocks, read one right after the other. A step is `alarm`.
void silence_clock_set(struct silence_clock *c, int64_t redis_us, int64_t boot_us,
                       bool *alarm);

// silence_note takes what Redis has as the last event, 0 nothing. An earlier one than known is
// one that Redis lost.
void silence_note(struct silence *s, const struct silence_clock *c, int64_t last_us);

// silence_us gives how long it is silent, silence_seen_us how much of that this process watched:
// no clock that may step has a part in that one.
int64_t silence_us(const struct silence *s, const struct silence_clock *c);
int64_t silence_seen_us(const struct silence *s, const struct silence_clock *c);

#endif
