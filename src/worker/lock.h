// A lock keeps two workers of one configuration file from writing at the same time: `run` and
// an `apply` by hand too. Only who may run the worker can take it.
//
// It is a file of mode 600 in $RUNTIME_DIRECTORY or $STATE_DIRECTORY, as systemd gives them to
// the unit, else in /run/acrelay-worker: that is the unit's, so that root finds it by hand.
// The file with the API token is locked as well: whoever may run a worker can read it, nobody
// else can open it, and workers outside of units have that in common whoever they run as.
#ifndef ACRELAY_WORKER_LOCK_H
#define ACRELAY_WORKER_LOCK_H

#include "config/config.h"

struct lock {
    char directory[256], name[32], token[4096]; // "" where there is none
    bool is_own;                                // the directory, made by us
    int fds[2];                                 // -1: not taken
};

// lock_init finds the places. EXIT_CODE_DIRECTORY when there is none, or one is not private.
int lock_init(struct lock *l, const struct config *c, struct err *err);

// lock_take takes all of it, or nothing and returns false when another one has it.
bool lock_take(struct lock *l);
void lock_leave(struct lock *l);

#endif
