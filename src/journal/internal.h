// What the files of the journal floor share of struct journal. Internal to the floor.
#ifndef ACRELAY_JOURNAL_INTERNAL_H
#define ACRELAY_JOURNAL_INTERNAL_H

#include "base/clock.h"
#include "base/log.h"
#include "journal/journal.h"
#include "journal/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    RECEIPT_BACK_MAX_US = 1000000, // so far the wall clock may go back unnoticed
    GROUP_BYTES_MAX = 8 << 20,     // a group that holds this much takes no further record
    DAMAGE_REPORTS = 64,
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

// A group is the records that share one write and one sync.
struct group {
    struct buf bytes; // frames (checksum and `durable` still to be filled) and payloads
    struct journal_waiter *waiters;
    size_t len, cap; // of them
    bool has_sleepers;
    uint64_t first, last;
};

// The tail is the end of the segment being written, in memory byte for byte as it goes to the
// disk. It is written from here in whole blocks, past the page cache where the file system
// allows it (O_DIRECT), and readers copy from here what was just synced instead of reading it
// back. One thread writes a tail; any may read.
struct tail {
    pthread_mutex_t lock; // never held during I/O
    void *memory;
    char *bytes; // in memory, aligned to a block
    size_t len, cap;
    uint64_t from; // where bytes[0] is in the file, a multiple of a block
    uint64_t salt; // of the segment; the writer sets it
    bool direct;   // the writer's own
};

// tail_begin takes the place of the tail before: a segment of which only the header is
// written. `zeroed`: its blocks are all written once, so that whole ones may be overwritten.
void tail_begin(struct tail *t, int fd, const struct segment_header *h, bool zeroed);

// tail_write writes bytes to where the segment ends, and syncs them. After an error nothing is
// known of them.
int tail_write(struct tail *t, int fd, struct span bytes, struct err *err);

// tail_read copies what stands at `offset` of the segment with this salt. False: it is not
// here (any more). The caller knows up to where the segment is synced.
bool tail_read(struct tail *t, uint64_t salt, uint64_t offset, char *to, size_t len);

// The segments there are, by first sequence, then generation. `at` is the caller's to free.
struct segment_list {
    struct segment *at;
    size_t len;
    uint64_t foreign;     // named like segments, and none, or with a damaged header
    uint64_t spare_bytes; // 0: there is no spare
    int spare_fd;         // the owner holds it open for the next segment; -1: none
    // The first and the last sequence that the last of the files set aside may have held.
    uint64_t lost_first, lost;
};

static inline void
segment_list_insert(struct segment_list *list, size_t i, const struct segment *s)
{
    list->at = memory_grow(list->at, (list->len + 1) * sizeof *s);
    memmove(list->at + i + 1, list->at + i, (list->len++ - i) * sizeof *s);
    list->at[i] = *s;
}

static inline void
segment_list_remove(struct segment_list *list, size_t i)
{
    list->len--;
    memmove(list->at + i, list->at + i + 1, (list->len - i) * sizeof *list->at);
}

struct journal {
    struct journal_options options;
    unsigned char id[JOURNAL_ID_BYTES];
    char id_text[JOURNAL_ID_TEXT];
    char max_text[24]; // options.bytes_max, for messages
    int dir, lock_fd;

    // Held while a segment is removed, by committer or maintenance: one after the other, oldest
    // first, or a crash could leave an older one without a newer.
    pthread_mutex_t removing;
    struct once stuck;       // a removal that failed; under `removing`
    struct once unconfirmed; // one for room, without a fresh cursor; under `removing`
    pthread_mutex_t lock;    // for everything below but the committer's own
    pthread_cond_t taken;    // to appenders: a new open group
    pthread_cond_t space;    // to maintenance: check spares and retention
    pthread_cond_t filled;   // to the committer: maintenance is done with it
    pthread_cond_t read;     // to cursors: more is durable
    struct group groups[2], *open; // the other one is the committer's
    bool idle;                     // the committer sleeps on append_work
    bool stopping;
    uint64_t recovered; // the last sequence of earlier processes; read-only
    uint64_t next, durable, published;
    uint64_t reserved;    // the next group starts after it
    struct range unacked; // never acknowledged, and not in a segment's header yet
    int64_t last_us;      // receipt of the newest record
    int64_t back_us; // the receipts went back by so much, and that was not reported yet
    int64_t opened_us, first_us; // clock_boot_us of the opening and of the first commit
    int64_t published_us;        // clock_boot_us of the last cursor read, 0: none yet
    int64_t wall_base_us;        // wall clock minus boot clock, as believed
    struct age_marks ages;
    struct segment_list segments;      // the last one may be the active one
    uint64_t reported[DAMAGE_REPORTS]; // first sequences of damage that is not in bad/
    size_t reports;
    // When the last group failed (clock_mono_us), and why; 0: it was made durable.
    int64_t failed_us;
    struct err failed;
    struct err no_room; // ERR_NONE unless maintenance found that no segment can be begun
    bool filling;       // maintenance makes a spare
    bool creating;      // the committer makes a segment
    bool active;        // and has one
    struct journal_status counts;

    struct tail tail; // of the active segment; locks by itself

    // the committer's own
    int fd; // of the active segment, -1: none
    uint64_t used;
    uint32_t tries;      // segments begun; part of their names
    bool zeroed;         // the active segment was a spare
    struct once failing; // the last group could not be made durable

    // maintenance's own
    uint64_t spareless;       // why no spare can be made, as logged: a bit for each errno
    int64_t spareless_ms;     // clock_boot_ms when none could last
    struct once roomless;     // nor a segment be begun
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

// --- system calls -----------------------------------------------------------------------------

// set_direct turns O_DIRECT of a descriptor on or off. Returns whether it is on.
static inline bool
set_direct(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 &&
           fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0 && on;
}

// wake_all has a futex word rise, and wakes all who sleep on it.
static inline void
wake_all(_Atomic(uint32_t) *word)
{
    atomic_fetch_add(word, 1);
    syscall(SYS_futex, (void *)(uintptr_t)word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL,
            0);
}

// rename_new renames a file, and never over another one where the file system can tell.
static inline int
rename_new(int from_dir, const char *from, int to_dir, const char *to)
{
    if (renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0)
        return 0;
    return errno == EINVAL ? renameat(from_dir, from, to_dir, to) : -1;
}

// --- dir.c: the files of a journal's directory: segments, newest, spare, bad/ -----------
// All calls take the directory's descriptor; names are ours and never come from outside.

// dir_open opens the directory for its owner: it makes it, and checks who may write there.
// EXIT_CODE_DIRECTORY, or EXIT_CODE_PERMISSION where others can write into it or it is another user's.
int dir_open(const struct journal_options *options, struct err *err);

// dir_open_reader opens and lists a directory for reading only; *id is the journal's.
// EXIT_CODE_DIRECTORY when it is not one.
int dir_open_reader(const char *path, struct segment_list *list, char id[JOURNAL_ID_TEXT],
                    struct err *err);

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

// dir_create_segment creates the segment with s->header out of the spare (its descriptor, which
// is taken over, or -1), syncs header, file and directory, and sets s->name. Returns its
// descriptor, or -1. *zeroed: its blocks are written, for it was the spare.
int dir_create_segment(int dir, struct segment *s, int spare, bool *zeroed,
                       struct err *err);

// dir_make_spare makes one zero-filled, synced spare of `bytes`. Returns its descriptor, which
// is held until the spare is used (so that a segment can begin when no other descriptor is
// left), or -1.
int dir_make_spare(int dir, uint64_t bytes, struct err *err);

// dir_check_room tries whether a block can be written. -1 with *err.
int dir_check_room(int dir, struct err *err);

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

// bad_clean removes what was put there more than BAD_KEEP_DAYS before now_us (wall clock; 0:
// nothing), and counts the rest. Only files whose names we give are touched; `others` are those
// of people, not the relay's.
struct bad_files {
    uint64_t ours, bytes, others;
};
struct bad_files bad_clean(int dir, int64_t now_us);

// --- append.c ----------------------------------------------------------------------------

// The futex words of those who sleep in journal_append, by the place of their group in
// journal.groups: one rises when that group is answered. And the word of committers that sleep.
// They are no journal's own, because who looks at one once more, or wakes somebody without the
// lock, may find the journal closed.
extern _Atomic(uint32_t) append_turns[2], append_work;

// --- commit.c ----------------------------------------------------------------------------

// writer_start starts the committer; when journal.stopping is set it commits what waits, seals
// and shrinks its segment, and ends.
int writer_start(struct journal *j, struct err *err);

// age_mark says, with the lock, that the records from `first` on became durable at boot_us. What
// stands at or below `published` may be forgotten.
void age_mark(struct age_marks *m, uint64_t first, int64_t boot_us, uint64_t published);

// --- wall_clock.c ------------------------------------------------------------------------

// wall_clock_check compares the wall clock with the boot clock, and reports what they did since the
// last time.
void wall_clock_check(struct journal *j);

// wall_clock_clean_bad cleans bad/, once an hour. Files there are known by the wall clock only, which is
// believed when it has been steady for a day of the boot clock.
void wall_clock_clean_bad(struct journal *j);

// --- retention.c -------------------------------------------------------------------------

// retention_start starts the maintenance thread, which ends when journal.stopping is set.
int retention_start(struct journal *j, struct err *err);

// retention_reserve reserves the room for one more segment until journal.creating is unset;
// published segments are removed when the journal would grow over its bounds. -1 when there
// is no room. Without the lock, as the next one.
int retention_reserve(struct journal *j, struct err *err);

// retention_make_room, after a failure for want of room, removes the oldest published segment
// or else waits for the spare that is just being made. Returns whether one of that was done.
bool retention_make_room(struct journal *j, const struct err *why);

// retention_advice: what an operator can do about a failure to store; it follows "What to do: ".
const char *retention_advice(const struct err *why);

// age_find gives when (clock_boot_us) a record became durable, never later than it did; 0 when
// that was before the first mark. With the lock.
static inline int64_t
age_find(const struct age_marks *m, uint64_t sequence)
{
    size_t i = m->len;

    while (i > 0 && m->at[i - 1].first > sequence)
        i--;
    return i > 0 ? m->at[i - 1].boot_us : 0;
}

#endif
