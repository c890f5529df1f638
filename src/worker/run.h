// What the loop of `run` (run.c) and its rounds (round.c) share. One thread, but for what is
// atomic.
#ifndef ACRELAY_WORKER_RUN_H
#define ACRELAY_WORKER_RUN_H

#include "base/clock.h"
#include "edge/admin.h"
#include "worker/files.h"
#include "worker/told.h"
#include "worker/watch.h"

#include <signal.h>
#include <stdatomic.h>

enum { SLICE_MS = 1000, LOOK_MS = 10000 };

struct run {
    struct worker *w;
    struct watch *watch;
    sigset_t signals;
    bool stopping, hangup, standby;
    struct files files;
    uint64_t fresh_secrets;    // of a new file, not watched before
    bool missing;              // the file, and that was said
    int64_t round_ms, look_ms; // when they are due
    char said[504];            // the last failure, so that it is said once
    bool waits;                // was reported since the last round that succeeded
    unsigned failures;         // rounds in a row
    struct told refused;       // hooks
    _Atomic(bool) good;        // the last round
    _Atomic(int64_t) ok_us;    // when it was, or another worker's was not ours to tell
};

// Suspended time counts: after it a round is due.
static inline int64_t
run_now_ms(void)
{
    return clock_boot_us() / 1000;
}

// run_round lists, plans and writes, where this worker is the leader; sets round_ms, when the
// next one is due.
void run_round(struct run *r);

#endif
