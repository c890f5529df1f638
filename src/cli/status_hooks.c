// What the worker keeps in Redis: the states of hooks, and the commands of services.
#include "cli/status.h"

#include "base/clock.h"
#include "base/text.h"
#include "edge/admin.h"
#include "worker/known.h"

#include <stdio.h>
#include <stdlib.h>

// --- hooks ----------------------------------------------------------------------------

struct hooks_status {
    struct status *s;
    size_t silent, left;
    struct err err; // why something of them is not known
};

// A hook as it is shown. `hook` is NULL for one that the file names no more.
struct hook_status {
    struct span name;
    const struct config_hook *hook;
    struct state state;
    int64_t last_us;
    // of these
    bool silent, left;
    char last[CLOCK_TEXT];
};

static void
add_list(struct status *s, const char *name, const struct config_list *list)
{
    document_open(s->to, name, '[');
    for (size_t i = 0; i < list->len; i++)
        document_text(s->to, NULL, span_of(list->at[i]));
    document_close(s->to, '[');
}

static void
add_wanted(struct status *s, const struct config_hook *hook)
{
    document_flag(s->to, "wanted", hook != NULL);
    if (!hook)
        return;
    cli_add_masked(s->to, "label", span_of(hook->label), !s->masks);
    document_text(s->to, "stream", span_of(hook->stream));
    add_list(s, "events", &hook->events);
    document_number(s->to, "expect_every_seconds", hook->expect_every_us > 0,
                    hook->expect_every_us / 1000000);
}

static void
add_hook(struct status *s, const struct hook_status *h)
{
    document_open(s->to, NULL, '{');
    cli_add_masked(s->to, "name", h->name, !s->masks);
    add_wanted(s, h->hook);
    document_text(s->to, "state", span_of(h->state.name));
    document_time(s->to, "checked", h->state.checked_us);
    document_time(s->to, "repaired", h->state.repaired_us);
    document_text(s->to, "last_event", span_of(h->last));
    if (h->last_us && s->redis_us)
        document_number(s->to, "last_event_age_seconds", true,
                        (s->redis_us - h->last_us) / 1000000);
    document_close(s->to, '{');
}

// Ages are by Redis's clock, which made the time: ours may be another.
static void
print_hook(const struct status *s, const struct hook_status *h)
{
    char age[32], ago[48] = "", name[128];
    int64_t ms = (s->redis_us - h->last_us) / 1000;
    const char *state =
        h->silent ? "silent for longer than expect_every"
        : h->left ? "left: not in the file any more, but ActiveCampaign "
                    "still posts to it and gets 404"
        : strcmp(h->state.name, "pending") == 0
            ? "pending: not yet in sync at ActiveCampaign; the worker says why"
            : h->state.name;

    text_duration(age, sizeof age, ms > 0 ? ms : 0);
    if (h->last_us && s->redis_us)
        snprintf(ago, sizeof ago, ", %s ago", age);
    text_escape(name, sizeof name, h->name);
    status_line(s, OUTPUT_PLAIN, name, "%s%.19s%s%s%s%s",
                h->last[0] ? "last event "
                : h->left  ? ""
                           : "no event yet",
                h->last, ago, *state ? "  " : "",
                output_color(h->silent || h->left ? OUTPUT_BAD : OUTPUT_PLAIN), state);
}

static void
show_hook(struct hooks_status *all, struct hook_status *h)
{
    if (h->last_us)
        clock_format_us(h->last, h->last_us);
    h->silent = strcmp(h->state.name, "silent") == 0;
    h->left = strcmp(h->state.name, "left") == 0;
    all->silent += h->silent;
    all->left += h->left;
    add_hook(all->s, h);
    print_hook(all->s, h);
}

// NULL when it is not known, which is said.
static const struct redis_reply *
ask_hooks(struct hooks_status *all, struct redis *r, const char *tag, const char *name)
{
    char key[SCRIPT_KEY];

    script_key(key, tag, span_of(name));
    const struct redis_reply *reply = r ? cli_ask(r, &all->err, "HGETALL", key) : NULL;
    if (r && !reply && all->s->prints)
        printf("  %s%s: %s%s\n", output_color(OUTPUT_BAD), key, all->err.text,
               output_color(OUTPUT_PLAIN));
    return reply;
}

// The newest over the partitions.
static void
read_last(struct hooks_status *all, struct hook_status *hooks)
{
    struct tags *tags = &all->s->tags;
    int64_t us;

    for (size_t t = 0; t < tags->len; t++) {
        struct redis *r = status_connection(all->s, t, &(struct err){0});
        const struct redis_reply *reply = ask_hooks(all, r, tags->at[t], "last");
        for (size_t i = 0; i < all->s->cli->config->hooks_len; i++)
            if (clock_parse(&us, cli_field(reply, hooks[i].hook->name)) &&
                us > hooks[i].last_us)
                hooks[i].last_us = us;
    }
}

// Those of the file, then those that left it.
static void
show_hooks(struct hooks_status *all, struct hook_status *hooks)
{
    const struct config *c = all->s->cli->config;

    for (size_t i = 0; i < c->hooks_len; i++)
        hooks[i] =
            (struct hook_status){.name = span_of(c->hooks[i].name), .hook = &c->hooks[i]};
    read_last(all, hooks);
    const struct redis_reply *states =
        ask_hooks(all, all->s->redis, c->redis_namespace, "hooks");
    for (size_t i = 0; i < c->hooks_len; i++) {
        state_read(&hooks[i].state, cli_field(states, c->hooks[i].name));
        show_hook(all, &hooks[i]);
    }
    for (size_t i = 0; i + 1 < redis_value(states).len; i += 2) {
        struct hook_status h = {.name = redis_value(redis_reply_at(states, i)).text};
        state_read(&h.state, redis_value(redis_reply_at(states, i + 1)).text);
        if (strcmp(h.state.name, "left") == 0 && !config_find_hook(c, h.name))
            show_hook(all, &h);
    }
}

void
status_hooks(struct status *s)
{
    struct hooks_status all = {.s = s};
    struct hook_status *hooks =
        memory_get((s->cli->config->hooks_len + 1) * sizeof *hooks);

    if (!s->redis)
        all.err = s->redis_err;
    if (s->prints)
        printf("%shooks%s\n", output_color(OUTPUT_STRONG), output_color(OUTPUT_PLAIN));
    document_open(s->to, "hooks", '[');
    show_hooks(&all, hooks);
    document_close(s->to, '[');
    if (all.err.text[0])
        document_text(s->to, "hooks_error", span_of(all.err.text));
    document_number(s->to, "hooks_silent", true, (int64_t)all.silent);
    document_number(s->to, "hooks_left", true, (int64_t)all.left);
    s->healthy = s->healthy && all.silent + all.left == 0 && !all.err.text[0];
    free(hooks);
}

// --- results --------------------------------------------------------------------------

static void
show_result(struct status *s, const struct redis_reply *entries, size_t i)
{
    static const char *const names[] = {"ce_id",  "ce_type",  "ce_subject", "outcome",
                                        "status", "attempts", "detail"};
    char id[ENTRY_ID];
    const struct redis_reply *fields = cli_entry(entries, i, id);

    document_open(s->to, NULL, '{');
    document_text(s->to, "id", span_of(id));
    document_time(s->to, "time", strtoll(id, NULL, 10) * 1000);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        cli_add_masked(s->to, names[k], cli_field(fields, names[k]), !s->masks);
    document_close(s->to, '{');
    if (s->prints)
        cli_print_result(span_of(id), fields, false, s->masks);
}

static void
show_results(struct status *s, const char *service)
{
    char key[SCRIPT_KEY];

    commands_key(key, s->cli->config, "results", span_of(service));
    const struct redis_reply *entries =
        cli_ask(s->redis, &(struct err){0}, "XREVRANGE", key, "+", "-", "COUNT", "20");
    document_open(s->to, "results", '[');
    for (size_t i = 0; i < redis_value(entries).len; i++)
        show_result(s, entries, i);
    document_close(s->to, '[');
}

// --- commands -------------------------------------------------------------------------

static void
show_waiting(struct status *s, const struct commands_state *state, const char *name)
{
    char age[32] = "";
    int64_t ms = s->redis_us / 1000 - state->oldest_ms;

    document_number(s->to, "waiting", true, state->waiting);
    if (state->oldest_ms && s->redis_us) {
        text_duration(age, sizeof age, ms > 0 ? ms : 0);
        document_number(s->to, "oldest_seconds", true, ms > 0 ? ms / 1000 : 0);
    }
    status_line(s, OUTPUT_PLAIN, name, "%lld waiting%s%s", (long long)state->waiting,
                age[0] ? ", the oldest for " : "", age);
}

static void
show_service(struct status *s, const struct config_service *service)
{
    struct commands_state state = {0};
    struct err err = s->redis_err;
    const struct config *c = s->cli->config;

    document_open(s->to, NULL, '{');
    document_text(s->to, "name", span_of(service->name));
    add_list(s, "allow", &service->allow);
    if (s->redis && commands_read(s->redis, c, service->name, &state, &err) == 0) {
        show_waiting(s, &state, service->name);
    } else {
        document_text(s->to, "error", span_of(err.text));
        status_line(s, OUTPUT_PLAIN, service->name, "%s", err.text);
    }
    if (s->results && s->redis)
        show_results(s, service->name);
    document_close(s->to, '{');
    s->healthy = s->healthy && s->redis && !s->redis->dead;
}

// Who carries them out, and whether that goes on. The lease says whether anybody does; a worker may lead
// the webhooks alone.
static const char *
lane_text(const struct status *s, bool *ok, struct err *err)
{
    const struct buf *here = &s->cli->worker.metrics;
    int leads = s->redis ? commands_have_leader(s->redis, s->cli->config, err) : -1;

    *ok = leads != 0 && s->redis;
    if (leads == 0)
        return "no worker leads: they wait";
    if (admin_sum_metric(here, "acrelay_commands_leader") == 0)
        return leads > 0 ? "another worker leads" : err->text;
    *ok = admin_sum_metric(here, "acrelay_commands_stopped") == 0;
    if (!*ok)
        return "the worker here leads; stopped: nothing gets through to ActiveCampaign";
    *ok = admin_sum_metric(here, "acrelay_commands_held") == 0;
    if (!*ok)
        return "the worker here leads; some wait: Redis refuses what it writes (see its "
               "log)";
    if (admin_sum_metric(here, "acrelay_commands_paused") > 0)
        return "the worker here leads; paused, as ActiveCampaign asked";
    return "the worker here leads";
}

void
status_commands(struct status *s)
{
    const struct config *c = s->cli->config;
    struct err err = s->redis_err;
    bool ok;
    const char *text = lane_text(s, &ok, &err);

    status_part(s, "commands", ok, text);
    s->healthy = s->healthy && ok;
    document_open(s->to, "services", '[');
    for (size_t i = 0; i < c->services_len; i++)
        show_service(s, &c->services[i]);
    document_close(s->to, '[');
}
