// Segment by segment. What is missing is judged by the scan, as for a cursor, and lost unless a
// header says that it was skipped.
#include "journal/inspect.h"

#include "base/text.h"
#include "journal/files.h"
#include "journal/range.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t
count_bad(int dir)
{
    int fd = openat(dir, "bad", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    uint64_t n = 0;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.' && !strstr(e->d_name, ".body"); // those are the relay's
    closedir(d);
    return n;
}

// A look at one segment of a list.
struct look {
    const struct files_list *list;
    const struct inspect_watch *watch;
    size_t i;
    bool held; // a process may just be writing to the newest segment
    struct segment_scan scan;
    struct inspect_segment found;
};

static bool
is_newest(const struct look *l)
{
    return l->i + 1 == l->list->len;
}

// A hole is lost as far as it had been acknowledged.
static void
count_hole(struct look *l, const struct segment_hole *hole)
{
    struct range lost = {hole->first, hole->proved};

    range_trim_skipped(&lost, l->list);
    if (lost.first > lost.last) {
        if (l->found.state == INSPECT_CLEAN)
            l->found.state = INSPECT_TORN;
        return;
    }
    l->found.state = INSPECT_DAMAGED;
    l->found.lost += lost.last - lost.first + 1;
    l->found.gaps++;
    if (l->watch->gap)
        l->watch->gap(lost.first, lost.last, l->watch->context);
}

static bool
has_remains(const struct segment_scan *s)
{
    char piece[4096];
    ssize_t n;

    for (uint64_t at = s->offset; at < s->end; at += (uint64_t)n) {
        n = pread(s->fd, piece, sizeof piece, (off_t)at);
        if (n <= 0)
            return false;
        for (ssize_t i = 0; i < n; i++)
            if (piece[i])
                return true;
    }
    return false;
}

static void
count_record(struct look *l, const struct segment_frame *f)
{
    l->found.records++;
    l->found.payload_bytes += f->length;
    l->found.last = f->sequence;
}

static int
scan_all(struct look *l, struct err *err)
{
    enum segment_result r;

    while ((r = segment_scan_next(&l->scan, err)) > SEGMENT_END)
        if (r == SEGMENT_HOLE)
            count_hole(l, &l->scan.hole);
        else
            count_record(l, &l->scan.frame);
    // Remains in the newest segment may be what is just being written.
    if (l->found.state == INSPECT_CLEAN && !l->scan.sealed &&
        !(is_newest(l) && l->held) && has_remains(&l->scan))
        l->found.state = INSPECT_TORN;
    return (int)r;
}

// The size is asked now: a segment may have grown since it was listed, before the next began.
static int
verify_file(struct look *l, int fd, struct err *err)
{
    const struct segment *s = &l->list->at[l->i];
    struct buf chunk;
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_errno(err, "segment %s", s->name);
    buf_init(&chunk, SEGMENT_CHUNK_MAX);
    segment_scan_start(&l->scan, fd, &s->header, (uint64_t)st.st_size, &chunk);
    l->scan.passes_unreadable = true;
    if (!is_newest(l))
        l->scan.next_first = s[1].header.first;
    int result = scan_all(l, err);
    buf_release(&chunk);
    return result;
}

// 1, 0 when it is gone (published, and room was needed), -1 with *err.
static int
verify_one(struct look *l, int dir, struct err *err)
{
    const struct segment *s = &l->list->at[l->i];
    int fd = openat(dir, s->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return errno == ENOENT ? 0 : err_errno(err, "cannot open segment %s", s->name);
    l->found = (struct inspect_segment){
        .name = s->name, .first = s->header.first, .last = s->header.first - 1};
    int result = verify_file(l, fd, err);
    close(fd);
    return result < 0 ? -1 : 1;
}

static void
add_up(struct inspect_total *total, const struct inspect_segment *s)
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

static int
verify_all(struct look *l, int dir, struct inspect_total *total, struct err *err)
{
    for (l->i = 0; l->i < l->list->len; l->i++) {
        int there = verify_one(l, dir, err);
        if (there < 0)
            return -1;
        if (!there)
            continue;
        add_up(total, &l->found);
        if (l->watch->segment)
            l->watch->segment(&l->found, l->watch->context);
    }
    return 0;
}

int
journal_verify(const char *directory, const struct inspect_watch *watch,
               struct inspect_total *total, struct err *err)
{
    struct files_list list;
    int dir = files_open(directory, false, false, err), result;

    *total = (struct inspect_total){0};
    if (dir < 0)
        return -1;
    struct look l = {.list = &list, .watch = watch, .held = journal_is_held(directory)};
    result = files_list_read(dir, false, &list, &total->foreign, err);
    if (result == 0 && list.len == 0)
        result = err_exit(err, EXIT_CODE_DIRECTORY, "%s holds no journal", directory);
    if (result == 0) {
        text_hex(total->id, sizeof total->id, list.at[list.len - 1].header.id,
                 JOURNAL_ID_BYTES);
        total->bad_files = count_bad(dir);
        result = verify_all(&l, dir, total, err);
        files_list_release(&list);
    }
    close(dir);
    return result;
}

// What a salvage gives out, and to whom.
struct salvage {
    struct segment_scan scan;
    inspect_record *each, *gap;
    void *context;
};

static int
salvage_record(struct salvage *s, struct err *err)
{
    const struct segment_frame *f = &s->scan.frame;

    return s->each(&(struct record){.sequence = f->sequence,
                                    .received_us = f->received_us,
                                    .payload = span_make(s->scan.payload, f->length)},
                   s->context, err);
}

static int
salvage_hole(struct salvage *s, struct err *err)
{
    const struct segment_hole *hole = &s->scan.hole;

    if (hole->first > hole->proved)
        return 0;
    return s->gap(&(struct record){.sequence = hole->proved,
                                   .received_us = s->scan.frame.received_us,
                                   .gap_first = hole->first,
                                   .gap_reason = "damaged"},
                  s->context, err);
}

static int
salvage_all(struct salvage *s, struct err *err)
{
    enum segment_result r;

    while ((r = segment_scan_next(&s->scan, err)) > SEGMENT_END)
        if ((r == SEGMENT_HOLE ? salvage_hole(s, err) : salvage_record(s, err)) < 0)
            return -1;
    return (int)r;
}

static int
salvage_file(struct salvage *s, int fd, const char *path, struct err *err)
{
    struct segment_header h;
    struct buf chunk;
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_errno(err, "%s", path);
    if (segment_read_header(fd, &h, err) < 0)
        return err_context(err, "%s", path);
    buf_init(&chunk, SEGMENT_CHUNK_MAX);
    segment_scan_start(&s->scan, fd, &h, (uint64_t)st.st_size, &chunk);
    s->scan.passes_unreadable = true;
    int result = salvage_all(s, err);
    buf_release(&chunk);
    return result;
}

int
journal_salvage(const char *path, inspect_record *each, inspect_record *gap,
                void *context, struct err *err)
{
    struct salvage s = {.each = each, .gap = gap, .context = context};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return err_errno(err, "%s: cannot open", path);
    int result = salvage_file(&s, fd, path, err);
    close(fd);
    return result;
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
