// The text of the last configuration that was good (before ${}, so without secrets), kept in a
// directory of ours so that a receiver can start with it while the file is not valid. A file
// that is torn, of another version, about another file, or that others could have written is
// not used.
#ifndef ACRELAY_RECEIVER_LAST_GOOD_H
#define ACRELAY_RECEIVER_LAST_GOOD_H

#include "base/buf.h"
#include "base/err.h"

#include <limits.h>

struct last_good {
    char path[PATH_MAX]; // "": there is no directory for it
    const char *file;    // the configuration's own path
};

// last_good_init: `directory` is --state-dir; NULL: the first of $STATE_DIRECTORY.
void last_good_init(struct last_good *l, const char *directory, const char *file);

// last_good_keep makes the text the one that is kept, durably; nothing when it is already. A
// failure is logged: the receiver goes on without.
void last_good_keep(const struct last_good *l, struct span text);

// last_good_read makes *text (the caller's to release) and reads it; *kept_us is when it was
// kept (wall clock). -1 with *err when there is none that can be used.
int last_good_read(const struct last_good *l, struct buf *text, int64_t *kept_us,
                   struct err *err);

#endif
