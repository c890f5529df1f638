#include "base/pace.h"

void
pace_init(struct pace *p, double calls_per_second)
{
    *p = (struct pace){.interval_us = (int64_t)(1e6 / calls_per_second)};
}

int64_t
pace_wait(const struct pace *p, int64_t now_us)
{
    return p->next_us > now_us ? p->next_us - now_us : 0;
}

void
pace_take(struct pace *p, int64_t now_us)
{
    int64_t on_time = p->next_us + p->interval_us;

    p->next_us = on_time > now_us ? on_time : now_us + p->interval_us;
}

void
pace_hold(struct pace *p, int64_t until_us)
{
    if (p->next_us < until_us)
        p->next_us = until_us;
}
