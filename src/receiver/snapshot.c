#include "receiver/receiver.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

static struct metric *
request_counter(const char *hook, int code)
{
    char text[8];

    snprintf(text, sizeof text, "%d", code);
    return metric_find(METRIC_COUNTER, "acrelay_requests_total",
                       "Requests by hook and status code.", "hook", hook, "code", text,
                       NULL);
}

// --- made and released -----------------------------------------------------------------------

static void
add_former(struct snapshot *s, const char *name)
{
    struct config_list *f = &s->former;

    if (f->len == CONFIG_HOOKS_MAX || config_find_hook(s->config, span_of(name)) ||
        config_list_has(f, name))
        return;
    f->at = memory_grow(f->at, (f->len + 1) * sizeof *f->at);
    f->at[f->len++] = memory_copy(span_of(name));
}

static void
add_former_hooks(struct snapshot *s, const struct config *c)
{
    for (size_t i = 0; c && i < c->hooks_len; i++)
        add_former(s, c->hooks[i].name);
}

static void
make_metrics(struct snapshot *s)
{
    const struct config *c = s->config;

    s->accepted = memory_get((c->hooks_len + 1) * sizeof(struct metric *));
    s->last = memory_get((c->hooks_len + 1) * sizeof(struct metric *));
    for (size_t i = 0; i <= c->hooks_len; i++) {
        const char *hook = config_served(c, i)->name;
        s->accepted[i] = request_counter(hook, 200);
        s->last[i] =
            metric_find(METRIC_GAUGE, "acrelay_hook_last_event_timestamp_seconds",
                        "Time of the last delivery of a hook, in seconds since 1970; 0: "
                        "none since the start.",
                        "hook", hook, NULL);
    }
}

struct snapshot *
snapshot_make(struct config *c, const struct snapshot *before,
              const struct config *earlier, struct err *err)
{
    struct snapshot *s = memory_get(sizeof *s);

    *s = (struct snapshot){.holders = 1, .config = c, .secrets = secrets_load(c, err)};
    if (!s->secrets) {
        snapshot_drop(s);
        return NULL;
    }
    for (size_t i = 0; before && i < before->former.len; i++)
        add_former(s, before->former.at[i]);
    add_former_hooks(s, before ? before->config : NULL);
    add_former_hooks(s, earlier);
    s->former_seen = memory_get((s->former.len + 1) * sizeof *s->former_seen);
    for (size_t i = 0; i < s->former.len; i++)
        atomic_init(&s->former_seen[i], false);
    s->gate = gate_make(c, s->secrets, &s->former);
    make_metrics(s);
    return s;
}

void
snapshot_drop(struct snapshot *s)
{
    if (!s || atomic_fetch_sub(&s->holders, 1) > 1)
        return;
    gate_release(s->gate);
    free(s->accepted);
    free(s->last);
    for (size_t i = 0; i < s->former.len; i++)
        free(s->former.at[i]);
    free(s->former.at);
    free(s->former_seen);
    secrets_release(s->secrets);
    config_release(s->config);
    free(s);
}

// --- counts ----------------------------------------------------------------------------------

static const char *
former_name(struct snapshot *s, size_t former)
{
    const char *name = s->former.at[former];

    if (!atomic_exchange(&s->former_seen[former], true))
        log_warn(
            "receiver: a post to hook %s was answered with 404, because the hook was "
            "removed from the file: its events are lost. ActiveCampaign still has the "
            "webhook: remove it there (see `acrelay-worker list`), or put the hook back",
            name);
    return name;
}

void
snapshot_count(struct snapshot *s, size_t hook, size_t former, int code)
{
    const char *name = "-";

    if (code == 200) {
        metric_add(s->accepted[hook], 1);
        metric_set(s->last[hook], (double)clock_now_us() / 1e6);
        return;
    }
    if (hook != SIZE_MAX)
        name = config_served(s->config, hook)->name;
    else if (former != SIZE_MAX)
        name = former_name(s, former);
    metric_add(request_counter(name, code), 1);
}
