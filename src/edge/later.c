// The state is a ticket and what is done for it. A claim compares both, so that the journal's
// late word about an answer whose time was up cannot answer the request that came after it.
#include "edge/later.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SETTLED, OWED, SENDING, EXPIRING, STATES };

static uint32_t
state_of(uint32_t ticket, uint32_t step)
{
    return ticket * STATES + step; // wraps after 2^30 requests, long past any late word
}

// Waits until the answer is settled; a signal only makes it look again.
static void
wait_settled(struct later *l)
{
    uint32_t state = atomic_load(&l->state);

    if (state % STATES == SETTLED)
        return;
    atomic_store(&l->awaited, true);
    while ((state = atomic_load(&l->state)) % STATES != SETTLED)
        syscall(SYS_futex, &l->state, FUTEX_WAIT_PRIVATE, state, NULL, NULL, 0);
    atomic_store(&l->awaited, false);
}

struct later *
laters_next(struct laters *ls, int fd, int64_t deadline_ms, uint32_t *ticket)
{
    struct later *last = &ls->pair[ls->turn];

    if (atomic_load(&last->state) % STATES != SENDING)
        wait_settled(last);
    ls->turn ^= 1;
    struct later *l = &ls->pair[ls->turn];
    wait_settled(l); // its answer was sent before the last one: it never sleeps
    *ticket = ++ls->ticket;
    l->fd = fd;
    atomic_store(&l->deadline_ms, deadline_ms);
    return l;
}

void
later_owe(struct later *l, uint32_t ticket)
{
    atomic_store(&l->state, state_of(ticket, OWED));
}

void
laters_settle(struct laters *ls)
{
    wait_settled(&ls->pair[0]);
    wait_settled(&ls->pair[1]);
}

bool
later_claim(struct later *l, uint32_t ticket)
{
    uint32_t owed = state_of(ticket, OWED);

    return atomic_compare_exchange_strong(&l->state, &owed, state_of(ticket, SENDING));
}

void
later_finish(struct later *l, struct span answer)
{
    uint32_t state = atomic_load(&l->state);

    if (send(l->fd, answer.at, answer.len, MSG_DONTWAIT | MSG_NOSIGNAL) !=
        (ssize_t)answer.len)
        shutdown(l->fd, SHUT_RDWR); // its thread sees the end and closes it
    atomic_store(&l->state, state - state % STATES + SETTLED);
    if (atomic_load(&l->awaited))
        syscall(SYS_futex, &l->state, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void
laters_expire(struct laters *ls, int64_t now_ms, void (*expire)(struct later *l))
{
    for (size_t i = 0; i < 2; i++) {
        struct later *l = &ls->pair[i];
        uint32_t owed = atomic_load(&l->state);
        if (owed % STATES == OWED && atomic_load(&l->deadline_ms) <= now_ms &&
            atomic_compare_exchange_strong(&l->state, &owed, owed - OWED + EXPIRING))
            expire(l);
    }
}
