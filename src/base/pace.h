// A pace spreads calls evenly: a token bucket of one token. Pure: the caller tells the time,
// in microseconds of a clock that never steps.
#ifndef ACRELAY_BASE_PACE_H
#define ACRELAY_BASE_PACE_H

#include <stdint.h>

struct pace {
    int64_t interval_us; // between two calls
    int64_t next_us;     // when the next one may be made
};

void pace_init(struct pace *p, double calls_per_second);

// pace_wait says how long to wait before the next call, 0 for not at all.
int64_t pace_wait(const struct pace *p, int64_t now_us);

// pace_take counts a call that is made now. A call that is a little late does not shift those
// behind it, so that the whole rate is used; time that was not used is not saved up.
void pace_take(struct pace *p, int64_t now_us);

// pace_hold allows no call before `until_us`.
void pace_hold(struct pace *p, int64_t until_us);

#endif
