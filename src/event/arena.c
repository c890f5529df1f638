#include "event/arena.h"

#include <stdlib.h>

enum { BLOCK = 64 << 10, KEPT = 4 << 20 };

struct arena_block {
    struct arena_block *next;
    size_t size;
    _Alignas(max_align_t) char bytes[];
};

static struct arena_block *
next_block(struct arena *a, size_t bytes)
{
    struct arena_block *b = a->now ? a->now->next : a->first;

    if (b && b->size >= bytes)
        return b;
    size_t size = bytes > BLOCK ? bytes : BLOCK;
    struct arena_block *fresh = memory_get(sizeof *fresh + size);
    *fresh = (struct arena_block){.next = b, .size = size};
    if (a->now)
        a->now->next = fresh;
    else
        a->first = fresh;
    return fresh;
}

void *
arena_get_slow(struct arena *a, size_t bytes)
{
    a->now = next_block(a, bytes);
    a->at = a->now->bytes + bytes;
    a->left = a->now->size - bytes;
    return a->now->bytes;
}

static void
free_from(struct arena_block *b)
{
    while (b) {
        struct arena_block *next = b->next;
        free(b);
        b = next;
    }
}

void
arena_reset(struct arena *a)
{
    struct arena_block **end = &a->first;

    for (size_t left = KEPT; *end && (*end)->size <= left; end = &(*end)->next)
        left -= (*end)->size;
    free_from(*end);
    *end = NULL;
    a->now = NULL;
    a->left = 0;
}

void
arena_release(struct arena *a)
{
    free_from(a->first);
    *a = (struct arena){0};
}
