#include "worker/show.h"

#include "base/text.h"
#include "program/output.h"

#include <inttypes.h>
#include <stdio.h>

static void
add_words(const char *name, const struct hook_words *words)
{
    char word[80];

    output_open(name, '[');
    for (size_t i = 0; i < words->len; i++) {
        text_escape(word, sizeof word, span_of(words->at[i]));
        output_text(NULL, span_of(word));
    }
    output_close('[');
}

// As a string: many programs read numbers as doubles.
static void
add_number(const char *name, uint64_t number)
{
    output_json(name, "\"%" PRIu64 "\"", number);
}

static void
add_hook(const char *name, const struct hook *h, const struct hook *like)
{
    char url[300], label[SHOW_LABEL];

    show_label(label, sizeof label, h);
    show_url(url, sizeof url, h);
    output_open(name, '{');
    if (h->id)
        add_number("id", h->id);
    output_json("ours", "%s", h->name ? "true" : "false");
    if (h->name)
        output_text("hook", span_of(h->name));
    output_text("name", span_of(label));
    output_text("url", span_of(url));
    add_words("events", &h->events);
    add_words("sources", &h->sources);
    if (h->list != HOOK_LIST_UNREADABLE)
        add_number("list", h->list);
    if (h->unreadable)
        output_text("unreadable", span_of(h->unreadable));
    if (like)
        output_text("looks_like", span_of(like->name));
    output_close('{');
}

static void
add_differs(unsigned differs)
{
    static const char *const names[] = {"name", "url", "events", "sources", "list"};

    output_open("differs", '[');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (differs & 1u << i)
            output_text(NULL, span_of(names[i]));
    output_close('[');
}

static void
add_step(const struct step *s)
{
    output_open(NULL, '{');
    output_text("step", span_of(show_kind(s->kind)));
    output_text("why", span_of(show_why(s->why)));
    add_differs(s->differs);
    if (s->wanted)
        add_hook("wanted", s->wanted, NULL);
    if (s->found)
        add_hook("found", s->found, NULL);
    output_close('{');
}

void
show_plan_json(const struct plan *plan, const struct hooks *found)
{
    output_open("steps", '[');
    for (size_t i = 0; i < plan->len; i++)
        add_step(&plan->at[i]);
    output_close('[');
    output_number("writes", plan->writes);
    output_number("refused", plan->refused);
    output_number("kept", plan->kept);
    output_number("good", plan->good);
    output_number("found", found->len);
    output_print_line();
}

void
show_hooks_json(const struct hooks *found, const struct hooks *wanted)
{
    bool certain;

    output_open("hooks", '[');
    for (size_t i = 0; i < found->len; i++)
        add_hook(NULL, &found->at[i], plan_alike(wanted, &found->at[i], &certain));
    output_close('[');
    output_print_line();
}

void
show_import_json(const struct hook *found)
{
    char name[SHOW_NAME], label[4 * 200 + 1];

    show_make_name(name, found->label);
    text_escape(label, sizeof label, span_of(found->label));
    output_text("name", span_of(name));
    output_text("label", span_of(label));
    add_words("events", &found->events);
    add_words("sources", &found->sources);
    add_number("list", found->list);
    add_number("adopt", found->id);
    output_print_line();
}
