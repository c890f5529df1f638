// Deliveries that were answered 503 and may be lost. The log tells of the first at once, and
// of those of the next second by their number: a disk that fails under load must not have to
// take a line for each, and who answers must not wait for stderr that often.
#ifndef ACRELAY_RECEIVER_LOST_H
#define ACRELAY_RECEIVER_LOST_H

#include <pthread.h>
#include <stdint.h>

enum { LOST_PAUSE_MS = 1000 }; // between two deliveries that have a line

struct lost {
    pthread_mutex_t lock;
    int64_t quiet_until_ms;
    uint64_t untold;
};

void lost_init(struct lost *l);

// lost_add adds a delivery (now: clock_mono_ms). Any thread.
void lost_add(struct lost *l, int64_t now_ms, const char *hook, const char *why);

// lost_tell tells how many are untold, LOST_PAUSE_MS after the last one that had a line;
// called now and then, and with INT64_MAX at the end. Any thread.
void lost_tell(struct lost *l, int64_t now_ms);

#endif
