// A leader is the right to write to AC, which one worker has at a time.
//
// local: a lock (lock.h), taken for each round of writing.
// redis: a lease of 15 s on {namespace}:leader, renewed every 5 s. Time that a stopped process
// or a suspended machine does not notice has passed on its clock (CLOCK_BOOTTIME) too: no write
// begins when less is left of the lease than a request may take.
#ifndef ACRELAY_WORKER_LEADER_H
#define ACRELAY_WORKER_LEADER_H

#include "worker/store.h"

enum { LEADER_LEASE_MS = 15000, LEADER_RENEW_MS = 5000 };

struct leader;
struct leader *leader_open(const struct config *c, struct store *store, struct err *err);
// leader_use takes over another configuration of the same file.
void leader_use(struct leader *l, const struct config *c);
void leader_close(struct leader *l); // gives the lease back; NULL is fine

// leader_take tries to be the leader, up to wait_ms. leader_leave ends a round: it gives a
// lock back and keeps a lease.
bool leader_take(struct leader *l, int64_t wait_ms);
void leader_leave(struct leader *l);

// leader_tick renews the lease when it is time; call it at least every second.
void leader_tick(struct leader *l);

// leader_may_write says whether a write may begin now.
bool leader_may_write(struct leader *l);
bool leader_is(const struct leader *l);

#endif
