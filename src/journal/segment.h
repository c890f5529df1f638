// A segment is one journal file: a header and framed records, written by one process.
// This header is the file format; it is internal to the journal floor.
//
//     segment   = header, record..., zeros or end of file
//     header    = 64 bytes, little endian (struct segment_header)
//     record    = 32 bytes of frame (struct segment_frame), payload, zeros up to 8 bytes
//
// A record is valid when its length fits, its checksum (CRC-32C over salt, frame without
// the checksum, payload) agrees and its sequence is the one after that of the record before.
// The salt is random per segment, so that bytes of an older file never validate. A frame
// of length 0 is the seal of a clean close: `sequence` is the last one of the segment.
//
// What distinguishes damage from a torn tail: `durable` in a frame is the newest sequence that was
// synced when the record was written (a seal's is the last one). What is missing at or
// below a later frame's `durable` had been acknowledged. What is missing above it was torn
// off by a crash and never acknowledged; the next process finds that out when it opens
// the journal and writes it into the header of its first segment (`skipped`), together with
// numbers it gave to groups that failed. So a missing sequence is damage unless a header
// says it was skipped.
//
// To change the format: raise SEGMENT_VERSION, keep reading the version before (the header
// is read first and says which; its first 16 bytes never change), and say so in the
// CHANGELOG. A segment of an unknown version is quarantined in bad/ (bad_set_aside), not deleted.
#ifndef ACRELAY_JOURNAL_SEGMENT_H
#define ACRELAY_JOURNAL_SEGMENT_H

#include "base/crc.h"
#include "journal/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define SEGMENT_MAGIC "ACRELAYJ"

enum {
    SEGMENT_VERSION = 1,
    SEGMENT_HEADER = 64,
    SEGMENT_FRAME = 32,
    SEGMENT_RECORD_MIN = 40, // a frame and a byte of payload, padded
    SEGMENT_NAME = 40,
    SEGMENT_BYTES = 16 << 20, // at which the next one begins
};

struct segment_header {
    char magic[8]; // SEGMENT_MAGIC
    uint32_t version;
    uint32_t generation; // counts up when two segments start at one sequence
    unsigned char id[16];
    uint64_t first;   // the first sequence it can hold
    uint64_t skipped; // from here on, `skipped_count` sequences were never acknowledged
    uint64_t salt;
    uint32_t skipped_count; // 0: none
    uint32_t crc;           // of the 60 bytes before
};

struct segment_frame {
    uint32_t length; // of the payload; 0 is a seal
    uint32_t crc;
    uint64_t sequence;
    int64_t received_us;
    uint64_t durable;
};

_Static_assert(sizeof(struct segment_header) == SEGMENT_HEADER, "stored format");
_Static_assert(sizeof(struct segment_frame) == SEGMENT_FRAME, "stored format");

// What is known of a segment without reading its records.
struct segment {
    struct segment_header header;
    char name[SEGMENT_NAME]; // <first, 16 hex>-<generation, 8 hex>.wal
    uint64_t bytes;          // size on disk
    uint64_t end;     // records are read up to here (what is synced of the active one)
    int64_t since_us; // clock_boot_us of our last write; of the opening if we never wrote
};

// segment_is_after: s comes after `than` in the journal.
static inline bool
segment_is_after(const struct segment *s, const struct segment *than)
{
    if (s->header.first != than->header.first)
        return s->header.first > than->header.first;
    return s->header.generation > than->header.generation;
}

// segment_space is what a payload takes in a segment.
static inline uint64_t
segment_space(uint64_t payload)
{
    return (SEGMENT_FRAME + payload + 7) & ~(uint64_t)7;
}

// segment_last_possible is the last sequence that a file of so many bytes can hold. One of more than
// SEGMENT_BYTES has a single group, of fewer records; or somebody made it larger.
static inline uint64_t
segment_last_possible(uint64_t first, uint64_t bytes)
{
    uint64_t used = bytes < SEGMENT_BYTES ? bytes : SEGMENT_BYTES;
    uint64_t records =
        used > SEGMENT_HEADER ? (used - SEGMENT_HEADER) / SEGMENT_RECORD_MIN : 0;

    return first + records - 1;
}

// A range of sequences. Empty when `first` is 0, or after `last`.
struct range {
    uint64_t first, last;
};

// range_cover is the smallest range that holds both; one whose `first` is 0 counts for none.
static inline struct range
range_cover(struct range a, struct range b)
{
    if (a.first == 0 || b.first == 0)
        return a.first ? a : b;
    return (struct range){a.first < b.first ? a.first : b.first,
                          a.last > b.last ? a.last : b.last};
}

// range_trim takes what lies in `off` away from both ends of *r.
static inline void
range_trim(struct range *r, struct range off)
{
    if (r->first >= off.first && r->first <= off.last)
        r->first = off.last + 1;
    if (r->last >= off.first && r->last <= off.last)
        r->last = off.first - 1;
}

// segment_name writes the file name that belongs to a header.
static inline void
segment_name(char *name, const struct segment_header *h)
{
    snprintf(name, SEGMENT_NAME, "%016" PRIx64 "-%08" PRIx32 ".wal", h->first,
             h->generation);
}

// segment_frame_crc is the checksum of a frame and its payload under a salt.
static inline uint32_t
segment_frame_crc(uint64_t salt, const struct segment_frame *f, const void *payload)
{
    uint32_t crc = crc_of(0, &salt, sizeof salt);

    crc = crc_of(crc, &f->length, sizeof f->length);
    crc = crc_of(crc, &f->sequence, SEGMENT_FRAME - 8);
    return crc_of(crc, payload, f->length);
}

static inline uint32_t
segment_header_crc(const struct segment_header *h)
{
    return crc_of(0, h, SEGMENT_HEADER - sizeof h->crc);
}

// What is missing between two records, before a seal, or at the end of a segment after which
// another one goes on. Empty (`first` after `last`) when there are only meaningless bytes.
struct segment_hole {
    uint64_t first, last;
    // Up to here it had been acknowledged, as the frame after it or the next segment shows,
    // unless a header says that it was skipped. May lie before `first`.
    uint64_t proved;
    uint64_t from, to; // the bytes that stand there
};

// A scan reads a segment from its first record to its end, and judges what is missing on the
// way. Recovery, cursors, verify and salvage all see a segment through it. It belongs to one
// thread.
struct segment_scan {
    int fd;
    struct segment_header header;
    uint64_t offset;     // of what comes next
    uint64_t end;        // nothing is read from here on; the caller may move it
    uint64_t after;      // the last sequence passed (or first - 1)
    uint64_t next_first; // the next segment goes on from this sequence; 0: none is known
    bool live;           // another thread or process may write it: see SEGMENT_CHECK
    struct tail *tail;   // asked for bytes before the file is, NULL: none
    bool passes_unreadable; // what cannot be read is no record, instead of SEGMENT_ERROR
    bool sealed;            // SEGMENT_END: it was closed cleanly
    int checks;             // SEGMENT_CHECKs given; the caller may start again
    struct segment_frame frame; // of SEGMENT_RECORD; of what follows a SEGMENT_HOLE
    const char *payload;        // of SEGMENT_RECORD, in the chunk, until the next call
    struct segment_hole hole;   // of SEGMENT_HOLE
    struct buf chunk;
    uint64_t chunk_at;   // offset in the file of chunk's first byte
    uint64_t read_again; // where a hole of a live segment was not believed at once
};

enum segment_result {
    SEGMENT_ERROR = -1, // I/O error, *err set (ERR_AGAIN)
    SEGMENT_END = 0,    // nothing more
    SEGMENT_RECORD = 1,
    SEGMENT_HOLE = 2,
    // Only of a live segment, before its end or a hole is believed: bring `end` and
    // `next_first` up to date and call again.
    SEGMENT_CHECK = 3,
};

// segment_scan_open opens a file of a directory and begins before its first record. Its header
// is read, unless it is known. ERR_INPUT when it is not one we know, or cannot be read because
// its block is broken (err->error). The rest of *s, after this, is the caller's to set.
// segment_scan_close is fine for one that is not open (fd -1).
int segment_scan_open(struct segment_scan *s, int dir, const char *name,
                      const struct segment_header *known, struct err *err);

static inline void
segment_scan_close(struct segment_scan *s)
{
    if (s->fd < 0)
        return;
    close(s->fd);
    buf_release(&s->chunk);
    s->fd = -1;
}

enum segment_result segment_scan_next(struct segment_scan *s, struct err *err);

// segment_scan_has_remains says whether there is something after what a scan found, at its end.
bool segment_scan_has_remains(const struct segment_scan *s);

#endif
