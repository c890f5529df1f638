#include "receiver/rules.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

static struct metric *
request_counter(const char *hook, int code)
{
    char text[8];

    snprintf(text, sizeof text, "%d", code);
    return metric_counter("acrelay_requests_total", "Requests by hook and answer.",
                          "hook", hook, "code", text, NULL);
}

// --- former hooks --------------------------------------------------------------------------

static void
add_former(struct rules *r, const char *name)
{
    struct config_list *f = &r->former;

    if (f->len == CONFIG_HOOKS_MAX || config_find_hook(r->config, span_of(name)))
        return;
    for (size_t i = 0; i < f->len; i++)
        if (strcmp(f->at[i], name) == 0)
            return;
    f->at = memory_grow(f->at, (f->len + 1) * sizeof *f->at);
    f->at[f->len++] = memory_copy(span_of(name));
}

static void
make_gate(struct rules *r)
{
    gate_release(r->gate);
    r->gate = gate_make(r->config, r->secrets, &r->former);
    free(r->former_seen);
    r->former_seen = memory_get((r->former.len + 1) * sizeof *r->former_seen);
    for (size_t i = 0; i < r->former.len; i++)
        atomic_init(&r->former_seen[i], false);
}

void
rules_remember(struct rules *r, const struct config *c)
{
    for (size_t i = 0; i < c->hooks_len; i++)
        add_former(r, c->hooks[i].name);
    make_gate(r);
}

void
rules_log_removed(const struct rules *r, const struct config *c, struct buf *names)
{
    for (size_t i = 0; i < c->hooks_len; i++) {
        const char *name = c->hooks[i].name;
        if (config_find_hook(r->config, span_of(name)))
            continue;
        log_warn("receiver: hook %s is no longer answered: if ActiveCampaign still has "
                 "its webhook, what that posts is lost (`acrelay-worker list`)",
                 name);
        if (names)
            buf_add_format(names, "%s%s", names->len ? ", " : "", name);
    }
}

// --- made and released -----------------------------------------------------------------------

struct rules *
rules_make(struct config *c, const struct rules *before, struct err *err)
{
    struct rules *r = memory_get(sizeof *r);

    *r = (struct rules){.config = c, .secrets = secrets_load(c, err), .holders = 1};
    if (!r->secrets) {
        rules_drop(r);
        return NULL;
    }
    for (size_t i = 0; before && i < before->former.len; i++)
        add_former(r, before->former.at[i]);
    for (size_t i = 0; before && i < before->config->hooks_len; i++)
        add_former(r, before->config->hooks[i].name);
    make_gate(r);
    r->accepted = memory_get(c->hooks_len * sizeof(struct metric *));
    r->last = memory_get(c->hooks_len * sizeof(struct metric *));
    for (size_t i = 0; i < c->hooks_len; i++) {
        const char *hook = c->hooks[i].name;
        r->accepted[i] = request_counter(hook, 200);
        r->last[i] =
            metric_gauge("acrelay_hook_last_event_timestamp_seconds",
                         "When the last delivery of a hook came, in seconds since "
                         "1970; 0: none since the start.",
                         "hook", hook, NULL);
    }
    return r;
}

void
rules_hold(struct rules *r)
{
    atomic_fetch_add(&r->holders, 1);
}

void
rules_drop(struct rules *r)
{
    if (!r || atomic_fetch_sub(&r->holders, 1) > 1)
        return;
    gate_release(r->gate);
    free(r->accepted);
    free(r->last);
    for (size_t i = 0; i < r->former.len; i++)
        free(r->former.at[i]);
    free(r->former.at);
    free(r->former_seen);
    secrets_release(r->secrets);
    config_release(r->config);
    free(r);
}

// --- counts ----------------------------------------------------------------------------------

static const char *
former_name(struct rules *r, size_t former)
{
    const char *name = r->former.at[former];

    if (!atomic_exchange(&r->former_seen[former], true))
        log_warn(
            "receiver: a post to hook %s was answered 404, as the file does not name "
            "it any more: its events are lost. ActiveCampaign still has its webhook: "
            "remove it there (`acrelay-worker list`), or put the hook back",
            name);
    return name;
}

void
rules_count(struct rules *r, size_t hook, size_t former, int code)
{
    if (code == 200) {
        metric_add(r->accepted[hook], 1);
        metric_set(r->last[hook], (double)clock_now_us() / 1e6);
        return;
    }
    const char *name = "-";
    if (hook != SIZE_MAX)
        name = r->config->hooks[hook].name;
    else if (former != SIZE_MAX)
        name = former_name(r, former);
    metric_add(request_counter(name, code), 1);
}

void
rules_count_refusal(int code)
{
    metric_add(request_counter("-", code), 1);
}
