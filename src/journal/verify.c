// Segment by segment. What is missing is judged by the scan, as for a cursor, and lost unless a
// header says that it was skipped.
#include "journal/verify.h"

#include "journal/internal.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>

// The verification of one segment of a list.
struct verify {
    struct segment_list list;
    const struct verify_report *report;
    int dir;
    size_t i;
    bool gone; // the segment: published, and room was needed
    bool held; // a process may just be writing to the newest segment
    struct segment_scan scan;
    struct verify_segment found;
};

static bool
is_newest(const struct verify *v)
{
    return v->i + 1 == v->list.len;
}

// One that was recycled may be all zeros by now.
static bool
is_gone(const struct verify *v)
{
    struct stat named, opened;

    return fstatat(v->dir, v->list.at[v->i].name, &named, AT_SYMLINK_NOFOLLOW) < 0 ||
           fstat(v->scan.fd, &opened) < 0 || named.st_ino != opened.st_ino;
}

// A hole is lost as far as it had been acknowledged.
static void
count_hole(struct verify *v, const struct segment_hole *hole)
{
    struct range lost = {hole->first, hole->proved};

    v->gone = v->gone || is_gone(v);
    if (v->gone)
        return;
    segment_list_trim_skipped(&v->list, &lost);
    if (lost.first > lost.last) {
        if (v->found.state == VERIFY_CLEAN)
            v->found.state = VERIFY_TORN;
        return;
    }
    v->found.state = VERIFY_DAMAGED;
    v->found.lost += lost.last - lost.first + 1;
    v->found.gaps++;
    if (v->report->gap)
        v->report->gap(lost.first, lost.last, v->report->context);
}

static bool
is_live(const struct verify *v)
{
    return v->held && is_newest(v);
}

static int
scan_all(struct verify *v, struct err *err)
{
    enum segment_result r;

    while ((r = segment_scan_next(&v->scan, err)) > SEGMENT_END)
        if (r == SEGMENT_CHECK) {
            buf_clear(&v->scan.chunk); // its zeros may have become records
        } else if (r == SEGMENT_HOLE) {
            count_hole(v, &v->scan.hole);
        } else {
            v->found.records++;
            v->found.payload_bytes += v->scan.frame.length;
            v->found.last = v->scan.frame.sequence;
        }
    // Remains in the newest segment may be what is just being written.
    if (v->found.state == VERIFY_CLEAN && !v->scan.sealed && !is_live(v) &&
        segment_scan_has_remains(&v->scan))
        v->found.state = VERIFY_TORN;
    return (int)r;
}

// 1, 0 when it is gone, -1 with *err.
static int
verify_one(struct verify *v, struct err *err)
{
    const struct segment *s = &v->list.at[v->i];

    if (segment_scan_open(&v->scan, v->dir, s->name, &s->header, err) < 0)
        return err->error == ENOENT ? 0 : -1;
    v->scan.passes_unreadable = true;
    v->scan.live = is_live(v);
    v->gone = false;
    v->scan.next_first = is_newest(v) ? 0 : s[1].header.first;
    v->found = (struct verify_segment){
        .name = s->name, .first = s->header.first, .last = s->header.first - 1};
    int result = scan_all(v, err);
    segment_scan_close(&v->scan);
    return result < 0 ? -1 : !v->gone;
}

static void
add_up(struct verify_total *total, const struct verify_segment *s)
{
    total->records += s->records;
    total->payload_bytes += s->payload_bytes;
    total->lost += s->lost;
    total->gaps += s->gaps;
    if (s->records && !total->first)
        total->first = s->first;
    if (s->records)
        total->last = s->last;
    if (s->state > total->state)
        total->state = s->state;
}

int
journal_verify(const char *directory, const struct verify_report *report,
               struct verify_total *total, struct err *err)
{
    struct verify v = {.report = report, .held = journal_is_held(directory)};

    *total = (struct verify_total){0};
    v.dir = dir_open_reader(directory, &v.list, total->id, err);
    if (v.dir < 0)
        return -1;
    total->foreign = v.list.foreign;
    struct bad_files bad = bad_clean(v.dir, 0);
    total->bad_files = bad.ours + bad.others;
    int result = 0;
    for (; result >= 0 && v.i < v.list.len; v.i++) {
        result = verify_one(&v, err);
        if (result <= 0)
            continue;
        add_up(total, &v.found);
        if (report->segment)
            report->segment(&v.found, report->context);
    }
    free(v.list.at);
    close(v.dir);
    return result < 0 ? -1 : 0;
}

bool
journal_is_held(const char *directory)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/lock", directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == EACCES;
    bool held = flock(fd, LOCK_SH | LOCK_NB) < 0;
    close(fd); // gives it back at once
    return held;
}
