// Reading goes through a chunk of 1 MiB filled with pread (not a mapping: a disk error is
// then an error we can tell, not a SIGBUS). A record that crosses the end of the chunk makes
// the chunk start anew at that record, and grow when the record is larger.
#include "journal/segment.h"

#include "base/crc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum {
    CHUNK = 1 << 20,
    BLOCK = 4096, // of a disk: what cannot be read is passed in such pieces
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little endian");

static const char magic[8] = {'A', 'C', 'R', 'E', 'L', 'A', 'Y', 'J'};

void
segment_header_seal(struct segment_header *h)
{
    memcpy(h->magic, magic, sizeof magic);
    h->version = SEGMENT_VERSION;
    h->crc = crc_of(0, h, SEGMENT_HEADER - sizeof h->crc);
}

bool
segment_header_is_valid(const struct segment_header *h)
{
    return memcmp(h->magic, magic, sizeof magic) == 0 && h->version == SEGMENT_VERSION &&
           h->first > 0 && h->crc == crc_of(0, h, SEGMENT_HEADER - sizeof h->crc);
}

void
segment_name(char *name, const struct segment_header *h)
{
    snprintf(name, SEGMENT_NAME, "%016" PRIx64 "-%08" PRIx32 ".wal", h->first, h->life);
}

uint32_t
segment_frame_crc(uint64_t salt, const struct segment_frame *f, const void *payload)
{
    uint32_t crc = crc_of(0, &salt, sizeof salt);

    crc = crc_of(crc, &f->length, sizeof f->length);
    crc = crc_of(crc, &f->sequence, SEGMENT_FRAME - 8);
    return crc_of(crc, payload, f->length);
}

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

int
segment_read_header(int fd, struct segment_header *h, struct err *err)
{
    ssize_t n = read_at(fd, (char *)h, SEGMENT_HEADER, 0);

    if (n < 0)
        return err_errno(err, "cannot read a segment's header");
    if (n < SEGMENT_HEADER || !segment_header_is_valid(h))
        return err_set(err, ERR_INPUT, "not a segment of a version that we know");
    return 0;
}

void
segment_scan_start(struct segment_scan *s, int fd, const struct segment_header *h,
                   uint64_t end, struct buf *chunk)
{
    *s = (struct segment_scan){.fd = fd,
                               .salt = h->salt,
                               .offset = SEGMENT_HEADER,
                               .end = end,
                               .after = h->first - 1,
                               .chunk = chunk};
    buf_clear(chunk);
}

static int
cannot_read(struct err *err)
{
    err_errno(err, "cannot read a segment");
    if (err)
        err->kind = ERR_AGAIN;
    return -1;
}

// want makes `len` bytes at s->offset stand in the chunk. 1, 0 when the segment ends before,
// -1 on an error.
static int
want(struct segment_scan *s, uint64_t len, struct err *err)
{
    struct buf *c = s->chunk;

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
    ssize_t n = read_at(s->fd, to, fill, s->offset);
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
here(const struct segment_scan *s)
{
    return s->chunk->at + (s->offset - s->chunk_at);
}

// look checks what stands at s->offset without moving. `missing` is how many sequences may
// be missing before it: none but behind damage.
static enum segment_result
look(struct segment_scan *s, struct segment_frame *f, uint64_t missing, struct err *err)
{
    int there = want(s, SEGMENT_FRAME, err);

    if (there <= 0)
        return (enum segment_result)there;
    memcpy(f, here(s), SEGMENT_FRAME);
    uint64_t least = s->after + (f->length ? 1 : 0);
    if (f->length > JOURNAL_RECORD_MAX || f->sequence < least ||
        f->sequence - least > missing)
        return SEGMENT_END;
    there = want(s, (uint64_t)SEGMENT_FRAME + f->length, err);
    if (there <= 0)
        return (enum segment_result)there;
    if (f->crc != segment_frame_crc(s->salt, f, here(s) + SEGMENT_FRAME))
        return SEGMENT_END;
    return f->length ? SEGMENT_RECORD : SEGMENT_SEAL;
}

enum segment_result
segment_scan_next(struct segment_scan *s, struct segment_frame *f, const char **payload,
                  struct err *err)
{
    enum segment_result found = look(s, f, 0, err);

    if (found == SEGMENT_ERROR && s->passes_unreadable)
        return SEGMENT_END;
    if (found != SEGMENT_RECORD)
        return found;
    *payload = here(s) + SEGMENT_FRAME;
    s->offset += segment_space(f->length);
    s->after = f->sequence;
    return SEGMENT_RECORD;
}

enum segment_result
segment_scan_resync(struct segment_scan *s, struct segment_frame *f, struct err *err)
{
    uint64_t start = s->offset;
    enum segment_result found = SEGMENT_END;

    for (s->offset += 8; s->offset < s->end; s->offset += 8) {
        uint64_t missing = (s->offset - start) / SEGMENT_RECORD_LEAST;
        found = look(s, f, missing, err);
        if (found == SEGMENT_ERROR && s->passes_unreadable) {
            s->offset |= BLOCK - 8; // the step leads to the next block
            found = SEGMENT_END;
        }
        if (found != SEGMENT_END)
            break;
    }
    if (found == SEGMENT_RECORD || found == SEGMENT_SEAL)
        s->after = f->sequence - (found == SEGMENT_RECORD);
    else
        s->offset = start;
    return found;
}
