// When trimming takes place, of what, and by which clock; how is in stream.c.
//
// "Now" is Redis's own time, of which the entries' ids are made; ours does not count. When Redis's
// clock parts from our boot clock (a step, or another Redis after a failover), nothing is
// trimmed for its age until it has been steady for a while: a clock that is ahead for some
// seconds would delete what nobody has read.
//
// Entries outlive the file that names their stream: a stream whose hook was renamed or removed is
// trimmed on, and its figures go on, until it is empty. The set {ns}:streams is Redis's, so that
// it is lost with the streams and kept with them; what it names is checked like any bytes from
// outside.
#include "relay/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/param.h>

enum { BOOT_MS = 300000 };

static_assert(RELAY_STREAMS_MAX >= CONFIG_STREAMS_MAX + 2, "dead letters, and an end");

// --- which streams -----------------------------------------------------------------------------

// add_stream takes a stream while there is room; true when it is new.
static bool
add_stream(struct partition *p, struct span name)
{
    size_t len = p->trim.streams_len;
    char *to = p->trim.streams[len];

    for (size_t i = 0; i < len; i++)
        if (span_is(name, p->trim.streams[i]))
            return false;
    if (len >= RELAY_STREAMS_MAX - 1 || name.len == 0 || name.len >= RELAY_NAME ||
        name.at[0] == '.')
        return false;
    snprintf(to, RELAY_NAME, "%.*s", (int)name.len, name.at);
    if (strspn(to, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != name.len)
        return false;
    p->trim.streams_len++;
    return true;
}

// take_settings takes the streams of the configuration, dead letters first; those of the one
// before stay known.
static void
take_settings(struct partition *p)
{
    const struct config_list *configured = &p->settings->config->streams;
    char before[RELAY_STREAMS_MAX][RELAY_NAME];
    size_t before_len = p->trim.streams_len;

    memcpy(before, p->trim.streams, sizeof before);
    p->trim.streams_len = 0;
    add_stream(p, SPAN("dead"));
    for (size_t i = 0; i < configured->len; i++)
        add_stream(p, span_of(configured->at[i]));
    p->trim.configured_len = p->trim.streams_len;
    for (size_t i = 0; i < before_len; i++)
        add_stream(p, span_of(before[i]));
    p->trim.exact_ms = p->trim.trimmed_ms = 0;
    p->trim.reloaded = false;
}

void
trim_add_batch(struct partition *p)
{
    size_t prefix = strlen(p->script.namespace) + 3; // "{namespace}:"
    char set[SCRIPT_KEY];

    stream_key(p, set, "streams");
    for (size_t i = SCRIPT_KEYS_FIXED; i < p->script.keys_len; i++)
        if (add_stream(p, span_of(p->script.keys[i] + prefix))) {
            p->trim.exact_ms = 0;
            redis_ask(p->redis, NULL, "SADD", set, p->script.keys[i] + prefix, NULL);
        }
}

// sync_streams writes the set and reads what others left there.
static void
sync_streams(struct partition *p)
{
    char set[SCRIPT_KEY], key[SCRIPT_KEY];

    // version 0.1.0 kept fingerprints there
    stream_key(p, set, "seen:a");
    stream_key(p, key, "seen:b");
    redis_ask(p->redis, NULL, "UNLINK", set, key, NULL);
    stream_key(p, set, "streams");
    const struct redis_reply *known = redis_ask(p->redis, NULL, "SMEMBERS", set, NULL);
    for (size_t i = 0; i < redis_value(known).len; i++)
        add_stream(p, redis_value(redis_reply_at(known, i)).text);
    for (size_t i = 1; i < p->trim.streams_len; i++) {
        const char *change = "SADD", *name = p->trim.streams[i];
        stream_key(p, key, name);
        if (i >= p->trim.configured_len) {
            int64_t len = stream_length(p, key);
            change = len < 0 ? NULL : len > 0 ? "SADD" : "SREM";
        }
        if (change)
            redis_ask(p->redis, NULL, change, set, name, NULL);
    }
}

// KEYS: {ns}:last, {ns}:last:listed. ARGV: hooks not listed since then, in s, are forgotten; our hooks.
static const char forget_script[] =
    "local now = redis.call('TIME')[1]\n"
    "for i = 2, #ARGV do redis.call('HSET', KEYS[2], ARGV[i], now) end\n"
    "for _, hook in ipairs(redis.call('HKEYS', KEYS[1])) do\n"
    "  local listed = redis.call('HMGET', KEYS[2], hook)[1]\n"
    "  if not listed then redis.call('HSET', KEYS[2], hook, now) end\n"
    "end\n"
    "for _, hook in ipairs(redis.call('HKEYS', KEYS[2])) do\n"
    "  local listed = tonumber(redis.call('HMGET', KEYS[2], hook)[1])\n"
    "  if not listed or listed < tonumber(ARGV[1]) then\n"
    "    for i = 1, 2 do redis.call('HDEL', KEYS[i], hook) end\n"
    "  end\n"
    "end";

// forget_hooks takes hooks out of {ns}:last that have been in no receiver's file for a day: others may
// list what ours does not. Nothing depends on it.
static void
forget_hooks(struct partition *p, int64_t now_us)
{
    int64_t listed_us = times_ms("hook-listed", RELAY_HOUR_MS * 24) * 1000;
    const struct config *c = p->settings->config;
    struct redis_args args = {0};
    char key[SCRIPT_KEY];

    stream_key(p, key, "last:listed");
    const struct span head[] = {SPAN("EVAL"), span_of(forget_script), SPAN("2"),
                                span_of(p->script.keys[5]), span_of(key)};
    redis_args_format(&args, "%lld",
                      now_us > 0 ? (long long)(now_us - listed_us) / 1000000 : 0);
    for (size_t i = 0; i < c->hooks_len; i++)
        redis_args_add(&args, span_of(c->hooks[i].name));
    if (redis_send(p->redis, head, 5, &args, NULL) == 0)
        (void)redis_receive(p->redis, NULL);
    buf_release(&args.bytes);
}

// --- Redis's clock ---------------------------------------------------------------------------------

static int64_t
redis_time(struct partition *p)
{
    const struct redis_reply *reply = redis_ask(p->redis, NULL, "TIME", NULL);

    stream_report_refused(p, reply);
    return redis_time_us(reply);
}

// newest_id_us is the time of the newest id of our streams, 0 when there is none, or no right
// to see it.
static int64_t
newest_id_us(struct partition *p)
{
    int64_t newest_ms = 0;
    char key[SCRIPT_KEY];
    uint64_t ms;

    for (size_t i = 0; i < p->trim.streams_len; i++) {
        stream_key(p, key, p->trim.streams[i]);
        struct span id = redis_value(stream_field(p, key, "last-generated-id")).text;
        if (text_number(&ms, span_cut(&id, '-'), INT64_MAX / 1000) &&
            (int64_t)ms > newest_ms)
            newest_ms = (int64_t)ms;
    }
    return newest_ms * 1000;
}

// is_early: too little time has passed to have seen a step of Redis's clock: a
// machine that has just booted may not have its time yet, and Redis on it neither; and between
// two lives of this process anything may have set it. A first start has no such past, unless
// the two clocks already disagree.
static bool
is_early(const struct partition *p, int64_t now_us, int64_t boot_us)
{
    int64_t apart_us = now_us - clock_now_us();

    if (boot_us < times_ms("clock-boot", BOOT_MS) * 1000)
        return true;
    return boot_us - p->trim.started_us < p->trim.clock.settle_us &&
           (p->trim.has_past || llabs((long long)apart_us) > CLOCK_STEP_MAX_US);
}

// For so long time goes on from the newest entry, or the record at the cursor, as fast as the
// boot clock, and no faster: what is newer than that by more than redis.retain.age stays.
static int64_t
cautious(struct partition *p, int64_t now_us)
{
    int64_t boot_us = clock_boot_us();

    if (p->trim.newest_at_us ==
        0) { // before the first batch, whose ids are by this very clock
        p->trim.newest_us = newest_id_us(p);
        if (p->received_us > p->trim.newest_us)
            p->trim.newest_us = p->received_us;
        p->trim.newest_at_us = boot_us;
    }
    if (!is_early(p, now_us, boot_us))
        return now_us;
    int64_t sure_us = p->trim.newest_us + boot_us - p->trim.newest_at_us;
    return p->trim.newest_us == 0 || now_us < sure_us ? now_us : sure_us;
}

// Redis never gives a smaller id than it gave: after its clock was ahead, entries keep ids of
// that time until it has come, and stay for as much longer. Reported once each time.
static void
check_ids(struct partition *p, int64_t now_us)
{
    int64_t ahead_us = newest_id_us(p) - now_us;

    if (ahead_us <= RELAY_HOUR_MS * INT64_C(1000))
        once_clear(&p->trim.ids);
    else if (!p->trim.ids.reported)
        once_report(
            &p->trim.ids, LOG_LEVEL_WARN,
            "relay%s: entry ids are %lld h ahead of Redis's clock, which must have been "
            "wrong: entries are kept that much longer than redis.retain.age. Trim the "
            "stream by hand (XTRIM), or give its hooks another one",
            p->label, (long long)(ahead_us / 1000 / RELAY_HOUR_MS));
}

// believed_time is Redis's time, 0 when it is not known or not believed.
static int64_t
believed_time(struct partition *p)
{
    struct clock_watch *w = &p->trim.clock;
    int64_t now_us = redis_time(p);

    if (now_us == 0)
        return 0;
    enum clock_watch_result step = clock_watch_check(w, now_us, clock_boot_us());
    if (step == CLOCK_STEPPED)
        log_alarm(
            "relay%s: Redis's clock stepped %s by %lld s: no entry is trimmed by age "
            "until that clock has been stable for %lld s. Synchronize the clock of "
            "Redis's machine",
            p->label, w->step_us < 0 ? "back" : "ahead",
            llabs((long long)w->step_us) / 1000000, (long long)w->settle_us / 1000000);
    if (step == CLOCK_UNDONE || step == CLOCK_SETTLED) {
        log_info("relay%s: Redis's clock is stable: entries are trimmed by age again",
                 p->label);
        p->trim.exact_ms = 0;
    }
    pthread_mutex_lock(&p->relay->lock);
    p->clock_held = w->holding;
    p->clock_step_s = w->holding ? (double)w->step_us / 1e6 : 0;
    pthread_mutex_unlock(&p->relay->lock);
    relay_show_worst(p->relay);
    return w->holding ? 0 : cautious(p, now_us);
}

// --- trimming --------------------------------------------------------------------------------------

// At most once an hour, with all that went since.
static void
report_dead(uint64_t gone)
{
    static struct log_limit limit = LOG_LIMIT(RELAY_HOUR_MS);

    metric_add(&relay_metrics[RELAY_DEAD_TRIMMED], (double)gone);
    if ((gone = log_limit_pass(&limit, gone, clock_mono_ms())))
        log_alarm("relay: %llu dead letters were trimmed before anyone dropped them "
                  "(redis.retain). Check acrelay dead list more often, or raise "
                  "redis.retain.dead",
                  (unsigned long long)gone);
}

// The sequence before which the dead letters of all partitions are gone, 0: not known; with the lock.
static uint64_t
letters_from(struct relay *r)
{
    uint64_t from = UINT64_MAX;

    for (size_t i = 0; i < r->len; i++)
        if (!r->partitions[i]->is_empty)
            from = MIN(from, r->partitions[i]->letters_from);
    return from;
}

// The oldest letter that is left shows which files have lost theirs: letters of one journal stand
// in the order of their sequence. While it is another journal's, ours wait. A file goes when all
// partitions are beyond it; of several many never have a letter.
static void
sweep_aside(struct partition *p)
{
    const char *directory = p->settings->config->state_dir;
    const char *journal = journal_id(p->journal);

    if (!aside_sweep(directory, journal, 0))
        return;
    const struct redis_reply *letter = stream_field(p, p->script.keys[1], "first-entry");
    // ce_id is the first field
    struct span id = redis_value(redis_reply_at(redis_reply_at(letter, 1), 1)).text;
    uint64_t before = p->cursor + 1;
    bool ours = id.len == EVENT_ID_TEXT && span_starts(id, span_of(journal)) &&
                entry_sequence(&before, span_from(id, JOURNAL_ID_TEXT));
    bool none = letter ? redis_value(letter).len == 0
                       : p->relay->len > 1 && stream_length(p, p->script.keys[1]) == 0;
    if (!ours && !none)
        return;
    pthread_mutex_lock(&p->relay->lock);
    p->letters_from = before;
    uint64_t gone = letters_from(p->relay);
    pthread_mutex_unlock(&p->relay->lock);
    aside_sweep(directory, journal, gone);
}

// end_if_empty ends a partition that is over once its streams are trimmed to nothing, but not before
// keep has passed: what Redis loses until then is sent again, or reported.
static void
end_if_empty(struct partition *p)
{
    int64_t old_us = clock_boot_us() - p->trim.started_us;
    char key[SCRIPT_KEY];
    bool empty = true;

    if (old_us <= p->settings->config->journal_keep_us)
        return;
    for (size_t i = 0; i < p->trim.streams_len && empty; i++) {
        stream_key(p, key, p->trim.streams[i]);
        empty = stream_length(p, key) == 0;
    }
    pthread_mutex_lock(&p->relay->lock);
    p->is_empty = empty;
    pthread_mutex_unlock(&p->relay->lock);
}

static void
trim(struct partition *p)
{
    const struct config *c = p->settings->config;
    int64_t now_us = believed_time(p), boot_ms = clock_boot_ms();
    int64_t hour_ms = times_ms("trim-exact", RELAY_HOUR_MS); // suspended ones too
    bool exact = !p->trim.exact_ms || boot_ms - p->trim.exact_ms >= hour_ms;

    if (exact) {
        p->trim.exact_ms = boot_ms;
        sync_streams(p);
        forget_hooks(p, now_us);
        if (now_us > 0)
            check_ids(p, now_us);
    }
    for (size_t i = 0; i < p->trim.streams_len; i++) {
        bool dead = i == 0;
        int64_t age_us = dead ? c->redis_retain_dead_us : c->redis_retain_age_us;
        uint64_t gone = stream_trim(p, p->trim.streams[i], age_us, now_us, exact);
        if (dead)
            report_dead(gone);
        if (dead && (gone > 0 || (exact && p->relay->len > 1)))
            sweep_aside(p);
    }
    if (partition_is_over(p))
        end_if_empty(p);
    if (p->redis->dead)
        p->trim.exact_ms = 0;
}

void
trim_if_due(struct partition *p)
{
    int64_t now = clock_mono_ms();

    if (p->trim.reloaded)
        take_settings(p);
    if (p->trim.trimmed_ms && now - p->trim.trimmed_ms < p->times.trim)
        return;
    p->trim.trimmed_ms = now;
    trim(p);
}
