// Each receiver leaves word of itself beside its cursors, so that one command shows all that share a
// namespace: {tag}:receivers, a hash of owner to JSON, {"heard":<seconds by Redis's clock>,
// "instance":"...","journal":"...","version":"...","waiting":N,"oldest_seconds":N}. Nothing depends
// on it: what Redis answers is not looked at.
#include "relay/internal.h"

#include <sys/param.h>
#include <unistd.h>

enum { HOST = 64, WORD_OF_ITSELF = 512 };

// Those not heard of for 30 days are forgotten.
static const char script[] =
    "local now = redis.call('TIME')[1]\n"
    "redis.call('HSET', KEYS[1], ARGV[1], '{\"heard\":' .. now .. ',' .. ARGV[2])\n"
    "for _, owner in ipairs(redis.call('HKEYS', KEYS[1])) do\n"
    "  local text = redis.call('HMGET', KEYS[1], owner)[1]\n"
    "  local heard = string.match(text, '^{\"heard\":(%d+)')\n"
    "  if not heard or now - heard > 2592000 then redis.call('HDEL', KEYS[1], owner) "
    "end\n"
    "end";

static bool
is_word(const char *text)
{
    return text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "0123456789_.-")] == '\0';
}

// A name for people: the owner is a digest.
static const char *
instance(const struct config *c, char host[HOST])
{
    if (c->instance)
        return c->instance;
    host[HOST - 1] = '\0';
    return gethostname(host, HOST - 1) == 0 && is_word(host) ? host : "";
}

void
receivers_register(struct partition *p)
{
    char key[SCRIPT_KEY], host[HOST], text[WORD_OF_ITSELF];
    struct journal_status s;

    journal_read_status(p->journal, &s);
    uint64_t gone = MAX(s.published, s.first ? s.first - 1 : s.last);
    uint64_t waiting = s.last > gone ? s.last - gone : 0;
    snprintf(text, sizeof text,
             "\"instance\":\"%s\",\"journal\":\"%s\",\"version\":\"%s\",\"waiting\":%llu,"
             "\"oldest_seconds\":%lld}",
             instance(p->settings->config, host), journal_id(p->journal), ACRELAY_VERSION,
             (unsigned long long)waiting,
             (long long)s.oldest_unpublished_age_us / 1000000);
    script_key(key, p->script.namespace, SPAN("receivers"));
    (void)redis_ask(p->redis, NULL, "EVAL", script, "1", key, p->script.owner, text,
                    NULL);
}
