// How many files and connections may be open. Connections never take the last descriptors: the
// journal could not begin a segment then, and good deliveries would be answered 503.
#ifndef ACRELAY_RECEIVER_LIMITS_H
#define ACRELAY_RECEIVER_LIMITS_H

#include "base/err.h"

#include <stdint.h>

// Descriptors kept for what is not a connection: journal, relay, admin listener, name lookups,
// a reload.
enum { LIMITS_RESERVE = 64, LIMITS_QUEUE = 128 };

struct limits {
    int threads; // connections served at once
    int queue;   // more of them accepted, which wait for a thread
};

// limits_raise raises the soft limit of open files to the hard one, as far as we can use it,
// and returns what it is now.
uint64_t limits_raise(void);

// limits_fit fits the threads that are wished for into so many descriptors: fewer, if they
// must be. -1 when there is no room for the fewest.
int limits_fit(struct limits *l, int threads, uint64_t descriptors, struct err *err);

#endif
