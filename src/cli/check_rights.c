// Rights are asked for in a script (redis.acl_check_cmd, Redis 7.0), which needs no more than EVAL and
// executes none of the commands.
#include "cli/cli.h"

#include <stdio.h>

// The commands of the relay's script, trim and attaching, and those of the worker for commands of
// services: the keys each is used with (blanks between them; "*" stands for the streams, a ":" at
// the end for one of each service), and what follows the key.
static const struct right {
    const char *command, *keys, *rest;
} of_relay[] = {{"EVALSHA", "dead", "0 0"},
                {"TIME", "", ""},
                {"GET", "account", ""},
                {"SET", "account", "a"},
                {"HMGET", "cursor:x seen:state seen:1 seen:2 last:listed receivers", "a"},
                {"HSET", "cursor:x seen:state seen:1 seen:2 last last:listed receivers",
                 "a b"},
                {"UNLINK", "seen:state seen:1 seen:2 streams", ""},
                {"PEXPIRE", "seen:state seen:1 seen:2", "1"},
                {"HKEYS", "last last:listed receivers", ""},
                {"HDEL", "last last:listed receivers", "a"},
                {"SMEMBERS", "streams", ""},
                {"SADD", "streams", "a"},
                {"SREM", "streams", "a"},
                {"XADD", "dead *", "* a b"},
                {"XTRIM", "dead *", "MAXLEN ~ 1"},
                {"XLEN", "dead *", ""},
                {"XINFO GROUPS", "dead *", ""},
                {"XINFO STREAM", "dead *", ""}},
  confirming[] = {{"WAIT", "", "1 1"}, {"WAITAOF", "", "1 0 1"}},
  of_commands[] = {{"GET", "leader commands.count", ""},
                   {"SET", "leader", "a"},
                   {"DEL", "leader", ""},
                   {"PEXPIRE", "leader", "1"},
                   {"TYPE", "commands: results: commands.ids", ""},
                   {"TIME", "", ""},
                   {"XGROUP CREATE", "commands:", "acrelay 0 MKSTREAM"},
                   {"XREADGROUP GROUP acrelay worker STREAMS", "commands:", ">"},
                   {"XRANGE", "commands:", "- +"},
                   {"XPENDING", "commands:", "acrelay"},
                   {"XINFO GROUPS", "commands:", ""},
                   {"XACK", "commands:", "acrelay 0-1"},
                   {"XDEL", "commands:", "0-1"},
                   {"XADD", "results: commands.dead", "* a b"},
                   {"XTRIM", "results: commands.dead", "MAXLEN ~ 1"},
                   {"HGET", "commands.ids commands.tried", "a"},
                   {"HSET", "commands.tried", "a b"},
                   {"HSETNX", "commands.ids", "a b"},
                   {"HDEL", "commands.ids commands.tried", "a"},
                   {"ZADD", "commands.order", "1 a"},
                   {"ZCARD", "commands.order", ""},
                   {"ZPOPMIN", "commands.order", ""},
                   {"ZRANGEBYSCORE", "commands.order", "0 1"},
                   {"ZREM", "commands.order", "a"},
                   {"INCR", "commands.count", ""}};

static const char rights_script[] =
    "if not redis.acl_check_cmd then return 'unknown' end\n"
    "local lacks, absent = {}, 0\n"
    "for _, right in ipairs(ARGV) do\n"
    "  local words, command, key = {}, string.match(right, '^(.-) @(%S+)')\n"
    "  for word in string.gmatch(right, '%S+') do\n"
    "    words[#words + 1] = string.gsub(word, '^@', '')\n"
    "  end\n"
    "  local known, may = pcall(redis.acl_check_cmd, unpack(words))\n"
    "  if not known then absent = 1 end\n"
    "  if not known or not may then\n"
    "    lacks[#lacks + 1] = (command or right) .. (known and key and ' on ' .. key or "
    "'')\n"
    "  end\n"
    "end\n"
    "return {absent, table.concat(lacks, ', ')}\n";

// A line of the script's: "XADD @{ac}:dead * a b".
static void
add_right(struct redis_args *args, const char *tag, const struct right *right,
          struct span name)
{
    char key[SCRIPT_KEY] = "", line[SCRIPT_KEY + 100];

    if (name.len)
        script_key(key, tag, name);
    snprintf(line, sizeof line, "%s %s%s %s", right->command, name.len ? "@" : "", key,
             right->rest);
    redis_args_add(args, span_trim(span_of(line)));
}

static void
add_for_key(struct redis_args *args, const struct config *c, const char *tag,
            const struct right *right, struct span key)
{
    bool streams = span_is(key, "*"), services = key.len && key.at[key.len - 1] == ':';
    size_t len = streams ? c->streams.len : services ? c->services_len : 1;
    char name[80];

    for (size_t i = 0; i < len; i++) {
        snprintf(name, sizeof name, "%.*s%s", (int)key.len, key.at,
                 services ? c->services[i].name : "");
        add_right(args, tag, right, span_of(streams ? c->streams.at[i] : name));
    }
}

static void
add_rights(struct redis_args *args, const struct config *c, const char *tag,
           const struct right *rights, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        struct span keys = span_of(rights[i].keys);
        do
            add_for_key(args, c, tag, &rights[i], span_cut(&keys, ' '));
        while (keys.len > 0);
    }
}

const struct redis_reply *
check_rights_ask(struct redis *r, const struct config *c, const char *tag,
                 struct err *err)
{
    struct span head[] = {SPAN("EVAL"), span_of(rights_script), SPAN("0")};
    struct redis_args args = {0};

    if (!tag)
        add_rights(&args, c, c->redis_namespace, of_commands,
                   sizeof of_commands / sizeof *of_commands);
    else
        add_rights(&args, c, tag, of_relay, sizeof of_relay / sizeof *of_relay);
    if (tag && c->redis_confirm != CONFIG_CONFIRM_MEMORY)
        add_right(&args, tag, &confirming[c->redis_confirm == CONFIG_CONFIRM_AOF],
                  SPAN(""));
    bool sent = redis_send(r, head, 3, &args, err) == 0;
    buf_release(&args.bytes);
    return sent ? redis_receive(r, err) : NULL;
}
