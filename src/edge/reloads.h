// What became of the reloads. One of these per process; any thread. SIGHUP asks for one, or
// POST /reload on the admin listener, whose answer has a number: that reload is over, and its
// result stands in /readyz, when `done` there is as great (`acrelay reload` waits for it).
#ifndef ACRELAY_EDGE_RELOADS_H
#define ACRELAY_EDGE_RELOADS_H

#include "base/buf.h"

#include <stdbool.h>

// reloads_start makes the metrics: none yet, and the file is in use.
void reloads_start(void);

// reloads_ask sends this process SIGHUP, and gives the number to wait for.
unsigned long long reloads_ask(void);

// reloads_begin is called before a reload reads anything: what is asked for from here on is
// another one.
void reloads_begin(void);

// reloads_report counts a reload that is over: new settings are in use, or the old ones stay.
// `message` says why, escaped and without secrets.
void reloads_report(bool ok, const char *message);

// reloads_use_last_good says that the last good configuration is in use instead of the file's,
// and why; NULL: the file's is in use.
void reloads_use_last_good(const char *why);

// reloads_write appends the member of /readyz:
// "reload":{"count":3,"done":1,"ok":false,"last_good":false,"message":"..."}
void reloads_write(struct buf *json);

#endif
