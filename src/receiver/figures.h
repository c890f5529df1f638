// Figures mirror the status of journal and relay into metrics, at each read of /metrics.
#ifndef ACRELAY_RECEIVER_FIGURES_H
#define ACRELAY_RECEIVER_FIGURES_H

#include "journal/journal.h"
#include "relay/relay.h"

#include <pthread.h>

struct figures {
    pthread_mutex_t lock;
    struct journal *journal; // NULL once they are stopped
    struct relay *relay;
};

// figures_start registers them; f stays the caller's until the process ends.
void figures_start(struct figures *f, struct journal *j, struct relay *r);

// figures_stop ends their use of journal and relay: when it returns these may be released,
// though the admin listener still answers. /metrics keeps the last figures then.
void figures_stop(struct figures *f);

// figures_ready is the admin listener's readiness: 503 only when deliveries cannot be made
// durable, as after figures_stop. Redis away is told, and is no reason (a balancer that drops
// us loses events).
bool figures_ready(struct buf *checks, void *figures);

#endif
