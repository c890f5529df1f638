// The bytes of dead letters that Redis does not take (too large for it, or for a proxy before
// it): a file each in bad/ of the journal's directory, synced before the letter is written and
// kept until it is dropped, replayed or trimmed. They are deliveries, so personal data.
#ifndef ACRELAY_RELAY_ASIDE_H
#define ACRELAY_RELAY_ASIDE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

enum { ASIDE_FILES_MAX = 1000, ASIDE_BYTES_MAX = 256 << 20, ASIDE_NAME = 64 };

// aside_name writes the file's name, "<ce_id>.body"; false when id is no ce_id.
bool aside_name(char to[ASIDE_NAME], struct span id);

// aside_keep makes the bytes of this ce_id durable. 1, 0 when there are as many as may be, -1
// with *err when they cannot be written.
int aside_keep(const char *directory, struct span id, struct span bytes, struct err *err);

// aside_read appends them to *to. 1, 0 when there are none, -1 when they cannot be read.
int aside_read(const char *directory, struct span id, struct buf *to, struct err *err);

void aside_remove(const char *directory, struct span id);

// aside_sweep removes those of this journal with a sequence before the given one: their letters
// are gone. aside_holds says whether there are any at all.
void aside_sweep(const char *directory, const char *journal_id, uint64_t before);
bool aside_holds(const char *directory);

#endif
