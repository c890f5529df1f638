// A complete consumer of acrelay's events with hiredis: each event takes effect exactly once.
//
//     cc -o consumer consumer.c -lhiredis
//     ./consumer [HOST [PORT [STREAM [GROUP [NAME [CLAIM-AFTER-MS]]]]]]
//
// The effect is a field in a hash of our own, {ac}:<GROUP>, named by ce_id. Effect and
// acknowledgement go in one MULTI, so that both happen or none; that the field is named by
// ce_id covers what remains: the same event under a new entry id after Redis lost data.
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stopping;
static const char *host = "127.0.0.1", *stream = "{ac}:events", *group = "shop-c",
                  *name = "one", *claim_after_ms = "60000";
static int port = 6379;
static redisContext *redis;

static void
stop(int signal)
{
    (void)signal;
    stopping = 1;
}

static redisContext *
open_redis(void)
{
    struct timeval patience = {30, 0};
    redisContext *c = redisConnectWithTimeout(host, port, patience);

    if (!c || c->err || redisSetTimeout(c, patience) != REDIS_OK) {
        fprintf(stderr, "Redis: %s; trying again\n", c ? c->errstr : "no memory");
        redisFree(c);
        return NULL;
    }
    // At 0, so that what came before the first consumer is read too. BUSYGROUP: it is there.
    freeReplyObject(
        redisCommand(c, "XGROUP CREATE %s %s 0 MKSTREAM", stream, group));
    return c;
}

static const char *
value_of(const redisReply *fields, const char *field)
{
    for (size_t i = 0; i + 1 < fields->elements; i += 2)
        if (strcmp(fields->element[i]->str, field) == 0)
            return fields->element[i + 1]->str;
    return "";
}

// The work itself: 0, or -1 when the connection is gone.
static int
work(const redisReply *entry)
{
    const char *id = entry->element[0]->str;
    const redisReply *fields = entry->element[1];
    redisReply *reply;
    int good = 0;

    redisAppendCommand(redis, "MULTI");
    if (fields->type == REDIS_REPLY_ARRAY) // nil: trimmed before anyone read it
        redisAppendCommand(redis, "HSET {ac}:%s %s %s", group,
                           value_of(fields, "ce_id"), value_of(fields, "ce_type"));
    else
        redisAppendCommand(redis, "PING");
    redisAppendCommand(redis, "XACK %s %s %s", stream, group, id);
    redisAppendCommand(redis, "EXEC");
    for (int i = 0; i < 4; i++) {
        if (redisGetReply(redis, (void **)&reply) != REDIS_OK)
            return -1;
        good += reply->type != REDIS_REPLY_ERROR;
        freeReplyObject(reply);
    }
    return good == 4 ? 0 : -1;
}

static int
work_all(const redisReply *entries)
{
    for (size_t i = 0; i < entries->elements && !stopping; i++)
        if (work(entries->element[i]) < 0)
            return -1;
    return 0;
}

// One turn: what someone took and left, else what is new. -1: connect again.
static int
turn(void)
{
    redisReply *left = redisCommand(redis, "XAUTOCLAIM %s %s %s %s 0-0 COUNT 100", stream,
                                    group, name, claim_after_ms);
    int result = -1;

    if (left && left->type == REDIS_REPLY_ARRAY)
        result = work_all(left->element[1]);
    bool some = result == 0 && left->element[1]->elements > 0;
    freeReplyObject(left);
    if (result < 0 || some)
        return result;
    redisReply *fresh =
        redisCommand(redis, "XREADGROUP GROUP %s %s COUNT 100 BLOCK 1000 STREAMS %s >", group,
                     name, stream);
    if (!fresh || fresh->type == REDIS_REPLY_ERROR)
        result = -1;
    else if (fresh->type == REDIS_REPLY_ARRAY)
        result = work_all(fresh->element[0]->element[1]);
    freeReplyObject(fresh);
    return result;
}

int
main(int argc, char **argv)
{
    struct sigaction end = {.sa_handler = stop};

    host = argc > 1 ? argv[1] : host;
    port = argc > 2 ? atoi(argv[2]) : port;
    stream = argc > 3 ? argv[3] : stream;
    group = argc > 4 ? argv[4] : group;
    name = argc > 5 ? argv[5] : name;
    claim_after_ms = argc > 6 ? argv[6] : claim_after_ms;
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGTERM, &end, NULL);
    while (!stopping) {
        if (!redis)
            redis = open_redis();
        if (!redis || turn() < 0) {
            redisFree(redis);
            redis = NULL;
            sleep(1);
        }
    }
    redisFree(redis);
    return 0;
}
