// A write of whole blocks rewrites the block in which the segment ended: its bytes are the
// same again, so that a power cut between two sectors leaves them as they were, just as when
// the page cache writes that block. The zeros up to the block's end are what stood there.
//
// O_DIRECT spares the copy into the page cache and the search for dirty pages in it, which is
// a third of what a group costs. But then the pages are not there for readers either, and so it
// goes together with reading from memory.
#include "journal/tail.h"

#include "base/buf.h"
#include "journal/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    BLOCK = 4096,
    KEPT = 1 << 19,        // bytes that readers find, at least
    TAIL_BYTES = 2 * KEPT, // of memory, if no group is larger
};

static size_t
block_down(size_t n)
{
    return n & ~(size_t)(BLOCK - 1);
}

static size_t
block_up(size_t n)
{
    return block_down(n + BLOCK - 1);
}

void
tail_init(struct tail *t)
{
    *t = (struct tail){0};
    pthread_mutex_init(&t->lock, NULL);
}

void
tail_release(struct tail *t)
{
    free(t->memory);
    *t = (struct tail){0};
}

// With the lock. Lets go of the oldest bytes, and of the memory that a large group took.
static void
make_room(struct tail *t, size_t more)
{
    size_t drop = t->len > KEPT ? block_down(t->len - KEPT) : 0, len = t->len - drop;
    size_t cap = block_up(len + more);

    if (cap < TAIL_BYTES)
        cap = TAIL_BYTES;
    if (cap == t->cap) {
        memmove(t->bytes, t->bytes + drop, len);
    } else {
        char *memory = memory_get(cap + BLOCK);
        char *bytes = memory + (BLOCK - (uintptr_t)memory % BLOCK);
        if (len)
            memcpy(bytes, t->bytes + drop, len);
        free(t->memory);
        t->memory = memory;
        t->bytes = bytes;
        t->cap = cap;
    }
    t->from += drop;
    t->len = len;
}

static void
add(struct tail *t, struct span bytes)
{
    pthread_mutex_lock(&t->lock);
    if (block_up(t->len + bytes.len) > t->cap || t->cap > TAIL_BYTES)
        make_room(t, bytes.len);
    memcpy(t->bytes + t->len, bytes.at, bytes.len);
    t->len += bytes.len;
    memset(t->bytes + t->len, 0, block_up(t->len) - t->len);
    pthread_mutex_unlock(&t->lock);
}

static bool
set_direct(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 &&
           fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0 && on;
}

void
tail_begin(struct tail *t, int fd, const struct segment_header *h, bool zeroed)
{
    pthread_mutex_lock(&t->lock);
    t->salt = h->salt;
    t->from = t->len = 0;
    pthread_mutex_unlock(&t->lock);
    add(t, span_make((const char *)h, SEGMENT_HEADER));
    t->direct = zeroed && set_direct(fd, true);
}

int
tail_write(struct tail *t, int fd, struct span bytes, struct err *err)
{
    uint64_t from = t->from + t->len;

    add(t, bytes);
    for (;;) {
        size_t at = (size_t)(from - t->from), end = t->len;
        if (t->direct) {
            at = block_down(at);
            end = block_up(end);
        }
        ssize_t n = pwrite(fd, t->bytes + at, end - at, (off_t)(t->from + at));
        if (n == (ssize_t)(end - at))
            return 0;
        if (n < 0 && errno == EINVAL && t->direct) {
            t->direct = set_direct(fd, false); // its blocks are larger than ours
            continue;
        }
        if (n < 0)
            return err_errno(err, "cannot write");
        errno = ENOSPC; // the usual reason for a short write to a file
        return err_errno(err, "wrote %zd of %zu bytes", n, end - at);
    }
}

bool
tail_read(struct tail *t, uint64_t salt, uint64_t offset, char *to, size_t len)
{
    pthread_mutex_lock(&t->lock);
    bool here = t->salt == salt && offset >= t->from && offset + len <= t->from + t->len;
    if (here)
        memcpy(to, t->bytes + (offset - t->from), len);
    pthread_mutex_unlock(&t->lock);
    return here;
}
