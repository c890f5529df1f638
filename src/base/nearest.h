// The nearest word to one that was not found, for "did you mean". Pure.
#ifndef ACRELAY_BASE_NEAREST_H
#define ACRELAY_BASE_NEAREST_H

#include "base/span.h"

struct nearest {
    struct span asked, word; // word: empty when none is near
    size_t distance;         // in single-byte edits
};

// nearest_start looks for words near to `asked`: about a third of it may be wrong (two
// swapped letters are two edits). nearest_try offers a word, which is borrowed.
struct nearest nearest_start(struct span asked);
void nearest_try(struct nearest *n, struct span word);

#endif
