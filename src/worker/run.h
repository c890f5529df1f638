// What the loop (run.c) and its rounds (round.c) share. Internal to these two.
#ifndef ACRELAY_WORKER_RUN_H
#define ACRELAY_WORKER_RUN_H

#include "base/metric.h"
#include "worker/commands.h"
#include "worker/worker.h"

#include <signal.h>
#include <stdatomic.h>

enum { SLICE_MS = 1000 }; // of a wait, so that the lease is kept

enum { RUN_ROUND_OK, RUN_LEADER, RUN_OK_AGE, RUN_THROTTLES, RUN_METRICS };
extern struct metric run_metrics[RUN_METRICS];

struct run {
    struct worker *w;
    struct monitor monitor;
    struct commands commands;
    sigset_t signals;
    bool stopping, hangup;
    bool leads;    // in this round; true before the first one
    unsigned term; // of the last round
    struct files files;
    uint64_t fresh_secrets;     // of a new file, not watched before
    struct once missing;        // the file
    int64_t round_ms, check_ms; // when they are due
    int64_t turn_ms; // from then on who has the lock is the leader; 0: nobody else has it
    int64_t backoff_ms;
    struct once failure;
    char trouble[600];      // of the last round, "" for none
    bool failed;            // since the last round that wrote all
    bool wait_reported;     // since the last round that succeeded
    struct buf refused;     // lines of the last round
    _Atomic(int64_t) ok_us; // when it was, or another worker's was not ours to report
};

// run_stat_files sees whether the configuration or a secret has changed.
void run_stat_files(struct run *r);

// run_round lists, plans and writes, where this worker is the leader.
void run_round(struct run *r);

#endif
