// Metrics: what a process counts, in the text format of Prometheus (0.0.4). One registry per
// process. Names follow Prometheus: `acrelay_` first, base units (seconds, bytes) and
// `_total` for counters last. Label values come from the configuration or from lists in the
// code, never from the wire: a series lives until the process ends. A gauge of what is no more is set to
// NAN, and not written until it is set again.
//
// A module counts in its metrics, so that nothing has to be copied in order to be shown:
//
//     enum { SENT, QUEUED, METRICS };
//     static struct metric metrics[METRICS] = {
//         [SENT] = METRIC(COUNTER, "acrelay_sent_total", "Records sent."),
//         [QUEUED] = METRIC(GAUGE, "acrelay_queued_records", "Records not sent yet."),
//     };
//     metric_show(metrics, METRICS); // when the module starts
//     metric_add(&metrics[SENT], 1);
//
// A series whose labels are known at run time only is made by metric_find.
//
// Threads: everything here may be called from any thread. Changing a value is an atomic
// operation or two, without a lock; making a series takes a lock, so keep the handle.
#ifndef ACRELAY_BASE_METRIC_H
#define ACRELAY_BASE_METRIC_H

#include "base/buf.h"

#include <stdatomic.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

enum { METRIC_BUCKETS_MAX = 16 };

struct metric {
    enum metric_kind kind;
    const char *name, *help;
    const char *labels; // as they stand between the braces, "" for none
    _Atomic double value;
    struct metric *next;
    const double *bounds; // METRIC_HISTOGRAM: upper bounds in rising order, less than
    size_t bounds_len;    // METRIC_BUCKETS_MAX; the bucket +Inf is added
    _Atomic uint64_t buckets[METRIC_BUCKETS_MAX];
};

// METRIC initialises a static metric, METRIC_WITH one with labels ("clock=\"wall\"").
#define METRIC(KIND, NAME, HELP) METRIC_WITH(KIND, NAME, HELP, "")
// clang-format off
#define METRIC_WITH(KIND, NAME, HELP, LABELS)                                            \
    {.kind = METRIC_##KIND, .name = NAME, .help = HELP, .labels = LABELS}
// clang-format on

// metric_show has metric_write write these static metrics from now on; again is fine.
// Counting works before it too.
void metric_show(struct metric *metrics, size_t len);

// metric_find finds or makes the series of that name and those labels: pairs of name and
// value, ended by NULL. The same name, kind and labels give the same handle, which stays
// valid. `name` and `help` are string literals.
struct metric *metric_find(enum metric_kind kind, const char *name, const char *help, ...)
    __attribute__((sentinel, returns_nonnull));

// metric_add adds to a counter (never less than 0) or a gauge. metric_set sets a gauge, or
// a counter that mirrors a count kept elsewhere. metric_observe is for histograms.
void metric_add(struct metric *m, double amount);
void metric_observe(struct metric *m, double value);

static inline void
metric_set(struct metric *m, double value)
{
    atomic_store_explicit(&m->value, value, memory_order_relaxed);
}

static inline double
metric_read(const struct metric *m) // a histogram: its sum
{
    return atomic_load_explicit(&m->value, memory_order_relaxed);
}

// metric_before_write has `update` called at each metric_write, to set what is cheaper to
// read then than to keep up to date (an age, the room on a disk). Called in the writer's
// thread, one after the other. metric_forget ends it for all updates with this context:
// when it returns none of them runs and the context may be released; not called from
// within one.
void metric_before_write(void (*update)(void *context), void *context);
void metric_forget(const void *context);

// metric_write appends all series as Prometheus text. -1 when *to is full.
int metric_write(struct buf *to);

#endif
