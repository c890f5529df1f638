#include "command/lane.h"

#include "base/clock.h"

#include <stdlib.h>

struct lane *
lane_open(size_t services, uint64_t max)
{
    struct lane *l = memory_get(sizeof *l);

    *l = (struct lane){.services = memory_get(services * sizeof *l->services),
                       .len = services,
                       .max = max,
                       .expiry_ms = INT64_MAX};
    l->times = (struct lane_times){.backoff_min = times_ms("command-backoff", 1000),
                                   .backoff_max = times_ms("command-backoff-max", 60000),
                                   .pause_min = times_ms("command-pause", 1000),
                                   .pause_max = 30000,
                                   .stop_after = times_ms("command-stop", 60000),
                                   .probe_min = times_ms("command-probe", 5000),
                                   .probe_max = times_ms("command-probe-max", 60000)};
    for (size_t i = 0; i < services; i++) {
        l->services[i] = (struct lane_share){.weight = 1};
        TAILQ_INIT(&l->services[i].decided);
    }
    return l;
}

void
lane_close(struct lane *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->len; i++)
        lane_forget(l, i);
    free(l->services);
    free(l);
}

void
lane_forget(struct lane *l, size_t service)
{
    struct lane_share *s = &l->services[service];

    queue_release(&s->queue);
    while (!TAILQ_EMPTY(&s->decided))
        lane_remove(l, TAILQ_FIRST(&s->decided));
}

size_t
lane_waiting(const struct lane *l)
{
    const struct queued *c;
    size_t waiting = 0;

    for (size_t i = 0; i < l->len; i++) {
        waiting += l->services[i].queue.len;
        TAILQ_FOREACH (c, &l->services[i].decided, place)
            waiting++;
    }
    return waiting;
}

// --- what is decided without a call ----------------------------------------------------------

static void
decide(struct lane *l, struct queued *c, enum command_outcome outcome, bool dead)
{
    struct lane_share *s = &l->services[c->service];

    queue_remove(&s->queue, c);
    c->outcome = outcome;
    c->dead = dead;
    TAILQ_INSERT_TAIL(&s->decided, c, place);
}

static bool
is_superseded(const struct queued *old, const struct queued *by)
{
    return old->replace && by->replace && !old->tried &&
           old->operation == by->operation && old->manner == by->manner;
}

// Whether it repeats an earlier one: it will not be carried out, so that it replaces none.
static bool
is_repeat(const struct lane_share *s, const struct queued *before, const struct queued *c)
{
    const struct queued *other = before;

    if (c->is_known || !c->id)
        return c->is_known;
    while (other && other->id != c->id)
        other = TAILQ_PREV(other, queued_list, place);
    if (!other)
        TAILQ_FOREACH (other, &s->decided, place)
            if (other->id == c->id)
                break;
    return other;
}

struct queued *
lane_add(struct lane *l, size_t service, struct span subject, const struct queued *read)
{
    struct queue *q = &l->services[service].queue;

    if (q->len >= l->max)
        return NULL;
    struct queued *c = memory_get(sizeof *c);
    *c = *read;
    c->service = service;
    c->number = l->number++;
    c->tried = c->attempts > 0;
    struct queued *before = queue_add(q, subject, c);
    if (before && is_superseded(before, c) &&
        !is_repeat(&l->services[service], before, c))
        decide(l, before, COMMAND_SUPERSEDED, false);
    if (c->not_after_ms && c->not_after_ms < l->expiry_ms)
        l->expiry_ms = c->not_after_ms;
    return c;
}

struct sweep {
    struct lane *lane;
    int64_t wall_ms, next_ms;
};

static void
expire(struct queued *c, void *context)
{
    struct sweep *s = context;

    if (!c->not_after_ms)
        return;
    if (c->not_after_ms <= s->wall_ms)
        decide(s->lane, c, COMMAND_EXPIRED, true);
    else if (c->not_after_ms < s->next_ms)
        s->next_ms = c->not_after_ms;
}

static void
expire_all(struct lane *l, int64_t wall_ms)
{
    struct sweep s = {.lane = l, .wall_ms = wall_ms, .next_ms = INT64_MAX};

    if (wall_ms < l->expiry_ms)
        return;
    for (size_t i = 0; i < l->len; i++)
        queue_each(&l->services[i].queue, expire, &s);
    l->expiry_ms = s.next_ms;
}

// --- whose turn it is ----------------------------------------------------------------------

static bool
is_held(const struct lane_share *s, int64_t now_ms, int64_t *due_ms)
{
    bool held = s->held_ms > now_ms;

    if (held && s->held_ms < *due_ms)
        *due_ms = s->held_ms;
    return held;
}

static struct queued *
find_decided(const struct lane *l, int64_t now_ms, int64_t *due_ms)
{
    for (size_t i = 0; i < l->len; i++)
        if (!TAILQ_EMPTY(&l->services[i].decided) &&
            !is_held(&l->services[i], now_ms, due_ms))
            return TAILQ_FIRST(&l->services[i].decided);
    return NULL;
}

// Smooth round robin: who has something to do earns its weight, the richest is next and pays
// for all.
static struct queued *
pick(struct lane *l, int64_t now_ms, int64_t *due_ms)
{
    struct lane_share *next = NULL;
    struct queued *picked = NULL;
    int64_t total = 0;

    for (size_t i = 0; i < l->len; i++) {
        struct lane_share *s = &l->services[i];
        if (s->queue.len == 0)
            s->credit = 0; // nothing is saved up
        if (s->queue.len == 0 || is_held(s, now_ms, due_ms))
            continue;
        struct queued *c = queue_next(&s->queue, now_ms, due_ms);
        if (!c)
            continue;
        s->credit += s->weight;
        total += s->weight;
        if (!next || s->credit > next->credit) {
            next = s;
            picked = c;
        }
    }
    if (next)
        next->credit -= total;
    return picked;
}

// When a call may be made, at the earliest.
static int64_t
call_due_ms(const struct lane *l, bool probes, int64_t call_ms)
{
    int64_t due_ms = probes ? l->probe_ms : l->pause_until_ms;

    return due_ms > call_ms ? due_ms : call_ms;
}

struct lane_step
lane_next(struct lane *l, int64_t now_ms, int64_t wall_ms, int64_t call_ms)
{
    struct lane_step step = {.kind = LANE_WAIT, .due_ms = INT64_MAX};
    bool probes = l->stopped && !l->trial;

    expire_all(l, wall_ms);
    step.command = find_decided(l, now_ms, &step.due_ms);
    if (step.command) {
        step.kind = LANE_FINISH;
        return step;
    }
    if (lane_waiting(l) == 0) {
        l->trouble_ms = 0; // of an idle lane nothing is known
        return step;
    }
    int64_t due_ms = call_due_ms(l, probes, call_ms);
    if (due_ms > now_ms) {
        step.due_ms = due_ms < step.due_ms ? due_ms : step.due_ms;
        return step;
    }
    if (probes)
        return (struct lane_step){.kind = LANE_PROBE};
    step.command = pick(l, now_ms, &step.due_ms);
    if (step.command) {
        step.kind = LANE_SEND;
        step.command->tried = true;
    }
    return step;
}

void
lane_remove(struct lane *l, struct queued *c)
{
    struct lane_share *s = &l->services[c->service];

    if (TAILQ_FIRST(&s->decided) == c)
        TAILQ_REMOVE(&s->decided, c, place);
    else
        queue_remove(&s->queue, c);
    free(c);
}

// --- what becomes of a call ----------------------------------------------------------------

static void
stop(struct lane *l, int64_t now_ms)
{
    l->probe_ms =
        now_ms + backoff_ms(&l->probe_step_ms, l->times.probe_min, l->times.probe_max);
    l->stopped = true;
    l->trial = false;
}

static void
passed(struct lane *l)
{
    l->passed++;
    l->trouble_ms = l->pause_step_ms = l->probe_step_ms = 0;
    l->stopped = l->trial = false;
}

static void
failed(struct lane *l, int64_t now_ms)
{
    if (!l->trouble_ms)
        l->trouble_ms = now_ms;
    if (l->stopped || now_ms - l->trouble_ms >= l->times.stop_after)
        stop(l, now_ms);
}

static bool
use_attempt(struct lane *l, struct queued *c, int64_t now_ms)
{
    int64_t step = 0, ms = 0;

    c->attempts++;
    for (unsigned i = 0; i < c->attempts; i++)
        ms = backoff_ms(&step, l->times.backoff_min, l->times.backoff_max);
    c->retry_ms = now_ms + ms;
    c->dead = c->attempts >= COMMAND_ATTEMPTS_MAX;
    if (c->dead)
        c->outcome = COMMAND_FAILED;
    return c->dead;
}

// A 503 that others do not meet is the command's own: it does not hold up the others. After any
// other the rest has its turn first, so that this can be seen; after a 429 too, which may be of a limit
// of its own.
static bool
busy(struct lane *l, struct queued *c, int status, int64_t retry_after_ms, int64_t now_ms)
{
    bool is_own = status == 503 && c->met_503 && l->passed > c->passed;
    int64_t ms = retry_after_ms;

    if (status == 503) {
        c->met_503 = true;
        c->passed = l->passed;
    }
    if (is_own)
        return use_attempt(l, c, now_ms);
    if (ms <= 0)
        ms = backoff_ms(&l->pause_step_ms, l->times.pause_min, l->times.pause_max);
    l->pause_until_ms = now_ms + ms;
    c->retry_ms = l->pause_until_ms + random_ms(1, l->times.backoff_min);
    failed(l, now_ms);
    return false;
}

bool
lane_answered(struct lane *l, struct queued *c, enum command_verdict verdict, int status,
              int64_t retry_after_ms, int64_t now_ms)
{
    if (verdict == COMMAND_BUSY)
        return busy(l, c, status, retry_after_ms, now_ms);
    if (verdict == COMMAND_AGAIN || verdict == COMMAND_IN_DOUBT) {
        failed(l, now_ms);
        return use_attempt(l, c, now_ms);
    }
    passed(l);
    c->outcome = verdict == COMMAND_DONE ? COMMAND_OK : COMMAND_FAILED;
    return true;
}

void
lane_probed(struct lane *l, bool answered, int64_t now_ms)
{
    if (answered)
        l->trial = true;
    else
        stop(l, now_ms);
}

void
lane_refused(struct lane *l, int64_t now_ms)
{
    if (!l->trouble_ms)
        l->trouble_ms = now_ms;
    stop(l, now_ms);
}
