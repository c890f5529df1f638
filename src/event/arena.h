// An arena gives memory that never moves and is all taken back at once. It keeps its blocks,
// so that one event after the other is made without asking malloc. One thread.
#ifndef ACRELAY_EVENT_ARENA_H
#define ACRELAY_EVENT_ARENA_H

#include "base/buf.h"

#include <stddef.h>

struct arena_block;
struct arena {
    struct arena_block *first, *now;
    char *at;    // the next free byte of `now`
    size_t left; // bytes free behind it
};

// arena_get returns `bytes` bytes, aligned for any object, valid until arena_reset.
void *arena_get_slow(struct arena *a, size_t bytes);

static inline void *
arena_get(struct arena *a, size_t bytes)
{
    size_t mask = _Alignof(max_align_t) - 1, taken = (bytes + mask) & ~mask;

    if (a->left < taken)
        return arena_get_slow(a, taken);
    char *at = a->at;
    a->at += taken;
    a->left -= taken;
    return at;
}

// arena_reset takes everything back. Blocks beyond 4 MiB in all are freed (a body of 1 MiB with
// 10,000 pairs takes less).
void arena_reset(struct arena *a);
void arena_release(struct arena *a);

#endif
