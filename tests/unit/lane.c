// The lane: dialogues for each rule, then seeds against a model that is as plain as can be.
#include "command/lane.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static struct lane *lane;
static int64_t now = 1000, wall = 1000000;
static uint64_t entries, jitter;

// In the place of libc's: the lane's jitter is the same in each run, so that a seed that fails fails
// again.
ssize_t
getrandom(void *to, size_t len, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < len; i++) {
        jitter = jitter * 6364136223846793005u + 1442695040888963407u;
        ((unsigned char *)to)[i] = (unsigned char)(jitter >> 56);
    }
    return (ssize_t)len;
}

static const struct operation *
operation(const char *subject)
{
    const struct operation *o = operation_match(span_of(subject));

    cr_assert_not_null(o, "%s", subject);
    return o;
}

static struct queued
command(const char *subject)
{
    return (struct queued){.entry_ms = ++entries,
                           .operation = operation(subject),
                           .priority = COMMAND_NORMAL};
}

static struct queued *
add(size_t service, const char *subject, enum command_priority priority)
{
    struct queued c = command(subject);

    c.priority = priority;
    return lane_add(lane, service, span_of(subject), &c);
}

static void
add_until(const char *subject, int64_t not_after_ms)
{
    struct queued c = command(subject);

    c.not_after_ms = not_after_ms;
    lane_add(lane, 0, span_of(subject), &c);
}

static void
open_lane(size_t services)
{
    lane = lane_open(services, 1000);
    entries = jitter = 0;
}

static struct lane_step
next(void)
{
    return lane_next(lane, now, wall, 0);
}

// The entry of the next command that is sent, 0: none is.
static uint64_t
sent(void)
{
    struct lane_step step = next();

    return step.kind == LANE_SEND ? step.command->entry_ms : 0;
}

static uint64_t
sent_and(enum command_verdict verdict, int status, int64_t retry_after_ms)
{
    struct lane_step step = next();

    if (step.kind != LANE_SEND)
        return 0;
    uint64_t entry = step.command->entry_ms;
    if (lane_answered(lane, step.command, verdict, status, retry_after_ms, now))
        lane_remove(lane, step.command);
    return entry;
}

static uint64_t
done(void)
{
    return sent_and(COMMAND_DONE, 200, 0);
}

Test(lane, sends_in_order_and_then_waits_for_more)
{
    open_lane(1);
    add(0, "contacts/1", COMMAND_NORMAL);
    add(0, "contacts/2", COMMAND_NORMAL);
    cr_expect_eq(done(), 1);
    cr_expect_eq(done(), 2);
    cr_expect_eq(next().kind, LANE_WAIT);
    cr_expect_eq(next().due_ms, INT64_MAX);
    lane_close(lane);
}

Test(lane, sends_high_first_and_never_past_its_subject)
{
    open_lane(1);
    add(0, "contacts/1", COMMAND_LOW);
    add(0, "contacts/2", COMMAND_NORMAL);
    add(0, "contacts/3", COMMAND_NORMAL);
    add(0, "contacts/3", COMMAND_HIGH); // its subject inherits that
    cr_expect_eq(done(), 3);
    cr_expect_eq(done(), 4);
    cr_expect_eq(done(), 2);
    cr_expect_eq(done(), 1);
    lane_close(lane);
}

Test(lane, shares_by_weight_and_gives_a_flood_no_more)
{
    size_t by_service[3] = {0};

    open_lane(3);
    lane->services[1].weight = 2;
    for (int i = 0; i < 600; i++)
        for (size_t s = 0; s < 3; s++)
            if (s == 0 || i < 100)
                add(s, "contacts/1", COMMAND_NORMAL);
    for (int i = 0; i < 120; i++) {
        struct lane_step step = next();
        by_service[step.command->service]++;
        lane_answered(lane, step.command, COMMAND_DONE, 200, 0, now);
        lane_remove(lane, step.command);
    }
    cr_expect_eq(by_service[0], 30);
    cr_expect_eq(by_service[1], 60);
    cr_expect_eq(by_service[2], 30);
    lane_close(lane);
}

Test(lane, refuses_the_newest_of_a_full_queue_alone)
{
    open_lane(2);
    lane->max = 2;
    cr_expect_not_null(add(0, "contacts/1", COMMAND_NORMAL));
    cr_expect_not_null(add(0, "contacts/2", COMMAND_NORMAL));
    cr_expect_null(add(0, "contacts/3", COMMAND_HIGH));
    cr_expect_not_null(add(1, "contacts/3", COMMAND_NORMAL));
    lane_close(lane);
}

Test(lane, tries_again_later_while_others_go_on)
{
    open_lane(1);
    add(0, "contacts/1", COMMAND_NORMAL);
    add(0, "contacts/1", COMMAND_NORMAL);
    add(0, "contacts/2", COMMAND_NORMAL);
    cr_expect_eq(sent_and(COMMAND_AGAIN, 500, 0), 1);
    cr_expect_eq(done(), 3); // not 2, which is of the same subject
    struct lane_step step = next();
    cr_expect_eq(step.kind, LANE_WAIT);
    cr_expect(step.due_ms >= now + 500 && step.due_ms <= now + 1000);
    now = step.due_ms;
    cr_expect_eq(done(), 1);
    cr_expect_eq(done(), 2);
    lane_close(lane);
}

Test(lane, fails_a_command_after_ten_attempts)
{
    int attempts = 0;

    open_lane(1);
    lane->times.stop_after = INT64_MAX / 2;
    add(0, "contacts/1", COMMAND_NORMAL);
    for (;; attempts++) {
        struct lane_step step = next();
        if (step.kind == LANE_WAIT) {
            now = step.due_ms;
            step = next();
        }
        cr_assert_eq(step.kind, LANE_SEND);
        if (!lane_answered(lane, step.command, COMMAND_AGAIN, 522, 0, now))
            continue;
        cr_expect_eq(step.command->outcome, COMMAND_FAILED);
        cr_expect_eq(step.command->attempts, 10);
        cr_expect(step.command->dead);
        lane_remove(lane, step.command);
        break;
    }
    cr_expect_eq(attempts, 9);
    lane_close(lane);
}

Test(lane, pauses_as_a_whole_and_that_costs_no_attempt)
{
    open_lane(2);
    struct queued *first = add(0, "contacts/1", COMMAND_NORMAL);
    add(1, "contacts/2", COMMAND_NORMAL);
    cr_expect_eq(sent_and(COMMAND_BUSY, 429, 3000), 1);
    cr_expect_eq(next().kind, LANE_WAIT);
    cr_expect_eq(next().due_ms, now + 3000);
    cr_expect_eq(first->attempts, 0);
    now += 3000;
    cr_expect_eq(done(), 2);
    now = first->retry_ms;
    cr_expect_eq(done(), 1);
    lane_close(lane);
}

Test(lane, a_503_costs_an_attempt_when_others_get_through)
{
    open_lane(1);
    struct queued *odd = add(0, "contacts/1", COMMAND_NORMAL);
    for (int i = 0; i < 3; i++)
        add(0, "contacts/2", COMMAND_NORMAL);
    cr_expect_eq(sent_and(COMMAND_BUSY, 503, 2000), 1);
    cr_expect_eq(odd->attempts, 0);
    now += 2000;
    cr_expect_eq(done(), 2); // the others first
    now = odd->retry_ms;
    cr_expect_eq(sent_and(COMMAND_BUSY, 503, 2000), 1);
    cr_expect_eq(odd->attempts, 1);
    cr_expect_eq(done(), 3); // and no pause
    lane_close(lane);
}

// It costs no attempt, and holds up nobody: of a limit of its own, say.
Test(lane, lets_the_others_go_first_after_a_429)
{
    open_lane(1);
    struct queued *odd = add(0, "contacts/1", COMMAND_LOW);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(sent_and(COMMAND_BUSY, 429, 2000), 1);
        if (i == 0)
            add(0, "contacts/2", COMMAND_LOW);
        now += 2000;
        if (i == 0)
            cr_expect_eq(done(), 2);
        now = odd->retry_ms;
    }
    cr_expect_eq(odd->attempts, 0);
    lane_close(lane);
}

Test(lane, stops_when_nothing_gets_through_for_a_minute)
{
    open_lane(1);
    add(0, "contacts/1", COMMAND_NORMAL);
    struct queued *c = lane->services[0].queue.len ? next().command : NULL;
    while (!lane->stopped) {
        cr_assert(!lane_answered(lane, c, COMMAND_AGAIN, 0, 0, now));
        if (!lane->stopped)
            now = next().due_ms;
        if (!lane->stopped)
            cr_assert_eq(next().kind, LANE_SEND);
    }
    unsigned attempts = c->attempts;
    cr_expect_lt(attempts, COMMAND_ATTEMPTS_MAX);
    for (int i = 0; i < 100; i++) { // whatever time it takes nothing is lost
        cr_assert_eq(next().kind, LANE_WAIT);
        now = next().due_ms;
        cr_assert_eq(next().kind, LANE_PROBE);
        lane_probed(lane, false, now);
    }
    now = next().due_ms;
    cr_assert_eq(next().kind, LANE_PROBE);
    lane_probed(lane, true, now);
    cr_expect_eq(c->attempts, attempts);
    cr_expect_eq(done(), 1);
    cr_expect_not(lane->stopped);
    lane_close(lane);
}

Test(lane, a_failed_trial_keeps_it_stopped)
{
    open_lane(1);
    add(0, "contacts/1", COMMAND_NORMAL);
    lane_refused(lane, now);
    cr_expect_eq(sent(), 0);
    now = next().due_ms;
    cr_assert_eq(next().kind, LANE_PROBE);
    lane_probed(lane, true, now);
    cr_expect_eq(sent_and(COMMAND_AGAIN, 500, 0), 1);
    cr_expect(lane->stopped);
    cr_expect_eq(next().kind, LANE_WAIT);
    lane_close(lane);
}

// What an idle lane did an hour ago says nothing of now.
Test(lane, forgets_its_trouble_when_nothing_waits)
{
    open_lane(1);
    add_until("contacts/1", wall + 10);
    cr_expect_eq(sent_and(COMMAND_AGAIN, 500, 0), 1);
    wall += 10;
    lane_remove(lane, next().command);
    cr_expect_eq(next().kind, LANE_WAIT);
    now += 3600000;
    add(0, "contacts/1", COMMAND_NORMAL);
    cr_expect_eq(sent_and(COMMAND_AGAIN, 500, 0), 2);
    cr_expect_not(lane->stopped);
    lane_close(lane);
}

Test(lane, expires_what_came_first_first)
{
    open_lane(1);
    add_until("contacts/2", wall);
    add_until("contacts/1", wall);
    add_until("contacts/3", wall);
    for (uint64_t entry = 1; entry <= 3; entry++) {
        struct lane_step step = next();
        cr_assert_eq(step.kind, LANE_FINISH);
        cr_expect_eq(step.command->entry_ms, entry);
        lane_remove(lane, step.command);
    }
    lane_close(lane);
}

Test(lane, expires_what_is_late_wherever_it_waits)
{
    open_lane(1);
    struct queued *first = add(0, "contacts/1", COMMAND_NORMAL);
    add_until("contacts/1", wall + 5000);
    cr_expect_eq(sent_and(COMMAND_BUSY, 429, 60000), 1);
    wall += 4999;
    cr_expect_eq(next().kind, LANE_WAIT);
    wall++;
    struct lane_step step = next();
    cr_assert_eq(step.kind, LANE_FINISH);
    cr_expect_eq(step.command->entry_ms, 2);
    cr_expect_eq(step.command->outcome, COMMAND_EXPIRED);
    cr_expect(step.command->dead);
    lane_remove(lane, step.command);
    now = first->retry_ms;
    cr_expect_eq(done(), 1);
    lane_close(lane);
}

static void
add_replace(const char *subject, bool replace, uint64_t manner)
{
    struct queued c = command(subject);

    c.replace = replace;
    c.manner = manner;
    lane_add(lane, 0, span_of(subject), &c);
}

// The entry that is superseded, 0: none is.
static uint64_t
superseded(void)
{
    struct lane_step step = next();

    if (step.kind != LANE_FINISH)
        return 0;
    uint64_t entry = step.command->entry_ms;
    cr_expect_eq(step.command->outcome, COMMAND_SUPERSEDED);
    cr_expect_not(step.command->dead);
    lane_remove(lane, step.command);
    return entry;
}

Test(lane, supersedes_what_may_be_replaced_by_the_next_of_its_subject)
{
    open_lane(1);
    add_replace("contacts/1", true, 0);
    add_replace("contacts/2", true, 0);
    add_replace("contacts/1", true, 0);
    cr_expect_eq(superseded(), 1);
    add_replace("contacts/1", false, 0); // says nothing of replacing
    add_replace("contacts/1", true, 0);  // and stands between
    add_replace("contacts/1", true, 1);  // another query
    cr_expect_eq(superseded(), 0);
    cr_expect_eq(done(), 2);
    lane_close(lane);
}

Test(lane, does_not_supersede_what_was_tried)
{
    open_lane(1);
    add_replace("contacts/1", true, 0);
    cr_expect_eq(sent_and(COMMAND_BUSY, 429, 10), 1);
    add_replace("contacts/1", true, 0);
    cr_expect_eq(superseded(), 0);
    lane_close(lane);
}

Test(lane, runs_a_bulk_move_alone_in_its_service)
{
    open_lane(2);
    add(0, "contacts/1", COMMAND_NORMAL);
    add(0, "dealStages/3/deals", COMMAND_HIGH);
    add(0, "contacts/2", COMMAND_HIGH);
    cr_expect_eq(sent_and(COMMAND_AGAIN, 500, 0), 2);
    cr_expect_eq(sent(), 0); // while it may be under way at ActiveCampaign
    add(1, "contacts/2", COMMAND_LOW);
    cr_expect_eq(done(), 4); // of another service
    now = next().due_ms;
    cr_expect_eq(done(), 2);
    cr_expect_eq(done(), 3);
    cr_expect_eq(done(), 1);
    lane_close(lane);
}

Test(lane, a_bulk_move_waits_for_what_is_in_doubt)
{
    open_lane(1);
    add(0, "contacts/1", COMMAND_NORMAL);
    cr_expect_eq(sent_and(COMMAND_AGAIN, 0, 0), 1);
    add(0, "dealStages/3/deals", COMMAND_NORMAL);
    add(0, "contacts/2", COMMAND_NORMAL);
    cr_expect_eq(sent(), 0);
    now = next().due_ms;
    cr_expect_eq(done(), 1);
    cr_expect_eq(done(), 2);
    cr_expect_eq(done(), 3);
    lane_close(lane);
}

Test(lane, holds_one_service_while_others_go_on)
{
    open_lane(2);
    add(0, "contacts/1", COMMAND_NORMAL);
    add_until("contacts/2", 1);
    add(1, "contacts/1", COMMAND_NORMAL);
    lane->services[0].held_ms = now + 500;
    cr_assert_eq(sent(), 3);
    lane_remove(lane, next().command);
    struct lane_step step = next();
    cr_assert_eq(step.kind, LANE_WAIT);
    cr_assert_eq(step.due_ms, now + 500);
    now += 500;
    step = next();
    cr_assert_eq(step.kind, LANE_FINISH, "what expired meanwhile");
    lane_remove(lane, step.command);
    cr_assert_eq(sent(), 1);
}

Test(lane, forgets_what_waits_of_one_service)
{
    open_lane(2);
    add(0, "contacts/1", COMMAND_NORMAL);
    add_until("contacts/2", 1);
    add(1, "contacts/1", COMMAND_NORMAL);
    cr_assert_eq(next().kind, LANE_FINISH);
    lane_forget(lane, 0);
    cr_assert_eq(lane_waiting(lane), 1);
    cr_assert_eq(sent(), 3);
}

Test(lane, queues_many_subjects)
{
    char subject[32];

    open_lane(1);
    lane->max = 50000;
    for (int i = 0; i < 40000; i++) {
        snprintf(subject, sizeof subject, "contacts/%d", i % 20000);
        add(0, subject, COMMAND_NORMAL);
    }
    cr_expect_eq(lane_waiting(lane), 40000);
    cr_expect_eq(queue_oldest_ms(&lane->services[0].queue), 1);
    for (uint64_t i = 1; i <= 500; i++)
        cr_assert_eq(done(), i);
    cr_expect_eq(queue_oldest_ms(&lane->services[0].queue), 501);
    cr_expect_eq(lane_waiting(lane), 39500);
    lane_close(lane);
}

// --- seeds against a model -------------------------------------------------------------------

// The model is a list of all commands in order of arrival. It does not choose: it says whether
// what the lane chose was right.
enum { SERVICES = 3, SUBJECTS = 4, COMMANDS = 60 };

struct expected {
    struct queued c; // as it was added
    size_t service;
    const char *subject;
    bool gone; // its outcome was decided
    int64_t retry_ms;
    unsigned attempts;
    bool tried;
};

static struct expected model[COMMANDS];
static size_t model_len;
static uint64_t seed;

static unsigned
dice(unsigned sides)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % sides;
}

static bool
is_first(size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (!model[k].gone && model[k].service == model[i].service &&
            strcmp(model[k].subject, model[i].subject) == 0)
            return false;
    return true;
}

static int
inherited(size_t i)
{
    int best = COMMAND_LOW;

    for (size_t k = i; k < model_len; k++)
        if (!model[k].gone && model[k].service == model[i].service &&
            strcmp(model[k].subject, model[i].subject) == 0 &&
            (int)model[k].c.priority < best)
            best = (int)model[k].c.priority;
    return best;
}

static void
check_sent(size_t sent)
{
    struct expected *e = &model[sent];

    cr_assert(!e->gone, "seed %llu: sent after its outcome", (unsigned long long)seed);
    cr_assert(is_first(sent), "an earlier one of its subject waits");
    cr_assert(e->retry_ms <= now);
    cr_assert(!e->c.not_after_ms || e->c.not_after_ms > wall);
    for (size_t i = 0; i < model_len; i++) {
        if (model[i].gone || model[i].service != e->service || !is_first(i) ||
            model[i].retry_ms > now)
            continue;
        int mine = inherited(sent), other = inherited(i);
        cr_assert(mine < other || (mine == other && sent <= i), "another was next");
    }
}

static void
check_finished(size_t i, const struct queued *c)
{
    struct expected *e = &model[i];

    cr_assert(!e->gone);
    if (c->outcome == COMMAND_EXPIRED) {
        cr_assert(e->c.not_after_ms && e->c.not_after_ms <= wall);
    } else {
        size_t k = i + 1;
        while (k < model_len && (model[k].gone || model[k].service != e->service ||
                                 strcmp(model[k].subject, e->subject) != 0))
            k++;
        cr_assert(c->outcome == COMMAND_SUPERSEDED && k < model_len && !e->tried);
        cr_assert(e->c.replace && model[k].c.replace);
    }
    e->gone = true;
}

static void
add_random(void)
{
    static const char *const subjects[SUBJECTS] = {"contacts/1", "contacts/2", "deals/7",
                                                   "deals/7/notes/1"};
    struct expected *e = &model[model_len];

    *e =
        (struct expected){.service = dice(SERVICES), .subject = subjects[dice(SUBJECTS)]};
    e->c = command(e->subject);
    e->c.priority = (enum command_priority)dice(COMMAND_PRIORITIES);
    e->c.replace = dice(3) == 0;
    e->c.not_after_ms = dice(4) == 0 ? wall + dice(20000) + 1 : 0;
    cr_assert_not_null(lane_add(lane, e->service, span_of(e->subject), &e->c));
    model_len++;
}

static void
answer_random(struct queued *c, size_t i)
{
    static const struct {
        enum command_verdict verdict;
        int status;
    } answers[] = {{COMMAND_DONE, 200},  {COMMAND_DONE, 201}, {COMMAND_FINAL, 404},
                   {COMMAND_AGAIN, 500}, {COMMAND_AGAIN, 0},  {COMMAND_BUSY, 429},
                   {COMMAND_BUSY, 503},  {COMMAND_BUSY, 503}};
    unsigned n = dice(sizeof answers / sizeof *answers);
    struct expected *e = &model[i];

    e->tried = true;
    bool decided = lane_answered(lane, c, answers[n].verdict, answers[n].status,
                                 dice(2) ? 1000 : 0, now);
    cr_assert_leq(c->attempts, COMMAND_ATTEMPTS_MAX);
    cr_assert_leq(c->attempts, e->attempts + (answers[n].verdict >= COMMAND_BUSY));
    cr_assert_eq(decided, answers[n].verdict == COMMAND_DONE ||
                              answers[n].verdict == COMMAND_FINAL ||
                              c->attempts == COMMAND_ATTEMPTS_MAX);
    e->attempts = c->attempts;
    e->retry_ms = c->retry_ms;
    if (!decided)
        return;
    cr_assert_eq(c->outcome,
                 answers[n].verdict == COMMAND_DONE ? COMMAND_OK : COMMAND_FAILED);
    e->gone = true;
    lane_remove(lane, c);
}

static void
run_seed(uint64_t of)
{
    seed = of;
    model_len = 0;
    open_lane(SERVICES);
    for (int steps = 0; model_len < COMMANDS || lane_waiting(lane) > 0; steps++) {
        cr_assert_lt(steps, 100000, "seed %llu does not end", (unsigned long long)of);
        if (model_len < COMMANDS && dice(2))
            add_random();
        struct lane_step step = next();
        size_t i = step.command ? step.command->entry_ms - 1 : 0;
        if (step.kind == LANE_SEND) {
            cr_assert(!lane->stopped || lane->trial);
            check_sent(i);
            answer_random(step.command, i);
        } else if (step.kind == LANE_FINISH) {
            check_finished(i, step.command);
            lane_remove(lane, step.command);
        } else if (step.kind == LANE_PROBE) {
            cr_assert(lane->stopped);
            lane_probed(lane, dice(2), now);
        }
        int64_t ms = dice(400);
        now += ms;
        wall += ms;
    }
    for (size_t i = 0; i < model_len; i++)
        cr_assert(model[i].gone);
    lane_close(lane);
}

Test(lane, agrees_with_a_model_for_2000_seeds, .timeout = 120)
{
    for (uint64_t s = 1; s <= 2000; s++)
        run_seed(s);
}
