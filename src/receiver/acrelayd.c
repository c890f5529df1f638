// acrelayd: posts in, journal, streams out. The order of things: snapshot, sockets, journal
// (which waits for a predecessor to let go of it, while the kernel queues what arrives),
// relay, server. On a stop: sockets are given back, what was admitted is answered, the last
// group is committed, and the process ends without civetweb's own stop, which would drop
// requests.
//
// The threads of acrelayd, by the names that top -H, ps -L and a core show, and what passes
// between them:
//
//   acrelayd         main: starts and stops all of it, waits for signals, reloads
//   http-accept      civetweb's; two of them, the public and the admin listener's
//   http             civetweb's, receiver.threads of them: gate, intake, journal_append
//   http-timeouts    ends reads that take longer than request_timeout, answers 503 at ack_timeout
//   committer        writes and syncs the group of records, and sends the answers
//   maintenance      spare segments, retention, the wall clock against the boot clock
//   relay            reads what the committer wrote, ships it to Redis, trims; with redis.partitions
//                    one for each, relay.0 to relay.N-1, with a connection and a cursor of its own
//   reader           with partitions: reads what the committer wrote, makes the entries, and hands them
//                    over in a bounded ring (relay/feed.c); a relay thread that is far behind, or goes
//                    back, reads by its own cursor until it is there again
//   resolver         one look-up of Redis's host name; a stop does not wait for it
//
//   http --record in the open group--> committer --answer (edge/http.h)--> the client
//   committer --"more is durable"--> relay --journal_publish--> maintenance
//   committer --"more is durable"--> reader --items of the ring, held by a count--> relay.0 to relay.N-1
//   main --snapshot (receiver.h), config (relay_reload)--> http, relay
//   admin (an http thread of the admin listener) --SIGHUP, kill(2)--> main, for POST /reload
//
// Locks, none but receiver.lock, relay.lock and writing held across a call into another module:
//   receiver.lock    journal and relay run: held by /readyz and /metrics while they ask both
//   journal.lock     the groups, the list of segments, what is durable and published
//   journal.removing one segment at a time leaves the list (taken before journal.lock)
//   journal.aged     the ages of records that wait
//   relay.lock       of all partitions: status, next configuration, what each has published; under it
//                    journal_publish says what all have (journal.lock is taken within). The connection
//                    and the batch are the partition's own, the layout is read-only after the start
//   writing          of relay/tools.c: state_dir/cursor-unread is written (relay.lock is taken within)
//   feed.lock        the ring, its items' counts, the places of those who follow; an item is read-only
//   intake.lock      the pointer to the snapshot; a request holds it by a count
//   http_thread.lock until when this thread may read (edge/http.c)
//   tail.lock        the end of the active segment, in memory, between committer and relay
//   admin, lost_limit, resolver, metric, log: a lock each, for a few lines
// A group's result, the committer's sleep and a deferred answer's state are futex words: woken without
// a lock.
#include "base/clock.h"
#include "base/text.h"
#include "edge/admin.h"
#include "edge/sockets.h"
#include "event/event.h"
#include "program/options.h"
#include "receiver/receiver.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { DRAIN_MS = 25000, IDLE_MS = 5000 };

static int
fail(const struct err *err, const char *means)
{
    log_error("acrelayd: %s%s", err->text, means);
    return err->exit ? (int)err->exit : EXIT_CODE_FAILURE;
}

// --- start ---------------------------------------------------------------------------------

static int
open_sockets(struct receiver *r, struct err *err)
{
    const struct config *c = r->snapshot->config;

    if (sockets_inherited(r->sockets, SOCKETS_MAX, &r->sockets_len, err) < 0)
        return -1;
    if (r->sockets_len > 0)
        return 0;
    for (size_t i = 0; i < c->listen.len; i++) {
        r->sockets[i] = sockets_listen(&c->listen.at[i], err);
        if (r->sockets[i] < 0)
            return err_context(err, "receiver.listen");
        r->sockets_len++;
    }
    return 0;
}

// --- what the admin listener shows ----------------------------------------------------------

// The lock is held while journal and relay are asked, or they could be released meanwhile.
// Returns false when they are stopped.
static bool
read_status(struct receiver *r, struct journal_status *j, struct relay_status *relay)
{
    pthread_mutex_lock(&r->lock);
    if (r->running) {
        journal_read_status(r->journal, j);
        relay_read_status(r->relay, relay);
    }
    bool running = r->running;
    pthread_mutex_unlock(&r->lock);
    return running;
}

static void
set_running(struct receiver *r, bool running)
{
    pthread_mutex_lock(&r->lock);
    r->running = running;
    pthread_mutex_unlock(&r->lock);
}

// 503 only when deliveries cannot be made durable, also once the journal is stopped. Redis being
// away is shown, and is no reason (a balancer that drops us loses events).
static bool
is_ready(struct buf *checks, void *receiver)
{
    struct journal_status j = {.failing = true, .advice = ""};
    struct relay_status r = {.up = false};

    (void)read_status(receiver, &j, &r); // stopped: as they are set above
    buf_add_format(checks, "\"journal\":%s,\"redis\":%s,\"shipping\":%s",
                   j.failing ? "false" : "true", r.up ? "true" : "false",
                   r.state == RELAY_SHIPPING ? "true" : "false");
    admin_set_detail("redis", r.message);
    admin_set_detail("journal", j.reason);
    admin_set_detail("journal_advice", j.advice);
    return !j.failing;
}

enum { START_TIME, UPTIME, FAILING, JOURNAL, METRICS = JOURNAL + 12 };
static struct metric metrics[METRICS] = {
    [START_TIME] = METRIC(GAUGE, "process_start_time_seconds",
                          "Start time of the process, in seconds since 1970."),
    [UPTIME] = METRIC(GAUGE, "acrelay_uptime_seconds",
                      "Time since the start, by a clock that never steps; used by the "
                      "worker's repair."),
    [FAILING] = METRIC(GAUGE, "acrelay_journal_failing",
                       "Whether deliveries cannot be made durable; /readyz says why."),
    // In the order of update_metrics.
    [JOURNAL] = METRIC(COUNTER, "acrelay_journal_records_total", "Records made durable."),
    METRIC(COUNTER, "acrelay_journal_record_bytes_total",
           "Bytes of the records, frames included."),
    METRIC(GAUGE, "acrelay_journal_bytes", "Size of the journal on disk."),
    METRIC(GAUGE, "acrelay_journal_free_bytes",
           "Room for records, including the space of published ones."),
    METRIC(GAUGE, "acrelay_journal_segments", "Segments on disk."),
    METRIC(COUNTER, "acrelay_journal_commits_total", "Groups committed."),
    METRIC(COUNTER, "acrelay_journal_sync_seconds_total",
           "Time spent writing and syncing."),
    METRIC(COUNTER, "acrelay_journal_sync_errors_total",
           "Segments abandoned after a failed write."),
    METRIC(COUNTER, "acrelay_journal_damaged_total",
           "Damaged ranges that were quarantined."),
    METRIC(COUNTER, "acrelay_journal_unconfirmed_removals_total",
           "Segments removed to make room while Redis did not confirm its cursor."),
    METRIC_WITH(GAUGE, "acrelay_clock_held",
                "Whether a clock stepped and deletion by age is suspended.",
                "clock=\"wall\""),
    METRIC_WITH(GAUGE, "acrelay_clock_step_seconds",
                "By how much a clock stepped while deletion is suspended.",
                "clock=\"wall\""),
};

static void
update_metrics(void *receiver)
{
    struct receiver *r = receiver;
    struct journal_status j;
    struct relay_status relay;

    metric_set(&metrics[UPTIME], (double)(clock_boot_us() - r->started_us) / 1e6);
    if (!read_status(r, &j, &relay))
        return;
    metric_set(&metrics[FAILING], j.failing);
    const double values[METRICS - JOURNAL] = {
        (double)j.records,         (double)j.record_bytes, (double)j.bytes,
        (double)j.bytes_free,      (double)j.segments,     (double)j.commits,
        (double)j.commit_us / 1e6, (double)j.sync_errors,  (double)j.damaged,
        (double)j.unconfirmed,     j.clock_held,           (double)j.clock_step_us / 1e6};
    for (size_t i = 0; i < METRICS - JOURNAL; i++)
        metric_set(&metrics[JOURNAL + i], values[i]);
}

static int
start_admin(struct receiver *r, struct err *err)
{
    const struct config *c = r->snapshot->config;

    r->started_us = clock_boot_us();
    metric_set(&metrics[START_TIME], (double)clock_now_us() / 1e6);
    metric_show(metrics, METRICS);
    metric_before_write(update_metrics, r);
    admin_set_hosts(c->admin_hosts.at, c->admin_hosts.len);
    admin_set_installation(r->file, c->state_dir);
    r->admin = admin_start(&c->receiver_admin, "receiver.admin", c->installation,
                           is_ready, r, err);
    return r->admin ? 0 : -1;
}

static int
start_server(struct receiver *r, struct err *err)
{
    const struct config *c = r->snapshot->config;
    struct http_options options = {.sockets = r->sockets,
                                   .sockets_len = r->sockets_len,
                                   .threads = r->limits.threads,
                                   .queue = r->limits.queue,
                                   .request_timeout_ms = c->request_timeout_ms,
                                   .idle_ms = IDLE_MS};

    r->intake = intake_open(r->journal, r->snapshot, &options);
    r->server = http_start(&options, err);
    return r->server ? 0 : -1;
}

// Before anything that waits: too low a limit is reported at once.
static int
fit_limits(struct receiver *r, struct err *err)
{
    int threads = r->snapshot->config->threads;

    if (limits_fit(&r->limits, threads, 0, err) < 0)
        return -1;
    if (r->limits.threads < threads)
        log_warn("receiver: the limit of %llu open files allows only %d connections at "
                 "once instead of receiver.threads (%d): raise it (LimitNOFILE in the "
                 "unit, ulimit -n)",
                 (unsigned long long)r->limits.descriptors, r->limits.threads, threads);
    return 0;
}

// The sockets that are served, whatever the file says: they may be passed ones.
static void
log_start_up(const struct receiver *r)
{
    const struct config *c = r->snapshot->config;
    char address[SOCKETS_TEXT];
    union address at;

    for (size_t i = 0; i < r->sockets_len; i++) {
        at = sockets_address(r->sockets[i]);
        sockets_format(&at, address);
        log_info("receiver: accepting posts for %zu hook%s on %s", c->hooks_len,
                 PLURAL(c->hooks_len), address);
    }
    log_info("receiver: journal %s in %s, admin on %s", journal_id(r->journal),
             c->state_dir, c->receiver_admin.text);
}

// A stop ends the program at once while nothing is admitted yet: the wait for a predecessor's journal
// may be long. It ends by the signal's default action, which the first process of a container does
// not have. A log line needs no memory, and no signal comes while one is written.
static void
end_start(int signal)
{
    sigset_t it;

    log_info("receiver: stopped before it accepted any post");
    sigemptyset(&it);
    sigaddset(&it, signal);
    sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    sigprocmask(SIG_UNBLOCK, &it, NULL);
    raise(signal);
    _exit(128 + signal);
}

static int
open_parts(struct receiver *r, struct err *err)
{
    if (reload_start(r, err) < 0)
        return -1;
    const struct config *c = r->snapshot->config;
    if (event_zone_set(c->account_time_zone, err) < 0 || fit_limits(r, err) < 0 ||
        open_sockets(r, err) < 0)
        return -1;
    struct journal_options options = {.directory = c->state_dir,
                                      .keep_us = c->journal_keep_us,
                                      .keep_bytes_max = c->journal_keep_max,
                                      .bytes_max = c->journal_max,
                                      .lock_wait_ms = c->journal_lock_wait_ms,
                                      .force = r->force};
    sockets_notify("STATUS=Opening the journal; posts wait until it is open");
    r->journal = journal_open(&options, err);
    return r->journal ? 0 : -1;
}

// The parts that may have to be waited for: a stop ends the program meanwhile.
static int
open_interruptible(struct receiver *r, struct err *err)
{
    struct sigaction end = {.sa_handler = end_start};
    sigset_t stops;

    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    sigprocmask(SIG_UNBLOCK, &stops, NULL);
    int result = open_parts(r, err);
    sigprocmask(SIG_BLOCK, &stops, NULL); // for good: serve takes them
    return result;
}

static int
start(struct receiver *r, struct err *err)
{
    if (open_interruptible(r, err) < 0)
        return -1;
    r->relay = relay_start(r->snapshot->config, r->journal, err);
    if (!r->relay || start_admin(r, err) < 0 || start_server(r, err) < 0)
        return -1;
    set_running(r, true);
    log_start_up(r);
    if (!r->source.is_last_good)
        reload_keep(r);
    sockets_notify("READY=1");
    return 0;
}

// --- stop ---------------------------------------------------------------------------------------

// Waits until what was admitted is answered; false when that takes too long.
static bool
wait_quiet(struct receiver *r)
{
    int64_t start = clock_mono_ms();

    do { // sleeps first: an accept(2) under way shows its descriptor a little later
        if (clock_mono_ms() - start >= DRAIN_MS) {
            log_warn("receiver: connections were still open after %d s and are closed: "
                     "requests that were incomplete are not stored",
                     DRAIN_MS / 1000);
            return false;
        }
        clock_sleep_ms(5);
    } while (sockets_have_connections(r->sockets, r->sockets_len));
    log_info("receiver: all accepted requests have been answered (%lld ms)",
             (long long)(clock_mono_ms() - start));
    return true;
}

static void
drain(struct receiver *r)
{
    sockets_notify("STOPPING=1\nSTATUS=Stopping: answering what was accepted");
    intake_drain(r->intake);
    http_stop_listening(r->server, true);
    bool quiet = wait_quiet(r);
    intake_report_lost(INT64_MAX);
    // A slow request that is still there may come to the journal yet: it is left as it is,
    // as after a kill.
    if (quiet) {
        set_running(r, false);
        relay_stop(r->relay);
    } else {
        relay_log_waiting(r->relay);
    }
    // Before the journal's lock is released: the successor waits for that, then listens there.
    http_stop_listening(r->admin, false);
    if (quiet)
        journal_close(r->journal);
}

// The service manager's watchdog hears from us three times in its period (sd_watchdog_enabled(3))
// while this thread runs and journal and relay let their figures be read. Without one it wakes
// once a second all the same, for what is reported later.
static struct timespec
watchdog_period(const struct receiver *r)
{
    const char *text = getenv("WATCHDOG_USEC");
    uint64_t us = 0;

    if (!text || !text_number(&us, span_of(text), INT64_MAX) || us < 3000)
        us = UINT64_C(3) * 1000000;
    us /= 3;
    if (us > (uint64_t)r->source.step_ms * 1000)
        us = (uint64_t)r->source.step_ms * 1000;
    return clock_timespec((int64_t)us);
}

// Until a stop; the exit code.
static int
serve(struct receiver *r, const sigset_t *signals)
{
    struct timespec period = watchdog_period(r);
    struct journal_status j;
    struct relay_status relay;
    int code = EXIT_CODE_OK;

    for (;;) {
        if (read_status(r, &j, &relay)) {
            sockets_notify("WATCHDOG=1");
            status_notify(r, &j, &relay);
        }
        int signal = sigtimedwait(signals, NULL, &period);
        if (signal == SIGTERM || signal == SIGINT)
            break;
        if (reload_run(r, signal == SIGHUP)) {
            log_warn(
                "receiver: the file is valid again, but a setting in it needs a restart: "
                "exiting with 75, so that the unit starts it again");
            code = EXIT_CODE_LOCK;
            break;
        }
        intake_report_lost(clock_mono_ms());
    }
    drain(r);
    return code;
}

// --- main ----------------------------------------------------------------------------------

static int
check(struct receiver *r)
{
    struct err err = {0};
    struct snapshot *made = reload_read(r, &err);

    if (!made)
        return fail(&err, "");
    printf("%s is valid: %zu hook%s\n", r->file, made->config->hooks_len,
           PLURAL(made->config->hooks_len));
    snapshot_drop(made);
    return EXIT_CODE_OK;
}

// A service manager starts us again at once: what is wrong with a file is then logged every 5 s
// and not every second, while a crash is over after one.
static int
hold_end(int code, const sigset_t *signals)
{
    int64_t ms = times_ms("start_hold", 4000);
    struct timespec wait = clock_timespec(ms * 1000);

    if (getenv("NOTIFY_SOCKET") && code != EXIT_CODE_LOCK)
        sigtimedwait(signals, NULL, &wait);
    return code;
}

static const struct option receiver_options[] = {
    OPTION_IS_FLAG("check", "read the configuration and the secrets, and exit"),
    OPTION_IS_TEXT(
        "state-dir", "DIR",
        "directory of the last good configuration (default: $STATE_DIRECTORY)"),
    OPTION_IS_FLAG("force", "allow a journal on a network or memory file system, or in a "
                            "directory that others can write to"),
    {0},
};

static const struct program program = {
    .name = "acrelayd",
    .sentence = "Stores webhook posts from ActiveCampaign durably and publishes them to "
                "Redis Streams.",
    .options = receiver_options,
    .more = "On SIGHUP it reloads the configuration and the secrets, all or nothing. "
            "On SIGTERM it answers all\naccepted requests and exits.\n",
};

int
main(int argc, char **argv)
{
    static struct receiver receiver = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct err err = {0};
    struct options options;
    sigset_t signals;

    int code = program_start(&options, &program, argc, argv);
    if (code >= 0)
        return code;
    receiver.file = program_config(&options);
    receiver.state_dir = options_text(&options, "state-dir", NULL);
    receiver.force = options_has(&options, "force");
    if (options_has(&options, "check"))
        return check(&receiver); // a signal ends it
    program_block_signals(&signals);
    if (start(&receiver, &err) < 0)
        return hold_end(fail(&err, status_after_failed_start(&receiver, &err)), &signals);
    code = serve(&receiver, &signals);
    // Not exit(3): civetweb's threads are still there and use what it would take down.
    _exit(code);
}
