// A watch knows how each hook does between rounds: whether it is registered, when it had its
// last event, and whether that is longer ago than expect_every. One thread; its metrics may be
// read by any.
#ifndef ACRELAY_WORKER_WATCH_H
#define ACRELAY_WORKER_WATCH_H

#include "worker/worker.h"

struct watch;
struct watch *watch_open(void);
void watch_close(struct watch *watch); // NULL is fine

// watch_note takes over what a round found; `plan` is what is still to be done.
void watch_note(struct watch *watch, const struct worker *w, const struct plan *plan,
                const struct hooks *found);

// watch_rest is for a worker that is not the leader: its figures go to 0, and what another one
// may change meanwhile is read anew by the next watch_look.
void watch_rest(struct watch *watch);

// watch_look reads the hooks' last events from Redis, tells a new silence once, and writes
// the states into {namespace}:hooks.
void watch_look(struct watch *watch, const struct worker *w);

// watch_to_repair gives a silent hook whose `repair` is on and that may be created anew now:
// at most once a day, and only when the silence can be believed: this process watched all of
// it, Redis is there and its clock steady, the relay has nothing waiting, and the receiver has
// been up for expect_every. NULL: none.
const struct config_hook *watch_to_repair(struct watch *watch, const struct worker *w);
void watch_note_repair(struct watch *watch, const char *hook);

#endif
