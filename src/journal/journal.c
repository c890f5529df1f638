// Opening and closing. Records are taken by append.c and made durable by commit.c;
// retention.c makes room.
//
// At opening all state is derived from the files. The id comes from the segments' headers,
// the next sequence from a scan of the newest one and of those that may overlap it: when a
// write failed, the group was written again to a segment that starts at the same sequence as
// the failed group, and a crash in between leaves records of both. A number that any of them
// holds is never given out again.
//
// What is missing there and not proved by a later frame was torn off and never acknowledged:
// it goes into j->unacked, and so into the header of the next segment. There is no index and no
// counter that could disagree with the records.
#include "journal/internal.h"

#include "base/text.h"
#include "base/thread.h"
#include "journal/cursor.h"

#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { LOCK_LOG_MS = 1000, LOCK_WARN_MS = 10000 };

// --- the lock -------------------------------------------------------------------------

// The lock is ours alone: who can open it can hold it. A link is not followed: what it leads
// to is not ours to write.
static int
open_lock(int dir, const char *path, struct err *err)
{
    int fd =
        openat(dir, "lock",
               O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
    struct stat st;

    if (fd < 0)
        return err_exit(err, EXIT_CODE_DIRECTORY,
                        "state_dir %s: cannot open its lock: %s", path, strerror(errno));
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        (void)fchmod(fd, 0600); // it may have been copied with another mode
        return fd;
    }
    close(fd);
    return err_exit(err, EXIT_CODE_DIRECTORY,
                    "state_dir %s: its lock is not a regular file: remove it", path);
}

// The pid is for people. A file with a second name may be somebody's: it is left as it is.
static void
write_pid(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || st.st_nlink != 1 || ftruncate(fd, 0) < 0 ||
        dprintf(fd, "%d\n", (int)getpid()) < 0)
        log_warn("journal: cannot write the pid to the lock file");
}

static int
lock_directory(int dir, const char *path, int64_t wait_ms, struct err *err)
{
    int64_t start = clock_mono_ms();
    int64_t warn_ms = times_ms("lock-warn", LOCK_WARN_MS);
    struct once logged = {0}, warned = {0};
    int fd = open_lock(dir, path, err);

    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int64_t waited = clock_mono_ms() - start;
        char text[16] = "";
        int pid = pread(fd, text, sizeof text - 1, 0) < 0 ? 0 : atoi(text);
        if (waited >= wait_ms) {
            close(fd);
            return err_exit(
                err, EXIT_CODE_LOCK,
                "state_dir %s is in use by process %d: each receiver needs a journal of "
                "its own; stop that process, or use another state_dir",
                path, pid);
        }
        if (waited >= LOCK_LOG_MS)
            once_report(&logged, LOG_LEVEL_INFO,
                        "journal: waiting for process %d to release %s; posts to this "
                        "receiver wait in the queue of its socket",
                        pid, path);
        if (waited >= warn_ms)
            once_report(
                &warned, LOG_LEVEL_WARN,
                "journal: process %d still holds %s: posts to this receiver wait, "
                "and it gives up after journal.lock_wait (%lld s). Stop that "
                "process, or use another state_dir",
                pid, path, (long long)wait_ms / 1000);
        clock_sleep_ms(20);
    }
    if (fd >= 0)
        write_pid(fd);
    return fd;
}

// --- recovery -------------------------------------------------------------------------

// The id that most segments carry, of two equal the newer: one foreign file must not make
// all of ours foreign.
static const unsigned char *
choose_id(const struct segment_list *list)
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
set_foreign_aside(struct journal *j)
{
    struct segment_list *list = &j->segments;
    size_t kept = 0;

    for (size_t i = 0; i < list->len; i++) {
        struct segment *s = &list->at[i];
        if (memcmp(s->header.id, j->id, sizeof j->id) == 0)
            list->at[kept++] = *s;
        else
            bad_set_aside(j->dir, s->name, "belongs to another journal",
                          &j->counts.damaged);
    }
    list->len = kept;
}

// What a scan has found so far. `torn`: missing and not proved to have been acknowledged.
struct found {
    uint64_t last;
    int64_t last_us;
    struct range torn;
    bool remains; // behind the last record, which no seal follows
};

// take_frame: all up to its `durable` was acknowledged.
static void
take_frame(struct found *found, const struct segment_frame *f)
{
    if (found->torn.last <= f->durable)
        found->torn = (struct range){0};
    else if (found->torn.first && found->torn.first <= f->durable)
        found->torn.first = f->durable + 1;
    found->last = f->sequence;
    found->last_us = f->received_us;
}

// What cannot be read on may all have been acknowledged. Its numbers are not given out again,
// and the cursor waits there, or finds it lost.
static void
pass_unreadable(const struct segment *s, struct found *found, const struct err *why)
{
    uint64_t last = segment_last_possible(s->header.first, s->bytes);

    log_alarm("journal: segment %s: %s: its records from there on cannot be read, and "
              "numbering continues after %llu. Check the disk (dmesg), and see \"The "
              "journal is damaged\" in OPERATING.md",
              s->name, why->text, (unsigned long long)last);
    if (last > found->last)
        found->last = last;
    found->torn = (struct range){0};
}

// The records of a process that was killed may be in the page cache only: they are synced
// before anyone may see them.
static int
scan_segment(int dir, const struct segment *s, struct found *found, struct err *err)
{
    struct err why;
    struct segment_scan scan;
    enum segment_result r;

    if (segment_scan_open(&scan, dir, s->name, &s->header, err) < 0)
        return -1;
    found->last = s->header.first - 1;
    found->torn = (struct range){0};
    while ((r = segment_scan_next(&scan, &why)) > SEGMENT_END)
        if (r == SEGMENT_RECORD)
            take_frame(found, &scan.frame);
        else if (scan.hole.first <= scan.hole.last)
            found->torn =
                range_cover(found->torn, (struct range){scan.hole.first, scan.hole.last});
    if (scan.sealed)
        take_frame(found, &scan.frame);
    if (r == SEGMENT_ERROR)
        pass_unreadable(s, found, &why);
    found->remains = r == SEGMENT_END && !scan.sealed && segment_scan_has_remains(&scan);
    int result = 0;
    if (fdatasync(scan.fd) < 0)
        result = err_errno(err, "cannot sync segment %s", s->name);
    segment_scan_close(&scan);
    return result;
}

static int
find_last(struct journal *j, struct err *err)
{
    const struct segment_list *list = &j->segments;
    struct found found = {0};
    uint64_t highest = 0;
    size_t i = list->len - 1;

    // Those that may overlap the newest begin with the first one that starts before it.
    while (i > 0 && list->at[i].header.first == list->at[list->len - 1].header.first)
        i--;
    for (; i < list->len; i++) {
        if (scan_segment(j->dir, &list->at[i], &found, err) < 0)
            return -1;
        if (found.last > highest)
            highest = found.last;
    }
    // After what the newest one holds there are only remains of the failed write that it
    // was to repeat.
    if (highest > found.last)
        found.torn = range_cover(found.torn, (struct range){found.last + 1, highest});
    if (found.remains)
        log_warn(
            "journal: after record %llu segment %s holds bytes that are no record: "
            "the receiver ended in the middle of a write, whose deliveries were not "
            "answered with 200. If it did not, the disk damaged the last ones: check "
            "it (dmesg)",
            (unsigned long long)found.last, list->at[list->len - 1].name);
    j->unacked = found.torn;
    j->last_us = found.last_us;
    j->durable = highest;
    return 0;
}

static void
warn_of_future(struct journal *j)
{
    int64_t now_us = clock_now_us();
    char then[CLOCK_TEXT], now[CLOCK_TEXT];

    if (j->last_us - now_us <= RECEIPT_BACK_MAX_US)
        return;
    clock_format_seconds(then, j->last_us);
    clock_format_seconds(now, now_us);
    log_warn(
        "journal: the newest record was received at %s, but the clock says %s: it was "
        "ahead then, or is slow now. New receipt times follow the clock; sequence "
        "numbers give the order. Make sure that the clock is synchronized (timedatectl)",
        then, now);
    j->last_us = 0;
}

static int
recover(struct journal *j, struct err *err)
{
    struct segment_list *list = &j->segments;

    if (dir_list(j->dir, true, list, err) < 0)
        return -1;
    j->counts.damaged = list->foreign;
    if (list->len > 0)
        memcpy(j->id, choose_id(list), sizeof j->id);
    else if (getrandom(j->id, sizeof j->id, 0) != sizeof j->id)
        return err_errno(err, "no random bytes");
    text_hex(j->id_text, sizeof j->id_text, j->id, sizeof j->id);
    set_foreign_aside(j);
    if (list->len > 0 && find_last(j, err) < 0)
        return -1;
    // What was in the newest segments and cannot be read is a gap, and its numbers are gone. One that
    // others follow ended before them.
    bool is_newest =
        list->len == 0 || list->lost_first >= list->at[list->len - 1].header.first;
    if (is_newest && list->lost > j->durable)
        j->durable = list->lost;
    j->recovered = j->durable;
    j->next = j->durable + 1;
    warn_of_future(j);
    return 0;
}

// --- opening and closing --------------------------------------------------------------

static void
set_defaults(struct journal *j)
{
    struct statvfs fs;

    if (j->options.segment_bytes == 0)
        j->options.segment_bytes = SEGMENT_BYTES;
    if (j->options.bytes_max == 0) {
        j->options.bytes_max = JOURNAL_BYTES_MAX;
        if (fstatvfs(j->dir, &fs) == 0 && fs.f_blocks > 0 &&
            fs.f_frsize * fs.f_blocks / 2 < j->options.bytes_max)
            j->options.bytes_max = fs.f_frsize * fs.f_blocks / 2;
    }
    // Less than this and no rotation could ever succeed.
    if (j->options.bytes_max < 3 * j->options.segment_bytes)
        j->options.segment_bytes = j->options.bytes_max / 3;
    text_bytes(j->max_text, sizeof j->max_text, j->options.bytes_max);
}

static void
release(struct journal *j)
{
    for (int i = 0; i < 2; i++) {
        buf_release(&j->groups[i].bytes);
        free(j->groups[i].waiters);
    }
    free(j->tail.memory);
    cursor_close(j->age);
    free(j->segments.at);
    if (j->segments.spare_fd >= 0)
        close(j->segments.spare_fd);
    if (j->dir >= 0)
        close(j->dir);
    if (j->lock_fd >= 0)
        close(j->lock_fd); // gives the lock back
    free(j);
}

static void
stop_threads(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    j->stopping = true;
    pthread_cond_broadcast(&j->taken);
    pthread_cond_broadcast(&j->space);
    pthread_cond_broadcast(&j->read);
    pthread_mutex_unlock(&j->lock);
    wake_all(&append_work);
}

struct journal *
journal_open(const struct journal_options *options, struct err *err)
{
    struct journal *j = memory_get(sizeof *j);

    *j = (struct journal){.options = *options,
                          .lock_fd = -1,
                          .removing = PTHREAD_MUTEX_INITIALIZER,
                          .lock = PTHREAD_MUTEX_INITIALIZER,
                          .taken = PTHREAD_COND_INITIALIZER,
                          .space = PTHREAD_COND_INITIALIZER,
                          .filled = PTHREAD_COND_INITIALIZER,
                          .read = PTHREAD_COND_INITIALIZER,
                          .segments.spare_fd = -1,
                          .tail.lock = PTHREAD_MUTEX_INITIALIZER,
                          .fd = -1,
                          .aged = PTHREAD_MUTEX_INITIALIZER};
    j->dir = dir_open(options, err);
    if (j->dir < 0)
        goto fail;
    j->lock_fd = lock_directory(j->dir, options->directory, options->lock_wait_ms, err);
    if (j->lock_fd < 0)
        goto fail;
    set_defaults(j);
    if (recover(j, err) < 0)
        goto fail;
    j->age = cursor_open(j, 0);
    if (writer_start(j, err) < 0)
        goto fail;
    if (retention_start(j, err) == 0)
        return j;
    stop_threads(j);
    pthread_join(j->committer, NULL);

fail:
    release(j);
    return NULL;
}

void
journal_close(struct journal *j)
{
    if (!j)
        return;
    stop_threads(j);
    pthread_join(j->committer, NULL);
    pthread_join(j->maintenance, NULL);
    release(j);
}

// --- progress --------------------------------------------------------------------------

void
journal_publish(struct journal *j, uint64_t sequence, int64_t read_us)
{
    pthread_mutex_lock(&j->lock);
    j->published = sequence;
    j->published_us = read_us;
    if (j->segments.spare_fd < 0)
        pthread_cond_signal(&j->space);
    pthread_mutex_unlock(&j->lock);
}

bool
journal_reserve(struct journal *j, uint64_t sequence)
{
    pthread_mutex_lock(&j->lock);
    bool unused = j->counts.records == 0 && j->next == j->durable + 1;
    if (unused && sequence > j->reserved)
        j->reserved = sequence;
    pthread_mutex_unlock(&j->lock);
    return unused;
}

const char *
journal_id(const struct journal *j)
{
    return j->id_text;
}
