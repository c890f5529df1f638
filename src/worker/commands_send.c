// Steps of the lane: a call and what becomes of it, or a result without one.
#include "worker/commands.h"

#include "base/metric.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

// --- results -------------------------------------------------------------------------------

static const char *
format_entry(char to[COMMANDS_ENTRY], const struct queued *q)
{
    snprintf(to, COMMANDS_ENTRY, "%" PRIu64 "-%" PRIu64, q->entry_ms, q->entry_number);
    return to;
}

void
commands_write_again(struct commands *c, struct commands_service *s)
{
    struct queued *q = s->unwritten;
    enum commands_reply result = commands_write_result(c, s, q->outcome, &s->result);

    if (result == COMMANDS_LATER)
        commands_hold(c, s);
    if (result != COMMANDS_OK)
        return; // the lane may be another one now
    s->unwritten = NULL;
    buf_release(&s->result.bytes);
    lane_remove(c->lane, q);
}

// The service, the entry and the outcome are those of q.
static void
write_result(struct commands *c, struct queued *q, struct command_result result)
{
    struct commands_service *s = &c->services[q->service];
    char entry[COMMANDS_ENTRY];

    result.service = s;
    result.entry = format_entry(entry, q);
    result.outcome = q->outcome;
    commands_format_result(c, &s->result, &result);
    s->unwritten = q;
    commands_write_again(c, s);
}

static void
finish(struct commands *c, struct queued *q, const struct command *command, int status,
       const char *detail, struct span data)
{
    bool asked = q->outcome == COMMAND_OK || (q->outcome == COMMAND_FAILED && !q->dead);

    write_result(c, q,
                 (struct command_result){
                     .command = command,
                     .status = status,
                     .attempts = q->attempts + asked,
                     .dead = !q->dead                        ? NULL
                             : q->outcome == COMMAND_EXPIRED ? "expired"
                                                             : "attempts",
                     .detail = detail,
                     .data = data,
                 });
}

// --- one call ------------------------------------------------------------------------------

// What a step of the lane works on: the entry as it stands in Redis.
struct work {
    struct queued *queued;
    struct command command;
    char *text; // what the command borrows
    struct command_memory memory;
    bool is_known; // memory is
};

// A reply is gone with the next command, which a wait may send.
static char *
keep_fields(struct span fields[COMMAND_FIELDS])
{
    size_t len = 1;

    for (size_t i = 0; i < COMMAND_DATA; i++)
        len += fields[i].len;
    char *text = memory_get(len), *at = text;
    for (size_t i = 0; i < COMMAND_DATA; i++) {
        if (fields[i].len)
            memcpy(at, fields[i].at, fields[i].len);
        fields[i].at = at;
        at += fields[i].len;
    }
    return text;
}

// Reads the entry, before a call or instead of one; false: there is nothing to be done now.
static bool
begin(struct commands *c, struct work *w, bool calls)
{
    struct commands_service *s = &c->services[w->queued->service];
    const struct redis_reply *reply;
    struct span fields[COMMAND_FIELDS];
    char entry[COMMANDS_ENTRY];

    redis_args_clear(&c->step);
    redis_args_add(&c->step, span_of(format_entry(entry, w->queued)));
    if (calls)
        redis_args_format(&c->step, "%u", w->queued->attempts + 1);
    else
        redis_args_add(&c->step, SPAN(""));
    if (commands_may_forget(c))
        redis_args_format(&c->step, "%" PRId64, commands_redis_now_us(c));
    else
        redis_args_add(&c->step, SPAN(""));
    enum commands_reply result = commands_run(c, s, "begin", &c->step, &reply);
    if (result == COMMANDS_GONE) {
        commands_report_deleted(c, s);
        lane_remove(c->lane, w->queued);
    }
    if (result == COMMANDS_LATER)
        commands_hold(c, s);
    if (result != COMMANDS_OK)
        return false;
    const struct redis_reply *found = redis_reply_at(reply, 3);
    if (!span_is(redis_value(redis_reply_at(found, 0)).text, entry)) {
        commands_reset(c, NULL); // the reply to another command
        return false;
    }
    commands_read_fields(fields, found);
    w->text = keep_fields(fields);
    (void)command_read(&w->command, fields, NULL, NULL); // it was taken
    w->is_known = commands_read_memory(
        &w->memory, redis_value(redis_reply_at(reply, 2)).text, &w->command);
    return true;
}

static void
end(struct work *w)
{
    command_release(&w->command);
    free(w->text);
}

// Superseded or expired.
static void
finish_without_call(struct commands *c, struct queued *q)
{
    struct work w = {.queued = q};

    if (!begin(c, &w, false))
        return;
    finish(c, q, &w.command, 0,
           q->outcome == COMMAND_EXPIRED ? "not_after has passed"
                                         : "a newer command of its subject replaces it",
           SPAN(""));
    end(&w);
}

static int
request(struct commands *c, const char *method, const char *path, const char *line,
        struct span body, struct rest_answer *answer, struct err *err)
{
    rate_limit_take(&c->rate, clock_mono_us());
    int result = rest_try(c->w->client->rest, method, path, line, body, answer, err);
    rate_limit_end(&c->rate, clock_mono_us());
    return result;
}

// Whether the account answers with this token: 1, 0: it refuses the token, -1: not clear.
static int
ask_account(struct commands *c)
{
    struct rest_answer answer;

    if (request(c, "GET", "/api/3/users/me", NULL, SPAN(""), &answer, NULL) < 0)
        return -1;
    enum command_verdict verdict = command_judge(answer.status, answer.body);
    bool refuses =
        verdict == COMMAND_IN_DOUBT && (answer.status == 401 || answer.status == 403);
    return verdict == COMMAND_DONE ? 1 : refuses ? 0 : -1;
}

static void
probe(struct commands *c)
{
    lane_probed(c->lane, ask_account(c) == 1, clock_boot_ms());
}

// Everything waits, the hooks' requests too: the account is one.
static void
hold_all(struct commands *c)
{
    int64_t ms = c->lane->pause_until_ms - clock_boot_ms();

    if (ms > 0)
        rest_hold(c->w->client->rest, ms);
}

// The attempt that was begun is none: a restart must not count it.
static void
put_off(struct commands *c, struct queued *q)
{
    const struct redis_reply *reply;
    char entry[COMMANDS_ENTRY];

    redis_args_clear(&c->step);
    redis_args_add(&c->step, span_of(format_entry(entry, q)));
    redis_args_format(&c->step, "%u", q->attempts);
    (void)commands_run(c, &c->services[q->service], "put_off", &c->step, &reply);
}

static void
make_call(struct commands *c, struct work *w)
{
    struct queued *q = w->queued;
    unsigned attempts = q->attempts;
    struct rest_answer answer;
    struct err err = {0};
    struct span data;
    struct buf path, kept;

    buf_init(&path, 1024);
    buf_init(&kept, COMMAND_ANSWER_MAX);
    command_path(&w->command, &path);
    metric_add(c->services[q->service].calls, 1);
    int result = request(c, "PUT", buf_text(&path),
                         w->command.validate_only ? "validateOnly: true" : NULL,
                         buf_span(&w->command.body), &answer, &err);
    buf_release(&path);
    c->status = result < 0 ? 0 : answer.status;
    if (result < 0)
        snprintf(c->message, sizeof c->message, "%s", err.text);
    else
        command_answer(answer.status, answer.body, &data, c->message);
    if (result == 0)
        buf_add(&kept, data); // fits
    enum command_verdict verdict = command_judge(answer.status, answer.body);
    int account = verdict == COMMAND_IN_DOUBT ? ask_account(c) : -1;
    if (account == 1)
        verdict = COMMAND_FINAL;
    bool decided = false;
    if (answer.stopped)
        ; // it is pending, and sent again
    else if (account == 0)
        lane_refused(c->lane, clock_boot_ms());
    else
        decided = lane_answered(c->lane, q, verdict, answer.status, answer.retry_after_ms,
                                clock_boot_ms());
    if (decided)
        finish(c, q, &w->command, answer.status, c->message, buf_span(&kept));
    else if (!answer.stopped && q->attempts == attempts)
        put_off(c, q);
    buf_release(&kept);
}

static void
finish_known(struct commands *c, struct work *w)
{
    const struct command_memory *m = &w->memory;

    w->queued->outcome = m->same ? m->outcome : COMMAND_REFUSED;
    write_result(
        c, w->queued,
        (struct command_result){
            .command = &w->command,
            .status = m->same ? m->status : 0,
            .attempts = m->same ? m->attempts : 0,
            .repeat = m->same,
            .detail = !m->same
                          ? "this ce_id was used for another command: choose a new one"
                      : m->outcome == COMMAND_OK
                          ? ""
                          : "an earlier command with this ce_id had this outcome",
        });
}

static void
send_command(struct commands *c, struct queued *q)
{
    struct work w = {.queued = q};

    if (!leader_may_command(c->w->leader) || !begin(c, &w, true))
        return;
    if (w.is_known)
        finish_known(c, &w);
    else if (leader_may_command(c->w->leader)) // still: Redis may have taken its time
        make_call(c, &w);
    end(&w);
    if (c->lane)
        hold_all(c);
}

void
commands_step(struct commands *c, const struct lane_step *step)
{
    if (step->kind == LANE_SEND)
        send_command(c, step->command);
    else if (step->kind == LANE_FINISH)
        finish_without_call(c, step->command);
    else
        probe(c);
}
