#include "worker/show.h"

#include "base/output.h"
#include "base/text.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void
add_words(cJSON *to, const char *name, const struct hook_words *words)
{
    cJSON *array = cJSON_AddArrayToObject(to, name);
    char word[80];

    for (size_t i = 0; i < words->len; i++) {
        text_escape(word, sizeof word, span_of(words->at[i]));
        cJSON_AddItemToArray(array, cJSON_CreateString(word));
    }
}

static void
add_number(cJSON *to, const char *name, uint64_t number)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRIu64, number);
    cJSON_AddStringToObject(to, name, text);
}

static cJSON *
hook_json(const struct hook *h)
{
    cJSON *o = cJSON_CreateObject();
    char url[300], label[SHOW_LABEL];

    show_label(label, sizeof label, h);
    show_url(url, sizeof url, h);
    if (h->id)
        add_number(o, "id", h->id);
    cJSON_AddBoolToObject(o, "ours", h->name != NULL);
    if (h->name)
        cJSON_AddStringToObject(o, "hook", h->name);
    cJSON_AddStringToObject(o, "name", label);
    cJSON_AddStringToObject(o, "url", url);
    add_words(o, "events", &h->events);
    add_words(o, "sources", &h->sources);
    if (h->list != HOOK_LIST_UNREADABLE)
        add_number(o, "list", h->list);
    if (h->unreadable)
        cJSON_AddStringToObject(o, "unreadable", h->unreadable);
    return o;
}

static void
add_differs(cJSON *to, unsigned differs)
{
    static const char *const names[] = {"name", "url", "events", "sources", "list"};
    cJSON *array = cJSON_AddArrayToObject(to, "differs");

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (differs & 1u << i)
            cJSON_AddItemToArray(array, cJSON_CreateString(names[i]));
}

static void
print(cJSON *root)
{
    char *text = cJSON_PrintUnformatted(root);

    output_json(span_of(text));
    putchar('\n');
    free(text);
    cJSON_Delete(root);
}

void
show_plan_json(const struct plan *plan, const struct hooks *found)
{
    cJSON *root = cJSON_CreateObject(), *steps = cJSON_AddArrayToObject(root, "steps");

    for (size_t i = 0; i < plan->len; i++) {
        const struct step *s = &plan->at[i];
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "step", show_kind(s->kind));
        cJSON_AddStringToObject(o, "why", show_why(s->why));
        add_differs(o, s->differs);
        if (s->wanted)
            cJSON_AddItemToObject(o, "wanted", hook_json(s->wanted));
        if (s->found)
            cJSON_AddItemToObject(o, "found", hook_json(s->found));
        cJSON_AddItemToArray(steps, o);
    }
    cJSON_AddNumberToObject(root, "writes", (double)plan->writes);
    cJSON_AddNumberToObject(root, "refused", (double)plan->refused);
    cJSON_AddNumberToObject(root, "kept", (double)plan->kept);
    cJSON_AddNumberToObject(root, "good", (double)plan->good);
    cJSON_AddNumberToObject(root, "found", (double)found->len);
    print(root);
}

void
show_hooks_json(const struct hooks *found, const struct hooks *wanted)
{
    bool certain;

    cJSON *root = cJSON_CreateObject(), *array = cJSON_AddArrayToObject(root, "hooks");

    for (size_t i = 0; i < found->len; i++) {
        cJSON *o = hook_json(&found->at[i]);
        const struct hook *like = plan_alike(wanted, &found->at[i], &certain);
        if (like)
            cJSON_AddStringToObject(o, "looks_like", like->name);
        cJSON_AddItemToArray(array, o);
    }
    print(root);
}

void
show_import_json(const struct hook *found)
{
    cJSON *root = cJSON_CreateObject();
    char name[SHOW_NAME], label[4 * 200 + 1];

    show_make_name(name, found->label);
    text_escape(label, sizeof label, span_of(found->label));
    cJSON_AddStringToObject(root, "name", name);
    cJSON_AddStringToObject(root, "label", label);
    add_words(root, "events", &found->events);
    add_words(root, "sources", &found->sources);
    add_number(root, "list", found->list);
    add_number(root, "adopt", found->id);
    print(root);
}
