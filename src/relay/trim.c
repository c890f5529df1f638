// Trimming takes place every few seconds, not with each XADD: an approximate XTRIM drops
// whole nodes and costs next to nothing when there is none to drop. What it leaves, a node at
// most, an exact one drops once an hour.
//
// "Now" is Redis's own time, of which the entries' ids are made; ours does not count. When Redis's
// clock parts from our boot clock (a step, or another Redis after a failover), nothing is
// trimmed for its age until it has been steady for a while: a clock that is ahead for some
// seconds would delete what nobody has read.
//
// XINFO GROUPS gives `lag`, the entries the group has not been given, trimmed ones among
// them (Redis 7.0 on). So what a group can never read is lag minus length, and a trim has taken
// from it by how much that has grown. Where an entry ahead of the group was deleted Redis does
// not know the lag: added minus read is that, and the deleted ones.
//
// Entries outlive the file that names their stream: a stream whose hook was renamed or removed is
// trimmed on, and its figures go on, until it is empty. The set {ns}:streams is Redis's, so that
// it is lost with the streams and kept with them; what it names is checked like any bytes from
// outside.
#include "relay/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/param.h>

enum { TRIMS_MAX = 50, TRIM_FULL = 10000, BOOT_MS = 300000, FORGET_MAX = 16 };

static_assert(RELAY_STREAMS_MAX >= CONFIG_STREAMS_MAX + 2, "dead letters, and an end");

// --- which streams -----------------------------------------------------------------------------

// add_stream takes a stream while there is room; true when it is new.
static bool
add_stream(struct relay *r, struct span name)
{
    size_t len = r->trim.streams_len;
    char *to = r->trim.streams[len];

    for (size_t i = 0; i < len; i++)
        if (span_is(name, r->trim.streams[i]))
            return false;
    if (len >= RELAY_STREAMS_MAX - 1 || name.len == 0 || name.len >= RELAY_NAME ||
        name.at[0] == '.')
        return false;
    snprintf(to, RELAY_NAME, "%.*s", (int)name.len, name.at);
    if (strspn(to, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != name.len)
        return false;
    r->trim.streams_len++;
    return true;
}

// take_settings takes the streams of the configuration, dead letters first; those of the one
// before stay known.
static void
take_settings(struct relay *r)
{
    const struct config_list *configured = &r->settings.config->streams;
    char before[RELAY_STREAMS_MAX][RELAY_NAME];
    size_t before_len = r->trim.streams_len;

    memcpy(before, r->trim.streams, sizeof before);
    r->trim.streams_len = 0;
    add_stream(r, SPAN("dead"));
    for (size_t i = 0; i < configured->len; i++)
        add_stream(r, span_of(configured->at[i]));
    r->trim.configured_len = r->trim.streams_len;
    for (size_t i = 0; i < before_len; i++)
        add_stream(r, span_of(before[i]));
    r->trim.exact_ms = r->trim.trimmed_ms = 0;
    r->trim.reloaded = false;
}

// Records may name streams that no hook names any more.
static void
add_batch(struct relay *r)
{
    size_t prefix = strlen(r->script.namespace) + 3; // "{namespace}:"

    for (size_t i = SCRIPT_KEYS_FIXED; i < r->script.keys_len; i++)
        if (add_stream(r, span_of(r->script.keys[i] + prefix)))
            r->trim.exact_ms = 0;
}

static void
make_key(const struct relay *r, char to[SCRIPT_KEY], const char *name)
{
    script_key(to, r->script.namespace, span_of(name));
}

// sync_streams writes the set and reads what others left there.
static void
sync_streams(struct relay *r)
{
    char set[SCRIPT_KEY], key[SCRIPT_KEY];

    // version 0.1.0 kept fingerprints there
    make_key(r, set, "seen:a");
    make_key(r, key, "seen:b");
    redis_ask(r->redis, NULL, "UNLINK", set, key, NULL);
    make_key(r, set, "streams");
    const struct redis_reply *known = redis_ask(r->redis, NULL, "SMEMBERS", set, NULL);
    for (size_t i = 0; i < redis_value(known).len; i++)
        add_stream(r, redis_value(redis_reply_at(known, i)).text);
    for (size_t i = 1; i < r->trim.streams_len; i++) {
        const char *change = "SADD", *name = r->trim.streams[i];
        make_key(r, key, name);
        if (i >= r->trim.configured_len) {
            const struct redis_reply *len = redis_ask(r->redis, NULL, "XLEN", key, NULL);
            change = redis_value(len).kind != REDIS_NUMBER ? NULL
                     : redis_value(len).number             ? "SADD"
                                                           : "SREM";
        }
        if (change)
            redis_ask(r->redis, NULL, change, set, name, NULL);
    }
}

// forget_hooks takes hooks that are not in the file out of {ns}:last, a few each time.
static void
forget_hooks(struct relay *r)
{
    char names[FORGET_MAX][DELIVERY_NAME_MAX + 1], *key = r->script.keys[5];
    const struct config *c = r->settings.config;
    size_t len = 0;

    if (c->hooks_len == 0)
        return;
    const struct redis_reply *found = redis_ask(r->redis, NULL, "HKEYS", key, NULL);
    // The names live as long as the reply.
    for (size_t i = 0; i < redis_value(found).len && len < FORGET_MAX; i++) {
        struct span name = redis_value(redis_reply_at(found, i)).text;
        if (name.len <= DELIVERY_NAME_MAX && !config_find_hook(c, name))
            snprintf(names[len++], sizeof *names, "%.*s", (int)name.len, name.at);
    }
    for (size_t i = 0; i < len; i++)
        redis_ask(r->redis, NULL, "HDEL", key, names[i], NULL);
}

// --- a stream ------------------------------------------------------------------------------------

// field_of is the value of a field in a reply of names and values, NULL when there is none.
static const struct redis_reply *
field_of(const struct redis_reply *about, const char *name)
{
    for (size_t i = 0; i + 1 < redis_value(about).len; i += 2)
        if (span_is(redis_value(redis_reply_at(about, i)).text, name))
            return redis_reply_at(about, i + 1);
    return NULL;
}

static const struct redis_reply *
stream_field(struct relay *r, const char *key, const char *name)
{
    return field_of(redis_ask(r->redis, NULL, "XINFO", "STREAM", key, NULL), name);
}

static uint64_t
length_of(struct relay *r, const char *key)
{
    return (uint64_t)redis_value(redis_ask(r->redis, NULL, "XLEN", key, NULL)).number;
}

static uint64_t
max_lag(struct relay *r, const char *key)
{
    int64_t max = 0, slowest = -1; // slowest: entries read by a group of unknown lag
    const struct redis_reply *groups =
        redis_ask(r->redis, NULL, "XINFO", "GROUPS", key, NULL);

    for (size_t i = 0; i < redis_value(groups).len; i++) {
        const struct redis_reply *group = redis_reply_at(groups, i);
        struct redis_value lag = redis_value(field_of(group, "lag"));
        struct redis_value read = redis_value(field_of(group, "entries-read"));
        max = MAX(max, lag.number);
        if (lag.kind == REDIS_NIL && read.kind == REDIS_NUMBER &&
            (slowest < 0 || read.number < slowest))
            slowest = read.number;
    }
    if (slowest >= 0) {
        int64_t added = redis_value(stream_field(r, key, "entries-added")).number;
        max = MAX(max, added - slowest);
    }
    return (uint64_t)max;
}

// A dead connection is not reported here: the next batch meets it.
static void
report_refused(struct relay *r, const struct redis_reply *reply)
{
    struct span message = redis_value(reply).text;

    if (redis_value(reply).kind == REDIS_ERROR && !r->trim.refused.reported)
        once_report(&r->trim.refused, LOG_LEVEL_WARN,
                    "relay: streams cannot be trimmed and keep growing: %.*s",
                    (int)message.len, message.at);
}

static int64_t
trim_once(struct relay *r, const char *key, const char *how, const char *sign,
          uint64_t bound)
{
    char number[24];

    snprintf(number, sizeof number, "%llu", (unsigned long long)bound);
    const struct redis_reply *reply =
        redis_ask(r->redis, NULL, "XTRIM", key, how, sign, number, NULL);
    report_refused(r, reply);
    return redis_value(reply).number;
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
beyond(uint64_t lag, uint64_t length)
{
    return lag > length ? lag - length : 0;
}

static void
show(const char *name, uint64_t length, uint64_t lag, uint64_t gone, uint64_t unread)
{
    struct metric *unread_total = &relay_metrics[RELAY_TRIMMED_UNREAD];

    if (unread > 0 && metric_read(unread_total) == 0)
        log_warn("relay: %llu entries of %s were trimmed before a group had read them; "
                 "see redis.retain",
                 (unsigned long long)unread, name);
    metric_add(unread_total, (double)unread);
    metric_add(&relay_metrics[RELAY_TRIMMED], (double)gone);
    metric_set(metric_find(METRIC_GAUGE, "acrelay_stream_length_entries",
                           "Entries in a stream.", "stream", name, NULL),
               (double)length);
    metric_set(metric_find(METRIC_GAUGE, "acrelay_stream_lag_entries",
                           "Entries the slowest group has not read.", "stream", name,
                           NULL),
               (double)lag);
}

// trim_stream trims by age where `now_us` is known, else by number only.
static uint64_t
trim_stream(struct relay *r, const char *name, int64_t age_us, int64_t now_us, bool exact)
{
    bool is_test = strcmp(name, CONFIG_TEST_HOOK) == 0;
    uint64_t entries_max =
        is_test ? CONFIG_TEST_ENTRIES : r->settings.config->redis_retain_entries;
    uint64_t gone = 0;
    char key[SCRIPT_KEY];

    make_key(r, key, name);
    uint64_t lag = max_lag(r, key), before = length_of(r, key);
    if (age_us > 0 && now_us > age_us)
        gone += trim_by(r, key, "MINID", (uint64_t)(now_us - age_us) / 1000, exact);
    if (entries_max > 0)
        gone += trim_by(r, key, "MAXLEN", entries_max, false);
    uint64_t after = gone ? length_of(r, key) : before;

    if (!r->redis->dead) // else these are no figures
        show(name, after, lag, gone,
             after < before ? beyond(lag, after) - beyond(lag, before) : 0);
    return gone;
}

// --- Redis's clock ---------------------------------------------------------------------------------

static int64_t
redis_time(struct relay *r)
{
    uint64_t seconds, us;
    const struct redis_reply *reply = redis_ask(r->redis, NULL, "TIME", NULL);

    report_refused(r, reply);
    if (!text_number(&seconds, redis_value(redis_reply_at(reply, 0)).text,
                     INT64_MAX / 1000000 - 1) ||
        !text_number(&us, redis_value(redis_reply_at(reply, 1)).text, 999999))
        return 0;
    return (int64_t)(seconds * 1000000 + us);
}

// newest_id_us is the time of the newest id of our streams, 0 when there is none, or no right
// to see it.
static int64_t
newest_id_us(struct relay *r)
{
    int64_t newest_ms = 0;
    char key[SCRIPT_KEY];
    uint64_t ms;

    for (size_t i = 0; i < r->trim.streams_len; i++) {
        make_key(r, key, r->trim.streams[i]);
        struct span id = redis_value(stream_field(r, key, "last-generated-id")).text;
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
is_early(const struct relay *r, int64_t now_us, int64_t boot_us)
{
    int64_t apart_us = now_us - clock_now_us();

    if (boot_us < times_ms("clock-boot", BOOT_MS) * 1000)
        return true;
    return boot_us - r->trim.started_us < r->trim.clock.settle_us &&
           (r->trim.has_past || llabs((long long)apart_us) > CLOCK_STEP_MAX_US);
}

// For so long time goes on from the newest entry, or the record at the cursor, as fast as the
// boot clock, and no faster: what is newer than that by more than redis.retain.age stays.
static int64_t
cautious(struct relay *r, int64_t now_us)
{
    int64_t boot_us = clock_boot_us();

    if (r->trim.newest_at_us ==
        0) { // before the first batch, whose ids are by this very clock
        r->trim.newest_us = newest_id_us(r);
        if (r->received_us > r->trim.newest_us)
            r->trim.newest_us = r->received_us;
        r->trim.newest_at_us = boot_us;
    }
    if (!is_early(r, now_us, boot_us))
        return now_us;
    int64_t sure_us = r->trim.newest_us + boot_us - r->trim.newest_at_us;
    return r->trim.newest_us == 0 || now_us < sure_us ? now_us : sure_us;
}

// Redis never gives a smaller id than it gave: after its clock was ahead, entries keep ids of
// that time until it has come, and stay for as much longer. Reported once each time.
static void
check_ids(struct relay *r, int64_t now_us)
{
    int64_t ahead_us = newest_id_us(r) - now_us;

    if (ahead_us <= RELAY_HOUR_MS * INT64_C(1000))
        once_clear(&r->trim.ids);
    else if (!r->trim.ids.reported)
        once_report(
            &r->trim.ids, LOG_LEVEL_ALARM,
            "relay: entry ids are %lld h ahead of Redis's clock, which must have been "
            "wrong: entries are kept that much longer than redis.retain.age. Trim the "
            "stream by hand (XTRIM), or give its hooks another one",
            (long long)(ahead_us / 1000 / RELAY_HOUR_MS));
}

// believed_time is Redis's time, 0 when it is not known or not believed.
static int64_t
believed_time(struct relay *r)
{
    struct clock_watch *w = &r->trim.clock;
    int64_t now_us = redis_time(r);

    if (now_us == 0)
        return 0;
    enum clock_watch_result step = clock_watch_check(w, now_us, clock_boot_us());
    if (step == CLOCK_STEPPED)
        log_alarm("relay: Redis's clock stepped by %lld s: no entry is trimmed by age "
                  "until that clock has been stable for %lld s. Synchronize the clock of "
                  "Redis's machine",
                  (long long)w->step_us / 1000000, (long long)w->settle_us / 1000000);
    if (step == CLOCK_UNDONE || step == CLOCK_SETTLED) {
        log_info("relay: Redis's clock is stable: entries are trimmed by age again");
        r->trim.exact_ms = 0;
    }
    metric_set(&relay_metrics[RELAY_CLOCK_HELD], w->holding);
    metric_set(&relay_metrics[RELAY_CLOCK_STEP],
               w->holding ? (double)w->step_us / 1e6 : 0);
    return w->holding ? 0 : cautious(r, now_us);
}

// --- trimming --------------------------------------------------------------------------------------

// At most once an hour, with all that went since.
static void
report_dead(uint64_t gone)
{
    static struct log_limit limit = LOG_LIMIT(RELAY_HOUR_MS);
    uint64_t held_back;

    metric_add(&relay_metrics[RELAY_DEAD_TRIMMED], (double)gone);
    if (log_limit_pass(&limit, gone, clock_mono_ms(), &held_back))
        log_alarm("relay: %llu dead letters were trimmed before anyone dropped them "
                  "(redis.retain). Check acrelay dead list more often, or raise "
                  "redis.retain.dead",
                  (unsigned long long)(gone + held_back));
}

// The oldest letter that is left shows which files have lost theirs: letters of one journal stand
// in the order of their sequence. While it is another journal's, ours wait.
static void
sweep_aside(struct relay *r)
{
    const char *directory = r->settings.config->state_dir;
    const char *journal = journal_id(r->journal);

    if (!aside_sweep(directory, journal, 0))
        return;
    const struct redis_reply *letter = stream_field(r, r->script.keys[1], "first-entry");
    // ce_id is the first field
    struct span id = redis_value(redis_reply_at(redis_reply_at(letter, 1), 1)).text;
    uint64_t before = r->cursor + 1;
    bool ours = id.len == EVENT_ID_TEXT && span_starts(id, span_of(journal)) &&
                entry_sequence(&before, span_from(id, JOURNAL_ID_TEXT));
    if (ours || (letter && redis_value(letter).len == 0))
        aside_sweep(directory, journal, before);
}

static void
trim(struct relay *r)
{
    const struct config *c = r->settings.config;
    int64_t now_us = believed_time(r), boot_ms = clock_boot_ms();
    int64_t hour_ms = times_ms("trim-exact", RELAY_HOUR_MS); // suspended ones too
    bool exact = !r->trim.exact_ms || boot_ms - r->trim.exact_ms >= hour_ms;

    if (exact) {
        r->trim.exact_ms = boot_ms;
        sync_streams(r);
        forget_hooks(r);
        if (now_us > 0)
            check_ids(r, now_us);
    }
    for (size_t i = 0; i < r->trim.streams_len; i++) {
        bool dead = i == 0;
        int64_t age_us = dead ? c->redis_retain_dead_us : c->redis_retain_age_us;
        uint64_t gone = trim_stream(r, r->trim.streams[i], age_us, now_us, exact);
        if (dead)
            report_dead(gone);
        if (dead && gone > 0)
            sweep_aside(r);
    }
    if (r->redis->dead)
        r->trim.exact_ms = 0;
}

void
trim_if_due(struct relay *r)
{
    int64_t now = clock_mono_ms();

    if (r->trim.reloaded)
        take_settings(r);
    add_batch(r);
    if (r->trim.trimmed_ms && now - r->trim.trimmed_ms < r->times.trim)
        return;
    r->trim.trimmed_ms = now;
    trim(r);
}
