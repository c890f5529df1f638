// Samples are realistic, made-up bodies, one for every kind of delivery AC makes and some
// that it does not list (their names have a dot after the type), from samples.txt, which
// is built into the program. `acrelay send`, the simulator and the tests share them.
// Read-only; any thread.
#ifndef ACRELAY_EVENT_SAMPLES_H
#define ACRELAY_EVENT_SAMPLES_H

#include "base/buf.h"

#include <stdint.h>

struct sample {
    struct span name; // "subscribe", "unsubscribe.reason", "automation"
    struct span body;
};

// samples_next gives the sample after *at (start with 0) and moves it on; false at the end.
bool samples_next(struct sample *s, size_t *at);

// samples_find finds one by name.
bool samples_find(struct sample *s, struct span name);

// samples_type is the Content-Type that a sample is posted with.
struct span samples_type(const struct sample *s);

// samples_vary appends the body with a pair `sample=<n>`, so that no two are the same bytes.
int samples_vary(struct buf *to, const struct sample *s, uint64_t n);

#endif
