// A moment is a point in time as AC writes it: "2024-02-28T07:16:48-06:00", or without an
// offset "2013-09-25 15:31:45", then in the account's time zone (NORMAL-FORM.md R10).
#ifndef ACRELAY_EVENT_MOMENT_H
#define ACRELAY_EVENT_MOMENT_H

#include "base/err.h"
#include "base/span.h"

#include <stdint.h>

// moment_read gives microseconds since 1970 UTC; false when s is no moment, lies outside 1970
// to 9999 in UTC, or has no offset and no zone is set. In an hour that comes twice the earlier
// is meant; a time in a skipped hour is read with the offset in force before it.
bool moment_read(int64_t *us, struct span s);

#endif
