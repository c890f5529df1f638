// Trimming takes place every few seconds, not with each XADD: an approximate XTRIM drops
// whole nodes and costs next to nothing when there is none to drop.
//
// XINFO GROUPS gives `lag`, the entries the group has not been given, trimmed ones among
// them (Redis 7.0 on; null when it does not know). So what a group can never read is lag
// minus length, and a trim has taken from it by how much that has grown.
#include "relay/inside.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>

enum { TRIMS_MAX = 50, TRIM_FULL = 10000 };

static uint64_t
lag_most(struct relay *r, const char *key)
{
    struct err err;
    uint64_t most = 0;
    const struct redis_reply *groups =
        redis_ask(r->redis, &err, "XINFO", "GROUPS", key, NULL);

    for (size_t i = 0; i < redis_reply_len(groups); i++) {
        const struct redis_reply *group = redis_reply_at(groups, i);
        for (size_t f = 0; f + 1 < redis_reply_len(group); f += 2) {
            int64_t lag = redis_reply_number(redis_reply_at(group, f + 1));
            if (span_is(redis_reply_text(redis_reply_at(group, f)), "lag") && lag > 0 &&
                (uint64_t)lag > most)
                most = (uint64_t)lag;
        }
    }
    return most;
}

// Told once. A dead connection is not: the next batch meets and tells it.
static void
tell_refused(struct relay *r, const struct redis_reply *reply)
{
    struct span words = redis_reply_text(reply);

    if (redis_reply_kind(reply) != REDIS_ERROR || r->warned_trim)
        return;
    log_warn("relay: streams cannot be trimmed and grow: %.*s", (int)words.len, words.at);
    r->warned_trim = true;
}

// XTRIM with '~' drops a hundred nodes at a time, 10,000 entries unless Redis is set otherwise:
// so it is called again while it drops that many, a bounded number of times.
static uint64_t
trim_by(struct relay *r, const char *key, const char *how, uint64_t bound)
{
    int64_t dropped = TRIM_FULL;
    uint64_t gone = 0;
    char number[24];
    struct err err;

    snprintf(number, sizeof number, "%llu", (unsigned long long)bound);
    for (int i = 0; i < TRIMS_MAX && dropped >= TRIM_FULL; i++) {
        const struct redis_reply *reply =
            redis_ask(r->redis, &err, "XTRIM", key, how, "~", number, NULL);
        tell_refused(r, reply);
        dropped = redis_reply_number(reply);
        gone += dropped > 0 ? (uint64_t)dropped : 0;
    }
    return gone;
}

static uint64_t
length_of(struct relay *r, const char *key)
{
    struct err err;
    int64_t length = redis_reply_number(redis_ask(r->redis, &err, "XLEN", key, NULL));

    return length > 0 ? (uint64_t)length : 0;
}

static uint64_t
beyond(uint64_t lag, uint64_t length)
{
    return lag > length ? lag - length : 0;
}

static void
count_trimmed(struct relay *r, const char *name, uint64_t gone, uint64_t unread)
{
    pthread_mutex_lock(&r->lock);
    bool first = unread > 0 && r->status.trimmed_unread == 0;
    r->status.trimmed += gone;
    r->status.trimmed_unread += unread;
    pthread_mutex_unlock(&r->lock);
    if (first)
        log_warn("relay: %llu entries of %s were trimmed before a group had read them; "
                 "see redis.retain",
                 (unsigned long long)unread, name);
}

static void
trim_stream(struct relay *r, const char *name, struct relay_stream *to)
{
    const struct relay_options *o = &r->options;
    int64_t oldest_us = clock_now_us() - o->retain_age_us;
    char key[SCRIPT_KEY];
    uint64_t gone = 0;

    script_key(key, r->namespace, span_of(name));
    uint64_t lag = lag_most(r, key), before = length_of(r, key);
    if (o->retain_age_us > 0 && oldest_us > 0)
        gone += trim_by(r, key, "MINID", (uint64_t)oldest_us / 1000);
    if (o->retain_entries > 0)
        gone += trim_by(r, key, "MAXLEN", o->retain_entries);
    uint64_t after = gone ? length_of(r, key) : before;

    snprintf(to->name, sizeof to->name, "%s", name);
    to->length = after;
    to->lag = lag;
    count_trimmed(r, name, gone,
                  after < before ? beyond(lag, after) - beyond(lag, before) : 0);
}

void
relay_trim(struct relay *r)
{
    struct relay_stream streams[RELAY_STREAMS_MAX] = {0};

    for (size_t i = 0; i < r->streams_len; i++)
        trim_stream(r, r->streams[i], &streams[i]);
    if (redis_is_dead(r->redis))
        return; // these are no figures
    pthread_mutex_lock(&r->lock);
    memcpy(r->status.streams, streams, sizeof streams);
    pthread_mutex_unlock(&r->lock);
}
