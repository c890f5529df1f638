// The commands that show hooks at ActiveCampaign (plan, list, import), as lines for people or one JSON document.
// URLs are never shown as they are, ours as /hook/<name>/-, others as their host; nor those in
// labels of others. What AC sent is escaped.
#include "base/log.h"
#include "base/text.h"
#include "program/output.h"
#include "worker/worker.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

enum { TEXT_WIDTH = 79, NAME = 40, LABEL = 240 };

// By enum step_why.
static const struct {
    const char *word, *sentence;
} reasons[] = {
    {"absent", ""},
    {"differs", ""},
    {"adopted", "adopted"},
    {"twin", "another hook does the same"},
    {"unwanted", "left: not in the file, and worker.prune is off"},
    {"stays", "left: ActiveCampaign accepted its deletion and still shows it"},
    {"stored", "as ActiveCampaign stores it"},
    {"alike", "not created: this webhook at another address looks like it"},
    {"unreadable", ""},
};

static void
mask_url(char *to, size_t size, const struct hook *hook)
{
    struct hook_url url;
    char host[256];

    if (hook->name) {
        snprintf(to, size, "/hook/%s/-", hook->name);
    } else if (!hook_url_parse(&url, hook->url)) {
        snprintf(to, size, "?");
    } else {
        const char *password = strrchr(url.host, '@'); // before it
        text_escape(host, sizeof host, span_of(password ? password + 1 : url.host));
        snprintf(to, size, "%s://%s/...", url.https ? "https" : "http", host);
    }
}

// Other tools put their URL into the label, "n8n-webhook:https://...": it is a password too.
static void
mask_label(char *to, size_t size, const struct hook *hook)
{
    struct span label = span_of(hook->label);
    const char *url = hook->name ? NULL : strstr(hook->label, "://");
    char shown[220];

    text_escape(shown, sizeof shown,
                url ? span_to(label, (size_t)(url - label.at) + 3) : label);
    snprintf(to, size, "%s%s", shown, url ? "..." : "");
}

// --- JSON ----------------------------------------------------------------------------------

static void
add_set(const char *name, const struct string_set *set)
{
    output_open(name, '[');
    for (size_t i = 0; i < set->len; i++)
        document_shown(&output.document, NULL, span_of(set->at[i]));
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
    char url[300], label[LABEL];

    mask_label(label, sizeof label, h);
    mask_url(url, sizeof url, h);
    output_open(name, '{');
    if (h->id)
        add_number("id", h->id);
    output_flag("ours", h->name);
    if (h->name)
        output_text("hook", span_of(h->name));
    output_text("name", span_of(label));
    output_text("url", span_of(url));
    add_set("events", &h->events);
    add_set("sources", &h->sources);
    if (h->list != HOOK_LIST_UNREADABLE)
        add_number("list", h->list);
    if (h->unreadable)
        output_text("unreadable", span_of(h->unreadable));
    if (like)
        output_text("looks_like", span_of(like->name));
    output_close('{');
}

static void
add_step(const struct step *s)
{
    static const char *const kinds[] = {"create", "change", "remove",
                                        "leave",  "keep",   "refuse"},
                             *const parts[] = {"name", "url", "events", "sources",
                                               "list"}; // by DIFFERS_ bit

    output_open(NULL, '{');
    output_text("step", span_of(kinds[s->kind]));
    output_text("why", span_of(reasons[s->why].word));
    output_open("differs", '[');
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (s->differs & 1u << i)
            output_text(NULL, span_of(parts[i]));
    output_close('[');
    if (s->wanted)
        add_hook("wanted", s->wanted, NULL);
    if (s->found)
        add_hook("found", s->found, NULL);
    output_close('{');
}

static void
add_plan(const struct plan *plan, size_t found)
{
    output_open("steps", '[');
    for (size_t i = 0; i < plan->len; i++)
        add_step(&plan->at[i]);
    output_close('[');
    output_number("writes", plan->writes);
    output_number("refused", plan->count[STEP_REFUSE]);
    output_number("kept", plan->count[STEP_KEEP]);
    output_number("ok", plan->ok);
    output_number("found", found);
}

// --- plan ----------------------------------------------------------------------------------

static void
print_set(const struct string_set *set)
{
    for (size_t i = 0; i < set->len; i++) {
        fputs(i ? ", " : "", stdout);
        output_print(span_of(set->at[i]), TEXT_WIDTH);
    }
}

static void
print_list(uint64_t list)
{
    if (list == HOOK_LIST_UNREADABLE)
        printf("a list that cannot be read");
    else if (list)
        printf("list %" PRIu64, list);
    else
        printf("all lists");
}

static void
print_change(const char *part, const struct string_set *from, const struct string_set *to)
{
    printf("\n      %s", part);
    print_set(from);
    printf(" -> ");
    print_set(to);
}

static void
print_difference(const struct step *step)
{
    const struct hook *w = step->wanted, *f = step->found;
    char from[LABEL], to[LABEL];

    if (!w || !f || step->kind == STEP_REFUSE)
        return;
    if (step->differs & DIFFERS_LABEL) {
        mask_label(from, sizeof from, f);
        mask_label(to, sizeof to, w);
        printf("\n      name     %s -> %s", from, to);
    }
    if (step->differs & DIFFERS_URL)
        printf("\n      URL      %s",
               step->kind == STEP_KEEP && !hook_is_served(f)
                   ? "answered with 404 by the receiver: its events are lost"
               : f->name ? "to the newest secret and public_url"
                         : "to that of this hook");
    if (step->differs & DIFFERS_EVENTS)
        print_change("events   ", &f->events, &w->events);
    if (step->differs & DIFFERS_SOURCES)
        print_change("sources  ", &f->sources, &w->sources);
    if (step->differs & DIFFERS_LIST) {
        printf("\n      list     ");
        print_list(f->list);
        printf(" -> ");
        print_list(w->list);
    }
}

static void
print_reason(const struct step *step)
{
    if (step->kind == STEP_CREATE) {
        print_set(&step->wanted->events);
        printf("; from ");
        print_set(&step->wanted->sources);
        printf("; ");
        print_list(step->wanted->list);
    } else if (step->why == WHY_UNREADABLE) {
        printf("left: its %s cannot be read", step->found->unreadable);
    } else if (step->why == WHY_UNWANTED && step->kind == STEP_REMOVE) {
        printf("not in the file");
    } else {
        fputs(reasons[step->why].sentence, stdout);
    }
    print_difference(step);
}

static void
print_step(const struct step *step)
{
    static const char signs[] = "+~-==!";
    static const enum output_color colors[] = {OUTPUT_OK,    OUTPUT_WARNING, OUTPUT_BAD,
                                               OUTPUT_FAINT, OUTPUT_FAINT,   OUTPUT_BAD};
    const struct hook *h = step->wanted ? step->wanted : step->found;
    char id[24] = "";

    if (step->found)
        snprintf(id, sizeof id, "#%" PRIu64, step->found->id);
    printf("%s  %c %-24s %-8s ", output_color(colors[step->kind]), signs[step->kind],
           h->name, id);
    print_reason(step);
    printf("%s\n", output_color(OUTPUT_PLAIN));
}

static void
print_plan(const struct plan *plan, const struct hooks *found)
{
    size_t others = 0;

    for (size_t i = 0; i < found->len; i++)
        others += !found->at[i].name;
    for (size_t i = 0; i < plan->len; i++)
        print_step(&plan->at[i]);
    if (plan->count[STEP_REFUSE])
        printf("%zu not created: ! says why; ", plan->count[STEP_REFUSE]);
    else if (plan->writes == 0)
        printf("Nothing to do: ");
    if (plan->writes)
        printf("%zu to create, %zu to change, %zu to remove; ", plan->count[STEP_CREATE],
               plan->count[STEP_CHANGE], plan->count[STEP_REMOVE]);
    if (plan->count[STEP_KEEP])
        printf("%zu as ActiveCampaign stores it, ", plan->count[STEP_KEEP]);
    printf("%zu match the file, %zu other webhooks not touched.\n", plan->ok, others);
}

// Of events that AC's own list does not have.
static void
warn_of_events(struct worker *w)
{
    struct hook known = {0};
    struct err err = {0};
    bool listed = ac_client_events(w->client, &known.events, &err) == 0;
    struct buf unknown;

    buf_init(&unknown, 300);
    for (size_t i = 0; listed && i < w->wanted.len; i++)
        for (size_t k = 0; k < w->wanted.at[i].events.len; k++) {
            const char *event = w->wanted.at[i].events.at[k];
            if (string_set_add(&known.events, span_of(event)))
                buf_add_format(&unknown, "%s%s", unknown.len ? ", " : "", event);
        }
    if (unknown.len)
        log_warn("worker: not in ActiveCampaign's own list of events, which is "
                 "incomplete: %s%s; requested anyway",
                 buf_text(&unknown), unknown.full ? " and more" : "");
    buf_release(&unknown);
    hook_release(&known);
}

static int
plan(void *worker, struct err *err)
{
    struct worker *w = worker;

    // Without what Redis knows, what AC stores in other words looks like a change.
    worker_load_known(w);
    struct apply a = {.w = w, .prune = w->config->worker_prune};
    int code = apply_plan(&a, false, err) < 0 ? -1 : EXIT_CODE_OK;
    if (code == EXIT_CODE_OK) {
        warn_of_events(w);
        if (output.json)
            add_plan(&a.plan, a.found.len), output_line(stdout);
        else
            print_plan(&a.plan, &a.found);
        if (a.plan.writes + a.plan.count[STEP_REFUSE] &&
            options_has(w->options, "detailed-exitcode"))
            code = EXIT_CODE_CHANGES;
    }
    apply_release(&a);
    return code;
}

// --- list ----------------------------------------------------------------------------------

static void
print_hook(const struct hook *h, const struct hook *like)
{
    char url[300], label[LABEL], id[24];

    snprintf(id, sizeof id, "%" PRIu64, h->id);
    mask_url(url, sizeof url, h);
    mask_label(label, sizeof label, h);
    printf("%-8s %-6s %-24s %-30s ", h->id ? id : "?", h->name ? "ours" : "other", label,
           url);
    print_set(&h->events);
    if (h->list) {
        printf("; ");
        print_list(h->list);
    }
    if (h->unreadable)
        printf("; its %s cannot be read", h->unreadable);
    if (like)
        printf("; looks like the hook %s", like->name);
    putchar('\n');
}

static int
list(void *worker, struct err *err)
{
    struct worker *w = worker;
    struct hooks found = {0};
    bool certain;

    int result = ac_client_list(w->client, false, &found, err);
    bool shown =
        result == 0 || found.len; // a page that cannot be read hides only its own
    if (shown && output.json)
        output_open("hooks", '[');
    else if (shown)
        printf("%-8s %-6s %-24s %-30s %s\n", "id", "owner", "name", "URL", "events");
    for (size_t i = 0; i < found.len; i++) {
        const struct hook *like = plan_alike(&w->wanted, &found.at[i], &certain);
        if (output.json)
            add_hook(NULL, &found.at[i], like);
        else
            print_hook(&found.at[i], like);
    }
    if (shown && output.json) {
        output_close('[');
        output_line(stdout);
    }
    hooks_release(&found);
    return result < 0 ? -1 : EXIT_CODE_OK;
}

// --- import --------------------------------------------------------------------------------

// A name of ours out of a label: letters, digits and dashes.
static void
make_name(char to[NAME], const char *label)
{
    size_t len = 0;

    for (; *label && len + 1 < NAME; label++) {
        if (isalnum((unsigned char)*label))
            to[len++] = (char)tolower((unsigned char)*label);
        else if (len > 0 && to[len - 1] != '-')
            to[len++] = '-';
    }
    while (len > 0 && to[len - 1] == '-')
        len--;
    if (len == 0)
        len = (size_t)snprintf(to, NAME, "imported");
    to[len] = '\0';
}

// A double-quoted YAML scalar. What a terminal would obey, or hide, is a code there.
static void
print_quoted(const char *text)
{
    struct span rest = span_of(text);

    putchar('"');
    while (rest.len) {
        uint32_t code;
        size_t len = text_utf8(rest, &code);
        if (len == 0)
            fputs("\\ufffd", stdout); // YAML has no way to say a byte that is no UTF-8
        else if (*rest.at == '"' || *rest.at == '\\')
            printf("\\%c", *rest.at);
        else if (!text_is_printable(code))
            printf(code < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)code);
        else
            printf("%.*s", (int)len, rest.at);
        rest = span_from(rest, len ? len : 1);
    }
    putchar('"');
}

// A flow list; a word that could end it, or be read as something else, is quoted.
static void
print_flow(const char *name, const struct string_set *set)
{
    printf("    %s: [", name);
    for (size_t i = 0; i < set->len; i++) {
        const char *word = set->at[i];
        fputs(i ? ", " : "", stdout);
        if (*word &&
            strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(word))
            fputs(word, stdout);
        else
            print_quoted(word);
    }
    fputs("]\n", stdout);
}

static void
show_import(const struct hook *found)
{
    char name[NAME];

    make_name(name, found->label);
    if (output.json) {
        output_text("name", span_of(name));
        document_shown(&output.document, "label", span_of(found->label));
        add_set("events", &found->events);
        add_set("sources", &found->sources);
        add_number("list", found->list);
        add_number("adopt", found->id);
        output_line(stdout);
        return;
    }
    printf("  - name: %s\n    label: ", name);
    print_quoted(found->label);
    putchar('\n');
    print_flow("events", &found->events);
    print_flow("sources", &found->sources);
    printf("    list: %" PRIu64 "\n    adopt: %" PRIu64 "\n", found->list, found->id);
}

static int
import(void *worker, struct err *err)
{
    struct worker *w = worker;
    struct hooks found = {0};
    const char *text = w->options->arguments[0];
    uint64_t id;

    if (!text_number(&id, span_of(text), INT64_MAX) || id == 0)
        return err_exit(err, EXIT_CODE_USAGE,
                        "\"%s\" is not an id: it is a number as in `acrelay-worker list`",
                        text);
    if (ac_client_list(w->client, false, &found, err) < 0)
        return -1;
    const struct hook *hook = hooks_find(&found, id);
    int code = EXIT_CODE_OK;
    if (!hook)
        code = err_exit(
            err, EXIT_CODE_FAILURE,
            "there is no webhook %s at ActiveCampaign; see `acrelay-worker list`", text);
    else if (hook->name)
        code = err_exit(err, EXIT_CODE_FAILURE,
                        "webhook %s already belongs to acrelay: it is the hook %s", text,
                        hook->name);
    else if (hook->unreadable)
        code = err_exit(
            err, EXIT_CODE_FAILURE,
            "the %s of webhook %s cannot be read: correct it at ActiveCampaign first",
            hook->unreadable, text);
    else
        show_import(hook);
    hooks_release(&found);
    return code;
}

static const struct option plan_options[] = {
    OPTION_IS_FLAG("detailed-exitcode",
                   "exit with 0 if there is nothing to do, 2 if there are changes"),
    {0},
};

const struct subcommand worker_show_commands[] = {
    {"plan", "", "show what apply would change at ActiveCampaign", 0, 0, plan_options,
     plan, true, NULL},
    {"list", "", "list every webhook of the account, acrelay's and others", 0, 0, NULL,
     list, true, NULL},
    {"import", "<id>", "print the config lines that adopt an existing webhook", 1, 1,
     NULL, import, true, NULL},
    {0},
};
