// Group commit. The committer, one thread, swaps in an empty group, writes and syncs the full one
// with one call, and calls exactly those whose records it made durable. The next group
// forms while the sync runs, so no timer is needed.
//
// A segment is left for ever after a failed write or sync: Linux marks the pages clean after
// a failed fsync, so that a second one would claim success. The group is still in memory and
// is written again to a new segment, and answered only then. When that fails too, its numbers
// are never given out again, and the header of the next segment says that they were skipped.
#include "journal/internal.h"

#include "base/thread.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>

enum {
    GROUP_BYTES_KEPT = 1 << 20, // a group of more gives its memory back
    FAILING_PAUSE_MS = 200,     // between groups, while none can be made durable
    EARLY_BYTES = 64 << 10,     // a segment that was no spare holds this much, at least
};

// --- segments -------------------------------------------------------------------------

// segment_seal ends the segment of a clean close, which distinguishes damage to its last
// group from a torn tail. Without it (it cannot be written) nothing is lost but that.
static void
segment_seal(struct journal *j)
{
    struct segment_frame f = {
        .sequence = j->durable, .received_us = j->last_us, .durable = j->durable};

    f.crc = segment_frame_crc(j->tail.salt, &f, NULL);
    if (tail_write(&j->tail, j->fd, span_make((const char *)&f, SEGMENT_FRAME), NULL) ==
        0)
        j->used += SEGMENT_FRAME;
    else
        log_warn("journal: cannot seal the last segment: %s; all its records are durable",
                 strerror(errno));
}

// segment_retire closes the active segment, which shrinks to `end`: after it are only zeros.
// Without that, a disk that fails a few syncs would fill the journal's room with them.
static void
segment_retire(struct journal *j, uint64_t end)
{
    struct stat st;

    if (j->fd < 0)
        return;
    if (ftruncate(j->fd, (off_t)end) < 0)
        log_warn(
            "journal: cannot shrink a segment to its used length: %s; it takes its whole "
            "space until it is removed",
            strerror(errno));
    uint64_t bytes = fstat(j->fd, &st) == 0 ? (uint64_t)st.st_size : end;
    close(j->fd);
    j->fd = -1;
    pthread_mutex_lock(&j->lock);
    j->active = false;
    if (j->segments.len)
        j->segments.at[j->segments.len - 1].bytes = bytes;
    pthread_mutex_unlock(&j->lock);
}

static int
make_header(struct journal *j, uint64_t first, struct segment_header *h, struct err *err)
{
    *h = (struct segment_header){
        .magic = SEGMENT_MAGIC, .version = SEGMENT_VERSION, .first = first};
    if (getrandom(&h->salt, sizeof h->salt, 0) != sizeof h->salt)
        return err_errno(err, "no random bytes");
    memcpy(h->id, j->id, sizeof h->id);
    pthread_mutex_lock(&j->lock);
    // Two segments that start at one sequence differ in `generation`, and so does one that was
    // begun and could not be finished.
    h->generation = j->tries;
    if (j->segments.len && j->segments.at[j->segments.len - 1].header.first == first)
        h->generation += j->segments.at[j->segments.len - 1].header.generation + 1;
    if (j->unacked.first && j->unacked.first < first) {
        uint64_t last = j->unacked.last < first ? j->unacked.last : first - 1;
        uint64_t count = last - j->unacked.first + 1;
        h->skipped = j->unacked.first;
        h->skipped_count = count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
    }
    pthread_mutex_unlock(&j->lock);
    h->crc = segment_header_crc(h);
    return 0;
}

// segment_create makes the file, out of the spare if there is one; on a full disk out of the room
// of published segments.
static int
segment_create(struct journal *j, struct segment *s, struct err *err)
{
    do {
        pthread_mutex_lock(&j->lock);
        int spare = j->segments.spare_fd;
        j->segments.spare_fd = -1;
        j->segments.spare_bytes = 0;
        pthread_mutex_unlock(&j->lock);
        j->fd = dir_create_segment(j->dir, s, spare, &j->zeroed, err);
    } while (j->fd < 0 && retention_make_room(j, err));
    j->tries += j->fd < 0;
    return j->fd < 0 ? -1 : 0;
}

// segment_rotate begins a segment with `first`.
static int
segment_rotate(struct journal *j, uint64_t first, struct err *err)
{
    // It may grow to segment_bytes.
    struct segment s = {.bytes = j->options.segment_bytes, .end = SEGMENT_HEADER};

    if (retention_reserve(j, err) < 0)
        return -1;
    int result = make_header(j, first, &s.header, err);
    if (result == 0)
        result = segment_create(j, &s, err);
    s.since_us = clock_boot_us();
    if (result == 0)
        tail_begin(&j->tail, j->fd, &s.header, j->zeroed);
    pthread_mutex_lock(&j->lock);
    j->creating = false;
    j->active = result == 0;
    if (j->zeroed) // the spare is used up: time for another
        pthread_cond_signal(&j->space);
    if (result == 0)
        segment_list_insert(&j->segments, j->segments.len, &s);
    pthread_mutex_unlock(&j->lock);
    if (result < 0)
        return -1;
    j->used = SEGMENT_HEADER;
    log_debug("journal: segment %s is begun, out of %s", s.name,
              j->zeroed ? "the spare" : "nothing");
    return 0;
}

// --- groups ---------------------------------------------------------------------------

static void
group_init(struct group *g)
{
    *g = (struct group){0};
    buf_init(&g->bytes, (size_t)GROUP_BYTES_MAX + JOURNAL_RECORD_MAX + SEGMENT_FRAME + 8);
}

static void
group_clear(struct group *g)
{
    if (g->bytes.cap > GROUP_BYTES_KEPT) {
        buf_release(&g->bytes);
        free(g->waiters);
        group_init(g);
    }
    buf_clear(&g->bytes);
    g->len = 0;
    g->has_sleepers = false;
    g->first = g->last = 0;
}

// group_finish fills in what the appenders could not know.
static void
group_finish(struct group *g, uint64_t salt, uint64_t durable)
{
    for (size_t at = 0; at < g->bytes.len;) {
        struct segment_frame f;
        memcpy(&f, g->bytes.at + at, SEGMENT_FRAME);
        f.durable = durable;
        f.crc = segment_frame_crc(salt, &f, g->bytes.at + at + SEGMENT_FRAME);
        memcpy(g->bytes.at + at, &f, SEGMENT_FRAME);
        at += (size_t)segment_space(f.length);
    }
}

// --- how old records are --------------------------------------------------------------

enum { SPACING_MIN_US = 1000000 };

// forget drops the marks before the one that the first unpublished record needs.
static void
forget(struct age_marks *m, uint64_t published)
{
    size_t gone = 0;

    while (gone + 1 < m->len && m->at[gone + 1].first <= published + 1)
        gone++;
    m->len -= gone;
    memmove(m->at, m->at + gone, m->len * sizeof *m->at);
    if (m->len <= 1)
        m->spacing_us = SPACING_MIN_US;
}

static void
thin_out(struct age_marks *m)
{
    size_t kept = 0;

    for (size_t i = 0; i < m->len; i += 2)
        m->at[kept++] = m->at[i];
    m->len = kept;
    m->spacing_us *= 2;
}

void
age_mark(struct age_marks *m, uint64_t first, int64_t boot_us, uint64_t published)
{
    if (m->len > 0 && boot_us - m->at[m->len - 1].boot_us < m->spacing_us)
        return;
    forget(m, published);
    if (m->len == AGE_MARKS)
        thin_out(m);
    m->at[m->len++] = (struct age_mark){first, boot_us};
}

// --- committing -----------------------------------------------------------------------

static int
write_and_sync(struct journal *j, struct group *g, uint64_t *sync_us, struct err *err)
{
    group_finish(g, j->tail.salt, j->durable);
    int64_t start = clock_mono_us();
    if (tail_write(&j->tail, j->fd, buf_span(&g->bytes), err) < 0)
        return -1;
    *sync_us = (uint64_t)(clock_mono_us() - start);
    j->used += g->bytes.len;
    return 0;
}

static void
record_commit(struct journal *j, const struct group *g, uint64_t sync_us)
{
    int64_t now_us = clock_boot_us();

    pthread_mutex_lock(&j->lock);
    struct segment *s = &j->segments.at[j->segments.len - 1];
    s->since_us = now_us;
    age_mark(&j->ages, g->first, now_us, j->published);
    s->end = j->used;
    if (s->bytes < j->used)
        s->bytes = j->used;
    // What was skipped before this group stands in its segment's header now.
    if (j->unacked.last < g->first)
        j->unacked = (struct range){0};
    else if (j->unacked.first < g->first)
        j->unacked.first = g->last + 1;
    j->durable = g->last;
    j->failed_us = 0;
    j->no_room.kind = ERR_NONE;
    if (j->counts.records == 0)
        j->first_us = now_us;
    j->counts.records += g->last - g->first + 1;
    j->counts.record_bytes += g->bytes.len;
    j->counts.commits++;
    j->counts.commit_us += sync_us;
    pthread_cond_broadcast(&j->read);
    pthread_mutex_unlock(&j->lock);
}

// is_lost: somebody removed the active segment, or cut it short: what is written
// there now would go with it. Its times are not asked for: since Linux 6.13 a file whose times were
// read gets new ones by the next write, and where these must be synced too that costs half a sync.
static bool
is_lost(const struct journal *j)
{
    struct statx st;

    // Where that cannot be asked (EPERM of an old filter of system calls), the sync tells what it can.
    if (statx(j->fd, "", AT_EMPTY_PATH, STATX_NLINK | STATX_SIZE, &st) < 0 ||
        (st.stx_nlink > 0 && st.stx_size >= j->used))
        return false;
    log_alarm("journal: the current segment was removed or truncated by another process: "
              "records in it that are not yet in Redis are lost. Writing continues in a "
              "new segment; do not touch the files in state_dir");
    return true;
}

// is_full: the group belongs into another segment. One whose blocks were not
// written in advance is left once a spare is there: each sync of it costs twice as much.
static bool
is_full(struct journal *j, const struct group *g)
{
    if (g->first != j->durable + 1 || j->used + g->bytes.len > j->options.segment_bytes)
        return true;
    if (j->zeroed || j->used < EARLY_BYTES)
        return false;
    pthread_mutex_lock(&j->lock);
    bool has_spare = j->segments.spare_fd >= 0;
    pthread_mutex_unlock(&j->lock);
    return has_spare;
}

// report_abandoned: the second attempt may succeed, and then nothing else shows what the disk did.
static void
report_abandoned(const struct journal *j, const struct err *why)
{
    static struct log_limit limit = LOG_LIMIT(600000);

    if (!j->failing.reported && log_limit_pass(&limit, 1, clock_mono_ms()))
        log_error(
            "journal: %s: the segment is abandoned, and the deliveries are written again "
            "to a new one before they are answered. What to do: %s",
            why->text, retention_advice(why));
}

static int
commit_once(struct journal *j, struct group *g, struct err *err)
{
    uint64_t sync_us = 0;

    if (j->fd >= 0 && (is_lost(j) || is_full(j, g)))
        segment_retire(j, j->used);
    if (j->fd < 0 && segment_rotate(j, g->first, err) < 0)
        return -1;
    if (write_and_sync(j, g, &sync_us, err) == 0) {
        record_commit(j, g, sync_us);
        log_debug(
            "journal: records %llu to %llu are durable (%zu bytes, synced in %llu us)",
            (unsigned long long)g->first, (unsigned long long)g->last, g->bytes.len,
            (unsigned long long)sync_us);
        return 0;
    }
    report_abandoned(j, err);
    segment_retire(j, j->used + g->bytes.len); // what got there is kept as it is
    pthread_mutex_lock(&j->lock);
    j->counts.sync_errors++;
    pthread_mutex_unlock(&j->lock);
    return -1;
}

static bool
commit(struct journal *j, struct group *g)
{
    struct err err = {0};

    for (int attempt = 0; attempt < 2; attempt++) {
        if (commit_once(j, g, &err) == 0) {
            if (once_clear(&j->failing))
                log_info("journal: deliveries are durable again");
            return true;
        }
        retention_make_room(j, &err); // without it the second attempt fails too
    }
    if (!j->failing.reported)
        once_report(
            &j->failing, LOG_LEVEL_ALARM,
            "journal: cannot make deliveries durable (answering 503): %s. What to do: %s",
            err.text, retention_advice(&err));
    pthread_mutex_lock(&j->lock);
    j->unacked = range_cover(j->unacked, (struct range){g->first, g->last});
    j->failed_us = clock_mono_us();
    j->failed = err;
    pthread_mutex_unlock(&j->lock);
    return false;
}

// False when the journal closes and nothing is left.
static bool
wait_for_records(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    while (j->open->first == 0 && !j->stopping) {
        uint32_t seen = atomic_load(&append_work);
        j->idle = true;
        pthread_mutex_unlock(&j->lock);
        syscall(SYS_futex, &append_work, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
        pthread_mutex_lock(&j->lock);
    }
    j->idle = false;
    bool found = j->open->first != 0;
    pthread_mutex_unlock(&j->lock);
    return found;
}

// take_group opens the other group, which is empty, and returns the full one.
static struct group *
take_group(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    struct group *full = j->open;
    j->open = full == j->groups ? j->groups + 1 : j->groups;
    pthread_cond_broadcast(&j->taken);
    pthread_mutex_unlock(&j->lock);
    return full;
}

static void
answer(struct journal *j, const struct group *g, bool durable)
{
    _Atomic(uint32_t) *turn = &append_turns[g - j->groups];

    for (size_t i = 0; i < g->len; i++)
        g->waiters[i].done(g->waiters[i].context, g->waiters[i].ticket, durable);
    if (g->has_sleepers)
        wake_all(turn);
}

static void *
committer_run(void *journal)
{
    struct journal *j = journal;
    size_t crowd = 0; // records that shared a group of late

    while (wait_for_records(j)) {
        // Under load those who are about to join do so first: a larger group costs each less.
        // The first of them may just have woken this thread.
        if (crowd > 1)
            sched_yield();
        struct group *g = take_group(j);
        crowd = (crowd + g->len) / 2;
        bool durable = commit(j, g);
        answer(j, g, durable);
        group_clear(g);
        if (!durable)
            clock_sleep_ms(FAILING_PAUSE_MS);
    }
    if (j->fd >= 0) // and so has a group
        segment_seal(j);
    segment_retire(j, j->used);
    return NULL;
}

int
writer_start(struct journal *j, struct err *err)
{
    group_init(&j->groups[0]);
    group_init(&j->groups[1]);
    j->open = j->groups;
    return thread_start(&j->committer, "committer", committer_run, j, err);
}
