// The normal form: a tree written as the JSON that consumers find in `data`
// (NORMAL-FORM.md R4 to R7).
#ifndef ACRELAY_EVENT_NORMAL_H
#define ACRELAY_EVENT_NORMAL_H

#include "event/tree.h"

// normal_write appends the JSON object for a tree. At the ceiling *to is `full`.
void normal_write(struct buf *to, const struct tree *t);

#endif
