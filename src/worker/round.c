// A round: list, plan and write, where this worker is the leader; and what is reported of it.
#include "worker/run.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "edge/admin.h"

#include <inttypes.h>
#include <stdio.h>

enum { AGAIN_MS = 30000, TURN_MS = 60000 };

struct metric run_metrics[RUN_METRICS] = {
    [RUN_ROUND_OK] =
        METRIC(GAUGE, "acrelay_worker_round_ok", "Whether the last round succeeded."),
    [RUN_LEADER] =
        METRIC(GAUGE, "acrelay_worker_leader", "Whether this worker is the leader."),
    [RUN_OK_AGE] = METRIC(GAUGE, "acrelay_worker_last_ok_age_seconds",
                          "Time since the last successful round, or since the start."),
    [RUN_THROTTLES] = METRIC(COUNTER, "acrelay_api_throttles_total",
                             "Requests throttled by ActiveCampaign."),
};

void
run_stat_files(struct run *r)
{
    files_check(&r->files, file_stamp(r->w->file), files_secrets(r->w->config),
                clock_boot_ms());
}

static bool
has_line(const struct buf *lines, struct span text)
{
    struct span rest = buf_span(lines);

    while (rest.len)
        if (span_equal(span_cut(&rest, '\n'), text))
            return true;
    return false;
}

// What was refused in the round before too is not logged again. Where the round fails for it, a hook
// has no webhook; else events may come twice.
static void
report_refused(struct run *r, struct apply *a, bool failed)
{
    for (struct span rest = buf_span(&a->refused), line; rest.len;) {
        line = span_cut(&rest, '\n');
        if (!has_line(&r->refused, line))
            log_write(failed ? LOG_LEVEL_ALARM : LOG_LEVEL_WARN, "worker: %.*s",
                      (int)line.len, line.at);
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
                    "worker: the round failed, and is tried again: %s", err->text);
    r->failed = true;
}

static int
write_all(struct run *r, struct apply *a, struct err *err)
{
    int result = apply_run(a, err);

    report_refused(r, a, result < 0);
    if (a->created + a->changed + a->removed)
        log_info("worker: hooks: %zu created, %zu changed, %zu removed%s", a->created,
                 a->changed, a->removed,
                 result == 0 ? "" : "; not everything matches the file yet");
    if (a->unconfirmed)
        log_warn(
            "worker: ActiveCampaign accepted %zu change%s, but no list shows %s yet; the "
            "next round checks again",
            a->unconfirmed, PLURAL(a->unconfirmed), a->unconfirmed == 1 ? "it" : "them");
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
next_round_in(struct run *r, bool failed)
{
    int64_t usual = r->w->config->worker_interval_ms, again = usual,
            held = rest_held_ms(r->w->client->rest);

    if (failed) {
        again = backoff_ms(&r->backoff_ms, times_ms("round-again", AGAIN_MS), usual);
        again = again < usual ? again : usual;
    } else {
        r->backoff_ms = 0;
        again = random_ms(again - again / 10, again + again / 10);
    }
    return again > held ? again : held;
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
        run_stat_files(r);
        r->round_ms = clock_boot_ms() + r->files.still_in_ms + SLICE_MS;
    }
    files_announced(&r->files, clock_boot_ms());
}

static void
end_round(struct run *r, const struct apply *a, const struct err *failure)
{
    if (failure) {
        report_failure(r, failure);
    } else {
        r->trouble[0] = '\0';
        admin_set_detail("activecampaign", "");
        atomic_store(&r->ok_us, clock_boot_us());
        r->wait_reported = false;
    }
    metric_set(&run_metrics[RUN_ROUND_OK], !failure);
    metric_set(&run_metrics[RUN_LEADER], r->leads);
    r->round_ms = clock_boot_ms() + next_round_in(r, failure);
    if (r->w->config->worker_prune && !a->prune && a->listed)
        announce_removals(r, &a->plan);
}

// A local lock is held for a round, or by a command: this round comes after it. Only one who holds
// it for longer is taken for the leader.
static bool
waits_for_turn(struct run *r, bool led)
{
    int64_t now_ms = clock_boot_ms();

    if (r->leads || !led || r->w->config->worker_leader_redis ||
        leader_refused(r->w->leader))
        return false;
    if (r->turn_ms == 0)
        r->turn_ms = now_ms + times_ms("turn", TURN_MS);
    r->round_ms = now_ms + SLICE_MS;
    r->leads = now_ms < r->turn_ms;
    return r->leads;
}

void
run_round(struct run *r)
{
    struct worker *w = r->w;
    struct apply a = {.w = w};
    struct err err = {0};

    run_stat_files(r);
    a.prune = w->config->worker_prune && r->files.may_remove;
    bool led = r->leads;
    r->leads = leader_take(w->leader, 0);
    if (waits_for_turn(r, led))
        return;
    // In another term, or after a wait: another worker may have led, and written, in between.
    if (r->term != leader_term(w->leader) || r->turn_ms)
        w->known.loaded = r->monitor.listed = r->monitor.states_known = false;
    r->term = leader_term(w->leader);
    r->turn_ms = 0;
    const char *refused = leader_refused(w->leader);
    bool other =
        !r->leads && !refused && (!w->config->worker_leader_redis || w->redis.redis);
    if (other && led)
        log_info("worker: another worker is the leader: on standby");
    if (other) { // what was known here is the leader's to know now
        monitor_record(&r->monitor, w, NULL);
        known_forget(&w->known, false);
    } else if (!refused) {
        worker_load_known(w);
    }
    int result = r->leads ? write_all(r, &a, &err)
                 : other  ? 0
                          : apply_plan(&a, false, &err);
    if (result == 0 && refused)
        result = err_exit(&err, EXIT_CODE_CONFIG, "%s", refused);
    if (a.plan.writes && !r->leads && led)
        log_warn("worker: %zu change%s of webhooks wait%s until there is a leader",
                 a.plan.writes, PLURAL(a.plan.writes), a.plan.writes == 1 ? "s" : "");
    if (result == 0 || (!r->stopping && !r->hangup)) // else it was broken off
        end_round(r, &a, result < 0 ? &err : NULL);
    if (a.listed)
        monitor_record(&r->monitor, w, &a);
    apply_release(&a);
    if (r->leads && result == 0 && monitor_repair(&r->monitor, w, &err) < 0 &&
        !r->stopping && !r->hangup)
        log_error("worker: re-creating a silent hook failed: %s", err.text);
    leader_leave(w->leader);
}
