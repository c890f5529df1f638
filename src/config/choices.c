// One word of several, and lists of them.
#include "base/text.h"
#include "config/kind.h"
#include "event/event.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static const char *
read_choice(const char *text, const char *const *choices, int *choice)
{
    for (int i = 0; choices[i]; i++)
        if (strcmp(text, choices[i]) == 0) {
            *choice = i;
            return NULL;
        }
    return "not one of the choices";
}

// Also in capitals, as YAML 1.1 has them.
READ(read_bool)
{
    UNUSED;
    static const char *const choices[] = {"false", "true", "no", "yes", "off", "on"};

    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
        if (strcasecmp(text, choices[i]) == 0) {
            *(bool *)field = i & 1;
            return NULL;
        }
    return "not one of the choices";
}

READ(read_leader)
{
    UNUSED;
    static const char *const choices[] = {"local", "redis", NULL};
    int choice;
    const char *wrong = read_choice(text, choices, &choice);

    if (!wrong)
        *(bool *)field = choice == 1;
    return wrong;
}

READ(read_repeats)
{
    UNUSED;
    static const char *const choices[] = {"mark", "drop", "keep", NULL};

    return read_choice(text, choices, field);
}

READ(read_sources)
{
    UNUSED;
    static const char *const choices[] = {"public", "admin", "api", "system", NULL};
    int choice;
    const char *wrong = read_choice(text, choices, &choice);

    return wrong ? wrong : kind_add_text(field, text);
}

static const char *
nearest_event(const char *text)
{
    struct nearest near = nearest_start(span_of(text));

    for (const char *const *e = event_types; *e; e++)
        nearest_try(&near, span_of(*e));
    return near.word.at;
}

READ(read_events)
{
    UNUSED;
    char what[200];

    if (strcmp(text, "all") == 0 || strcmp(text, "*") == 0)
        return "no event type: ActiveCampaign has no word for all of them, so name each "
               "one (`acrelay send --list` shows those known here)";
    if (!kind_is_made_of(text, LOWER, LOWER DIGITS "_", 64))
        return "not an event type";
    const char *near = nearest_event(text);
    if (!near || strcmp(near, text) != 0) {
        snprintf(what, sizeof what, "event type %s is not known here%s%s%s", text,
                 near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
        reading_warn(r, what);
    }
    return kind_add_text(field, text);
}

READ(read_lists)
{
    UNUSED;
    uint64_t **lists = field, n;
    size_t *len =
        (size_t *)(void *)((char *)field + (offsetof(struct config_hook, lists_len) -
                                            offsetof(struct config_hook, lists)));

    if (!text_number(&n, span_of(text), INT32_MAX))
        return "not a list's id";
    if (*len == CONFIG_LIST_MAX)
        return "one more than 64 lists";
    for (size_t i = 0; i < *len; i++) {
        if ((*lists)[i] == n)
            return "there twice";
        if ((*lists)[i] == 0 || n == 0)
            return "beside 0, which is all lists already";
    }
    *lists = memory_grow(*lists, (*len + 1) * sizeof **lists);
    (*lists)[(*len)++] = n;
    return NULL;
}

static void
release_lists(void *field)
{
    free(*(uint64_t **)field);
    *(uint64_t **)field = NULL;
    *(size_t *)(void *)((char *)field + (offsetof(struct config_hook, lists_len) -
                                         offsetof(struct config_hook, lists))) = 0;
}

KIND(kind_bool, "true or false", read_bool, false, NULL);
KIND(kind_leader, "local or redis", read_leader, false, NULL);
KIND(kind_repeats, "mark, drop or keep", read_repeats, false, NULL);
KIND(kind_sources, "public, admin, api, system", read_sources, true, kind_release_list);
KIND(kind_events, "event types like subscribe", read_events, true, kind_release_list);
KIND(kind_lists, "0 for all lists, or ids of lists", read_lists, true, release_lists);
