#include "relay/entry.h"

#include "base/clock.h"
#include "base/text.h"
#include "edge/digest.h"

#include <stdio.h>
#include <stdlib.h>

struct entry_maker {
    struct event_maker *events;
    struct digest *digest;
    struct span account, journal_id;
    char id[EVENT_ID_TEXT + 1];
    char recorded[CLOCK_TEXT];
    char source[512];
    char detail[640];
};

struct entry_maker *
entry_maker_open(const char *account, const char *journal_id)
{
    struct entry_maker *m = memory_get(sizeof *m);

    *m = (struct entry_maker){
        .events = event_maker_open(),
        .digest = digest_open(),
        .account = span_of(account),
        .journal_id = span_of(journal_id),
    };
    return m;
}

void
entry_maker_close(struct entry_maker *m)
{
    if (!m)
        return;
    event_maker_close(m->events);
    digest_close(m->digest);
    free(m);
}

void
entry_sequence_text(char to[ENTRY_SEQUENCE], uint64_t sequence)
{
    to[20] = '\0';
    for (int i = 19; i >= 0; i--, sequence /= 10)
        to[i] = (char)('0' + sequence % 10);
}

bool
entry_sequence(uint64_t *sequence, struct span text)
{
    return text.len == 20 && text_number(sequence, text, UINT64_MAX);
}

static void
fingerprint(struct entry_maker *m, struct entry *e)
{
    unsigned char sum[DIGEST_BYTES];

    digest_add(m->digest, e->delivery.hook);
    digest_add(m->digest, span_make("", 1)); // the NUL between hook and body
    digest_add(m->digest, e->delivery.body);
    digest_take(m->digest, sum);
    memcpy(e->print, sum, ENTRY_PRINT);
    text_hex(e->print_text, sizeof e->print_text, sum, ENTRY_PRINT);
}

static void
begin(struct entry *e, uint64_t sequence, int64_t received_us)
{
    memset(e, 0, sizeof *e);
    e->sequence = sequence;
    e->received_us = received_us;
    entry_sequence_text(e->sequence_text, sequence);
}

// envelope fills what a dead letter has in common with an event, when no event was made.
static void
envelope(struct entry_maker *m, struct entry *e, int64_t received_us)
{
    snprintf(m->id, sizeof m->id, "%.*s-%s", (int)m->journal_id.len, m->journal_id.at,
             e->sequence_text);
    snprintf(m->source, sizeof m->source, "/activecampaign/%.*s/%.*s",
             (int)m->account.len, m->account.at, (int)e->delivery.hook.len,
             e->delivery.hook.len ? e->delivery.hook.at : "");
    clock_format_us(m->recorded, received_us);
    e->event.id = span_of(m->id);
    e->event.source = span_of(m->source);
    e->event.recorded = span_of(m->recorded);
}

static void
make_unreadable(struct entry_maker *m, const struct record *record, const struct err *err,
                struct entry *e)
{
    e->delivery = (struct delivery){0};
    envelope(m, e, record->received_us);
    snprintf(m->detail, sizeof m->detail, "stored record: %s", err->text);
    e->event.detail = span_of(m->detail);
    e->event.raw = record->payload;
    e->reason = EVENT_GAP;
}

void
entry_make(struct entry_maker *m, const struct record *record, struct entry *e)
{
    struct err err;

    begin(e, record->sequence, record->received_us);
    if (delivery_decode(&e->delivery, record->payload, &err) < 0) {
        make_unreadable(m, record, &err, e);
        return;
    }
    fingerprint(m, e);
    struct event_origin origin = {
        .account = m->account,
        .journal_id = m->journal_id,
        .sequence = record->sequence,
        .received_us = record->received_us,
        .fingerprint = span_of(e->print_text),
    };
    e->reason = event_make(m->events, &origin, &e->delivery, &e->event);
}

void
entry_make_gap(struct entry_maker *m, uint64_t first, uint64_t last, int64_t received_us,
               const char *why, struct entry *e)
{
    begin(e, last, received_us);
    envelope(m, e, received_us);
    snprintf(m->detail, sizeof m->detail, "records %llu to %llu are lost: %s",
             (unsigned long long)first, (unsigned long long)last, why);
    e->event.detail = span_of(m->detail);
    e->reason = EVENT_GAP;
}

void
entry_make_refused(struct entry_maker *m, const struct record *record, struct span words,
                   struct entry *e)
{
    entry_make(m, record, e);
    text_escape(m->detail, sizeof m->detail, words);
    e->event.detail = span_of(m->detail);
    e->event.raw = e->delivery.hook.len ? e->delivery.body : record->payload;
    e->reason = EVENT_REDIS;
}

void
entry_leave_raw(struct entry_maker *m, struct entry *e, const char *where)
{
    size_t len = strlen(m->detail);

    snprintf(m->detail + len, sizeof m->detail - len, "; %s", where);
    e->event.detail = span_of(m->detail);
    e->event.raw = SPAN("");
}

void
entry_check(struct entry_maker *m, const struct record *record, char to[ENTRY_CHECK])
{
    unsigned char sum[DIGEST_BYTES];
    char text[ENTRY_SEQUENCE];

    entry_sequence_text(text, record->sequence);
    digest_add(m->digest, span_make(text, 20));
    entry_sequence_text(text, (uint64_t)record->received_us);
    digest_add(m->digest, span_make(text, 20));
    digest_add(m->digest, record->payload);
    digest_take(m->digest, sum);
    text_hex(to, ENTRY_CHECK, sum, ENTRY_CHECK / 2);
}
