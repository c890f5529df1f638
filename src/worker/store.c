#include "worker/store.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

enum { ARGS_MAX = 16, KEY_MAX = 128 };

struct store {
    const struct config *config;
    struct redis *redis;
    bool said_away, hushed;
    char refused[16]; // the command that Redis refuses and that was said, "" none
};

struct store *
store_open(const struct config *c)
{
    struct store *s = memory_get(sizeof *s);

    *s = (struct store){.config = c};
    return s;
}

static void
drop(struct store *s)
{
    redis_close(s->redis);
    s->redis = NULL;
}

void
store_close(struct store *s)
{
    if (!s)
        return;
    drop(s);
    free(s);
}

void
store_hush(struct store *s)
{
    s->hushed = true;
}

void
store_use(struct store *s, const struct config *c)
{
    drop(s);
    s->config = c;
}

bool
store_is_up(const struct store *s)
{
    return s->redis != NULL;
}

static void
away(struct store *s, const struct err *err)
{
    drop(s);
    if (!s->said_away && !s->hushed)
        log_warn(
            "worker: Redis is away (%s): hook states are not written until it is back",
            err->text);
    s->said_away = true;
}

static bool
connect_to(struct store *s)
{
    struct err err = {0};

    if (s->redis)
        return true;
    if (s->hushed && s->said_away)
        return false;
    s->redis = config_redis(s->config, 0, &err);
    if (!s->redis) {
        away(s, &err);
        return false;
    }
    if (s->said_away)
        log_info("worker: Redis is back");
    s->said_away = false;
    return true;
}

void
store_key(const struct store *s, char *to, size_t size, const char *key)
{
    snprintf(to, size, "{%s}:%s", s->config->redis_namespace, key);
}

static void
refused(struct store *s, const char *command, struct span text)
{
    struct err err = {0};

    if (s->refused[0] || s->hushed)
        return;
    err_set(&err, ERR_INPUT, "%.*s", (int)text.len, text.at);
    log_error("worker: Redis refuses %s: %s", command, err.text);
    snprintf(s->refused, sizeof s->refused, "%s", command);
}

const struct redis_reply *
store_command(struct store *s, const char *command, const char *key,
              const struct span *more, size_t more_len)
{
    struct span args[ARGS_MAX];
    char name[KEY_MAX];
    size_t n = 0;
    struct err err = {0};

    if (!connect_to(s))
        return NULL;
    args[n++] = span_of(command);
    if (key) {
        store_key(s, name, sizeof name, key);
        args[n++] = span_of(name);
    }
    for (size_t i = 0; i < more_len && n < ARGS_MAX; i++)
        args[n++] = more[i];
    const struct redis_reply *reply = redis_command(s->redis, args, n, &err);
    if (!reply) {
        away(s, &err);
        return NULL;
    }
    if (redis_reply_kind(reply) == REDIS_ERROR) {
        refused(s, command, redis_reply_text(reply));
        return NULL;
    }
    if (strcmp(s->refused, command) == 0)
        s->refused[0] = '\0';
    return reply;
}

int
store_last(struct store *s, const char *hook, int64_t *us)
{
    struct span name = span_of(hook);
    const struct redis_reply *reply = store_command(s, "HGET", "last", &name, 1);

    if (!reply)
        return -1;
    return redis_reply_kind(reply) == REDIS_TEXT &&
           clock_parse(us, redis_reply_text(reply));
}

int
store_time(struct store *s, int64_t *us)
{
    const struct redis_reply *reply = store_command(s, "TIME", NULL, NULL, 0);
    uint64_t part[2];

    if (!reply || redis_reply_len(reply) != 2)
        return -1;
    for (size_t i = 0; i < 2; i++)
        if (!text_number(&part[i], redis_reply_text(redis_reply_at(reply, i)), INT64_MAX))
            return -1;
    *us = (int64_t)(part[0] * 1000000 + part[1]);
    return 0;
}
