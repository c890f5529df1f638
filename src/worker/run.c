// The loop: rounds of list, plan and write; between them, signals, the file, the lease and
// the hooks' silence are looked at every second or ten. One thread does it all, so that what
// it knows needs no lock; civetweb's threads only read metrics.
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "edge/admin.h"
#include "edge/reloads.h"
#include "worker/told.h"
#include "worker/watch.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SLICE_MS = 1000, LOOK_MS = 10000, AGAIN_MS = 30000 };

struct run {
    struct worker *w;
    struct watch *watch;
    sigset_t signals;
    bool stopping, reload, standby;
    struct stat file;
    int64_t round_ms, look_ms; // when they are due
    char said[504];            // the last failure, so that it is said once
    struct told refused;       // hooks
    _Atomic(bool) good;        // the last round
};

// --- waiting -------------------------------------------------------------------------------

static void
take_signal(struct run *r, int64_t ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    int signal = sigtimedwait(&r->signals, NULL, &time);

    if (signal == SIGHUP)
        r->reload = true;
    else if (signal > 0)
        r->stopping = true;
}

// In slices, so that the lease is kept while calls wait for their turn.
static bool
wait(int64_t ms, void *run)
{
    struct run *r = run;
    int64_t end = clock_mono_ms() + ms;

    while (!r->stopping && clock_mono_ms() < end) {
        int64_t left = end - clock_mono_ms();
        take_signal(r, left < SLICE_MS ? left : SLICE_MS);
        if (r->w->leader && leader_is(r->w->leader))
            leader_tick(r->w->leader);
        sockets_notify("WATCHDOG=1");
    }
    return !r->stopping;
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

// --- a round -------------------------------------------------------------------------------

static void
note_refused(const char *text, void *run)
{
    struct run *r = run;

    told_note(&r->refused, text);
}

static void
fail_round(struct run *r, const struct err *err)
{
    char time[CLOCK_TEXT], text[sizeof err->text + 64];

    clock_format_seconds(time, clock_now_us());
    snprintf(text, sizeof text, "its last round failed at %s: %s", time, err->text);
    admin_set_detail("activecampaign", text);
    if (strcmp(r->said, err->text) != 0 && !told_has(&r->refused, err->text))
        log_error("worker: %s", err->text);
    static_assert(sizeof r->said == sizeof err->text, "a whole text");
    memcpy(r->said, err->text, sizeof r->said);
}

// look_only lists and plans, and keeps what it found for the states.
static int
look_only(struct run *r, struct apply *a, struct err *err)
{
    struct plan plan;

    if (apply_plan(a, &plan, err) < 0)
        return -1;
    watch_note(r->watch, r->w, &plan, &a->found);
    if (plan.writes && !leader_is(r->w->leader) && !r->standby)
        log_warn("worker: %zu changes wait at ActiveCampaign until there is a leader",
                 plan.writes);
    plan_release(&plan);
    return 0;
}

static int
write_round(struct run *r, struct apply *a, struct err *err)
{
    struct plan plan;
    int result = apply_run(a, err);

    if (a->listed) {
        plan_make(&plan, a->wanted, &a->found, a->prune);
        watch_note(r->watch, r->w, &plan, &a->found);
        plan_release(&plan);
    }
    if (a->created + a->changed + a->removed)
        log_info("worker: %zu hooks created, %zu changed, %zu removed", a->created,
                 a->changed, a->removed);
    return result;
}

static void
repair(struct run *r)
{
    const struct config_hook *hook = watch_to_repair(r->watch, r->w);
    struct apply a = {.account = r->w->account,
                      .config = r->w->config,
                      .wanted = &r->w->wanted,
                      .prune = r->w->config->worker_prune};
    struct err err = {0};

    if (!hook)
        return;
    // Noted before: a failure too is tried again tomorrow, not in a minute.
    watch_note_repair(r->watch, hook->name);
    watch_look(r->watch, r->w);
    if (apply_recreate(&a, hook->name, &err) == 0)
        log_warn("worker: hook %s was silent and was made anew", hook->name);
    else if (!r->stopping)
        log_error("worker: hook %s could not be made anew: %s", hook->name, err.text);
    apply_release(&a);
}

static int64_t
jitter(int64_t ms)
{
    uint32_t random = 0;

    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return ms;
    return ms - ms / 10 + random % (ms / 5 + 1);
}

static void
do_round(struct run *r)
{
    struct worker *w = r->w;
    struct apply a = {.account = w->account,
                      .config = w->config,
                      .wanted = &w->wanted,
                      .prune = w->config->worker_prune,
                      .refused = note_refused,
                      .context = r};
    struct err err = {0};
    bool leads = leader_take(w->leader, 0);
    bool other = !leads && (!w->config->worker_leader_redis || store_is_up(w->store));
    int result = leads ? write_round(r, &a, &err) : other ? 0 : look_only(r, &a, &err);

    if (other && !r->standby)
        log_info("worker: another worker is the leader; standing by");
    if (other)
        watch_rest(r->watch); // what it knew is the leader's to know now
    r->standby = !leads;
    if (result < 0 && !r->stopping)
        fail_round(r, &err);
    else if (leads && r->said[0])
        log_info("worker: the hooks at ActiveCampaign are as the file says again");
    if (result == 0)
        admin_set_detail("activecampaign", "");
    if (result == 0 && leads)
        r->said[0] = '\0';
    atomic_store(&r->good, result == 0);
    told_end(&r->refused);
    apply_release(&a);
    if (leads && result == 0)
        repair(r);
    leader_leave(w->leader);
    int64_t again = w->config->worker_interval_ms;
    if ((result < 0 || other) && again > AGAIN_MS)
        again = other && w->config->worker_leader_redis ? LEADER_RENEW_MS : AGAIN_MS;
    r->round_ms = clock_mono_ms() + jitter(again);
    metric_set(
        metric_gauge("acrelay_worker_leader", "Whether this worker is the leader.", NULL),
        leads);
}

// --- reload --------------------------------------------------------------------------------

static int
load(struct run *r, struct worker *fresh, struct err *err)
{
    struct account_callbacks callbacks = {
        .wait = wait, .may_write = may_write, .note = note_answer, .context = r};

    fresh->file = r->w->file;
    fresh->options = r->w->options;
    return worker_load(fresh, &callbacks, err);
}

static void
take_over(struct run *r, struct worker *fresh)
{
    struct worker *w = r->w;

    account_close(w->account);
    hooks_release(&w->wanted);
    secrets_release(w->secrets);
    store_use(w->store, fresh->config);
    config_release(w->config);
    w->config = fresh->config;
    w->secrets = fresh->secrets;
    w->wanted = fresh->wanted;
    w->account = fresh->account;
}

static void
reload(struct run *r)
{
    struct worker fresh = {0};
    struct err err = {0};

    reloads_begin();
    bool good = load(r, &fresh, &err) == 0 &&
                worker_may_reload(r->w->config, fresh.config, &err) == 0;

    r->reload = false;
    if (good) {
        take_over(r, &fresh);
        admin_set_hosts(r->w->config->admin_hosts.at, r->w->config->admin_hosts.len);
        r->round_ms = 0;
        char text[80];
        snprintf(text, sizeof text, "reloaded, %zu hooks, %zu secrets",
                 r->w->config->hooks_len, secrets_len(r->w->secrets));
        log_info("worker: %s", text);
        reloads_report(true, text);
    } else {
        worker_unload(&fresh);
        log_error("worker: the configuration stays as it was: %s", err.text);
        reloads_report(false, err.text);
    }
}

static void
look_at_file(struct run *r)
{
    struct stat now;

    if (stat(r->w->file, &now) < 0 ||
        (now.st_mtim.tv_sec == r->file.st_mtim.tv_sec &&
         now.st_mtim.tv_nsec == r->file.st_mtim.tv_nsec && now.st_ino == r->file.st_ino &&
         now.st_size == r->file.st_size))
        return;
    r->file = now;
    r->reload = true;
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

static int
start_admin(struct run *r, struct err *err)
{
    int socket = sockets_listen(&r->w->config->worker_admin, err);

    if (socket < 0)
        return err_context(err, "worker.admin");
    metric_set(metric_gauge("acrelay_build_info", "1, with the version.", "version",
                            ACRELAY_VERSION, NULL),
               1);
    reloads_start();
    admin_set_detail("activecampaign", "its first round is not done yet");
    admin_set_hosts(r->w->config->admin_hosts.at, r->w->config->admin_hosts.len);
    struct http_server *server = admin_start(socket, is_ready, r, err);
    close(socket);
    return server ? 0 : -1;
}

static void
block_signals(struct run *r)
{
    sigemptyset(&r->signals);
    sigaddset(&r->signals, SIGTERM);
    sigaddset(&r->signals, SIGINT);
    sigaddset(&r->signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &r->signals, NULL);
}

static void
loop(struct run *r)
{
    while (!r->stopping) {
        look_at_file(r);
        if (r->reload)
            reload(r);
        leader_tick(r->w->leader);
        if (clock_mono_ms() >= r->round_ms) {
            do_round(r);
            r->look_ms = 0;
        }
        if (!r->stopping && clock_mono_ms() >= r->look_ms && !r->standby) {
            watch_look(r->watch, r->w);
            r->look_ms = clock_mono_ms() + LOOK_MS;
        }
        sockets_notify("WATCHDOG=1");
        take_signal(r, SLICE_MS);
    }
}

static int
start(struct run *r, struct err *err)
{
    struct worker *w = r->w;

    if (stat(w->file, &r->file) < 0)
        r->file = (struct stat){0}; // the reader tells
    if (load(r, w, err) < 0)
        return -1;
    w->store = store_open(w->config);
    w->leader = leader_open(w->config, w->store, err);
    if (!w->leader || start_admin(r, err) < 0)
        return -1;
    r->watch = watch_open();
    log_info("worker: keeping %zu hooks at %s, admin on %s", w->config->hooks_len,
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
    block_signals(&run);
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
