// Reading goes through a chunk of 1 MiB filled with pread (not a mapping: a disk error is
// then an error we can tell, not a SIGBUS). A record that crosses the end of the chunk makes
// the chunk start anew at that record, and grow when the record is larger.
#include "journal/segment.h"

#include "base/crc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little endian");

static const char magic[8] = {'A', 'C', 'R', 'E', 'L', 'A', 'Y', 'J'};

void
segment_header_make(struct segment_header *h, const unsigned char *id, uint64_t first,
                    uint32_t life, uint64_t skipped, uint64_t salt)
{
    *h = (struct segment_header){.version = SEGMENT_VERSION,
                                 .life = life,
                                 .first = first,
                                 .skipped = skipped,
                                 .salt = salt};
    memcpy(h->magic, magic, sizeof magic);
    memcpy(h->id, id, sizeof h->id);
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

// read_at reads up to len bytes; fewer only at the end of the file. -1 on an error.
static ssize_t
read_at(int fd, char *to, size_t len, uint64_t offset)
{
    size_t have = 0;

    while (have < len) {
        ssize_t n = pread(fd, to + have, len - have, (off_t)(offset + have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
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
                   struct buf *chunk)
{
    *s = (struct segment_scan){.fd = fd,
                               .salt = h->salt,
                               .offset = SEGMENT_HEADER,
                               .after = h->first - 1,
                               .chunk = chunk};
    buf_clear(chunk);
}

// want makes `len` bytes at s->offset stand in the chunk. 1, 0 when the file ends before,
// -1 on an error.
static int
want(struct segment_scan *s, size_t len, struct err *err)
{
    struct buf *c = s->chunk;

    if (s->offset >= s->chunk_at && s->offset + len <= s->chunk_at + c->len)
        return 1;
    size_t fill = len > CHUNK ? len : CHUNK;
    buf_clear(c);
    char *to = buf_room(c, fill);
    if (!to)
        return 0;
    ssize_t n = read_at(s->fd, to, fill, s->offset);
    if (n < 0)
        return err_errno(err, "cannot read a segment"), err ? err->kind = ERR_AGAIN : 0,
                                                              -1;
    c->len = (size_t)n;
    s->chunk_at = s->offset;
    return len <= c->len;
}

static const char *
here(const struct segment_scan *s)
{
    return s->chunk->at + (s->offset - s->chunk_at);
}

// look checks the record at s->offset without moving.
static int
look(struct segment_scan *s, struct segment_frame *f, struct err *err)
{
    int there = want(s, SEGMENT_FRAME, err);

    if (there <= 0)
        return there;
    memcpy(f, here(s), SEGMENT_FRAME);
    if (f->length == 0 || f->length > SEGMENT_PAYLOAD_MAX || f->sequence <= s->after)
        return 0;
    there = want(s, SEGMENT_FRAME + f->length, err);
    if (there <= 0)
        return there;
    return f->crc == segment_frame_crc(s->salt, f, here(s) + SEGMENT_FRAME);
}

enum segment_result
segment_scan_next(struct segment_scan *s, struct segment_frame *f, const char **payload,
                  struct err *err)
{
    int found = look(s, f, err);

    if (found <= 0)
        return found < 0 ? SEGMENT_ERROR : SEGMENT_END;
    *payload = here(s) + SEGMENT_FRAME;
    s->offset += segment_space(f->length);
    s->after = f->sequence;
    return SEGMENT_RECORD;
}

int
segment_scan_resync(struct segment_scan *s, struct err *err)
{
    uint64_t start = s->offset;
    struct segment_frame f;

    for (;;) {
        s->offset += 8;
        int there = want(s, SEGMENT_FRAME, err);
        if (there <= 0) {
            s->offset = start;
            return there;
        }
        int found = look(s, &f, err);
        if (found != 0)
            return found;
    }
}
