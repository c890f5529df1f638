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

static void
show_relay(const struct relay_status *r)
{
    set("acrelay_redis_up", "Whether Redis answered last.", r->up);
    set("acrelay_relay_shipping", "Whether records are being shipped.",
        r->state == RELAY_SHIPPING);
    set_total("acrelay_relay_batches_total", "Script calls that were done.",
              (double)r->batches);
    set_total("acrelay_relay_entries_total", "Stream entries added.", (double)r->entries);
    set_total("acrelay_relay_repeats_marked_total", "Repeats marked.",
              (double)r->repeats_marked);
    set_total("acrelay_relay_repeats_dropped_total", "Repeats dropped.",
              (double)r->repeats_dropped);
    set_total("acrelay_dead_letters_total", "Dead letters written.",
              (double)r->dead_letters);
    set_total("acrelay_relay_gaps_total", "Gaps told.", (double)r->gaps);
    set_total("acrelay_relay_rewinds_total", "Times Redis had lost entries.",
              (double)r->rewinds);
    set_total("acrelay_stream_trimmed_total", "Stream entries trimmed.",
              (double)r->trimmed);
    set_total("acrelay_stream_trimmed_unread_total",
              "Stream entries trimmed before a group had read them.",
              (double)r->trimmed_unread);
    set_total("acrelay_dead_letters_trimmed_total",
              "Dead letters trimmed before anybody dropped them.",
              (double)r->dead_trimmed);
    metric_set(metric_gauge("acrelay_clock_held",
                            "Whether a clock stepped and nothing is deleted by its word.",
                            "clock", "redis", NULL),
               r->clock_held);
    metric_set(metric_gauge("acrelay_clock_step_seconds",
                            "How far a clock that is held is from where it should be.",
                            "clock", "redis", NULL),
               (double)r->clock_step_us / 1e6);
    set("acrelay_duplicates_paused",
        "Whether duplicates.max is reached and newer repeats are not found.",
        r->repeats_full);
    for (size_t i = 0; i < RELAY_CLASSES_MAX && r->classes[i].word[0]; i++)
        metric_set(metric_counter("acrelay_redis_errors_total",
                                  "Error replies of Redis by their first word.", "word",
                                  r->classes[i].word, NULL),
                   (double)r->classes[i].count);
    for (size_t i = 0; i < RELAY_STREAMS_MAX && r->streams[i].name[0]; i++) {
        metric_set(metric_gauge("acrelay_stream_length_entries", "Entries in a stream.",
                                "stream", r->streams[i].name, NULL),
                   (double)r->streams[i].length);
        metric_set(metric_gauge("acrelay_stream_lag_entries",
                                "Entries the slowest group has not read.", "stream",
                                r->streams[i].name, NULL),
                   (double)r->streams[i].lag);
    }
}

static uint64_t
unpublished(const struct journal_status *j, const struct relay_status *r)
{
    if (!r->known)
        return j->first ? j->last - j->first + 1 : 0;
    return j->last > r->cursor ? j->last - r->cursor : 0;
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
    show_relay(&r);
    set("acrelay_uptime_seconds",
        "Since the start, by a clock that never steps: the worker's repair goes by it.",
        (double)(clock_boot_us() - start_us) / 1e6);
    set("acrelay_relay_cursor_known",
        "Whether Redis has told since the start what is in the streams.", r.known);
    set("acrelay_journal_unpublished_records",
        "Records that are not in their stream yet; all that are kept while the cursor is "
        "not known.",
        (double)unpublished(&j, &r));
    // Before the cursor is known, published records are no reason to wake anybody.
    int64_t age_us = r.known ? j.oldest_unpublished_age_us : j.first_age_us;
    set("acrelay_journal_oldest_unpublished_age_seconds",
        "Age of the oldest record that is not in its stream yet, 0 when none is; only "
        "those since the start count while the cursor is not known.",
        (double)age_us / 1e6);
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
    admin_set_detail("redis", r.words);
    return !j.failing;
}
