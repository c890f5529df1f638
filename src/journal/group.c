// Group commit. Appenders frame their record into the open group under a short lock and
// sleep on the group's own futex word; the committer swaps in an empty group, writes the full
// one with one pwrite, syncs once, and wakes exactly its sleepers with one call. The next
// group forms while the sync runs, so no timer is needed. A condition variable was rejected:
// each woken appender would take the mutex again, one after the other.
//
// A segment is left for ever after a failed write or sync: Linux marks the pages clean after
// a failed fsync, so that a second one would claim success. The group is still in memory and
// is written again to a new segment, and answered only then.
#include "journal/inside.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct group *
group_make(void)
{
    struct group *g = memory_get(sizeof *g);

    *g = (struct group){0};
    atomic_store(&g->users, 1); // the journal's
    buf_init(&g->bytes, (size_t)GROUP_BYTES_MAX + JOURNAL_RECORD_MAX + SEGMENT_FRAME + 8);
    return g;
}

void
group_drop(struct group *g)
{
    if (atomic_fetch_sub(&g->users, 1) > 1)
        return;
    buf_release(&g->bytes);
    free(g);
}

static void
group_finish(struct group *g, uint32_t result)
{
    atomic_store(&g->result, result);
    syscall(SYS_futex, (void *)(uintptr_t)&g->result, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL,
            NULL, 0);
}

// Returns the result, or GROUP_PENDING when the time is over.
static uint32_t
group_wait(struct group *g, int64_t until_us)
{
    for (;;) {
        uint32_t result = atomic_load(&g->result);
        int64_t left = until_us - clock_mono_us();
        if (result != GROUP_PENDING || left <= 0)
            return result;
        struct timespec wait = {left / 1000000, (long)(left % 1000000) * 1000};
        syscall(SYS_futex, (void *)(uintptr_t)&g->result, FUTEX_WAIT_PRIVATE,
                GROUP_PENDING, &wait, NULL, 0);
    }
}

// group_add frames a payload. The checksum needs the salt of the segment, `durable` what was
// synced when it is written: the committer fills both.
static void
group_add(struct group *g, struct span payload, uint64_t sequence, int64_t now_us)
{
    size_t space = (size_t)segment_space(payload.len);
    struct segment_frame f = {
        .length = (uint32_t)payload.len, .sequence = sequence, .received_us = now_us};
    char *to = buf_room(&g->bytes, space);

    if (!to)
        abort(); // the buf holds a full group and the largest record: a mistake of ours
    memcpy(to, &f, SEGMENT_FRAME);
    memcpy(to + SEGMENT_FRAME, payload.at, payload.len);
    memset(to + SEGMENT_FRAME + payload.len, 0, space - SEGMENT_FRAME - payload.len);
    g->bytes.len += space;
    if (g->first == 0)
        g->first = sequence;
    g->last = sequence;
}

static void
until(struct timespec *at, int64_t mono_us)
{
    *at = (struct timespec){mono_us / 1000000, (long)(mono_us % 1000000) * 1000};
}

// With the lock: waits while the open group is full. -1 when the time is over.
static int
wait_for_room(struct journal *j, int64_t until_us)
{
    struct timespec at;

    until(&at, until_us);
    while (j->open->bytes.len >= GROUP_BYTES_MAX && !j->stopping)
        if (pthread_cond_timedwait(&j->taken, &j->lock, &at) == ETIMEDOUT)
            return -1;
    return j->stopping ? -1 : 0;
}

static struct group *
join(struct journal *j, struct span payload, int64_t until_us, uint64_t *sequence)
{
    struct group *g = NULL;

    pthread_mutex_lock(&j->lock);
    if (wait_for_room(j, until_us) == 0) {
        int64_t now = clock_now_us();
        j->last_us = now > j->last_us ? now : j->last_us;
        *sequence = j->next++;
        g = j->open;
        atomic_fetch_add(&g->users, 1);
        group_add(g, payload, *sequence, j->last_us);
        if (j->idle)
            pthread_cond_signal(&j->work);
        j->idle = false;
    }
    pthread_mutex_unlock(&j->lock);
    return g;
}

static int
refuse(struct journal *j, struct err *err, const char *why)
{
    pthread_mutex_lock(&j->lock);
    j->counts.refused++;
    pthread_mutex_unlock(&j->lock);
    return err_set(err, ERR_AGAIN, "journal: %s", why);
}

int
journal_append(struct journal *j, struct span payload, int64_t wait_ms,
               uint64_t *sequence, struct err *err)
{
    int64_t until_us = clock_mono_us() + wait_ms * 1000;
    uint64_t mine;

    if (payload.len == 0 || payload.len > JOURNAL_RECORD_MAX)
        return err_set(err, ERR_INPUT, "journal: a record of %zu bytes", payload.len);
    struct group *g = join(j, payload, until_us, &mine);
    if (!g)
        return refuse(j, err, "the commits do not keep up");
    uint32_t result = group_wait(g, until_us);
    group_drop(g);
    if (result == GROUP_PENDING)
        return refuse(j, err, "not durable in time");
    if (result == GROUP_FAILED)
        return refuse(j, err, "cannot be made durable");
    if (sequence)
        *sequence = mine;
    return 0;
}

// --- the committer --------------------------------------------------------------------

// leave closes the active segment. A good one shrinks to its used length; a poisoned one is
// left as it is.
static void
leave(struct journal *j, bool poisoned)
{
    if (j->fd < 0)
        return;
    if (!poisoned && ftruncate(j->fd, (off_t)j->used) < 0)
        log_warn("journal: cannot shrink a sealed segment: error %d", errno);
    close(j->fd);
    j->fd = -1;
    pthread_mutex_lock(&j->lock);
    if (j->segments_len) {
        struct segment *s = &j->segments[j->segments_len - 1];
        s->bytes = poisoned && j->zeroed ? j->options.segment_bytes : j->used;
        s->changed_us = clock_now_us();
    }
    pthread_mutex_unlock(&j->lock);
}

static void
note_segment(struct journal *j, const struct segment_header *h, bool from_spare)
{
    struct segment s = {.header = *h, .changed_us = clock_now_us()};

    segment_name(s.name, h);
    s.bytes = from_spare ? j->options.segment_bytes : SEGMENT_HEADER;
    pthread_mutex_lock(&j->lock);
    j->segments = memory_grow(j->segments, (j->segments_len + 1) * sizeof s);
    j->segments[j->segments_len++] = s;
    if (from_spare)
        j->spare_bytes = 0;
    pthread_cond_signal(&j->space);
    pthread_mutex_unlock(&j->lock);
}

static uint32_t
next_life(struct journal *j, uint64_t first)
{
    uint32_t life = 0;

    pthread_mutex_lock(&j->lock);
    for (size_t i = 0; i < j->segments_len; i++)
        if (j->segments[i].header.first == first && j->segments[i].header.life >= life)
            life = j->segments[i].header.life + 1;
    pthread_mutex_unlock(&j->lock);
    return life;
}

static int
enter(struct journal *j, uint64_t first, struct err *err)
{
    struct segment_header h;
    char name[SEGMENT_NAME];
    uint64_t salt;

    if (getrandom(&salt, sizeof salt, 0) != sizeof salt)
        return err_errno(err, "no random bytes");
    if (space_for_segment(j, err) < 0)
        return -1;
    segment_header_make(&h, j->id, first, next_life(j, first), j->skipped, salt);
    j->fd = files_create(j->dir, &h, name, &j->zeroed, err);
    // A full disk: room is made of what is published, oldest first.
    while (j->fd < 0 && space_give(j, NULL) == 0)
        j->fd = files_create(j->dir, &h, name, &j->zeroed, err);
    if (j->fd < 0)
        return -1;
    j->salt = salt;
    j->used = SEGMENT_HEADER;
    j->skipped = 0;
    note_segment(j, &h, j->zeroed);
    return 0;
}

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
write_and_sync(struct journal *j, struct group *g, struct err *err)
{
    seal_frames(j, g);
    ssize_t n = pwrite(j->fd, g->bytes.at, g->bytes.len, (off_t)j->used);
    if (n < 0)
        return err_errno(err, "cannot write");
    if ((size_t)n != g->bytes.len)
        return err_set(err, ERR_AGAIN, "wrote %zd of %zu bytes", n, g->bytes.len);
    int64_t start = clock_mono_us();
    if (fdatasync(j->fd) < 0)
        return err_errno(err, "cannot sync");
    uint64_t took = (uint64_t)(clock_mono_us() - start);
    j->used += g->bytes.len;
    pthread_mutex_lock(&j->lock);
    j->counts.commits++;
    j->counts.commit_us += took;
    if (took > j->counts.commit_us_max)
        j->counts.commit_us_max = took;
    pthread_mutex_unlock(&j->lock);
    return 0;
}

static int
commit_once(struct journal *j, struct group *g, struct err *err)
{
    if (j->fd >= 0 && j->used + g->bytes.len > j->options.segment_bytes &&
        j->used > SEGMENT_HEADER)
        leave(j, false);
    if (j->fd < 0 && enter(j, g->first, err) < 0)
        return -1;
    if (write_and_sync(j, g, err) == 0)
        return 0;
    leave(j, true);
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
        // The second attempt goes to a new segment, with the room of a published one.
        space_give(j, NULL);
    }
    if (!j->failing)
        log_alarm("journal: cannot make deliveries durable (answering 503): %s",
                  err.text);
    j->failing = true;
    if (j->skipped == 0)
        j->skipped = g->first;
    return GROUP_FAILED;
}

static void
note_commit(struct journal *j, const struct group *g, uint32_t result)
{
    pthread_mutex_lock(&j->lock);
    if (result == GROUP_DURABLE) {
        j->durable = g->last;
        j->counts.records += g->last - g->first + 1;
        j->counts.record_bytes += g->bytes.len;
        j->segments[j->segments_len - 1].changed_us = clock_now_us();
        if (!j->zeroed)
            j->segments[j->segments_len - 1].bytes = j->used;
        pthread_cond_broadcast(&j->read);
    }
    pthread_mutex_unlock(&j->lock);
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

    for (;;) {
        struct group *fresh = group_make();
        struct group *g = take_group(j, fresh);
        if (!g) {
            group_drop(fresh);
            break;
        }
        uint32_t result = commit(j, g);
        note_commit(j, g, result);
        group_finish(g, result);
        group_drop(g);
    }
    leave(j, false);
    return NULL;
}
