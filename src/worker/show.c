#include "worker/show.h"

#include "base/text.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

const char *
show_kind(enum step_kind kind)
{
    static const char *const words[] = {"create", "change", "remove",
                                        "leave",  "keep",   "refuse"};

    return words[kind];
}

const char *
show_why(enum step_why why)
{
    static const char *const words[] = {"absent", "differs",  "adopted",
                                        "twin",   "unwanted", "stays",
                                        "stored", "alike",    "unreadable"};

    return words[why];
}

// Up to its path: the rest of a URL may be a password.
void
show_url(char *to, size_t size, const struct hook *hook)
{
    struct span url = span_of(hook->url), rest = url;
    char host[256];

    if (hook->name) {
        snprintf(to, size, "/hook/%s/-", hook->name);
        return;
    }
    size_t scheme = span_find(rest, ':');
    rest = span_from(rest, scheme < rest.len ? scheme + 3 : 0);
    size_t end = 0;
    while (end < rest.len && !strchr("/?#", rest.at[end]))
        end++;
    struct span authority = span_to(rest, end);
    size_t at = span_find(authority, '@');
    if (at < authority.len)
        authority = span_from(authority, at + 1);
    text_escape(host, sizeof host, authority);
    if (authority.len == 0) {
        snprintf(to, size, "?");
        return;
    }
    snprintf(to, size, "%.*s://%s/...", (int)(scheme < 6 ? scheme : 0), url.at, host);
}

// Other tools put their URL into the label, "n8n-webhook:https://...": it is a password too.
void
show_label(char *to, size_t size, const struct hook *hook)
{
    struct span label = span_of(hook->label);
    const char *url = hook->name ? NULL : strstr(hook->label, "://");
    char shown[220];

    text_escape(shown, sizeof shown,
                url ? span_to(label, (size_t)(url - label.at) + 3) : label);
    snprintf(to, size, "%s%s", shown, url ? "..." : "");
}

static const char *
paint(const struct show *s, enum step_kind kind)
{
    static const char *const colors[] = {"\033[32m", "\033[33m", "\033[31m",
                                         "\033[2m",  "\033[2m",  "\033[31m"};

    return s->color ? colors[kind] : "";
}

static const char *
plain(const struct show *s)
{
    return s->color ? "\033[0m" : "";
}

static void
add_words(struct buf *to, const struct hook_words *words)
{
    char word[80];

    for (size_t i = 0; i < words->len; i++) {
        text_escape(word, sizeof word, span_of(words->at[i]));
        buf_add_format(to, "%s%s", i ? ", " : "", word);
    }
}

static void
add_list(struct buf *to, uint64_t list)
{
    if (list == HOOK_LIST_UNREADABLE)
        buf_add_text(to, "a list that cannot be read");
    else if (list)
        buf_add_format(to, "list %" PRIu64, list);
    else
        buf_add_text(to, "all lists");
}

// "events: a, b -> a, c" for each part that differs.
static void
add_difference(struct buf *to, const struct step *step)
{
    const struct hook *w = step->wanted, *f = step->found;
    char label[SHOW_LABEL];

    if (!w || !f || step->kind == STEP_REFUSE)
        return;
    if (step->differs & DIFFERS_LABEL) {
        show_label(label, sizeof label, f);
        buf_add_format(to, "\n      name     %s -> ", label);
        show_label(label, sizeof label, w);
        buf_add_text(to, label);
    }
    if (step->differs & DIFFERS_URL)
        buf_add_text(to, f->name ? "\n      URL      to the newest secret and public_url"
                                 : "\n      URL      to ours");
    if (step->differs & DIFFERS_EVENTS) {
        buf_add_text(to, "\n      events   ");
        add_words(to, &f->events);
        buf_add_text(to, " -> ");
        add_words(to, &w->events);
    }
    if (step->differs & DIFFERS_SOURCES) {
        buf_add_text(to, "\n      sources  ");
        add_words(to, &f->sources);
        buf_add_text(to, " -> ");
        add_words(to, &w->sources);
    }
    if (step->differs & DIFFERS_LIST) {
        buf_add_text(to, "\n      list     ");
        add_list(to, f->list);
        buf_add_text(to, " -> ");
        add_list(to, w->list);
    }
}

static void
add_reason(struct buf *to, const struct step *step)
{
    if (step->kind == STEP_CREATE && step->wanted) {
        add_words(to, &step->wanted->events);
        buf_add_text(to, "; from ");
        add_words(to, &step->wanted->sources);
        buf_add_text(to, "; ");
        add_list(to, step->wanted->list);
    } else if (step->why == WHY_STORED) {
        buf_add_text(to, "as ActiveCampaign stores it");
    } else if (step->why == WHY_UNREADABLE) {
        buf_add_format(to, "left: its %s cannot be read", step->found->unreadable);
    } else if (step->why == WHY_STAYS) {
        buf_add_text(to, "left: ActiveCampaign accepted its deletion and still shows it");
    } else if (step->why == WHY_ALIKE) {
        buf_add_text(to, "not created: this webhook of another address looks like it");
    } else if (step->why == WHY_TWIN) {
        buf_add_text(to, "another hook does the same");
    } else if (step->kind == STEP_REMOVE) {
        buf_add_text(to, "the file does not name it");
    } else if (step->kind == STEP_LEAVE) {
        buf_add_text(to, "left: the file does not name it, and worker.prune is off");
    } else if (step->why == WHY_ADOPTED) {
        buf_add_text(to, "adopted");
    }
    add_difference(to, step);
}

static void
show_step(const struct show *s, const struct step *step)
{
    static const char signs[] = "+~-==!";
    const struct hook *h = step->wanted ? step->wanted : step->found;
    char id[24] = "";
    struct buf line;

    assert(h); // a step is about something
    buf_init(&line, 1 << 16);
    if (step->found)
        snprintf(id, sizeof id, "#%" PRIu64, step->found->id);
    buf_add_format(&line, "%s  %c %-24s %-8s ", paint(s, step->kind), signs[step->kind],
                   h->name, id);
    add_reason(&line, step);
    printf("%s%s\n", buf_text(&line), plain(s));
    buf_release(&line);
}

static size_t
count_steps(const struct plan *plan, enum step_kind kind)
{
    size_t n = 0;

    for (size_t i = 0; i < plan->len; i++)
        n += plan->at[i].kind == kind;
    return n;
}

static size_t
count_foreign(const struct hooks *found)
{
    size_t n = 0;

    for (size_t i = 0; i < found->len; i++)
        n += !found->at[i].name;
    return n;
}

void
show_plan(const struct show *s, const struct plan *plan, const struct hooks *found)
{
    if (s->json) {
        show_plan_json(plan, found);
        return;
    }
    for (size_t i = 0; i < plan->len; i++)
        show_step(s, &plan->at[i]);
    if (plan->refused)
        printf("%zu not created: ! says why; ", plan->refused);
    else if (plan->writes == 0)
        printf("Nothing to do: ");
    if (plan->writes)
        printf("%zu to create, %zu to change, %zu to remove; ",
               count_steps(plan, STEP_CREATE), count_steps(plan, STEP_CHANGE),
               count_steps(plan, STEP_REMOVE));
    if (plan->kept)
        printf("%zu as ActiveCampaign stores it, ", plan->kept);
    printf("%zu as the file says, %zu of others not touched.\n", plan->good,
           count_foreign(found));
}

void
show_hooks(const struct show *s, const struct hooks *found, const struct hooks *wanted)
{
    char url[300], label[SHOW_LABEL], id[24];
    bool certain;

    if (s->json) {
        show_hooks_json(found, wanted);
        return;
    }
    printf("%-8s %-6s %-24s %-30s %s\n", "id", "whose", "name", "URL", "events");
    for (size_t i = 0; i < found->len; i++) {
        const struct hook *h = &found->at[i];
        struct buf events;
        buf_init(&events, 1 << 16);
        add_words(&events, &h->events);
        if (h->list) {
            buf_add_text(&events, "; ");
            add_list(&events, h->list);
        }
        const struct hook *like = plan_alike(wanted, h, &certain);
        if (h->unreadable)
            buf_add_format(&events, "; its %s cannot be read", h->unreadable);
        if (like)
            buf_add_format(&events, "; looks like our %s", like->name);
        snprintf(id, sizeof id, "%" PRIu64, h->id);
        show_url(url, sizeof url, h);
        show_label(label, sizeof label, h);
        printf("%-8s %-6s %-24s %-30s %s\n", h->id ? id : "?", h->name ? "ours" : "other",
               label, url, buf_text(&events));
        buf_release(&events);
    }
}

void
show_make_name(char to[SHOW_NAME], const char *label)
{
    size_t len = 0;

    for (; *label && len + 1 < SHOW_NAME; label++) {
        char c = *label;
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            to[len++] = c;
        else if (len > 0 && to[len - 1] != '-')
            to[len++] = '-';
    }
    while (len > 0 && to[len - 1] == '-')
        len--;
    if (len == 0)
        len = (size_t)snprintf(to, SHOW_NAME, "imported");
    to[len] = '\0';
}

// A double-quoted YAML scalar. What a terminal would obey, or hide, is a code there.
static void
add_quoted(struct buf *to, const char *text)
{
    struct span rest = span_of(text);

    buf_add_byte(to, '"');
    while (rest.len) {
        uint32_t code;
        size_t len = text_utf8(rest, &code);
        if (len == 0)
            buf_add_text(to, "\\ufffd"); // YAML has no way to say a byte that is no UTF-8
        else if (*rest.at == '"' || *rest.at == '\\')
            buf_add_format(to, "\\%c", *rest.at);
        else if (!text_is_printable(code))
            buf_add_format(to, code < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)code);
        else
            buf_add(to, span_to(rest, len));
        rest = span_from(rest, len ? len : 1);
    }
    buf_add_byte(to, '"');
}

// A flow list; a word that could end it, or be read as something else, is quoted.
static void
add_flow(struct buf *to, const char *name, const struct hook_words *words)
{
    buf_add_format(to, "    %s: [", name);
    for (size_t i = 0; i < words->len; i++) {
        const char *word = words->at[i];
        buf_add_text(to, i ? ", " : "");
        if (*word &&
            strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(word))
            buf_add_text(to, word);
        else
            add_quoted(to, word);
    }
    buf_add_text(to, "]\n");
}

void
show_import(const struct show *s, const struct hook *found)
{
    char name[SHOW_NAME];
    struct buf lines;

    if (s->json) {
        show_import_json(found);
        return;
    }
    show_make_name(name, found->label);
    buf_init(&lines, 64 << 20); // an answer of 4 MiB, all of it escaped
    buf_add_format(&lines, "  - name: %s\n    label: ", name);
    add_quoted(&lines, found->label);
    buf_add_byte(&lines, '\n');
    add_flow(&lines, "events", &found->events);
    add_flow(&lines, "sources", &found->sources);
    buf_add_format(&lines, "    list: %" PRIu64 "\n    adopt: %" PRIu64 "\n", found->list,
                   found->id);
    fputs(buf_text(&lines), stdout);
    buf_release(&lines);
}

void
show_recreated(const struct show *s, const char *name, size_t created, size_t removed)
{
    printf(s->json ? "{\"hook\":\"%s\",\"created\":%zu,\"removed\":%zu}\n"
                   : "%s: %zu created, %zu old ones removed\n",
           name, created, removed);
}

void
show_secrets(const struct show *s, const struct config *c, const size_t *uses, size_t len,
             size_t none)
{
    char file[300];

    if (s->json)
        printf("{\"secrets\":[");
    for (size_t i = 0; i < len; i++) {
        text_escape(file, sizeof file, span_of(c->secret_files.at[i]));
        if (s->json)
            printf("%s{\"number\":%zu,\"hooks\":%zu}", i ? "," : "", i + 1, uses[i]);
        else if (uses[i] == 0 && i > 0)
            printf(
                "%s: no hook at ActiveCampaign uses it any more; it can be taken out\n",
                file);
        else
            printf("%s: %zu hooks%s\n", file, uses[i], i == 0 ? " (newest)" : "");
    }
    if (s->json)
        printf("],\"unknown\":%zu}\n", none);
    else if (none)
        printf("%zu hooks of ours are under none of these secrets: their posts get 404; "
               "run apply\n",
               none);
}
