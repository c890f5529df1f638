// A cursor reads segment after segment and skips what it has seen, so that a group which a
// poisoned segment and its successor both hold is read once.
//
// What is missing between two records is a gap as far as it had been acknowledged (segment.h).
// The journal knows what was: all that is durable, but what was torn off at its opening
// (j->unacked). A reader without journal knows what the records say.
#include "journal/cursor.h"

#include "journal/internal.h"

#include <stdlib.h>
#include <sys/stat.h>

struct cursor {
    struct journal *journal; // NULL: a reader of another process's directory
    int dir;                 // -1: of one file
    uint64_t after;          // last sequence that was given out or passed
    uint64_t durable; // known to be synced; a reader without journal takes what it finds
    uint64_t proved;  // all up to here was acknowledged or skipped
    struct segment segment, next; // `next` is the one after it, or else the first to read
    bool has_next;
    struct segment_scan scan; // of the segment being read; its fd is -1: none
    bool pending;             // a record was read and not given yet
    int64_t read_us;          // receipt of the last record read, 0: none yet
    bool woken;
};

static struct cursor *
cursor_make(struct journal *j, int dir, uint64_t after)
{
    struct cursor *c = memory_get(sizeof *c);

    *c = (struct cursor){.journal = j,
                         .dir = dir,
                         .after = after,
                         .durable = j ? 0 : UINT64_MAX,
                         .scan.fd = -1};
    return c;
}

struct cursor *
cursor_open(struct journal *j, uint64_t after)
{
    return cursor_make(j, j->dir, after);
}

struct cursor *
cursor_open_reader(const char *directory, uint64_t after, char id[JOURNAL_ID_TEXT],
                   struct err *err)
{
    struct segment_list list;
    char own[JOURNAL_ID_TEXT];
    int dir = dir_open_reader(directory, &list, id ? id : own, err);

    if (dir < 0)
        return NULL;
    free(list.at);
    return cursor_make(NULL, dir, after);
}

struct cursor *
cursor_open_file(const char *path, struct err *err)
{
    struct segment_scan scan;

    if (segment_scan_open(&scan, AT_FDCWD, path, NULL, err) < 0)
        return NULL;
    struct cursor *c = cursor_make(NULL, -1, scan.header.first - 1);
    scan.passes_unreadable = true;
    c->scan = scan;
    return c;
}

static void
leave_segment(struct cursor *c)
{
    segment_scan_close(&c->scan);
    c->pending = false;
}

void
cursor_close(struct cursor *c)
{
    if (!c)
        return;
    leave_segment(c);
    if (!c->journal && c->dir >= 0)
        close(c->dir);
    free(c);
}

void
cursor_seek(struct cursor *c, uint64_t after)
{
    leave_segment(c);
    c->after = after;
}

// The segments there are: the journal's own list, under its lock until it is closed, or what the
// directory of another process holds; none beside one file.
static int
open_list(const struct cursor *c, struct segment_list *list, struct err *err)
{
    *list = (struct segment_list){0};
    if (!c->journal)
        return c->dir < 0 ? 0 : dir_list(c->dir, false, list, err);
    pthread_mutex_lock(&c->journal->lock);
    *list = c->journal->segments;
    return 0;
}

static void
close_list(const struct cursor *c, struct segment_list *list)
{
    if (c->journal)
        pthread_mutex_unlock(&c->journal->lock);
    else
        free(list->at);
}

// The place of the first segment that can hold `wanted`; of those that start at one sequence
// the first.
static size_t
pick(const struct segment_list *list, uint64_t wanted)
{
    size_t i = 0;

    while (i + 1 < list->len && list->at[i + 1].header.first <= wanted)
        i++;
    while (i > 0 && list->at[i - 1].header.first == list->at[i].header.first)
        i--;
    return i;
}

static const struct segment *
find(const struct segment_list *list, const char *name)
{
    for (size_t i = list->len; i-- > 0;)
        if (strcmp(list->at[i].name, name) == 0)
            return &list->at[i];
    return NULL;
}

// refresh learns what has become durable, up to where the segment may be read (as far as the
// journal says, or to the end of a file that is not ours, or not ours any more), and which
// segment comes next.
static int
refresh(struct cursor *c, struct err *err)
{
    const struct segment *s = NULL;
    struct stat st;
    struct segment_list list;
    size_t i = 0;

    if (open_list(c, &list, err) < 0)
        return -1;
    if (c->journal)
        c->durable = c->proved = c->journal->durable;
    if (c->journal && c->scan.fd >= 0 && (s = find(&list, c->segment.name)))
        c->scan.end = s->end;
    if (c->scan.fd < 0)
        i = pick(&list, c->after + 1);
    else
        while (i < list.len && !segment_is_after(&list.at[i], &c->segment))
            i++;
    c->has_next = i < list.len;
    if (c->has_next)
        c->next = list.at[i];
    close_list(c, &list);
    c->scan.next_first = c->has_next ? c->next.header.first : 0;
    if (!c->journal)
        buf_clear(&c->scan.chunk); // its zeros may have become records
    if (c->scan.fd >= 0 && !s && fstat(c->scan.fd, &st) == 0)
        c->scan.end = (uint64_t)st.st_size;
    return 0;
}

// Of a reader without journal.
static void
prove(struct cursor *c, uint64_t sequence)
{
    if (!c->journal && c->proved < sequence)
        c->proved = sequence;
}

// forget takes a segment off the journal's list that somebody removed, or every cursor would
// wait for it for ever: then it is a gap. The active one is the committer's to leave.
static void
forget(struct journal *j, const char *name)
{
    pthread_mutex_lock(&j->lock);
    const struct segment *s = find(&j->segments, name);
    bool found = s && s + 1 < j->segments.at + j->segments.len;
    if (found) {
        segment_list_remove(&j->segments, (size_t)(s - j->segments.at));
        j->counts.damaged++;
    }
    pthread_mutex_unlock(&j->lock);
    if (found)
        log_alarm(
            "journal: segment %s was removed by another process: records in it that are "
            "not yet in Redis are lost. Do not touch the files in state_dir",
            name);
}

// enter_segment goes on in c->next. 1, 0 when there is none, -1 with *err.
static int
enter_segment(struct cursor *c, struct err *err)
{
    if (!c->has_next)
        return 0;
    leave_segment(c);
    c->segment = c->next;
    if (segment_scan_open(&c->scan, c->dir, c->segment.name, &c->segment.header, err) <
        0) {
        err->kind = ERR_AGAIN; // it may just have been removed
        if (err->error == ENOENT && c->journal)
            forget(c->journal, c->segment.name);
        return -1;
    }
    prove(c, c->segment.header.first - 1);
    if (c->journal) // of the active one only so far
        c->scan.end = c->segment.end;
    c->scan.live = true;
    c->scan.tail = c->journal ? &c->journal->tail : NULL;
    return 1;
}

// What of a range is lost.
struct loss {
    struct range range;
    bool kept;     // not because segments that old are gone
    bool in_place; // the segment being read is still there
};

// judge leaves of what is missing that which had been acknowledged; an empty range when nothing
// is lost.
static int
judge(struct cursor *c, uint64_t first, uint64_t last, struct loss *loss, struct err *err)
{
    struct segment_list list;

    if (open_list(c, &list, err) < 0)
        return -1;
    *loss = (struct loss){.range = {first, last < c->proved ? last : c->proved},
                          .kept = list.len == 0 || first >= list.at[0].header.first,
                          .in_place = find(&list, c->segment.name) != NULL};
    if (c->journal && c->journal->unacked.first)
        range_trim(&loss->range, c->journal->unacked);
    segment_list_trim_skipped(&list, &loss->range);
    close_list(c, &list);
    return 0;
}

// give_gap reports what is lost up to `last`, with the time of the last record read. CURSOR_END:
// nothing is lost.
static enum cursor_result
give_gap(struct cursor *c, uint64_t last, struct record *rec, struct err *err)
{
    struct loss loss;

    if (judge(c, c->after + 1, last, &loss, err) < 0)
        return CURSOR_ERROR;
    c->after = last;
    if (loss.range.first > loss.range.last)
        return CURSOR_END;
    *rec = (struct record){.sequence = loss.range.last,
                           .received_us = c->read_us ? c->read_us : clock_now_us(),
                           .gap_first = loss.range.first,
                           .gap_reason = loss.kept ? "damaged" : "no longer kept"};
    return CURSOR_GAP;
}

// give hands out the record that was read, or first the gap before it.
static enum cursor_result
give(struct cursor *c, struct record *rec, struct err *err)
{
    const struct segment_frame *f = &c->scan.frame;

    c->pending = true;
    if (f->sequence > c->durable)
        return CURSOR_END;
    if (f->sequence > c->after + 1) {
        enum cursor_result gap = give_gap(c, f->sequence - 1, rec, err);
        if (gap != CURSOR_END)
            return gap;
    }
    c->pending = false;
    c->after = f->sequence;
    *rec = (struct record){.sequence = f->sequence,
                           .received_us = f->received_us,
                           .payload = span_make(c->scan.payload, f->length)};
    return CURSOR_RECORD;
}

// first_report: damage that could not be copied to bad/ is new: other cursors, and
// this one after a rewind, meet it again and again.
static bool
first_report(struct journal *j, uint64_t first)
{
    bool found = false;

    pthread_mutex_lock(&j->lock);
    for (size_t i = 0; i < DAMAGE_REPORTS && !found; i++)
        found = j->reported[i] == first;
    if (!found)
        j->reported[j->reports++ % DAMAGE_REPORTS] = first;
    pthread_mutex_unlock(&j->lock);
    return !found;
}

// A hole without bytes is a file that is not there, or the end of one that was cut off.
static void
report_loss(const char *segment, const struct segment_hole *hole, struct range lost,
            const char *bytes)
{
    unsigned long long first = lost.first, last = lost.last;

    if (hole->from == hole->to)
        log_alarm(
            "journal: records %llu to %llu, which followed segment %s, are not in "
            "state_dir and are lost. Was a file removed, or not copied with the others? "
            "See \"The journal is damaged\" in OPERATING.md",
            first, last, segment);
    else
        log_alarm(
            "journal: segment %s is damaged from byte %llu to %llu: records %llu to "
            "%llu are lost; %s. Check the disk (dmesg), and see \"The journal is "
            "damaged\" in OPERATING.md",
            segment, (unsigned long long)hole->from, (unsigned long long)hole->to, first,
            last, bytes);
}

// set_aside keeps the bytes of a hole if acknowledged records were lost there. A segment that
// was removed under our hands is no damage.
static void
set_aside(struct cursor *c, const struct segment_hole *hole)
{
    struct loss loss;
    struct err err;

    if (!c->journal || hole->last <= c->after ||
        judge(c, hole->first, hole->last, &loss, &err) < 0 ||
        loss.range.first > loss.range.last || !loss.in_place)
        return;
    int copied =
        bad_copy(c->dir, c->scan.fd, c->segment.name, hole->from, hole->to, &err);
    if (copied == 0 || (copied < 0 && !first_report(c->journal, loss.range.first)))
        return; // reported before
    report_loss(c->segment.name, hole, loss.range,
                copied < 0 ? err.text : "the bytes are kept in bad/");
    pthread_mutex_lock(&c->journal->lock);
    c->journal->counts.damaged++;
    pthread_mutex_unlock(&c->journal->lock);
}

// read_on reads until a record after c->after is found. 1, 0 at the end of all, -1 with *err.
static int
read_on(struct cursor *c, struct err *err)
{
    int on = c->scan.fd >= 0 ? 1 : refresh(c, err) < 0 ? -1 : enter_segment(c, err);

    c->scan.checks = 0;
    while (on > 0)
        switch (segment_scan_next(&c->scan, err)) {
        case SEGMENT_ERROR: // report where, for the person who checks the disk
            return err_context(err, "segment %s, byte %llu", c->segment.name,
                               (unsigned long long)c->scan.offset);
        case SEGMENT_CHECK:
            on = refresh(c, err) < 0 ? -1 : 1;
            break;
        case SEGMENT_END:
            on = enter_segment(c, err);
            break;
        case SEGMENT_HOLE:
            prove(c, c->scan.hole.proved);
            set_aside(c, &c->scan.hole);
            break;
        case SEGMENT_RECORD:
            prove(c, c->scan.frame.durable);
            c->read_us = c->scan.frame.received_us;
            if (c->scan.frame.sequence > c->after)
                return 1;
        }
    return on;
}

enum cursor_result
cursor_next(struct cursor *c, struct record *rec, struct err *err)
{
    struct err own;

    err = err ? err : &own;
    if (c->after >= c->durable && refresh(c, err) < 0)
        return CURSOR_ERROR;
    if (c->after >= c->durable)
        return CURSOR_END;
    if (c->pending)
        return give(c, rec, err);
    err->error = 0;
    int found = read_on(c, err);
    for (int tries = 0; found < 0 && err->error == ENOENT && tries < 8; tries++)
        found = read_on(c, err); // a segment was removed between finding and opening it
    if (found < 0)
        return CURSOR_ERROR;
    if (found)
        return give(c, rec, err);
    // All segments are read. What was acknowledged and none of them holds is lost.
    return c->after < c->proved ? give_gap(c, c->proved, rec, err) : CURSOR_END;
}

void
cursor_wait(struct cursor *c, int64_t wait_ms)
{
    struct journal *j = c->journal;
    struct timespec at = clock_timespec(clock_mono_us() + wait_ms * 1000);

    pthread_mutex_lock(&j->lock);
    while (!c->woken && !j->stopping && c->after >= j->durable)
        if (pthread_cond_clockwait(&j->read, &j->lock, CLOCK_MONOTONIC, &at) != 0)
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
