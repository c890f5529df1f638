// A layout says which of a journal's records are spread over how many partitions. A tag is what a
// partition's keys lie under: tag 0 is {ac}, where all is in one place, tag i + 1 is {ac.i}.
//
// Who owns a record is decided by its sequence and its subject alone, whatever redis.partitions is
// now: so what was published before a change is found where it is, and is sent there again if Redis
// loses it.
#ifndef ACRELAY_RELAY_LAYOUT_H
#define ACRELAY_RELAY_LAYOUT_H

#include "config/config.h"

enum { LAYOUT_RANGES_MAX = 64, LAYOUT_TAGS_MAX = CONFIG_PARTITIONS_MAX + 1 };

struct layout {
    struct layout_range {
        uint64_t first; // up to the next range's
        int partitions;
    } at[LAYOUT_RANGES_MAX];
    size_t len; // 1 or more
};

// layout_read reads the file of this journal. 1, 0 where there is none, -1 with *err where it is
// damaged or another journal's.
int layout_read(struct layout *l, const char *directory, const char *journal_id,
                struct err *err);

// layout_open is layout_read for who only reads: where there is no file, all is as c says.
int layout_open(struct layout *l, const struct config *c, const char *directory,
                const char *journal_id, struct err *err);

// layout_write replaces it durably.
int layout_write(const struct layout *l, const char *directory, const char *journal_id,
                 struct err *err);

// layout_is_single: all of it is in one place, as it is where there is no file.
static inline bool
layout_is_single(const struct layout *l)
{
    return l->len == 1 && l->at[0].partitions == 1;
}

// layout_switch spreads the records from `first` on over so many partitions. -1: too many changes.
int layout_switch(struct layout *l, uint64_t first, int partitions, struct err *err);

// layout_forget drops ranges at the beginning: those before `kept`, whose tags are all either in a
// later range or `empty` (by tag). The range after takes their place, so that what Redis loses of them is
// still reported as a gap. Returns whether any was.
bool layout_forget(struct layout *l, uint64_t kept, const bool empty[LAYOUT_TAGS_MAX]);

// layout_owner gives the tag that owns a record.
int layout_owner(const struct layout *l, uint64_t sequence, struct span subject);

// layout_cut narrows a range of sequences to what a tag can own of it. False: nothing.
bool layout_cut(const struct layout *l, int tag, uint64_t *first, uint64_t *last);

// layout_find gives the first and last sequence that a tag can own (UINT64_MAX: it goes on). False:
// none.
bool layout_find(const struct layout *l, int tag, uint64_t *first, uint64_t *last);

// layout_tag writes the name of a tag, without braces, and gives it.
const char *layout_tag(const char *namespace, int tag, char to[CONFIG_TAG]);

#endif
