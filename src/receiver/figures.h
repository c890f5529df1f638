// Figures mirror the status of journal and relay into metrics, at each read of /metrics.
#ifndef ACRELAY_RECEIVER_FIGURES_H
#define ACRELAY_RECEIVER_FIGURES_H

#include "journal/journal.h"
#include "relay/relay.h"

struct figures {
    struct journal *journal;
    struct relay *relay;
};

// figures_start registers them; f stays the caller's until the process ends.
void figures_start(struct figures *f);

// figures_ready is the admin listener's readiness: 503 only when deliveries cannot be made
// durable. Redis away is told, and is no reason (a balancer that drops us loses events).
bool figures_ready(struct buf *checks, void *figures);

#endif
