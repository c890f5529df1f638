// What was asked of the account, how fast, and what was done.
#include "sim.h"

#include "base/clock.h"

#include <stdlib.h>

enum { LATELY = 4096, WRITES_MAX = 256 << 20 };

// The requests of the last second, and the most there were in any.
struct rate {
    int64_t us[LATELY];
    size_t first, len, max;
    uint64_t requests;
};

static struct rate all, commands;
static uint64_t writes;
struct buf calls_writes = {.max = WRITES_MAX};

static void
count(struct rate *rate, int64_t now)
{
    int64_t second = (int64_t)(1e6 / sim.time_factor);

    while (rate->len &&
           (rate->us[rate->first % LATELY] <= now - second || rate->len == LATELY)) {
        rate->first++;
        rate->len--;
    }
    rate->us[(rate->first + rate->len++) % LATELY] = now;
    rate->requests++;
    if (rate->len > rate->max)
        rate->max = rate->len;
}

struct operation *
calls_count(const struct request *r)
{
    struct operation *op =
        strcmp(r->method, "PUT") == 0 ? operations_find(r->path) : NULL;
    int64_t now = clock_mono_us();

    count(&all, now);
    if (op && strcmp(op->envelope, "webhook") != 0)
        count(&commands, now);
    if (op)
        op->requests++;
    return op;
}

static void
write_down(const struct operation *op, const struct request *r, const struct answer *a,
           const char *fault)
{
    char time[CLOCK_TEXT];
    cJSON *o = cJSON_CreateObject();

    clock_format_us(time, clock_now_us());
    cJSON_AddNumberToObject(o, "n", (double)++writes);
    char *id = memory_copy(op->id);
    cJSON_AddStringToObject(o, "operation", id);
    cJSON_AddStringToObject(o, "path", r->path + 1);
    cJSON_AddStringToObject(o, "query", r->query ? r->query : "");
    cJSON_AddItemToObject(o, "body", cJSON_ParseWithLength(r->body.at, r->body.len));
    cJSON_AddNumberToObject(o, "status", a->status);
    cJSON_AddStringToObject(o, "fault", fault);
    cJSON_AddNumberToObject(o, "us", (double)clock_mono_us());
    cJSON_AddStringToObject(o, "time", time);
    char *line = cJSON_PrintUnformatted(o);
    buf_add_format(&calls_writes, "%s\n", line);
    cJSON_free(line);
    cJSON_Delete(o);
    free(id);
}

void
calls_answered(struct operation *op, const struct request *r, const struct answer *a,
               enum fault fault)
{
    if (!op || a->status < 200 || a->status > 299 || a->is_trial)
        return;
    op->accepted++;
    write_down(op, r, a, fault_names[fault]);
}

static void
show(cJSON *to, const char *name, const struct rate *rate)
{
    cJSON *o = cJSON_AddObjectToObject(to, name);

    cJSON_AddNumberToObject(o, "requests", (double)rate->requests);
    cJSON_AddNumberToObject(o, "max_per_second", (double)rate->max);
}

cJSON *
calls_json(void)
{
    cJSON *root = cJSON_CreateObject();

    show(root, "all", &all);
    show(root, "commands", &commands);
    cJSON *to = cJSON_AddObjectToObject(root, "operations");
    for (size_t i = 0; i < operations_len; i++) {
        char *id = memory_copy(operations[i].id);
        cJSON *o = cJSON_AddObjectToObject(to, id);
        cJSON_AddNumberToObject(o, "requests", (double)operations[i].requests);
        cJSON_AddNumberToObject(o, "accepted", (double)operations[i].accepted);
        free(id);
    }
    return root;
}

void
calls_forget(void)
{
    all = commands = (struct rate){0};
    for (size_t i = 0; i < operations_len; i++)
        operations[i].requests = operations[i].accepted = 0;
    buf_clear(&calls_writes);
    writes = 0;
}
