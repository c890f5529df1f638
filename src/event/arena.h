// An arena gives memory that never moves and is all taken back at once. It keeps its blocks,
// so that one event after the other is made without asking malloc. One thread.
#ifndef ACRELAY_EVENT_ARENA_H
#define ACRELAY_EVENT_ARENA_H

#include "base/buf.h"

struct arena_block;
struct arena {
    struct arena_block *first, *now;
    size_t used; // in `now`
};

// arena_get returns `bytes` bytes, aligned for any object, valid until arena_reset.
void *arena_get(struct arena *a, size_t bytes);

// arena_reset takes everything back. Blocks beyond 1 MiB in all are freed.
void arena_reset(struct arena *a);
void arena_release(struct arena *a);

#endif
