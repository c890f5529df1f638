// The loop: rounds of list, plan and write; between them, signals, the file, the lease and
// the hooks' silence are checked every second or ten. One thread does it all, so that what
// it knows needs no lock; civetweb's threads only read metrics.
#include "worker/run.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "edge/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CHECK_MS = 10000 };

// --- waiting -------------------------------------------------------------------------------

static void
take_signal(struct run *r, int64_t ms)
{
    struct timespec time = clock_timespec(ms * 1000);
    int signal = sigtimedwait(&r->signals, NULL, &time);

    if (signal == SIGHUP)
        r->hangup = true;
    else if (signal > 0)
        r->stopping = true;
    sockets_notify("WATCHDOG=1");
    monitor_notify(r->w, r->leads, r->trouble, r->round_ms);
    if (r->leads)
        leader_tick(r->w->leader);
}

// In slices, so that the lease is kept while calls wait for their turn. A SIGHUP ends the round:
// the sender waits for the answer.
static bool
wait(int64_t ms, void *run)
{
    struct run *r = run;
    int64_t end = clock_mono_ms() + ms;

    while (!r->stopping && !r->hangup && clock_mono_ms() < end) {
        int64_t left = end - clock_mono_ms();
        take_signal(r, left < SLICE_MS ? left : SLICE_MS);
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
        metric_add(&run_metrics[RUN_THROTTLES], 1);
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
    commands_reset(&r->commands, c);
    worker_replace(r->w, fresh);
    admin_set_hosts(c->admin_hosts.at, c->admin_hosts.len);
    admin_set_installation(r->w->file, c->state_dir);
    r->round_ms = r->backoff_ms = 0;
    log_info("worker: %s", text);
    admin_reload_end(true, text);
}

static void
reload(struct run *r, bool asked)
{
    static const char *const ours[] = {"account.name", "redis.", "worker.",
                                       NULL}; // not receiver.
    struct worker fresh = {0};
    struct err err = {0};

    admin_reload_begin();
    r->hangup = false;
    run_stat_files(r); // before it is read: what changes from here on is another change
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
    run_stat_files(r);
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
    bool ok = metric_read(&run_metrics[RUN_ROUND_OK]) > 0;

    (void)run;
    buf_add_format(checks, "\"activecampaign\":%s", ok ? "true" : "false");
    return ok;
}

static void
set_age(void *run)
{
    int64_t ok_us = atomic_load(&((struct run *)run)->ok_us);

    metric_set(&run_metrics[RUN_OK_AGE], (double)(clock_boot_us() - ok_us) / 1e6);
}

static int
start_admin(struct run *r, struct err *err)
{
    const struct config *c = r->w->config;

    metric_show(run_metrics, RUN_METRICS);
    metric_before_write(set_age, r);
    snprintf(r->trouble, sizeof r->trouble, "its first round is not done yet");
    admin_set_detail("activecampaign", r->trouble);
    admin_set_hosts(c->admin_hosts.at, c->admin_hosts.len);
    admin_set_installation(r->w->file, c->state_dir);
    return admin_start(&c->worker_admin, "worker.admin", c->installation, is_ready, r,
                       err)
               ? 0
               : -1;
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
    r->commands.w = w;
    if (!w->leader || start_admin(r, err) < 0)
        return -1;
    log_info("worker: started for %zu hook%s at %s, admin on %s", w->config->hooks_len,
             PLURAL(w->config->hooks_len), w->config->account_api_url,
             w->config->worker_admin.text);
    sockets_notify("READY=1");
    return 0;
}

// A round that would only wait for a Retry-After is put off: commands, what is measured, and the lock,
// which an apply by hand may need, must not wait with it.
static bool
is_round_due(struct run *r)
{
    int64_t free_ms = clock_boot_ms() + rest_held_ms(r->w->client->rest);

    if (free_ms > clock_boot_ms() + SLICE_MS && free_ms > r->round_ms)
        r->round_ms = free_ms;
    return clock_boot_ms() >= r->round_ms || leader_has_changed(r->w->leader);
}

static void
loop(struct run *r)
{
    while (!r->stopping) {
        check_files(r);
        leader_tick(r->w->leader);
        if (is_round_due(r)) {
            run_round(r);
            r->check_ms = 0;
        }
        if (!r->stopping && clock_boot_ms() >= r->check_ms && r->leads &&
            !r->turn_ms) { // who waits for its turn writes nothing
            monitor_check(&r->monitor, r->w);
            r->check_ms = clock_boot_ms() + CHECK_MS;
        }
        take_signal(r, r->stopping || r->hangup ? 0 : commands_work(&r->commands));
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
    {"run", "", "keep the webhooks in sync, and carry out the commands of services", 0, 0,
     NULL, run, false, NULL},
    {0},
};
