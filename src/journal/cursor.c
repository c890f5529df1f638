// A cursor reads segment after segment and skips what it has seen, so that a group which a
// poisoned segment and its successor both hold is read once. What is missing between two
// records is a gap only if it had been acknowledged:
//
//   - at or below a later record's `durable`, or at or below what was proved at the journal's
//     opening (the same, of the last record there was), or written by this process life;
//   - but not the range a segment's header calls `skipped`: groups that failed and were
//     answered 503.
#include "journal/cursor.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "journal/inside.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct cursor {
    struct journal *journal; // NULL: a reader of another process's directory
    int dir;
    char id_text[JOURNAL_ID_TEXT];
    uint64_t after; // last sequence that was given out or passed
    int fd;         // segment being read, -1: none
    struct segment segment;
    bool oldest; // it is the oldest one there is
    struct segment_scan scan;
    struct buf chunk;
    bool pending; // a record waits behind a gap that was told first
    struct segment_frame frame;
    const char *payload;
    bool woken;
};

static struct cursor *
cursor_make(struct journal *j, int dir, uint64_t after)
{
    struct cursor *c = memory_get(sizeof *c);

    *c = (struct cursor){.journal = j, .dir = dir, .after = after, .fd = -1};
    buf_init(&c->chunk, SEGMENT_PAYLOAD_MAX + (2 << 20));
    return c;
}

struct cursor *
cursor_open(struct journal *j, uint64_t after)
{
    struct cursor *c = cursor_make(j, j->dir, after);

    memcpy(c->id_text, j->id_text, sizeof c->id_text);
    return c;
}

struct cursor *
cursor_open_reader(const char *directory, uint64_t after, struct err *err)
{
    struct files_list list;
    uint64_t aside = 0;
    int dir = files_open(directory, false, false, err);

    if (dir < 0)
        return NULL;
    if (files_list_read(dir, false, &list, &aside, err) < 0 || list.len == 0) {
        if (list.len == 0)
            err_exit(err, EXIT_CODE_DIRECTORY, "%s holds no journal", directory);
        close(dir);
        return NULL;
    }
    struct cursor *c = cursor_make(NULL, dir, after);
    text_hex(c->id_text, sizeof c->id_text, list.at[list.len - 1].header.id,
             JOURNAL_ID_BYTES);
    files_list_release(&list);
    return c;
}

const char *
cursor_journal_id(const struct cursor *c)
{
    return c->id_text;
}

static void
leave_segment(struct cursor *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->pending = false;
}

void
cursor_close(struct cursor *c)
{
    if (!c)
        return;
    leave_segment(c);
    if (!c->journal)
        close(c->dir);
    buf_release(&c->chunk);
    free(c);
}

void
cursor_seek(struct cursor *c, uint64_t after)
{
    leave_segment(c);
    c->after = after;
}

static bool
is_behind(const struct segment *s, const struct segment *than)
{
    if (s->header.first != than->header.first)
        return s->header.first > than->header.first;
    return s->header.life > than->header.life;
}

// pick finds the segment to read next: behind `current`, or when that is NULL the first of
// those that can hold `wanted`.
static bool
pick(const struct segment *at, size_t len, const struct segment *current, uint64_t wanted,
     struct segment *found, bool *oldest)
{
    size_t i = 0;

    if (current)
        while (i < len && !is_behind(&at[i], current))
            i++;
    else
        while (i + 1 < len && at[i + 1].header.first <= wanted &&
               at[i + 1].header.first != at[i].header.first)
            i++;
    if (i >= len)
        return false;
    *found = at[i];
    *oldest = i == 0;
    return true;
}

// 1 found, 0 there is none, -1 with *err.
static int
find_segment(struct cursor *c, const struct segment *current, struct segment *found,
             bool *oldest, struct err *err)
{
    struct files_list list;
    uint64_t aside = 0;
    bool there;

    if (c->journal) {
        pthread_mutex_lock(&c->journal->lock);
        there = pick(c->journal->segments, c->journal->segments_len, current,
                     c->after + 1, found, oldest);
        pthread_mutex_unlock(&c->journal->lock);
        return there;
    }
    if (files_list_read(c->dir, false, &list, &aside, err) < 0)
        return -1;
    there = pick(list.at, list.len, current, c->after + 1, found, oldest);
    files_list_release(&list);
    return there;
}

static int
enter_segment(struct cursor *c, const struct segment *s, bool oldest, struct err *err)
{
    leave_segment(c);
    c->fd = openat(c->dir, s->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (c->fd < 0)
        return err_errno(err, "cannot open segment %s", s->name),
               err ? err->kind = ERR_AGAIN : 0, -1;
    c->segment = *s;
    c->oldest = oldest;
    segment_scan_start(&c->scan, c->fd, &s->header, &c->chunk);
    return 0;
}

// step_on moves to the next segment. 1 moved, 0 there is none, -1 with *err.
static int
step_on(struct cursor *c, struct err *err)
{
    struct segment next;
    bool oldest;
    int found = find_segment(c, c->fd < 0 ? NULL : &c->segment, &next, &oldest, err);

    if (found <= 0)
        return found;
    return enter_segment(c, &next, oldest, err) < 0 ? -1 : 1;
}

static bool
was_acknowledged(const struct cursor *c, uint64_t sequence)
{
    if (c->frame.durable >= sequence)
        return true;
    return c->journal &&
           (sequence <= c->journal->proved || sequence > c->journal->last_at_open);
}

// The record in c->frame comes next; is something lost before it?
static bool
find_gap(struct cursor *c, struct record *rec)
{
    const struct segment_header *h = &c->segment.header;
    uint64_t first = c->after + 1, last = c->frame.sequence - 1;

    if (h->skipped && last >= h->skipped && last < h->first)
        last = h->skipped - 1;
    if (first > last || !was_acknowledged(c, first))
        return false;
    bool removed = c->oldest && first < h->first;
    *rec = (struct record){.sequence = last,
                           .received_us = c->frame.received_us,
                           .gap_first = first,
                           .gap_reason = removed ? "no longer kept" : "damaged"};
    c->after = last;
    return true;
}

static enum cursor_result
give(struct cursor *c, struct record *rec)
{
    if (c->frame.sequence > c->after + 1 && find_gap(c, rec)) {
        c->pending = true;
        return CURSOR_GAP;
    }
    c->pending = false;
    c->after = c->frame.sequence;
    *rec = (struct record){.sequence = c->frame.sequence,
                           .received_us = c->frame.received_us,
                           .payload = span_make(c->payload, c->frame.length)};
    return CURSOR_RECORD;
}

// pass_damage looks behind bytes that are no record for the next one in this segment.
static int
pass_damage(struct cursor *c, struct err *err)
{
    uint64_t from = c->scan.offset;
    int found = segment_scan_resync(&c->scan, err);

    if (found <= 0)
        return found;
    log_alarm("journal: segment %s is damaged from byte %llu to %llu; kept in bad/",
              c->segment.name, (unsigned long long)from,
              (unsigned long long)c->scan.offset);
    if (c->journal) {
        struct err kept;
        if (files_keep_bad(c->dir, c->fd, c->segment.name, from, c->scan.offset, &kept) <
            0)
            log_error("journal: %s", kept.text);
        pthread_mutex_lock(&c->journal->lock);
        c->journal->damaged++;
        pthread_mutex_unlock(&c->journal->lock);
    }
    return 1;
}

// Nothing valid at the cursor's offset: a stale chunk, damage, or the end of the segment.
// 1 go on, 0 the end, -1 with *err.
static int
pass_end(struct cursor *c, bool *fresh, struct err *err)
{
    struct segment next;
    bool oldest;

    if (!*fresh) {
        buf_clear(&c->chunk);
        *fresh = true;
        return 1;
    }
    int behind = find_segment(c, &c->segment, &next, &oldest, err);
    if (behind < 0)
        return -1;
    if (behind || c->journal) {
        int passed = pass_damage(c, err);
        if (passed != 0)
            return passed;
    }
    return behind ? step_on(c, err) : 0;
}

static uint64_t
newest(struct cursor *c)
{
    if (!c->journal)
        return UINT64_MAX;
    pthread_mutex_lock(&c->journal->lock);
    uint64_t durable = c->journal->durable;
    pthread_mutex_unlock(&c->journal->lock);
    return durable;
}

enum cursor_result
cursor_next(struct cursor *c, struct record *rec, struct err *err)
{
    bool fresh = false;

    if (c->pending)
        return give(c, rec);
    if (c->after >= newest(c))
        return CURSOR_END;
    if (c->fd < 0) {
        int moved = step_on(c, err);
        if (moved <= 0)
            return (enum cursor_result)moved;
    }
    for (;;) {
        enum segment_result r = segment_scan_next(&c->scan, &c->frame, &c->payload, err);
        if (r == SEGMENT_ERROR)
            return CURSOR_ERROR;
        if (r == SEGMENT_RECORD && c->frame.sequence > c->after)
            return give(c, rec);
        if (r == SEGMENT_RECORD)
            continue;
        int on = pass_end(c, &fresh, err);
        if (on <= 0)
            return (enum cursor_result)on;
    }
}

void
cursor_wait(struct cursor *c, int64_t wait_ms)
{
    struct journal *j = c->journal;
    int64_t until = clock_mono_us() + wait_ms * 1000;
    struct timespec at = {until / 1000000, (long)(until % 1000000) * 1000};

    pthread_mutex_lock(&j->lock);
    while (!c->woken && !j->stopping && c->after >= j->durable)
        if (pthread_cond_timedwait(&j->read, &j->lock, &at) != 0)
            break;
    c->woken = false;
    pthread_mutex_unlock(&j->lock);
}

void
cursor_wake(struct cursor *c)
{
    pthread_mutex_lock(&c->journal->lock);
    c->woken = true;
    pthread_cond_broadcast(&c->journal->read);
    pthread_mutex_unlock(&c->journal->lock);
}
