// The source of the rules: the configuration file; or, at a start while the file is not valid,
// the last good configuration, until the file is mended. The file is then looked at every 5 s,
// and read when it stood still between two looks. So it is in the first seconds after a start,
// when it may have been read while it was being written. Otherwise only SIGHUP has it read.
#ifndef ACRELAY_RECEIVER_SOURCE_H
#define ACRELAY_RECEIVER_SOURCE_H

#include "receiver/last_good.h"
#include "receiver/rules.h"

#include <sys/stat.h>

struct source {
    const char *file;
    struct last_good kept;
    bool is_last_good; // in use
    bool is_valid;     // the file, when it was read last
    struct buf text;   // of the file, as read last
    struct buf good;   // while is_last_good: its text
    struct stat seen;
    bool judged; // the file as `seen` was read
    int64_t step_ms, look_ms, until_ms;
};

// source_start reads the file, or takes the last good configuration, with an alarm. NULL with
// *err when neither can be used, or a secret is missing.
struct rules *source_start(struct source *s, const char *file, const char *directory,
                           struct err *err);

// source_read reads the file for a reload; NULL with *err (s->is_valid says whether it was the
// file's own fault).
struct rules *source_read(struct source *s, const struct rules *before, struct err *err);

// source_narrow, after source_read found the file not valid again: the last good configuration
// without what the file now shows to be removed.
struct rules *source_narrow(struct source *s, const struct rules *before,
                            struct err *err);

// source_keep: the rules that were read last are in use. Their text is kept as the last good.
void source_keep(struct source *s);

// source_is_due says whether the file is to be read now.
bool source_is_due(struct source *s);

#endif
