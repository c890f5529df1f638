// Redis as the relay will meet it: each answer counts as good only when it is the one expected;
// NOPERM is a remark where the relay can do without; all others are shown in Redis's words.
//
// Nothing is written: a command that would write is sent with an argument that Redis refuses
// after all that can be wrong with rights, memory and role. Rights are asked for by check_rights.c.
#include "cli/cli.h"

#include "base/clock.h"
#include "edge/admin.h"
#include "journal/cursor.h"
#include "relay/layout.h"
#include "relay/relay.h"

#include <stdio.h>

enum { CLOCKS_APART_S = 5, RUN_ID = 41 };

struct inspection {
    struct report *report;
    const struct config *c;
    struct redis *r;
    const char *tag;             // whose keys are looked at, on the server that has them
    bool is_partition;           // it has streams; of several, {ac} has none
    bool is_new;                 // this server was not looked at before
    char not_allowed[200];       // commands that the user may not ask
    char version[CHECK_VERSION]; // as far as it is known
    char servers[TAGS_MAX][RUN_ID]; // those that were looked at
    size_t servers_len;
    long long dead; // letters
    bool has_rights;
    bool is_other; // the user is not the receiver's
};

static bool
is_error(const struct redis_reply *reply, const char *word)
{
    return redis_value(reply).kind == REDIS_ERROR &&
           span_starts(redis_value(reply).text, span_of(word));
}

static void
report_text(struct report *r, const char *what, const char *text)
{
    const struct relay_advice *known = relay_advice(text);

    report_add(r, known->code ? REPORT_ERROR : REPORT_WARNING, known->code, what,
               known->advice, "%s", text);
}

// Reports an error reply in Redis's own words, or that there was none.
static void
report_reply(struct inspection *i, const char *what, const char *asked,
             const struct redis_reply *reply, struct err *err)
{
    struct span text = redis_value(reply).text;

    if (reply)
        err_set(err, ERR_INPUT, "%s: Redis says: %.*s", asked, (int)text.len, text.at);
    report_text(i->report, what, err->text);
}

// The reply to a command of one word and an argument (or NULL); NULL when it is reported, or
// the right to ask is missing.
static const struct redis_reply *
ask(struct inspection *i, const char *command, const char *argument)
{
    struct err err = {0};
    const struct redis_reply *reply = redis_ask(i->r, &err, command, argument, NULL);
    size_t len = strlen(i->not_allowed);

    if (reply && redis_value(reply).kind != REDIS_ERROR)
        return reply;
    if (is_error(reply, "ERR unknown command")) // the relay can do without
        report_warning(
            i->report, "redis",
            "undo the renaming of this command, so that its answer can be checked",
            "%s: Redis does not know this command", command);
    else if (!is_error(reply, "NOPERM"))
        report_reply(i, "redis", command, reply, &err);
    else if (!strstr(i->not_allowed, command))
        snprintf(i->not_allowed + len, sizeof i->not_allowed - len, "%s%s",
                 len ? ", " : "", command);
    return NULL;
}

// --- role and server ----------------------------------------------------------------------

// What is not allowed, renamed or removed was answered all the same.
static bool
is_served(const struct redis_reply *reply, struct err *err)
{
    return cli_reply(reply, err) || is_error(reply, "NOPERM") ||
           is_error(reply, "ERR unknown command");
}

static bool
is_master(struct redis *r, struct err *err)
{
    if (!is_served(redis_ask(r, err, "PING", NULL), err))
        return false;
    const struct redis_reply *reply = redis_ask(r, err, "ROLE", NULL);
    struct span role = redis_value(redis_reply_at(reply, 0)).text;
    if (!is_served(reply, err))
        return false;
    if (role.len > 0 && !span_is(role, "master"))
        err_set(err, ERR_AGAIN, "this Redis is a %.*s, not the master", (int)role.len,
                role.at);
    return role.len == 0 || span_is(role, "master");
}

struct redis *
check_redis_open(const struct cli *c, const char *tag, struct err *err)
{
    struct redis *r = cli_redis(c, tag, err);

    if (!r || is_master(r, err))
        return r;
    redis_close(r);
    err_context(err, "%s", c->config->redis_url.text);
    return NULL;
}

// Partitions mostly share a server: what is said of one is said once.
static bool
is_new_server(struct inspection *i, struct span info)
{
    struct span id = check_info_value(info, "run_id");

    for (size_t k = 0; k < i->servers_len; k++)
        if (span_is(id, i->servers[k]))
            return false;
    snprintf(i->servers[i->servers_len++], RUN_ID, "%.*s", (int)id.len, id.at);
    return true;
}

static void
check_server(struct inspection *i)
{
    const struct redis_reply *reply = ask(i, "INFO", NULL);
    struct span info = redis_value(reply).text;

    i->is_new = reply ? is_new_server(i, info) : i->servers_len == 0;
    if (reply && i->is_new)
        check_info(i->report, info, i->version);
}

// --- keys, and what would be written ------------------------------------------------------

// Refused for its id only when nothing else stands in the way.
static void
check_writing(struct inspection *i)
{
    char key[SCRIPT_KEY];
    struct err err = {0};

    script_key(key, i->tag, span_of(i->c->hooks[0].stream));
    const struct redis_reply *reply =
        redis_ask(i->r, &err, "XADD", key, "NOMKSTREAM", "none", "a", "b", NULL);
    if (!is_error(reply, "ERR Invalid stream ID") && !is_error(reply, "NOPERM"))
        report_reply(i, "redis", "a write would be refused", reply, &err);
}

static void
check_type(struct inspection *i, bool of_commands, const char *name, const char *wanted)
{
    char key[SCRIPT_KEY];

    script_key(key, i->tag, span_of(name));
    const struct redis_reply *reply = ask(i, "TYPE", key);
    struct span type = redis_value(reply).text;
    if (reply && !span_is(type, "none") && !span_is(type, wanted))
        report_error(i->report, EXIT_CODE_CONFIG, of_commands ? "commands" : "redis",
                     of_commands ? "rename or delete that key: until then, the commands "
                                   "that need it wait"
                                 : relay_advice("WRONGTYPE")->advice,
                     "%s is a %.*s, but must be a %s", key, (int)type.len, type.at,
                     wanted);
}

static void
check_keys(struct inspection *i)
{
    static const char *const others[][2] = {
        {"dead", "stream"},    {"seen:state", "hash"}, {"seen:1", "hash"},
        {"seen:2", "hash"},    {"last", "hash"},       {"streams", "set"},
        {"receivers", "hash"}, {"last:listed", "hash"}};

    for (size_t k = 0; i->is_partition && k < i->c->streams.len; k++)
        check_type(i, false, i->c->streams.at[k], "stream");
    for (size_t k = 0; i->is_partition && k < sizeof others / sizeof *others; k++)
        check_type(i, false, others[k][0], others[k][1]);
    if (strcmp(i->tag, i->c->redis_namespace) == 0)
        check_type(i, false, "hooks", "hash"); // the worker's
    check_type(i, false, "account", "string");
}

// Of an account that is not ours nothing may be written there.
static void
check_account(struct inspection *i)
{
    char key[SCRIPT_KEY];
    const char *ours = i->c->account_name;

    script_key(key, i->tag, SPAN("account"));
    const struct redis_reply *reply = ask(i, "GET", key);
    struct span account = redis_value(reply).text;
    if (account.len > 0 && !span_is(account, ours))
        report_error(i->report, EXIT_CODE_CONFIG, "account",
                     relay_advice(RELAY_ACCOUNT_IS_OTHER)->advice,
                     RELAY_ACCOUNT_IS_OTHER ": nothing of this file's is written there",
                     i->tag, (int)account.len, account.at, ours);
}

// --- rights -----------------------------------------------------------------------------

static void
report_rights(struct inspection *i, const struct redis_reply *reply)
{
    const char *user = i->report->redis_user;
    struct span lacks = redis_value(redis_reply_at(reply, 1)).text;

    if (redis_value(reply).kind == REDIS_TEXT)
        report_warning(i->report, "redis rights",
                       "upgrade to Redis 7.0 or later to have this checked",
                       "not checked: this Redis cannot report what user %s may do", user);
    else if (lacks.len && redis_value(redis_reply_at(reply, 0)).number)
        report_error(i->report, EXIT_CODE_CONFIG, "redis rights",
                     relay_advice("unknown command")->advice,
                     "not available in Redis, or not allowed for user %s: %.*s", user,
                     (int)lacks.len, lacks.at);
    else if (lacks.len)
        report_error(i->report, EXIT_CODE_PERMISSION, "redis rights",
                     relay_advice("NOPERM")->advice, "user %s may not: %.*s", user,
                     (int)lacks.len, lacks.at);
    else
        i->has_rights = true;
}

// One who may run no script is not the receiver's user if the receiver publishes with one; before it
// runs, the operator of deploy/redis/acrelay.acl is known by name.
static bool
is_other_user(const struct inspection *i)
{
    const struct admin_state *a = &i->report->cli->receiver;

    return a->code ? admin_sum_metric(&a->metrics, "acrelay_relay_shipping") > 0
                   : strcmp(i->report->redis_user, "acrelay-operator") == 0;
}

static void
report_other_user(struct inspection *i)
{
    i->is_other = true;
    report_warning(i->report, "redis rights",
                   "check them with REDIS_USER=acrelay-receiver acrelay check, if "
                   "redis.user is set up as in deploy/redis/acrelay.acl",
                   "checked as %s, not as the receiver's user: the rights of that one "
                   "were not checked",
                   i->report->redis_user);
}

// Until one partition lacks some.
static void
check_rights(struct inspection *i)
{
    struct err err = {0};

    if (!i->is_partition || !i->has_rights)
        return;
    i->has_rights = false;
    const struct redis_reply *reply = check_rights_ask(i->r, i->c, i->tag, &err);
    if (redis_value(reply).kind == REDIS_TEXT ||
        (redis_value(redis_reply_at(reply, 0)).kind == REDIS_NUMBER &&
         redis_value(redis_reply_at(reply, 1)).kind == REDIS_TEXT))
        report_rights(i, reply);
    else if (is_error(reply, "NOPERM") && is_other_user(i))
        report_other_user(i);
    else
        report_reply(i, "redis rights", "EVAL", reply, &err);
}

// A script nobody has: that is the right answer.
static void
check_evalsha(struct inspection *i)
{
    struct err err = {0};
    const struct redis_reply *reply = redis_ask(
        i->r, &err, "EVALSHA", "0000000000000000000000000000000000000000", "0", NULL);

    if (!is_error(reply, "NOSCRIPT") && !(i->is_other && is_error(reply, "NOPERM")))
        report_reply(i, "redis rights", "EVALSHA", reply, &err);
}

// --- doctor ---------------------------------------------------------------------------

static void
check_time(struct inspection *i)
{
    int64_t redis_us = i->is_new ? redis_time_us(ask(i, "TIME", NULL)) : 0,
            apart = (redis_us - clock_now_us()) / 1000000;

    if (redis_us == 0)
        return;
    if (apart > CLOCKS_APART_S || apart < -CLOCKS_APART_S)
        report_warning(
            i->report, "clock",
            "synchronize both clocks: entry ids and redis.retain.age use Redis's clock",
            "Redis's clock differs from the local one by %lld s", (long long)apart);
}

static void
check_dead(struct inspection *i)
{
    char key[SCRIPT_KEY];

    script_key(key, i->tag, SPAN("dead"));
    i->dead += redis_value(ask(i, "XLEN", key)).number;
}

static void
report_dead(struct inspection *i)
{
    if (i->dead > 0)
        report_warning(i->report, "dead letters",
                       "check them with acrelay dead list, then dead replay or dead drop",
                       "dead letters (what could not be parsed, and gaps): %lld",
                       i->dead);
}

// They lie in {ac}.
static void
check_commands(struct inspection *i)
{
    static const char *const keys[][2] = {{"commands.ids", "hash"},
                                          {"commands.order", "zset"},
                                          {"commands.tried", "hash"},
                                          {"commands.dead", "stream"},
                                          {"commands.count", "string"}};
    char name[80];

    if (strcmp(i->tag, i->c->redis_namespace) != 0 || i->c->services_len == 0)
        return;
    commands_report(i->report, i->r);
    for (size_t k = 0; !i->r->dead && k < sizeof keys / sizeof *keys; k++)
        check_type(i, true, keys[k][0], keys[k][1]);
    for (size_t k = 0; !i->r->dead && k < i->c->services_len; k++) {
        snprintf(name, sizeof name, "commands:%s", i->c->services[k].name);
        check_type(i, true, name, "stream");
        snprintf(name, sizeof name, "results:%s", i->c->services[k].name);
        check_type(i, true, name, "stream");
    }
}

// --- all of it ------------------------------------------------------------------------

static void
check_tag(struct inspection *i)
{
    // the last three are doctor's
    static void (*const checks[])(struct inspection *) = {
        check_server,  check_keys, check_account, check_writing, check_rights,
        check_evalsha, check_time, check_dead,    check_commands};
    size_t len = i->report->deep ? 9 : 6;

    (void)ask(i, "ROLE", NULL); // whether the user may

    // A connection that is dead was reported.
    for (size_t k = 0; k < len && !i->r->dead; k++)
        checks[k](i);
}

static void
report_all(struct inspection *i, size_t errors)
{
    int n = config_partitions(i->c);
    char many[40] = "";

    if (i->has_rights)
        report_ok(i->report, "redis rights",
                  "user %s has all rights that the script and trimming need",
                  i->report->redis_user);
    report_dead(i);
    if (i->report->deep)
        receivers_report(i->report);
    if (n > 1)
        snprintf(many, sizeof many, ", %d partitions", n);
    if (i->report->errors == errors)
        report_ok(i->report, "redis", "%s: %s%s%s%s", i->c->redis_url.text,
                  i->version[0] ? i->version : "answers", many,
                  i->not_allowed[0] ? "; not checked, because this right is missing: "
                                    : "",
                  i->not_allowed);
}

// As the relay will meet it: without the layout of a journal that has records nothing is published.
static void
check_layout(struct report *r)
{
    const char *directory = r->cli->config->state_dir;
    struct layout l;
    char id[JOURNAL_ID_TEXT];
    struct record record;
    struct err err = {0};
    struct cursor *cursor = cursor_open_reader(directory, 0, id, &err);

    if (cursor && cursor_next(cursor, &record, &err) != CURSOR_END) {
        int found = layout_read(&l, directory, id, &err);
        if (found < 0 || (found == 0 && config_partitions(r->cli->config) > 1))
            report_error(
                r, EXIT_CODE_CONFIG, "partitions", "see \"Partitions\" in OPERATING.md",
                "%s%s: nothing will be published, and deliveries wait in the journal",
                found < 0 ? err.text : directory,
                found < 0 ? "" : "/partitions is missing");
    }
    cursor_close(cursor);
}

// Whether all partitions, and {ac} where the worker's keys are, can be used.
void
check_redis(struct report *r)
{
    struct inspection i = {.report = r, .c = r->cli->config, .has_rights = true};
    int n = config_partitions(i.c);
    size_t errors = r->errors;
    char tag[CONFIG_TAG];

    check_layout(r);
    check_hosts(r);
    r->redis_usable = true;
    for (int k = 0; k < (n > 1 ? n + 1 : 1); k++) {
        struct err err = {0};
        i.is_partition = k < n;
        i.tag = i.is_partition ? config_tag(i.c, k, tag) : i.c->redis_namespace;
        i.r = check_redis_open(r->cli, i.tag, &err);
        if (i.r && (k == 0 || r->redis_url.kind == REDIS_CLUSTER))
            check_redis_tls(r, i.r);
        if (i.r)
            check_tag(&i);
        else
            report_text(r, "redis", err.text);
        r->redis_usable = r->redis_usable && i.r && !i.r->dead;
        redis_close(i.r);
        if (!r->redis_usable && r->redis_url.kind != REDIS_CLUSTER)
            break; // the others lie there too
    }
    if (i.version[0] || r->redis_usable)
        report_all(&i, errors);
}
