#include "hook/hook_json.h"

#include "base/text.h"
#include "edge/rest.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

enum { SET_MAX = 200 };

// --- writing -------------------------------------------------------------------------------

static cJSON *
set_json(const struct string_set *set)
{
    return cJSON_CreateStringArray((const char *const *)set->at, (int)set->len);
}

void
hook_json_write(struct buf *to, const struct hook *hook)
{
    cJSON *root = cJSON_CreateObject(), *body = cJSON_AddObjectToObject(root, "webhook");

    cJSON_AddStringToObject(body, "name", hook->label);
    cJSON_AddStringToObject(body, "url", hook->url);
    cJSON_AddItemToObject(body, "events", set_json(&hook->events));
    cJSON_AddItemToObject(body, "sources", set_json(&hook->sources));
    // Below 2^31 as the configuration bounds it, so that a double holds it.
    cJSON_AddNumberToObject(body, "listid", (double)hook->list);
    char *text = cJSON_PrintUnformatted(root);
    buf_add_text(to, text);
    free(text);
    cJSON_Delete(root);
}

// --- reading -------------------------------------------------------------------------------

static const cJSON *
member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

// A number that AC writes as a string or as a number. What is absent, null, false or empty is 0.
static bool
read_number(uint64_t *to, const cJSON *item)
{
    *to = 0;
    if (!item || cJSON_IsNull(item) || cJSON_IsFalse(item))
        return true;
    if (cJSON_IsArray(item) && cJSON_GetArraySize(item) <= 1)
        return read_number(to, item->child);
    if (cJSON_IsNumber(item)) {
        bool whole = item->valuedouble >= 0 && item->valuedouble < 9e15;
        *to = whole ? (uint64_t)item->valuedouble : 0;
        return whole && (double)*to >= item->valuedouble;
    }
    if (!cJSON_IsString(item))
        return false;
    struct span text = span_trim(span_of(item->valuestring));
    return text.len == 0 || text_number(to, text, INT64_MAX);
}

// The fields are read as far as they can be; the first that cannot is `unreadable`.
static void
miss(struct hook *hook, const char *field)
{
    if (!hook->unreadable)
        hook->unreadable = field;
}

static char *
read_text(struct hook *hook, const cJSON *object, const char *name)
{
    const cJSON *item = member(object, name);

    if (item && !cJSON_IsString(item))
        miss(hook, name);
    return memory_copy(span_of(cJSON_IsString(item) ? item->valuestring : ""));
}

// An array, or an object, which is what PHP makes of an array with a gap; "a,b" too.
static bool
read_set(struct string_set *to, const cJSON *set)
{
    const cJSON *item;
    bool ok = !set || cJSON_IsArray(set) || cJSON_IsObject(set);

    if (cJSON_IsString(set)) {
        struct span rest = span_of(set->valuestring);
        while (rest.len && to->len < SET_MAX)
            string_set_add(to, span_trim(span_cut(&rest, ',')));
        return true;
    }
    cJSON_ArrayForEach(item, set)
    {
        ok = ok && cJSON_IsString(item) && to->len < SET_MAX;
        if (cJSON_IsString(item) && to->len < SET_MAX)
            string_set_add(to, span_of(item->valuestring));
    }
    return ok;
}

// Which row this is when its id cannot be read.
static uint64_t
row_digest(const cJSON *object)
{
    char *text = object ? cJSON_PrintUnformatted(object) : NULL;
    struct hook row = {.label = text, .url = text};
    uint64_t digest = hook_digest(&row);

    free(text);
    return digest | UINT64_C(1) << 63; // no id is that great
}

static void
read_hook(struct hook *to, const cJSON *object)
{
    if (!read_number(&to->id, member(object, "id")) || to->id == 0) {
        to->id = 0;
        miss(to, "id");
    }
    to->row = to->id ? to->id : row_digest(object);
    to->label = read_text(to, object, "name");
    to->url = read_text(to, object, "url");
    if (!read_set(&to->events, member(object, "events")))
        miss(to, "events");
    if (!read_set(&to->sources, member(object, "sources")))
        miss(to, "sources");
    if (!read_number(&to->list, member(object, "listid"))) {
        to->list = HOOK_LIST_UNREADABLE;
        miss(to, "listid");
    }
}

// Parses an answer whose member of this name is an array, or an object.
static cJSON *
parse(const cJSON **to, const char *name, bool is_array, struct span body,
      struct err *err)
{
    cJSON *root = cJSON_ParseWithLength(body.at, body.len);
    char message[200];

    *to = member(root, name);
    if (is_array ? cJSON_IsArray(*to) : cJSON_IsObject(*to))
        return root;
    hook_json_explain(message, sizeof message, body);
    if (cJSON_IsObject(root))
        err_set(err, ERR_INPUT, "the answer has no \"%s\"", name);
    else
        err_set(err, ERR_INPUT, "the answer is not JSON as ActiveCampaign writes it%s%s",
                message[0]      ? ": "
                : body.len == 0 ? ": it is empty"
                                : "",
                message);
    cJSON_Delete(root);
    return NULL;
}

int
hook_json_read_page(struct hooks *to, uint64_t *total, size_t *count, struct span body,
                    struct err *err)
{
    const cJSON *page, *item;
    cJSON *root = parse(&page, "webhooks", true, body, err);

    if (!root)
        return -1;
    if (!read_number(total, member(member(root, "meta"), "total")))
        *total = 0;
    *count = 0;
    cJSON_ArrayForEach(item, page)
    {
        struct hook hook = {0};
        read_hook(&hook, item);
        ++*count;
        if (hooks_find(to, hook.row)) // pages may shift and repeat
            hook_release(&hook);
        else
            *hooks_add(to) = hook;
    }
    cJSON_Delete(root);
    return 0;
}

int
hook_json_read_one(struct hook *to, struct span body, struct err *err)
{
    const cJSON *one;
    cJSON *root = parse(&one, "webhook", false, body, err);

    if (!root)
        return -1;
    read_hook(to, one);
    cJSON_Delete(root);
    if (to->id)
        return 0;
    hook_release(to);
    return err_set(err, ERR_INPUT, "the webhook of the answer has no id");
}

int
hook_json_read_events(struct string_set *to, struct span body, struct err *err)
{
    const cJSON *events;
    cJSON *root = parse(&events, "webhookEvents", true, body, err);

    if (!root)
        return -1;
    (void)read_set(to, events); // what is no string is no event
    cJSON_Delete(root);
    return 0;
}

// --- errors --------------------------------------------------------------------------------

static const char *
text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(member(object, name));

    return text && *text ? text : NULL;
}

// The message of one entry of `errors`: a string, or an object with detail, title or error,
// and the field that `source.pointer` names.
static void
add_error(struct buf *to, const cJSON *entry)
{
    static const char *const names[] = {"detail", "title", "error"};
    const cJSON *source = member(entry, "source");
    const char *message = cJSON_GetStringValue(entry),
               *field = text_of(source, "pointer");

    for (size_t i = 0; i < sizeof names / sizeof *names && !message; i++)
        message = text_of(entry, names[i]);
    if (!field)
        field = text_of(source, "value");
    if (!message)
        return;
    buf_add_format(to, "%s%s", to->len ? "; " : "", message);
    if (field)
        buf_add_format(to, " (%s)",
                       strrchr(field, '/') ? strrchr(field, '/') + 1 : field);
}

static void
add_errors(struct buf *to, const cJSON *root)
{
    const cJSON *errors = member(root, "errors"), *entry;
    const char *message = text_of(root, "message");

    if (message)
        buf_add_text(to, message);
    if (cJSON_IsString(errors))
        add_error(to, errors);
    if (cJSON_IsArray(errors))
        cJSON_ArrayForEach(entry, errors) add_error(to, entry);
}

static bool
is_own(const cJSON *root)
{
    static const char *const names[] = {"message", "errors", "error", "user"};
    bool known = cJSON_IsObject(root) && !root->child;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        known = known || member(root, names[i]);
    return known && !cJSON_GetObjectItem(root, "cloudflare_error");
}

// Appends text with "..." for what follows :// (in JSON also written :\/\/).
static void
add_without_urls(struct buf *to, struct span text)
{
    while (text.at && text.len) {
        bool plain = span_starts(text, SPAN("://")),
             escaped = span_starts(text, SPAN(":\\/\\/"));
        size_t len = plain ? 3 : escaped ? 5 : 1;
        buf_add(to, span_to(text, len));
        text = span_from(text, len);
        if (len == 1)
            continue;
        buf_add_text(to, "...");
        while (text.len && !strchr(" \t\r\n\"'<>,;)", *text.at))
            text = span_from(text, 1);
    }
}

bool
hook_json_explain(char *to, size_t size, struct span body)
{
    // The first document only: one documented answer is two of them in a row.
    cJSON *root =
        body.len ? cJSON_ParseWithLengthOpts(body.at, body.len, NULL, false) : NULL;
    struct buf message, shown;

    buf_init(&message, 2000);
    buf_init(&shown, 8000);
    if (root)
        add_errors(&message, root);
    else if (span_starts(rest_body(body), SPAN("<")))
        buf_add_text(&message, "HTML instead of JSON");
    else
        buf_add(&message, span_to(body, 150));
    add_without_urls(&shown, buf_span(&message));
    text_escape(to, size, buf_span(&shown));
    bool own = is_own(root);
    buf_release(&message);
    buf_release(&shown);
    cJSON_Delete(root);
    return own;
}
