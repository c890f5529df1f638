// A round: list, plan, write, and what is said of it.
#include "worker/run.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { AGAIN_MS = 30000 };

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
        log_info("worker: %zu hooks created, %zu changed, %zu removed%s", a->created,
                 a->changed, a->removed,
                 result == 0 ? "" : "; not all is as the file says yet");
    if (a->unconfirmed)
        log_warn(
            "worker: %zu changes were accepted and no list has shown them yet; the next "
            "round checks",
            a->unconfirmed);
    return result;
}

static void
log_recreated(const char *name, void *run)
{
    (void)run;
    log_warn("worker: hook %s was silent and was made anew", name);
}

static void
repair(struct run *r)
{
    const struct config_hook *hook = watch_to_repair(r->watch, r->w);
    struct apply a = worker_apply(r->w);
    struct err err = {0};

    if (!hook)
        return;
    // Noted before: a failure too is tried again tomorrow, not in a minute.
    watch_note_repair(r->watch, hook->name);
    watch_look(r->watch, r->w);
    a.recreated = log_recreated;
    if (apply_recreate(&a, hook->name, &err) < 0 && !r->stopping && !r->hangup)
        log_error("worker: making hook %s anew did not end: %s", hook->name, err.text);
    apply_release(&a);
}

// What the file does not name any more goes in a later round than the one that finds it, and
// only while the file stands still: half a file may be valid.
static void
announce_removals(struct run *r, const struct apply *a)
{
    struct plan plan;
    struct buf names;
    size_t count = 0;

    buf_init(&names, 300);
    plan_make(&plan, a->wanted, &a->found, true);
    for (size_t i = 0; i < plan.len; i++)
        if (plan.at[i].kind == STEP_REMOVE && plan.at[i].why == WHY_UNWANTED) {
            const struct hook *h = plan.at[i].found;
            buf_add_format(&names, "%s%s #%" PRIu64, count++ ? ", " : "", h->name, h->id);
        }
    plan_release(&plan);
    if (count && r->files.announce)
        log_warn(
            "worker: the file does not name %zu of our webhooks any more: %s. They are "
            "removed in the next round; SIGHUP removes them now",
            count, buf_text(&names));
    buf_release(&names);
    if (count && !r->files.announce) // it only has to stand still
        r->round_ms = run_now_ms() + files_still_in(&r->files, run_now_ms()) + SLICE_MS;
    files_announced(&r->files, run_now_ms());
}

// The first failure is tried again soon, further ones ever later, up to the usual interval.
static int64_t
next_round_in(struct run *r, bool failed, bool other)
{
    int64_t usual = r->w->config->worker_interval_ms,
            again = times_ms("round-again", AGAIN_MS),
            held = rest_held_ms(r->w->account->rest);

    r->failures = failed ? r->failures + 1 : 0;
    for (unsigned i = 1; i < r->failures && again < usual; i++)
        again *= 2;
    if (other && r->w->config->worker_leader_redis)
        again = LEADER_RENEW_MS;
    if ((!failed && !other) || again > usual)
        again = usual;
    again = random_ms(again - again / 10, again + again / 10);
    return again > held ? again : held;
}

static void
note_round(struct run *r, bool failed, bool leads)
{
    if (!failed) {
        admin_set_detail("activecampaign", "");
        atomic_store(&r->ok_us, clock_boot_us());
        r->waits = false;
    }
    atomic_store(&r->good, !failed);
    metric_set(metric_gauge("acrelay_worker_round_ok",
                            "Whether the last round succeeded.", NULL),
               !failed);
    metric_set(
        metric_gauge("acrelay_worker_leader", "Whether this worker is the leader.", NULL),
        leads);
}

void
run_round(struct run *r)
{
    struct worker *w = r->w;
    bool prune = w->config->worker_prune && files_may_remove(&r->files, run_now_ms());
    struct apply a = worker_apply(w);
    struct err err = {0};
    bool leads = leader_take(w->leader, 0);
    bool other = !leads && (!w->config->worker_leader_redis || store_is_up(w->store));

    a.prune = prune;
    a.refused = note_refused;
    a.context = r;
    if (!other)
        known_load(&w->known, w->store, w->config);
    int result = leads ? write_round(r, &a, &err) : other ? 0 : look_only(r, &a, &err);

    if (other && !r->standby)
        log_info("worker: another worker is the leader; standing by");
    if (other) { // what was known here is the leader's to know now
        watch_rest(r->watch);
        known_release(&w->known);
    }
    r->standby = !leads;
    if (result < 0 && (r->stopping || r->hangup)) {
        told_end(&r->refused);
        apply_release(&a);
        leader_leave(w->leader);
        return; // it was broken off
    }
    if (result < 0)
        fail_round(r, &err);
    else if (leads && r->said[0])
        log_info("worker: the hooks at ActiveCampaign are as the file says again");
    if (result == 0 && leads)
        r->said[0] = '\0';
    note_round(r, result < 0, leads);
    r->round_ms = run_now_ms() + next_round_in(r, result < 0, other);
    if (w->config->worker_prune && !prune && a.listed)
        announce_removals(r, &a);
    told_end(&r->refused);
    apply_release(&a);
    if (leads && result == 0)
        repair(r);
    leader_leave(w->leader);
}
