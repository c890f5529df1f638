// The intake takes a request through the gate into the journal and answers it: 200 only
// when the delivery is durable.
#ifndef ACRELAY_RECEIVER_INTAKE_H
#define ACRELAY_RECEIVER_INTAKE_H

#include "edge/http.h"
#include "journal/journal.h"
#include "receiver/rules.h"

struct intake;

// intake_open holds the rules from now on.
struct intake *intake_open(struct journal *j, struct rules *rules, int threads);

// intake_replace takes over new rules and drops the old ones, which requests in progress may
// still hold.
void intake_replace(struct intake *i, struct rules *rules);

// intake_drain has every answer close its connection from now on.
void intake_drain(struct intake *i);

// intake_tell_lost logs how many deliveries were lost since the last line about them (lost.h);
// called now and then, and with INT64_MAX at the end.
void intake_tell_lost(struct intake *i, int64_t now_ms);

http_handler intake_handle; // context: struct intake *
void intake_note_refusal(int code, void *intake);
void intake_expire(struct later *l); // answers 503: not durable in time

#endif
