// The committer: one thread that makes group after group durable.
//
// A segment is left for ever after a failed write or sync: Linux marks the pages clean after
// a failed fsync, so that a second one would claim success. The group is still in memory and
// is written again to a new segment, and answered only then. When that fails too, its numbers
// are never given out again, and the header of the next segment says that they were skipped.
#include "journal/inside.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FAILING_PAUSE_MS = 200, // between groups, while none can be made durable
    EARLY_BYTES = 64 << 10, // a segment that was no spare holds this much, at least
};

// seal ends the segment of a clean close, so that damage to its last group can be told from
// a torn tail. Without it (it cannot be written) nothing is lost but that.
static void
seal(struct journal *j)
{
    struct segment_frame f = {
        .sequence = j->written, .received_us = j->last_us, .durable = j->written};

    f.crc = segment_frame_crc(j->salt, &f, NULL);
    if (tail_write(&j->tail, j->fd, span_make((const char *)&f, SEGMENT_FRAME), NULL) ==
            0 &&
        fdatasync(j->fd) == 0)
        j->used += SEGMENT_FRAME;
    else
        log_warn("journal: cannot seal the last segment: %s", strerror(errno));
}

// leave closes the active segment, which shrinks to `end`: behind it are only zeros. Without
// that, a disk that fails a few syncs would fill the journal's room with them.
static void
leave(struct journal *j, uint64_t end)
{
    struct stat st;

    if (j->fd < 0)
        return;
    if (ftruncate(j->fd, (off_t)end) < 0)
        log_warn("journal: cannot shrink a segment to its used length: %s",
                 strerror(errno));
    uint64_t bytes = fstat(j->fd, &st) == 0 ? (uint64_t)st.st_size : end;
    close(j->fd);
    j->fd = -1;
    pthread_mutex_lock(&j->lock);
    if (j->segments_len)
        j->segments[j->segments_len - 1].bytes = bytes;
    pthread_mutex_unlock(&j->lock);
}

static void
note_segment(struct journal *j, const struct segment_header *h)
{
    struct segment s = {.header = *h, .since_us = clock_boot_us(), .end = SEGMENT_HEADER};

    segment_name(s.name, h);
    s.bytes = j->options.segment_bytes; // which it may grow to
    pthread_mutex_lock(&j->lock);
    j->segments = memory_grow(j->segments, (j->segments_len + 1) * sizeof s);
    j->segments[j->segments_len++] = s;
    j->entering = false;
    pthread_mutex_unlock(&j->lock);
}

// With the lock. Two segments that start at one sequence differ in `life`, and so does one
// that was begun and could not be finished.
static uint32_t
next_life(const struct journal *j, uint64_t first)
{
    uint32_t life = 0;

    for (size_t i = 0; i < j->segments_len; i++)
        if (j->segments[i].header.first == first && j->segments[i].header.life >= life)
            life = j->segments[i].header.life + 1;
    return life + j->tries;
}

static int
make_header(struct journal *j, uint64_t first, struct segment_header *h, struct err *err)
{
    *h = (struct segment_header){.first = first};
    if (getrandom(&h->salt, sizeof h->salt, 0) != sizeof h->salt)
        return err_errno(err, "no random bytes");
    memcpy(h->id, j->id, sizeof h->id);
    pthread_mutex_lock(&j->lock);
    h->life = next_life(j, first);
    if (j->skip.first && j->skip.first < first) {
        uint64_t last = j->skip.last < first ? j->skip.last : first - 1;
        uint64_t count = last - j->skip.first + 1;
        h->skipped = j->skip.first;
        h->skipped_count = count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
    }
    pthread_mutex_unlock(&j->lock);
    segment_header_seal(h);
    return 0;
}

static int
take_spare(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    int fd = j->spare_fd;
    j->spare_fd = -1;
    pthread_mutex_unlock(&j->lock);
    return fd;
}

// create makes the file; on a full disk out of the room of published segments.
static int
create(struct journal *j, const struct segment_header *h, char *name, struct err *err)
{
    do {
        j->fd = files_create(j->dir, h, take_spare(j), name, &j->zeroed, err);
        if (j->zeroed)
            space_lost_spare(j);
    } while (j->fd < 0 && space_is_missing(err) && space_give(j) == 0);
    if (j->fd < 0)
        j->tries++;
    return j->fd < 0 ? -1 : 0;
}

static int
enter(struct journal *j, uint64_t first, struct err *err)
{
    struct segment_header h;
    char name[SEGMENT_NAME];

    if (space_for_segment(j, err) < 0)
        return -1;
    if (make_header(j, first, &h, err) < 0 || create(j, &h, name, err) < 0) {
        pthread_mutex_lock(&j->lock);
        j->entering = false;
        pthread_mutex_unlock(&j->lock);
        return -1;
    }
    j->salt = h.salt;
    j->used = SEGMENT_HEADER;
    j->written = first - 1;
    tail_begin(&j->tail, j->fd, &h, j->zeroed);
    note_segment(j, &h);
    log_debug("journal: segment %s is begun, out of %s", name,
              j->zeroed ? "the spare" : "nothing");
    return 0;
}

// seal_frames fills in what the appenders could not know.
static void
seal_frames(struct journal *j, struct group *g)
{
    for (size_t at = 0; at < g->bytes.len;) {
        struct segment_frame f;
        memcpy(&f, g->bytes.at + at, SEGMENT_FRAME);
        f.durable = j->durable;
        f.crc = segment_frame_crc(j->salt, &f, g->bytes.at + at + SEGMENT_FRAME);
        memcpy(g->bytes.at + at, &f, SEGMENT_FRAME);
        at += (size_t)segment_space(f.length);
    }
}

static int
write_and_sync(struct journal *j, struct group *g, uint64_t *sync_us, struct err *err)
{
    seal_frames(j, g);
    if (tail_write(&j->tail, j->fd, buf_span(&g->bytes), err) < 0)
        return -1;
    int64_t start = clock_mono_us();
    if (fdatasync(j->fd) < 0)
        return err_errno(err, "cannot sync");
    *sync_us = (uint64_t)(clock_mono_us() - start);
    j->used += g->bytes.len;
    j->written = g->last;
    return 0;
}

// With the lock. What was skipped before this group stands in its segment's header now.
static void
settle_skip(struct journal *j, const struct group *g)
{
    if (j->skip.last < g->first)
        j->skip = (struct range){0};
    else if (j->skip.first < g->first)
        j->skip.first = g->last + 1;
}

static void
note_commit(struct journal *j, const struct group *g, uint64_t sync_us)
{
    int64_t now_us = clock_boot_us();

    pthread_mutex_lock(&j->lock);
    struct segment *s = &j->segments[j->segments_len - 1];
    s->since_us = now_us;
    age_mark(&j->ages, g->first, now_us, j->published);
    s->end = j->used;
    if (s->bytes < j->used)
        s->bytes = j->used;
    settle_skip(j, g);
    j->durable = g->last;
    j->failed_us = 0;
    if (j->counts.records == 0)
        j->first_us = now_us;
    j->counts.records += g->last - g->first + 1;
    j->counts.record_bytes += g->bytes.len;
    j->counts.commits++;
    j->counts.commit_us += sync_us;
    if (sync_us > j->counts.commit_us_max)
        j->counts.commit_us_max = sync_us;
    pthread_cond_broadcast(&j->read);
    pthread_mutex_unlock(&j->lock);
}

static void
note_failure(struct journal *j, const struct group *g)
{
    pthread_mutex_lock(&j->lock);
    j->skip = range_cover(j->skip, (struct range){g->first, g->last});
    j->failed_us = clock_mono_us();
    pthread_mutex_unlock(&j->lock);
}

// is_lost says whether somebody removed the active segment, or cut it short: what is written
// there now would go with it.
static bool
is_lost(const struct journal *j)
{
    struct stat st;

    if (fstat(j->fd, &st) == 0 && st.st_nlink > 0 && (uint64_t)st.st_size >= j->used)
        return false;
    log_alarm(
        "journal: somebody removed the segment that is written, or cut it short: what "
        "it held and Redis does not have yet is lost. Another is begun; nobody may "
        "touch the files in state_dir");
    return true;
}

// is_full says whether the group belongs into another segment. One whose blocks were not
// written in advance is left once a spare is there: each sync of it costs twice as much.
static bool
is_full(struct journal *j, const struct group *g)
{
    if (g->first != j->written + 1)
        return true;
    if (j->used + g->bytes.len > j->options.segment_bytes)
        return j->used > SEGMENT_HEADER;
    if (j->zeroed || j->used < EARLY_BYTES)
        return false;
    pthread_mutex_lock(&j->lock);
    bool has_spare = j->spare_fd >= 0;
    pthread_mutex_unlock(&j->lock);
    return has_spare;
}

static int
commit_once(struct journal *j, struct group *g, struct err *err)
{
    uint64_t sync_us = 0;

    if (j->fd >= 0 && (is_lost(j) || is_full(j, g)))
        leave(j, j->used);
    if (j->fd < 0 && enter(j, g->first, err) < 0)
        return -1;
    if (write_and_sync(j, g, &sync_us, err) == 0) {
        note_commit(j, g, sync_us);
        log_debug(
            "journal: records %llu to %llu are durable (%zu bytes, synced in %llu us)",
            (unsigned long long)g->first, (unsigned long long)g->last, g->bytes.len,
            (unsigned long long)sync_us);
        return 0;
    }
    leave(j, j->used + g->bytes.len); // what got there of the group is kept as it is
    pthread_mutex_lock(&j->lock);
    j->counts.sync_errors++;
    pthread_mutex_unlock(&j->lock);
    return -1;
}

static uint32_t
commit(struct journal *j, struct group *g)
{
    struct err err = {0};

    for (int attempt = 0; attempt < 2; attempt++) {
        if (commit_once(j, g, &err) == 0) {
            if (j->failing)
                log_info("journal: deliveries are durable again");
            j->failing = false;
            return GROUP_DURABLE;
        }
        // Without room the second attempt fails too, and says so.
        if (space_is_missing(&err) && space_give(j) < 0)
            space_await_spare(j);
    }
    if (!j->failing)
        log_alarm("journal: cannot make deliveries durable (answering 503): %s",
                  err.text);
    j->failing = true;
    note_failure(j, g);
    return GROUP_FAILED;
}

// Swaps in an empty group and returns the full one; NULL when the journal closes.
static struct group *
take_group(struct journal *j, struct group *fresh)
{
    pthread_mutex_lock(&j->lock);
    while (j->open->first == 0 && !j->stopping) {
        j->idle = true;
        pthread_cond_wait(&j->work, &j->lock);
    }
    j->idle = false;
    struct group *g = j->open->first ? j->open : NULL;
    if (g) {
        j->open = fresh;
        pthread_cond_broadcast(&j->taken);
    }
    pthread_mutex_unlock(&j->lock);
    return g;
}

void *
committer_run(void *journal)
{
    struct journal *j = journal;
    struct group *fresh = group_make(), *g;

    while ((g = take_group(j, fresh))) {
        uint32_t result = commit(j, g);
        group_finish(g, result);
        fresh = group_reuse(g);
        if (j->failing)
            clock_sleep_ms(FAILING_PAUSE_MS);
    }
    group_drop(fresh);
    if (j->fd >= 0 && j->used > SEGMENT_HEADER)
        seal(j);
    leave(j, j->used);
    return NULL;
}
