// What the files of the journal floor share of struct journal. Internal to the floor.
#ifndef ACRELAY_JOURNAL_INSIDE_H
#define ACRELAY_JOURNAL_INSIDE_H

#include "base/clock.h"
#include "base/log.h"
#include "journal/journal.h"
#include "journal/segment.h"
#include "journal/tail.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    RECEIPT_BACK_MAX_US = 1000000, // so far the wall clock may go back unnoticed
    GROUP_BYTES_MAX = 8 << 20,     // a group that holds this much takes no further record
    DAMAGE_REPORTS = 64,
    GROUP_PENDING = 0,
    GROUP_DURABLE = 1,
    GROUP_FAILED = 2,
};

// How old records are, by CLOCK_BOOTTIME: when this process made them durable, kept as marks
// about a second apart. When marks run out, every second one goes: the error stays small
// against the age of the oldest.
enum { AGE_MARKS = 256 };

struct age_marks {
    struct age_mark {
        uint64_t first; // records from here on were made durable at boot_us or later
        int64_t boot_us;
    } at[AGE_MARKS];
    size_t len;
    int64_t spacing_us;
};

// Who wants to be told, instead of sleeping.
struct waiter {
    journal_done *done;
    void *context;
    uint32_t ticket;
};

// A group is the records that share one write and one sync. It lives until the committer
// and every appender that waits for it have dropped it.
struct group {
    _Atomic(uint32_t) result; // futex word
    _Atomic(uint32_t) users;  // the committer, and appenders that sleep
    struct waiter *waiters;
    size_t waiters_len, waiters_cap;
    struct buf bytes; // frames (checksum and `durable` still to be filled) and payloads
    uint64_t first, last;
};

struct journal {
    struct journal_options options;
    unsigned char id[JOURNAL_ID_BYTES];
    char id_text[JOURNAL_ID_TEXT];
    int dir, lock_fd;

    // Held while a segment is removed, by committer or maintenance: one after the other, oldest
    // first, or a crash could leave an older one without a newer.
    pthread_mutex_t removing;
    struct once stuck;     // a removal that failed; under `removing`
    pthread_mutex_t lock;  // for everything below but the committer's own
    pthread_cond_t work;   // to the committer: the open group has records
    pthread_cond_t taken;  // to appenders: a new open group
    pthread_cond_t space;  // to maintenance: look at spares and retention
    pthread_cond_t filled; // to the committer: maintenance is done with it
    pthread_cond_t read;   // to cursors: more is durable
    struct group *open;
    bool idle; // the committer sleeps
    bool stopping;
    uint64_t next, durable, published;
    uint64_t skip_to;  // the next group starts behind it
    struct range skip; // never acknowledged, and not in a segment's header yet
    int64_t last_us;   // receipt of the newest record
    int64_t back_us;   // the receipts went back by so much, and that was not reported yet
    int64_t opened_us, first_us; // clock_boot_us of the opening and of the first commit
    int64_t published_us;        // clock_boot_us of the last cursor read, 0: none yet
    int64_t wall_base_us;        // wall clock minus boot clock, as believed
    bool clock_held;             // the wall clock stepped: nothing is deleted for its age
    bool room_reported; // room was made without a fresh cursor, and that was said
    struct age_marks ages;
    struct segment *segments; // in order; the last one may be the active one
    size_t segments_len;
    uint64_t spare_bytes, damaged;
    uint64_t reported[DAMAGE_REPORTS]; // first sequences of damage that is not in bad/
    size_t reports;
    // When the last group failed (clock_mono_us), 0: it was made durable.
    int64_t failed_us;
    int spare_fd;     // held open for the next segment, -1: not
    bool filling;     // maintenance makes a spare
    bool spare_taken; // and the committer has already used it up
    bool entering;    // the committer makes a segment
    uint64_t bytes_max;
    struct journal_status counts;

    struct tail tail; // of the active segment; locks by itself

    // the committer's own
    int fd; // of the active segment, -1: none
    uint64_t salt, used;
    uint64_t written; // last sequence in the active segment
    uint32_t tries;   // segments begun; part of their names
    bool zeroed;      // the active segment was a spare
    bool failing;     // the last group could not be made durable, and that was said

    // maintenance's own
    struct once spareless;    // no spare can be made
    struct clock_watch watch; // of the wall clock
    int64_t round_us;         // between its rounds
    int64_t fresh_us;         // room is made without an alarm by a cursor read so old
    int64_t back_reported_us; // clock_boot_us, as those below
    int64_t steady_us;        // since when the wall clock is steady
    int64_t cleaned_us;       // when bad/ was

    pthread_t committer, maintenance;
    pthread_mutex_t aged; // for `age`
    struct cursor *age;   // finds the oldest unpublished record
};

// --- dir.c: the files of a journal's directory: lock, segments, spare, bad/ -------------
// All calls take the directory's descriptor; names are ours and never come from outside.

// dir_open opens a directory. For its `owner` (NULL: a reader) it makes it, checks who may
// write there, and takes the exclusive lock, writing our pid into it and waiting for it as the
// options say. EXIT_CODE_DIRECTORY, EXIT_CODE_LOCK, or EXIT_CODE_PERMISSION where others can
// write into it or it is another user's.
int dir_open(const char *path, const struct journal_options *owner, int *lock_fd,
             struct err *err);

// The segments there are, by first sequence, then life. `at` is the caller's to free.
struct segment_list {
    struct segment *at;
    size_t len;
    uint64_t foreign;     // named like segments, and none, or with a damaged header
    uint64_t spare_bytes; // 0: there is no spare
    int spare_fd;         // of the owner's list; -1: none
    uint64_t lost;        // the last sequence that files set aside may have held
};

// dir_list reads the headers of all segments. The owner's list moves what is foreign to bad/,
// removes what a process that died has left, and opens the spare.
int dir_list(int dir, bool owner, struct segment_list *list, struct err *err);

// segment_list_trim_skipped takes away from both ends of *r what the headers say was never
// acknowledged.
static inline void
segment_list_trim_skipped(const struct segment_list *list, struct range *r)
{
    for (size_t i = 0; i < list->len && r->first <= r->last; i++) {
        const struct segment_header *h = &list->at[i].header;
        if (h->skipped_count)
            range_trim(r, (struct range){h->skipped, h->skipped + h->skipped_count - 1});
    }
}

// files_create makes a segment with this header, from a spare when there is one, and syncs
// header, file and directory. `spare` is the descriptor of the spare, taken over, or -1.
// Returns its descriptor, or -1. Whether it went well or not, the spare is gone when
// *from_spare is set.
int files_create(int dir, const struct segment_header *h, int spare, char *name,
                 bool *from_spare, struct err *err);

// dir_make_spare makes one zero-filled, synced spare of `bytes`. Returns its descriptor, which
// is held until the spare is used (so that a segment can begin when no other descriptor is
// left), or -1.
int dir_make_spare(int dir, uint64_t bytes, struct err *err);

// dir_remove removes a segment, and syncs the directory so that removals keep their order. One
// that is not there is fine. With `recycle` the next dir_make_spare overwrites it instead, and
// takes no new room.
int dir_remove(int dir, const char *name, bool recycle, struct err *err);

// --- bad.c: what was set aside -----------------------------------------------------------
// bad/ holds segments that are not understood, and copies of damaged ranges. It is bounded:
// copies stop at BAD_FILES_MAX files or BAD_BYTES_MAX bytes, and files go after BAD_KEEP_DAYS.
enum { BAD_FILES_MAX = 1000, BAD_BYTES_MAX = 256 << 20, BAD_KEEP_DAYS = 90 };

// bad_set_aside moves a file of `dir` to bad/, logs why, and counts it.
void bad_set_aside(int dir, const char *name, const char *why, uint64_t *count);

// bad_copy copies a range of a file to bad/<name>.<offset>. 1, 0 when that was done before, -1
// with *err.
int bad_copy(int dir, int fd, const char *name, uint64_t from, uint64_t to,
             struct err *err);

// bad_clean removes what was put there more than BAD_KEEP_DAYS before now_us (wall clock).
// Only files whose names we give are touched.
void bad_clean(int dir, int64_t now_us);

// group.c
struct group *group_make(void);
void group_drop(struct group *g);
// group_reuse drops a group and returns an empty one: the same, where nobody else has it.
struct group *group_reuse(struct group *g);
void group_finish(struct group *g, uint32_t result);

// commit.c
void *committer_run(void *journal);

// --- journal.c, with the lock ------------------------------------------------------------
// age_mark says that the records from `first` on became durable at boot_us. What stands at or
// below `published` may be forgotten.
void age_mark(struct age_marks *m, uint64_t first, int64_t boot_us, uint64_t published);

// age_find gives when (clock_boot_us) a record became durable, never later than it did; 0 when
// that was before the first mark.
int64_t age_find(const struct age_marks *m, uint64_t sequence);

// --- retention.c -------------------------------------------------------------------------
void retention_init(struct journal *j);
void *maintenance_run(void *journal);
// space_for_segment makes room for one more segment: removes published ones when the journal
// would grow over its bounds. -1 when there is no room. Called without the lock.
int space_for_segment(struct journal *j, struct err *err);
// space_give removes the oldest published segment. -1 when there is none.
int space_give(struct journal *j);
// space_is_missing says whether room would have helped.
bool space_is_missing(const struct err *err);
// space_await_spare waits while maintenance makes a spare: then there is one, or the room that
// it took is free again.
void space_await_spare(struct journal *j);
void space_lost_spare(struct journal *j); // used up, or of no use any more
// Bytes on disk, and those of published segments, which may go; both with the lock.
uint64_t space_used(const struct journal *j);
uint64_t space_published(const struct journal *j);

#endif
