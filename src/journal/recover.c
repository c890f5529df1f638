// Opening a journal: all state is derived by looking. The id comes from the segments' headers,
// the next sequence from a scan of the newest one and of those that may overlap it: when a
// write failed, the group was written again to a segment that starts at the same sequence as
// the failed group, and a crash in between leaves records of both. A number that any of them
// holds is never given out again.
//
// What is missing there and not proved by a later frame was torn off and never acknowledged:
// it goes into j->skip, and so into the header of the next segment. There is no index and no
// counter that could disagree with the records.
#include "journal/inside.h"

#include "base/log.h"
#include "base/text.h"
#include "journal/bad.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

// The id that most segments carry, of two equal the newer: one foreign file must not make
// all of ours foreign.
static const unsigned char *
choose_id(const struct files_list *list)
{
    size_t best = 0, best_count = 0;

    for (size_t i = 0; i < list->len; i++) {
        size_t count = 0;
        for (size_t k = 0; k < list->len; k++)
            count += memcmp(list->at[i].header.id, list->at[k].header.id,
                            JOURNAL_ID_BYTES) == 0;
        if (count >= best_count) {
            best = i;
            best_count = count;
        }
    }
    return list->at[best].header.id;
}

// Segments of another journal are not ours to read or delete.
static void
set_foreign_aside(struct journal *j, struct files_list *list)
{
    size_t kept = 0;

    for (size_t i = 0; i < list->len; i++) {
        struct segment *s = &list->at[i];
        if (memcmp(s->header.id, j->id, sizeof j->id) == 0)
            list->at[kept++] = *s;
        else
            bad_set_aside(j->dir, s->name, "belongs to another journal", &j->damaged);
    }
    list->len = kept;
}

// What a scan has found so far. `torn`: missing and not proved to have been acknowledged.
struct found {
    uint64_t last;
    int64_t last_us;
    struct range torn;
};

// prove: a frame says that all up to `durable` was acknowledged.
static void
prove(struct found *found, uint64_t durable)
{
    if (found->torn.last <= durable)
        found->torn = (struct range){0};
    else if (found->torn.first && found->torn.first <= durable)
        found->torn.first = durable + 1;
}

static void
take_hole(struct found *found, const struct segment_hole *hole)
{
    if (hole->first <= hole->last)
        found->torn = range_cover(found->torn, (struct range){hole->first, hole->last});
}

static void
take_frame(struct found *found, const struct segment_frame *f)
{
    prove(found, f->durable);
    found->last = f->sequence;
    found->last_us = f->received_us;
}

// What cannot be read on may all have been acknowledged. Its numbers are not given out again,
// and the cursor waits there, or finds it lost.
static void
pass_unreadable(const struct segment *s, struct found *found, const struct err *why)
{
    uint64_t last = segment_last_possible(s->header.first, s->bytes);

    log_alarm("journal: segment %s: %s; sequences go on behind %llu", s->name, why->text,
              (unsigned long long)last);
    if (last > found->last)
        found->last = last;
    found->torn = (struct range){0};
}

static void
scan_records(int fd, const struct segment *s, struct found *found)
{
    struct err err;
    struct segment_scan scan;
    struct buf chunk;
    enum segment_result r;

    buf_init(&chunk, SEGMENT_CHUNK_MAX);
    segment_scan_start(&scan, fd, &s->header, s->bytes, &chunk);
    found->last = s->header.first - 1;
    found->torn = (struct range){0};
    while ((r = segment_scan_next(&scan, &err)) > SEGMENT_END)
        if (r == SEGMENT_HOLE)
            take_hole(found, &scan.hole);
        else
            take_frame(found, &scan.frame);
    if (scan.sealed)
        take_frame(found, &scan.frame);
    buf_release(&chunk);
    if (r == SEGMENT_ERROR)
        pass_unreadable(s, found, &err);
}

// The records of a process that was killed may be in the page cache only: they are synced
// before anyone may see them.
static int
scan_segment(int dir, const struct segment *s, struct found *found, struct err *err)
{
    int fd = openat(dir, s->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return err_errno(err, "cannot open segment %s", s->name);
    int result = 0;
    scan_records(fd, s, found);
    if (fdatasync(fd) < 0)
        result = err_errno(err, "cannot sync segment %s", s->name);
    close(fd);
    return result;
}

// The oldest segment that may overlap the newest: the first one that starts before it.
static size_t
first_to_scan(const struct files_list *list)
{
    size_t i = list->len - 1;

    while (i > 0 && list->at[i].header.first == list->at[list->len - 1].header.first)
        i--;
    return i;
}

static int
find_last(struct journal *j, const struct files_list *list, struct err *err)
{
    struct found found = {0};
    uint64_t highest = 0;

    for (size_t i = first_to_scan(list); i < list->len; i++) {
        if (scan_segment(j->dir, &list->at[i], &found, err) < 0)
            return -1;
        if (found.last > highest)
            highest = found.last;
    }
    // Behind what the newest one holds there are only remains of the failed write that it
    // was to repeat.
    if (highest > found.last)
        found.torn = range_cover(found.torn, (struct range){found.last + 1, highest});
    j->skip = found.torn;
    j->last_us = found.last_us;
    j->durable = highest;
    return 0;
}

int
recover(struct journal *j, struct err *err)
{
    struct files_list list;

    if (files_list_read(j->dir, true, &list, &j->damaged, err) < 0)
        return -1;
    if (list.len > 0)
        memcpy(j->id, choose_id(&list), sizeof j->id);
    else if (getrandom(j->id, sizeof j->id, 0) != sizeof j->id)
        return err_errno(err, "no random bytes");
    text_hex(j->id_text, sizeof j->id_text, j->id, sizeof j->id);
    set_foreign_aside(j, &list);
    j->segments = list.at;
    j->segments_len = list.len;
    j->spare_bytes = list.spare_bytes;
    if (list.len > 0 && find_last(j, &list, err) < 0)
        return -1;
    // What was in the newest segments and cannot be read is a gap, and its numbers are gone.
    if (list.lost > j->durable)
        j->durable = list.lost;
    j->next = j->durable + 1;
    return 0;
}
