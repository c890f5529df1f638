// The files of a journal's directory: lock, segments, spares, bad/. Internal to the floor.
// All calls take the directory's descriptor; names are ours and never come from outside.
#ifndef ACRELAY_JOURNAL_FILES_H
#define ACRELAY_JOURNAL_FILES_H

#include "journal/segment.h"

// files_open opens (and, with `make`, makes) the directory. EXIT_CODE_DIRECTORY, or
// EXIT_CODE_PERMISSION where others can write into it or it is another user's.
int files_open(const char *path, bool make, bool force, struct err *err);

// files_lock takes the exclusive lock and writes our pid into it, waiting up to wait_ms.
// Returns the descriptor that holds it. EXIT_CODE_LOCK.
int files_lock(int dir, const char *path, int64_t wait_ms, struct err *err);

#define FILES_SPARE "spare" // the name of the zero-filled spare segment

// A list of segments, by first sequence, then life.
struct files_list {
    struct segment *at;
    size_t len;
    uint64_t spare_bytes; // 0: there is no spare
    uint64_t lost;        // the last sequence that files set aside may have held
};

// files_list_read reads the headers of all segments. Files named like one that are not
// segments of ours, or whose header is damaged, are left out and added to *foreign; with
// `aside` they are moved to bad/.
int files_list_read(int dir, bool aside, struct files_list *list, uint64_t *foreign,
                    struct err *err);
void files_list_release(struct files_list *list);

// files_create makes a segment with this header, from a spare when there is one, and syncs
// header, file and directory. `spare` is the descriptor of the spare, taken over, or -1.
// Returns its descriptor, or -1. Whether it went well or not, the spare is gone when
// *from_spare is set.
int files_create(int dir, const struct segment_header *h, int spare, char *name,
                 bool *from_spare, struct err *err);

// files_make_spare makes one zero-filled, synced spare of `bytes`. Returns its descriptor, which
// is held until the spare is used (so that a segment can begin when no other descriptor is
// left), or -1. files_open_spare opens the one that is there, -1 when there is none.
int files_make_spare(int dir, uint64_t bytes, struct err *err);
int files_open_spare(int dir);

// files_drop_fill removes the half-made spare of a process that died.
void files_drop_fill(int dir);

// files_give_to_spare renames a segment that is no longer needed so that the next
// files_make_spare overwrites it and takes no new room.
int files_give_to_spare(int dir, const char *name, struct err *err);

// files_remove removes a file, and syncs the directory so that removals keep their order.
// One that is not there is fine.
int files_remove(int dir, const char *name, struct err *err);

#endif
