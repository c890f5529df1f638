#include "sim.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct sim_hook *
account_find(uint64_t id)
{
    for (size_t i = 0; i < sim.hooks_len; i++)
        if (sim.hooks[i].id == id)
            return &sim.hooks[i];
    return NULL;
}

static void
set_text(char **to, const cJSON *item)
{
    free(*to);
    *to = memory_copy(span_of(cJSON_IsString(item) ? item->valuestring : ""));
}

static void
set_words(cJSON **to, const cJSON *item)
{
    cJSON_Delete(*to);
    *to = cJSON_IsArray(item) ? cJSON_Duplicate(item, true) : cJSON_CreateArray();
}

static uint64_t
number_of(const cJSON *item)
{
    uint64_t n = 0;

    if (cJSON_IsNumber(item))
        return (uint64_t)item->valuedouble;
    if (cJSON_IsString(item))
        text_number(&n, span_of(item->valuestring), INT64_MAX);
    return n;
}

// What a PUT leaves out: AC's documents do not say, so a switch does.
void
account_change(struct sim_hook *h, const cJSON *webhook, bool partial)
{
    const cJSON *name = cJSON_GetObjectItem(webhook, "name"),
                *url = cJSON_GetObjectItem(webhook, "url"),
                *events = cJSON_GetObjectItem(webhook, "events"),
                *sources = cJSON_GetObjectItem(webhook, "sources"),
                *list = cJSON_GetObjectItem(webhook, "listid");

    if (name || !partial)
        set_text(&h->name, name);
    if (url || !partial)
        set_text(&h->url, url);
    if (events || !partial)
        set_words(&h->events, events);
    if (sources || !partial)
        set_words(&h->sources, sources);
    if (list || !partial)
        h->list = number_of(list);
    stored_change(h);
    rows_changed();
}

struct sim_hook *
account_add(const cJSON *webhook)
{
    sim.hooks = memory_grow(sim.hooks, (sim.hooks_len + 1) * sizeof *sim.hooks);
    struct sim_hook *h = &sim.hooks[sim.hooks_len++];
    *h = (struct sim_hook){.id = sim.next_id++};
    account_change(h, webhook, false);
    return h;
}

void
account_remove(struct sim_hook *h)
{
    free(h->name);
    free(h->url);
    cJSON_Delete(h->events);
    cJSON_Delete(h->sources);
    *h = sim.hooks[--sim.hooks_len];
    rows_changed();
}

cJSON *
account_hook_json(const struct sim_hook *h)
{
    cJSON *o = cJSON_CreateObject();
    char number[24];

    cJSON_AddStringToObject(o, "cdate", "2016-01-01T12:00:00-00:00");
    snprintf(number, sizeof number, "%" PRIu64, h->list);
    cJSON_AddStringToObject(o, "listid", number);
    cJSON_AddStringToObject(o, "name", h->name);
    cJSON_AddStringToObject(o, "url", h->url);
    cJSON_AddItemToObject(o, "events", cJSON_Duplicate(h->events, true));
    cJSON_AddItemToObject(o, "sources", cJSON_Duplicate(h->sources, true));
    cJSON_AddArrayToObject(o, "links");
    snprintf(number, sizeof number, "%" PRIu64, h->id);
    cJSON_AddStringToObject(o, "id", number);
    return o;
}
