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

static int
compare_name(const void *name, const void *hook)
{
    struct span x = *(const struct span *)name,
                y = span_of(((const struct snapshot_hook *)hook)->name);
    int order = x.len && y.len ? memcmp(x.at, y.at, x.len < y.len ? x.len : y.len) : 0;

    return order ? order : (x.len > y.len) - (x.len < y.len);
}

static int
compare_hooks(const void *a, const void *b)
{
    struct span name = span_of(((const struct snapshot_hook *)a)->name);

    return compare_name(&name, b);
}

// config: NULL for a former one.
static struct snapshot_hook *
add_hook(struct snapshot *s, const char *name, const struct config_hook *config)
{
    struct snapshot_hook *h = &s->hooks[s->hooks_len++];

    *h = (struct snapshot_hook){.name = memory_copy(span_of(name)), .config = config};
    h->tokens = memory_get(s->secrets->len * sizeof *h->tokens);
    for (size_t i = 0; i < s->secrets->len; i++)
        secrets_token(s->secrets, i, span_of(name), h->tokens[i]);
    return h;
}

static void
add_served(struct snapshot *s, const struct config_hook *config)
{
    struct snapshot_hook *h = add_hook(s, config->name, config);

    h->accepted = request_counter(h->name, 200);
    h->last =
        metric_find(METRIC_GAUGE, "acrelay_hook_last_event_timestamp_seconds",
                    "Time of the last delivery of a hook, in seconds since 1970; 0: "
                    "none since the start.",
                    "hook", h->name, NULL);
}

static void
add_former(struct snapshot *s, const char *name, size_t hooks_max)
{
    bool known = s->hooks_len == hooks_max;

    for (size_t i = 0; i < s->hooks_len && !known; i++)
        known = strcmp(s->hooks[i].name, name) == 0;
    if (known)
        return;
    (void)add_hook(s, name, NULL);
    (void)request_counter(name, 404); // 0, or an alert would not see the first
}

struct snapshot *
snapshot_make(struct config *c, const struct snapshot *before,
              const struct config *earlier, struct err *err)
{
    size_t served = c->hooks_len + 1, hooks_max = served + CONFIG_HOOKS_MAX;
    struct snapshot *s = memory_get(sizeof *s);

    *s = (struct snapshot){.holders = 1, .config = c, .secrets = secrets_load(c, err)};
    if (!s->secrets) {
        snapshot_drop(s);
        return NULL;
    }
    s->hooks = memory_get((hooks_max + 1) * sizeof *s->hooks);
    for (size_t i = 0; i < served; i++)
        add_served(s, config_served(c, i));
    for (size_t i = 0; before && i < before->hooks_len; i++)
        add_former(s, before->hooks[i].name, hooks_max);
    for (size_t i = 0; earlier && i < earlier->hooks_len; i++)
        add_former(s, earlier->hooks[i].name, hooks_max);
    qsort(s->hooks, s->hooks_len, sizeof *s->hooks, compare_hooks);
    (void)add_hook(s, "-", NULL);
    s->hooks_len--;
    return s;
}

void
snapshot_drop(struct snapshot *s)
{
    if (!s || atomic_fetch_sub(&s->holders, 1) > 1)
        return;
    for (size_t i = 0; s->hooks && i <= s->hooks_len; i++) {
        explicit_bzero(s->hooks[i].tokens, s->secrets->len * sizeof *s->hooks->tokens);
        free(s->hooks[i].tokens);
        free(s->hooks[i].name);
    }
    free(s->hooks);
    secrets_release(s->secrets);
    config_release(s->config);
    free(s);
}

size_t
snapshot_find(const struct snapshot *s, struct span name)
{
    const struct snapshot_hook *h =
        bsearch(&name, s->hooks, s->hooks_len, sizeof *h, compare_name);

    return h ? (size_t)(h - s->hooks) : s->hooks_len;
}

// --- counts ----------------------------------------------------------------------------------

void
snapshot_count(struct snapshot *s, size_t hook, int code)
{
    struct snapshot_hook *h = hook == SIZE_MAX ? NULL : &s->hooks[hook];

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
