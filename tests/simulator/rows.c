// What lists show: the webhooks, as they are or (lag_ms) as they were, odd rows, and pages with
// everything that can be wrong with pages.
#include "sim.h"

#include "base/clock.h"

#include <stdio.h>

enum { PAST = 400 };

// What was there from a time on; the oldest are forgotten.
static struct {
    int64_t us;
    cJSON *rows;
} past[PAST];
static size_t past_len;

static cJSON *
rows_now(void)
{
    cJSON *rows = cJSON_CreateArray();

    for (size_t i = 0; i < sim.hooks_len; i++)
        cJSON_AddItemToArray(rows, account_hook_json(&sim.hooks[i]));
    return rows;
}

void
rows_changed(void)
{
    if (past_len == PAST) {
        cJSON_Delete(past[0].rows);
        memmove(past, past + 1, --past_len * sizeof *past);
    }
    past[past_len].us = clock_mono_us();
    past[past_len++].rows = rows_now();
}

static cJSON *
rows_then(void)
{
    int64_t then =
        clock_mono_us() - (int64_t)(sim.switches.lag_ms * 1000.0 / sim.time_factor);

    if (sim.switches.lag_ms == 0)
        return rows_now();
    for (size_t i = past_len; i-- > 0;)
        if (past[i].us <= then)
            return cJSON_Duplicate(past[i].rows, true);
    return cJSON_CreateArray();
}

static bool
takes(int *count)
{
    return *count > 0 && (*count)-- > 0;
}

cJSON *
rows_listed(void)
{
    cJSON *rows = takes(&sim.switches.empty_list) ? cJSON_CreateArray() : rows_then(),
          *row, *next;
    bool lose = takes(&sim.switches.lose_rows), odd = false;

    for (row = lose ? rows->child : NULL; row; row = next, odd = !odd) {
        next = row->next;
        if (!odd)
            cJSON_Delete(cJSON_DetachItemViaPointer(rows, row));
    }
    cJSON_ArrayForEach(row, sim.odd)
        cJSON_InsertItemInArray(rows, 0, cJSON_Duplicate(row, true));
    return rows;
}

cJSON *
rows_one(uint64_t id)
{
    cJSON *rows = sim.switches.lag_get ? rows_then() : rows_now(), *row, *found = NULL;
    char text[24];

    snprintf(text, sizeof text, "%llu", (unsigned long long)id);
    cJSON_ArrayForEach(row, rows)
    {
        if (!found &&
            strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(row, "id")), text) == 0)
            found = cJSON_Duplicate(row, true);
    }
    cJSON_Delete(rows);
    return found;
}

// Someone removes the first webhook, and makes another.
static void
shift_rows(void)
{
    struct sim_hook first = sim.hooks[0];

    memmove(sim.hooks, sim.hooks + 1, (sim.hooks_len - 1) * sizeof *sim.hooks);
    sim.hooks[sim.hooks_len - 1] = first;
    sim.hooks[sim.hooks_len - 1].id = sim.next_id++;
    rows_changed();
}

static void
double_rows(cJSON *rows)
{
    int len = cJSON_GetArraySize(rows);

    for (int i = 0; i < len; i++)
        cJSON_InsertItemInArray(rows, 2 * i,
                                cJSON_Duplicate(cJSON_GetArrayItem(rows, 2 * i), true));
}

static void
add_new_rows(cJSON *rows, size_t limit)
{
    static char name[] = "endless", url[] = "https://endless.example/";

    for (size_t i = 0; i < limit; i++) {
        struct sim_hook h = {.id = sim.next_id++, .name = name, .url = url};
        cJSON_AddItemToArray(rows, account_hook_json(&h));
    }
}

// rows_page fills the answer with a page of `rows`, which it releases.
void
rows_page(cJSON *root, cJSON *rows, size_t offset, size_t limit)
{
    struct switches *s = &sim.switches;
    cJSON *page = cJSON_AddArrayToObject(root, "webhooks"), *row,
          *meta = cJSON_AddObjectToObject(root, "meta");
    size_t at = 0;
    char text[24];

    if (offset > 0 && takes(&s->repeat))
        offset--; // the pages overlap: someone removed a hook meanwhile
    if (offset > 0 && sim.hooks_len > 1 && takes(&s->shift)) {
        cJSON_Delete(rows);
        shift_rows();
        rows = rows_listed();
    }
    int total = cJSON_GetArraySize(rows) + s->add_to_total;
    if (s->double_rows)
        double_rows(rows);
    if (s->page_max && limit > (size_t)s->page_max)
        limit = (size_t)s->page_max;
    cJSON_ArrayForEach(row, rows)
    {
        if (at >= offset && at < offset + limit)
            cJSON_AddItemToArray(page, cJSON_Duplicate(row, true));
        at++;
    }
    if (s->endless)
        add_new_rows(page, limit);
    snprintf(text, sizeof text, "%d", total);
    if (!s->no_total && s->total_number)
        cJSON_AddNumberToObject(meta, "total", total);
    else if (!s->no_total)
        cJSON_AddStringToObject(meta, "total", text);
    cJSON_Delete(rows);
}
