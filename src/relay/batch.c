// One batch: gather, send, and do what the answer says. A batch holds at most 256 records
// or 1 MiB of stored payload (a larger record goes alone). Where receipts go back a new one
// begins, so that its first record decides whether fingerprints are forgotten.
//
// A duplicate is found by comparing two receipts, which are of the wall clock. When that clock
// was set back, two deliveries hours apart can have receipts of the same minute: a hook that
// drops duplicates would drop an event. So fingerprints are forgotten where receipts go back.
// A step between two records that a quiet hour hides is seen by the boot clock; what was in the
// journal then may be of either clock, and is no duplicate of anything.
#include "relay/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/param.h>

// LINGER: after a small batch the next one waits, the less the larger it was, and so gets
// larger: each record costs Redis and us less. A post that comes alone finds nobody waiting and is
// sent at once. Larger batches than these save little, and Redis works in longer bursts.
enum {
    LINGER_MS = 20,
    LINGER_RECORDS = 256,
    STEP_US = 1000000,
    DRIFT_PART = 1000,
    SKIPPED_MAX = 4096,
    SKIP_MS = 1000,
};

// --- clocks ------------------------------------------------------------------------------------

// Whether the clock was set back between two records, one after the other (0: not known).
static bool
went_back(int64_t before_us, int64_t received_us)
{
    return before_us > 0 && received_us > 0 && received_us < before_us - STEP_US;
}

// check_clock looks for steps that no receipt shows.
static void
check_clock(struct partition *p)
{
    struct journal_status status;
    int64_t boot_us = clock_boot_us(), wall_us = clock_now_us() - boot_us;
    int64_t step_us = wall_us - p->batch.wall_us;
    int64_t drift_us = (boot_us - p->batch.checked_us) / DRIFT_PART;
    bool first = p->batch.wall_us == 0;

    p->batch.wall_us = wall_us;
    p->batch.checked_us = boot_us;
    if (first || llabs((long long)step_us) <= STEP_US + drift_us)
        return;
    journal_read_status(p->journal, &status);
    p->batch.in_doubt = status.last;
    p->batch.forgets = true;
    log_warn("relay%s: the wall clock stepped %s by %lld s: duplicates of deliveries "
             "received before (up to sequence %llu) are not detected",
             p->label, step_us < 0 ? "back" : "ahead",
             llabs((long long)step_us) / 1000000, (unsigned long long)status.last);
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

// next_by_cursor goes on where the feed was left, if it was.
static enum cursor_result
next_by_cursor(struct partition *p, struct next *n, struct err *err)
{
    if (!p->reads)
        cursor_seek(p->reader, p->passed);
    p->reads = true;
    n->item = NULL;
    return cursor_next(p->reader, &n->record, err);
}

static enum cursor_result
next_record(struct partition *p, struct next *n, struct err *err)
{
    if (p->has_held) {
        p->has_held = false;
        *n = p->batch.held;
        return CURSOR_RECORD;
    }
    if (p->reads)
        return next_by_cursor(p, n, err);
    n->item = feed_next(&p->follower);
    if (!n->item)
        return p->follower.follows ? CURSOR_END : next_by_cursor(p, n, err);
    n->record = n->item->record;
    return CURSOR_RECORD;
}

static void
hold(struct partition *p, const struct next *n)
{
    p->batch.held = *n;
    if (!n->item)
        keep(&p->batch.held_payload, &p->batch.held.record, &n->record);
    p->has_held = true;
}

static bool
fits(const struct partition *p, const struct record *record)
{
    size_t records = p->script.records_len;

    return records == 0 || (!went_back(p->received_us, receipt(record)) &&
                            records < p->batch.records_max &&
                            p->batch.bytes + record->payload.len <= SCRIPT_BYTES_MAX);
}

// pass: the reader is past the record, no matter who owns it.
static void
pass(struct partition *p, const struct next *n)
{
    if (!n->record.gap_first)
        p->received_us = n->record.received_us;
    if (n->item)
        p->batch.last = n->record;
    else
        keep(&p->batch.last_payload, &p->batch.last, &n->record);
    p->passed = n->record.sequence;
}

static int
add_record(struct partition *p, const struct record *record, struct entry *e)
{
    bool in_doubt = record->sequence <= p->batch.in_doubt;

    if (p->script.records_len == 0)
        p->script.forgets =
            p->batch.forgets || in_doubt || went_back(p->received_us, receipt(record));
    if (!record->gap_first && refused_is_next(p) &&
        p->batch.suspect.letter != LETTER_NONE && refused_letter(p, record, e) < 0)
        return -1;
    size_t i = p->script.records_len;
    if (p->batch.sent[i].sequence != e->sequence)
        p->batch.sent_len = 0; // of another gap
    p->batch.sent[i].sequence = e->sequence;
    p->batch.sent[i].reason = e->reason;
    p->batch.sent[i].is_gap = record->gap_first != 0;
    script_add(&p->script, e, in_doubt);
    p->batch.bytes += record->payload.len;
    return 0;
}

static void
skip_record(struct partition *p, const struct record *record)
{
    // Those of the batch so far fit before it.
    if (p->script.records_len == 0 && went_back(p->received_us, receipt(record)))
        p->batch.forgets = true;
    p->batch.skipped++;
}

// owns makes the entry, or takes the feed's, and decides whether it is this partition's. A gap is
// what it can own of it: of records that are not kept any more each partition lacks others, and
// reports its own.
static bool
owns(struct partition *p, const struct next *n, struct entry *e)
{
    const struct layout *l = &p->relay->layout;
    struct record part = n->record;

    if (n->item && n->item->owner >= 0) {
        if (n->item->owner == p->tag)
            *e = n->item->entry;
        return n->item->owner == p->tag;
    }
    if (part.gap_first && !layout_cut(l, p->tag, &part.gap_first, &part.sequence))
        return false;
    entry_make(&p->maker, &part, e);
    if (layout_is_single(l))
        return true;
    if (part.gap_first && strcmp(part.gap_reason, "damaged") != 0)
        return true;
    return relay_owner(l, part.sequence, e) == p->tag;
}

// choose_source follows the feed where it is here; who has all that it owns holds up nobody (the last
// record passed is the feed's until the cursor is there).
static void
choose_source(struct partition *p)
{
    if (p->passed >= p->last && p->passed == p->cursor)
        feed_leave(&p->follower);
    else if (!p->follower.feed)
        p->reads = true;
    else if (p->reads && !p->has_held)
        p->reads = !feed_follow(&p->follower, p->passed);
}

// gather reads records until the batch is full, enough are skipped, or the journal's end. REPLY_DONE,
// or what to do after an error, which is reported.
static enum reply
gather(struct partition *p)
{
    struct next n;
    struct entry e;
    struct err err;

    choose_source(p);
    script_begin(&p->script, p->cursor);
    p->batch.bytes = p->batch.skipped = 0;
    while (p->batch.skipped < SKIPPED_MAX && p->passed < p->last) {
        // One that was refused goes alone, so that the next answer is about it.
        if (refused_is_next(p) && p->script.records_len == 1)
            break;
        enum cursor_result found = next_record(p, &n, &err);
        if (found == CURSOR_ERROR && p->script.records_len == 0)
            return report_unreadable(p, &err);
        if (found == CURSOR_END || found == CURSOR_ERROR)
            break;
        if (!fits(p, &n.record)) {
            hold(p, &n);
            break;
        }
        if (!owns(p, &n, &e))
            skip_record(p, &n.record);
        else if (add_record(p, &n.record, &e) < 0)
            return REPLY_STOP; // after which this record is read again
        pass(p, &n);
    }
    return REPLY_DONE;
}

// is_idle: there is nothing to send. The cursor is moved past what others own once in a while.
static bool
is_idle(const struct partition *p)
{
    return p->script.records_len == 0 &&
           (p->passed == p->cursor || clock_mono_ms() - p->moved_ms < SKIP_MS);
}

// --- the answer ------------------------------------------------------------------------------------

static void
report_notice(struct partition *p, const char *notice)
{
    bool full = strcmp(notice, "FULL") == 0, kept = strcmp(notice, "KEPT") == 0;

    if (!*notice)
        return;
    if (kept)
        once_clear(&p->batch.full);
    if (kept || full) {
        pthread_mutex_lock(&p->relay->lock);
        p->duplicates_paused = full;
        pthread_mutex_unlock(&p->relay->lock);
        relay_show_worst(p->relay);
        once_clear(&p->batch.notice);
    }
    if (full)
        once_report(
            &p->batch.full, LOG_LEVEL_WARN,
            "relay%s: duplicates.max is reached: duplicate detection is paused until the "
            "window rolls over. Raise duplicates.max, or shorten duplicates.window",
            p->label);
    else if (!kept)
        once_report(&p->batch.notice, LOG_LEVEL_WARN,
                    "relay%s: cannot store fingerprints or the times of last events: %s. "
                    "What to do: %s",
                    p->label, notice, relay_advice(notice)->advice);
}

// At most once an hour: one wrong sender must not fill the log.
static void
report_dead(uint64_t dead)
{
    static struct log_limit limit = LOG_LIMIT(RELAY_HOUR_MS);
    static _Atomic(uint64_t) total;

    total += dead;
    if (dead > 0 && log_limit_pass(&limit, dead, clock_mono_ms()))
        log_warn("relay: deliveries that cannot be parsed became dead letters (%llu "
                 "since the start); acrelay dead list shows them",
                 (unsigned long long)total);
}

// What consumers will never see, where nobody may have said so: Redis had it and lost it.
static void
report_gaps(const struct partition *p, uint64_t gaps)
{
    static struct log_limit limit = LOG_LIMIT(RELAY_HOUR_MS);

    if (gaps > 0 && log_limit_pass(&limit, gaps, clock_mono_ms()))
        log_alarm(
            "relay%s: records are missing: neither Redis nor the journal has them any "
            "more (gaps since the start: %.0f); acrelay dead list --reason gap shows "
            "which",
            p->label, metric_read(&relay_metrics[RELAY_GAPS]));
}

// count_sent counts what was sent and is in, by the cursor: all of a batch, or what stands in it
// before a record that Redis refused. Which of it are duplicates an answer says; where that was lost,
// those that were dropped count as entries. A cursor that has not moved says nothing: the batch may be
// executed yet.
static void
count_sent(struct partition *p, uint64_t cursor, const struct script_answer *a)
{
    uint64_t dead = 0, gaps = 0, refused = 0;
    size_t i = 0;

    if (!p->batch.uncounted || cursor == p->batch.sent_after)
        return;
    for (; i < p->batch.sent_len && p->batch.sent[i].sequence <= cursor; i++) {
        dead += p->batch.sent[i].reason != EVENT_OK;
        gaps += p->batch.sent[i].is_gap;
        refused += p->batch.sent[i].reason == EVENT_REDIS;
    }
    size_t entries = i > a->dropped ? i - a->dropped : 0;
    p->batch.uncounted = false;
    p->batch.sent_len = 0;
    metric_add(&relay_metrics[RELAY_BATCHES], cursor > p->batch.sent_after);
    metric_add(&relay_metrics[RELAY_ENTRIES], (double)entries);
    metric_add(&relay_metrics[RELAY_DEAD_LETTERS], (double)dead);
    metric_add(&relay_metrics[RELAY_GAPS], (double)gaps);
    metric_add(&relay_metrics[RELAY_DUPLICATES_MARKED], (double)a->marked);
    metric_add(&relay_metrics[RELAY_DUPLICATES_DROPPED], (double)a->dropped);
    report_dead(dead - gaps - refused);
    report_gaps(p, gaps);
    if (cursor > p->batch.sent_after) // a letter goes alone
        refused_passed(p, refused ? p->batch.sent[0].sequence : 0);
}

static enum reply
batch_done(struct partition *p, const struct script_answer *a)
{
    if (a->cursor != p->passed)
        return report_trouble(
            p, REPLY_UNKNOWN, "Redis answered cursor %llu after a batch up to %llu",
            (unsigned long long)a->cursor, (unsigned long long)p->passed);
    count_sent(p, a->cursor, a);
    report_notice(p, a->notice);
    p->connection.heard_ms = clock_mono_ms();
    connect_move(p, a->cursor, p->batch.check);
    p->moved_ms = p->connection.heard_ms;
    p->batch.forgets = false;
    p->batch.found_at = 0;
    return REPLY_DONE;
}

// found_elsewhere: a script found the cursor at another place than where it was read. So does a late
// call; but not twice at the same place, with a read in between that does not show it.
static enum reply
found_elsewhere(struct partition *p, uint64_t at)
{
    bool again = p->batch.found_at == at + 1;

    p->batch.found_at = at + 1;
    return again ? report_trouble(
                       p, REPLY_ELSEWHERE,
                       "a script finds the cursor at %llu, a read finds it at %llu: a "
                       "proxy before Redis answers reads from a replica, not the master",
                       (unsigned long long)at, (unsigned long long)p->cursor)
                 : REPLY_AT;
}

// not_done: the batch, or its end, is not in. The cursor is read again before anything more is
// sent. A replica's cursor is an old one.
static enum reply
not_done(struct partition *p, const struct script_answer *a)
{
    char message[sizeof a->message + 16];

    p->placed = false;
    if (a->reply == REPLY_AT)
        return found_elsewhere(p, a->cursor);
    if (a->has_cursor && a->cursor > p->cursor && a->cursor < p->passed &&
        a->reply != REPLY_ELSEWHERE) { // the records before the one that failed
        count_sent(p, a->cursor, a);
        connect_move(p, a->cursor, "");
    }
    enum reply reply = report_refusal(p, a);
    if (reply == REPLY_REFUSED)
        return refused_by_answer(p, false, a->message);
    if (a->reply != REPLY_UNKNOWN)
        return reply;
    snprintf(message, sizeof message, "Redis says: %s", a->message);
    return refused_by_cut(p, message, false);
}

static void
linger(const struct partition *p)
{
    size_t records = p->script.records_len; // of the batch before

    if (records > 0 && records < LINGER_RECORDS && !p->has_held)
        clock_sleep_ms(LINGER_MS - LINGER_MS * (int64_t)records / LINGER_RECORDS);
}

enum reply
batch_ship(struct partition *p, bool *idle)
{
    struct script_answer answer;
    struct err err;

    *idle = false;
    count_sent(p, p->cursor, &(struct script_answer){0});
    linger(p);
    check_clock(p);
    // A connection that is closed already is no refusal of what would be sent now.
    if (p->redis->dead) // since trimming, which reports only what Redis answers
        return report_trouble(p, REPLY_UNKNOWN, "%s", p->redis->why.text);
    if (redis_peer_closed(p->redis))
        return REPLY_UNKNOWN;
    enum reply reply = refused_try(p);
    if (reply == REPLY_DONE)
        reply = gather(p);
    if (reply != REPLY_DONE)
        return reply;
    if (is_idle(p)) {
        *idle = p->batch.skipped < SKIPPED_MAX;
        return REPLY_DONE;
    }
    trim_add_batch(p);
    if (p->redis->dead) // as above
        return report_trouble(p, REPLY_UNKNOWN, "%s", p->redis->why.text);
    if (p->script.records_len == 0)
        p->script.forgets = p->batch.forgets;
    script_pass(&p->script, p->passed);
    p->batch.check[0] = '\0';
    if (p->batch.last.sequence == p->passed && !p->batch.last.gap_first)
        entry_check(&p->batch.last, p->batch.check);
    p->batch.sent_len = MAX(p->batch.sent_len, p->script.records_len);
    p->batch.sent_after = p->cursor;
    bool another = p->batch.uncounted; // was sent after that cursor, and its answer lost
    p->batch.uncounted = true;
    if (script_call(&p->script, p->redis, p->batch.check, &answer, &err) < 0)
        return refused_by_cut(p, err.text, err.error == ETIMEDOUT);
    if (answer.reply == REPLY_AT) // this one has written nothing
        p->batch.uncounted = another;
    return answer.reply == REPLY_DONE ? batch_done(p, &answer) : not_done(p, &answer);
}
