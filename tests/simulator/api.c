// The API as AC's v3 reference has it: POST, GET, PUT and DELETE of webhooks, their events,
// and the user whose token it is.
#include "sim.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAGE_PRESET = 20, PAGE_MOST = 100 };

void
say(struct answer *a, int status, const char *text)
{
    a->status = status;
    a->text = text;
}

struct span
parameter(const char *query, const char *name)
{
    struct span rest = span_of(query ? query : "");

    while (rest.len) {
        struct span value = span_cut(&rest, '&'), key = span_cut(&value, '=');
        if (span_is(key, name))
            return value;
    }
    return (struct span){"", 0};
}

static size_t
number_parameter(const char *query, const char *name, size_t preset)
{
    uint64_t n;

    return text_number(&n, parameter(query, name), INT32_MAX) ? (size_t)n : preset;
}

// AC's filters are "contains" here: a client has to compare exactly by itself.
static bool
passes(const cJSON *row, const char *query)
{
    static const char *const fields[] = {"url", "name", "listid"};

    for (size_t i = 0; i < 3; i++) {
        char filter[24];
        snprintf(filter, sizeof filter, "filters[%s]", fields[i]);
        struct span wanted = parameter(query, filter);
        const char *is = cJSON_GetStringValue(cJSON_GetObjectItem(row, fields[i]));
        if (wanted.len &&
            (!is || (i == 2 ? !span_is(wanted, is)
                            : !memmem(is, strlen(is), wanted.at, wanted.len))))
            return false;
    }
    return true;
}

static void
shuffle(void)
{
    for (size_t i = sim.hooks_len; sim.switches.shuffle && i > 1; i--) {
        size_t k = random_next() % i;
        struct sim_hook h = sim.hooks[i - 1];
        sim.hooks[i - 1] = sim.hooks[k];
        sim.hooks[k] = h;
    }
}

static void
list(struct answer *a, const char *query)
{
    size_t limit = number_parameter(query, "limit", PAGE_PRESET),
           offset = number_parameter(query, "offset", 0);

    if (sim.switches.fail_offset && offset >= (size_t)sim.switches.fail_offset) {
        say(a, 400, "Bad request. This page is broken.");
        return;
    }
    if (offset == 0)
        shuffle(); // each reading in another order; within one, pages agree
    cJSON *rows = rows_listed(), *row, *next;
    for (row = rows->child; row; row = next) {
        next = row->next;
        if (!passes(row, query))
            cJSON_Delete(cJSON_DetachItemViaPointer(rows, row));
    }
    a->status = 200;
    a->json = cJSON_CreateObject();
    rows_page(a->json, rows, offset, limit > PAGE_MOST ? PAGE_MOST : limit);
}

static void
show(struct answer *a, int status, cJSON *webhook)
{
    a->status = status;
    a->json = cJSON_CreateObject();
    cJSON_AddItemToObject(a->json, "webhook", webhook);
}

// The answer to a write: what was stored, or (answer_as_sent) what was sent.
static void
show_written(struct answer *a, int status, const struct sim_hook *h, const cJSON *sent)
{
    cJSON *webhook = account_hook_json(h), *item;

    if (sim.switches.answer_as_sent)
        cJSON_ArrayForEach(item, sent)
            cJSON_ReplaceItemInObject(webhook, item->string, cJSON_Duplicate(item, true));
    show(a, status, webhook);
}

static const char *
missing_field(const cJSON *webhook)
{
    static const char *const fields[] = {"name", "url", "events", "sources"};

    for (size_t i = 0; i < 4; i++) {
        const cJSON *item = cJSON_GetObjectItem(webhook, fields[i]);
        if (!item || (cJSON_IsString(item) && !*item->valuestring) ||
            (cJSON_IsArray(item) && cJSON_GetArraySize(item) == 0))
            return fields[i];
    }
    return NULL;
}

void
refuse_field(struct answer *a, const char *field, const char *title)
{
    char pointer[60];

    snprintf(pointer, sizeof pointer, "/data/attributes/%s", field);
    a->status = 422;
    a->json = cJSON_CreateObject();
    cJSON *error = cJSON_CreateObject();
    cJSON_AddItemToArray(cJSON_AddArrayToObject(a->json, "errors"), error);
    cJSON_AddStringToObject(error, "title", title);
    cJSON_AddStringToObject(error, "detail", "");
    cJSON_AddStringToObject(
        error, "code", strstr(title, "required") ? "field_missing" : "field_invalid");
    cJSON_AddStringToObject(cJSON_AddObjectToObject(error, "source"), "pointer", pointer);
}

static void
create(struct answer *a, const cJSON *webhook)
{
    const char *missing = missing_field(webhook);

    if (missing)
        refuse_field(a, missing, "The field is required");
    else
        show_written(a, 201, account_add(webhook), webhook);
    if (!missing && sim.switches.other_id) {
        cJSON_Delete(a->json);
        show(a, 201, rows_one((uint64_t)sim.switches.other_id));
    }
    if (!missing && sim.switches.no_id > 0) {
        sim.switches.no_id--;
        cJSON_Delete(a->json);
        a->json = NULL;
        say(a, 201, "");
    }
}

static void
absent(struct answer *a, uint64_t id)
{
    char text[80];

    snprintf(text, sizeof text, "No Result found for Webhook with id %" PRIu64, id);
    a->status = sim.switches.absent_403 ? 403 : 404;
    a->json = cJSON_CreateObject();
    cJSON_AddStringToObject(a->json, "message", text);
}

static void
one(struct answer *a, const char *method, uint64_t id, const cJSON *webhook)
{
    struct sim_hook *h = account_find(id);
    cJSON *shown = strcmp(method, "GET") == 0 ? rows_one(id) : NULL;

    if (shown) {
        show(a, 200, shown);
    } else if (!h || strcmp(method, "GET") == 0) {
        absent(a, id);
    } else if (strcmp(method, "DELETE") == 0) {
        if (!sim.switches.keep_removed)
            account_remove(h);
        say(a, 200, "{}");
    } else {
        account_change(h, webhook, sim.switches.put_partial);
        show_written(a, 200, h, webhook);
    }
}

static void
events(struct answer *a)
{
    static const char *const names[] = {"bounce",
                                        "click",
                                        "contact_tag_added",
                                        "contact_tag_removed",
                                        "deal_add",
                                        "deal_note_add",
                                        "deal_pipeline_add",
                                        "deal_stage_add",
                                        "deal_task_add",
                                        "deal_task_complete",
                                        "deal_tasktype_add",
                                        "deal_update",
                                        "forward",
                                        "list_add",
                                        "open",
                                        "reply",
                                        "sent",
                                        "share",
                                        "sms_reply",
                                        "sms_sent",
                                        "sms_unsub",
                                        "subscribe",
                                        "subscriber_note",
                                        "unsubscribe",
                                        "update"};
    size_t len = sizeof names / sizeof *names;

    a->status = 200;
    a->json = cJSON_CreateObject();
    cJSON *array = cJSON_AddArrayToObject(a->json, "webhookEvents");
    for (size_t i = 0; i < len; i++)
        cJSON_AddItemToArray(array, cJSON_CreateString(names[i]));
    cJSON_AddNumberToObject(cJSON_AddObjectToObject(a->json, "meta"), "total",
                            (double)len);
}

static void
webhooks(struct answer *a, const char *method, const char *path, const char *query,
         const cJSON *webhook)
{
    bool is_post = strcmp(method, "POST") == 0, is_get = strcmp(method, "GET") == 0;
    uint64_t id;

    if (*path == '\0' && is_get)
        list(a, query);
    else if (*path == '\0' && is_post && webhook)
        create(a, webhook);
    else if (*path == '/' && text_number(&id, span_of(path + 1), INT64_MAX) &&
             (is_get || strcmp(method, "DELETE") == 0 ||
              (strcmp(method, "PUT") == 0 && webhook)))
        one(a, method, id, webhook);
    else if (*path == '\0' || *path == '/')
        say(a, 400, "Bad request. The body is not what is expected.");
    else
        say(a, 404, "<!DOCTYPE html><html><body>Not Found</body></html>");
}

void
api_answer(struct answer *a, const struct request *r)
{
    const char *method = r->method, *path = r->path;
    cJSON *root = r->body.len ? cJSON_ParseWithLength(r->body.at, r->body.len) : NULL;
    const struct operation *op = operations_find(path);
    bool is_put = strcmp(method, "PUT") == 0, is_get = strcmp(method, "GET") == 0;

    if (strcmp(path, "/users/me") == 0 && sim.switches.me_status)
        say(a, sim.switches.me_status, "{}");
    else if (strcmp(path, "/users/me") == 0 && sim.switches.me_html)
        say(a, 403, "<!DOCTYPE html><html><title>Just a moment...</title></html>");
    else if (strcmp(path, "/users/me") == 0)
        say(a, 200, "{\"user\":{\"id\":\"1\",\"username\":\"admin\"}}");
    else if (sim.switches.forbid)
        say(a, 403,
            "{\"message\":\"You don't have permission to access this resource\"}");
    else if (strcmp(path, "/webhook/events") == 0 && is_get)
        events(a);
    else if (strncmp(path, "/webhooks", 9) == 0)
        webhooks(a, method, path + 9, r->query, cJSON_GetObjectItem(root, "webhook"));
    else if (op && (is_put || is_get))
        operations_answer(a, r, op, root);
    else
        say(a, 404, "<!DOCTYPE html><html><body>Not Found</body></html>");
    cJSON_Delete(root);
}
