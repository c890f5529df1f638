// Looking at a journal from outside, for the command line: read-only, without the lock, and
// usable while a receiver writes to it. See also cursor_open_reader.
#ifndef ACRELAY_JOURNAL_INSPECT_H
#define ACRELAY_JOURNAL_INSPECT_H

#include "journal/cursor.h"

enum inspect_state {
    INSPECT_UNREAD,  // only listed
    INSPECT_CLEAN,   // every record there is can be read
    INSPECT_TORN,    // its end was torn off before it was acknowledged: nothing is lost
    INSPECT_DAMAGED, // acknowledged records cannot be read
};

struct inspect_segment {
    const char *name;
    uint64_t first;   // sequence at which it starts
    uint64_t last;    // of its records; when only listed, 0 for the newest
    uint64_t records; // read (0 when only listed)
    uint64_t lost;    // acknowledged and not readable (0 when only listed)
    uint64_t bytes;
    int64_t changed_us;
    enum inspect_state state;
};

struct inspect_total {
    char id[JOURNAL_ID_TEXT];
    uint64_t segments, records, lost, bytes;
    uint64_t payload_bytes;
    uint64_t spare_bytes;
    uint64_t bad_files; // in bad/
    enum inspect_state state;
};

typedef void inspect_each(const struct inspect_segment *s, void *context);

// journal_list goes through the segments in order by their headers, journal_verify reads and
// checks every record as well. `each` is called per segment (may be NULL). 0, or -1 when
// the directory holds no journal (EXIT_CODE_DIRECTORY) or cannot be read.
int journal_list(const char *directory, inspect_each *each, void *context,
                 struct inspect_total *total, struct err *err);
int journal_verify(const char *directory, inspect_each *each, void *context,
                   struct inspect_total *total, struct err *err);

// journal_is_held says whether a process holds the lock of the directory; also when that cannot
// be asked (another user's).
bool journal_is_held(const char *directory);

typedef void inspect_record(const struct record *rec, void *context);

// journal_salvage reads all records that can be read out of one file: a segment, whole or
// damaged, from a journal's directory or its bad/. Each is valid by its own checksum. Their
// number, or -1: ERR_INPUT when the file is no segment with a readable header.
int64_t journal_salvage(const char *path, inspect_record *each, void *context,
                        struct err *err);

#endif
