// Checking a journal from another process, for the command line: read-only, without the lock, and
// usable while a receiver writes to it. See also cursor_open_reader.
#ifndef ACRELAY_JOURNAL_VERIFY_H
#define ACRELAY_JOURNAL_VERIFY_H

#include "journal/cursor.h"

enum verify_state {
    VERIFY_CLEAN,   // every record there is can be read
    VERIFY_TORN,    // bytes that are not a record follow its last one
    VERIFY_DAMAGED, // acknowledged records cannot be read
};

struct verify_segment {
    const char *name;
    uint64_t first, last; // of its records; `last` before `first` when there is none
    uint64_t records;     // that can be read
    uint64_t payload_bytes;
    uint64_t lost; // acknowledged and not readable, in so many `gaps`
    uint64_t gaps;
    enum verify_state state;
};

struct verify_total {
    char id[JOURNAL_ID_TEXT];
    uint64_t first, last; // sequences; 0 when there is no record
    uint64_t records, payload_bytes, lost, gaps;
    uint64_t bad_files; // in bad/
    uint64_t foreign;   // named like segments, and none: nothing of them is counted
    enum verify_state state;
};

// Whom journal_verify calls on its way; each may be NULL.
struct verify_report {
    void (*gap)(uint64_t first, uint64_t last, void *context);
    void (*segment)(const struct verify_segment *s, void *context);
    void *context;
};

// journal_verify reads and checks every record, segment after segment. What is no longer kept
// is not lost, what cannot be read is. 0, or -1 when the directory holds no journal
// (EXIT_CODE_DIRECTORY) or cannot be read.
int journal_verify(const char *directory, const struct verify_report *report,
                   struct verify_total *total, struct err *err);

// journal_is_held says whether a process holds the lock of the directory; also when that cannot
// be asked (another user's).
bool journal_is_held(const char *directory);

#endif
