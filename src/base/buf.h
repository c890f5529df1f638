// A buf is owned bytes that grow up to a ceiling it was born with. It belongs to one
// thread. Out of memory ends the program: only the ceiling is an error a caller
// meets. A buf that has hit its ceiling stays `full`, and every later add fails too, so a
// writer may add many pieces and check once at the end.
#ifndef ACRELAY_BASE_BUF_H
#define ACRELAY_BASE_BUF_H

#include "base/span.h"

#include <stdarg.h>
#include <stdint.h>

struct buf {
    char *at;
    size_t len;
    size_t cap;
    size_t max;
    bool full;
};

// buf_init makes an empty buf of at most max bytes. Nothing is allocated yet.
void buf_init(struct buf *b, size_t max);

// buf_release frees the bytes; releasing a released or zeroed buf is fine.
void buf_release(struct buf *b);

// buf_wipe overwrites the bytes, which were a secret, and frees them.
void buf_wipe(struct buf *b);

// buf_clear empties b, keeps its memory, and clears `full`.
static inline void
buf_clear(struct buf *b)
{
    b->len = 0;
    b->full = false;
}

// buf_room makes room for `more` bytes and returns where they go, or NULL at the ceiling.
// The caller writes there and then adds to b->len. Inline if the memory is allocated already.
char *buf_room_slow(struct buf *b, size_t more);

static inline char *
buf_room(struct buf *b, size_t more)
{
    if (b->full || b->cap - b->len <= more) // cap is at most max + 1
        return buf_room_slow(b, more);
    return b->at + b->len;
}

// The adders return 0, or -1 when the ceiling is reached; then b is `full` and unchanged.
static inline int
buf_add(struct buf *b, struct span s)
{
    char *to = buf_room(b, s.len);

    if (!to)
        return -1;
    if (s.len)
        memcpy(to, s.at, s.len);
    b->len += s.len;
    return 0;
}

static inline int
buf_add_byte(struct buf *b, char c)
{
    return buf_add(b, span_make(&c, 1));
}

static inline int
buf_add_text(struct buf *b, const char *text)
{
    return buf_add(b, span_of(text));
}

int buf_add_format(struct buf *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// buf_text ends the bytes with a NUL that is not counted and returns them; "" if empty. At
// the ceiling the NUL still has its place.
const char *buf_text(struct buf *b);

static inline struct span
buf_span(const struct buf *b)
{
    return (struct span){b->at, b->len};
}

// memory_get, memory_grow and memory_copy are malloc, realloc and strdup that end the
// program when there is no memory left.
// memory_none is what they end with, for a foreign library's own lack of memory.
void memory_none(void) __attribute__((noreturn));
void *memory_get(size_t bytes) __attribute__((malloc, returns_nonnull));
void *memory_grow(void *old, size_t bytes) __attribute__((returns_nonnull));
char *memory_copy(struct span s) __attribute__((malloc, returns_nonnull));

#endif
