// What a test asks of the simulator, and AC does not have:
//   POST /sim/switch {"cut_after":1,...}     GET /sim/figures    GET /sim/log (JSON lines)
//   POST /sim/answer {"count":2,"status":403,"body":"...","headers":"Name: value\r\n"}, for all
//     or with "path":"contacts/66" for one; or what becomes of them: "fault" instead of "status":
//     cut_before, cut_after, truncate, html, html_524, empty_ok, slow with "slow_ms"
//   GET /sim/hooks, POST /sim/hooks {webhook}, PUT or DELETE /sim/hooks/ID (drift)
//   POST /sim/odd [rows] (JSON that lists hold as it is)
// Of the PUT operations:
//   GET /sim/objects {"contacts/66":{...}}: what they changed; null: removed
//   PUT /sim/objects/contacts/66 {fields} sets one, DELETE removes it: 404 from then on
//   GET /sim/calls {"all":{"requests":9,"max_per_second":5},"commands":{...},
//     "operations":{"Contact_updateContact":{"requests":3,"accepted":2},...}}; "commands" are all
//     operations but that of webhooks; max_per_second: the most in any second (time-factor
//     counts), refused ones included
//   GET /sim/writes: what was done, in order, a JSON line each: n, operation, path, query, body,
//     status, fault ("", or what became of the answer), us (monotonic), time
//   DELETE /sim/calls forgets both
// An accepted change is posted as the event that AC makes of it to the hooks that ask for it from
// source api; figures: caused, and waiting until they are posted.
#include "sim.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

static void
set_switches(struct answer *a, const cJSON *root)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, root)
    {
        int *at = switches_find(item->string);
        if (!at || !cJSON_IsNumber(item)) {
            a->status = 400;
            a->text = "no such switch\n";
            return;
        }
        *at = item->valueint;
        if (at == &sim.switches.seed)
            sim.random = 0;
    }
    a->status = 200;
    a->text = "{}";
}

static void
add(cJSON *to, const char *name, uint64_t n)
{
    cJSON_AddNumberToObject(to, name, (double)n);
}

static void
show_figures(struct answer *a)
{
    const struct figures *f = &sim.figures;

    a->status = 200;
    a->json = cJSON_CreateObject();
    add(a->json, "requests", f->requests);
    add(a->json, "writes", f->writes);
    add(a->json, "refused_token", f->refused_token);
    add(a->json, "throttled", f->throttled);
    add(a->json, "fired", f->fired);
    add(a->json, "doubled", f->doubled);
    add(a->json, "ok", f->ok);
    add(a->json, "other", f->other);
    add(a->json, "caused", f->caused);
    add(a->json, "waiting", f->waiting);
    add(a->json, "hooks", sim.hooks_len);
}

static void
show_hooks(struct answer *a)
{
    a->status = 200;
    a->json = cJSON_CreateArray();
    for (size_t i = 0; i < sim.hooks_len; i++) {
        cJSON *o = account_hook_json(&sim.hooks[i]);
        cJSON_AddBoolToObject(o, "dead", sim.hooks[i].dead);
        cJSON_AddItemToArray(a->json, o);
    }
}

static void
change_hook(struct answer *a, const char *method, const char *path, const cJSON *root)
{
    struct sim_hook *h = account_find(strtoull(path, NULL, 10));

    if (!h) {
        a->status = 404;
        a->text = "no such hook\n";
        return;
    }
    if (strcmp(method, "DELETE") == 0)
        account_remove(h);
    else
        account_change(h, root, true);
    a->status = 200;
    a->text = "{}";
}

static const char *
text_in(const cJSON *root, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(root, name);

    return cJSON_IsString(item) ? item->valuestring : "";
}

static struct canned *
find_canned(const char *path)
{
    struct canned *free = NULL;

    for (size_t i = CANNED_MAX; i-- > 0;) {
        struct canned *c = &sim.canned[i];
        if (strcmp(c->path, path) == 0)
            return c;
        if (c->count <= 0)
            free = c;
    }
    return free;
}

static int
find_fault(const char *name)
{
    int fault = FAULT_NONE;

    while (fault < FAULTS && strcmp(fault_names[fault], name) != 0)
        fault++;
    return fault;
}

static void
set_canned(struct answer *a, const cJSON *root)
{
    const char *path = text_in(root, "path");
    struct canned *c = find_canned(path);
    int fault = find_fault(text_in(root, "fault"));
    const cJSON *status = cJSON_GetObjectItem(root, "status"),
                *count = cJSON_GetObjectItem(root, "count"),
                *slow_ms = cJSON_GetObjectItem(root, "slow_ms");

    if (!c || fault == FAULTS) {
        say(a, 400, c ? "no such fault\n" : "too many paths have answers\n");
        return;
    }
    c->fault = fault;
    c->slow_ms = slow_ms ? slow_ms->valueint : 0;
    snprintf(c->path, sizeof c->path, "%s", path);
    c->status = status ? status->valueint : 200;
    c->count = count ? count->valueint : 1;
    snprintf(c->body, sizeof c->body, "%s", text_in(root, "body"));
    snprintf(c->headers, sizeof c->headers, "%s", text_in(root, "headers"));
    say(a, 200, "{}");
}

static void
show(struct answer *a, cJSON *json)
{
    a->status = 200;
    a->json = json;
}

// The pages of the PUT operations; false for others.
static bool
answer_operations(struct answer *a, const char *method, const char *path,
                  const cJSON *root)
{
    bool is_get = strcmp(method, "GET") == 0, is_delete = strcmp(method, "DELETE") == 0;

    if (strcmp(path, "/objects") == 0 && is_get) {
        show(a, objects_json());
    } else if (strcmp(path, "/calls") == 0 && is_get) {
        show(a, calls_json());
    } else if (strcmp(path, "/writes") == 0 && is_get) {
        say(a, 200, buf_text(&calls_writes));
    } else if (strcmp(path, "/calls") == 0 && is_delete) {
        calls_forget();
        say(a, 200, "{}");
    } else if (strncmp(path, "/objects/", 9) == 0 &&
               (is_delete || cJSON_IsObject(root))) {
        objects_set(path + 9, is_delete ? NULL : cJSON_Duplicate(root, true));
        say(a, 200, "{}");
    } else {
        return false;
    }
    return true;
}

void
control_answer(struct answer *a, const char *method, const char *path, struct span body)
{
    cJSON *root = body.len ? cJSON_ParseWithLength(body.at, body.len) : NULL;
    bool is_get = strcmp(method, "GET") == 0;

    if (strcmp(path, "/switch") == 0 && root) {
        set_switches(a, root);
    } else if (strcmp(path, "/answer") == 0 && root) {
        set_canned(a, root);
    } else if (strcmp(path, "/figures") == 0 && is_get) {
        show_figures(a);
    } else if (strcmp(path, "/log") == 0 && is_get) {
        a->status = 200;
        a->text = buf_text(&sim.log);
    } else if (strcmp(path, "/hooks") == 0 && is_get) {
        show_hooks(a);
    } else if (strcmp(path, "/hooks") == 0 && root) {
        a->status = 201;
        a->json = account_hook_json(account_add(root));
    } else if (strcmp(path, "/odd") == 0 && cJSON_IsArray(root)) {
        cJSON_Delete(sim.odd);
        sim.odd = cJSON_Duplicate(root, true);
        a->status = 200;
        a->text = "{}";
    } else if (strncmp(path, "/hooks/", 7) == 0) {
        change_hook(a, method, path + 7, root);
    } else if (!answer_operations(a, method, path, root)) {
        a->status = 404;
        a->text = "unknown page of the simulator\n";
    }
    cJSON_Delete(root);
}
