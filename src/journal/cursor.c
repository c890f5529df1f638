// A cursor reads segment after segment and skips what it has seen, so that a group which a
// poisoned segment and its successor both hold is read once.
//
// What is missing between two records is a gap, unless a segment's header says that those
// numbers were skipped (segment.h). The newest segment of a process that died may have torn
// off records that no header tells of yet: the journal knows them from its opening (j->skip);
// a reader without journal trusts only what a later frame proves.
#include "journal/cursor.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "journal/bad.h"
#include "journal/view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct cursor {
    struct journal *journal; // NULL: a reader of another process's directory
    int dir;
    char id_text[JOURNAL_ID_TEXT];
    uint64_t after;   // last sequence that was given out or passed
    uint64_t durable; // known to be synced; a reader without journal takes what it finds
    uint64_t proved;  // what it read says that all up to here was acknowledged or skipped
    int fd;           // segment being read, -1: none
    struct segment segment;
    struct segment_scan scan;
    struct buf chunk;
    int looks;    // taken at the end of what could be read of the segment
    bool pending; // a record was read and not given yet
    struct segment_frame frame;
    const char *payload;
    int64_t read_us; // receipt of the last record read, 0: none yet
    bool woken;
};

static struct cursor *
cursor_make(struct journal *j, int dir, uint64_t after)
{
    struct cursor *c = memory_get(sizeof *c);

    *c = (struct cursor){.journal = j, .dir = dir, .after = after, .fd = -1};
    if (!j)
        c->durable = UINT64_MAX;
    buf_init(&c->chunk, SEGMENT_CHUNK_MAX);
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
    int result = files_list_read(dir, false, &list, &aside, err);
    if (result == 0 && list.len == 0)
        result = err_exit(err, EXIT_CODE_DIRECTORY, "%s holds no journal", directory);
    if (result < 0) {
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

// find_segment gives the one behind the current segment, or the first one to read.
// 1 found, 0 there is none, -1 with *err.
static int
find_segment(struct cursor *c, struct segment *found, struct err *err)
{
    struct view v;
    size_t i = 0;

    if (view_open(&v, c->journal, c->dir, err) < 0)
        return -1;
    if (c->fd < 0)
        i = view_pick(&v, c->after + 1);
    else
        while (i < v.list.len && !segment_is_behind(&v.list.at[i], &c->segment))
            i++;
    bool there = i < v.list.len;
    if (there)
        *found = v.list.at[i];
    view_close(&v);
    return there;
}

static void
prove(struct cursor *c, uint64_t sequence)
{
    if (c->proved < sequence)
        c->proved = sequence;
}

// forget takes a segment off the journal's list that somebody removed, or every cursor would
// wait for it for ever: then it is a gap. The active one is the committer's to leave.
static void
forget(struct journal *j, const char *name)
{
    bool found = false;

    pthread_mutex_lock(&j->lock);
    for (size_t i = 0; i + 1 < j->segments_len && !found; i++) {
        found = strcmp(j->segments[i].name, name) == 0;
        if (found) {
            j->segments_len--;
            memmove(j->segments + i, j->segments + i + 1,
                    (j->segments_len - i) * sizeof *j->segments);
            j->damaged++;
        }
    }
    pthread_mutex_unlock(&j->lock);
    if (found)
        log_alarm("journal: somebody removed segment %s: what it held and Redis does not "
                  "have yet is lost. Nobody may touch the files in state_dir",
                  name);
}

static int
enter_segment(struct cursor *c, const struct segment *s, struct err *err)
{
    leave_segment(c);
    c->fd = openat(c->dir, s->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (c->fd < 0) {
        int reason = errno;
        err_errno(err, "cannot open segment %s", s->name);
        if (err)
            err->kind = ERR_AGAIN; // it may just have been removed
        if (reason == ENOENT && c->journal)
            forget(c->journal, s->name);
        errno = reason;
        return -1;
    }
    c->segment = *s;
    c->looks = 0;
    prove(c, s->header.first - 1);
    segment_scan_start(&c->scan, c->fd, &s->header, s->end, &c->chunk);
    return 0;
}

// look_again learns what has become durable, and up to where this segment may be read: as far
// as the journal says, or to the end of a file that is not ours (or not ours any more).
static void
look_again(struct cursor *c)
{
    const struct segment *s = NULL;
    struct stat st;
    struct view v;

    if (c->journal && view_open(&v, c->journal, c->dir, NULL) == 0) {
        c->durable = c->journal->durable;
        s = view_find(&v, c->segment.name);
        if (s)
            c->scan.end = s->end;
        view_close(&v);
    } else {
        buf_clear(&c->chunk); // its zeros may have become records
    }
    if (c->fd >= 0 && !s && fstat(c->fd, &st) == 0)
        c->scan.end = (uint64_t)st.st_size;
}

// lost_of leaves of what is missing that which had been acknowledged; `first` behind `last`
// when nothing is. *kept: it is not missing because segments that old are gone.
static int
lost_of(struct cursor *c, struct range *r, bool *kept, struct err *err)
{
    struct view v;

    if (view_open(&v, c->journal, c->dir, err) < 0)
        return -1;
    *kept = v.list.len == 0 || r->first >= v.list.at[0].header.first;
    range_trim_skipped(r, &v.list);
    if (c->journal && c->journal->skip.first)
        range_trim(r, c->journal->skip);
    bool newest =
        v.list.len == 0 || !segment_is_behind(&v.list.at[v.list.len - 1], &c->segment);
    if (!c->journal && newest && r->last > c->proved)
        r->last = c->proved;
    view_close(&v);
    return 0;
}

// The time of a gap is that of the last record read; where there is none, now.
static int64_t
gap_time(const struct cursor *c)
{
    return c->read_us ? c->read_us : clock_now_us();
}

// tell_gap says what is lost up to `last`. 1 told, 0 nothing is lost, -1 with *err.
static int
tell_gap(struct cursor *c, uint64_t last, struct record *rec, struct err *err)
{
    struct range lost = {c->after + 1, last};
    bool kept;

    if (lost_of(c, &lost, &kept, err) < 0)
        return -1;
    c->after = last;
    if (lost.first > lost.last)
        return 0;
    *rec = (struct record){.sequence = lost.last,
                           .received_us = gap_time(c),
                           .gap_first = lost.first,
                           .gap_reason = kept ? "damaged" : "no longer kept"};
    return 1;
}

// give hands out the record in c->frame, or first the gap before it.
static enum cursor_result
give(struct cursor *c, struct record *rec, struct err *err)
{
    c->pending = true;
    if (c->frame.sequence > c->durable)
        return CURSOR_END;
    if (c->frame.sequence > c->after + 1) {
        int told = tell_gap(c, c->frame.sequence - 1, rec, err);
        if (told != 0)
            return told < 0 ? CURSOR_ERROR : CURSOR_GAP;
    }
    c->pending = false;
    c->after = c->frame.sequence;
    *rec = (struct record){.sequence = c->frame.sequence,
                           .received_us = c->frame.received_us,
                           .payload = span_make(c->payload, c->frame.length)};
    return CURSOR_RECORD;
}

static bool
is_still_there(struct cursor *c)
{
    struct view v;

    if (view_open(&v, c->journal, c->dir, NULL) < 0)
        return true;
    bool there = view_find(&v, c->segment.name) != NULL;
    view_close(&v);
    return there;
}

// first_report says whether damage that could not be copied to bad/ is new: other cursors, and
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

// set_aside keeps the bytes between two offsets, if acknowledged records were lost there. A
// segment that was removed under our hands is no damage.
static void
set_aside(struct cursor *c, uint64_t from, uint64_t to, struct range missing)
{
    struct err err;
    bool kept;

    if (missing.last < missing.first || missing.last <= c->after || !c->journal ||
        lost_of(c, &missing, &kept, &err) < 0 || missing.first > missing.last ||
        !is_still_there(c))
        return;
    int copied = bad_copy(c->dir, c->fd, c->segment.name, from, to, &err);
    if (copied == 0 || (copied < 0 && !first_report(c->journal, missing.first)))
        return; // told before
    log_alarm("journal: segment %s is damaged from byte %llu to %llu (records %llu to "
              "%llu); %s",
              c->segment.name, (unsigned long long)from, (unsigned long long)to,
              (unsigned long long)missing.first, (unsigned long long)missing.last,
              copied < 0 ? err.text : "the bytes are kept in bad/");
    pthread_mutex_lock(&c->journal->lock);
    c->journal->damaged++;
    pthread_mutex_unlock(&c->journal->lock);
}

// Where it waits is told, for whoever looks after the disk.
static int
tell_unreadable(const struct cursor *c, struct err *err)
{
    return err_context(err, "segment %s, byte %llu", c->segment.name,
                       (unsigned long long)c->scan.offset);
}

// pass_damage goes on behind bytes that are no record: at the next record of this segment, or
// in the `next` segment (NULL: there is none). 1 go on, 0 the end of all, -1 with *err.
static int
pass_damage(struct cursor *c, const struct segment *next, struct err *err)
{
    uint64_t from = c->scan.offset, first = c->scan.after + 1;
    struct segment_frame f;

    switch (segment_scan_resync(&c->scan, &f, err)) {
    case SEGMENT_ERROR:
        return tell_unreadable(c, err);
    case SEGMENT_RECORD:
        set_aside(c, from, c->scan.offset, (struct range){first, f.sequence - 1});
        return 1;
    case SEGMENT_SEAL:
        prove(c, f.sequence);
        set_aside(c, from, c->scan.offset, (struct range){first, f.sequence});
        break;
    case SEGMENT_END:
        if (next)
            set_aside(c, from, c->scan.end,
                      (struct range){first, next->header.first - 1});
    }
    if (!next)
        return 0;
    return enter_segment(c, next, err) < 0 ? -1 : 1;
}

static int
look_closer(struct cursor *c)
{
    look_again(c);
    c->looks++;
    return 1;
}

// Nothing valid at the cursor's offset: damage, or the end of the segment. 1 go on, 0 the
// end of all, -1 with *err.
static int
pass_end(struct cursor *c, struct err *err)
{
    struct segment next;

    if (c->looks == 0)
        return look_closer(c);
    int behind = find_segment(c, &next, err);
    if (behind < 0)
        return -1;
    if (behind && next.header.first <= c->scan.after + 1)
        return enter_segment(c, &next, err) < 0 ? -1 : 1;
    // The writer may have added records since the first look, and then begun the next one.
    if (behind && c->looks == 1)
        return look_closer(c);
    return pass_damage(c, behind ? &next : NULL, err);
}

// All segments are read. What was durable and none of them holds is lost.
static enum cursor_result
finish(struct cursor *c, struct record *rec, struct err *err)
{
    uint64_t last = c->journal ? c->durable : c->proved;

    if (c->after >= last)
        return CURSOR_END;
    int told = tell_gap(c, last, rec, err);
    return told < 0 ? CURSOR_ERROR : told ? CURSOR_GAP : CURSOR_END;
}

// read_on reads until a record behind c->after is found. 1, 0 at the end of all, -1.
static int
read_on(struct cursor *c, struct err *err)
{
    struct segment first;

    if (c->fd < 0) {
        int found = find_segment(c, &first, err);
        if (found <= 0)
            return found;
        if (enter_segment(c, &first, err) < 0)
            return -1;
    }
    c->looks = 0;
    for (;;) {
        enum segment_result r = segment_scan_next(&c->scan, &c->frame, &c->payload, err);
        if (r == SEGMENT_ERROR)
            return tell_unreadable(c, err);
        if (r == SEGMENT_RECORD) {
            prove(c, c->frame.durable);
            c->read_us = c->frame.received_us;
        }
        if (r == SEGMENT_RECORD && c->frame.sequence > c->after)
            return 1;
        if (r == SEGMENT_RECORD)
            continue; // seen before
        int on = pass_end(c, err);
        if (on <= 0)
            return on;
    }
}

enum cursor_result
cursor_next(struct cursor *c, struct record *rec, struct err *err)
{
    if (c->after >= c->durable)
        look_again(c);
    if (c->after >= c->durable)
        return CURSOR_END;
    if (c->pending)
        return give(c, rec, err);
    int found = read_on(c, err);
    for (int tries = 0; found < 0 && errno == ENOENT && tries < 8; tries++)
        found = read_on(c, err); // a segment was removed between finding and opening it
    if (found < 0)
        return CURSOR_ERROR;
    return found ? give(c, rec, err) : finish(c, rec, err);
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
