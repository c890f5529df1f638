// commands.lua and its arguments.
#include "worker/commands.h"

#include "base/embed.h"
#include "base/metric.h"
#include "base/text.h"
#include "relay/script.h"

#include <inttypes.h>
#include <stdio.h>

enum { IDS_MAX = 1000000, KEYS = 8, HELD_MS = 1000 };

EMBED(commands_lua, "src/worker/commands.lua");

static struct metric trimmed =
    METRIC(COUNTER, "acrelay_commands_dead_trimmed_total",
           "Dead letters of commands that were trimmed before being dropped.");

bool
commands_connect(struct commands *c)
{
    struct worker *w = c->w;

    if (!leader_may_command(w->leader) || !worker_redis_connect(&w->redis))
        return false;
    metric_show(&trimmed, 1);
    c->connections = w->redis.connections;
    c->term = leader_term(w->leader);
    c->finished[0] = '\0';
    return true;
}

bool
commands_is_current(const struct commands *c)
{
    return c->w->redis.redis && c->connections == c->w->redis.connections &&
           c->term == leader_term(c->w->leader);
}

static void
report_removed(const struct commands_service *s, size_t waiting,
               const struct config *next)
{
    bool stays = !next || waiting == 0;

    for (size_t i = 0; !stays && i < next->services_len; i++)
        stays = strcmp(next->services[i].name, s->config->name) == 0;
    if (!stays)
        log_warn("worker: commands: service %s left commands.services: {%s}:commands:%s "
                 "is not read any more, and what waits there (commands: %zu) has no "
                 "result. Name the service again, or delete that key",
                 s->config->name, next->redis_namespace, s->config->name, waiting);
}

void
commands_reset(struct commands *c, const struct config *next)
{
    for (size_t i = 0; c->lane && i < c->lane->len; i++) {
        report_removed(&c->services[i], c->lane->services[i].queue.len, next);
        c->services[i].unwritten = NULL;
        buf_release(&c->services[i].result.bytes);
    }
    lane_close(c->lane);
    c->lane = NULL;
}

void
commands_hold(struct commands *c, struct commands_service *s)
{
    c->lane->services[s - c->services].held_ms = clock_boot_ms() + HELD_MS;
}

// EVAL, its keys, and the three arguments that every step has.
static const struct redis_reply *
run(struct commands *c, const char *service, const char *step,
    const struct redis_args *args)
{
    // With a colon at the end it is the service's own.
    static const char *const names[KEYS] = {
        "leader",         "commands:",      "results:",      "commands.ids",
        "commands.order", "commands.tried", "commands.dead", "commands.count"};
    struct span head[3 + KEYS + 3] = {SPAN("EVAL"), span_of(commands_lua), SPAN("8")},
                                *at = head + 3;
    char keys[KEYS][SCRIPT_KEY], name[SCRIPT_KEY];

    for (size_t i = 0; i < KEYS; i++) {
        bool is_own = names[i][strlen(names[i]) - 1] == ':';
        snprintf(name, sizeof name, "%s%s", names[i], is_own ? service : "");
        *at++ = script_key(keys[i], c->w->config->redis_namespace, span_of(name));
    }
    *at++ = span_of(step);
    *at++ = span_of(leader_self(c->w->leader));
    *at++ = span_of(c->finished);
    return worker_redis_send(&c->w->redis, "EVAL for commands", head, 3 + KEYS + 3, args);
}

static void
report_wrong_type(struct commands_service *s, const struct redis_reply *reply)
{
    struct span key = redis_value(redis_reply_at(reply, 1)).text,
                is = redis_value(redis_reply_at(reply, 2)).text,
                must_be = redis_value(redis_reply_at(reply, 3)).text;

    once_report(&s->wrong_type, LOG_LEVEL_ALARM,
                "worker: commands: the key %.*s is a %.*s, but must be a %.*s: commands "
                "of service %s wait, and none is lost. Rename or delete that key",
                (int)key.len, key.at, (int)is.len, is.at, (int)must_be.len, must_be.at,
                s->config->name);
}

// The count only grows, unless Redis went back: a crash, a failover, a backup.
static void
check_finished(struct commands *c, struct span count)
{
    uint64_t now = 0, before = c->seen_finished;

    (void)text_number(&now, count, INT64_MAX); // of our script
    c->seen_finished = now;
    if (now < before)
        log_alarm("worker: commands: Redis has lost data: it counts %" PRIu64
                  " finished commands, and had %" PRIu64
                  ". Commands that wait there again are carried out again, which undoes "
                  "later ones that it lost, though their results may have been read: "
                  "let the services add again, with the same ce_id, what they sent since",
                  now, before);
}

static enum commands_reply
read_word(struct commands *c, struct commands_service *s, const struct redis_reply *reply)
{
    struct span word = redis_value(redis_reply_at(reply, 0)).text,
                count = redis_value(redis_reply_at(reply, 1)).text;

    if (span_is(word, "OK")) {
        check_finished(c, count);
        snprintf(c->finished, sizeof c->finished, "%.*s", (int)count.len, count.at);
        return COMMANDS_OK;
    }
    if (span_is(word, "GONE"))
        return COMMANDS_GONE;
    if (span_is(word, "TYPE")) {
        report_wrong_type(s, reply);
        return COMMANDS_LATER;
    }
    return c->w->redis.redis && !reply ? COMMANDS_LATER : COMMANDS_LOST;
}

enum commands_reply
commands_run(struct commands *c, struct commands_service *s, const char *step,
             const struct redis_args *args, const struct redis_reply **reply)
{
    enum commands_reply result = COMMANDS_LOST;

    *reply = NULL;
    if (commands_is_current(c)) {
        *reply = run(c, s->config->name, step, args);
        result = read_word(c, s, *reply);
    }
    if (result == COMMANDS_LOST)
        commands_reset(c, NULL);
    return result;
}

// --- reports -----------------------------------------------------------------------------

void
commands_report_trimmed(struct span count)
{
    static struct log_limit limit = LOG_LIMIT(3600000);
    uint64_t gone = 0;

    (void)text_number(&gone, count, INT64_MAX); // of our script
    metric_add(&trimmed, (double)gone);
    if (gone > 0 && (gone = log_limit_pass(&limit, gone, clock_mono_ms())))
        log_alarm("worker: commands: %" PRIu64
                  " dead letters were trimmed before anyone dropped them "
                  "(commands.retain). Check acrelay dead list --commands more often, or "
                  "raise it",
                  gone);
}

void
commands_report_deleted(const struct commands *c, const struct commands_service *s)
{
    static struct log_limit limit = LOG_LIMIT(3600000);
    uint64_t deleted = log_limit_pass(&limit, 1, clock_mono_ms());

    if (deleted)
        log_alarm(
            "worker: commands: a command of service %s (and %" PRIu64
            " others since the last alarm) was deleted from {%s}:commands:%s before "
            "it was carried out: it has no result. Only the worker may delete "
            "there: the service must not add with MAXLEN",
            s->config->name, deleted - 1, c->w->config->redis_namespace, s->config->name);
}

// --- a result ------------------------------------------------------------------------------

static void
add_memory(struct redis_args *to, const struct command_result *r, int64_t now_us)
{
    bool remember =
        !r->repeat && r->outcome != COMMAND_REFUSED && r->outcome != COMMAND_EXPIRED;
    char digest[DIGEST_TEXT];

    text_hex(digest, sizeof digest, r->command->digest, DIGEST_BYTES);
    redis_args_add(to, remember ? SPAN("1") : SPAN(""));
    redis_args_format(to, "%" PRId64 " %s %s %d %u", now_us, digest,
                      command_outcomes[r->outcome], r->status, r->attempts);
    redis_args_format(to, "%d", IDS_MAX);
}

static void
add_field(struct redis_args *to, const char *name, struct span value)
{
    redis_args_add(to, span_of(name));
    redis_args_add(to, value);
}

void
commands_format_result(const struct commands *c, struct redis_args *to,
                       const struct command_result *result)
{
    const struct config *config = c->w->config;
    const struct command *command = result->command;
    char time[CLOCK_TEXT];

    redis_args_clear(to);
    redis_args_add(to, span_of(result->entry));
    redis_args_add(to, span_of(result->dead));
    add_memory(to, result, commands_redis_now_us(c));
    redis_args_format(to, "%" PRIu64, config->commands_retain_entries);
    clock_format_us(time, commands_redis_now_us(c));
    add_field(to, "ce_specversion", SPAN("1.0"));
    add_field(to, "ce_id", command->id);
    add_field(to, "ce_command", span_of(result->entry));
    redis_args_add(to, SPAN("ce_type"));
    redis_args_format(to, COMMAND_RESULT_TYPE "%s",
                      command->operation ? command->operation->id : "unknown");
    redis_args_add(to, SPAN("ce_source"));
    redis_args_format(to, "/activecampaign/%s/commands/%s", config->account_name,
                      result->service->config->name);
    add_field(to, "ce_subject", command->subject);
    add_field(to, "ce_time", span_of(time));
    add_field(to, "outcome", span_of(command_outcomes[result->outcome]));
    redis_args_add(to, SPAN("status"));
    redis_args_format(to, "%d", result->status);
    redis_args_add(to, SPAN("attempts"));
    redis_args_format(to, "%u", result->attempts);
    add_field(to, "repeat", result->repeat ? SPAN("1") : SPAN("0"));
    add_field(to, "detail", span_of(result->detail));
    add_field(to, "content-type", result->data.len ? SPAN("application/json") : SPAN(""));
    add_field(to, "data", result->data);
}

static void
report_forgotten(struct commands *c, struct span count)
{
    if (!span_is(count, "0"))
        once_report(
            &c->forgotten, LOG_LEVEL_WARN,
            "worker: commands: more than 1,000,000 ids of commands in 24 h: the "
            "oldest are forgotten earlier, so a command that is added again after "
            "that is carried out again");
}

enum commands_reply
commands_write_result(struct commands *c, struct commands_service *s,
                      enum command_outcome outcome, const struct redis_args *args)
{
    const struct redis_reply *reply;
    enum commands_reply result = commands_run(c, s, "finish", args, &reply);

    if (result == COMMANDS_OK) {
        if (once_clear(&s->wrong_type))
            log_info("worker: commands: those of service %s are carried out again",
                     s->config->name);
        metric_add(s->outcomes[outcome], 1);
        report_forgotten(c, redis_value(redis_reply_at(reply, 2)).text);
        commands_report_trimmed(redis_value(redis_reply_at(reply, 3)).text);
    }
    return result;
}

// --- an entry ------------------------------------------------------------------------------

void
commands_read_fields(struct span to[COMMAND_FIELDS], const struct redis_reply *entry)
{
    for (size_t i = 0; i < COMMAND_FIELDS; i++)
        to[i] = redis_value(redis_reply_at(entry, i + 1)).text;
}

// "<us> <digest> <outcome> <status> <attempts>"
bool
commands_read_memory(struct command_memory *to, struct span text, const struct command *c)
{
    char digest[DIGEST_TEXT];
    uint64_t status = 0, attempts = 0;

    text_hex(digest, sizeof digest, c->digest, DIGEST_BYTES);
    (void)span_cut(&text, ' ');
    to->same = span_is(span_cut(&text, ' '), digest);
    struct span outcome = span_cut(&text, ' ');
    bool ok = text_number(&status, span_cut(&text, ' '), 999) &&
              text_number(&attempts, text, 1000);
    to->status = (int)status;
    to->attempts = (unsigned)attempts;
    for (int i = 0; i < COMMAND_OUTCOMES; i++)
        if (span_is(outcome, command_outcomes[i])) {
            to->outcome = (enum command_outcome)i;
            return ok;
        }
    return false;
}
