// Trimming takes place every few seconds, not with each XADD: an approximate XTRIM drops
// whole nodes and costs next to nothing when there is none to drop. What it leaves, a node at
// most, an exact one drops once an hour.
//
// XINFO GROUPS gives `lag`, the entries the group has not been given, trimmed ones among
// them (Redis 7.0 on). So what a group can never read is lag minus length, and a trim has taken
// from it by how much that has grown. Where an entry ahead of the group was deleted Redis does
// not know the lag: added minus read is that, and the deleted ones. Of a group that began in the
// middle it does not know what was read either, until it was at the end once: all may be unread.
#include "relay/internal.h"

#include <sys/param.h>

enum { TRIMS_MAX = 50, TRIM_FULL = 10000 };

void
stream_key(const struct partition *p, char to[SCRIPT_KEY], const char *name)
{
    script_key(to, p->script.namespace, span_of(name));
}

int64_t
stream_length(struct partition *p, const char *key)
{
    struct redis_value len = redis_value(redis_ask(p->redis, NULL, "XLEN", key, NULL));

    return len.kind == REDIS_NUMBER ? len.number : -1;
}

const struct redis_reply *
stream_field(struct partition *p, const char *key, const char *name)
{
    return redis_member(redis_ask(p->redis, NULL, "XINFO", "STREAM", key, NULL), name);
}

static uint64_t
max_lag(struct partition *p, const char *key, bool *all)
{
    int64_t max = 0, slowest = -1; // slowest: entries read by a group of unknown lag
    const struct redis_reply *groups =
        redis_ask(p->redis, NULL, "XINFO", "GROUPS", key, NULL);

    *all = redis_value(groups).kind != REDIS_ARRAY;
    for (size_t i = 0; i < redis_value(groups).len; i++) {
        const struct redis_reply *group = redis_reply_at(groups, i);
        struct redis_value lag = redis_value(redis_member(group, "lag"));
        struct redis_value read = redis_value(redis_member(group, "entries-read"));
        max = MAX(max, lag.number);
        *all = *all || (lag.kind == REDIS_NIL && read.kind == REDIS_NIL);
        if (lag.kind == REDIS_NIL && read.kind == REDIS_NUMBER &&
            (slowest < 0 || read.number < slowest))
            slowest = read.number;
    }
    if (slowest >= 0) {
        int64_t added = redis_value(stream_field(p, key, "entries-added")).number;
        max = MAX(max, added - slowest);
    }
    return (uint64_t)max;
}

void
stream_report_refused(struct partition *p, const struct redis_reply *reply)
{
    struct err err = {0};

    if (redis_value(reply).kind != REDIS_ERROR || p->trim.refused.reported)
        return;
    err_set(&err, ERR_INPUT, "%.*s", (int)redis_value(reply).text.len,
            redis_value(reply).text.at);
    once_report(
        &p->trim.refused, LOG_LEVEL_WARN,
        "relay%s: streams cannot be trimmed and keep growing (Redis says: %s). What "
        "to do: %s",
        p->label, err.text, relay_advice(err.text)->advice);
}

static int64_t
trim_once(struct partition *p, const char *key, const char *how, const char *sign,
          uint64_t bound)
{
    char number[24];

    snprintf(number, sizeof number, "%llu", (unsigned long long)bound);
    const struct redis_reply *reply =
        redis_ask(p->redis, NULL, "XTRIM", key, how, sign, number, NULL);
    stream_report_refused(p, reply);
    return redis_value(reply).number;
}

// XTRIM with '~' drops a hundred nodes at a time, 10,000 entries unless Redis is set otherwise:
// so it is called again while it drops that many, a bounded number of times. An exact one has
// no bound: it follows when a node is all that is left for it.
static uint64_t
trim_by(struct partition *p, const char *key, const char *how, uint64_t bound, bool exact)
{
    int64_t dropped = TRIM_FULL;
    uint64_t gone = 0;

    for (int i = 0; i < TRIMS_MAX && dropped >= TRIM_FULL; i++) {
        dropped = trim_once(p, key, how, "~", bound);
        gone += dropped > 0 ? (uint64_t)dropped : 0;
    }
    if (exact && dropped < TRIM_FULL)
        gone += (uint64_t)trim_once(p, key, how, "=", bound);
    return gone;
}

static uint64_t
beyond(uint64_t lag, uint64_t length)
{
    return lag > length ? lag - length : 0;
}

// A series of this stream, by partition where there are several.
static struct metric *
series(const struct partition *p, const char *metric, const char *help,
       const char *stream)
{
    const char *label = p->relay->len > 1 ? "partition" : NULL; // NULL ends the labels

    return metric_find(METRIC_GAUGE, metric, help, "stream", stream, label,
                       p->script.namespace, NULL);
}

// At most once an hour, with all that went since.
static void
report_unread(const struct partition *p, const char *name, uint64_t unread)
{
    static struct log_limit limit = LOG_LIMIT(RELAY_HOUR_MS);

    metric_add(&relay_metrics[RELAY_TRIMMED_UNREAD], (double)unread);
    if (unread > 0 && (unread = log_limit_pass(&limit, unread, clock_mono_ms())))
        log_alarm(
            "relay%s: %llu entries were trimmed before a consumer group had read them, "
            "the last of them in %s. Start or repair the consumers, or raise "
            "redis.retain",
            p->label, (unsigned long long)unread, name);
}

static void
show(const struct partition *p, const char *name, uint64_t length, uint64_t lag,
     uint64_t gone, uint64_t unread)
{
    report_unread(p, name, unread);
    metric_add(&relay_metrics[RELAY_TRIMMED], (double)gone);
    metric_set(series(p, "acrelay_stream_length_entries", "Entries in a stream.", name),
               (double)length);
    metric_set(series(p, "acrelay_stream_lag_entries",
                      "Entries the slowest group has not read, at most.", name),
               (double)lag);
}

uint64_t
stream_trim(struct partition *p, const char *name, int64_t age_us, int64_t now_us,
            bool exact)
{
    bool is_test = strcmp(name, CONFIG_TEST_HOOK) == 0;
    uint64_t entries_max =
        is_test ? CONFIG_TEST_ENTRIES : p->settings->config->redis_retain_entries;
    uint64_t gone = 0;
    bool all; // may be unread
    char key[SCRIPT_KEY];

    stream_key(p, key, name);
    uint64_t lag = max_lag(p, key, &all);
    int64_t before = stream_length(p, key), after = before;
    if (age_us > 0 && now_us > age_us)
        gone += trim_by(p, key, "MINID", (uint64_t)(now_us - age_us) / 1000, exact);
    if (entries_max > 0)
        gone += trim_by(p, key, "MAXLEN", entries_max, false);
    if (gone)
        after = stream_length(p, key);
    if (after < 0 || p->redis->dead) // these are no figures
        return gone;
    uint64_t unread =
        after < before ? beyond(lag, (uint64_t)after) - beyond(lag, (uint64_t)before) : 0;
    show(p, name, (uint64_t)after, all ? MAX(lag, (uint64_t)after) : lag, gone, unread);
    return gone;
}
