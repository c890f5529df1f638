// A cursor is a reader's place in a journal. It belongs to one thread. It sees records only
// once they are durable, in order, and meets damage as a gap instead of stopping.
#ifndef ACRELAY_JOURNAL_CURSOR_H
#define ACRELAY_JOURNAL_CURSOR_H

#include "journal/journal.h"

struct cursor;

struct record {
    uint64_t sequence;
    int64_t received_us; // wall clock, which may have gone back: `sequence` is the order
    struct span payload;
    // CURSOR_GAP: the first sequence that is missing; `sequence` is the last one, and
    // received_us the receipt of a record near it, or else now.
    uint64_t gap_first;
    const char *gap_reason; // "damaged", "no longer kept"
};

enum cursor_result {
    CURSOR_ERROR = -1,
    CURSOR_END = 0, // caught up
    CURSOR_RECORD = 1,
    CURSOR_GAP = 2,
};

// cursor_open makes a reader of j that starts after sequence `after`.
struct cursor *cursor_open(struct journal *j, uint64_t after);
void cursor_close(struct cursor *c); // NULL is fine

// cursor_open_reader opens a directory for reading only, without lock or writer, live or
// not; what another process appends later is seen. It gives the journal's id (which may be
// NULL). EXIT_CODE_DIRECTORY when it is not a journal.
struct cursor *cursor_open_reader(const char *directory, uint64_t after,
                                  char id[JOURNAL_ID_TEXT], struct err *err);

// cursor_open_file reads what can be read out of one file: a segment, whole or damaged, from a
// journal's directory or its bad/. Each record is valid by its own checksum; a block that cannot be
// read is passed. ERR_INPUT when the file is no segment with a readable header. Not for cursor_seek.
struct cursor *cursor_open_file(const char *path, struct err *err);

// cursor_next reads the next record; rec->payload is valid until the next call with the
// same cursor. CURSOR_ERROR (ERR_AGAIN) is an I/O error: try again later.
enum cursor_result cursor_next(struct cursor *c, struct record *rec, struct err *err);

// cursor_seek moves after sequence `after`, forward or back.
void cursor_seek(struct cursor *c, uint64_t after);

// cursor_wait blocks until a record after the cursor is durable, cursor_wake is called
// from another thread, or wait_ms have passed. Only for cursors of cursor_open.
void cursor_wait(struct cursor *c, int64_t wait_ms);
void cursor_wake(struct cursor *c);

#endif
