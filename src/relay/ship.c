// One batch: gather, send, and do what the answer says. A batch holds at most 256 records
// or 1 MiB of stored payload (a larger record goes alone). Where receipts go back a new one
// begins, so that its first record decides whether fingerprints are forgotten (doubt.c).
#include "relay/inside.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>

// After a small batch the next one waits a little, and so gets larger: each record costs Redis
// and us less. A post that comes alone finds nobody waiting and is sent at once.
enum { LINGER_MS = 5, LINGER_RECORDS = 32, HOUR_MS = 3600000 };

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

enum place
relay_go_to(struct relay *r, uint64_t sequence, struct span check, struct err *err)
{
    struct record record;
    char ours[ENTRY_CHECK];

    r->has_held = false;
    r->received_us = 0;
    cursor_seek(r->reader, sequence ? sequence - 1 : 0);
    if (sequence == 0)
        return PLACE_OURS;
    enum cursor_result found = cursor_next(r->reader, &record, err);
    if (found == CURSOR_ERROR)
        return PLACE_UNREAD;
    if (found == CURSOR_END || record.sequence != sequence) {
        // It is not kept any more, or never was ours: nothing to compare.
        cursor_seek(r->reader, sequence);
        return PLACE_OURS;
    }
    r->received_us = receipt(&record);
    if (found == CURSOR_GAP || check.len == 0)
        return PLACE_OURS;
    entry_check(r->maker, &record, ours);
    return span_is(check, ours) ? PLACE_OURS : PLACE_ANOTHER;
}

static enum cursor_result
next_record(struct relay *r, struct record *record, struct err *err)
{
    if (!r->has_held)
        return cursor_next(r->reader, record, err);
    r->has_held = false;
    *record = r->held;
    return record->gap_first ? CURSOR_GAP : CURSOR_RECORD;
}

static bool
fits(const struct relay *r, const struct record *record)
{
    size_t records = r->script.records_len;

    return records == 0 || (!receipt_went_back(r->batch_received_us, receipt(record)) &&
                            records < r->records_max &&
                            r->batch_bytes + record->payload.len <= SCRIPT_BYTES_MAX);
}

static int
make_entry(struct relay *r, enum cursor_result found, const struct record *record,
           struct entry *e)
{
    entry_make(r->maker, record, e);
    if (found == CURSOR_RECORD && relay_is_suspect(r) && r->suspect.letter != LETTER_NONE)
        return relay_make_letter(r, record, e);
    return 0;
}

static int
add_record(struct relay *r, enum cursor_result found, const struct record *record)
{
    bool in_doubt = record->sequence <= r->doubt;
    struct entry e;

    if (r->script.records_len == 0) {
        bool back = receipt_went_back(r->received_us, receipt(record));
        script_begin(&r->script, r->cursor, r->forgets || in_doubt || back);
        r->batch_received_us = r->received_us;
    }
    if (!record->gap_first)
        r->batch_received_us = record->received_us;
    if (make_entry(r, found, record, &e) < 0)
        return -1;
    script_add(&r->script, &e, in_doubt);
    keep(&r->last_payload, &r->last, record);
    r->last_is_record = found == CURSOR_RECORD;
    r->batch_bytes += record->payload.len;
    r->batch_dead += e.reason != EVENT_GOOD;
    r->batch_gaps += found == CURSOR_GAP;
    return 0;
}

// gather reads records until the batch is full or the journal's end. False on an error, which is
// said.
static bool
gather(struct relay *r)
{
    struct record record;
    struct err err;

    script_begin(&r->script, r->cursor, false);
    r->batch_bytes = r->batch_dead = r->batch_gaps = 0;
    for (;;) {
        // One that was refused goes alone, so that the next answer is about it.
        if (relay_is_suspect(r) && r->script.records_len == 1)
            return true;
        enum cursor_result found = next_record(r, &record, &err);
        if (found == CURSOR_ERROR && r->script.records_len == 0)
            relay_complain(r, RELAY_CONNECTING, false, "%s", err.text);
        if (found == CURSOR_END || found == CURSOR_ERROR)
            return found == CURSOR_END || r->script.records_len > 0;
        if (!fits(r, &record)) {
            keep(&r->held_payload, &r->held, &record);
            r->has_held = true;
            return true;
        }
        if (add_record(r, found, &record) < 0)
            return false;
    }
}

static void
set_full(struct relay *r, bool full)
{
    pthread_mutex_lock(&r->lock);
    bool was = r->status.repeats_full;
    r->status.repeats_full = full;
    pthread_mutex_unlock(&r->lock);
    if (full && !was)
        log_warn(
            "relay: duplicates.max fingerprints are kept: repeats of newer deliveries "
            "are not found until the window moves on");
}

static void
tell_notice(struct relay *r, const char *notice)
{
    char word[REPLY_WORD];

    if (!*notice)
        return;
    reply_word(word, span_of(notice));
    bool kept = strcmp(word, "KEPT") == 0, full = strcmp(word, "FULL") == 0;
    if (kept || full)
        set_full(r, full);
    else if (!r->noticed)
        log_warn("relay: fingerprints or times of last events cannot be kept: %s. Grant "
                 "what deploy/redis/acrelay.acl lists",
                 notice);
    r->noticed = !kept && !full;
}

static void
count_batch(struct relay *r, const struct script_answer *a)
{
    pthread_mutex_lock(&r->lock);
    struct relay_status *s = &r->status;
    s->batches++;
    s->entries += r->script.records_len - a->dropped;
    s->dead_letters += r->batch_dead;
    s->gaps += r->batch_gaps;
    s->repeats_marked += a->marked;
    s->repeats_dropped += a->dropped;
    s->cursor = a->cursor;
    pthread_mutex_unlock(&r->lock);
}

// At most once an hour: one wrong sender must not fill the log.
static void
tell_dead(struct relay *r)
{
    int64_t now = clock_mono_ms();

    if (r->batch_dead == 0 || (r->dead_told_ms && now - r->dead_told_ms < HOUR_MS))
        return;
    r->dead_told_ms = now;
    log_warn("relay: deliveries that cannot be read are dead letters now (%llu since the "
             "start); acrelay dead list shows them",
             (unsigned long long)r->status.dead_letters);
}

// move_to takes over where the cursor stands, by Redis's word.
static void
move_to(struct relay *r, uint64_t cursor, const char *check)
{
    r->cursor = cursor;
    memcpy(r->check, check, strlen(check) + 1);
    journal_publish(r->journal, cursor);
}

// read_again puts the reader back behind the cursor; when that fails now, so will the next read,
// which tells it.
static void
read_again(struct relay *r)
{
    struct err err;

    (void)relay_go_to(r, r->cursor, SPAN(""), &err);
}

static enum reply
done(struct relay *r, const struct script_answer *a)
{
    if (a->cursor != r->last.sequence)
        return REPLY_UNKNOWN; // no answer that our script gives
    count_batch(r, a);
    if (!relay_is_suspect(r)) // of which relay_passed tells
        tell_dead(r);
    tell_notice(r, a->notice);
    relay_passed(r);
    r->heard_ms = clock_mono_ms();
    move_to(r, a->cursor, r->batch_check);
    r->received_us = r->batch_received_us;
    r->forgets = false;
    relay_remember_streams(r);
    return REPLY_DONE;
}

// elsewhere: nothing was written, because the cursor is not where we thought. A poll goes to
// where it is, if it is a master's and ours.
static enum reply
elsewhere(struct relay *r)
{
    r->placed = false;
    return relay_poll(r);
}

static void
complain(struct relay *r, const struct script_answer *a)
{
    bool stop = a->reply == REPLY_STOP;
    enum relay_state state = a->reply == REPLY_FENCED ? RELAY_FENCED
                             : stop                   ? RELAY_STOPPED
                                                      : RELAY_CONNECTING;

    if (*a->wrong_key)
        relay_complain(r, state, true,
                       "Redis holds something else under %s (WRONGTYPE); rename that key "
                       "or choose another redis.namespace; the journal waits",
                       a->wrong_key);
    else
        relay_complain(r, state, stop || state == RELAY_FENCED,
                       "Redis says: %.110s; the journal waits", a->message);
}

// refusal says why nothing, or not all, was done, and returns what to do.
static enum reply
refusal(struct relay *r, const struct script_answer *a)
{
    relay_count_word(r, span_of(a->message));
    complain(r, a);
    if (a->reply == REPLY_MOVED && !reply_moved(span_of(a->message), r->moved_host,
                                                sizeof r->moved_host, &r->moved_port))
        return REPLY_UNKNOWN;
    return a->reply;
}

// not_done: the batch, or its end, is not in. Where the cursor stands is known, or the
// connection is given up and the cursor read anew. A replica's cursor is an old one.
static enum reply
not_done(struct relay *r, const struct script_answer *a)
{
    char words[256];

    if (a->has_cursor && a->cursor > r->cursor && a->reply != REPLY_ELSEWHERE)
        move_to(r, a->cursor, ""); // the records before the one that failed
    read_again(r);
    if (a->reply != REPLY_REFUSED && a->reply != REPLY_UNKNOWN)
        return refusal(r, a);
    relay_count_word(r, span_of(a->message));
    if (a->reply == REPLY_REFUSED)
        return relay_refused(r, span_of(a->message));
    snprintf(words, sizeof words, "Redis says: %.240s", a->message);
    return relay_cut(r, words, false);
}

enum reply
relay_probe(struct relay *r, uint64_t at)
{
    struct script_answer answer;
    struct err err;

    script_begin(&r->script, at, false);
    r->batch_check[0] = '\0';
    if (script_call(&r->script, r->redis, r->batch_check, &answer, &err) < 0) {
        relay_complain(r, RELAY_CONNECTING, false, "%s; the journal waits", err.text);
        return REPLY_UNKNOWN;
    }
    if (answer.reply == REPLY_DONE && answer.cursor == at)
        return REPLY_DONE;
    if (answer.reply == REPLY_DONE || answer.reply == REPLY_AT)
        return REPLY_UNKNOWN; // the cursor moves: it is read anew
    return refusal(r, &answer);
}

static void
linger(const struct relay *r)
{
    size_t records = r->script.records_len; // of the batch before

    if (records > 0 && records < LINGER_RECORDS && !r->has_held)
        clock_sleep_ms(LINGER_MS - LINGER_MS * (int64_t)records / LINGER_RECORDS);
}

enum reply
relay_ship(struct relay *r, bool *idle)
{
    struct script_answer answer;
    struct err err;

    *idle = false;
    linger(r);
    relay_check_clock(r);
    // One that is closed already says nothing about what would be sent now.
    if (redis_peer_closed(r->redis))
        return REPLY_UNKNOWN;
    enum reply reply = relay_try_suspect(r);
    if (reply != REPLY_DONE)
        return reply;
    if (!gather(r))
        return REPLY_UNKNOWN;
    if (r->script.records_len == 0) {
        *idle = true;
        return REPLY_DONE;
    }
    r->batch_check[0] = '\0';
    if (r->last_is_record)
        entry_check(r->maker, &r->last, r->batch_check);
    if (script_call(&r->script, r->redis, r->batch_check, &answer, &err) < 0)
        return relay_cut(r, err.text, err.error == ETIMEDOUT);
    if (answer.reply == REPLY_DONE)
        return done(r, &answer);
    if (answer.reply == REPLY_AT)
        return elsewhere(r);
    return not_done(r, &answer);
}
