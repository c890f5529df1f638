// Trimming takes place every few seconds, not with each XADD: an approximate XTRIM drops
// whole nodes and costs next to nothing when there is none to drop. What it leaves, a node at
// most, an exact one drops once an hour.
//
// "Now" is Redis's own time, of which the entries' ids are made; ours has no say. When Redis's
// clock parts from our boot clock (a step, or another Redis after a failover), nothing is
// trimmed for its age until it has been steady for a while: a clock that is ahead for some
// seconds would delete what nobody has read.
//
// XINFO GROUPS gives `lag`, the entries the group has not been given, trimmed ones among
// them (Redis 7.0 on). So what a group can never read is lag minus length, and a trim has taken
// from it by how much that has grown. Where an entry ahead of the group was deleted Redis does
// not know the lag: added minus read is that, and the deleted ones.
#include "relay/inside.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

enum { TRIMS_MAX = 50, TRIM_FULL = 10000, HOUR_MS = 3600000, BOOT_MS = 300000 };

// field_of is the value of a field in a reply of names and values, NULL when there is none.
static const struct redis_reply *
field_of(const struct redis_reply *about, const char *name)
{
    for (size_t i = 0; i + 1 < redis_reply_len(about); i += 2)
        if (span_is(redis_reply_text(redis_reply_at(about, i)), name))
            return redis_reply_at(about, i + 1);
    return NULL;
}

static const struct redis_reply *
stream_field(struct relay *r, const char *key, const char *name)
{
    struct err err;

    return field_of(redis_ask(r->redis, &err, "XINFO", "STREAM", key, NULL), name);
}

static uint64_t
lag_most(struct relay *r, const char *key)
{
    struct err err;
    int64_t most = 0, read = -1; // read: by the slowest group of unknown lag
    const struct redis_reply *groups =
        redis_ask(r->redis, &err, "XINFO", "GROUPS", key, NULL);

    for (size_t i = 0; i < redis_reply_len(groups); i++) {
        const struct redis_reply *lag = field_of(redis_reply_at(groups, i), "lag");
        const struct redis_reply *so_far =
            field_of(redis_reply_at(groups, i), "entries-read");
        int64_t number = redis_reply_number(lag);
        most = number > most ? number : most;
        number = redis_reply_number(so_far);
        if (redis_reply_kind(lag) == REDIS_NIL &&
            redis_reply_kind(so_far) == REDIS_NUMBER && (read < 0 || number < read))
            read = number;
    }
    if (read >= 0) {
        int64_t lag = redis_reply_number(stream_field(r, key, "entries-added")) - read;
        most = lag > most ? lag : most;
    }
    return (uint64_t)most;
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

static int64_t
trim_once(struct relay *r, const char *key, const char *how, const char *sign,
          uint64_t bound)
{
    char number[24];
    struct err err;

    snprintf(number, sizeof number, "%llu", (unsigned long long)bound);
    const struct redis_reply *reply =
        redis_ask(r->redis, &err, "XTRIM", key, how, sign, number, NULL);
    tell_refused(r, reply);
    return redis_reply_number(reply);
}

// XTRIM with '~' drops a hundred nodes at a time, 10,000 entries unless Redis is set otherwise:
// so it is called again while it drops that many, a bounded number of times. An exact one has
// no bound: it follows when a node is all that is left for it.
static uint64_t
trim_by(struct relay *r, const char *key, const char *how, uint64_t bound, bool exact)
{
    int64_t dropped = TRIM_FULL;
    uint64_t gone = 0;

    for (int i = 0; i < TRIMS_MAX && dropped >= TRIM_FULL; i++) {
        dropped = trim_once(r, key, how, "~", bound);
        gone += dropped > 0 ? (uint64_t)dropped : 0;
    }
    if (exact && dropped < TRIM_FULL)
        gone += (uint64_t)trim_once(r, key, how, "=", bound);
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

// trim_stream trims by age where `now_us` is known, else by number only.
static uint64_t
trim_stream(struct relay *r, const char *name, struct relay_stream *to, int64_t age_us,
            int64_t now_us, bool exact)
{
    const struct relay_options *o = &r->options;
    char key[SCRIPT_KEY];
    uint64_t gone = 0;

    script_key(key, r->namespace, span_of(name));
    uint64_t lag = lag_most(r, key), before = length_of(r, key);
    if (age_us > 0 && now_us > age_us)
        gone += trim_by(r, key, "MINID", (uint64_t)(now_us - age_us) / 1000, exact);
    if (o->retain_entries > 0)
        gone += trim_by(r, key, "MAXLEN", o->retain_entries, false);
    uint64_t after = gone ? length_of(r, key) : before;

    snprintf(to->name, sizeof to->name, "%s", name);
    to->length = after;
    to->lag = lag;
    count_trimmed(r, name, gone,
                  after < before ? beyond(lag, after) - beyond(lag, before) : 0);
    return gone;
}

static int64_t
redis_time(struct relay *r)
{
    struct err err;
    uint64_t seconds, us;
    const struct redis_reply *reply = redis_ask(r->redis, &err, "TIME", NULL);

    tell_refused(r, reply);
    if (!text_number(&seconds, redis_reply_text(redis_reply_at(reply, 0)),
                     INT64_MAX / 1000000 - 1) ||
        !text_number(&us, redis_reply_text(redis_reply_at(reply, 1)), 999999))
        return 0;
    return (int64_t)(seconds * 1000000 + us);
}

static void
set_held(struct relay *r, bool held)
{
    pthread_mutex_lock(&r->lock);
    r->status.clock_held = held;
    r->status.clock_step_us = held ? r->redis_clock.step_us : 0;
    pthread_mutex_unlock(&r->lock);
}

// newest_id_us is the time of the newest id of our streams, 0 when there is none, or no right
// to see it.
static int64_t
newest_id_us(struct relay *r)
{
    int64_t newest_ms = 0;
    char key[SCRIPT_KEY];
    uint64_t ms;

    for (size_t i = 0; i < r->streams_len + r->left_len; i++) {
        size_t left = i - r->streams_len;
        script_key(key, r->namespace,
                   span_of(i < r->streams_len ? r->streams[i] : r->left[left]));
        struct span id = redis_reply_text(stream_field(r, key, "last-generated-id"));
        if (text_number(&ms, span_cut(&id, '-'), INT64_MAX / 1000) &&
            (int64_t)ms > newest_ms)
            newest_ms = (int64_t)ms;
    }
    return newest_ms * 1000;
}

// is_early says whether too little time has passed to have seen a step of Redis's clock: a
// machine that has just booted may not have its time yet, and Redis on it neither; and between
// two lives of this process anything may have set it. A first start has no such past, unless
// the two clocks already disagree.
static bool
is_early(const struct relay *r, int64_t now_us, int64_t boot_us)
{
    int64_t apart_us = now_us - clock_now_us();

    if (boot_us < times_ms("clock-boot", BOOT_MS) * 1000)
        return true;
    return boot_us - r->started_us < r->redis_clock.settle_us &&
           (r->has_past || llabs((long long)apart_us) > CLOCK_STEP_MAX_US);
}

// For so long time goes on from the newest entry, or the record at the cursor, as fast as the
// boot clock, and no faster: what is newer than that by more than redis.retain.age stays.
static int64_t
cautious(struct relay *r, int64_t now_us)
{
    int64_t boot_us = clock_boot_us();

    if (r->newest_at_us ==
        0) { // before the first batch, whose ids are by this very clock
        r->newest_us = newest_id_us(r);
        if (r->received_us > r->newest_us)
            r->newest_us = r->received_us;
        r->newest_at_us = boot_us;
    }
    if (!is_early(r, now_us, boot_us))
        return now_us;
    int64_t sure_us = r->newest_us + boot_us - r->newest_at_us;
    return r->newest_us == 0 || now_us < sure_us ? now_us : sure_us;
}

// Redis never gives a smaller id than it gave: after its clock was ahead, entries keep ids of
// that time until it has come, and stay for as much longer. Said once each time.
static void
check_ids(struct relay *r, int64_t now_us)
{
    int64_t ahead_us = newest_id_us(r) - now_us;
    bool ahead = ahead_us > HOUR_MS * INT64_C(1000);

    if (ahead && !r->warned_ids)
        log_alarm(
            "relay: entry ids are %lld h ahead of Redis's clock, which must have been "
            "wrong: redis.retain.age keeps entries so much longer. Trim such a stream "
            "by hand (XTRIM), or give its hooks another one",
            (long long)(ahead_us / 1000 / HOUR_MS));
    r->warned_ids = ahead;
}

// believed_time is Redis's time, 0 when it is not known or not believed.
static int64_t
believed_time(struct relay *r)
{
    struct clock_watch *w = &r->redis_clock;
    int64_t now_us = redis_time(r);

    if (now_us == 0)
        return 0;
    switch (clock_watch_check(w, now_us, clock_boot_us())) {
    case CLOCK_STEADY:
        break;
    case CLOCK_STEPPED:
        log_alarm(
            "relay: Redis's clock stepped by %lld s: no entry is trimmed for its age "
            "until that clock has been steady for %lld s. Synchronize Redis's machine",
            (long long)w->step_us / 1000000, (long long)w->settle_us / 1000000);
        break;
    case CLOCK_HELD:
        break;
    case CLOCK_UNDONE:
    case CLOCK_SETTLED:
        log_info(
            "relay: Redis's clock is steady: entries are trimmed for their age again");
        r->exact_ms = 0;
        break;
    }
    set_held(r, w->holding);
    return w->holding ? 0 : cautious(r, now_us);
}

// At most once an hour, with all that went since.
static void
report_dead(struct relay *r, uint64_t gone)
{
    int64_t now = clock_mono_ms();

    pthread_mutex_lock(&r->lock);
    r->status.dead_trimmed += gone;
    pthread_mutex_unlock(&r->lock);
    r->dead_gone += gone;
    if (r->dead_gone == 0 || (r->dead_gone_ms && now - r->dead_gone_ms < HOUR_MS))
        return;
    log_alarm(
        "relay: %llu dead letters were trimmed, too old or too many (redis.retain): "
        "nobody had dropped them. Look at acrelay dead list sooner, or raise "
        "redis.retain.dead",
        (unsigned long long)r->dead_gone);
    r->dead_gone = 0;
    r->dead_gone_ms = now;
}

// is_exact says whether the hour has passed.
static bool
is_exact(struct relay *r)
{
    int64_t now = clock_boot_us() / 1000; // suspended hours are hours

    if (r->exact_ms && now - r->exact_ms < times_ms("trim-exact", HOUR_MS))
        return false;
    r->exact_ms = now;
    return true;
}

void
relay_trim(struct relay *r)
{
    const struct relay_options *o = &r->options;
    struct relay_stream streams[RELAY_STREAMS_MAX] = {0};
    int64_t now_us = believed_time(r);
    bool exact = is_exact(r);
    size_t n = 0;

    if (exact) {
        relay_sync_streams(r);
        relay_forget_hooks(r);
        if (now_us > 0)
            check_ids(r, now_us);
    }
    for (size_t i = 0; i < r->streams_len; i++, n++) {
        int64_t age_us = i == 0 ? o->retain_dead_us : o->retain_age_us;
        uint64_t gone = trim_stream(r, r->streams[i], &streams[n], age_us, now_us, exact);
        if (i == 0)
            report_dead(r, gone);
        if (i == 0 && gone > 0)
            relay_sweep_aside(r);
    }
    for (size_t i = 0; i < r->left_len; i++, n++)
        trim_stream(r, r->left[i], &streams[n], o->retain_age_us, now_us, exact);
    if (redis_is_dead(r->redis)) {
        r->exact_ms = 0; // and these are no figures
        return;
    }
    pthread_mutex_lock(&r->lock);
    memcpy(r->status.streams, streams, sizeof streams);
    pthread_mutex_unlock(&r->lock);
}
