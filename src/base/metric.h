// Metrics: what a process counts, in the text format of Prometheus (0.0.4). One registry per
// process. Names follow Prometheus: `acrelay_` first, base units (seconds, bytes) and
// `_total` for counters last. Label values come from the configuration or from lists in the
// code, never from the wire: a series lives until the process ends.
//
//     static struct metric *sent;
//     sent = metric_counter("acrelay_sent_total", "Records sent.", "hook", name, NULL);
//     metric_add(sent, 1);
//
// Threads: everything here may be called from any thread. Changing a value is an atomic
// operation or two, without a lock; making a series takes a lock, so keep the handle.
#ifndef ACRELAY_BASE_METRIC_H
#define ACRELAY_BASE_METRIC_H

#include "base/buf.h"

struct metric;

// The makers find or make the series of that name and those labels: pairs of name and
// value, ended by NULL. The same name, kind and labels give the same handle, which stays
// valid. `name` and `help` are string literals. Values start at 0.
struct metric *metric_counter(const char *name, const char *help, ...)
    __attribute__((sentinel, returns_nonnull));
struct metric *metric_gauge(const char *name, const char *help, ...)
    __attribute__((sentinel, returns_nonnull));

// A histogram has `bounds_len` upper bounds in rising order (a static array); the bucket
// +Inf comes by itself.
struct metric *metric_histogram(const char *name, const char *help, const double *bounds,
                                size_t bounds_len, ...)
    __attribute__((sentinel, returns_nonnull));

// metric_add adds to a counter (never less than 0) or a gauge. metric_set sets a gauge, or
// a counter that mirrors a count kept elsewhere. metric_observe is for histograms.
void metric_add(struct metric *m, double amount);
void metric_set(struct metric *m, double value);
void metric_observe(struct metric *m, double value);
double metric_read(const struct metric *m); // a histogram: its sum

// metric_before_write has `update` called at each metric_write, to set what is cheaper to
// read then than to keep up to date. Called in the writer's thread, without a lock held.
void metric_before_write(void (*update)(void *context), void *context);

// metric_write appends all series as Prometheus text. -1 when *to is full.
int metric_write(struct buf *to);

#endif
