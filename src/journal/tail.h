// The tail is the end of the segment being written, in memory byte for byte as it goes to the
// disk. It is written from here in whole blocks, past the page cache where the file system
// allows it (O_DIRECT), and readers copy from here what was just synced instead of reading it
// back. One thread writes a tail; any may read. Internal to the floor.
#ifndef ACRELAY_JOURNAL_TAIL_H
#define ACRELAY_JOURNAL_TAIL_H

#include "base/err.h"
#include "base/span.h"

#include <pthread.h>
#include <stdint.h>

struct segment_header;

struct tail {
    pthread_mutex_t lock; // never held during I/O
    void *memory;
    char *bytes; // in memory, aligned to a block
    size_t len, cap;
    uint64_t from; // where bytes[0] is in the file, a multiple of a block
    uint64_t salt; // of the segment
    bool direct;   // the writer's own
};

void tail_init(struct tail *t);
void tail_release(struct tail *t);

// tail_begin takes the place of the tail before: a segment of which only the header is
// written. `zeroed`: its blocks are all written once, so that whole ones may be overwritten.
void tail_begin(struct tail *t, int fd, const struct segment_header *h, bool zeroed);

// tail_write writes bytes to where the segment ends. They are not durable before fdatasync.
int tail_write(struct tail *t, int fd, struct span bytes, struct err *err);

// tail_read copies what stands at `offset` of the segment with this salt. False: it is not
// here (any more). The caller knows up to where the segment is synced.
bool tail_read(struct tail *t, uint64_t salt, uint64_t offset, char *to, size_t len);

#endif
