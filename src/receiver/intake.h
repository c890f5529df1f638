// The intake takes a request through the gate into the journal and answers it: 200 only
// when the delivery is durable.
#ifndef ACRELAY_RECEIVER_INTAKE_H
#define ACRELAY_RECEIVER_INTAKE_H

#include "edge/http.h"
#include "journal/journal.h"
#include "receiver/snapshot.h"

struct intake;

// intake_open holds the snapshot from now on, and sets what *options has of its own: the
// callbacks and their context.
struct intake *intake_open(struct journal *j, struct snapshot *s,
                           struct http_options *options);

// intake_replace takes over a new snapshot and drops the old one, which requests in progress may
// still hold.
void intake_replace(struct intake *i, struct snapshot *s);

// intake_drain has every answer close its connection from now on.
void intake_drain(struct intake *i);

// intake_report_lost logs how many deliveries were answered 503 without a line of their own;
// called now and then, and with INT64_MAX at the end.
void intake_report_lost(int64_t now_ms);

#endif
