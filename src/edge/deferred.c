// Deferred answers (http.h). The state is a ticket and what is done for it. A claim compares
// both, so that the journal's belated result for an answer whose time was up cannot answer the
// request that came after it.
#include "edge/http.h"

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
    return ticket * STATES +
           step; // wraps after 2^30 requests, long past any belated result
}

// Waits until the answer is settled; a signal only makes it check again.
static void
wait_settled(struct deferred *d)
{
    uint32_t state = atomic_load(&d->state);

    if (state % STATES == SETTLED)
        return;
    atomic_store(&d->awaited, true);
    while ((state = atomic_load(&d->state)) % STATES != SETTLED)
        syscall(SYS_futex, &d->state, FUTEX_WAIT_PRIVATE, state, NULL, NULL, 0);
    atomic_store(&d->awaited, false);
}

struct deferred *
deferred_next(struct deferred_pair *p, int fd, int64_t deadline_ms,
              const struct deferred_work *work, uint32_t *ticket)
{
    struct deferred *last = &p->at[p->turn];

    if (atomic_load(&last->state) % STATES != SENDING)
        wait_settled(last);
    p->turn ^= 1;
    struct deferred *d = &p->at[p->turn];
    wait_settled(d); // its answer was sent before the last one: it never sleeps
    *ticket = ++p->ticket;
    d->work = *work;
    d->fd = fd;
    atomic_store(&d->deadline_ms, deadline_ms);
    atomic_store(&d->state, state_of(*ticket, OWED));
    return d;
}

void
deferred_settle(struct deferred_pair *p)
{
    wait_settled(&p->at[0]);
    wait_settled(&p->at[1]);
}

bool
deferred_claim(struct deferred *d, uint32_t ticket)
{
    uint32_t owed = state_of(ticket, OWED);

    return atomic_compare_exchange_strong(&d->state, &owed, state_of(ticket, SENDING));
}

void
deferred_finish(struct deferred *d, struct span answer)
{
    uint32_t state = atomic_load(&d->state);

    if (send(d->fd, answer.at, answer.len, MSG_DONTWAIT | MSG_NOSIGNAL) !=
        (ssize_t)answer.len)
        shutdown(d->fd, SHUT_RDWR); // its thread sees the end and closes it
    atomic_store(&d->state, state - state % STATES + SETTLED);
    if (atomic_load(&d->awaited))
        syscall(SYS_futex, &d->state, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void
deferred_expire(struct deferred_pair *p, int64_t now_ms,
                void (*expire)(struct deferred *d))
{
    for (size_t i = 0; i < 2; i++) {
        struct deferred *d = &p->at[i];
        uint32_t owed = atomic_load(&d->state);
        if (owed % STATES == OWED && atomic_load(&d->deadline_ms) <= now_ms &&
            atomic_compare_exchange_strong(&d->state, &owed, owed - OWED + EXPIRING))
            expire(d);
    }
}
