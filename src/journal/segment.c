// Reading goes through a chunk of 1 MiB filled with pread (not a mapping: a disk error is
// then an error we can report, not a SIGBUS). A record that crosses the end of the chunk makes
// the chunk start again at that record, and grow when the record is larger.
#include "journal/internal.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum {
    CHUNK = 1 << 20,
    CHUNK_MAX = JOURNAL_RECORD_MAX + (2 << 20),
    BLOCK = 4096,               // of a disk: what cannot be read is passed in such pieces
    TAIL_KEPT = 1 << 19,        // bytes that readers find, at least
    TAIL_BYTES = 2 * TAIL_KEPT, // of memory, if no group is larger
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little endian");

// --- the tail -------------------------------------------------------------------------
//
// A write of whole blocks rewrites the block in which the segment ended: its bytes are the
// same again, so that a power cut between two sectors leaves them as they were, just as when
// the page cache writes that block. The zeros up to the block's end are what stood there.
//
// O_DIRECT spares the copy into the page cache and the search for dirty pages in it, which is
// a third of what a group costs. But then the pages are not there for readers either, and so it
// goes together with reading from memory.

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

// With the lock. Lets go of the oldest bytes, and of the memory that a large group took.
static void
tail_make_room(struct tail *t, size_t more)
{
    size_t drop = t->len > TAIL_KEPT ? block_down(t->len - TAIL_KEPT) : 0,
           len = t->len - drop;
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
tail_add(struct tail *t, struct span bytes)
{
    pthread_mutex_lock(&t->lock);
    if (block_up(t->len + bytes.len) > t->cap || t->cap > TAIL_BYTES)
        tail_make_room(t, bytes.len);
    memcpy(t->bytes + t->len, bytes.at, bytes.len);
    t->len += bytes.len;
    memset(t->bytes + t->len, 0, block_up(t->len) - t->len);
    pthread_mutex_unlock(&t->lock);
}

void
tail_begin(struct tail *t, int fd, const struct segment_header *h, bool zeroed)
{
    pthread_mutex_lock(&t->lock);
    t->salt = h->salt;
    t->from = t->len = 0;
    pthread_mutex_unlock(&t->lock);
    tail_add(t, span_make((const char *)h, SEGMENT_HEADER));
    t->direct = zeroed && set_direct(fd, true);
}

// One call writes and syncs: to a file whose blocks are all written it costs half of the two.
// Not every file system has it, and an old filter of system calls (seccomp) refuses it: EPERM.
static ssize_t
write_durable(int fd, char *bytes, size_t len, off_t at)
{
    ssize_t n = pwritev2(fd, &(struct iovec){bytes, len}, 1, at, RWF_DSYNC);

    if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EPERM))
        return n;
    n = pwrite(fd, bytes, len, at);
    return n >= 0 && fdatasync(fd) < 0 ? -1 : n;
}

int
tail_write(struct tail *t, int fd, struct span bytes, struct err *err)
{
    uint64_t from = t->from + t->len;

    tail_add(t, bytes);
    for (;;) {
        size_t at = (size_t)(from - t->from), end = t->len;
        if (t->direct) {
            at = block_down(at);
            end = block_up(end);
        }
        ssize_t n = write_durable(fd, t->bytes + at, end - at, (off_t)(t->from + at));
        if (n == (ssize_t)(end - at))
            return 0;
        if (n < 0 && errno == EINVAL && t->direct) {
            t->direct = set_direct(fd, false); // its blocks are larger than ours
            continue;
        }
        if (n < 0)
            return err_errno(err, "cannot write and sync");
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

// --- reading --------------------------------------------------------------------------

// read_at reads up to len bytes; fewer at the end of the file, or before what cannot be read.
// -1 when that begins at once.
static ssize_t
read_at(int fd, char *to, size_t len, uint64_t offset)
{
    size_t have = 0;

    while (have < len) {
        ssize_t n = pread(fd, to + have, len - have, (off_t)(offset + have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && have == 0)
            return -1;
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

static int
read_header(int fd, struct segment_header *h, struct err *err)
{
    ssize_t n = read_at(fd, (char *)h, SEGMENT_HEADER, 0);

    if (n < 0) {
        enum err_kind kind = journal_is_damage(errno) ? ERR_INPUT : ERR_AGAIN;
        err_errno(err, "cannot read a segment's header");
        err->kind = kind;
        return -1;
    }
    if (n < SEGMENT_HEADER || memcmp(h->magic, SEGMENT_MAGIC, sizeof h->magic) != 0 ||
        h->version != SEGMENT_VERSION || h->first == 0 || h->crc != segment_header_crc(h))
        return err_set(err, ERR_INPUT,
                       "not a segment of a known version, or only the damaged "
                       "bytes of one");
    return 0;
}

int
segment_scan_open(struct segment_scan *s, int dir, const char *name,
                  const struct segment_header *known, struct err *err)
{
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int result = 0;

    *s = (struct segment_scan){.fd = -1, .offset = SEGMENT_HEADER};
    if (fd < 0)
        return err_errno(err, "cannot open segment %s", name);
    if (fstat(fd, &st) < 0)
        result = err_errno(err, "cannot stat");
    else if (!S_ISREG(st.st_mode))
        result = err_set(err, ERR_INPUT, "not a regular file");
    else if (known)
        s->header = *known;
    else
        result = read_header(fd, &s->header, err);
    if (result < 0) {
        close(fd);
        return err_context(err, "segment %s", name);
    }
    s->fd = fd;
    s->end = (uint64_t)st.st_size;
    s->after = s->header.first - 1;
    buf_init(&s->chunk, CHUNK_MAX);
    return 0;
}

static int
cannot_read(struct err *err)
{
    err_errno(err, "cannot be read");
    err->kind = ERR_AGAIN;
    return -1;
}

// window_fill makes `len` bytes at s->offset stand in the chunk. 1, 0 when the segment ends
// before, -1 on an error.
static int
window_fill(struct segment_scan *s, uint64_t len, struct err *err)
{
    struct buf *c = &s->chunk;

    if (s->offset >= s->end || len > s->end - s->offset)
        return 0;
    if (s->offset >= s->chunk_at && s->offset + len <= s->chunk_at + c->len)
        return 1;
    uint64_t left = s->end - s->offset;
    size_t fill = (size_t)(len > CHUNK ? len : left < CHUNK ? left : CHUNK);
    buf_clear(c);
    char *to = buf_room(c, fill);
    if (!to)
        return 0;
    ssize_t n = (ssize_t)fill;
    if (!s->tail || !tail_read(s->tail, s->header.salt, s->offset, to, fill))
        n = read_at(s->fd, to, fill, s->offset);
    if (n < 0)
        return cannot_read(err);
    c->len = (size_t)n;
    s->chunk_at = s->offset;
    if (len <= c->len)
        return 1;
    // Fewer: does the file end here, or can it not be read on?
    char next;
    return read_at(s->fd, &next, 1, s->offset + c->len) < 0 ? cannot_read(err) : 0;
}

static const char *
window_at(const struct segment_scan *s)
{
    return s->chunk.at + (s->offset - s->chunk_at);
}

// What stands at an offset.
enum frame_kind {
    FRAME_UNREADABLE = -1,
    FRAME_NONE = 0,
    FRAME_RECORD = 1,
    FRAME_SEAL = 2
};

// frame_check reads what stands at s->offset into s->frame without moving. `missing` is how
// many sequences may be missing before it: none but after damage.
static enum frame_kind
frame_check(struct segment_scan *s, uint64_t missing, struct err *err)
{
    struct segment_frame *f = &s->frame;
    int there = window_fill(s, SEGMENT_FRAME, err);

    if (there <= 0)
        return (enum frame_kind)there;
    memcpy(f, window_at(s), SEGMENT_FRAME);
    uint64_t min = s->after + (f->length ? 1 : 0);
    if (f->length > JOURNAL_RECORD_MAX || f->sequence < min ||
        f->sequence - min > missing)
        return FRAME_NONE;
    there = window_fill(s, (uint64_t)SEGMENT_FRAME + f->length, err);
    if (there <= 0)
        return (enum frame_kind)there;
    if (f->crc != segment_frame_crc(s->header.salt, f, window_at(s) + SEGMENT_FRAME))
        return FRAME_NONE;
    return f->length ? FRAME_RECORD : FRAME_SEAL;
}

// resync moves to the next valid frame at an 8-byte step after s->offset. FRAME_NONE, and no
// move, when there is none up to the end.
static enum frame_kind
resync(struct segment_scan *s, struct err *err)
{
    uint64_t start = s->offset;
    enum frame_kind found = FRAME_NONE;

    for (s->offset += 8; s->offset < s->end; s->offset += 8) {
        found = frame_check(s, (s->offset - start) / SEGMENT_RECORD_MIN, err);
        if (found == FRAME_UNREADABLE && s->passes_unreadable) {
            s->offset |= BLOCK - 8; // the step leads to the next block
            found = FRAME_NONE;
        }
        if (found != FRAME_NONE)
            break;
    }
    if (found <= FRAME_NONE)
        s->offset = start;
    return found;
}

// leave_rest ends the scan where the next segment goes on, with what is missing before that.
static enum segment_result
leave_rest(struct segment_scan *s, uint64_t from, uint64_t to)
{
    if (s->next_first <= s->after + 1) // also: there is no next
        return SEGMENT_END;
    s->after = s->next_first - 1;
    s->hole = (struct segment_hole){s->hole.first, s->after, s->after, from, to};
    s->offset = s->end;
    return SEGMENT_HOLE;
}

// pass_hole moves to what follows bytes that are no record. A hole does not reach what the next
// segment goes on from: records after that are remains of a failed write, which it repeats.
static enum segment_result
pass_hole(struct segment_scan *s, struct err *err)
{
    uint64_t from = s->offset;
    enum frame_kind found = s->sealed ? FRAME_NONE : resync(s, err);

    if (found == FRAME_UNREADABLE)
        return SEGMENT_ERROR;
    uint64_t last = s->frame.sequence - (found == FRAME_RECORD);
    s->hole = (struct segment_hole){s->after + 1, last, last, from, s->offset};
    if (found == FRAME_NONE)
        return leave_rest(s, from, s->end);
    if (s->next_first && last >= s->next_first)
        return leave_rest(s, from, s->offset);
    if (!s->next_first && s->frame.durable < last)
        s->hole.proved = s->frame.durable;
    s->after = last;
    return SEGMENT_HOLE;
}

enum segment_result
segment_scan_next(struct segment_scan *s, struct err *err)
{
    enum frame_kind found = frame_check(s, 0, err);

    if (found == FRAME_UNREADABLE && !s->passes_unreadable)
        return SEGMENT_ERROR;
    if (found == FRAME_RECORD) {
        s->payload = window_at(s) + SEGMENT_FRAME;
        s->offset += segment_space(s->frame.length);
        s->after = s->frame.sequence;
        return SEGMENT_RECORD;
    }
    s->sealed = found == FRAME_SEAL;
    if (s->live && s->checks == 0)
        return (s->checks++, SEGMENT_CHECK);
    if (s->next_first && s->next_first <= s->after + 1)
        return SEGMENT_END;
    // Its writer may have added records since the first check, and then begun the next one.
    if (s->live && s->next_first && s->checks == 1)
        return (s->checks++, SEGMENT_CHECK);
    enum segment_result result = pass_hole(s, err);
    if (result != SEGMENT_HOLE || !s->live || s->hole.from == s->read_again)
        return result;
    // What was being written when it was read is there now.
    buf_clear(&s->chunk);
    s->offset = s->read_again = s->hole.from;
    s->after = s->hole.first - 1;
    return segment_scan_next(s, err);
}

bool
segment_scan_has_remains(const struct segment_scan *s)
{
    char piece[4096];
    ssize_t n;

    for (uint64_t at = s->offset; at < s->end; at += (uint64_t)n) {
        n = pread(s->fd, piece, sizeof piece, (off_t)at);
        if (n <= 0)
            return false;
        for (ssize_t i = 0; i < n; i++)
            if (piece[i])
                return true;
    }
    return false;
}
