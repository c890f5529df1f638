// The webhooks that changes cause: the sample of the event, with what the object has and as AC
// posts what the API did (initiated_from=api). One thread posts them, in order.
#include "sim.h"

#include "base/clock.h"
#include "event/samples.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

// Where an event has what a member of the object says.
static const struct {
    const char *event, *member, *pair;
} places[] = {
    {"update", "id", "contact[id]"},
    {"update", "email", "contact[email]"},
    {"update", "firstName", "contact[first_name]"},
    {"update", "lastName", "contact[last_name]"},
    {"update", "phone", "contact[phone]"},
    {"deal_update", "id", "deal[id]"},
    {"deal_update", "title", "deal[title]"},
    {"deal_update", "stage", "deal[stageid]"},
    {"deal_update", "group", "deal[pipelineid]"},
    {"deal_update", "value", "deal[value]"},
    {"deal_update", "value", "deal[value_raw]"},
    {"deal_update", "currency", "deal[currency]"},
    {"deal_update", "status", "deal[status]"},
    {"deal_update", "owner", "deal[owner]"},
    {"deal_update", "contact", "contact[id]"},
    {"account_update", "id", "account[id]"},
    {"account_update", "name", "account[name]"},
    {"account_update", "accountUrl", "account[account_url]"},
    {"account_contact_update", "id", "accountContact[id]"},
    {"account_contact_update", "account", "accountContact[account]"},
    {"account_contact_update", "account", "account[id]"},
    {"account_contact_update", "contact", "accountContact[contact]"},
    {"account_contact_update", "contact", "contact[id]"},
    {"account_contact_update", "jobTitle", "accountContact[job_title]"},
    {"deal_task_complete", "id", "task[id]"},
    {"deal_task_complete", "title", "task[title]"},
};

struct change {
    struct change *next;
    char *type;
    struct buf body;
};

static struct change *first, **last = &first;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;

// --- what an event says ----------------------------------------------------------------------

static void
set(cJSON *pairs, const char *name, const char *text)
{
    cJSON_DeleteItemFromObjectCaseSensitive(pairs, name);
    cJSON_AddStringToObject(pairs, name, text);
}

// Text, a number or a boolean; amounts of deals are cents in the API alone.
static void
set_item(cJSON *pairs, const char *name, const cJSON *item)
{
    char number[40];

    if (cJSON_IsString(item)) {
        set(pairs, name, item->valuestring);
        return;
    }
    if (strncmp(name, "deal[value", 10) == 0)
        snprintf(number, sizeof number, "%.2f", item->valuedouble / 100);
    else
        snprintf(number, sizeof number, "%.15g", item->valuedouble);
    if (cJSON_IsNumber(item))
        set(pairs, name, number);
    else if (cJSON_IsBool(item))
        set(pairs, name, cJSON_IsTrue(item) ? "1" : "0");
}

static void
set_field(cJSON *pairs, const cJSON *field)
{
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(field, "field"),
                *value = cJSON_GetObjectItemCaseSensitive(field, "value");
    char name[60];

    if (cJSON_IsString(number))
        snprintf(name, sizeof name, "contact[fields][%.20s]", number->valuestring);
    else
        snprintf(name, sizeof name, "contact[fields][%d]", number ? number->valueint : 0);
    if (number && value)
        set_item(pairs, name, value);
}

static void
set_updated(cJSON *pairs, const char *type, const cJSON *sent)
{
    const cJSON *item;
    char name[40];
    int n = 0;

    if (strcmp(type, "deal_update") != 0 && strcmp(type, "account_update") != 0)
        return;
    cJSON_ArrayForEach(item, sent)
    {
        snprintf(name, sizeof name, "updated_fields[%d]", n++);
        set(pairs, name, item->string);
    }
}

static void
set_object(cJSON *pairs, const char *type, const cJSON *fields)
{
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(fields, places[i].member);
        if (item && strcmp(places[i].event, type) == 0)
            set_item(pairs, places[i].pair, item);
    }
}

// What the event says differently from its sample, or new. `about` is the member that has the id
// of whom it is about: with another than "id", the object is a value of theirs.
static cJSON *
make_pairs(const char *type, const char *about, const cJSON *fields, const cJSON *sent)
{
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(fields, about), *field;
    cJSON *pairs = cJSON_CreateObject(), *subject = cJSON_CreateObject();
    char now[CLOCK_TEXT];

    clock_format_seconds(now, clock_now_us());
    set(pairs, "date_time", now);
    set(pairs, "initiated_from", "api");
    set(pairs, "initiated_by", "api");
    cJSON_AddItemToObject(subject, "id", cJSON_Duplicate(id, true));
    set_object(pairs, type, strcmp(about, "id") == 0 ? fields : subject);
    if (strcmp(about, "contact") == 0)
        set_field(pairs, fields);
    cJSON_ArrayForEach(field, cJSON_GetObjectItemCaseSensitive(fields, "fieldValues"))
        set_field(pairs, field);
    set_updated(pairs, type, sent);
    cJSON_Delete(subject);
    return pairs;
}

// --- as it is posted -----------------------------------------------------------------------

static void
add_encoded(struct buf *to, const char *text)
{
    for (const char *at = text; *at; at++)
        if (isalnum((unsigned char)*at) || strchr("-._", *at))
            buf_add_byte(to, *at);
        else
            buf_add_format(to, "%%%02X", (unsigned char)*at);
}

static void
add_pair(struct buf *to, const cJSON *pair)
{
    if (to->len)
        buf_add_byte(to, '&');
    add_encoded(to, pair->string);
    buf_add_byte(to, '=');
    add_encoded(to, pair->valuestring);
}

// The pair of the sample whose name, encoded, this is; NULL when it stays as it is.
static cJSON *
find_pair(cJSON *pairs, struct span name)
{
    struct buf encoded;
    cJSON *pair, *found = NULL;

    cJSON_ArrayForEach(pair, pairs)
    {
        buf_init(&encoded, 4096);
        add_encoded(&encoded, pair->string);
        if (span_equal(buf_span(&encoded), name))
            found = pair;
        buf_release(&encoded);
    }
    return found;
}

static void
write_body(struct buf *to, struct span sample, cJSON *pairs)
{
    while (sample.len) {
        struct span pair = span_cut(&sample, '&'), rest = pair,
                    name = span_cut(&rest, '=');
        cJSON *other = find_pair(pairs, name);
        if (other) {
            add_pair(to, other);
            cJSON_Delete(cJSON_DetachItemViaPointer(pairs, other));
        } else if (!span_starts(name, SPAN("updated_fields"))) {
            if (to->len)
                buf_add_byte(to, '&');
            buf_add(to, pair);
        }
    }
    cJSON *pair;
    cJSON_ArrayForEach(pair, pairs) add_pair(to, pair);
}

// --- the queue -----------------------------------------------------------------------------

static bool
is_wanted(const char *type)
{
    for (size_t i = 0; i < sim.hooks_len; i++)
        if (words_have(sim.hooks[i].events, type) &&
            words_have(sim.hooks[i].sources, "api"))
            return true;
    return false;
}

static void
queue(const char *type, cJSON *pairs)
{
    struct change *c = memory_get(sizeof *c);
    struct sample sample = {0};

    *c = (struct change){.type = memory_copy(span_of(type))};
    buf_init(&c->body, 1 << 20);
    samples_find(&sample, span_of(type));
    write_body(&c->body, sample.body, pairs);
    *last = c;
    last = &c->next;
    sim.figures.caused++;
    sim.figures.waiting++;
    pthread_cond_signal(&more);
}

void
changes_cause(struct span event, const cJSON *fields, const cJSON *sent)
{
    struct span about = event, name = span_cut(&about, ':');
    const cJSON *status = cJSON_GetObjectItemCaseSensitive(sent, "status");
    char *type = memory_copy(name), *member = memory_copy(about);
    bool is_done = cJSON_IsNumber(status)
                       ? status->valueint == 1
                       : cJSON_IsString(status) && strcmp(status->valuestring, "1") == 0;

    if (is_wanted(type) && cJSON_HasObjectItem(fields, member) &&
        (strcmp(type, "deal_task_complete") != 0 || is_done)) {
        cJSON *pairs = make_pairs(type, member, fields, sent);
        queue(type, pairs);
        cJSON_Delete(pairs);
    }
    free(type);
    free(member);
}

static struct change *
take(void)
{
    pthread_mutex_lock(&sim.lock);
    while (!first)
        pthread_cond_wait(&more, &sim.lock);
    struct change *c = first;
    first = c->next;
    if (!first)
        last = &first;
    pthread_mutex_unlock(&sim.lock);
    return c;
}

static void *
post_on(void *unused)
{
    (void)unused;
    for (;;) {
        struct change *c = take();
        struct firing f = {.type = c->type, .source = "api", .body = buf_span(&c->body)};
        fire(&f);
        pthread_mutex_lock(&sim.lock);
        sim.figures.waiting--;
        pthread_mutex_unlock(&sim.lock);
        buf_release(&c->body);
        free(c->type);
        free(c);
    }
    return NULL;
}

void
changes_start(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, post_on, NULL) == 0)
        pthread_detach(thread);
}
