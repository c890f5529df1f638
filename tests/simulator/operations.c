// The PUT operations of operations.txt: each changes an object, or moves those of one stage or
// task type to another. A GET of the same path shows the object. An object that nobody has
// changed yet is there too (switch `ids`), and empty.
#include "sim.h"

#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { OPERATIONS_MAX = 64 };

// The assembler takes the file in; the Makefile makes this object depend on it.
__asm__(".section .rodata\n"
        "operations_text:\n"
        ".incbin \"tests/simulator/operations.txt\"\n"
        "operations_text_end:\n"
        ".byte 0\n"
        ".previous\n");

extern const char operations_text[], operations_text_end[];

struct operation operations[OPERATIONS_MAX];
size_t operations_len;

static struct span
column(struct span *line)
{
    *line = span_trim(*line);
    return span_cut(line, ' ');
}

void
operations_load(void)
{
    struct span rest =
        span_make(operations_text, (size_t)(operations_text_end - operations_text));

    while (rest.len > 0 && operations_len < OPERATIONS_MAX) {
        struct span line = span_cut(&rest, '\n');
        if (line.len == 0 || line.at[0] == '#')
            continue;
        struct operation *op = &operations[operations_len++];
        op->id = column(&line);
        op->path = column(&line);
        struct span envelope = column(&line);
        op->envelope = memory_copy(span_to(envelope, span_find(envelope, '?')));
        op->needs_envelope = span_find(envelope, '?') == envelope.len;
        op->codes = column(&line);
        op->event = column(&line);
        op->parameters = span_trim(line);
    }
}

static bool
has_word(struct span list, char between, const char *word)
{
    while (list.len)
        if (span_is(span_cut(&list, between), word))
            return true;
    return false;
}

// --- paths ---------------------------------------------------------------------------------

static bool
is_id(struct span type, struct span id)
{
    uint64_t n;

    if (span_is(type, "integer}"))
        return text_number(&n, id, INT64_MAX);
    for (size_t i = 0; i < id.len; i++)
        if (!isalnum((unsigned char)id.at[i]) && !strchr("-._~", id.at[i]))
            return false;
    return id.len > 0;
}

static bool
fits(struct span template, struct span path)
{
    while (template.len && path.len) {
        struct span name = span_cut(&template, '/'), segment = span_cut(&path, '/');
        bool is_parameter = span_starts(name, SPAN("{"));
        if (is_parameter)
            span_cut(&name, ':'); // leaves the type
        if (is_parameter ? !is_id(name, segment) : !span_equal(name, segment))
            return false;
    }
    return template.len == 0 && path.len == 0;
}

struct operation *
operations_find(const char *path)
{
    struct span below = span_of(*path == '/' ? path + 1 : path);

    if (below.len && below.at[below.len - 1] == '/')
        return NULL;
    for (size_t i = 0; i < operations_len; i++)
        if (fits(operations[i].path, below))
            return &operations[i];
    return NULL;
}

// --- refusals ------------------------------------------------------------------------------

static void
refuse(struct answer *a, const struct operation *op, const char *field, const char *text)
{
    char message[120];

    if (has_word(op->codes, ',', "422")) {
        refuse_field(a, field, text);
        return;
    }
    snprintf(message, sizeof message, "%s: %s", field, text);
    a->status = 400;
    a->json = cJSON_CreateObject();
    cJSON_AddItemToArray(cJSON_AddArrayToObject(a->json, "errors"),
                         cJSON_CreateString(message));
}

// "No Result found" is 404, and 403 where only that is documented.
static void
refuse_absent(struct answer *a, const struct operation *op, const char *path)
{
    bool forbidden = has_word(op->codes, ',', "403") && !has_word(op->codes, ',', "404");
    const char *id = strrchr(path, '/');
    char text[300], name[60];

    snprintf(name, sizeof name, "%s",
             strcmp(op->envelope, "contact") == 0 ? "subscriber" : op->envelope);
    *name = (char)toupper((unsigned char)*name);
    snprintf(text, sizeof text, "No Result found for %s with id %s", name,
             id ? id + 1 : "");
    a->status = forbidden || sim.switches.absent_403 ? 403 : 404;
    a->json = cJSON_CreateObject();
    cJSON_AddStringToObject(a->json, "message", text);
}

// The member of the envelope that AC would not take, or NULL.
static const char *
find_fault(const cJSON *sent, const char **text)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, sent)
    {
        *text = "must be a boolean";
        if (strcmp(item->string, "enabled") == 0 && !cJSON_IsBool(item))
            return item->string;
        *text = "is not a valid email address";
        if (strcmp(item->string, "email") == 0 &&
            !(cJSON_IsString(item) && strchr(item->valuestring, '@')))
            return item->string;
    }
    return NULL;
}

// The query's parameters of the operation that must be numbers.
static bool
has_valid_query(const struct operation *op, const char *query)
{
    struct span list = op->parameters;
    uint64_t n;

    while (list.len) {
        struct span type = span_cut(&list, ' '), where = span_cut(&type, ':');
        char name[40];
        snprintf(name, sizeof name, "%.*s", (int)span_find(type, ':'), type.at);
        span_cut(&type, ':');
        struct span value = parameter(query, name);
        if (span_is(where, "query") && span_is(type, "integer") && value.len &&
            !text_number(&n, value, INT32_MAX))
            return false;
    }
    return true;
}

// --- answers -------------------------------------------------------------------------------

// AC's ids are strings. The account's own settings have none.
static void
set_id(cJSON *fields, const char *path)
{
    const char *id = strrchr(path, '/');

    cJSON_DeleteItemFromObjectCaseSensitive(fields, "id");
    if (!id)
        return;
    if (!cJSON_HasObjectItem(fields, "links")) // a branding has a field of this name
        cJSON_AddObjectToObject(fields, "links");
    cJSON_AddStringToObject(fields, "id", id + 1);
}

// The object as AC shows it; a contact's fields stand beside it.
static void
show(struct answer *a, const struct operation *op, const char *path, cJSON *fields)
{
    cJSON *values = strcmp(op->envelope, "contact") == 0
                        ? cJSON_DetachItemFromObject(fields, "fieldValues")
                        : NULL;

    a->json = cJSON_CreateObject();
    if (values)
        cJSON_AddItemToObject(a->json, "fieldValues", values);
    cJSON_AddItemToObject(a->json, op->envelope, fields);
    set_id(fields, path);
}

// The element of a list of custom fields that is of the same field, or NULL.
static cJSON *
find_field(const cJSON *list, const cJSON *field, const char *key)
{
    const cJSON *wanted = cJSON_GetObjectItemCaseSensitive(field, key);
    cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        if (cJSON_Compare(cJSON_GetObjectItemCaseSensitive(item, key), wanted, true))
            return item;
    }
    return NULL;
}

// Custom fields that are not named stay as they are.
static void
merge_fields(cJSON *list, const cJSON *sent, const char *key)
{
    const cJSON *field;

    cJSON_ArrayForEach(field, sent)
    {
        cJSON *old = find_field(list, field, key);
        if (old)
            cJSON_Delete(cJSON_DetachItemViaPointer(list, old));
        cJSON_AddItemToArray(list, cJSON_Duplicate(field, true));
    }
}

static void
merge(cJSON *object, const cJSON *sent, bool has_custom_fields)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, sent)
    {
        const char *name = item->string;
        cJSON *old = cJSON_GetObjectItemCaseSensitive(object, name);
        bool values = strcmp(name, "fieldValues") == 0,
             fields = strcmp(name, "fields") == 0;
        if (has_custom_fields && (values || fields) && cJSON_IsArray(old)) {
            merge_fields(old, item, values ? "field" : "customFieldId");
            continue;
        }
        cJSON_DeleteItemFromObjectCaseSensitive(object, name);
        cJSON_AddItemToObject(object, name, cJSON_Duplicate(item, true));
    }
}

static bool
is_move(const struct operation *op)
{
    return span_find(op->path, '/') < op->path.len &&
           op->path.at[op->path.len - 1] != '}';
}

// Two stages that are known to be of different pipelines.
static bool
are_apart(struct span from, const cJSON *to)
{
    char paths[2][60];
    cJSON *stages[2];

    snprintf(paths[0], sizeof paths[0], "dealStages/%.*s", (int)from.len, from.at);
    if (cJSON_IsString(to))
        snprintf(paths[1], sizeof paths[1], "dealStages/%s", to->valuestring);
    else
        snprintf(paths[1], sizeof paths[1], "dealStages/%d", to->valueint);
    for (size_t i = 0; i < 2; i++)
        stages[i] = objects_get(paths[i]);
    const cJSON *group = cJSON_GetObjectItemCaseSensitive(stages[0], "group"),
                *other = cJSON_GetObjectItemCaseSensitive(stages[1], "group");
    bool apart = group && other && !cJSON_Compare(group, other, true);
    cJSON_Delete(stages[0]);
    cJSON_Delete(stages[1]);
    return apart;
}

// dealStages/3/deals: the deals that are known to be in stage 3 go to the stage that is named.
// What AC answers is not documented: here, those that were moved.
static void
move(struct answer *a, const struct operation *op, const char *path, const cJSON *sent)
{
    const bool deals = strcmp(op->envelope, "deal") == 0;
    const char *member = deals ? "stage" : "dealTasktype",
               *prefix = deals ? "deals" : "dealTasks";
    const cJSON *to = cJSON_GetObjectItemCaseSensitive(sent, member);
    struct span rest = span_of(path);

    span_cut(&rest, '/');
    struct span from = span_cut(&rest, '/');
    if (!to || (deals && are_apart(from, to))) {
        refuse(a, op, member, to ? "is of another pipeline" : "is required");
        return;
    }
    cJSON *moved = objects_move(prefix, member, from, to), *object;
    cJSON_ArrayForEach(object, moved)
    {
        if (deals)
            changes_cause(SPAN("deal_update:id"), object, sent);
    }
    a->json = cJSON_CreateObject();
    cJSON_AddItemToObject(a->json, prefix, moved);
}

static void
change(struct answer *a, const struct request *r, const struct operation *op,
       const char *path, const cJSON *sent)
{
    a->status = has_word(op->codes, ',', "201") ? 201 : 200;
    if (is_move(op)) {
        move(a, op, path, sent);
        return;
    }
    cJSON *fields = objects_get(path);
    merge(fields, sent, strcmp(op->envelope, "schema") != 0);
    a->is_trial =
        r->validate_only && has_word(op->parameters, ' ', "header:validateOnly:boolean");
    if (!a->is_trial)
        objects_set(path, cJSON_Duplicate(fields, true));
    set_id(fields, path);
    if (!a->is_trial)
        changes_cause(op->event, fields, sent);
    show(a, op, path, fields);
}

void
operations_answer(struct answer *a, const struct request *r, const struct operation *op,
                  const cJSON *root)
{
    const char *path = r->path + 1, *text = "is required";
    const cJSON *sent = cJSON_GetObjectItemCaseSensitive(root, op->envelope);
    const char *field = op->envelope;

    if (!sent && !op->needs_envelope)
        sent = root;
    if (!objects_has(path)) {
        refuse_absent(a, op, path);
    } else if (strcmp(r->method, "GET") == 0 && is_move(op)) {
        say(a, 404, "<!DOCTYPE html><html><body>Not Found</body></html>");
    } else if (strcmp(r->method, "GET") == 0) {
        a->status = 200;
        show(a, op, path, objects_get(path));
    } else if (!cJSON_IsObject(sent) || (field = find_fault(sent, &text))) {
        refuse(a, op, field, text);
    } else if (!has_valid_query(op, r->query)) {
        refuse(a, op, "query", "is not what is expected");
    } else {
        change(a, r, op, path, sent);
    }
}
