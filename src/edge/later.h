// A later is an answer that its request's handler has left to another thread, so that the
// handler's thread can read the connection's next request instead of sleeping. Between being
// owed and being settled it belongs to whoever claims it: one thread, once.
//
// Each connection has a pair, used in turn: an answer that is just being sent does not hold
// up the next request. No request is taken up while an earlier answer is still owed, so that
// answers keep the order of their requests.
#ifndef ACRELAY_EDGE_LATER_H
#define ACRELAY_EDGE_LATER_H

#include "base/span.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct later {
    // The handler's: set before the answer is left to others, read by who has claimed it.
    void *handler;
    void *what;
    size_t which;
    int64_t start_us;
    // later.c's
    int fd;
    _Atomic(int64_t) deadline_ms;
    _Atomic(uint32_t) state; // futex word
    _Atomic(bool) awaited;
};

struct laters {
    struct later pair[2];
    unsigned turn;
    uint32_t ticket; // the last one given
};

// laters_next prepares an answer on the connection `fd`; when the handler has filled in its
// own, later_owe leaves it to whoever claims it with that ticket. Both are for the
// connection's own thread. laters_next waits while an earlier answer is owed.
struct later *laters_next(struct laters *ls, int fd, int64_t deadline_ms,
                          uint32_t *ticket);
void later_owe(struct later *l, uint32_t ticket);

// laters_settle waits until nothing is owed any more or on its way: before the connection's
// own thread writes to it or closes it.
void laters_settle(struct laters *ls);

// later_claim says whether the answer is the caller's to give. False: another thread was
// faster, or this ticket's answer was given long ago.
bool later_claim(struct later *l, uint32_t ticket);

// later_finish sends a claimed answer, with one call that never waits: a client that does not
// read what it is sent loses its connection. *l is not the caller's any more.
void later_finish(struct later *l, struct span answer);

// laters_expire claims what is owed past its deadline and has `expire` finish it. Called by
// any one thread.
void laters_expire(struct laters *ls, int64_t now_ms, void (*expire)(struct later *l));

#endif
