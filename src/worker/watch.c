#include "worker/watch.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/text.h"
#include "config/page.h"
#include "worker/state_json.h"

#include <stdio.h>
#include <stdlib.h>

static const int64_t day_us = INT64_C(86400) * 1000000;

struct watched {
    char name[64];
    struct state state;
    bool pending, silent, read; // read: what Redis knew of repairs was taken over
    int64_t since_us;           // watched since
};

struct watch {
    struct watched *at;
    size_t len;
    struct hooks found; // copies of the last round's
};

struct watch *
watch_open(void)
{
    struct watch *watch = memory_get(sizeof *watch);

    *watch = (struct watch){0};
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
    *h = (struct watched){.since_us = clock_now_us(), .pending = true};
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

// A Redis that lost data knows of an earlier event, or of none: what is known here stays.
static void
look_at_silence(struct watched *h, const struct worker *w, const struct config_hook *hook)
{
    int64_t last = 0;

    if (store_last(w->store, h->name, &last) < 0)
        return; // Redis is away: nothing is known
    if (last > h->state.last_us)
        h->state.last_us = last;
    if (hook->expect_every_us == 0) {
        h->silent = false; // no silence is one any more
        return;
    }
    int64_t since = h->state.last_us ? h->state.last_us : h->since_us;
    int64_t quiet = clock_now_us() - since;
    tell(h, hook, quiet > hook->expect_every_us, quiet);
}

static void
read_repaired(struct watched *h, const struct worker *w)
{
    struct span name = span_of(h->name);
    const struct redis_reply *reply = store_command(w->store, "HGET", "hooks", &name, 1);

    if (!reply)
        return;
    int64_t us = state_json_repaired(redis_reply_text(reply));
    if (us > h->state.repaired_us)
        h->state.repaired_us = us;
    h->read = true;
}

static void
write_state(struct watched *h, const struct worker *w, const struct hooks *found)
{
    struct buf json;

    h->state.word = h->pending ? "pending" : h->silent ? "silent" : "registered";
    buf_init(&json, 1 << 16);
    state_json_write(&json, &h->state, h->name, found, &w->known);
    struct span args[] = {span_of(h->name), buf_span(&json)};
    (void)store_command(w->store, "HSET", "hooks", args, 2); // told by the store
    buf_release(&json);
}

// Those that the file names no more; while Redis is away they wait.
static void
forget_others(struct watch *watch, const struct worker *w)
{
    for (size_t i = watch->len; i-- > 0;) {
        struct span name = span_of(watch->at[i].name);
        if (config_find_hook(w->config, name))
            continue;
        set_silent(watch->at[i].name, false);
        (void)store_command(w->store, "HDEL", "hooks", &name, 1); // told by the store
        if (!store_is_up(w->store))
            return;
        watch->at[i] = watch->at[--watch->len];
    }
}

static void
look_at(struct watched *h, const struct worker *w, const struct config_hook *hook,
        const struct hooks *found)
{
    if (!h->read)
        read_repaired(h, w);
    if (store_is_up(w->store))
        look_at_silence(h, w, hook);
    if (store_is_up(w->store) && h->read)
        write_state(h, w, found);
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

void
watch_look(struct watch *watch, const struct worker *w)
{
    forget_others(watch, w);
    for (size_t i = 0; i < w->config->hooks_len; i++) {
        const struct config_hook *hook = &w->config->hooks[i];
        look_at(find(watch, hook->name), w, hook, &watch->found);
        if (!store_is_up(w->store))
            break; // each further one would wait for it too
    }
    set_figures(watch, w);
}

// --- repair --------------------------------------------------------------------------------

// The silence is believed only when the receiver was there to hear, and all it heard is in
// the stream.
static bool
is_believable(const struct worker *w, const struct config_hook *hook)
{
    double waiting, start;
    struct buf page;

    page_fetch(&page, &w->config->receiver_admin);
    bool good =
        page_find(&page, "acrelay_journal_unpublished_records", &waiting) &&
        page_find(&page, "process_start_time_seconds", &start) && waiting == 0 &&
        (double)clock_now_us() / 1e6 - start >= (double)hook->expect_every_us / 1e6;
    buf_release(&page);
    return good;
}

const struct config_hook *
watch_to_repair(struct watch *watch, const struct worker *w)
{
    for (size_t i = 0; i < w->config->hooks_len; i++) {
        const struct config_hook *hook = &w->config->hooks[i];
        const struct watched *h = find(watch, hook->name);
        if (hook->repair && h->silent && !h->pending && h->read &&
            store_is_up(w->store) && clock_now_us() - h->state.repaired_us > day_us &&
            is_believable(w, hook))
            return hook;
    }
    return NULL;
}

void
watch_note_repair(struct watch *watch, const char *hook)
{
    find(watch, hook)->state.repaired_us = clock_now_us();
}
