#include "relay/entry.h"

#include "edge/digest.h"

#include <stdio.h>

// name, how the script gets the value, the value in Lua, and in C
#define EVENT_FIELDS(F)                                                                  \
    F("ce_specversion", LUA, "'1.0'", SPAN("1.0"))                                       \
    F("ce_id", LUA, "id .. sequence", e->event.id)                                       \
    F("ce_source", KIND, "source", e->event.source)                                      \
    F("ce_type", KIND, "kind_type", e->event.type)                                       \
    F("ce_subject", RECORD, "", e->event.subject)                                        \
    F("ce_time", RECORD, "", e->event.time)                                              \
    F("ce_recordedtime", RECORD, "", e->event.recorded)                                  \
    F("ce_sequence", LUA, "sequence", e->event.sequence)                                 \
    F("ce_dataschema", LUA, "'" EVENT_SCHEMA "'", SPAN(EVENT_SCHEMA))                    \
    F("ce_fingerprint", RECORD, "", span_of(e->fingerprint_text))                        \
    F("ce_repeat", LUA, "again and '1' or '0'", SPAN("0"))                               \
    F("content-type", LUA, "'application/json'", SPAN("application/json"))               \
    F("data", RECORD, "", e->event.data)                                                 \
    F("query", RARE, "", e->event.query)                                                 \
    F("raw", RARE, "", e->event.raw)

#define STRUCTURED_FIELDS(F)                                                             \
    F("ce_id", LUA, "id .. sequence", e->event.id)                                       \
    F("ce_type", KIND, "kind_type", e->event.type)                                       \
    F("ce_subject", RECORD, "", e->event.subject)                                        \
    F("content-type", LUA, "'" ENTRY_STRUCTURED_TYPE "'", SPAN(ENTRY_STRUCTURED_TYPE))   \
    F("data", RECORD, "marked_event", e->event.structured)                               \
    F("query", RARE, "", e->event.query)                                                 \
    F("raw", RARE, "", e->event.raw)

#define DEAD_FIELDS(F)                                                                   \
    F("ce_id", LUA, "id .. sequence", e->event.id)                                       \
    F("ce_source", KIND, "source", e->event.source)                                      \
    F("hook", KIND, "kind_type", e->delivery.hook)                                       \
    F("reason", RECORD, "", span_of(event_reason_name(e->reason)))                       \
    F("detail", RECORD, "", e->event.detail)                                             \
    F("ce_recordedtime", RECORD, "", e->event.recorded)                                  \
    F("content-type", RECORD, "", e->delivery.type)                                      \
    F("query", RARE, "", e->event.query)                                                 \
    F("raw", RARE, "", e->event.raw)

#define FIELD(NAME, HOW, LUA, VALUE) {NAME, ENTRY_##HOW, LUA},
#define VALUE(NAME, HOW, LUA, VALUE) VALUE,

const struct entry_field entry_event_fields[] = {EVENT_FIELDS(FIELD)};
const struct entry_field entry_structured_fields[] = {STRUCTURED_FIELDS(FIELD)};
const struct entry_field entry_dead_fields[] = {DEAD_FIELDS(FIELD)};

const struct entry_field *
entry_fields(const struct entry *e, struct span values[ENTRY_EVENT_FIELDS], size_t *len)
{
    const struct span of_event[] = {EVENT_FIELDS(VALUE)},
                      of_structured[] = {STRUCTURED_FIELDS(VALUE)},
                      of_dead[] = {DEAD_FIELDS(VALUE)};
    const struct {
        const struct entry_field *fields;
        const struct span *values;
        size_t len;
    } kinds[] = {{entry_event_fields, of_event, ENTRY_EVENT_FIELDS},
                 {entry_structured_fields, of_structured, ENTRY_STRUCTURED_FIELDS},
                 {entry_dead_fields, of_dead, ENTRY_DEAD_FIELDS}};
    size_t kind = e->reason != EVENT_OK ? 2 : e->event.structured.len > 0;

    *len = kinds[kind].len;
    memcpy(values, kinds[kind].values, *len * sizeof *values);
    return kinds[kind].fields;
}

static void
write_sequence(char to[ENTRY_SEQUENCE], uint64_t sequence)
{
    *text_digits(to, sequence, ENTRY_SEQUENCE - 1) = '\0';
}

static void
set_fingerprint(struct entry *e)
{
    struct span nul = span_make("", 1); // between hook and body
    unsigned char sum[DIGEST_BYTES];

    digest_of((struct span[]){e->delivery.hook, nul, e->delivery.body}, 3, sum);
    memcpy(e->fingerprint, sum, ENTRY_FINGERPRINT);
    text_hex(e->fingerprint_text, sizeof e->fingerprint_text, sum, ENTRY_FINGERPRINT);
}

static enum event_reason
make_event(struct entry_maker *m, struct entry *e)
{
    struct event_origin origin = {
        .account = m->account,
        .journal_id = m->journal_id,
        .sequence = e->sequence,
        .received_us = e->received_us,
        .fingerprint = span_of(e->fingerprint_text),
    };

    return event_make(m->events, &origin, &e->delivery, &e->event);
}

// make_gap fills in the rest as of a delivery without hook and body.
static void
make_gap(struct entry_maker *m, struct span raw, struct entry *e)
{
    e->delivery = (struct delivery){.hook = SPAN("")};
    (void)make_event(m, e);
    e->event.detail = span_of(m->detail);
    e->event.raw = raw;
    e->reason = EVENT_GAP;
}

void
entry_make(struct entry_maker *m, const struct record *record, struct entry *e)
{
    struct err err;

    memset(e, 0, sizeof *e);
    e->sequence = record->sequence;
    e->received_us = record->received_us;
    write_sequence(e->sequence_text, record->sequence);
    if (record->gap_first) {
        snprintf(m->detail, sizeof m->detail, "records %llu to %llu are lost: %s",
                 (unsigned long long)record->gap_first,
                 (unsigned long long)record->sequence, record->gap_reason);
        make_gap(m, SPAN(""), e);
    } else if (delivery_decode(&e->delivery, record->payload, &err) < 0) {
        snprintf(m->detail, sizeof m->detail, "stored record: %s", err.text);
        make_gap(m, record->payload, e);
    } else {
        set_fingerprint(e);
        e->reason = make_event(m, e);
    }
}

void
entry_check(const struct record *record, char to[ENTRY_CHECK])
{
    unsigned char sum[DIGEST_BYTES];
    char sequence[ENTRY_SEQUENCE], receipt[ENTRY_SEQUENCE];

    write_sequence(sequence, record->sequence);
    write_sequence(receipt, (uint64_t)record->received_us);
    digest_of((struct span[]){span_of(sequence), span_of(receipt), record->payload}, 3,
              sum);
    text_hex(to, ENTRY_CHECK, sum, ENTRY_CHECK / 2);
}
