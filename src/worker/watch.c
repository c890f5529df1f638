#include "worker/watch.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/text.h"
#include "edge/admin_client.h"
#include "worker/silence.h"
#include "worker/state_json.h"

#include <stdio.h>
#include <stdlib.h>

static const int64_t day_us = INT64_C(86400) * 1000000;

struct watched {
    char name[64];
    struct state state;
    struct silence silence;
    bool pending, silent, read; // read: what Redis knew of repairs was taken over
    int64_t repaired_us;        // by boot clock; 0: never
};

struct watch {
    struct watched *at;
    size_t len;
    struct hooks found; // copies of the last round's
    struct silence_clock clock;
    bool clock_known; // it was read in this look
    bool names_known; // those that Redis has
    bool listed;      // `found` is AC's list
};

struct watch *
watch_open(void)
{
    struct watch *watch = memory_get(sizeof *watch);

    *watch = (struct watch){0};
    silence_clock_init(&watch->clock, times_ms("clock-settle", CLOCK_SETTLE_MS) * 1000);
    return watch;
}

void
watch_close(struct watch *watch)
{
    if (!watch)
        return;
    hooks_release(&watch->found);
    free(watch->at);
    free(watch);
}

static struct watched *
find(struct watch *watch, const char *name)
{
    for (size_t i = 0; i < watch->len; i++)
        if (strcmp(watch->at[i].name, name) == 0)
            return &watch->at[i];
    watch->at = memory_grow(watch->at, (watch->len + 1) * sizeof *watch->at);
    struct watched *h = &watch->at[watch->len++];
    *h = (struct watched){.silence.since_us = clock_boot_us(), .pending = true};
    snprintf(h->name, sizeof h->name, "%s", name);
    return h;
}

static void
set_hooks(const char *state, size_t count)
{
    metric_set(metric_gauge("acrelay_hooks", "Hooks by state.", "state", state, NULL),
               (double)count);
}

static void
set_silent(const char *hook, bool silent)
{
    metric_set(metric_gauge("acrelay_hook_silent",
                            "Whether a hook had no event for longer than expect_every.",
                            "hook", hook, NULL),
               silent);
}

void
watch_rest(struct watch *watch)
{
    static const char *const states[] = {"registered", "pending", "silent", "left",
                                         "foreign"};

    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        set_hooks(states[i], 0);
    watch->listed = watch->names_known = false;
    for (size_t i = 0; i < watch->len; i++) {
        watch->at[i].read = false;
        set_silent(watch->at[i].name, false);
    }
}

void
watch_note(struct watch *watch, const struct worker *w, const struct plan *plan,
           const struct hooks *found)
{
    int64_t now = clock_now_us();
    size_t left = 0;

    hooks_release(&watch->found);
    for (size_t i = 0; i < found->len; i++)
        if (found->at[i].name)
            hook_copy(hooks_add(&watch->found), &found->at[i]);
    watch->listed = true;
    for (size_t i = 0; i < watch->found.len; i++)
        (void)find(watch, watch->found.at[i].name);
    for (size_t i = 0; i < w->config->hooks_len; i++) {
        struct watched *h = find(watch, w->config->hooks[i].name);
        h->pending = false;
        h->state.checked_us = now;
    }
    for (size_t i = 0; i < plan->len; i++) {
        left += plan->at[i].kind == STEP_LEAVE;
        if (plan->at[i].wanted && plan->at[i].kind != STEP_KEEP)
            find(watch, plan->at[i].wanted->name)->pending = true;
    }
    set_hooks("left", left);
    set_hooks("foreign", found->len - watch->found.len);
}

// --- silence -------------------------------------------------------------------------------

static void
tell(struct watched *h, const struct config_hook *hook, bool silent, int64_t quiet_us)
{
    char quiet[40], expected[40];

    if (silent == h->silent)
        return;
    h->silent = silent;
    text_duration(quiet, sizeof quiet, quiet_us / 1000);
    text_duration(expected, sizeof expected, hook->expect_every_us / 1000);
    if (silent)
        log_alarm(
            "worker: hook %s is silent for %s, one event every %s is expected: was it "
            "switched off at ActiveCampaign? `acrelay-worker recreate %s` makes it anew",
            h->name, quiet, expected, h->name);
    else
        log_info("worker: hook %s has events again", h->name);
}

static void
look_at_silence(struct watch *watch, struct watched *h, const struct worker *w,
                const struct config_hook *hook)
{
    int64_t last = 0;

    if (store_last(w->store, h->name, &last) < 0)
        return; // Redis is away: nothing is known
    silence_note(&h->silence, &watch->clock, last);
    h->state.last_us = h->silence.last_us;
    if (hook->expect_every_us == 0) {
        h->silent = false; // no silence is one any more
        return;
    }
    int64_t quiet = silence_us(&h->silence, &watch->clock);
    if (watch->clock.steady)
        tell(h, hook, quiet > hook->expect_every_us, quiet);
}

static void
read_repaired(struct watch *watch, struct watched *h, const struct worker *w)
{
    struct span name = span_of(h->name);
    const struct redis_reply *reply = store_command(w->store, "HGET", "hooks", &name, 1);

    if (!reply)
        return;
    state_json_repaired(&h->state, redis_reply_text(reply));
    h->read = true;
    if (h->state.repaired_us == 0)
        return;
    // The shorter age counts: Redis's clock may have stepped since, and a boot clock that is
    // behind is of another boot. From here on it is the boot clock's of this process.
    int64_t boot = watch->clock.boot_us, then = h->state.repaired_boot_us,
            age = watch->clock.redis_us - h->state.repaired_us;
    if (then && then <= boot && boot - then < age)
        age = boot - then;
    h->repaired_us = boot - (age > 0 ? age : 0);
}

static void
write_state(struct watched *h, const struct worker *w, const struct hooks *found,
            const char *word)
{
    struct buf json;

    h->state.word = word;
    buf_init(&json, 1 << 16);
    state_json_write(&json, &h->state, h->name, found, &w->known);
    struct span args[] = {span_of(h->name), buf_span(&json)};
    (void)store_command(w->store, "HSET", "hooks", args, 2); // told by the store
    buf_release(&json);
}

static bool
is_found(const struct hooks *found, const char *name)
{
    for (size_t i = 0; i < found->len; i++)
        if (strcmp(found->at[i].name, name) == 0)
            return true;
    return false;
}

// Those that the file does not name: left while AC has any and posts to them, else forgotten.
// While Redis is away they wait.
static void
look_at_others(struct watch *watch, const struct worker *w)
{
    for (size_t i = watch->len; i-- > 0;) {
        struct watched *h = &watch->at[i];
        struct span name = span_of(h->name);
        if (config_find_hook(w->config, name))
            continue;
        set_silent(h->name, false);
        if (!h->read && watch->clock_known && watch->clock.steady)
            read_repaired(watch, h, w); // it may come back into the file today
        if (watch->listed && is_found(&watch->found, h->name))
            write_state(h, w, &watch->found, "left");
        else if (watch->listed)
            (void)store_command(w->store, "HDEL", "hooks", &name, 1); // told by the store
        if (!store_is_up(w->store))
            return;
        if (watch->listed && !is_found(&watch->found, h->name))
            watch->at[i] = watch->at[--watch->len];
    }
}

// Names from an earlier life of this process, or from another leader.
static void
read_names(struct watch *watch, const struct worker *w)
{
    const struct redis_reply *reply = store_command(w->store, "HKEYS", "hooks", NULL, 0);

    for (size_t i = 0; i < redis_reply_len(reply); i++) {
        struct span name = redis_reply_text(redis_reply_at(reply, i));
        char text[64];
        if (name.len == 0 || name.len >= sizeof text)
            continue;
        snprintf(text, sizeof text, "%.*s", (int)name.len, name.at);
        (void)find(watch, text);
    }
    watch->names_known = reply != NULL;
}

static void
look_at(struct watch *watch, struct watched *h, const struct worker *w,
        const struct config_hook *hook)
{
    if (!h->read && watch->clock_known && watch->clock.steady)
        read_repaired(watch, h, w);
    if (watch->clock_known && store_is_up(w->store))
        look_at_silence(watch, h, w, hook);
    if (store_is_up(w->store) && h->read)
        write_state(h, w, &watch->found,
                    h->pending  ? "pending"
                    : h->silent ? "silent"
                                : "registered");
}

static void
set_figures(struct watch *watch, const struct worker *w)
{
    size_t registered = 0, pending = 0, silent = 0;

    for (size_t i = 0; i < w->config->hooks_len; i++) {
        const struct watched *h = find(watch, w->config->hooks[i].name);
        pending += h->pending;
        silent += !h->pending && h->silent;
        registered += !h->pending && !h->silent;
        set_silent(h->name, h->silent);
    }
    set_hooks("registered", registered);
    set_hooks("pending", pending);
    set_hooks("silent", silent);
}

static void
read_clock(struct watch *watch, const struct worker *w)
{
    int64_t us;
    bool alarm;

    watch->clock_known = store_time(w->store, &us) == 0;
    if (!watch->clock_known)
        return;
    silence_clock_set(&watch->clock, us, clock_boot_us(), &alarm);
    if (alarm)
        log_alarm("worker: the clock of Redis stepped by %lld s: silence of hooks is not "
                  "judged until it is steady again",
                  (long long)(watch->clock.watch.step_us / 1000000));
}

// Stops where Redis is away: each further command would wait for it too.
static void
look_at_all(struct watch *watch, const struct worker *w)
{
    read_clock(watch, w);
    if (store_is_up(w->store) && !watch->names_known)
        read_names(watch, w);
    if (store_is_up(w->store))
        look_at_others(watch, w);
    for (size_t i = 0; store_is_up(w->store) && i < w->config->hooks_len; i++) {
        const struct config_hook *hook = &w->config->hooks[i];
        look_at(watch, find(watch, hook->name), w, hook);
    }
}

void
watch_look(struct watch *watch, const struct worker *w)
{
    look_at_all(watch, w);
    set_figures(watch, w);
}

// --- repair --------------------------------------------------------------------------------

// The silence is believed only when the receiver was there to hear, and all it heard is in
// the stream.
static bool
is_believable(const struct worker *w, const struct config_hook *hook)
{
    double waiting, up, redis;
    struct buf page;

    admin_client_metrics(&page, &w->config->receiver_admin);
    bool good =
        metrics_page_find(&page, "acrelay_journal_unpublished_records", &waiting) &&
        metrics_page_find(&page, "acrelay_uptime_seconds", &up) &&
        metrics_page_find(&page, "acrelay_redis_up", &redis) && waiting == 0 &&
        redis > 0 && up >= (double)hook->expect_every_us / 1e6;
    buf_release(&page);
    return good;
}

// Only what this process watched counts, by the boot clock: a hook is made anew on the word of
// no clock that may step.
const struct config_hook *
watch_to_repair(struct watch *watch, const struct worker *w)
{
    int64_t now = clock_boot_us();

    if (!watch->clock_known || !watch->clock.steady || !store_is_up(w->store))
        return NULL;
    for (size_t i = 0; i < w->config->hooks_len; i++) {
        const struct config_hook *hook = &w->config->hooks[i];
        const struct watched *h = find(watch, hook->name);
        bool today = h->repaired_us && now - h->repaired_us < day_us;
        if (hook->repair && h->silent && !h->pending && h->read && !today &&
            silence_seen_us(&h->silence, &watch->clock) >= hook->expect_every_us &&
            is_believable(w, hook))
            return hook;
    }
    return NULL;
}

void
watch_note_repair(struct watch *watch, const char *hook)
{
    struct watched *h = find(watch, hook);

    h->state.repaired_us = watch->clock.redis_us;
    h->repaired_us = h->state.repaired_boot_us = clock_boot_us();
}
