// A record that Redis does not take. It answers an error to the XADD, or it, or a proxy before
// it, cuts the connection for the request: too large, or not to somebody's taste. Without
// further ado the same batch would be sent for ever.
//
// A batch whose connection was cut is halved until the record is alone. Alone it is tried five
// times, and between two tries a script call without records must succeed: a Redis that takes
// nothing at all, or a network that fails, proves nothing against a record. The cursor, read
// after each cut, shows that it was not executed. Then a dead letter stands in its place: with
// its bytes where an error refused the event, without them where the connection was cut, or
// where the whole letter was refused too. They are made durable beside the journal before
// (aside.h). If even that is refused, nothing is proven: an alarm, and all begins again.
//
// What comes after such a record and fails alike (the same error; cut, and at least as large)
// needs one try only, for an hour: many in a row would hold up the rest for long. Two where it
// is cut, one right after the other: one cut may be any lost connection.
//
// No answer in time is no refusal: the batch is halved, nothing more.
#include "relay/inside.h"

#include "base/clock.h"
#include "base/log.h"
#include "relay/aside.h"

#include <stdio.h>

enum { HOUR_MS = 3600000, WIDEN_MS = 10000 };

bool
relay_is_suspect(const struct relay *r)
{
    return r->suspect.tries > 0 && r->suspect.after == r->cursor;
}

// Whether the suspect fails as one did that was proven to be refused.
static bool
is_alike(const struct relay *r)
{
    const struct suspect *s = &r->suspect, *p = &r->proven;

    if (!r->proven_ms || clock_mono_ms() - r->proven_ms > HOUR_MS ||
        s->by_cut != p->by_cut)
        return false;
    return s->by_cut ? s->tries > 1 && s->bytes >= p->bytes
                     : strcmp(s->words, p->words) == 0;
}

static bool
is_enough(const struct relay *r)
{
    return r->suspect.tries >= r->options.refused_times || is_alike(r);
}

enum reply
relay_try_suspect(struct relay *r)
{
    struct suspect *s = &r->suspect;

    if (!relay_is_suspect(r)) {
        s->tries = 0;
        return REPLY_DONE;
    }
    if (!s->probed) {
        enum reply reply = relay_probe(r, r->cursor);
        if (reply != REPLY_DONE)
            return reply;
        s->probed = true;
    }
    if (s->letter == LETTER_NONE && is_enough(r))
        s->letter = s->by_cut ? LETTER_EMPTY : LETTER_WHOLE;
    return REPLY_DONE;
}

int
relay_make_letter(struct relay *r, const struct record *record, struct entry *e)
{
    struct suspect *s = &r->suspect;
    struct err err;

    struct span bytes = e->delivery.hook.len ? e->delivery.body : record->payload;
    if (s->letter == LETTER_WHOLE) {
        entry_refuse(r->maker, e, span_of(s->words), bytes, NULL);
        return 0;
    }
    int kept = aside_keep(r->directory, e->event.id, bytes, &err);
    if (kept < 0) {
        relay_complain(r, RELAY_CONNECTING, true,
                       "the bytes of a refused record cannot be kept: %s; the journal "
                       "waits",
                       err.text);
        return -1;
    }
    entry_refuse(r->maker, e, span_of(s->words), SPAN(""),
                 kept ? "its bytes are in bad/ of the receiver's state_dir"
                      : "bad/ of the receiver's state_dir is full, its bytes are only "
                        "in the journal, as long as that is kept");
    return 0;
}

// Even the dead letter was refused.
static enum reply
start_over(struct relay *r, const char *words)
{
    relay_complain(r, RELAY_STOPPED, true,
                   "Redis refuses the record after %llu, and a dead letter in its place: "
                   "%s; the journal waits",
                   (unsigned long long)r->cursor, words);
    r->suspect = (struct suspect){0};
    return REPLY_STOP;
}

// refuse notes that the record was refused with nothing else in the batch.
static enum reply
refuse(struct relay *r, bool by_cut, const char *words)
{
    struct suspect *s = &r->suspect;

    if (!relay_is_suspect(r))
        *s = (struct suspect){.after = r->cursor};
    if (s->letter == LETTER_EMPTY)
        return start_over(r, words);
    s->tries++;
    s->probed = false;
    if (s->letter == LETTER_WHOLE)
        s->letter = LETTER_EMPTY;
    s->by_cut = by_cut;
    s->bytes = r->batch_bytes;
    snprintf(s->words, sizeof s->words, "%s", words);
    // One cut may be any lost connection: it is tried again at once, and in silence.
    bool first = by_cut && s->tries == 1;
    s->wait_ms = first || is_enough(r) ? 0 : r->options.refused_wait_ms;
    if (!first && !is_alike(r))
        relay_complain(r, RELAY_CONNECTING, false,
                       "Redis refuses the record after %llu: %s",
                       (unsigned long long)r->cursor, words);
    return REPLY_REFUSED;
}

enum reply
relay_refused(struct relay *r, struct span words)
{
    char text[sizeof r->suspect.words];

    snprintf(text, sizeof text, "%.*s", (int)words.len, words.at);
    return refuse(r, false, text);
}

static void
narrow(struct relay *r, size_t records)
{
    r->records_max = records > 1 ? records / 2 : 1;
    r->narrowed_ms = clock_mono_ms();
}

enum reply
relay_cut(struct relay *r, const char *words, bool timed_out)
{
    size_t records = r->script.records_len;

    if (records == 1 && r->last_is_record && !timed_out)
        return refuse(r, true, words);
    narrow(r, records);
    if (timed_out || records == 1) {
        relay_complain(r, RELAY_CONNECTING, false, "%s; the journal waits", words);
    } else {
        log_debug("relay: %zu records were cut off: %s", records, words);
        r->wait_ms = 0; // halving is soon done
    }
    return REPLY_UNKNOWN;
}

static void
report_letter(struct relay *r)
{
    const struct suspect *s = &r->suspect;
    int64_t now = clock_mono_ms();

    if (r->refused_told_ms && now - r->refused_told_ms < HOUR_MS)
        return;
    r->refused_told_ms = now;
    log_alarm(
        "relay: record %llu is a dead letter now (%s%s), and so will be others that "
        "are refused alike; acrelay dead list shows them",
        (unsigned long long)r->last.sequence,
        s->by_cut ? "the connection is cut for it: " : "Redis refuses it: ", s->words);
}

void
relay_passed(struct relay *r)
{
    struct suspect *s = &r->suspect;
    int64_t now = clock_mono_ms();

    if (relay_is_suspect(r) && s->letter != LETTER_NONE) {
        report_letter(r);
        if (is_alike(r) && r->proven.bytes < s->bytes)
            s->bytes = r->proven.bytes;
        r->proven = *s;
        r->proven_ms = now;
        r->narrowed_ms = 0; // it was this record, not the size of batches
    } else if (r->records_max < SCRIPT_RECORDS_MAX &&
               (!r->narrowed_ms || now - r->narrowed_ms >= WIDEN_MS)) {
        r->records_max *= 2;
        r->narrowed_ms = r->narrowed_ms ? now : 0;
    }
    *s = (struct suspect){0};
}

// The oldest letter that is left says which files have lost theirs: letters of one journal stand
// in the order of their sequence. While it is another journal's, ours wait.
void
relay_sweep_aside(struct relay *r)
{
    char key[SCRIPT_KEY];
    struct err err;

    if (!aside_holds(r->directory))
        return;
    script_key(key, r->namespace, SPAN("dead"));
    const struct redis_reply *info =
        redis_ask(r->redis, &err, "XINFO", "STREAM", key, NULL);
    for (size_t i = 0; i + 1 < redis_reply_len(info); i += 2) {
        if (!span_is(redis_reply_text(redis_reply_at(info, i)), "first-entry"))
            continue;
        const struct redis_reply *letter = redis_reply_at(info, i + 1);
        const struct redis_reply *fields = redis_reply_at(letter, 1);
        struct span id =
            redis_reply_text(redis_reply_at(fields, 1)); // ce_id is the first
        uint64_t before = r->cursor + 1;
        if (redis_reply_len(letter) == 0 ||
            (id.len == EVENT_ID_TEXT &&
             span_starts(id, span_of(journal_id(r->journal))) &&
             entry_sequence(&before, span_from(id, JOURNAL_ID_TEXT))))
            aside_sweep(r->directory, journal_id(r->journal), before);
    }
}
