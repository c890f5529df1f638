#include "worker/worker.h"

#include "base/log.h"
#include "base/metric.h"
#include "base/text.h"
#include "edge/admin.h"
#include "edge/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/param.h>

enum { HOOKS_MAX = 10 * CONFIG_HOOKS_MAX }; // that are taken over from Redis
static const int64_t day_us = INT64_C(86400) * 1000000;

struct monitored {
    char name[HOOK_NAME];
    struct state state;
    struct silence silence;
    bool pending, silent;
};

enum { REGISTERED, PENDING, SILENT, LEFT, FOREIGN, METRICS };
#define HOOKS(STATE)                                                                     \
    METRIC_WITH(GAUGE, "acrelay_hooks", "Hooks by state.", "state=\"" STATE "\"")
static struct metric metrics[METRICS] = {
    [REGISTERED] = HOOKS("registered"), [PENDING] = HOOKS("pending"),
    [SILENT] = HOOKS("silent"),         [LEFT] = HOOKS("left"),
    [FOREIGN] = HOOKS("foreign"),
};

static void
show_silent(const char *hook, bool silent)
{
    metric_set(
        metric_find(METRIC_GAUGE, "acrelay_hook_silent",
                    "Whether a hook has had no event for longer than expect_every.",
                    "hook", hook, NULL),
        silent);
}

// --- silence -------------------------------------------------------------------------------

bool
silence_clock_set(struct silence_clock *c, int64_t redis_us, int64_t boot_us)
{
    enum clock_watch_result result = clock_watch_check(&c->watch, redis_us, boot_us);

    c->redis_us = redis_us;
    c->boot_us = boot_us;
    c->steady = result != CLOCK_STEPPED && result != CLOCK_HELD;
    if (result == CLOCK_SETTLED)
        c->step_us = boot_us;
    return result == CLOCK_STEPPED;
}

void
silence_record(struct silence *s, const struct silence_clock *c, int64_t last_us)
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

int64_t
silence_us(const struct silence *s, const struct silence_clock *c, int64_t *watched_us)
{
    int64_t since = s->seen_us > s->since_us ? s->seen_us : s->since_us;

    *watched_us = c->boot_us - (c->step_us > since ? c->step_us : since);
    int64_t quiet =
        s->last_us && s->last_us <= c->redis_us ? c->redis_us - s->last_us : *watched_us;
    if (s->seen_us)
        quiet = MIN(quiet, c->boot_us - s->seen_us);
    if (c->step_us)
        quiet = MIN(quiet, c->boot_us - c->step_us);
    return quiet;
}

// --- rounds --------------------------------------------------------------------------------

static struct monitored *
find(struct monitor *m, const char *name)
{
    for (size_t i = 0; i < m->len; i++)
        if (strcmp(m->at[i].name, name) == 0)
            return &m->at[i];
    m->at = memory_grow(m->at, (m->len + 1) * sizeof *m->at);
    struct monitored *h = &m->at[m->len++];
    *h = (struct monitored){.silence.since_us = clock_boot_us(), .pending = true};
    snprintf(h->name, sizeof h->name, "%s", name);
    return h;
}

// What AC stores otherwise than it was sent is as it can be, unless its events are lost.
static bool
is_pending(const struct step *s)
{
    return s->kind != STEP_KEEP ||
           (s->differs & DIFFERS_URL && !hook_is_served(s->found));
}

void
monitor_record(struct monitor *m, const struct worker *w, const struct apply *a)
{
    int64_t now = clock_now_us();
    size_t foreign = 0;

    metric_show(metrics, METRICS);
    if (!a) {
        for (size_t i = 0; i < METRICS; i++)
            metric_set(&metrics[i], 0);
        m->listed = m->states_known = false;
        for (size_t i = 0; i < m->len; i++)
            show_silent(m->at[i].name, false);
        return;
    }
    m->listed = true;
    for (size_t i = 0; i < a->found.len; i++)
        if (a->found.at[i].name)
            (void)find(m, a->found.at[i].name);
        else
            foreign++;
    metric_set(&metrics[FOREIGN], (double)foreign);
    for (size_t i = 0; i < w->config->hooks_len; i++) {
        struct monitored *h = find(m, w->config->hooks[i].name);
        h->pending = false;
        h->state.checked_us = now;
    }
    for (size_t i = 0; i < a->plan.len; i++)
        if (a->plan.at[i].wanted && is_pending(&a->plan.at[i]))
            find(m, a->plan.at[i].wanted->name)->pending = true;
    metric_set(&metrics[LEFT], (double)a->plan.count[STEP_LEAVE]);
}

// --- between rounds ------------------------------------------------------------------------

static void
report_silence(struct monitored *h, const struct config_hook *hook, bool silent,
               int64_t quiet_us)
{
    char quiet[40], expected[40];

    if (silent == h->silent)
        return;
    h->silent = silent;
    text_duration(quiet, sizeof quiet, quiet_us / 1000);
    text_duration(expected, sizeof expected, hook->expect_every_us / 1000);
    if (silent)
        log_alarm(
            "worker: hook %s has been silent for %s, but one event every %s is expected: "
            "was it disabled at ActiveCampaign? Change a test contact there; if no event "
            "comes, `acrelay-worker recreate %s` re-creates the webhook",
            h->name, quiet, expected, h->name);
    else
        log_info("worker: hook %s has events again", h->name);
}

// A partition's connection; 0 is the namespace's, where they are without partitions, and were before.
static struct worker_redis *
partition(struct monitor *m, struct worker *w, int i)
{
    struct worker_redis *r = i ? &m->partitions[i - 1] : &w->redis;

    if (i) {
        r->config = w->config;
        config_tag(w->config, i - 1, r->tag);
    }
    return r;
}

// The newest over the partitions, 0 for none. False: not all of them say.
static bool
read_last(struct monitor *m, struct worker *w, const char *hook, int64_t *last_us)
{
    int n = config_partitions(w->config);
    int64_t us;

    *last_us = 0;
    for (int i = 0; !m->lacks && i <= (n > 1 ? n : 0); i++) {
        struct worker_redis *r = partition(m, w, i);
        const struct redis_reply *reply = worker_redis_ask(r, "HGET", "last", hook, NULL);
        m->lacks = i && !r->redis;
        if (!reply)
            return false;
        if (clock_parse(&us, redis_value(reply).text) && us > *last_us)
            *last_us = us;
    }
    return !m->lacks;
}

static void
check_silence(struct monitor *m, struct monitored *h, struct worker *w,
              const struct config_hook *hook)
{
    int64_t last_us, watched_us;

    if (!read_last(m, w, h->name, &last_us))
        return; // nothing is known
    silence_record(&h->silence, &m->clock, last_us);
    h->state.last_us = h->silence.last_us;
    if (hook->expect_every_us == 0) {
        h->silent = false; // no silence is one any more
        return;
    }
    int64_t quiet_us = silence_us(&h->silence, &m->clock, &watched_us);
    if (m->clock.steady)
        report_silence(h, hook, quiet_us > hook->expect_every_us, quiet_us);
}

// What this process did itself counts too, where Redis has lost it.
static void
take_repaired(const struct monitor *m, struct monitored *h, const struct state *kept)
{
    if (kept->repaired_us == 0)
        return;
    // The shorter age counts: Redis's clock may have stepped since, and a boot clock that is
    // less is of another boot. From here on it is the boot clock's of this process.
    int64_t boot = m->clock.boot_us, then = kept->repaired_boot_us,
            age = m->clock.redis_us - kept->repaired_us;
    if (then && then <= boot && boot - then < age)
        age = boot - then;
    then = boot - (age > 0 ? age : 0);
    if (h->state.repaired_us && h->state.repaired_boot_us >= then)
        return;
    h->state.repaired_us = kept->repaired_us;
    h->state.repaired_boot_us = then;
}

static int
state_of(const struct monitored *h)
{
    return h->pending ? PENDING : h->silent ? SILENT : REGISTERED;
}

static bool
save_state(struct monitored *h, struct worker *w, int state)
{
    static const char *const names[] = {"registered", "pending", "silent", "left"};

    snprintf(h->state.name, sizeof h->state.name, "%s", names[state]);
    return state_save(&h->state, h->name, &w->known, &w->redis);
}

static bool
is_listed(const struct known *known, const char *name)
{
    for (size_t i = 0; i < known->len; i++)
        if (known->at[i].listed && strcmp(known->at[i].name, name) == 0)
            return true;
    return false;
}

// Those that the file does not name: left while AC has any and posts to them, else forgotten.
// While that cannot be written they wait.
static void
check_others(struct monitor *m, struct worker *w)
{
    for (size_t i = m->len; i-- > 0;) {
        struct monitored *h = &m->at[i];
        if (config_find_hook(w->config, span_of(h->name)))
            continue;
        bool listed = is_listed(&w->known, h->name);
        show_silent(h->name, false);
        if (!(listed ? save_state(h, w, LEFT)
                     : state_save(NULL, h->name, NULL, &w->redis)))
            return;
        if (!listed)
            m->at[i] = m->at[--m->len];
    }
}

// From an earlier start of this process, or from another leader. One that is not in the file may
// come back into it.
static void
read_states(struct monitor *m, struct worker *w)
{
    const struct redis_reply *reply = worker_redis_ask(&w->redis, "HKEYS", "hooks", NULL);
    struct state kept;
    char name[HOOK_NAME];

    for (size_t i = 0; i < redis_value(reply).len && m->len < HOOKS_MAX; i++)
        if (hook_copy_name(name, redis_value(redis_reply_at(reply, i)).text))
            (void)find(m, name);
    for (size_t i = 0; reply && i < m->len; i++) {
        leader_tick(w->leader);
        reply = worker_redis_ask(&w->redis, "HGET", "hooks", m->at[i].name, NULL);
        state_read(&kept, redis_value(reply).text);
        if (reply)
            take_repaired(m, &m->at[i], &kept);
    }
    m->states_known = reply != NULL;
}

static void
read_clock(struct monitor *m, struct worker *w)
{
    int64_t redis_us = redis_time_us(worker_redis_ask(&w->redis, "TIME", NULL, NULL));

    m->clock.steady = false;
    if (redis_us && silence_clock_set(&m->clock, redis_us, clock_boot_us()))
        log_warn(
            "worker: Redis's clock stepped %s by %lld s: silent hooks are not reported "
            "until it is stable again",
            m->clock.watch.step_us < 0 ? "back" : "ahead",
            llabs((long long)m->clock.watch.step_us) / 1000000);
}

static void
count_states(struct monitor *m, const struct worker *w)
{
    size_t count[METRICS] = {0};

    for (size_t i = 0; i < w->config->hooks_len; i++) {
        const struct monitored *h = find(m, w->config->hooks[i].name);
        count[state_of(h)]++;
        show_silent(h->name, h->silent);
    }
    for (size_t i = REGISTERED; i <= SILENT; i++)
        metric_set(&metrics[i], (double)count[i]);
}

// Stops where Redis is away: each further command would wait for it too.
void
monitor_check(struct monitor *m, struct worker *w)
{
    read_clock(m, w);
    m->lacks = false;
    if (m->clock.steady && !m->states_known)
        read_states(m, w);
    if (w->redis.redis && m->states_known && m->listed)
        check_others(m, w);
    for (size_t i = 0; w->redis.redis && i < w->config->hooks_len; i++) {
        const struct config_hook *hook = &w->config->hooks[i];
        struct monitored *h = find(m, hook->name);
        leader_tick(w->leader); // a slow Redis must not cost the lease
        check_silence(m, h, w, hook);
        if (w->redis.redis && m->states_known)
            (void)save_state(h, w, state_of(h)); // the next check does it again
    }
    count_states(m, w);
}

void
monitor_notify(const struct worker *w, bool leads, const char *trouble, int64_t round_ms)
{
    double silent = metric_read(&metrics[SILENT]),
           good = metric_read(&metrics[REGISTERED]) + silent,
           all = good + metric_read(&metrics[PENDING]);
    int64_t in_ms = round_ms - clock_boot_ms();
    char time[CLOCK_TEXT] = "now";
    struct buf text;

    buf_init(&text, 1000);
    if (in_ms > 0)
        clock_format_seconds(time, clock_now_us() + in_ms * 1000);
    if (trouble[0])
        buf_add_text(&text, trouble);
    else if (leads)
        buf_add_format(&text, "leader; %.0f of %.0f hooks match the file, %.0f silent",
                       good, all, silent);
    else
        buf_add_text(&text, w->config->worker_leader_redis && !w->redis.redis
                                ? "no worker leads while Redis is away; changes wait"
                                : "on standby: another worker is the leader");
    buf_add_format(&text, "; next round: %s", time);
    sockets_notify_status(buf_text(&text));
    buf_release(&text);
}

// --- repair --------------------------------------------------------------------------------

// The silence is believed only when the receiver was there to hear, and all it heard is in
// the stream.
static bool
is_believable(const struct worker *w, const struct config_hook *hook)
{
    double waiting, up, publishes;
    struct buf page;

    admin_fetch_metrics(&page, &w->config->receiver_admin, w->config->installation);
    bool ok = admin_find_metric(&page, "acrelay_journal_unpublished_records", &waiting) &&
              admin_find_metric(&page, "acrelay_uptime_seconds", &up) &&
              admin_find_metric(&page, "acrelay_relay_shipping", &publishes) &&
              waiting == 0 && publishes > 0 && up >= (double)hook->expect_every_us / 1e6;
    buf_release(&page);
    return ok;
}

// Only what this process watched counts, by the boot clock: no hook is re-created because of a
// clock that may step.
static bool
needs_repair(const struct monitor *m, const struct monitored *h, const struct worker *w,
             const struct config_hook *hook)
{
    bool today =
        h->state.repaired_us && clock_boot_us() - h->state.repaired_boot_us < day_us;
    int64_t watched_us;

    (void)silence_us(&h->silence, &m->clock, &watched_us);
    return hook->repair && h->silent && !h->pending && m->states_known && !today &&
           watched_us >= hook->expect_every_us && is_believable(w, hook);
}

static struct monitored *
next_repair(struct monitor *m, const struct worker *w)
{
    for (size_t i = 0; m->clock.steady && i < w->config->hooks_len; i++) {
        const struct config_hook *hook = &w->config->hooks[i];
        struct monitored *h = find(m, hook->name);
        if (needs_repair(m, h, w, hook))
            return h;
    }
    return NULL;
}

// record_repair writes that it is tried. False: nobody would know, so it must not be.
static bool
record_repair(const struct monitor *m, struct monitored *hook, struct worker *w)
{
    struct state before = hook->state;

    hook->state.repaired_us = m->clock.redis_us;
    hook->state.repaired_boot_us = clock_boot_us();
    if (save_state(hook, w, state_of(hook)))
        return true;
    hook->state = before;
    return false;
}

int
monitor_repair(struct monitor *m, struct worker *w, struct err *err)
{
    struct monitored *hook = next_repair(m, w);

    if (!hook || !record_repair(m, hook, w))
        return 0;
    struct apply a = {.w = w, .prune = w->config->worker_prune};
    int result = apply_recreate(&a, hook->name, err);
    if (a.created)
        log_warn("worker: hook %s was silent and was re-created", hook->name);
    apply_release(&a);
    return result < 0 ? err_context(err, "hook %s", hook->name) : 0;
}
