// A range of sequences. Internal to the journal floor.
#ifndef ACRELAY_JOURNAL_RANGE_H
#define ACRELAY_JOURNAL_RANGE_H

#include "journal/files.h"

// Empty when `first` is 0, or behind `last`.
struct range {
    uint64_t first, last;
};

// range_cover is the smallest range that holds both; one whose `first` is 0 counts for none.
struct range range_cover(struct range a, struct range b);

// range_trim takes what lies in `off` away from both ends of *r.
void range_trim(struct range *r, struct range off);

// range_trim_skipped takes away from both ends of *r what the segments' headers say was
// never acknowledged.
void range_trim_skipped(struct range *r, const struct files_list *list);

#endif
