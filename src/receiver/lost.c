#include "receiver/lost.h"

#include "base/log.h"

#include <stdbool.h>

void
lost_init(struct lost *l)
{
    *l = (struct lost){.quiet_until_ms = INT64_MIN};
    pthread_mutex_init(&l->lock, NULL);
}

// Returns whether it is time for a line, for which what was untold is taken.
static bool
take(struct lost *l, int64_t now_ms, uint64_t fresh, uint64_t *untold)
{
    pthread_mutex_lock(&l->lock);
    bool now = now_ms >= l->quiet_until_ms && fresh + l->untold > 0;
    *untold = l->untold;
    if (now && fresh)
        l->quiet_until_ms = now_ms + LOST_PAUSE_MS;
    l->untold = now ? 0 : l->untold + fresh;
    pthread_mutex_unlock(&l->lock);
    return now;
}

static void
tell_untold(uint64_t untold)
{
    if (untold > 0)
        log_error("receiver: each of %llu more was answered 503 and may be lost",
                  (unsigned long long)untold);
}

void
lost_add(struct lost *l, int64_t now_ms, const char *hook, const char *why)
{
    uint64_t untold;

    if (!take(l, now_ms, 1, &untold))
        return;
    tell_untold(untold);
    log_error("receiver: a delivery to %s was answered 503 and may be lost: %s", hook,
              why);
}

void
lost_tell(struct lost *l, int64_t now_ms)
{
    uint64_t untold;

    if (take(l, now_ms, 0, &untold))
        tell_untold(untold);
}
