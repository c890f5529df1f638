// The loop: rounds of list, plan and write; between them, signals, the file, the lease and
// the hooks' silence are checked every second or ten. One thread does it all, so that what
// it knows needs no lock; civetweb's threads only read metrics.
#include "base/file.h"
#include "base/log.h"
#include "base/metric.h"
#include "edge/admin.h"
#include "worker/commands.h"
#include "worker/worker.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SLICE_MS = 1000, CHECK_MS = 10000, AGAIN_MS = 30000 };

struct run {
    struct worker *w;
    struct monitor monitor;
    struct commands *commands;
    sigset_t signals;
    bool stopping, hangup;
    bool leads; // in this round; true before the first one
    struct files files;
    uint64_t fresh_secrets;     // of a new file, not watched before
    struct once missing;        // the file
    int64_t round_ms, check_ms; // when they are due
    int64_t backoff_ms;
    struct once failure;
    char trouble[600];      // of the last round, "" for none
    bool failed;            // since the last round that wrote all
    bool wait_reported;     // since the last round that succeeded
    struct buf refused;     // lines of the last round
    _Atomic(int64_t) ok_us; // when it was, or another worker's was not ours to report
};

enum { ROUND_OK, LEADER, OK_AGE, BUILD, THROTTLES, METRICS };
static struct metric metrics[METRICS] = {
    [ROUND_OK] =
        METRIC(GAUGE, "acrelay_worker_round_ok", "Whether the last round succeeded."),
    [LEADER] =
        METRIC(GAUGE, "acrelay_worker_leader", "Whether this worker is the leader."),
    [OK_AGE] = METRIC(GAUGE, "acrelay_worker_last_ok_age_seconds",
                      "Time since the last successful round, or since the start."),
    [BUILD] =
        METRIC_WITH(GAUGE, "acrelay_build_info", "Always 1, labeled with the version.",
                    "version=\"" ACRELAY_VERSION "\""),
    [THROTTLES] = METRIC(COUNTER, "acrelay_api_throttles_total",
                         "Requests throttled by ActiveCampaign."),
};

// --- waiting -------------------------------------------------------------------------------

static void
take_signal(struct run *r, int64_t ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    int signal = sigtimedwait(&r->signals, NULL, &time);

    if (signal == SIGHUP)
        r->hangup = true;
    else if (signal > 0)
        r->stopping = true;
    sockets_notify("WATCHDOG=1");
    monitor_notify(r->w, r->leads, r->trouble, r->round_ms);
}

// In slices, so that the lease is kept while calls wait for their turn. A SIGHUP ends the round:
// whoever sent it waits for the answer.
static bool
wait(int64_t ms, void *run)
{
    struct run *r = run;
    int64_t end = clock_mono_ms() + ms;

    while (!r->stopping && !r->hangup && clock_mono_ms() < end) {
        int64_t left = end - clock_mono_ms();
        take_signal(r, left < SLICE_MS ? left : SLICE_MS);
        if (r->leads)
            leader_tick(r->w->leader);
    }
    return !r->stopping && !r->hangup;
}

static bool
is_stopping(void *run)
{
    struct run *r = run;

    take_signal(r, 0);
    return r->stopping;
}

static void
report_wait(const struct rest_wait *wait, void *run)
{
    struct run *r = run;

    ac_client_wait_text(r->trouble, sizeof r->trouble, wait);
    admin_set_detail("activecampaign", r->trouble);
    if (!r->wait_reported)
        log_warn("worker: %s", r->trouble);
    r->wait_reported = true;
}

static bool
may_write(void *run)
{
    struct run *r = run;

    return !r->stopping && leader_may_write(r->w->leader);
}

static void
count_answer(int status, void *run)
{
    static const int known[] = {200, 201, 400, 403, 404, 422, 429, 500, 502, 503};
    char code[12] = "other";

    // Where answers are slow nothing waits for its turn, and a round may still be long.
    take_signal(run, 0);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i] == status)
            snprintf(code, sizeof code, "%d", status);
    metric_add(metric_find(METRIC_COUNTER, "acrelay_api_requests_total",
                           "Requests to ActiveCampaign by status code.", "code",
                           status ? code : "none", NULL),
               1);
    if (status == 429 || status == 503)
        metric_add(&metrics[THROTTLES], 1);
}

// --- a round -------------------------------------------------------------------------------

static bool
has_line(const struct buf *lines, struct span text)
{
    struct span rest = buf_span(lines);

    while (rest.len)
        if (span_equal(span_cut(&rest, '\n'), text))
            return true;
    return false;
}

// What was refused in the round before too is not logged again.
static void
report_refused(struct run *r, struct apply *a)
{
    for (struct span rest = buf_span(&a->refused), line; rest.len;) {
        line = span_cut(&rest, '\n');
        if (!has_line(&r->refused, line))
            log_alarm("worker: %.*s", (int)line.len, line.at);
    }
    buf_release(&r->refused);
    r->refused = a->refused;
    a->refused = (struct buf){0};
}

static void
report_failure(struct run *r, const struct err *err)
{
    char time[CLOCK_TEXT];

    clock_format_seconds(time, clock_now_us());
    snprintf(r->trouble, sizeof r->trouble, "its last round failed at %s: %s", time,
             err->text);
    admin_set_detail("activecampaign", r->trouble);
    if (!has_line(&r->refused, span_of(err->text)))
        once_report(&r->failure,
                    leader_refused(r->w->leader) ? LOG_LEVEL_ALARM : LOG_LEVEL_ERROR,
                    "worker: %s", err->text);
    r->failed = true;
}

static int
write_all(struct run *r, struct apply *a, struct err *err)
{
    int result = apply_run(a, err);

    report_refused(r, a);
    if (a->created + a->changed + a->removed)
        log_info("worker: hooks: %zu created, %zu changed, %zu removed%s", a->created,
                 a->changed, a->removed,
                 result == 0 ? "" : "; not everything matches the file yet");
    if (a->unconfirmed)
        log_warn("worker: %zu change%s accepted, but not shown by any list yet; the next "
                 "round checks again",
                 a->unconfirmed, PLURAL(a->unconfirmed));
    if (result == 0) {
        if (r->failed)
            log_info("worker: the webhooks at ActiveCampaign match the file again");
        r->failed = false;
        once_clear(&r->failure);
    }
    return result;
}

// The first failure is tried again soon, further ones later, up to the usual interval.
static int64_t
next_round_in(struct run *r, bool failed, bool other)
{
    const struct config *c = r->w->config;
    int64_t usual = c->worker_interval_ms, again = usual,
            held = rest_held_ms(r->w->client->rest);

    if (failed) {
        again = backoff_ms(&r->backoff_ms, times_ms("round-again", AGAIN_MS), usual);
        again = again < usual ? again : usual;
    } else {
        r->backoff_ms = 0;
        if (other && c->worker_leader_redis && usual > LEADER_RENEW_MS)
            again = LEADER_RENEW_MS;
        again = random_ms(again - again / 10, again + again / 10);
    }
    return again > held ? again : held;
}

static void
stat_files(struct run *r)
{
    files_check(&r->files, file_stamp(r->w->file), files_secrets(r->w->config),
                clock_boot_ms());
}

// What the file does not name any more goes in a later round than the one that finds it, and
// only while the file stands still: half a file may be valid.
static void
announce_removals(struct run *r, const struct plan *plan)
{
    struct buf names;
    size_t count = 0;

    buf_init(&names, 300);
    for (size_t i = 0; i < plan->len; i++)
        if (plan->at[i].why == WHY_UNWANTED) {
            const struct hook *h = plan->at[i].found;
            buf_add_format(&names, "%s%s #%" PRIu64, count++ ? ", " : "", h->name, h->id);
        }
    if (count && r->files.announce)
        log_warn("worker: %zu webhook%s no longer in the file: %s. A later round removes "
                 "what is not in the file; SIGHUP removes it now",
                 count, PLURAL(count), buf_text(&names));
    buf_release(&names);
    if (count && !r->files.announce) { // it only has to stand still
        stat_files(r);
        r->round_ms = clock_boot_ms() + r->files.still_in_ms + SLICE_MS;
    }
    files_announced(&r->files, clock_boot_ms());
}

static void
end_round(struct run *r, const struct apply *a, bool other, const struct err *failure)
{
    if (failure) {
        report_failure(r, failure);
    } else {
        r->trouble[0] = '\0';
        admin_set_detail("activecampaign", "");
        atomic_store(&r->ok_us, clock_boot_us());
        r->wait_reported = false;
    }
    metric_set(&metrics[ROUND_OK], !failure);
    metric_set(&metrics[LEADER], r->leads);
    r->round_ms = clock_boot_ms() + next_round_in(r, failure, other);
    if (r->w->config->worker_prune && !a->prune && a->listed)
        announce_removals(r, &a->plan);
}

// Lists, plans and writes, where this worker is the leader.
static void
run_round(struct run *r)
{
    struct worker *w = r->w;
    struct apply a = {.w = w};
    struct err err = {0};

    stat_files(r);
    a.prune = w->config->worker_prune && r->files.may_remove;
    bool led = r->leads;
    r->leads = leader_take(w->leader, 0);
    const char *refused = leader_refused(w->leader);
    bool other =
        !r->leads && !refused && (!w->config->worker_leader_redis || w->redis.redis);
    if (other && led)
        log_info("worker: another worker is the leader; on standby");
    if (other) { // what was known here is the leader's to know now
        monitor_record(&r->monitor, w, NULL);
        known_forget(&w->known, false);
    } else if (!refused) {
        known_load(&w->known, &w->redis);
    }
    int result = r->leads ? write_all(r, &a, &err)
                 : other  ? 0
                          : apply_plan(&a, false, &err);
    if (result == 0 && refused)
        result = err_exit(&err, EXIT_CODE_CONFIG, "%s", refused);
    if (a.plan.writes && !r->leads && led)
        log_warn("worker: %zu change%s waiting until there is a leader", a.plan.writes,
                 PLURAL(a.plan.writes));
    if (result == 0 || (!r->stopping && !r->hangup)) // else it was broken off
        end_round(r, &a, other, result < 0 ? &err : NULL);
    if (a.listed)
        monitor_record(&r->monitor, w, &a);
    apply_release(&a);
    if (r->leads && result == 0 && monitor_repair(&r->monitor, w, &err) < 0 &&
        !r->stopping && !r->hangup)
        log_error("worker: re-creating a silent hook failed: %s", err.text);
    leader_leave(w->leader);
}

// --- reload --------------------------------------------------------------------------------

static int
load(struct run *r, struct worker *fresh, struct err *err)
{
    struct ac_client_options callbacks = {.rest = {.wait = wait,
                                                   .may_write = may_write,
                                                   .count = count_answer,
                                                   .report = report_wait,
                                                   .is_stopping = is_stopping,
                                                   .context = r}};

    fresh->file = r->w->file;
    fresh->options = r->w->options;
    return worker_load(fresh, &callbacks, err);
}

static void
use(struct run *r, struct worker *fresh)
{
    const struct config *c = fresh->config;
    char text[80];

    snprintf(text, sizeof text, "reloaded, %zu hook%s, %zu secret%s", c->hooks_len,
             PLURAL(c->hooks_len), fresh->secrets->len, PLURAL(fresh->secrets->len));
    commands_reset(r->commands);
    worker_replace(r->w, fresh);
    admin_set_hosts(c->admin_hosts.at, c->admin_hosts.len);
    r->round_ms = r->backoff_ms = 0;
    log_info("worker: %s", text);
    admin_reload_end(true, text);
}

static void
reload(struct run *r, bool asked)
{
    static const char *const ours[] = {"redis.", "worker.", NULL}; // not receiver.
    struct worker fresh = {0};
    struct err err = {0};

    admin_reload_begin();
    r->hangup = false;
    stat_files(r); // before it is read: what changes from here on is another change
    bool is_loaded = load(r, &fresh, &err) == 0;
    // Secrets that only the new file names have not been watched: they too have to stand still.
    uint64_t secrets = fresh.config ? files_secrets(fresh.config) : r->files.secrets;
    if (!asked && secrets != r->files.secrets && secrets != r->fresh_secrets) {
        r->fresh_secrets = secrets;
        worker_unload(&fresh);
        r->files.changed_ms = clock_boot_ms();
        return;
    }
    files_loaded(&r->files, asked);
    if (is_loaded && config_check_reload(r->w->config, fresh.config, ours, &err) == 0) {
        use(r, &fresh);
        return;
    }
    worker_unload(&fresh);
    log_error("worker: reload failed, keeping the running configuration: %s", err.text);
    admin_reload_end(false, err.text);
}

static void
check_files(struct run *r)
{
    stat_files(r);
    bool still = r->files.still_in_ms == 0, missing = r->files.config == 0;

    if (!missing)
        once_clear(&r->missing);
    if (r->hangup)
        reload(r, true);
    else if (r->files.want_reload)
        reload(r, false);
    else if (missing && still)
        once_report(&r->missing, LOG_LEVEL_WARN,
                    "worker: %s does not exist; keeping the running configuration",
                    r->w->file);
}

// --- start and end -------------------------------------------------------------------------

static bool
is_ready(struct buf *checks, void *run)
{
    bool ok = metric_read(&metrics[ROUND_OK]) > 0;

    (void)run;
    buf_add_format(checks, "\"activecampaign\":%s", ok ? "true" : "false");
    return ok;
}

static void
set_age(void *run)
{
    int64_t ok_us = atomic_load(&((struct run *)run)->ok_us);

    metric_set(&metrics[OK_AGE], (double)(clock_boot_us() - ok_us) / 1e6);
}

static int
start_admin(struct run *r, struct err *err)
{
    int socket = sockets_listen(&r->w->config->worker_admin, err);

    if (socket < 0)
        return err_context(err, "worker.admin");
    metric_show(metrics, METRICS);
    metric_set(&metrics[BUILD], 1);
    metric_before_write(set_age, r);
    snprintf(r->trouble, sizeof r->trouble, "its first round is not done yet");
    admin_set_detail("activecampaign", r->trouble);
    admin_set_hosts(r->w->config->admin_hosts.at, r->w->config->admin_hosts.len);
    struct http_server *server = admin_start(socket, is_ready, r, err);
    close(socket);
    return server ? 0 : -1;
}

static int
start(struct run *r, struct err *err)
{
    struct worker *w = r->w;

    r->files.still_ms = times_ms("file-still", FILES_STILL_MS);
    uint64_t stamp = file_stamp(w->file); // before it is read
    if (load(r, w, err) < 0)
        return -1;
    files_check(&r->files, stamp, files_secrets(w->config), clock_boot_ms());
    files_loaded(&r->files, true);
    atomic_store(&r->ok_us, clock_boot_us());
    w->redis.quiet = false;
    w->leader = leader_open(&w->redis, err);
    r->commands = commands_open(w);
    if (!w->leader || start_admin(r, err) < 0)
        return -1;
    log_info("worker: started for %zu hook%s at %s, admin on %s", w->config->hooks_len,
             PLURAL(w->config->hooks_len), w->config->account_api_url,
             w->config->worker_admin.text);
    sockets_notify("READY=1");
    return 0;
}

static void
loop(struct run *r)
{
    while (!r->stopping) {
        check_files(r);
        leader_tick(r->w->leader);
        if (clock_boot_ms() >= r->round_ms) {
            run_round(r);
            r->check_ms = 0;
        }
        if (!r->stopping && clock_boot_ms() >= r->check_ms && r->leads) {
            monitor_check(&r->monitor, r->w);
            r->check_ms = clock_boot_ms() + CHECK_MS;
        }
        take_signal(r, r->stopping || r->hangup ? 0 : commands_work(r->commands));
    }
}

static int
run(void *worker, struct err *err)
{
    static struct run r;

    r.w = worker;
    r.leads = true;
    r.monitor.clock.watch.settle_us = times_ms("clock-settle", CLOCK_SETTLE_MS) * 1000;
    program_block_signals(&r.signals);
    if (start(&r, err) < 0) {
        log_error("worker: %s", err->text);
        return err->exit ? (int)err->exit : EXIT_CODE_FAILURE;
    }
    loop(&r);
    sockets_notify("STOPPING=1\nSTATUS=Stopping");
    log_info("worker: stopping");
    worker_unload(r.w);
    // Not exit(3): civetweb's threads are still there and use what it would take down.
    _exit(EXIT_CODE_OK);
}

const struct subcommand worker_run_commands[] = {
    {"run", "", "keep them in sync: monitor, repair, report", 0, 0, NULL, run, false,
     NULL},
    {0},
};
