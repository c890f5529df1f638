// Commands in Redis, and the worker that carries them out: what put, dead, status and doctor share.
#include "base/text.h"
#include "cli/cli.h"
#include "relay/relay.h"

#include <stdio.h>
#include <stdlib.h>

enum { OLD_S = 600 };

void
commands_key(char to[SCRIPT_KEY], const struct config *c, const char *stream,
             struct span service)
{
    char name[80];

    snprintf(name, sizeof name, "%s:%.*s", stream, (int)service.len, service.at);
    script_key(to, c->redis_namespace, span_of(name));
}

const struct config_service *
commands_find_service(const struct cli *c, struct span name, struct err *err)
{
    for (size_t i = 0; i < c->config->services_len; i++)
        if (span_is(name, c->config->services[i].name))
            return &c->config->services[i];
    err_exit(err, EXIT_CODE_CONFIG,
             "%s has no service %.*s in commands.services, so the worker would not "
             "read its commands; add it with what it may use",
             c->file, (int)name.len, name.at);
    return NULL;
}

int
commands_add(struct redis *r, const char *key, const struct span fields[COMMAND_FIELDS],
             char entry[ENTRY_ID], struct err *err)
{
    struct span args[3 + 2 * COMMAND_FIELDS] = {SPAN("XADD"), span_of(key), SPAN("*")};
    size_t n = 3;

    for (size_t i = 0; i < COMMAND_FIELDS; i++)
        if (fields[i].len) {
            args[n++] = span_of(command_fields[i]);
            args[n++] = fields[i];
        }
    const struct redis_reply *reply = cli_reply(redis_command(r, args, n, err), err);
    struct span id = redis_value(reply).text;
    snprintf(entry, ENTRY_ID, "%.*s", (int)id.len, id.at);
    return reply ? 0 : -1;
}

int
commands_have_leader(struct redis *r, const struct config *c, struct err *err)
{
    char key[SCRIPT_KEY];

    script_key(key, c->redis_namespace, SPAN("leader"));
    const struct redis_reply *reply = cli_ask(r, err, "GET", key);
    return reply ? redis_value(reply).kind != REDIS_NIL : -1;
}

int
commands_read(struct redis *r, const struct config *c, const char *service,
              struct commands_state *s, struct err *err)
{
    char key[SCRIPT_KEY], oldest[ENTRY_ID];

    commands_key(key, c, "commands", span_of(service));
    *s = (struct commands_state){0};
    const struct redis_reply *reply = cli_ask(r, err, "XLEN", key);
    s->waiting = redis_value(reply).number;
    if (s->waiting == 0)
        return reply ? 0 : -1;
    reply = cli_ask(r, err, "XRANGE", key, "-", "+", "COUNT", "1");
    (void)cli_entry(reply, 0, oldest);
    s->oldest_ms = strtoll(oldest, NULL, 10); // it begins with the time by Redis's clock
    return reply ? 0 : -1;
}

// --- doctor -----------------------------------------------------------------------------

static void
report_waiting(struct report *r, const char *service, const struct commands_state *s,
               int64_t now_ms)
{
    char age[32];
    int64_t old_ms = now_ms - s->oldest_ms;

    if (s->waiting == 0 || now_ms == 0 || old_ms < OLD_S * 1000)
        return;
    text_duration(age, sizeof age, old_ms);
    report_warning(r, "commands",
                   "see its log: does ActiveCampaign throttle, or is it down? Or raise "
                   "commands.rate, or let the service send less",
                   "commands of %s that wait: %lld, the oldest for %s", service,
                   (long long)s->waiting, age);
}

static void
report_dead(struct report *r, struct redis *redis)
{
    char key[SCRIPT_KEY];

    script_key(key, r->cli->config->redis_namespace, SPAN("commands.dead"));
    int64_t n = redis_value(cli_ask(redis, &(struct err){0}, "XLEN", key)).number;
    if (n > 0)
        report_warning(
            r, "commands",
            "check them with acrelay dead list --commands, then dead replay or "
            "dead drop",
            "commands that failed or expired, kept as dead letters: %lld", (long long)n);
}

// No error: the worker may have a file of its own, with a user of its own.
static void
report_rights(struct report *r, struct redis *redis)
{
    const struct redis_reply *reply =
        check_rights_ask(redis, r->cli->config, NULL, &(struct err){0});
    struct span lacks = redis_value(redis_reply_at(reply, 1)).text;

    if (lacks.len)
        report_warning(
            r, "commands",
            "grant what deploy/redis/acrelay.acl lists for the worker, unless it "
            "has a file and a user of its own",
            "a worker with this file carries out no commands: user %s may not: "
            "%.*s",
            r->redis_user, (int)lacks.len, lacks.at);
}

void
commands_report(struct report *r, struct redis *redis)
{
    const struct config *c = r->cli->config;
    struct commands_state s;
    struct err err = {0};
    int64_t waiting = 0;
    size_t unread = 0;

    int64_t now_ms = cli_redis_us(redis) / 1000;
    for (size_t i = 0; i < c->services_len && !redis->dead; i++) {
        if (commands_read(redis, c, c->services[i].name, &s, &err) == 0)
            report_waiting(r, c->services[i].name, &s, now_ms);
        else
            unread += s.waiting == 0; // else only the age of its oldest
        waiting += s.waiting;
    }
    int leads = redis->dead ? -1 : commands_have_leader(redis, c, &err);
    if (leads == 0)
        report_error(
            r, EXIT_CODE_UNAVAILABLE, "commands",
            "start acrelay-worker; if it runs, its log shows why it does not lead",
            "no worker leads: nobody carries out commands; waiting: %lld",
            (long long)waiting);
    else if (!redis->dead && (leads < 0 || unread)) // a missing right, or a wrong type
        report_warning(r, "commands", relay_advice(err.text)->advice,
                       "whether a worker leads, or what waits, is not known: %s",
                       err.text);
    else if (!redis->dead)
        report_ok(r, "commands",
                  "a worker leads; commands of %zu service%s that wait: %lld",
                  c->services_len, PLURAL(c->services_len), (long long)waiting);
    report_dead(r, redis); // which a dead connection does not answer
    report_rights(r, redis);
}
