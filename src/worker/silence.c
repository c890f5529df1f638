#include "worker/silence.h"

void
silence_clock_init(struct silence_clock *c, int64_t settle_us)
{
    *c = (struct silence_clock){0};
    c->watch = (struct clock_watch){.settle_us = settle_us};
}

void
silence_clock_set(struct silence_clock *c, int64_t redis_us, int64_t boot_us, bool *alarm)
{
    enum clock_watch_result result = clock_watch_check(&c->watch, redis_us, boot_us);

    c->redis_us = redis_us;
    c->boot_us = boot_us;
    c->steady = result != CLOCK_STEPPED && result != CLOCK_HELD;
    if (result == CLOCK_SETTLED)
        c->step_us = boot_us;
    *alarm = result == CLOCK_STEPPED;
}

void
silence_note(struct silence *s, const struct silence_clock *c, int64_t last_us)
{
    bool first = s->last_us == 0 && s->seen_us == 0;
    bool was_ahead = s->last_us > c->redis_us;

    if (last_us == s->last_us || (last_us < s->last_us && !was_ahead) || last_us == 0)
        return;
    s->last_us = last_us;
    // The first one may be from before this process; what is ahead of Redis has no other time.
    if (!first || last_us > c->redis_us)
        s->seen_us = c->boot_us;
}

static int64_t
least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t
silence_seen_us(const struct silence *s, const struct silence_clock *c)
{
    int64_t since = s->seen_us > s->since_us ? s->seen_us : s->since_us;

    return c->boot_us - (c->step_us > since ? c->step_us : since);
}

int64_t
silence_us(const struct silence *s, const struct silence_clock *c)
{
    int64_t quiet = s->last_us && s->last_us <= c->redis_us ? c->redis_us - s->last_us
                                                            : silence_seen_us(s, c);

    if (s->seen_us)
        quiet = least(quiet, c->boot_us - s->seen_us);
    if (c->step_us)
        quiet = least(quiet, c->boot_us - c->step_us);
    return quiet;
}
