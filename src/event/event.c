// bytes -> form -> tree -> JSON, and the envelope around it (NORMAL-FORM.md R8 to R10). Each
// arrow is a file; here they meet, with the buffers that stay warm between events.
#include "event/event.h"

#include "base/clock.h"
#include "base/text.h"
#include "event/json.h"
#include "event/moment.h"
#include "event/normal.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

// Room for the values of an envelope: each has a ceiling, and together they are below 450.
enum { HEAD_MAX = 512, ACCOUNT_MAX = 63, WORD_MAX = 64, SEQUENCE = 20 };

struct event_maker {
    struct arena arena;
    struct form form;
    struct tree tree;
    struct buf data;
    char head[HEAD_MAX]; // the envelope's values, one behind the other
    char *to;            // where the next one goes
    char detail[160];
};

const char *
event_reason_name(enum event_reason reason)
{
    static const char *const names[] = {"good",      "empty",    "nul",  "pairs", "json",
                                        "multipart", "encoding", "size", "redis", "gap"};

    return names[reason];
}

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

// What stands in a type or an id: letters, digits, '_' and '-'; in a type '.' too.
enum { IN_ID = 1, IN_TYPE = 2, IN_BOTH = IN_ID | IN_TYPE };
__extension__ static const unsigned char word_bytes[256] = {
    ['0' ... '9'] = IN_BOTH, ['A' ... 'Z'] = IN_BOTH, ['a' ... 'z'] = IN_BOTH,
    ['_'] = IN_BOTH,         ['-'] = IN_BOTH,         ['.'] = IN_TYPE};

static bool
is_word(struct span s, unsigned where)
{
    unsigned all = where;

    if (s.len == 0 || s.len > WORD_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++)
        all &= word_bytes[(unsigned char)s.at[i]];
    return all;
}

static bool
is_known_type(struct span type)
{
    for (const char *const *known = event_types; *known; known++)
        if (span_is(type, *known))
            return true;
    return false;
}

static inline char *
put(char *to, struct span s)
{
    if (s.len)
        memcpy(to, s.at, s.len);
    return to + s.len;
}

// end_value ends the value that was put from m->to on.
static struct span
end_value(struct event_maker *m, char *to)
{
    struct span value = span_make(m->to, (size_t)(to - m->to));

    m->to = to;
    return value;
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
        !is_word(id, IN_ID))
        return nothing;
    return end_value(m, put(put(put(m->to, root), SPAN("/")), id));
}

static struct span
type_of_form(struct event_maker *m)
{
    const struct node *root = &m->tree.root;
    struct span type;

    if (tree_leaf(&m->tree, root, SPAN("type"), &type))
        return is_word(type, IN_TYPE) ? type : SPAN("unknown");
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
    e->type = end_value(m, put(put(m->to, SPAN("com.activecampaign.")), type));
    clock_format_seconds(m->to, us);
    e->time = end_value(m, m->to + CLOCK_SECONDS);
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
    if (!json_find_string(e->data, "type", &type) || !is_word(type, IN_TYPE))
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
    char *to = put(put(m->to, origin->journal_id), SPAN("-"));

    assert(origin->account.len <= ACCOUNT_MAX && d->hook.len <= DELIVERY_NAME_MAX);
    text_digits(to, origin->sequence, SEQUENCE);
    e->sequence = span_make(to, SEQUENCE);
    e->id = end_value(m, to + SEQUENCE);
    clock_format_us(m->to, origin->received_us);
    e->recorded = end_value(m, m->to + CLOCK_US);
    to = put(put(put(m->to, SPAN("/activecampaign/")), origin->account), SPAN("/"));
    e->source = end_value(m, put(to, d->hook));
    e->query = d->query;
}

enum event_reason
event_make(struct event_maker *m, const struct event_origin *origin,
           const struct delivery *d, struct event *e)
{
    buf_clear(&m->data);
    m->to = m->head;
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
