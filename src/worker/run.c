// The loop: rounds of list, plan and write; between them, signals, the file, the lease and
// the hooks' silence are looked at every second or ten. One thread does it all, so that what
// it knows needs no lock; civetweb's threads only read metrics.
#include "worker/run.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "edge/reloads.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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
        if (r->w->leader && leader_is(r->w->leader))
            leader_tick(r->w->leader);
        sockets_notify("WATCHDOG=1");
    }
    return !r->stopping && !r->hangup;
}

static bool
is_stopping(void *run)
{
    struct run *r = run;

    take_signal(r, 0);
    sockets_notify("WATCHDOG=1");
    return r->stopping;
}

// Once, until a round has succeeded.
static void
report_wait(const struct rest_wait *wait, void *run)
{
    struct run *r = run;
    char text[300];

    ac_client_wait_text(text, sizeof text, wait);
    admin_set_detail("activecampaign", text);
    if (!r->waits)
        log_warn("worker: %s", text);
    r->waits = true;
}

static bool
may_write(void *run)
{
    struct run *r = run;

    return !r->stopping && leader_may_write(r->w->leader);
}

static void
note_answer(int status, void *run)
{
    static const struct {
        int status;
        const char *name;
    } known[] = {{0, "none"},  {200, "200"}, {201, "201"}, {400, "400"},
                 {403, "403"}, {404, "404"}, {422, "422"}, {429, "429"},
                 {500, "500"}, {502, "502"}, {503, "503"}};
    const char *name = "other";

    // Where answers are slow nothing waits for its turn, and a round may still be long.
    take_signal(run, 0);
    sockets_notify("WATCHDOG=1");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status)
            name = known[i].name;
    metric_add(metric_counter("acrelay_api_requests_total",
                              "Requests to ActiveCampaign by the answer's code.", "code",
                              name, NULL),
               1);
    if (status == 429 || status == 503)
        metric_add(metric_counter("acrelay_api_throttles_total",
                                  "Answers that said: later.", NULL),
                   1);
}

// --- reload --------------------------------------------------------------------------------

static int
load(struct run *r, struct worker *fresh, struct err *err)
{
    struct ac_client_options callbacks = {.wait = wait,
                                          .may_write = may_write,
                                          .note = note_answer,
                                          .report = report_wait,
                                          .is_stopping = is_stopping,
                                          .context = r};

    fresh->file = r->w->file;
    fresh->options = r->w->options;
    return worker_load(fresh, &callbacks, err);
}

static void
take_over(struct run *r, struct worker *fresh)
{
    struct worker *w = r->w;

    rest_follow(fresh->account->rest, w->account->rest);
    ac_client_close(w->account);
    hooks_release(&w->wanted);
    secrets_release(w->secrets);
    store_use(w->store, fresh->config);
    leader_use(w->leader, fresh->config);
    config_release(w->config);
    w->config = fresh->config;
    w->secrets = fresh->secrets;
    w->wanted = fresh->wanted;
    w->account = fresh->account;
    known_restart(&w->known);
}

static void
see_files(struct run *r)
{
    files_see(&r->files, files_stamp(0, r->w->file), files_secrets(r->w->config),
              run_now_ms());
}

static void
use(struct run *r, struct worker *fresh)
{
    char text[80];

    take_over(r, fresh);
    admin_set_hosts(r->w->config->admin_hosts.at, r->w->config->admin_hosts.len);
    r->round_ms = 0;
    r->failures = 0;
    snprintf(text, sizeof text, "reloaded, %zu hooks, %zu secrets",
             r->w->config->hooks_len, r->w->secrets->len);
    log_info("worker: %s", text);
    reloads_report(true, text);
}

// Secrets that only the new file names have not been watched: they too have to stand still.
static bool
has_fresh_secrets(struct run *r, const struct config *fresh)
{
    uint64_t stamp = fresh ? files_secrets(fresh) : r->files.secrets;

    if (stamp == r->files.secrets || stamp == r->fresh_secrets)
        return false;
    r->fresh_secrets = stamp;
    return true;
}

static void
reload(struct run *r, bool asked)
{
    static const char *const ours[] = {"redis.", "worker.",
                                       NULL}; // others: the receiver's
    struct worker fresh = {0};
    struct err err = {0};

    reloads_begin();
    r->hangup = false;
    see_files(r); // before it is read: what changes from here on is another change
    bool is_loaded = load(r, &fresh, &err) == 0;
    if (!asked && has_fresh_secrets(r, fresh.config)) {
        worker_unload(&fresh);
        files_put_off(&r->files, run_now_ms());
        return;
    }
    files_loaded(&r->files, asked);
    if (is_loaded && config_check_reload(r->w->config, fresh.config, ours, &err) == 0) {
        use(r, &fresh);
        return;
    }
    worker_unload(&fresh);
    log_error("worker: the configuration stays as it was: %s", err.text);
    reloads_report(false, err.text);
}

static void
look_at_files(struct run *r)
{
    see_files(r);
    bool still = files_still_in(&r->files, run_now_ms()) == 0,
         missing = r->files.config == 0;

    if (r->hangup)
        reload(r, true);
    else if (files_want_reload(&r->files, run_now_ms()))
        reload(r, false);
    else if (missing && still && !r->missing)
        log_warn("worker: %s is not there; going on with what was read", r->w->file);
    r->missing = missing && (still || r->missing);
}

// --- start and end -------------------------------------------------------------------------

static bool
is_ready(struct buf *checks, void *run)
{
    struct run *r = run;
    bool good = atomic_load(&r->good);

    buf_add_format(checks, "\"activecampaign\":%s", good ? "true" : "false");
    return good;
}

static void
show_age(void *run)
{
    struct run *r = run;

    metric_set(metric_gauge("acrelay_worker_last_ok_age_seconds",
                            "Since the last round that succeeded, or since the start.",
                            NULL),
               (double)(clock_boot_us() - atomic_load(&r->ok_us)) / 1e6);
}

static int
start_admin(struct run *r, struct err *err)
{
    int socket = sockets_listen(&r->w->config->worker_admin, err);

    if (socket < 0)
        return err_context(err, "worker.admin");
    metric_set(metric_gauge("acrelay_build_info", "1, with the version.", "version",
                            ACRELAY_VERSION, NULL),
               1);
    metric_before_write(show_age, r);
    reloads_start();
    admin_set_detail("activecampaign", "its first round is not done yet");
    admin_set_hosts(r->w->config->admin_hosts.at, r->w->config->admin_hosts.len);
    struct http_server *server = admin_start(socket, is_ready, r, err);
    close(socket);
    return server ? 0 : -1;
}

static void
loop(struct run *r)
{
    while (!r->stopping) {
        look_at_files(r);
        leader_tick(r->w->leader);
        if (run_now_ms() >= r->round_ms) {
            run_round(r);
            r->look_ms = 0;
        }
        if (!r->stopping && run_now_ms() >= r->look_ms && !r->standby) {
            watch_look(r->watch, r->w);
            r->look_ms = run_now_ms() + LOOK_MS;
        }
        sockets_notify("WATCHDOG=1");
        if (!r->hangup)
            take_signal(r, SLICE_MS);
    }
}

static int
start(struct run *r, struct err *err)
{
    struct worker *w = r->w;

    uint64_t stamp = files_stamp(0, w->file); // before it is read
    if (load(r, w, err) < 0)
        return -1;
    files_init(&r->files, times_ms("file-still", FILES_STILL_MS), stamp,
               files_secrets(w->config), run_now_ms());
    atomic_store(&r->ok_us, clock_boot_us());
    w->store = store_open(w->config);
    w->leader = leader_open(w->config, w->store, err);
    if (!w->leader || start_admin(r, err) < 0)
        return -1;
    r->watch = watch_open();
    log_info("worker: started for %zu hooks at %s, admin on %s", w->config->hooks_len,
             w->config->account_api_url, w->config->worker_admin.text);
    sockets_notify("READY=1");
    return 0;
}

int
worker_run(struct worker *w)
{
    static struct run run;
    struct err err = {0};

    run.w = w;
    told_init(&run.refused);
    program_block_signals(&run.signals);
    if (start(&run, &err) < 0) {
        log_error("worker: %s", err.text);
        return err.exit ? (int)err.exit : EXIT_CODE_FAILURE;
    }
    loop(&run);
    sockets_notify("STOPPING=1");
    log_info("worker: stopping");
    worker_unload(w);
    // Not exit(3): civetweb's threads are still there and use what it would take down.
    _exit(EXIT_CODE_OK);
}
