// bytes -> form -> tree -> JSON, and the envelope around it (NORMAL-FORM.md R8 to R10). Each
// arrow is a file; here they meet, with the buffers that stay warm between events.
#include "event/event.h"

#include "base/clock.h"
#include "base/text.h"
#include "event/json.h"
#include "event/moment.h"
#include "event/normal.h"

#include <stdlib.h>
#include <sys/random.h>

struct event_maker {
    struct arena arena;
    struct form form;
    struct tree tree;
    struct buf data, head; // head: the envelope's values
    char detail[160];
};

const char *
event_reason_name(enum event_reason reason)
{
    static const char *const names[] = {"good",      "empty",    "nul",  "pairs", "json",
                                        "multipart", "encoding", "size", "redis", "gap"};

    return names[reason];
}

enum { HEAD_MAX = 4096 };

struct event_maker *
event_maker_open(void)
{
    struct event_maker *m = memory_get(sizeof *m);
    uint64_t seed = 0;

    *m = (struct event_maker){0};
    // Without random bytes the seed is the address: weaker, never wrong.
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
        seed = (uint64_t)(uintptr_t)m;
    tree_init(&m->tree, &m->arena, seed);
    buf_init(&m->data, EVENT_DATA_MAX);
    buf_init(&m->head, HEAD_MAX);
    return m;
}

void
event_maker_close(struct event_maker *m)
{
    if (!m)
        return;
    tree_release(&m->tree);
    form_release(&m->form);
    arena_release(&m->arena);
    buf_release(&m->data);
    buf_release(&m->head);
    free(m);
}

// --- what kind of body ----------------------------------------------------------------------

// The media type without parameters, e.g. "application/json".
static struct span
media_type(struct span type)
{
    return span_trim(span_to(type, span_find(type, ';')));
}

static bool
ends_with_json(struct span type)
{
    return type.len > 5 && span_is_nocase(span_from(type, type.len - 5), "+json");
}

static bool
is_json_type(struct span type)
{
    return span_is_nocase(type, "application/json") ||
           span_is_nocase(type, "text/json") || ends_with_json(type);
}

static bool
starts_with_brace(struct span body)
{
    while (body.len > 0 && memchr(" \t\r\n", body.at[0], 4))
        body = span_from(body, 1);
    return body.len > 0 && body.at[0] == '{';
}

// --- the envelope (R10) -----------------------------------------------------------------------

static bool
is_word(struct span s, const char *more)
{
    if (s.len == 0 || s.len > 64)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        bool alphanumeric =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alphanumeric && (c == '\0' || !strchr(more, c)))
            return false;
    }
    return true;
}

static bool
is_known_type(struct span type)
{
    for (const char *const *known = event_types; *known; known++)
        if (span_is(type, *known))
            return true;
    return false;
}

static char *
put(char *to, struct span s)
{
    if (s.len)
        memcpy(to, s.at, s.len);
    return to + s.len;
}

// add appends to head and returns what was appended. Everything in head has a ceiling well
// below HEAD_MAX, and it is reserved before the first add, so that spans into it stay.
static struct span
add(struct event_maker *m, struct span a, struct span b, struct span c)
{
    size_t len = a.len + b.len + c.len;
    char *at = buf_room(&m->head, len);

    if (!at)
        return (struct span){"", 0};
    put(put(put(at, a), b), c);
    m->head.len += len;
    return span_make(at, len);
}

static const struct span nothing = {"", 0};

// What a known type is about; NULL where the body must tell.
static const char *
root_of_type(struct span type)
{
    if (span_is(type, "deal_pipeline_add"))
        return "pipeline";
    if (span_is(type, "deal_stage_add"))
        return "stage";
    if (span_is(type, "deal_tasktype_add"))
        return "tasktype";
    if (span_is(type, "sent"))
        return "campaign";
    if (span_is(type, "list_add"))
        return "list";
    if (span_starts(type, SPAN("deal_")))
        return "deal";
    if (span_starts(type, SPAN("account_")))
        return "account";
    return NULL;
}

static const char *
subject_root(struct event_maker *m, struct span type)
{
    static const char *const others[] = {"deal", "account", "campaign"};
    const struct node *top = &m->tree.root;
    const char *root = root_of_type(type);

    if (root)
        return root;
    // A contact is both the subject of a known type and the first choice of an unknown one.
    if (tree_child(&m->tree, top, SPAN("contact")) || span_is(type, "automation") ||
        is_known_type(type))
        return "contact";
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (tree_child(&m->tree, top, span_of(others[i])))
            return others[i];
    return "contact";
}

static struct span
make_subject(struct event_maker *m, struct span type)
{
    struct span root = span_of(subject_root(m, type));
    const struct node *n = tree_child(&m->tree, &m->tree.root, root);
    struct span id;

    if (!tree_leaf(&m->tree, n && !n->is_leaf ? n : NULL, SPAN("id"), &id) ||
        !is_word(id, "_-"))
        return nothing;
    return add(m, root, SPAN("/"), id);
}

static struct span
type_of_form(struct event_maker *m)
{
    const struct node *root = &m->tree.root;
    struct span type;

    if (tree_leaf(&m->tree, root, SPAN("type"), &type))
        return is_word(type, "_.-") ? type : SPAN("unknown");
    if (tree_child(&m->tree, root, SPAN("type")))
        return SPAN("unknown");
    if (tree_child(&m->tree, root, SPAN("seriesid")) ||
        tree_child(&m->tree, root, SPAN("contact")))
        return SPAN("automation");
    return SPAN("unknown");
}

static void
set_type_and_time(struct event_maker *m, struct span type, int64_t us, struct event *e)
{
    char text[CLOCK_TEXT];

    e->type = add(m, SPAN("com.activecampaign."), type, nothing);
    clock_format_seconds(text, us);
    e->time = add(m, span_make(text, CLOCK_SECONDS), nothing, nothing);
}

// --- bodies -----------------------------------------------------------------------------------

static enum event_reason
set_detail(struct event_maker *m, struct event *e, enum event_reason reason,
           const char *detail)
{
    text_escape(m->detail, sizeof m->detail, span_of(detail));
    e->detail = span_of(m->detail);
    return reason;
}

static enum event_reason
make_from_json(struct event_maker *m, const struct event_origin *origin, struct event *e)
{
    struct span type;

    e->data = buf_span(&m->data);
    if (!json_find_string(e->data, "type", &type) || !is_word(type, "_.-"))
        type = SPAN("unknown");
    set_type_and_time(m, type, origin->received_us, e);
    return EVENT_GOOD;
}

static enum event_reason
make_from_form(struct event_maker *m, const struct event_origin *origin, struct span body,
               struct event *e)
{
    struct span written;
    int64_t us;

    arena_reset(&m->arena);
    switch (form_parse(&m->form, body, EVENT_PAIRS_MAX, &m->arena)) {
    case FORM_NUL:
        return set_detail(m, e, EVENT_NUL, "a NUL in a key or a value");
    case FORM_TOO_MANY:
        return set_detail(m, e, EVENT_PAIRS, "more than 10000 pairs");
    case FORM_GOOD:
        break;
    }
    tree_fill(&m->tree, &m->form);
    normal_write(&m->data, &m->tree);
    if (m->data.full)
        return set_detail(m, e, EVENT_SIZE, "the event is larger than 8 MiB");
    e->data = buf_span(&m->data);
    struct span type = type_of_form(m);
    if (!tree_leaf(&m->tree, &m->tree.root, SPAN("date_time"), &written) ||
        !moment_read(&us, written))
        us = origin->received_us;
    set_type_and_time(m, type, us, e);
    e->subject = make_subject(m, type);
    return EVENT_GOOD;
}

static enum event_reason
make_from_body(struct event_maker *m, const struct event_origin *origin,
               const struct delivery *d, struct event *e)
{
    struct span media = media_type(d->type);
    bool json = is_json_type(media);

    if (d->encoding.len > 0 && !span_is_nocase(d->encoding, "identity"))
        return set_detail(m, e, EVENT_ENCODING, "the body has a Content-Encoding");
    if (media.len >= 10 && span_is_nocase(span_to(media, 10), "multipart/"))
        return set_detail(m, e, EVENT_MULTIPART, "the body is multipart");
    if (d->body.len == 0)
        return set_detail(m, e, EVENT_EMPTY, "the body is empty");
    bool form = span_is_nocase(media, "application/x-www-form-urlencoded");
    if (json || (!form && starts_with_brace(d->body))) {
        const char *wrong = json_compact(&m->data, d->body);
        if (!wrong && m->data.full)
            return set_detail(m, e, EVENT_SIZE, "the event is larger than 8 MiB");
        if (!wrong)
            return make_from_json(m, origin, e);
        if (json)
            return set_detail(m, e, EVENT_JSON, wrong);
        buf_clear(&m->data);
    }
    return make_from_form(m, origin, d->body, e);
}

static void
set_origin(struct event_maker *m, const struct event_origin *origin,
           const struct delivery *d, struct event *e)
{
    char sequence[20], recorded[CLOCK_TEXT];

    text_digits(sequence, origin->sequence, 20);
    clock_format_us(recorded, origin->received_us);
    e->id = add(m, origin->journal_id, SPAN("-"), span_make(sequence, 20));
    e->sequence = span_from(e->id, e->id.len - 20);
    e->recorded = add(m, span_make(recorded, CLOCK_US), nothing, nothing);
    add(m, SPAN("/activecampaign/"), origin->account, SPAN("/"));
    add(m, d->hook, nothing, nothing);
    size_t len = SPAN("/activecampaign//").len + origin->account.len + d->hook.len;
    e->source = span_make(m->head.at + m->head.len - len, len);
    e->query = d->query;
}

enum event_reason
event_make(struct event_maker *m, const struct event_origin *origin,
           const struct delivery *d, struct event *e)
{
    buf_clear(&m->data);
    buf_clear(&m->head);
    buf_room(&m->head, HEAD_MAX); // spans into head stay valid from here on
    *e = (struct event){.type = nothing,
                        .subject = nothing,
                        .time = nothing,
                        .data = nothing,
                        .raw = nothing,
                        .detail = nothing};
    set_origin(m, origin, d, e);
    enum event_reason reason = make_from_body(m, origin, d, e);
    if (reason != EVENT_GOOD)
        e->data = nothing;
    if (reason != EVENT_GOOD || d->include_raw)
        e->raw = d->body;
    return reason;
}
