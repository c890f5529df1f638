// bytes -> form -> tree -> JSON, and the envelope around it (NORMAL-FORM.md R8 to R10). Each
// arrow is a file; here they meet, with the buffers that stay warm between events.
#include "event/event.h"

#include "base/clock.h"
#include "base/text.h"
#include "event/form.h"
#include "event/json.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

const char *const event_types[] = {"account_add",
                                   "account_contact_add",
                                   "account_contact_update",
                                   "account_update",
                                   "bounce",
                                   "click",
                                   "contact_tag_added",
                                   "contact_tag_removed",
                                   "contact_task_add",
                                   "deal_add",
                                   "deal_note_add",
                                   "deal_pipeline_add",
                                   "deal_stage_add",
                                   "deal_task_add",
                                   "deal_task_complete",
                                   "deal_tasktype_add",
                                   "deal_update",
                                   "forward",
                                   "list_add",
                                   "open",
                                   "reply",
                                   "sent",
                                   "share",
                                   "sms_reply",
                                   "sms_sent",
                                   "sms_unsub",
                                   "subscribe",
                                   "subscriber_note",
                                   "unsubscribe",
                                   "update",
                                   NULL};

#define SOURCE_PREFIX "/activecampaign/"
#define TYPE_PREFIX "com.activecampaign."

// The ceilings of an envelope's values, and of all together: a subject is the longest of
// "pipeline/" or "hook/" and a word, and a time needs room for a NUL.
enum {
    ACCOUNT_MAX = 63,
    WORD_MAX = 64,
    SEQUENCE = 20,
    TEXT_MAX = 128,
    STRUCTURED_MORE = 4096 // beside `data`
};
enum {
    HEAD_MAX = EVENT_ID_TEXT + CLOCK_US + sizeof SOURCE_PREFIX + ACCOUNT_MAX +
               DELIVERY_NAME_MAX + sizeof TYPE_PREFIX + WORD_MAX + CLOCK_SECONDS +
               sizeof "pipeline/" + WORD_MAX
};
static_assert((int)DELIVERY_NAME_MAX <= (int)WORD_MAX,
              "hook/NAME is no longer than pipeline/ID");

// The members of the root that the envelope is made of.
enum name {
    TYPE,
    DATE_TIME,
    SERIES,
    CONTACT,
    DEAL,
    ACCOUNT,
    CAMPAIGN,
    LIST,
    PIPELINE,
    STAGE,
    TASKTYPE,
    NAMES
};
static const struct span names[NAMES] = {
    {"type", 4},     {"date_time", 9}, {"seriesid", 8}, {"contact", 7},
    {"deal", 4},     {"account", 7},   {"campaign", 8}, {"list", 4},
    {"pipeline", 8}, {"stage", 5},     {"tasktype", 8}};

struct event_maker {
    struct arena arena;
    struct form form;
    struct tree tree;
    struct buf data, structured;
    char head[HEAD_MAX]; // the envelope's values, one after the other
    char *to;            // where the next one goes
    // A JSON body: the values of the members that R10 names, and one decoded.
    bool is_json;
    struct span members[NAMES];
    char text[TEXT_MAX];
};

const char *
event_reason_name(enum event_reason reason)
{
    static const char *const reasons[] = {"ok",    "empty",     "nul",      "pairs",
                                          "json",  "multipart", "encoding", "size",
                                          "redis", "gap"};

    return reasons[reason];
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
    m->tree = (struct tree){.arena = &m->arena, .seed = seed};
    buf_init(&m->data, EVENT_DATA_MAX);
    buf_init(&m->structured, EVENT_DATA_MAX + STRUCTURED_MORE);
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
    buf_release(&m->structured);
    free(m);
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

// has says whether the root has a member of this name.
static bool
has(const struct event_maker *m, enum name name)
{
    if (m->is_json)
        return m->members[name].len > 0 && !span_is(m->members[name], "null");
    return tree_child(&m->tree, &m->tree.root, names[name]);
}

// read_text reads a member of the root that is a text, valid until the next call.
static bool
read_text(struct event_maker *m, enum name name, struct span *text)
{
    if (m->is_json)
        return json_text(m->members[name], m->text, sizeof m->text, text);
    return tree_leaf(&m->tree, &m->tree.root, names[name], text);
}

// read_id reads the `id` in a member of the root: the last one, as JSON parsers take it.
static bool
read_id(struct event_maker *m, enum name of, struct span *id)
{
    struct span name, value, found = nothing, rest = m->members[of];

    if (!m->is_json) {
        const struct node *n = tree_child(&m->tree, &m->tree.root, names[of]);
        return tree_leaf(&m->tree, n && !n->is_leaf ? n : NULL, SPAN("id"), id);
    }
    if (rest.len == 0 || rest.at[0] != '{')
        return false;
    while (json_next(&rest, &name, &value))
        if (json_text(name, m->text, sizeof m->text, id) && span_is(*id, "id"))
            found = value;
    return json_text(found, m->text, sizeof m->text, id);
}

// What a known type is about; NAMES where the body must say.
static enum name
subject_of_type(struct span type)
{
    return span_is(type, "deal_pipeline_add")    ? PIPELINE
           : span_is(type, "deal_stage_add")     ? STAGE
           : span_is(type, "deal_tasktype_add")  ? TASKTYPE
           : span_is(type, "sent")               ? CAMPAIGN
           : span_is(type, "list_add")           ? LIST
           : span_starts(type, SPAN("deal_"))    ? DEAL
           : span_starts(type, SPAN("account_")) ? ACCOUNT
                                                 : NAMES;
}

static enum name
subject_of(const struct event_maker *m, struct span type)
{
    enum name of = subject_of_type(type);

    if (of != NAMES)
        return of;
    // A contact is both the subject of a known type and the first choice of an unknown one.
    if (has(m, CONTACT) || span_is(type, "automation") || is_known_type(type))
        return CONTACT;
    for (of = DEAL; of <= CAMPAIGN; of++)
        if (has(m, of))
            return of;
    return CONTACT;
}

static struct span
make_subject(struct event_maker *m, struct span type, struct span hook)
{
    enum name of = subject_of(m, type);
    struct span id;

    if (!read_id(m, of, &id) || !is_word(id, IN_ID))
        return end_value(m, put(put(m->to, SPAN("hook/")), hook));
    return end_value(m, put(put(put(m->to, names[of]), SPAN("/")), id));
}

static struct span
type_of(struct event_maker *m)
{
    struct span type = nothing;

    if (read_text(m, TYPE, &type) ? type.len > 0 : has(m, TYPE))
        return is_word(type, IN_TYPE) ? type : SPAN("unknown");
    return has(m, SERIES) || has(m, CONTACT) ? SPAN("automation") : SPAN("unknown");
}

// set_envelope reads type, time and subject from a body that has been understood.
static void
set_envelope(struct event_maker *m, const struct event_origin *origin, struct span hook,
             struct event *e)
{
    struct span written, prefix = SPAN(TYPE_PREFIX);
    int64_t us;

    e->type = end_value(m, put(put(m->to, prefix), type_of(m)));
    if (!read_text(m, DATE_TIME, &written) || !ac_time_parse(&us, written))
        us = origin->received_us;
    clock_format_seconds(m->to, us);
    e->time = end_value(m, m->to + CLOCK_SECONDS);
    e->subject = make_subject(m, span_from(e->type, prefix.len), hook);
}

// --- bodies -----------------------------------------------------------------------------------

static enum event_reason
set_detail(struct event *e, enum event_reason reason, const char *detail)
{
    e->detail = span_of(detail);
    return reason;
}

// find_members looks for the members that R10 names; of one that stands twice the last
// counts.
static void
find_members(struct event_maker *m, struct span object)
{
    struct span name, value, text;

    memset(m->members, 0, sizeof m->members);
    while (json_next(&object, &name, &value)) {
        json_text(name, m->text, sizeof m->text, &text);
        for (int i = 0; i < NAMES; i++)
            if (span_equal(text, names[i]))
                m->members[i] = value;
    }
}

static enum event_reason
make_from_json(struct event_maker *m, struct span body, struct event *e)
{
    const char *error = json_compact(&m->data, body);

    if (error)
        return set_detail(e, EVENT_JSON, error);
    if (m->data.full)
        return set_detail(e, EVENT_SIZE, "the event is larger than 8 MiB");
    e->data = buf_span(&m->data);
    find_members(m, e->data);
    m->is_json = true;
    return EVENT_OK;
}

static enum event_reason
make_from_form(struct event_maker *m, struct span body, struct event *e)
{
    arena_reset(&m->arena);
    switch (form_parse(&m->form, body, EVENT_PAIRS_MAX, &m->arena)) {
    case FORM_NUL:
        return set_detail(e, EVENT_NUL, "a NUL in a key or a value");
    case FORM_TOO_MANY:
        return set_detail(e, EVENT_PAIRS, "more than 10000 pairs");
    case FORM_OK:
        break;
    }
    tree_fill(&m->tree, &m->form);
    normal_write(&m->data, &m->tree);
    if (m->data.full)
        return set_detail(e, EVENT_SIZE, "the event is larger than 8 MiB");
    e->data = buf_span(&m->data);
    return EVENT_OK;
}

static enum event_reason
make_from_body(struct event_maker *m, const struct delivery *d, struct event *e)
{
    enum event_body as = event_body_of(d);

    if (as == EVENT_BODY_ENCODED)
        return set_detail(e, EVENT_ENCODING, "the body is compressed (Content-Encoding)");
    if (as == EVENT_BODY_MULTIPART)
        return set_detail(e, EVENT_MULTIPART, "the body is multipart");
    if (d->body.len == 0)
        return set_detail(e, EVENT_EMPTY, "the body is empty");
    if (as != EVENT_BODY_FORM) {
        enum event_reason reason = make_from_json(m, d->body, e);
        if (as == EVENT_BODY_JSON || reason != EVENT_JSON)
            return reason;
        e->detail = nothing;
        buf_clear(&m->data);
    }
    return make_from_form(m, d->body, e);
}

// The envelope's values are words, paths and times: nothing in them is escaped.
static void
write_structured(struct event_maker *m, const struct event_origin *origin,
                 struct event *e)
{
    const struct {
        const char *name;
        struct span value;
    } attributes[] = {{"id", e->id},
                      {"source", e->source},
                      {"type", e->type},
                      {"subject", e->subject},
                      {"time", e->time},
                      {"recordedtime", e->recorded},
                      {"sequence", e->sequence},
                      {"dataschema", SPAN(EVENT_SCHEMA)},
                      {"fingerprint", origin->fingerprint},
                      {"datacontenttype", SPAN("application/json")}};
    struct buf *to = &m->structured;

    buf_clear(to);
    buf_add_text(to, EVENT_STRUCTURED_START);
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        buf_add_format(to, ",\"%s\":\"%.*s\"", attributes[i].name,
                       (int)attributes[i].value.len, attributes[i].value.at);
    buf_add_text(to, ",\"data\":");
    buf_add(to, e->data);
    buf_add_byte(to, '}');
    e->structured = buf_span(to);
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
    to = put(put(put(m->to, SPAN(SOURCE_PREFIX)), origin->account), SPAN("/"));
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
                        .structured = nothing,
                        .raw = nothing,
                        .detail = nothing};
    set_origin(m, origin, d, e);
    m->is_json = false;
    enum event_reason reason = make_from_body(m, d, e);
    if (reason == EVENT_OK)
        set_envelope(m, origin, d->hook, e);
    else
        e->data = nothing;
    if (reason == EVENT_OK && d->structured)
        write_structured(m, origin, e);
    if (reason != EVENT_OK || d->include_raw)
        e->raw = d->body;
    return reason;
}
