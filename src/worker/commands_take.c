// Streams into the lane. What cannot be carried out gets its result here, and no place.
#include "worker/commands.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { POLL_MS = 250 }; // between readings of streams that had nothing

static bool
parse_entry(struct queued *q, struct span id)
{
    return text_number(&q->entry_ms, span_cut(&id, '-'), UINT64_MAX) &&
           text_number(&q->entry_number, id, UINT64_MAX);
}

static uint64_t
sum_of(struct span a, struct span b)
{
    unsigned char digest[DIGEST_BYTES];
    uint64_t sum;

    digest_of((struct span[]){a, b}, 2, digest);
    memcpy(&sum, digest, sizeof sum);
    return sum;
}

static bool
add_to_lane(struct commands *c, size_t service, struct queued *q,
            const struct command *command)
{
    q->operation = command->operation;
    q->priority = command->priority;
    q->not_after_ms = command->not_after_us / 1000;
    q->replace = command->replace;
    q->manner = sum_of(command->query, command->validate_only ? SPAN("1") : SPAN(""));
    q->id = sum_of(command->id, SPAN(""));
    return lane_add(c->lane, service, command->subject, q);
}

// Takes one entry into the lane, or sets *refusal to its result; false.
static bool
take_entry(struct commands *c, size_t service, const struct redis_reply *entry,
           struct redis_args *refusal)
{
    struct commands_service *s = &c->services[service];
    struct span fields[COMMAND_FIELDS], id = redis_value(redis_reply_at(entry, 0)).text;
    struct queued q = {0};
    struct command command;
    struct err err = {0};
    uint64_t attempts = 0;

    snprintf(s->after, COMMANDS_ENTRY, "%.*s", (int)id.len, id.at);
    if (redis_value(entry).len == 1)
        commands_report_deleted(c, s);
    if (redis_value(entry).len == 1 || !parse_entry(&q, id))
        return true;
    commands_read_fields(fields, entry);
    (void)text_number(&attempts,
                      redis_value(redis_reply_at(entry, COMMAND_FIELDS + 1)).text, 1000);
    q.attempts = (unsigned)attempts;
    q.is_known = redis_value(redis_reply_at(entry, COMMAND_FIELDS + 2)).text.len;
    int read = command_read(&command, fields, s->config->allow.at, &err);
    bool taken = read == 0 && add_to_lane(c, service, &q, &command);
    if (read == 0 && !taken) {
        err_set(&err, ERR_AGAIN,
                "%" PRIu64 " commands of this service wait already (commands.max)",
                c->w->config->commands_max);
        once_report(
            &s->full, LOG_LEVEL_WARN,
            "worker: commands: service %s has %" PRIu64
            " commands waiting (commands.max): further ones are refused. Let it send "
            "less, or raise commands.rate",
            s->config->name, c->w->config->commands_max);
    }
    if (!taken)
        commands_format_result(c, refusal,
                               &(struct command_result){
                                   .service = s,
                                   .entry = s->after,
                                   .command = &command,
                                   .outcome = COMMAND_REFUSED,
                                   .attempts = q.attempts,
                                   .detail = err.text,
                               });
    command_release(&command);
    return taken;
}

// What was read of it, or may have been, is read again.
static void
hold_and_forget(struct commands *c, struct commands_service *s)
{
    lane_forget(c->lane, (size_t)(s - c->services));
    snprintf(s->after, sizeof s->after, "0");
    s->is_read = false;
    commands_hold(c, s);
}

// What is refused gets its result after the reply was read, which the next one replaces.
static void
write_refusals(struct commands *c, struct commands_service *s,
               struct redis_args *refusals, size_t len)
{
    enum commands_reply result = COMMANDS_OK;

    for (size_t i = 0; i < len; i++) {
        if (result == COMMANDS_OK)
            result = commands_write_result(c, s, COMMAND_REFUSED, &refusals[i]);
        buf_release(&refusals[i].bytes);
    }
    if (result == COMMANDS_LATER)
        hold_and_forget(c, s);
}

// A clock that stepped is not believed until it has been stable.
static void
take_time(struct commands *c, int64_t now_us)
{
    int64_t boot_us = clock_boot_us();
    enum clock_watch_result step = clock_watch_check(&c->clock, now_us, boot_us);

    if (step == CLOCK_STEPPED)
        log_alarm("worker: commands: Redis's clock stepped %s by %lld s: until it is "
                  "stable no result, ce_id or dead letter is removed for its age, and "
                  "not_after is compared with the time as it was. Synchronize the clock "
                  "of Redis's machine",
                  c->clock.step_us < 0 ? "back" : "ahead",
                  llabs((long long)c->clock.step_us) / 1000000);
    if (step == CLOCK_UNDONE || step == CLOCK_SETTLED)
        log_info("worker: commands: Redis's clock is stable again");
    if (!c->clock.holding)
        c->redis_us = now_us - boot_us;
}

static void
take_reply(struct commands *c, size_t service, const struct redis_reply *reply)
{
    struct redis_args refusals[COMMANDS_TAKE] = {0};
    struct commands_service *s = &c->services[service];
    size_t len = redis_value(reply).len, refused = 0;
    uint64_t now = 0;

    if (text_number(&now, redis_value(redis_reply_at(reply, 2)).text, INT64_MAX))
        take_time(c, (int64_t)now);
    s->is_read = s->is_read || len == 3; // nothing is pending any more
    for (size_t i = 3; i < len && refused < COMMANDS_TAKE; i++)
        refused += !take_entry(c, service, redis_reply_at(reply, i), &refusals[refused]);
    write_refusals(c, s, refusals, refused);
}

// Reads one batch of a service; true: there may be more.
static bool
take(struct commands *c, size_t service)
{
    struct commands_service *s = &c->services[service];
    const struct redis_reply *reply;

    redis_args_clear(&c->step);
    redis_args_add(&c->step, s->is_read ? SPAN(">") : span_of(s->after));
    redis_args_format(&c->step, "%d", COMMANDS_TAKE);
    enum commands_reply result = commands_run(c, s, "take", &c->step, &reply);
    if (result == COMMANDS_LATER)
        hold_and_forget(c, s);
    if (result != COMMANDS_OK)
        return false;
    bool more = redis_value(reply).len > 3 || !s->is_read;
    take_reply(c, service, reply);
    return more && c->lane;
}

void
commands_take(struct commands *c)
{
    bool more = false;

    if (clock_boot_ms() < c->poll_ms)
        return;
    // one batch of each, so that a flood holds up nobody
    for (size_t i = 0; c->lane && i < c->lane->len; i++)
        if (!c->services[i].unwritten && !commands_is_held(c, i))
            more = take(c, i) || more;
    c->poll_ms = more ? 0 : clock_boot_ms() + times_ms("command-poll", POLL_MS);
}
