// Rights are asked for in a script (redis.acl_check_cmd, Redis 7.0), which needs no more than EVAL and
// executes none of the commands.
#include "base/text.h"
#include "cli/cli.h"

#include <stdio.h>

// The commands of script, trim and attaching, the keys each is used with (blanks between them; "*"
// stands for the streams), and what follows the key.
static const struct right {
    const char *command, *keys, *rest;
} rights[] = {{"EVALSHA", "dead", "0 0"},
              {"TIME", "", ""},
              {"GET", "account", ""},
              {"SET", "account", "a"},
              {"HMGET", "cursor:x seen:state seen:1 seen:2 receivers", "a"},
              {"HSET", "cursor:x seen:state seen:1 seen:2 last receivers", "a b"},
              {"UNLINK", "seen:state seen:1 seen:2 streams", ""},
              {"PEXPIRE", "seen:state seen:1 seen:2", "1"},
              {"HKEYS", "last receivers", ""},
              {"HDEL", "last receivers", "a"},
              {"SMEMBERS", "streams", ""},
              {"SADD", "streams", "a"},
              {"SREM", "streams", "a"},
              {"XADD", "dead *", "* a b"},
              {"XTRIM", "dead *", "MAXLEN ~ 1"},
              {"XLEN", "dead *", ""},
              {"XINFO GROUPS", "dead *", ""},
              {"XINFO STREAM", "dead *", ""}},
  confirming[] = {{"WAIT", "", "1 1"}, {"WAITAOF", "", "1 0 1"}};

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
    char key[SCRIPT_KEY] = "", line[SCRIPT_KEY + 64];

    if (name.len)
        script_key(key, tag, name);
    snprintf(line, sizeof line, "%s %s%s %s", right->command, name.len ? "@" : "", key,
             right->rest);
    redis_args_add(args, span_trim(span_of(line)));
}

static void
add_rights(struct redis_args *args, const struct config *c, const char *tag)
{
    for (size_t i = 0; i < sizeof rights / sizeof *rights; i++) {
        struct span keys = span_of(rights[i].keys);
        do {
            struct span key = span_cut(&keys, ' ');
            bool streams = span_is(key, "*");
            for (size_t k = 0; k < (streams ? c->streams.len : 1); k++)
                add_right(args, tag, &rights[i],
                          streams ? span_of(c->streams.at[k]) : key);
        } while (keys.len > 0);
    }
    if (c->redis_confirm != CONFIG_CONFIRM_MEMORY)
        add_right(args, tag, &confirming[c->redis_confirm == CONFIG_CONFIRM_AOF],
                  SPAN(""));
}

const struct redis_reply *
check_rights_ask(struct redis *r, const struct config *c, const char *tag,
                 struct err *err)
{
    struct redis_args args = {0};
    struct span head[] = {SPAN("EVAL"), span_of(rights_script), SPAN("0")};
    const struct redis_reply *reply = NULL;

    add_rights(&args, c, tag);
    if (redis_send(r, head, 3, &args, err) == 0)
        reply = redis_receive(r, err);
    buf_release(&args.bytes);
    return reply;
}
