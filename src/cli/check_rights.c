// Rights are asked for in a script (redis.acl_check_cmd, Redis 7.0), which needs no more than EVAL
// and executes none of the commands.
#include "cli/check_redis.h"
#include "cli/redis_words.h"
#include "relay/script.h"

#include <stdio.h>

enum { LACKS_TEXT = 600 };

struct asking {
    struct findings *f;
    const struct config *c;
    struct redis *r;
};

// The commands of script, trim and attaching. One word of the key's name; "" none, "*" each
// stream.
static const struct right {
    const char *command, *key, *more[3];
} rights[] = {
    {"EVALSHA", "dead", {"0", "0"}},
    {"HMGET", "cursor:x", {"owner", "sequence", "check"}},
    {"HSET", "cursor:x", {"owner", "a"}},
    {"TIME", "", {NULL}},
    {"HMGET", "seen:state", {"current", "since"}},
    {"HMGET", "seen:1", {"a"}},
    {"HMGET", "seen:2", {"a"}},
    {"HSET", "seen:state", {"a", "b"}},
    {"HSET", "seen:1", {"a", "b"}},
    {"HSET", "seen:2", {"a", "b"}},
    {"UNLINK", "seen:state", {NULL}},
    {"UNLINK", "seen:1", {NULL}},
    {"UNLINK", "seen:2", {NULL}},
    {"PEXPIRE", "seen:state", {"1"}},
    {"PEXPIRE", "seen:1", {"1"}},
    {"PEXPIRE", "seen:2", {"1"}},
    {"HSET", "last", {"a", "b"}},
    {"HKEYS", "last", {NULL}},
    {"HDEL", "last", {"a"}},
    {"UNLINK", "streams", {NULL}},
    {"SMEMBERS", "streams", {NULL}},
    {"SADD", "streams", {"a"}},
    {"SREM", "streams", {"a"}},
    {"XADD", "dead", {"*", "a", "b"}},
    {"XADD", "*", {"*", "a", "b"}},
    {"XTRIM", "dead", {"MAXLEN", "~", "1"}},
    {"XTRIM", "*", {"MAXLEN", "~", "1"}},
    {"XLEN", "dead", {NULL}},
    {"XLEN", "*", {NULL}},
    {"XINFO GROUPS", "dead", {NULL}},
    {"XINFO GROUPS", "*", {NULL}},
    {"XINFO STREAM", "dead", {NULL}},
    {"XINFO STREAM", "*", {NULL}},
};

static const char rights_script[] =
    "if not redis.acl_check_cmd then return 'unknown' end\n"
    "local out, i = {}, 1\n"
    "while ARGV[i] do\n"
    "  local n = tonumber(ARGV[i])\n"
    "  local ok, may = pcall(redis.acl_check_cmd, unpack(ARGV, i + 1, i + n))\n"
    "  out[#out + 1] = not ok and 'absent' or may and 'ok' or 'denied'\n"
    "  i = i + n + 1\n"
    "end\n"
    "return out\n";

static void
add_right(struct redis_args *args, const struct right *right, const char *key)
{
    struct span words = span_of(right->command), parts[8];
    char number[8];
    size_t n = 0;

    while (words.len)
        parts[n++] = span_cut(&words, ' ');
    if (*right->key)
        parts[n++] = span_of(key);
    for (size_t i = 0; i < 3 && right->more[i]; i++)
        parts[n++] = span_of(right->more[i]);
    snprintf(number, sizeof number, "%zu", n);
    redis_args_add(args, span_of(number));
    for (size_t i = 0; i < n; i++)
        redis_args_add(args, parts[i]);
}

// each_right calls `each` for every right and every key of it.
typedef void right_fn(const struct right *right, const char *key, void *context);

static void
each_right(struct asking *l, right_fn *each, void *context)
{
    char key[SCRIPT_KEY];

    for (size_t i = 0; i < sizeof rights / sizeof *rights; i++) {
        bool streams = strcmp(rights[i].key, "*") == 0;
        for (size_t k = 0; k < (streams ? l->c->streams.len : 1); k++) {
            script_key(key, l->c->redis_namespace,
                       span_of(streams ? l->c->streams.at[k] : rights[i].key));
            each(&rights[i], key, context);
        }
    }
}

static void
ask_right(const struct right *right, const char *key, void *args)
{
    add_right(args, right, key);
}

struct lacks {
    const struct redis_reply *reply;
    size_t at;
    bool absent; // a command, not a right
    char text[LACKS_TEXT];
};

static void
note_lack(const struct right *right, const char *key, void *context)
{
    struct lacks *l = context;
    struct span answer = redis_reply_text(redis_reply_at(l->reply, l->at++));
    size_t len = strlen(l->text);

    if (span_is(answer, "ok"))
        return;
    l->absent = l->absent || span_is(answer, "absent");
    snprintf(l->text + len, sizeof l->text - len, "%s%s%s%s", len ? ", " : "",
             right->command, span_is(answer, "absent") ? "" : " on ",
             span_is(answer, "absent") ? "" : key);
}

static void
tell_rights(struct asking *l, const struct redis_reply *reply)
{
    const char *user = l->c->redis_user ? l->c->redis_user : "default";
    struct lacks lacks = {.reply = reply};

    if (redis_reply_kind(reply) == REDIS_TEXT) {
        findings_tell(l->f, WARNING, EXIT_CODE_OK, "redis rights",
                      "Redis 7.0 and later can be asked",
                      "not looked at: this Redis cannot say what user %s may do", user);
        return;
    }
    each_right(l, note_lack, &lacks);
    if (lacks.text[0] && lacks.absent)
        findings_tell(l->f, WRONG, EXIT_CODE_CONFIG, "redis rights",
                      redis_words_find("unknown command")->advice,
                      "Redis does not have or does not let user %s use: %s", user,
                      lacks.text);
    else if (lacks.text[0])
        findings_tell(l->f, WRONG, EXIT_CODE_PERMISSION, "redis rights",
                      redis_words_find("NOPERM")->advice, "user %s may not: %s", user,
                      lacks.text);
    else
        findings_tell(l->f, GOOD, EXIT_CODE_OK, "redis rights", NULL,
                      "user %s may do all that script and trimming need", user);
}

static void
ask_rights(struct asking *l)
{
    struct redis_args args = {0};
    struct err err = {0};
    struct span head[] = {SPAN("EVAL"), span_of(rights_script), SPAN("0")};
    const struct redis_reply *reply = NULL;

    each_right(l, ask_right, &args);
    if (redis_send(l->r, head, 3, &args, &err) == 0)
        reply = redis_receive(l->r, &err);
    buf_release(&args.bytes);
    struct span text = redis_reply_text(reply);
    if (redis_reply_kind(reply) == REDIS_ARRAY || redis_reply_kind(reply) == REDIS_TEXT) {
        tell_rights(l, reply);
        return;
    }
    if (reply)
        err_set(&err, ERR_INPUT, "EVAL: Redis says: %.*s", (int)text.len, text.at);
    redis_tell(l->f, "redis rights", err.text);
}

// A script nobody has: that is the right answer.
static void
ask_evalsha(struct asking *l)
{
    struct err err = {0};
    const struct redis_reply *reply = redis_ask(
        l->r, &err, "EVALSHA", "0000000000000000000000000000000000000000", "0", NULL);
    struct span text = redis_reply_text(reply);

    if (redis_reply_kind(reply) == REDIS_ERROR && span_starts(text, SPAN("NOSCRIPT")))
        return;
    if (reply)
        err_set(&err, ERR_INPUT, "EVALSHA: Redis says: %.*s", (int)text.len, text.at);
    redis_tell(l->f, "redis rights", err.text);
}

void
check_rights(struct findings *f, struct redis *r)
{
    struct asking asking = {.f = f, .c = f->cli->config, .r = r};

    ask_rights(&asking);
    if (!redis_is_dead(r))
        ask_evalsha(&asking);
}
