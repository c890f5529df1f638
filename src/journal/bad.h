// bad/ holds what was set aside: segments that are not understood, and copies of damaged
// ranges. It is bounded: copies stop at BAD_FILES_MAX files or BAD_BYTES_MAX bytes, and files
// go after BAD_KEEP_DAYS. Internal to the floor.
#ifndef ACRELAY_JOURNAL_BAD_H
#define ACRELAY_JOURNAL_BAD_H

#include "base/err.h"

#include <stdint.h>

enum { BAD_FILES_MAX = 1000, BAD_BYTES_MAX = 256 << 20, BAD_KEEP_DAYS = 90 };

// bad_set_aside moves a file of `dir` to bad/, says so and why, and counts it.
void bad_set_aside(int dir, const char *name, const char *why, uint64_t *count);

// bad_copy copies a range of a file to bad/<name>.<offset>. 1, 0 when that was done before, -1
// with *err.
int bad_copy(int dir, int fd, const char *name, uint64_t from, uint64_t to,
             struct err *err);

// bad_clean removes what was put there more than BAD_KEEP_DAYS before now_us (wall clock).
// Only files whose names we give are touched.
void bad_clean(int dir, int64_t now_us);

#endif
