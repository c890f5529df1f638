#include "worker/commands.h"

#include "base/metric.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    IDLE_MS = 1000,
    TIDY_MS = 60000,  // between trimmings
    TRIAL_MS = 10000, // of a Redis that is away
};

enum { LEADER, PAUSED, STOPPED, METRICS };
static struct metric metrics[METRICS] = {
    [LEADER] = METRIC(GAUGE, "acrelay_commands_leader",
                      "Whether this worker is the one that carries out commands."),
    [PAUSED] = METRIC(GAUGE, "acrelay_commands_paused",
                      "Whether ActiveCampaign has asked for a pause of all commands."),
    [STOPPED] = METRIC(GAUGE, "acrelay_commands_stopped",
                       "Whether commands wait because nothing gets through."),
};

// --- opening -------------------------------------------------------------------------------

static struct metric *
find_metric(enum metric_kind kind, const char *name, const char *help,
            const struct commands_service *s)
{
    return metric_find(kind, name, help, "service", s->config->name, NULL);
}

static void
find_metrics(struct commands_service *s)
{
    s->waiting = find_metric(METRIC_GAUGE, "acrelay_commands_waiting",
                             "Commands that have no result yet.", s);
    s->oldest = find_metric(METRIC_GAUGE, "acrelay_commands_oldest_age_seconds",
                            "Age of the oldest command that has no result yet.", s);
    s->held = find_metric(METRIC_GAUGE, "acrelay_commands_held",
                          "Whether commands wait because Redis does not let the worker "
                          "write what they need.",
                          s);
    s->calls = find_metric(METRIC_COUNTER, "acrelay_commands_calls_total",
                           "Requests to ActiveCampaign for commands.", s);
    for (int i = 0; i < COMMAND_OUTCOMES; i++)
        s->outcomes[i] =
            metric_find(METRIC_COUNTER, "acrelay_commands_total", "Commands by outcome.",
                        "service", s->config->name, "outcome", command_outcomes[i], NULL);
}

static void
open_lane(struct commands *c)
{
    const struct config *config = c->w->config;
    struct rate_limit before = c->rate;

    c->lane = lane_open(config->services_len, config->commands_max);
    c->was_stopped = false;
    for (size_t i = 0; i < config->services_len; i++) {
        struct commands_service was = c->services[i];
        c->services[i] =
            (struct commands_service){.config = &config->services[i], .after = "0"};
        c->lane->services[i].weight = config->services[i].weight;
        find_metrics(&c->services[i]);
        if (was.waiting != c->services[i].waiting)
            continue; // another service had its place
        c->services[i].wrong_type = was.wrong_type;
        c->services[i].stray = was.stray;
        c->services[i].stray_ms = was.stray_ms;
    }
    rate_limit_init(&c->rate, config->commands_rate, times_ms("api-second", 1000) * 1000);
    if (before.calls)
        rate_limit_follow(&c->rate, &before);
    // the leader until now may have made calls in the last second
    if (c->paced_term != c->term)
        rate_limit_hold(&c->rate, clock_mono_us() + c->rate.window_us);
    c->paced_term = c->term;
    metric_show(metrics, METRICS);
    metric_set(&metrics[LEADER], 1);
    c->poll_ms = c->metrics_ms = 0;
    c->clock.settle_us = times_ms("clock-settle", CLOCK_SETTLE_MS) * 1000;
    if (c->forget_ms == 0)
        c->forget_ms = clock_boot_ms() + c->clock.settle_us / 1000;
}

static void
report_state(struct commands *c)
{
    const struct lane *l = c->lane;
    char status[32] = "";

    if (c->status)
        snprintf(status, sizeof status, "it answers %d", c->status);
    if (l->stopped && !c->was_stopped)
        log_alarm("worker: commands: nothing gets through to ActiveCampaign (%s%s%s): "
                  "%zu command%s wait%s, and none is lost. The worker keeps trying; "
                  "check the network, ActiveCampaign's status page and the API token. If "
                  "you replace the token, " AC_CLIENT_RELOAD,
                  status, *status ? ": " : "", c->message, lane_waiting(l),
                  PLURAL(lane_waiting(l)), lane_waiting(l) == 1 ? "s" : "");
    if (!l->stopped && c->was_stopped)
        log_info("worker: commands: ActiveCampaign answers again");
    c->was_stopped = l->stopped;
    metric_set(&metrics[STOPPED], l->stopped);
}

// --- the whole -----------------------------------------------------------------------------

// true: the next step may be another one now.
static bool
write_unwritten(struct commands *c)
{
    for (size_t i = 0; i < c->lane->len; i++) {
        struct commands_service *s = &c->services[i];
        if (!s->unwritten || commands_is_held(c, i))
            continue;
        commands_write_again(c, s);
        return true;
    }
    return false;
}

static int64_t
work(struct commands *c)
{
    int64_t now_ms = clock_boot_ms(),
            rate_ms = (rate_limit_wait(&c->rate, clock_mono_us()) + 999) / 1000,
            held_ms = rest_held_ms(c->w->client->rest);

    if (write_unwritten(c))
        return 0;
    struct lane_step step = lane_next(c->lane, now_ms, commands_redis_now_us(c) / 1000,
                                      now_ms + (rate_ms > held_ms ? rate_ms : held_ms));
    if (step.kind == LANE_WAIT)
        return step.due_ms - now_ms;
    commands_step(c, &step);
    return 0;
}

// An entry that the worker had, and that nobody will give it again.
static void
check_stray(struct commands_service *s, struct span id)
{
    struct span ms = id;

    s->stray_ms = 0;
    (void)text_number(&s->stray_ms, span_cut(&ms, '-'), INT64_MAX);
    if (id.len == 0)
        once_clear(&s->stray);
    else
        once_report(&s->stray, LOG_LEVEL_ALARM,
                    "worker: commands: entry %.*s of service %s is not carried out: "
                    "somebody acknowledged it, or reads the stream in the worker's "
                    "consumer group. Let the service add it again, then XDEL that entry",
                    (int)id.len, id.at, s->config->name);
}

static void
tidy(struct commands *c)
{
    const struct config *config = c->w->config;
    const struct redis_reply *reply;

    if (clock_boot_ms() < c->tidy_ms || !commands_may_forget(c))
        return;
    c->tidy_ms = clock_boot_ms() + times_ms("command-tidy", TIDY_MS);
    for (size_t i = 0; c->lane && i < c->lane->len; i++) {
        redis_args_clear(&c->step);
        redis_args_format(&c->step, "%" PRId64, config->commands_retain_age_us / 1000);
        redis_args_format(&c->step, "%" PRIu64, config->commands_retain_entries);
        redis_args_format(&c->step, "%" PRId64, config->commands_retain_dead_us / 1000);
        enum commands_reply result =
            commands_run(c, &c->services[i], "tidy", &c->step, &reply);
        if (result != COMMANDS_OK)
            continue;
        commands_report_trimmed(redis_value(redis_reply_at(reply, 2)).text);
        check_stray(&c->services[i], redis_value(redis_reply_at(reply, 3)).text);
    }
}

static void
update_metrics(struct commands *c)
{
    if (clock_boot_ms() < c->metrics_ms)
        return;
    c->metrics_ms = clock_boot_ms() + IDLE_MS;
    for (size_t i = 0; i < c->lane->len; i++) {
        const struct queue *q = &c->lane->services[i].queue;
        uint64_t oldest = queue_oldest_ms(q), stray = c->services[i].stray_ms;
        oldest = stray && (!oldest || stray < oldest) ? stray : oldest;
        double age = (double)commands_redis_now_us(c) / 1e6 - (double)oldest / 1e3;
        metric_set(c->services[i].waiting, (double)q->len + (stray > 0));
        metric_set(c->services[i].oldest, oldest && age > 0 ? age : 0);
        metric_set(c->services[i].held, commands_is_held(c, i));
        if (q->len < c->lane->max)
            once_clear(&c->services[i].full);
    }
    metric_set(&metrics[PAUSED], c->lane->pause_until_ms > clock_boot_ms());
}

static bool
open_again(struct commands *c)
{
    int64_t now = clock_boot_ms();

    commands_reset(c, NULL);
    for (int i = 0; i < METRICS; i++) // who has no lane knows of no trouble
        metric_set(&metrics[i], 0);
    for (size_t i = 0; i < CONFIG_SERVICES_MAX && c->services[i].waiting; i++) {
        metric_set(c->services[i].waiting, 0);
        metric_set(c->services[i].oldest, 0);
        metric_set(c->services[i].held, 0);
    }
    if (now < c->open_ms || c->w->config->services_len == 0)
        return false;
    if (commands_connect(c))
        open_lane(c);
    else if (c->w->redis.away)
        c->open_ms = now + times_ms("command-trial", TRIAL_MS);
    return c->lane;
}

int64_t
commands_work(struct commands *c)
{
    int64_t ms = IDLE_MS;

    if ((!c->lane || !commands_is_current(c)) && !open_again(c))
        return IDLE_MS;
    commands_take(c);
    tidy(c);
    if (c->lane)
        ms = work(c);
    if (c->lane) {
        report_state(c);
        update_metrics(c);
    }
    int64_t poll = c->poll_ms - clock_boot_ms();
    ms = ms < poll ? ms : poll;
    return ms < 0 ? 0 : ms < IDLE_MS ? ms : IDLE_MS;
}
