// What became of the reloads: whoever asked for one (`acrelay reload`) compares the count before
// and after. One of these per process; any thread.
#ifndef ACRELAY_EDGE_RELOADS_H
#define ACRELAY_EDGE_RELOADS_H

#include "base/buf.h"

#include <stdbool.h>

// reloads_start makes the metrics: none yet, and the file is in use.
void reloads_start(void);

// reloads_report counts a reload that is over: new settings are in use, or the old ones stay.
// `message` says why, escaped and without secrets.
void reloads_report(bool ok, const char *message);

// reloads_use_last_good says that the last good configuration is in use instead of the file's,
// and why; NULL: the file's is in use.
void reloads_use_last_good(const char *why);

// reloads_write appends the member of /readyz:
// "reload":{"count":3,"ok":false,"last_good":false,"message":"..."}
void reloads_write(struct buf *json);

#endif
