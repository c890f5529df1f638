// A deferred answer is sent by another thread than its request's handler, so that the handler's
// thread can read the connection's next request instead of sleeping. Until it is sent it
// belongs to whoever claims it: one thread, once.
//
// Each connection has a pair, used in turn: an answer that is just being sent does not hold
// up the next request. No request is taken up while an earlier answer is still owed, so that
// answers keep the order of their requests.
#ifndef ACRELAY_EDGE_DEFERRED_H
#define ACRELAY_EDGE_DEFERRED_H

#include "base/span.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

// What who claims the answer must know to give it; all the handler's.
struct deferred_work {
    void *handler;
    void *subject;
    size_t index;
    int64_t start_us;
};

struct deferred {
    struct deferred_work work;
    // deferred.c's
    int fd;
    _Atomic(int64_t) deadline_ms;
    _Atomic(uint32_t) state; // futex word
    _Atomic(bool) awaited;
};

struct deferred_pair {
    struct deferred at[2];
    unsigned turn;
    uint32_t ticket; // the last one given
};

// deferred_next leaves an answer on the connection `fd` to whoever claims it with that ticket.
// It waits while an earlier answer is owed. For the connection's own thread.
struct deferred *deferred_next(struct deferred_pair *p, int fd, int64_t deadline_ms,
                               const struct deferred_work *work, uint32_t *ticket);

// deferred_settle waits until nothing is owed any more or on its way: before the connection's
// own thread writes to it or closes it.
void deferred_settle(struct deferred_pair *p);

// deferred_claim says whether the answer is the caller's to give. False: another thread was
// faster, or this ticket's answer was given long ago.
bool deferred_claim(struct deferred *d, uint32_t ticket);

// deferred_finish sends a claimed answer, with one call that never waits: a client that does
// not read what it is sent loses its connection. *d is not the caller's any more.
void deferred_finish(struct deferred *d, struct span answer);

// deferred_expire claims what is owed past its deadline and has `expire` finish it. Called by
// any one thread.
void deferred_expire(struct deferred_pair *p, int64_t now_ms,
                     void (*expire)(struct deferred *d));

#endif
