// The intake takes a request through the gate into the journal and answers it: 200 only
// when the delivery is durable.
#ifndef ACRELAY_RECEIVER_INTAKE_H
#define ACRELAY_RECEIVER_INTAKE_H

#include "base/metric.h"
#include "edge/http.h"
#include "journal/journal.h"
#include "receiver/gate.h"

// What the intake goes by: a configuration with its secrets and gate, read-only. Replaced as
// a whole by a reload.
struct rules {
    struct config *config;
    struct secrets *secrets;
    struct gate *gate;
    struct metric **accepted; // by hook: counters of 200
    struct metric **last;     // by hook: when the last of them came
};

// rules_make reads and checks the file; problems are logged line by line.
struct rules *rules_make(const char *file, struct err *err);
void rules_release(struct rules *r); // NULL is fine

struct intake;
struct intake *intake_open(struct journal *j, struct rules *rules, int threads);

// intake_replace takes over new rules. Requests in progress may still use the old ones, and
// nobody knows until when: they are kept for ever.
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
