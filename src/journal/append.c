// Appending: a record is framed into the open group under a short lock, with whom to call when
// its fate is known. Who wants to wait leaves a sleeper to be woken.
#include "journal/internal.h"

#include <stdlib.h>

// group_add frames a payload. The checksum needs the salt of the segment, `durable` what was
// synced when it is written: the committer fills both.
static void
group_add(struct group *g, struct span payload, uint64_t sequence, int64_t now_us,
          const struct journal_waiter *waiter)
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
    if (g->len == g->cap) {
        g->cap = g->cap ? g->cap * 2 : 64;
        g->waiters = memory_grow(g->waiters, g->cap * sizeof *g->waiters);
    }
    g->waiters[g->len++] = *waiter;
    if (g->first == 0)
        g->first = sequence;
    g->last = sequence;
}

// With the lock: waits while the open group is full. -1 when the time is over.
static int
wait_for_room(struct journal *j, int64_t until_us)
{
    struct timespec at = clock_timespec(until_us);

    while (j->open->bytes.len >= GROUP_BYTES_MAX && !j->stopping)
        if (pthread_cond_clockwait(&j->taken, &j->lock, CLOCK_MONOTONIC, &at) ==
            ETIMEDOUT)
            return -1;
    return j->stopping ? -1 : 0;
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
        j->back_us = back_us; // for maintenance to report
    return now_us;
}

// With the lock. At the start of a group, numbers that Redis has seen are passed over.
static uint64_t
next_sequence(struct journal *j)
{
    if (j->open->first == 0 && j->reserved >= j->next) {
        j->unacked = range_cover(j->unacked, (struct range){j->next, j->reserved});
        j->next = j->reserved + 1;
    }
    return j->next++;
}

// Somebody who sleeps until the fate of a record is known, or no longer. The last one of both
// sides frees it. All that a group has sleep on one futex word, and are woken by one call: a
// semaphore for each would cost the committer a call for each.
struct sleeper {
    _Atomic(int) users;
    enum { PENDING, DURABLE, FAILED } _Atomic result;
    _Atomic(uint32_t) *turn; // the futex word
};

_Atomic(uint32_t) append_turns[2], append_work;

static void
sleeper_drop(struct sleeper *s)
{
    if (atomic_fetch_sub(&s->users, 1) == 1)
        free(s);
}

static void
sleeper_wake(void *sleeper, uint32_t ticket, bool durable)
{
    struct sleeper *s = sleeper;

    (void)ticket;
    s->result = durable ? DURABLE : FAILED;
    sleeper_drop(s);
}

static int
sleeper_wait(struct sleeper *s, int64_t until_us, struct err *err)
{
    for (;;) {
        uint32_t seen = atomic_load(s->turn);
        int64_t left = until_us - clock_mono_us();
        if (s->result == DURABLE)
            return 0;
        if (s->result == FAILED)
            return err_set(err, ERR_AGAIN, "journal: cannot be made durable");
        if (left <= 0)
            return err_set(err, ERR_AGAIN, "journal: not durable in time");
        struct timespec wait = clock_timespec(left);
        syscall(SYS_futex, (void *)(uintptr_t)s->turn, FUTEX_WAIT_PRIVATE, seen, &wait,
                NULL, 0);
    }
}

static int
append(struct journal *j, struct span payload, int64_t until_us,
       const struct journal_waiter *waiter, uint64_t *sequence, struct err *err)
{
    if (payload.len == 0 || payload.len > JOURNAL_RECORD_MAX)
        return err_set(err, ERR_INPUT, "journal: a record of %zu bytes", payload.len);
    pthread_mutex_lock(&j->lock);
    int result = wait_for_room(j, until_us);
    bool wakes = false;
    if (result == 0) {
        j->last_us = next_receipt(j, clock_now_us());
        *sequence = next_sequence(j);
        group_add(j->open, payload, *sequence, j->last_us, waiter);
        if (waiter->done == sleeper_wake) {
            ((struct sleeper *)waiter->context)->turn =
                &append_turns[j->open - j->groups];
            j->open->has_sleepers = true;
        }
        wakes = j->idle;
        j->idle = false;
    }
    pthread_mutex_unlock(&j->lock);
    // Not with the lock: the committer may take the core at once. It would sleep on the lock then, and
    // so would all who come before we go on.
    if (wakes)
        wake_all(&append_work);
    return result == 0 ? 0
                       : err_set(err, ERR_AGAIN,
                                 "journal: too many deliveries are waiting for the disk");
}

int
journal_append(struct journal *j, struct span payload, int64_t wait_ms,
               const struct journal_waiter *waiter, uint64_t *sequence, struct err *err)
{
    int64_t until_us = clock_mono_us() + wait_ms * 1000;
    uint64_t own;

    sequence = sequence ? sequence : &own;
    if (waiter)
        return append(j, payload, until_us, waiter, sequence, err);
    struct sleeper *s = memory_get(sizeof *s);
    *s = (struct sleeper){.users = 2};
    int result = append(j, payload, until_us,
                        &(struct journal_waiter){sleeper_wake, s, 0}, sequence, err);
    if (result < 0)
        sleeper_drop(s); // the committer's
    else
        result = sleeper_wait(s, until_us, err);
    sleeper_drop(s);
    return result;
}
