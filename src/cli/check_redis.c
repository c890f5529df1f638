// Redis as the relay will meet it: each answer counts as good only when it is the one expected;
// NOPERM is a remark where the relay can do without; all others are told in Redis's words.
//
// Nothing is written: a command that would write is sent with an argument that Redis refuses
// after all that can be wrong with rights, memory and role, and rights are asked for in a script
// (redis.acl_check_cmd, Redis 7.0), which needs no more than EVAL.
#include "cli/check_redis.h"

#include "base/clock.h"
#include "base/text.h"
#include "cli/redis_words.h"
#include "relay/script.h"

#include <stdio.h>

enum { CLOCKS_APART_S = 5 };

struct look {
    struct findings *f;
    const struct config *c;
    struct redis *r;
    bool deeply;
    char stream[SCRIPT_KEY]; // the first hook's
    char unseen[200];        // what the user may not ask
    char version[64];        // "version 7.0.15", as far as it is known
    size_t wrong_before;
};

static bool
is_error(const struct redis_reply *reply, const char *word)
{
    return redis_reply_kind(reply) == REDIS_ERROR &&
           span_starts(redis_reply_text(reply), span_of(word));
}

void
redis_tell(struct findings *f, const char *what, const char *text)
{
    const struct redis_words *known = redis_words_find(text);

    findings_tell(f, known->code ? WRONG : WARNING, known->code, what, known->advice,
                  "%s", text);
}

// Whether the reply is one to read. Else it is told, or the right to ask is missing.
static bool
is_answer(struct look *l, const struct redis_reply *reply, const char *command,
          struct err *err)
{
    struct span text = redis_reply_text(reply);

    if (!reply) {
        redis_tell(l->f, "redis", err->text);
        return false;
    }
    if (redis_reply_kind(reply) != REDIS_ERROR)
        return true;
    if (span_starts(text, SPAN("NOPERM"))) {
        size_t len = strlen(l->unseen);
        if (!strstr(l->unseen, command))
            snprintf(l->unseen + len, sizeof l->unseen - len, "%s%s", len ? ", " : "",
                     command);
        return false;
    }
    err_set(err, ERR_INPUT, "%s: Redis says: %.*s", command, (int)text.len, text.at);
    if (is_error(reply, "ERR unknown command")) // the relay can do without
        findings_tell(l->f, WARNING, EXIT_CODE_OK, "redis",
                      "have Redis know it by its name, and what it tells is looked at",
                      "%s", err->text);
    else
        redis_tell(l->f, "redis", err->text);
    return false;
}

// What is not allowed, renamed or removed was answered all the same.
static bool
is_good(const struct redis_reply *reply, struct err *err)
{
    struct span text = redis_reply_text(reply);

    if (reply && (redis_reply_kind(reply) != REDIS_ERROR || is_error(reply, "NOPERM") ||
                  is_error(reply, "ERR unknown command")))
        return true;
    if (reply)
        err_set(err, ERR_INPUT, "Redis says: %.*s", (int)text.len, text.at);
    return false;
}

bool
redis_is_usable(struct redis *r, struct err *err)
{
    if (!is_good(redis_ask(r, err, "PING", NULL), err))
        return false;
    const struct redis_reply *reply = redis_ask(r, err, "ROLE", NULL);
    if (!is_good(reply, err))
        return false;
    struct span role = redis_reply_text(redis_reply_at(reply, 0));
    if (role.len == 0 || span_is(role, "master"))
        return true;
    return err_set(err, ERR_AGAIN, "this Redis is a %.*s, not the master", (int)role.len,
                   role.at),
           false;
}

// --- role and INFO -----------------------------------------------------------------------------

// The value of "name:value" in INFO.
static struct span
info_value(struct span text, const char *name)
{
    while (text.len > 0) {
        struct span line = span_cut(&text, '\n');
        struct span value = line;
        if (span_equal(span_cut(&value, ':'), span_of(name)))
            return span_to(value, span_find(value, '\r'));
    }
    return (struct span){"", 0};
}

static bool
says(struct span info, const char *name, const char *value)
{
    return span_is(info_value(info, name), value);
}

// XTRIM MINID is Redis 6.2's.
static bool
is_too_old(struct span version)
{
    uint64_t major, minor;
    struct span rest = version, first = span_cut(&rest, '.'),
                second = span_cut(&rest, '.');

    if (!text_number(&major, first, 1000) || !text_number(&minor, second, 1000))
        return false;
    return major < 6 || (major == 6 && minor < 2);
}

static void
look_at_version(struct look *l, struct span info)
{
    struct span version = info_value(info, "redis_version");
    struct span valkey = info_value(info, "valkey_version");
    struct span shown = valkey.len ? valkey : version;
    char text[40];

    text_escape(text, sizeof text, shown);
    if (shown.len)
        snprintf(l->version, sizeof l->version, "%sversion %s",
                 valkey.len ? "Valkey " : "", text);
    if (version.len == 0)
        findings_tell(l->f, WARNING, EXIT_CODE_OK, "redis",
                      "acrelay is tested with Redis 7.0 and 8.0 and Valkey 8.0 and 8.1",
                      "INFO does not tell its version");
    else if (is_too_old(version))
        findings_tell(l->f, WRONG, EXIT_CODE_UNAVAILABLE, "redis",
                      "install Redis 7.0 or later",
                      "%s: version %s, and acrelay needs Redis 6.2 (XTRIM MINID)",
                      l->c->redis_url.text, text);
}

static void
tell_persistence(struct look *l, struct span info)
{
    if (says(info, "aof_last_write_status", "err") ||
        says(info, "rdb_last_bgsave_status", "err"))
        findings_tell(l->f, WRONG, EXIT_CODE_UNAVAILABLE, "redis disk",
                      "look at Redis's log and disk; until then it refuses writes and "
                      "deliveries wait in the journal",
                      "Redis could not write its last file");
    if (says(info, "maxmemory", "0"))
        findings_tell(l->f, WARNING, EXIT_CODE_OK, "redis memory",
                      "set maxmemory with maxmemory-policy noeviction: then a full Redis "
                      "refuses, and deliveries wait in the journal",
                      "maxmemory is not set: Redis grows until the kernel kills it");
    if (says(info, "aof_enabled", "0") && says(info, "connected_slaves", "0"))
        findings_tell(
            l->f, WARNING, EXIT_CODE_OK, "redis loss",
            "set appendonly yes, or run a replica; journal.keep bounds what can "
            "be sent again",
            "neither an append-only file nor a replica: a crash loses what came "
            "since the last snapshot");
}

static void
look_at_role(struct look *l)
{
    struct err err = {0};

    (void)is_answer(l, redis_ask(l->r, &err, "ROLE", NULL), "ROLE", &err);
}

static void
look_at_info(struct look *l)
{
    struct err err = {0};
    const struct redis_reply *reply = redis_ask(l->r, &err, "INFO", NULL);

    if (!is_answer(l, reply, "INFO", &err))
        return;
    struct span info = redis_reply_text(reply);
    struct span policy = info_value(info, "maxmemory_policy");
    look_at_version(l, info);
    if (span_starts(policy, SPAN("allkeys-")))
        findings_tell(l->f, WRONG, EXIT_CODE_CONFIG, "redis",
                      "set maxmemory-policy noeviction",
                      "maxmemory-policy is %.*s: Redis would drop streams, and the relay "
                      "refuses it",
                      (int)policy.len, policy.at);
    if (l->deeply)
        tell_persistence(l, info);
    else if (says(info, "aof_enabled", "0"))
        findings_tell(
            l->f, WARNING, EXIT_CODE_OK, "redis", NULL,
            "appendonly is off: after a crash of Redis the journal sends again what is "
            "kept, consumers see new entry ids");
}

// --- what would be written ------------------------------------------------------------

// Refused for its id only when nothing else stands in the way.
static void
look_at_writing(struct look *l)
{
    struct err err = {0};
    const struct redis_reply *reply =
        redis_ask(l->r, &err, "XADD", l->stream, "NOMKSTREAM", "none", "a", "b", NULL);
    struct span text = redis_reply_text(reply);

    if (is_error(reply, "ERR Invalid stream ID") || is_error(reply, "NOPERM"))
        return; // a right is told below
    if (reply)
        err_set(&err, ERR_INPUT, "a write would be refused: %.*s", (int)text.len,
                text.at);
    redis_tell(l->f, "redis", err.text);
}

static void
look_at_type(struct look *l, const char *key, const char *wanted)
{
    struct err err = {0};
    const struct redis_reply *reply = redis_ask(l->r, &err, "TYPE", key, NULL);
    struct span type = redis_reply_text(reply);

    if (!is_answer(l, reply, "TYPE", &err) || span_is(type, "none") ||
        span_is(type, wanted))
        return;
    findings_tell(
        l->f, WRONG, EXIT_CODE_CONFIG, "redis", redis_words_find("WRONGTYPE")->advice,
        "%s is a %.*s, and should be a %s", key, (int)type.len, type.at, wanted);
}

static void
look_at_keys(struct look *l)
{
    static const char *const others[][2] = {{"dead", "stream"}, {"seen:state", "hash"},
                                            {"seen:1", "hash"}, {"seen:2", "hash"},
                                            {"last", "hash"},   {"streams", "set"},
                                            {"hooks", "hash"}};
    char key[SCRIPT_KEY];

    for (size_t i = 0; i < l->c->streams.len; i++) {
        script_key(key, l->c->redis_namespace, span_of(l->c->streams.at[i]));
        look_at_type(l, key, "stream");
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        script_key(key, l->c->redis_namespace, span_of(others[i][0]));
        look_at_type(l, key, others[i][1]);
    }
}

static void
look_at_rights(struct look *l)
{
    check_rights(l->f, l->r);
}

// --- doctor ---------------------------------------------------------------------------

static void
look_at_time(struct look *l)
{
    struct err err = {0};

    if (!l->deeply)
        return;
    const struct redis_reply *reply = redis_ask(l->r, &err, "TIME", NULL);
    uint64_t seconds;

    if (!is_answer(l, reply, "TIME", &err) ||
        !text_number(&seconds, redis_reply_text(redis_reply_at(reply, 0)), INT64_MAX))
        return;
    int64_t apart = (int64_t)seconds - clock_now_us() / 1000000;
    if (apart > CLOCKS_APART_S || apart < -CLOCKS_APART_S)
        findings_tell(l->f, WARNING, EXIT_CODE_OK, "clock",
                      "synchronize both clocks: entry ids and redis.retain.age go by "
                      "Redis's",
                      "Redis's clock is %lld s from ours", (long long)apart);
}

static void
look_at_dead(struct look *l)
{
    char key[SCRIPT_KEY];
    struct err err = {0};

    if (!l->deeply)
        return;

    script_key(key, l->c->redis_namespace, SPAN("dead"));
    const struct redis_reply *reply = redis_ask(l->r, &err, "XLEN", key, NULL);
    if (is_answer(l, reply, "XLEN", &err) && redis_reply_number(reply) > 0)
        findings_tell(l->f, WARNING, EXIT_CODE_OK, "dead letters",
                      "acrelay dead list; after a look dead replay, or dead drop",
                      "%lld deliveries could not be read and are kept",
                      (long long)redis_reply_number(reply));
}

// --- all of it ------------------------------------------------------------------------

static void
look_at_all(struct look *l)
{
    static void (*const looks[])(struct look * l) = {
        look_at_role,   look_at_info, look_at_keys, look_at_writing,
        look_at_rights, look_at_time, look_at_dead};

    // A connection that is dead was told.
    for (size_t i = 0; i < sizeof looks / sizeof *looks && !redis_is_dead(l->r); i++)
        looks[i](l);
    if (l->f->counts[WRONG] == l->wrong_before)
        findings_tell(l->f, GOOD, EXIT_CODE_OK, "redis", NULL, "%s: %s%s%s",
                      l->c->redis_url.text, l->version[0] ? l->version : "answers",
                      l->unseen[0] ? "; not looked at for want of the right: " : "",
                      l->unseen);
}

void
check_redis(struct findings *f, bool deeply)
{
    struct look l = {
        .f = f, .c = f->cli->config, .deeply = deeply, .wrong_before = f->counts[WRONG]};
    struct err err = {0};

    script_key(l.stream, l.c->redis_namespace, span_of(l.c->hooks[0].stream));
    l.r = cli_redis(f->cli, &err);
    output_wait("asking Redis (%s)", l.c->redis_url.text);
    if (!l.r || !redis_is_usable(l.r, &err)) {
        err_context(&err, "%s", l.c->redis_url.text);
        redis_tell(f, "redis", err.text);
    } else {
        look_at_all(&l);
        f->redis_usable = !redis_is_dead(l.r);
    }
    output_wait_end();
    redis_close(l.r);
}
