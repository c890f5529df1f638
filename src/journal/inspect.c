// What is missing is judged as a cursor does (range_trim_skipped), segment by segment: a hole
// is lost unless a header says that it was skipped, the next segment holds it again, or no
// later frame of the newest segment proves that it was acknowledged.
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
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

// A look at one segment of a list.
struct look {
    const struct files_list *list;
    size_t i;
    struct segment_scan scan;
    struct inspect_segment *found;
    uint64_t payload_bytes;
};

static bool
is_newest(const struct look *l)
{
    return l->i + 1 == l->list->len;
}

// note_hole counts what is lost of a hole; `proved` is what the frame behind it proves.
static void
note_hole(struct look *l, struct range hole, uint64_t proved)
{
    if (!is_newest(l) && hole.last >= l->list->at[l->i + 1].header.first)
        hole.last = l->list->at[l->i + 1].header.first - 1;
    if (is_newest(l) && hole.last > proved)
        hole.last = proved;
    range_trim_skipped(&hole, l->list);
    if (hole.first <= hole.last)
        l->found->lost += hole.last - hole.first + 1;
    else if (l->found->state == INSPECT_CLEAN)
        l->found->state = INSPECT_TORN;
}

// pass_hole goes on behind bytes that are no record.
static enum segment_result
pass_hole(struct look *l, struct err *err)
{
    uint64_t before = l->scan.after;
    struct segment_frame f;
    enum segment_result r = segment_scan_resync(&l->scan, &f, err);

    if (r == SEGMENT_RECORD)
        note_hole(l, (struct range){before + 1, f.sequence - 1}, f.durable);
    if (r == SEGMENT_SEAL && f.sequence > before)
        note_hole(l, (struct range){before + 1, f.sequence}, f.durable);
    return r;
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

// The records end here. What the next segment starts behind is missing too.
static void
note_end(struct look *l)
{
    uint64_t last = l->scan.after;

    if (has_remains(&l->scan) && l->found->state == INSPECT_CLEAN)
        l->found->state = INSPECT_TORN;
    if (!is_newest(l) && l->list->at[l->i + 1].header.first > last + 1)
        note_hole(l, (struct range){last + 1, l->list->at[l->i + 1].header.first - 1}, 0);
    l->found->last = last;
    if (l->found->lost)
        l->found->state = INSPECT_DAMAGED;
}

static int
scan_all(struct look *l, struct err *err)
{
    struct segment_frame f;
    const char *payload;
    enum segment_result r;

    do {
        r = segment_scan_next(&l->scan, &f, &payload, err);
        if (r == SEGMENT_RECORD) {
            l->found->records++;
            l->payload_bytes += f.length;
        } else if (r == SEGMENT_END) {
            r = pass_hole(l, err);
        }
    } while (r == SEGMENT_RECORD);
    if (r == SEGMENT_ERROR)
        return -1;
    if (r == SEGMENT_SEAL)
        l->scan.offset = l->scan.end;
    note_end(l);
    return 0;
}

static int
verify_one(int dir, const struct files_list *list, size_t i, struct inspect_segment *s,
           uint64_t *payload_bytes, struct err *err)
{
    struct look l = {.list = list, .i = i, .found = s};
    struct buf chunk;
    int fd = openat(dir, s->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return err_errno(err, "cannot open segment %s", s->name);
    buf_init(&chunk, SEGMENT_CHUNK_MAX);
    s->state = INSPECT_CLEAN;
    segment_scan_start(&l.scan, fd, &list->at[i].header, list->at[i].bytes, &chunk);
    int result = scan_all(&l, err);
    *payload_bytes += l.payload_bytes;
    buf_release(&chunk);
    close(fd);
    return result;
}

static void
add_up(struct inspect_total *total, const struct inspect_segment *s)
{
    total->segments++;
    total->records += s->records;
    total->lost += s->lost;
    total->bytes += s->bytes;
    if (s->state > total->state)
        total->state = s->state;
}

static int
go_through(int dir, const struct files_list *list, bool verify, inspect_each *each,
           void *context, struct inspect_total *total, struct err *err)
{
    for (size_t i = 0; i < list->len; i++) {
        const struct segment *at = &list->at[i];
        struct inspect_segment s = {.name = at->name,
                                    .first = at->header.first,
                                    .bytes = at->bytes,
                                    .changed_us = at->changed_us};
        if (i + 1 < list->len)
            s.last = list->at[i + 1].header.first - 1;
        if (verify && verify_one(dir, list, i, &s, &total->payload_bytes, err) < 0)
            return -1;
        add_up(total, &s);
        if (each)
            each(&s, context);
    }
    return 0;
}

static int
inspect(const char *directory, bool verify, inspect_each *each, void *context,
        struct inspect_total *total, struct err *err)
{
    struct files_list list;
    uint64_t aside = 0;
    int dir = files_open(directory, false, false, err), result;

    *total = (struct inspect_total){0};
    if (dir < 0)
        return -1;
    result = files_list_read(dir, false, &list, &aside, err);
    if (result == 0 && list.len == 0)
        result = err_exit(err, EXIT_CODE_DIRECTORY, "%s holds no journal", directory);
    if (result == 0) {
        text_hex(total->id, sizeof total->id, list.at[list.len - 1].header.id,
                 JOURNAL_ID_BYTES);
        total->spare_bytes = list.spare_bytes;
        total->bad_files = count_bad(dir);
        result = go_through(dir, &list, verify, each, context, total, err);
        files_list_release(&list);
    }
    close(dir);
    return result;
}

int
journal_list(const char *directory, inspect_each *each, void *context,
             struct inspect_total *total, struct err *err)
{
    return inspect(directory, false, each, context, total, err);
}

int
journal_verify(const char *directory, inspect_each *each, void *context,
               struct inspect_total *total, struct err *err)
{
    return inspect(directory, true, each, context, total, err);
}

static int64_t
salvage(int fd, const char *path, inspect_record *each, void *context, struct err *err)
{
    struct segment_header h;
    struct segment_scan scan;
    struct segment_frame f;
    struct buf chunk;
    struct stat st;
    const char *payload;
    enum segment_result r;
    int64_t count = 0;

    if (fstat(fd, &st) < 0)
        return err_errno(err, "%s", path);
    if (segment_read_header(fd, &h, err) < 0)
        return err_context(err, "%s", path);
    buf_init(&chunk, SEGMENT_CHUNK_MAX);
    segment_scan_start(&scan, fd, &h, (uint64_t)st.st_size, &chunk);
    do {
        r = segment_scan_next(&scan, &f, &payload, err);
        if (r == SEGMENT_RECORD) {
            each(&(struct record){.sequence = f.sequence,
                                  .received_us = f.received_us,
                                  .payload = span_make(payload, f.length)},
                 context);
            count++;
        } else if (r == SEGMENT_END) {
            r = segment_scan_resync(&scan, &f, err);
        }
    } while (r == SEGMENT_RECORD);
    buf_release(&chunk);
    return r == SEGMENT_ERROR ? -1 : count;
}

int64_t
journal_salvage(const char *path, inspect_record *each, void *context, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return err_errno(err, "%s: cannot open", path);
    int64_t count = salvage(fd, path, each, context, err);
    close(fd);
    return count;
}

bool
journal_is_held(const char *directory)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/lock", directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES;
    bool held = flock(fd, LOCK_SH | LOCK_NB) < 0;
    close(fd); // gives it back at once
    return held;
}
