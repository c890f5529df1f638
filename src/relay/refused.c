// A record that Redis does not take: it answers an error to the XADD, or it, or a proxy before
// it, cuts the connection for the request: too large, or not to somebody's taste. Sent as it is,
// the same batch would be sent for ever.
//
// A batch whose connection was cut is halved until the record is alone. Alone it is tried five
// times, and between two tries a script call without records must succeed: a Redis that takes
// nothing at all, or a network that fails, proves nothing against a record. The cursor, read
// after each cut, shows that it was not executed. Then a dead letter stands in its place: with
// its bytes where an error refused the event, without them where the connection was cut, or
// where the whole letter was refused too. They are made durable beside the journal before
// (aside_keep). If even that is refused, nothing is proven: an alarm, and all begins again.
//
// What comes after such a record and fails alike (the same error; cut, and at least as large)
// needs one try only, for an hour: many in a row would hold up the rest for long. Two where it
// is cut, one right after the other: one cut may be any lost connection.
//
// No answer in time is no refusal: the batch is halved, nothing more.
#include "relay/internal.h"

#include <sys/param.h>

enum { WIDEN_MS = 10000, REFUSED_TIMES = 5 };

bool
refused_is_next(const struct partition *p)
{
    return p->batch.suspect.tries > 0 && p->batch.suspect.after == p->cursor;
}

// Whether the suspect fails as one did that was proven to be refused.
static bool
is_alike(const struct partition *p)
{
    const struct suspect *s = &p->batch.suspect, *proven = &p->batch.proven;
    int64_t proven_ms = p->batch.proven_ms;

    if (!proven_ms || clock_mono_ms() - proven_ms > RELAY_HOUR_MS ||
        s->by_cut != proven->by_cut)
        return false;
    return s->by_cut ? s->tries > 1 && s->bytes >= proven->bytes
                     : strcmp(s->message, proven->message) == 0;
}

static bool
is_enough(const struct partition *p)
{
    return p->batch.suspect.tries >= REFUSED_TIMES || is_alike(p);
}

enum reply
refused_try(struct partition *p)
{
    struct suspect *s = &p->batch.suspect;

    if (!refused_is_next(p)) {
        s->tries = 0;
        return REPLY_DONE;
    }
    if (!s->probed) {
        enum reply reply = connect_probe(p, p->cursor);
        if (reply != REPLY_DONE)
            return reply;
        s->probed = true;
    }
    if (s->letter == LETTER_REFUSED) { // nothing is proven
        report_trouble(p, REPLY_STOP,
                       "Redis refuses even a dead letter for the record after %llu: %s",
                       (unsigned long long)p->cursor, s->message);
        *s = (struct suspect){0};
        return REPLY_STOP;
    }
    if (s->letter == LETTER_NONE && is_enough(p))
        s->letter = s->by_cut ? LETTER_EMPTY : LETTER_WHOLE;
    return REPLY_DONE;
}

int
refused_letter(struct partition *p, const struct record *record, struct entry *e)
{
    struct suspect *s = &p->batch.suspect;
    char *detail = p->maker.detail;
    size_t size = sizeof p->maker.detail;
    struct err err;

    p->batch.replaced = *s;
    size_t len = text_escape(detail, size, span_of(s->message));
    e->reason = EVENT_REDIS;
    e->event.raw = e->delivery.hook.len ? e->delivery.body : record->payload;
    if (s->letter == LETTER_EMPTY) {
        int kept =
            aside_keep(p->settings->config->state_dir, e->event.id, e->event.raw, &err);
        if (kept < 0) {
            report_trouble(p, REPLY_STOP,
                           "the body of a refused record cannot be kept: %s", err.text);
            return -1;
        }
        e->event.raw = SPAN("");
        snprintf(detail + len, size - len, "; %s",
                 kept ? "its body is in bad/ of the receiver's state_dir"
                      : "bad/ in the receiver's state_dir is full, so its body is only "
                        "in the journal, for journal.keep");
    }
    e->event.detail = span_of(detail);
    return 0;
}

enum reply
refused_by_answer(struct partition *p, bool by_cut, const char *message)
{
    struct suspect *s = &p->batch.suspect;

    if (!refused_is_next(p))
        *s = (struct suspect){.after = p->cursor};
    s->tries++;
    s->probed = false;
    if (s->letter != LETTER_NONE)
        s->letter = s->letter == LETTER_WHOLE ? LETTER_EMPTY : LETTER_REFUSED;
    s->by_cut = by_cut;
    s->bytes = p->batch.bytes;
    snprintf(s->message, sizeof s->message, "%s", message);
    // One cut may be any lost connection: it is tried again at once, and in silence. What is cut with
    // a letter may be its answer: the cursor shows it.
    bool first = by_cut && (s->tries == 1 || s->letter != LETTER_NONE);
    s->wait_ms = first || is_enough(p) ? 0 : p->times.refused_wait;
    if (!first && !is_alike(p))
        report_trouble(p, REPLY_REFUSED, "Redis refuses the record after %llu: %s",
                       (unsigned long long)p->cursor, message);
    return REPLY_REFUSED;
}

enum reply
refused_by_cut(struct partition *p, const char *message, bool timed_out)
{
    size_t records = p->script.records_len;

    if (records == 1 && !p->batch.sent[0].is_gap && !timed_out)
        return refused_by_answer(p, true, message);
    if (records > 0) { // else it only moved the cursor
        p->batch.records_max = records > 1 ? records / 2 : 1;
        p->batch.narrowed_ms = clock_mono_ms();
    }
    if (timed_out || records <= 1)
        return report_trouble(p, REPLY_UNKNOWN, "%s", message);
    log_debug("relay: the connection failed while sending %zu records: %s", records,
              message);
    p->backoff_ms = 0; // halving is soon done
    return REPLY_UNKNOWN;
}

static void
report_letter(const struct suspect *s, uint64_t sequence)
{
    static struct log_limit limit = LOG_LIMIT(RELAY_HOUR_MS);

    if (log_limit_pass(&limit, 1, clock_mono_ms()))
        log_alarm("relay: record %llu became a dead letter (%s%s), and so will others "
                  "that are refused in the same way; acrelay dead list shows them",
                  (unsigned long long)sequence,
                  s->by_cut ? "the connection is lost on it: " : "Redis refuses it: ",
                  s->message);
}

// What was cut off may be larger again.
void
refused_passed(struct partition *p, uint64_t letter)
{
    struct suspect *s = &p->batch.suspect;
    int64_t now = clock_mono_ms(), narrowed_ms = p->batch.narrowed_ms;

    if (letter) {
        *s = p->batch.replaced; // as it was before an answer to the letter was lost
        report_letter(s, letter);
        if (is_alike(p) && p->batch.proven.bytes < s->bytes)
            s->bytes = p->batch.proven.bytes;
        p->batch.proven = *s;
        p->batch.proven_ms = now;
        p->batch.narrowed_ms = 0; // it was this record, not the size of batches
    } else if (p->batch.records_max < SCRIPT_RECORDS_MAX &&
               (!narrowed_ms || now - narrowed_ms >= WIDEN_MS)) {
        p->batch.records_max = MIN(2 * p->batch.records_max, SCRIPT_RECORDS_MAX);
        p->batch.narrowed_ms = narrowed_ms ? now : 0;
    }
    *s = (struct suspect){0};
}
