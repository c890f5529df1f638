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
make_metrics(struct gate *g)
{
    for (size_t i = 0; i < g->hooks_len; i++) {
        struct gate_hook *h = &g->hooks[i];
        if (!h->config)
            continue;
        h->accepted = request_counter(h->name, 200);
        h->last =
            metric_find(METRIC_GAUGE, "acrelay_hook_last_event_timestamp_seconds",
                        "Time of the last delivery of a hook, in seconds since 1970; 0: "
                        "none since the start.",
                        "hook", h->name, NULL);
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
    s->gate = gate_make(c, s->secrets, before ? before->gate : NULL, earlier);
    make_metrics(s->gate);
    return s;
}

void
snapshot_drop(struct snapshot *s)
{
    if (!s || atomic_fetch_sub(&s->holders, 1) > 1)
        return;
    gate_release(s->gate);
    secrets_release(s->secrets);
    config_release(s->config);
    free(s);
}

// --- counts ----------------------------------------------------------------------------------

void
snapshot_count(struct snapshot *s, size_t hook, int code)
{
    struct gate_hook *h = hook == SIZE_MAX ? NULL : &s->gate->hooks[hook];

    if (code == 200) {
        metric_add(h->accepted, 1);
        metric_set(h->last, (double)clock_now_us() / 1e6);
        return;
    }
    metric_add(request_counter(h ? h->name : "-", code), 1);
    if (h && !h->config && !atomic_exchange(&h->is_missed, true))
        log_warn(
            "receiver: a post to hook %s was answered with 404, because the hook was "
            "removed from the file: its events are lost. ActiveCampaign still has the "
            "webhook: remove it there (see `acrelay-worker list`), or put the hook back",
            h->name);
}
