// The journal is the ordered segments of one directory: where a delivery is durable before
// it is answered. Records are opaque bytes with a sequence number that rises by one for
// ever. One process holds a journal (lock); readers of the same process use cursor.h; other
// processes may read it without the lock (cursor_open_reader).
//
// Threads: records may be appended from any number of threads at once. A committer thread of
// the journal's own writes and syncs what waits with one call, and wakes or calls
// exactly those whose records it made durable (group commit). A second thread of its own
// prepares zero-filled spare segments and removes old ones.
#ifndef ACRELAY_JOURNAL_JOURNAL_H
#define ACRELAY_JOURNAL_JOURNAL_H

#include "base/buf.h"
#include "base/err.h"

#include <errno.h>
#include <stdint.h>

enum {
    JOURNAL_ID_BYTES = 16,
    JOURNAL_ID_TEXT = 33,          // 32 hex digits and a NUL
    JOURNAL_RECORD_MAX = 64 << 20, // ceiling for one record's payload
};

// The default of bytes_max, or half the file system where that is less.
#define JOURNAL_BYTES_MAX (UINT64_C(8) << 30)

struct journal_options {
    const char *directory;   // state_dir; made with mode 0700 when absent
    uint64_t segment_bytes;  // 0: 16 MiB
    int64_t keep_us;         // published records are kept this long (CLOCK_BOOTTIME) ...
    uint64_t keep_bytes_max; // ... or up to this many bytes, whichever is less
    uint64_t bytes_max;      // total on disk; 0: JOURNAL_BYTES_MAX
    int64_t lock_wait_ms;    // wait this long for another process to let go
    bool force; // allow what is refused of a directory: network, memory, others' rights
};

struct journal;

// journal_open takes the lock (EXIT_CODE_LOCK when it cannot, naming the holder's pid; logs
// that after 1 s of waiting, and warns after 30 s), makes the directory and the journal's id
// if it is new, reads the headers of all segments and scans the last one. EXIT_CODE_DIRECTORY when
// the directory cannot be written. Damage never makes it fail: what cannot be understood, or
// whose header cannot be read, is quarantined in bad/; the cursor reports it as a gap. After a
// header, a block that cannot be read (EIO) makes the cursor wait: it may come back, and
// unpublished records are not given up for it. The way out is to move the segment into bad/
// while the journal is closed; cursor_open_file reads around the block.
struct journal *journal_open(const struct journal_options *options, struct err *err);

// journal_close commits what waits, stops the threads, shrinks the last segment to its used
// length, and gives the lock back. NULL is fine.
void journal_close(struct journal *j);

// Whom to call about a record, with its context and ticket: exactly once, by the committer, in
// the order of the records. It must not block.
typedef void journal_done(void *context, uint32_t ticket, bool durable);
struct journal_waiter {
    journal_done *done;
    void *context;
    uint32_t ticket;
};

// journal_append makes payload durable and sets *sequence (may be NULL). With a waiter, which
// is copied, it returns as soon as the record is in the open group. Without one (NULL) it
// blocks until that group is synced, at most wait_ms. ERR_AGAIN: not made durable (no room in
// the group, not in time); then the waiter is never called. What was not durable in time may
// become so later, as after a crash. Never returns 0, or calls with `durable`, before the sync
// has.
int journal_append(struct journal *j, struct span payload, int64_t wait_ms,
                   const struct journal_waiter *waiter, uint64_t *sequence,
                   struct err *err);

// journal_publish says that every record up to `sequence` is in its stream, as the
// Redis master answered; it may go back (Redis lost data). Room is made only below it. It is
// called with each cursor read, also of an unchanged one, and with when that was (clock_boot_us; of
// several cursors the oldest): `keep` and `keep_max` remove segments only while that is at most 10 s
// ago.
void journal_publish(struct journal *j, uint64_t sequence, int64_t read_us);

// journal_reserve makes the next sequence at least `sequence` + 1. Called when the cursor in Redis is
// ahead of the journal: a lost tail must not be numbered again. False, and nothing is done, when a
// number was given out since the opening, whether or not its record is durable yet.
bool journal_reserve(struct journal *j, uint64_t sequence);

// journal_is_damage: this errno of a read says that a block, or what should locate it, is broken.
static inline bool
journal_is_damage(int error)
{
    return error == EIO || error == EUCLEAN || error == EBADMSG || error == ENODATA;
}

// journal_id is 32 hex digits, as long as the journal exists.
const char *journal_id(const struct journal *j);

// A snapshot of its counters; cheap, any thread.
struct journal_status {
    uint64_t first;     // oldest sequence still kept, 0 when there is no record
    uint64_t last;      // newest durable sequence, 0 when there is none
    uint64_t published; // as last given to journal_publish
    // Age of the first record above `published`, 0 when there is none. By CLOCK_BOOTTIME; of a
    // record of an earlier process at least the time since the opening.
    int64_t oldest_unpublished_age_us;
    uint64_t bytes;       // on disk, spares included
    uint64_t bytes_free;  // that records can still take, in place of published ones too
    int64_t first_age_us; // of the first record since start, 0: none yet
    uint64_t segments, spares, damaged; // damaged: ranges quarantined since start
    uint64_t records, record_bytes;     // appended since start
    uint64_t commits, commit_us; // groups since start, and the time their syncs took
    uint64_t sync_errors;
    uint64_t unconfirmed;  // segments removed for room, with no cursor read for 10 s
    bool clock_held;       // the wall clock stepped: `keep` and `keep_max` are suspended
    int64_t clock_step_us; // by so much; 0 unless held
    // Deliveries cannot be made durable: a group failed in the last 10 s and none was made
    // durable since; if the journal was full, it still is. Then it is no longer reported, or a
    // balancer that went away would never bring the delivery that shows that it works again.
    // What can be found out without one, that there is no room (also at a start on a full disk),
    // is reported for as long as it lasts.
    bool failing;
    char reason[504];   // why it is failing, with the errno's name; "": it is not
    const char *advice; // what to do about that; "": nothing
};
void journal_read_status(struct journal *j, struct journal_status *status);

// journal_is_failing is its `failing` alone, for callers who ask as often as a stranger likes: the age
// of what waits may have to be read from a segment.
bool journal_is_failing(struct journal *j);

#endif
