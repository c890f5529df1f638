// Group commit, the appenders' side (commit.c is the other). They frame their record into
// the open group under a short lock and sleep on the group's own futex word, or leave word
// whom to call; the committer swaps in an empty group, writes the full one with one pwrite,
// syncs once, wakes exactly its sleepers with one call, and calls who left word. The next group forms while the sync runs, so no timer is
// needed. A condition variable was rejected: each woken appender would take the mutex again,
// one after the other.
#include "journal/inside.h"

#include "base/clock.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { GROUP_BYTES_KEPT = 1 << 20 }; // a group of more gives its memory back

static const char NO_ROOM[] = "the commits do not keep up";

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
    free(g->waiters);
    free(g);
}

struct group *
group_reuse(struct group *g)
{
    if (atomic_load(&g->users) > 1 || g->bytes.cap > GROUP_BYTES_KEPT) {
        group_drop(g);
        return group_make();
    }
    buf_clear(&g->bytes);
    g->waiters_len = 0;
    g->first = g->last = 0;
    atomic_store(&g->result, GROUP_PENDING);
    return g;
}

void
group_finish(struct group *g, uint32_t result)
{
    atomic_store(&g->result, result);
    if (atomic_load(&g->users) > 1)
        syscall(SYS_futex, (void *)(uintptr_t)&g->result, FUTEX_WAKE_PRIVATE, INT32_MAX,
                NULL, NULL, 0);
    for (size_t i = 0; i < g->waiters_len; i++)
        g->waiters[i].done(g->waiters[i].context, g->waiters[i].ticket,
                           result == GROUP_DURABLE);
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

// With the lock, at the start of a group: numbers that Redis has seen are not given again.
static void
skip(struct journal *j)
{
    if (j->open->first || j->skip_to < j->next)
        return;
    j->skip = range_cover(j->skip, (struct range){j->next, j->skip_to});
    j->next = j->skip_to + 1;
}

// With the lock. A receipt is what the wall clock says, but that it never goes back by less
// than a second (RECEIPT_BACK_MAX_US): a clock that is being adjusted does. By more, it is
// followed: the order is the sequence's business, and a future that one wrong reading gave
// would else last until it is there.
static int64_t
next_receipt(struct journal *j, int64_t now_us)
{
    int64_t back_us = j->last_us - now_us;

    if (back_us > 0 && back_us <= RECEIPT_BACK_MAX_US)
        return j->last_us;
    if (back_us > j->back_us)
        j->back_us = back_us; // for the keeper to report
    return now_us;
}

static void
add_waiter(struct group *g, const struct waiter *w)
{
    if (g->waiters_len == g->waiters_cap) {
        g->waiters_cap = g->waiters_cap ? g->waiters_cap * 2 : 64;
        g->waiters = memory_grow(g->waiters, g->waiters_cap * sizeof *g->waiters);
    }
    g->waiters[g->waiters_len++] = *w;
}

// join adds a record to the open group, for a waiter or, without one, for the caller to sleep
// on. NULL when there is no room in time.
static struct group *
join(struct journal *j, struct span payload, int64_t until_us, const struct waiter *w,
     uint64_t *sequence)
{
    struct group *g = NULL;

    pthread_mutex_lock(&j->lock);
    if (wait_for_room(j, until_us) == 0) {
        j->last_us = next_receipt(j, clock_now_us());
        skip(j);
        *sequence = j->next++;
        g = j->open;
        if (w)
            add_waiter(g, w);
        else
            atomic_fetch_add(&g->users, 1);
        group_add(g, payload, *sequence, j->last_us);
        if (j->idle)
            pthread_cond_signal(&j->work);
        j->idle = false;
    }
    pthread_mutex_unlock(&j->lock);
    return g;
}

void
journal_note_refused(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    j->counts.refused++;
    pthread_mutex_unlock(&j->lock);
}

static int
refuse(struct journal *j, struct err *err, const char *why)
{
    journal_note_refused(j);
    return err_set(err, ERR_AGAIN, "journal: %s", why);
}

static int
check_size(struct span payload, struct err *err)
{
    if (payload.len == 0 || payload.len > JOURNAL_RECORD_MAX)
        return err_set(err, ERR_INPUT, "journal: a record of %zu bytes", payload.len);
    return 0;
}

int
journal_append(struct journal *j, struct span payload, int64_t wait_ms,
               uint64_t *sequence, struct err *err)
{
    int64_t until_us = clock_mono_us() + wait_ms * 1000;
    uint64_t mine;

    if (check_size(payload, err) < 0)
        return -1;
    struct group *g = join(j, payload, until_us, NULL, &mine);
    if (!g)
        return refuse(j, err, NO_ROOM);
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

int
journal_append_later(struct journal *j, struct span payload, int64_t wait_ms,
                     journal_done *done, void *context, uint32_t ticket, struct err *err)
{
    struct waiter w = {done, context, ticket};
    uint64_t sequence;

    if (check_size(payload, err) < 0)
        return -1;
    if (!join(j, payload, clock_mono_us() + wait_ms * 1000, &w, &sequence))
        return err_set(err, ERR_AGAIN, "journal: %s", NO_ROOM);
    return 0;
}
