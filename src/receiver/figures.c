#include "receiver/figures.h"

#include "base/clock.h"
#include "base/metric.h"
#include "edge/admin.h"

static void
set(const char *name, const char *help, double value)
{
    metric_set(metric_gauge(name, help, NULL), value);
}

static void
set_total(const char *name, const char *help, double value)
{
    metric_set(metric_counter(name, help, NULL), value);
}

static void
show_journal(const struct journal_status *j)
{
    set_total("acrelay_journal_records_total", "Records made durable.",
              (double)j->records);
    set_total("acrelay_journal_record_bytes_total", "Their bytes, frames included.",
              (double)j->record_bytes);
    set("acrelay_journal_bytes", "Size of the journal on disk.", (double)j->bytes);
    set("acrelay_journal_free_bytes", "Room for records, in place of published ones too.",
        (double)j->bytes_free);
    set("acrelay_journal_segments", "Segments on disk.", (double)j->segments);
    set_total("acrelay_journal_commits_total", "Groups committed.", (double)j->commits);
    set_total("acrelay_journal_sync_seconds_total", "Time their syncs took.",
              (double)j->commit_us / 1e6);
    set_total("acrelay_journal_sync_errors_total", "Segments left after a failed write.",
              (double)j->sync_errors);
    set_total("acrelay_journal_refused_total",
              "Deliveries that could not be made durable.", (double)j->refused);
    set_total("acrelay_journal_damaged_total", "Damaged ranges set aside.",
              (double)j->damaged);
    set_total("acrelay_journal_unconfirmed_removals_total",
              "Segments removed for room while Redis did not confirm its cursor.",
              (double)j->unconfirmed);
    metric_set(metric_gauge("acrelay_clock_held",
                            "Whether a clock stepped and nothing is deleted by its word.",
                            "clock", "wall", NULL),
               j->clock_held);
    metric_set(metric_gauge("acrelay_clock_step_seconds",
                            "How far a clock that is held is from where it should be.",
                            "clock", "wall", NULL),
               (double)j->clock_step_us / 1e6);
}

// The lock is held while journal and relay are asked, or they could be released meanwhile.
// Returns false when they are stopped.
static bool
read_status(struct figures *f, struct journal_status *j, struct relay_status *r)
{
    pthread_mutex_lock(&f->lock);
    bool running = f->journal != NULL;
    if (running) {
        journal_read_status(f->journal, j);
        relay_read_status(f->relay, r);
    }
    pthread_mutex_unlock(&f->lock);
    return running;
}

static int64_t start_us; // by boot clock

static void
show(void *context)
{
    struct journal_status j;
    struct relay_status r;

    if (!read_status(context, &j, &r))
        return;
    show_journal(&j);
    set("acrelay_uptime_seconds",
        "Since the start, by a clock that never steps: the worker's repair goes by it.",
        (double)(clock_boot_us() - start_us) / 1e6);
}

void
figures_start(struct figures *f, struct journal *j, struct relay *r)
{
    *f = (struct figures){.journal = j, .relay = r};
    pthread_mutex_init(&f->lock, NULL);
    start_us = clock_boot_us();
    metric_set(metric_gauge("process_start_time_seconds",
                            "When the process started, in seconds since 1970.", NULL),
               (double)clock_now_us() / 1e6);
    metric_set(metric_gauge("acrelay_build_info", "1, with the version.", "version",
                            ACRELAY_VERSION, NULL),
               1);
    metric_before_write(show, f);
}

void
figures_stop(struct figures *f)
{
    pthread_mutex_lock(&f->lock);
    f->journal = NULL;
    f->relay = NULL;
    pthread_mutex_unlock(&f->lock);
}

bool
figures_ready(struct buf *checks, void *figures)
{
    struct journal_status j = {.failing = true};
    struct relay_status r = {.up = false};

    (void)read_status(figures, &j, &r); // stopped: as they stand above
    buf_add_format(checks, "\"journal\":%s,\"redis\":%s,\"shipping\":%s",
                   j.failing ? "false" : "true", r.up ? "true" : "false",
                   r.state == RELAY_SHIPPING ? "true" : "false");
    admin_set_detail("redis", r.message);
    return !j.failing;
}
