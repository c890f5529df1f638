// Retry-After says in an answer how long to wait before the next request (RFC 9110 10.2.3):
// whole seconds, or a date in one of the three forms of 5.6.7. Pure.
#ifndef ACRELAY_BASE_RETRY_AFTER_H
#define ACRELAY_BASE_RETRY_AFTER_H

#include "base/span.h"

#include <stdint.h>

enum { RETRY_AFTER_MAX_MS = 900000 };

// retry_after_ms gives the time to wait, at most RETRY_AFTER_MAX_MS, 0 for a date that has
// passed, or -1 when the value cannot be used. A date counts from `date`, the Date header of
// the same answer, so that no clock of ours matters; without one it cannot be used. Fractions
// and a header that was sent twice ("6, 6": the longest) are read too.
int64_t retry_after_ms(struct span value, struct span date);

#endif
