// How old records are, by CLOCK_BOOTTIME: when this process made them durable, kept as marks
// about a second apart. When marks run out, every second one goes: the error stays small
// against the age of the oldest. Internal to the floor; the caller holds the journal's lock.
#ifndef ACRELAY_JOURNAL_AGE_H
#define ACRELAY_JOURNAL_AGE_H

#include <stddef.h>
#include <stdint.h>

enum { AGE_MARKS = 256 };

struct age_marks {
    struct age_mark {
        uint64_t first; // records from here on were made durable at boot_us or later
        int64_t boot_us;
    } at[AGE_MARKS];
    size_t len;
    int64_t spacing_us;
};

// age_mark says that the records from `first` on became durable at boot_us. What stands at or
// below `published` may be forgotten.
void age_mark(struct age_marks *m, uint64_t first, int64_t boot_us, uint64_t published);

// age_find gives when (clock_boot_us) a record became durable, never later than it did; 0 when
// that was before the first mark.
int64_t age_find(const struct age_marks *m, uint64_t sequence);

#endif
