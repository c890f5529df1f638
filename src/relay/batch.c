// One batch: gather, send, and do what the answer says. A batch holds at most 256 records
// or 1 MiB of stored payload (a larger record goes alone). Where receipts go back a new one
// begins, so that its first record decides whether fingerprints are forgotten.
//
// A duplicate is found by comparing two receipts, which are of the wall clock. When that clock
// was set back, two deliveries hours apart can have receipts of the same minute: a hook that
// drops duplicates would drop an event. So fingerprints are forgotten where receipts go back.
// A step between two records that a quiet hour hides is seen by the boot clock; what was in the
// journal then may be of either clock, and is no duplicate of anything.
//
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

#include <errno.h>
#include <stdlib.h>

// LINGER: after a small batch the next one waits, the less the larger it was, and so gets
// larger: each record costs Redis and us less. A post that comes alone finds nobody waiting and is
// sent at once. Larger batches than these save little, and Redis works in longer bursts.
enum {
    LINGER_MS = 20,
    LINGER_RECORDS = 256,
    WIDEN_MS = 10000,
    REFUSED_TIMES = 5,
    STEP_US = 1000000,
    DRIFT_PART = 1000,
};

// --- a record that was refused ---------------------------------------------------------------

static bool
is_suspect(const struct relay *r)
{
    return r->batch.suspect.tries > 0 && r->batch.suspect.after == r->cursor;
}

// Whether the suspect fails as one did that was proven to be refused.
static bool
is_alike(const struct relay *r)
{
    const struct suspect *s = &r->batch.suspect, *p = &r->batch.proven;
    int64_t proven_ms = r->batch.proven_ms;

    if (!proven_ms || clock_mono_ms() - proven_ms > RELAY_HOUR_MS ||
        s->by_cut != p->by_cut)
        return false;
    return s->by_cut ? s->tries > 1 && s->bytes >= p->bytes
                     : strcmp(s->message, p->message) == 0;
}

static bool
is_enough(const struct relay *r)
{
    return r->batch.suspect.tries >= REFUSED_TIMES || is_alike(r);
}

// try_suspect makes sure, before a record is tried again that failed alone, that other writes
// succeed, and decides whether a dead letter goes in its place.
static enum reply
try_suspect(struct relay *r)
{
    struct suspect *s = &r->batch.suspect;

    if (!is_suspect(r)) {
        s->tries = 0;
        return REPLY_DONE;
    }
    if (!s->probed) {
        enum reply reply = connect_probe(r, r->cursor);
        if (reply != REPLY_DONE)
            return reply;
        s->probed = true;
    }
    if (s->letter == LETTER_NONE && is_enough(r))
        s->letter = s->by_cut ? LETTER_EMPTY : LETTER_WHOLE;
    return REPLY_DONE;
}

// make_letter turns the entry into a dead letter; -1: its bytes cannot be kept, which is reported.
static int
make_letter(struct relay *r, const struct record *record, struct entry *e)
{
    struct suspect *s = &r->batch.suspect;
    char *detail = r->maker.detail;
    size_t size = sizeof r->maker.detail;
    struct err err;

    size_t len = text_escape(detail, size, span_of(s->message));
    e->reason = EVENT_REDIS;
    e->event.raw = e->delivery.hook.len ? e->delivery.body : record->payload;
    if (s->letter == LETTER_EMPTY) {
        int kept =
            aside_keep(r->settings.config->state_dir, e->event.id, e->event.raw, &err);
        if (kept < 0) {
            connect_report(r, REPLY_STOP,
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

// refuse: the record, alone in its batch, was refused.
static enum reply
refuse(struct relay *r, bool by_cut, const char *message)
{
    struct suspect *s = &r->batch.suspect;

    if (!is_suspect(r))
        *s = (struct suspect){.after = r->cursor};
    if (s->letter == LETTER_EMPTY) { // nothing is proven
        *s = (struct suspect){0};
        return connect_report(
            r, REPLY_STOP,
            "Redis refuses even a dead letter for the record after %llu: %s",
            (unsigned long long)r->cursor, message);
    }
    s->tries++;
    s->probed = false;
    if (s->letter == LETTER_WHOLE)
        s->letter = LETTER_EMPTY;
    s->by_cut = by_cut;
    s->bytes = r->batch.bytes;
    snprintf(s->message, sizeof s->message, "%s", message);
    // One cut may be any lost connection: it is tried again at once, and in silence.
    bool first = by_cut && s->tries == 1;
    s->wait_ms = first || is_enough(r) ? 0 : r->times.refused_wait;
    if (!first && !is_alike(r))
        connect_report(r, REPLY_REFUSED, "Redis refuses the record after %llu: %s",
                       (unsigned long long)r->cursor, message);
    return REPLY_REFUSED;
}

// cut: the connection was lost with the batch.
static enum reply
cut(struct relay *r, const char *message, bool timed_out)
{
    size_t records = r->script.records_len;

    if (records == 1 && r->batch.last_is_record && !timed_out)
        return refuse(r, true, message);
    r->batch.records_max = records > 1 ? records / 2 : 1;
    r->batch.narrowed_ms = clock_mono_ms();
    if (timed_out || records == 1)
        return connect_report(r, REPLY_UNKNOWN, "%s", message);
    log_debug("relay: the connection failed while sending %zu records: %s", records,
              message);
    r->backoff_ms = 0; // halving is soon done
    return REPLY_UNKNOWN;
}

static void
report_letter(struct relay *r)
{
    static struct log_limit limit = LOG_LIMIT(RELAY_HOUR_MS);
    const struct suspect *s = &r->batch.suspect;
    uint64_t held_back;

    if (log_limit_pass(&limit, 1, clock_mono_ms(), &held_back))
        log_alarm("relay: record %llu became a dead letter (%s%s), and so will others "
                  "that are refused in the same way; acrelay dead list shows them",
                  (unsigned long long)r->batch.last.sequence,
                  s->by_cut ? "the connection fails on it: " : "Redis refuses it: ",
                  s->message);
}

// passed: the batch is in. What was cut off may be larger again.
static void
passed(struct relay *r)
{
    struct suspect *s = &r->batch.suspect;
    int64_t now = clock_mono_ms(), narrowed_ms = r->batch.narrowed_ms;

    if (is_suspect(r) && s->letter != LETTER_NONE) {
        report_letter(r);
        if (is_alike(r) && r->batch.proven.bytes < s->bytes)
            s->bytes = r->batch.proven.bytes;
        r->batch.proven = *s;
        r->batch.proven_ms = now;
        r->batch.narrowed_ms = 0; // it was this record, not the size of batches
    } else if (r->batch.records_max < SCRIPT_RECORDS_MAX &&
               (!narrowed_ms || now - narrowed_ms >= WIDEN_MS)) {
        r->batch.records_max *= 2;
        r->batch.narrowed_ms = narrowed_ms ? now : 0;
    }
    *s = (struct suspect){0};
}

// --- clocks ------------------------------------------------------------------------------------

// Whether the clock was set back between two records, one after the other (0: not known).
static bool
went_back(int64_t before_us, int64_t received_us)
{
    return before_us > 0 && received_us > 0 && received_us < before_us - STEP_US;
}

// check_clock looks for steps that no receipt shows.
static void
check_clock(struct relay *r)
{
    struct journal_status status;
    int64_t boot_us = clock_boot_us(), wall_us = clock_now_us() - boot_us;
    int64_t step_us = wall_us - r->batch.wall_us;
    int64_t drift_us = (boot_us - r->batch.checked_us) / DRIFT_PART;
    bool first = r->batch.wall_us == 0;

    r->batch.wall_us = wall_us;
    r->batch.checked_us = boot_us;
    if (first || llabs((long long)step_us) <= STEP_US + drift_us)
        return;
    journal_read_status(r->journal, &status);
    r->batch.in_doubt = status.last;
    r->batch.forgets = true;
    log_warn("relay: the clock stepped by %lld ms: no duplicate detection for deliveries "
             "up to %llu",
             (long long)step_us / 1000, (unsigned long long)status.last);
}

// --- gathering -----------------------------------------------------------------------------------

static void
keep(struct buf *b, struct record *to, const struct record *record)
{
    buf_clear(b);
    (void)buf_add(b, record->payload); // its ceiling is a record's
    *to = *record;
    to->payload = buf_span(b);
}

// receipt is 0 for a gap, whose time is not of its own.
static int64_t
receipt(const struct record *record)
{
    return record->gap_first ? 0 : record->received_us;
}

static enum cursor_result
next_record(struct relay *r, struct record *record, struct err *err)
{
    if (!r->has_held)
        return cursor_next(r->reader, record, err);
    r->has_held = false;
    *record = r->batch.held;
    return record->gap_first ? CURSOR_GAP : CURSOR_RECORD;
}

static bool
fits(const struct relay *r, const struct record *record)
{
    size_t records = r->script.records_len;

    return records == 0 || (!went_back(r->batch.received_us, receipt(record)) &&
                            records < r->batch.records_max &&
                            r->batch.bytes + record->payload.len <= SCRIPT_BYTES_MAX);
}

static int
add_record(struct relay *r, enum cursor_result found, const struct record *record)
{
    bool in_doubt = record->sequence <= r->batch.in_doubt;
    struct entry e;

    if (r->script.records_len == 0) {
        bool back = went_back(r->received_us, receipt(record));
        r->script.forgets = r->batch.forgets || in_doubt || back;
        r->batch.received_us = r->received_us;
    }
    if (!record->gap_first)
        r->batch.received_us = record->received_us;
    entry_make(&r->maker, record, &e);
    if (found == CURSOR_RECORD && is_suspect(r) &&
        r->batch.suspect.letter != LETTER_NONE && make_letter(r, record, &e) < 0)
        return -1;
    script_add(&r->script, &e, in_doubt);
    keep(&r->batch.last_payload, &r->batch.last, record);
    r->batch.last_is_record = found == CURSOR_RECORD;
    r->batch.bytes += record->payload.len;
    r->batch.dead += e.reason != EVENT_OK;
    r->batch.gaps += found == CURSOR_GAP;
    return 0;
}

// gather reads records until the batch is full or the journal's end. False on an error, which is
// reported.
static bool
gather(struct relay *r)
{
    struct record record;
    struct err err;

    script_begin(&r->script, r->cursor, false);
    r->batch.bytes = r->batch.dead = r->batch.gaps = 0;
    for (;;) {
        // One that was refused goes alone, so that the next answer is about it.
        if (is_suspect(r) && r->script.records_len == 1)
            return true;
        enum cursor_result found = next_record(r, &record, &err);
        if (found == CURSOR_ERROR && r->script.records_len == 0)
            connect_report(r, REPLY_UNKNOWN, "%s", err.text);
        if (found == CURSOR_END || found == CURSOR_ERROR)
            return found == CURSOR_END || r->script.records_len > 0;
        if (!fits(r, &record)) {
            keep(&r->batch.held_payload, &r->batch.held, &record);
            r->has_held = true;
            return true;
        }
        if (add_record(r, found, &record) < 0)
            return false;
    }
}

// --- the answer ------------------------------------------------------------------------------------

static void
report_notice(struct relay *r, const char *notice)
{
    bool full = strcmp(notice, "FULL") == 0, kept = strcmp(notice, "KEPT") == 0;

    if (!*notice)
        return;
    if (kept)
        once_clear(&r->batch.full);
    if (kept || full) {
        metric_set(&relay_metrics[RELAY_DUPLICATES_PAUSED], full);
        once_clear(&r->batch.notice);
    }
    if (full)
        once_report(&r->batch.full, LOG_LEVEL_WARN,
                    "relay: duplicates.max reached: duplicate detection paused until the "
                    "window rolls over");
    else if (!kept)
        once_report(&r->batch.notice, LOG_LEVEL_WARN,
                    "relay: cannot store fingerprints or the times of last events: %s. "
                    "Grant the rights that deploy/redis/acrelay.acl lists",
                    notice);
}

static void
count_batch(struct relay *r, const struct script_answer *a)
{
    metric_add(&relay_metrics[RELAY_BATCHES], 1);
    metric_add(&relay_metrics[RELAY_ENTRIES],
               (double)(r->script.records_len - a->dropped));
    metric_add(&relay_metrics[RELAY_DEAD_LETTERS], (double)r->batch.dead);
    metric_add(&relay_metrics[RELAY_GAPS], (double)r->batch.gaps);
    metric_add(&relay_metrics[RELAY_DUPLICATES_MARKED], (double)a->marked);
    metric_add(&relay_metrics[RELAY_DUPLICATES_DROPPED], (double)a->dropped);
}

// At most once an hour: one wrong sender must not fill the log.
static void
report_dead(uint64_t dead)
{
    static struct log_limit limit = LOG_LIMIT(RELAY_HOUR_MS);
    uint64_t held_back;

    if (dead > 0 && log_limit_pass(&limit, dead, clock_mono_ms(), &held_back))
        log_warn("relay: deliveries that cannot be parsed became dead letters (%.0f "
                 "since the start); acrelay dead list shows them",
                 metric_read(&relay_metrics[RELAY_DEAD_LETTERS]));
}

static enum reply
batch_done(struct relay *r, const struct script_answer *a)
{
    if (a->cursor != r->batch.last.sequence)
        return REPLY_UNKNOWN; // no answer that our script gives
    count_batch(r, a);
    if (!is_suspect(r)) // which `passed` reports
        report_dead(r->batch.dead);
    report_notice(r, a->notice);
    passed(r);
    r->connection.heard_ms = clock_mono_ms();
    connect_move(r, a->cursor, r->batch.check);
    r->received_us = r->batch.received_us;
    r->batch.forgets = false;
    return REPLY_DONE;
}

// not_done: the batch, or its end, is not in. The cursor is read again before anything more is
// sent. A replica's cursor is an old one.
static enum reply
not_done(struct relay *r, const struct script_answer *a)
{
    char message[sizeof a->message + 16];

    r->placed = false;
    if (a->reply == REPLY_AT)
        return REPLY_AT;
    if (a->has_cursor && a->cursor > r->cursor && a->reply != REPLY_ELSEWHERE)
        connect_move(r, a->cursor, ""); // the records before the one that failed
    enum reply reply = connect_refusal(r, a);
    if (reply == REPLY_REFUSED)
        return refuse(r, false, a->message);
    if (a->reply != REPLY_UNKNOWN)
        return reply;
    snprintf(message, sizeof message, "Redis says: %s", a->message);
    return cut(r, message, false);
}

static void
linger(const struct relay *r)
{
    size_t records = r->script.records_len; // of the batch before

    if (records > 0 && records < LINGER_RECORDS && !r->has_held)
        clock_sleep_ms(LINGER_MS - LINGER_MS * (int64_t)records / LINGER_RECORDS);
}

enum reply
batch_ship(struct relay *r, bool *idle)
{
    struct script_answer answer;
    struct err err;

    *idle = false;
    linger(r);
    check_clock(r);
    // A connection that is closed already is no refusal of what would be sent now.
    if (redis_peer_closed(r->redis))
        return REPLY_UNKNOWN;
    enum reply reply = try_suspect(r);
    if (reply != REPLY_DONE)
        return reply;
    if (!gather(r))
        return REPLY_UNKNOWN;
    if (r->script.records_len == 0) {
        *idle = true;
        return REPLY_DONE;
    }
    r->batch.check[0] = '\0';
    if (r->batch.last_is_record)
        entry_check(&r->batch.last, r->batch.check);
    if (script_call(&r->script, r->redis, r->batch.check, &answer, &err) < 0)
        return cut(r, err.text, err.error == ETIMEDOUT);
    return answer.reply == REPLY_DONE ? batch_done(r, &answer) : not_done(r, &answer);
}
