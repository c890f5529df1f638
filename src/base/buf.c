// Growth doubles from 256 bytes, so that n adds cost O(n) copies; the ceiling is checked
// before memory is asked for, so that a large claim from outside allocates nothing.
#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// Not through stdio, which may ask for memory.
void
memory_none(void)
{
    static const char message[] = "<2>acrelay: out of memory\n";

    if (write(STDERR_FILENO, message, sizeof message - 1) < 0)
        abort(); // nowhere to report it
    abort();
}

static void *
or_end(void *memory)
{
    if (!memory)
        memory_none();
    return memory;
}

void *
memory_get(size_t bytes)
{
    return or_end(malloc(bytes ? bytes : 1));
}

void *
memory_grow(void *old, size_t bytes)
{
    return or_end(realloc(old, bytes ? bytes : 1));
}

char *
memory_copy(struct span s)
{
    char *copy = memory_get(s.len + 1);

    if (s.len)
        memcpy(copy, s.at, s.len);
    copy[s.len] = '\0';
    return copy;
}

void
buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void
buf_release(struct buf *b)
{
    free(b->at);
    *b = (struct buf){.max = b->max};
}

void
buf_wipe(struct buf *b)
{
    if (b->at)
        explicit_bzero(b->at, b->cap);
    buf_release(b);
}

// One byte more than max may be allocated: the NUL of buf_text.
static void
grow(struct buf *b, size_t need)
{
    size_t cap = b->cap ? b->cap : 256;

    while (cap < need)
        cap *= 2;
    if (cap > b->max + 1)
        cap = b->max + 1;
    b->at = memory_grow(b->at, cap);
    b->cap = cap;
}

char *
buf_room_slow(struct buf *b, size_t more)
{
    assert(b->len <= b->max);
    if (b->full || more > b->max - b->len) {
        b->full = true;
        return NULL;
    }
    if (b->cap - b->len < more + 1)
        grow(b, b->len + more + 1);
    return b->at + b->len;
}

int
buf_add_format(struct buf *b, const char *format, ...)
{
    va_list args, again;

    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(len >= 0);
    char *to = buf_room(b, (size_t)len);
    if (to) {
        vsnprintf(to, (size_t)len + 1, format, again);
        b->len += (size_t)len;
    }
    va_end(again);
    return to ? 0 : -1;
}

const char *
buf_text(struct buf *b)
{
    if (b->cap < b->len + 1)
        grow(b, b->len + 1);
    b->at[b->len] = '\0';
    return b->at;
}
