// A worker is what is known of one of the HTTP server's threads: which connection it serves,
// since when it waits, and until when it may. A timekeeper looks at all of them each tick.
#ifndef ACRELAY_EDGE_WORKERS_H
#define ACRELAY_EDGE_WORKERS_H

#include "base/err.h"
#include "edge/later.h"

#include <pthread.h>

enum { WORKERS_TICK_MS = 200 };

struct worker {
    // Its own thread's, about the connection it serves.
    int64_t since_ms;  // of the wait for a request's head
    unsigned requests; // so far
    int fd;            // -1: not known
    struct laters laters;
    // workers.c's
    struct worker *next;
    pthread_t thread;
    pthread_mutex_t lock;
    int64_t deadline_ms; // of the read under way, 0: none; under lock
};

struct workers {
    pthread_mutex_t lock;
    struct worker *first; // grows only; under lock
    void (*expire)(struct later *l);
};

// workers_start starts the timekeeper, which has `expire` finish answers whose time is up
// (laters_expire), and takes SIGURG for itself. It ends with the process.
int workers_start(struct workers *ws, void (*expire)(struct later *l), struct err *err);

// workers_add makes the calling thread a worker, until the process ends.
struct worker *workers_add(struct workers *ws);

// worker_set_deadline says until when (clock_mono_ms) the read that follows may last; 0: it
// is over. A read that is late is interrupted.
void worker_set_deadline(struct worker *w, int64_t deadline_ms);

#endif
