// What was told in the round before is not told again, until a round passes without it. One
// thread.
#ifndef ACRELAY_WORKER_TOLD_H
#define ACRELAY_WORKER_TOLD_H

#include "base/buf.h"

struct told {
    struct buf now, before; // lines of this round and of the one before
};

void told_init(struct told *t);

// told_note logs an error that was not there in the round before.
void told_note(struct told *t, const char *text);
bool told_has(const struct told *t, const char *text); // in this round
void told_end(struct told *t);                         // of a round

#endif
