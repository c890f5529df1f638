// A hearer ends the program at once when a stop (SIGTERM, SIGINT) is told during the start,
// which may wait long for a predecessor's journal while nothing is admitted yet.
#ifndef ACRELAY_RECEIVER_HEARER_H
#define ACRELAY_RECEIVER_HEARER_H

#include "base/err.h"

#include <pthread.h>

struct hearer {
    pthread_t thread;
};

// hearer_start begins to hear. The caller has both signals blocked, and leaves them so.
int hearer_start(struct hearer *h, struct err *err);

// hearer_stop ends that: a stop that is told from now on stays pending for the caller.
void hearer_stop(struct hearer *h);

#endif
