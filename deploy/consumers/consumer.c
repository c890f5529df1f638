// A complete consumer of acrelay's events with hiredis: each event takes effect exactly once.
//
//     cc -o consumer consumer.c -lhiredis
//     ./consumer [HOST [PORT [STREAM [GROUP [NAME [CLAIM-AFTER-MS]]]]]]
//
// It needs hiredis (apt install gcc libhiredis-dev), and prints a line for each event.
//
// The effect is a field in a hash of our own, {ac}:<GROUP>, with ce_id as its name, so the same
// event again changes nothing. The order is: effect, check the reply, acknowledge. (Not in a MULTI:
// Redis does not roll back, and would acknowledge even if the effect failed.) An event that cannot
// be parsed never will be: it is reported, stored in {ac}:<GROUP>-aside, and only then
// acknowledged. If Redis refuses the effect, the event stays pending until it succeeds.
#if !__has_include(<hiredis/hiredis.h>)
#error "hiredis is not installed: apt install libhiredis-dev"
#endif
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stopping;
static bool failed; // something, in this turn
static const char *host = "127.0.0.1", *stream = "{ac}:events", *group = "shop-c",
                  *name = "one", *claim_after_ms = "60000";
static char claim_from[64] = "0-0", read_from[64] = "0";
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

static const redisReply *
value_of(const redisReply *fields, const char *field)
{
    for (size_t i = 0; i + 1 < fields->elements; i += 2)
        if (strcmp(fields->element[i]->str, field) == 0)
            return fields->element[i + 1];
    return NULL;
}

// is_done looks at an answer: 1 done, 0 refused, -1 the connection is gone.
static int
is_done(const char *entry, redisReply *reply)
{
    int done = !reply ? -1 : reply->type != REDIS_REPLY_ERROR;

    if (done == 0)
        fprintf(stderr, "%s: no effect yet: %s; it will be retried\n", entry, reply->str);
    freeReplyObject(reply);
    return done;
}

// The work itself. HSET answers 0 where the field is there already.
static int
take_effect(const char *entry, const redisReply *fields)
{
    const redisReply *id = value_of(fields, "ce_id"), *type = value_of(fields, "ce_type");

    if (id && id->len > 0 && type) {
        redisReply *reply = redisCommand(redis, "HSET {ac}:%s %b %b", group, id->str,
                                         id->len, type->str, type->len);
        if (reply && reply->type == REDIS_REPLY_INTEGER)
            printf("%s: %s: %s\n", entry, type->str,
                   reply->integer ? "stored" : "already stored");
        return is_done(entry, reply);
    }
    fprintf(stderr, "%s: set aside: it has no ce_id or no ce_type\n", entry);
    return is_done(entry, redisCommand(redis, "HSET {ac}:%s-aside %s %s", group, entry,
                                       "it has no ce_id or no ce_type"));
}

// One entry. If it had no effect, it stays pending and is retried. -1: the connection is gone.
static int
work(const redisReply *entry)
{
    if (entry->type != REDIS_REPLY_ARRAY)
        return 0;
    const char *id = entry->element[0]->str;
    const redisReply *fields = entry->element[1];
    // nil: trimmed before anyone read it
    int done = fields->type == REDIS_REPLY_ARRAY ? take_effect(id, fields) : 1;

    failed = failed || done == 0;
    if (done <= 0)
        return done;
    return is_done(id, redisCommand(redis, "XACK %s %s %s", stream, group, id)) < 0 ? -1 : 0;
}

static int
work_all(const redisReply *entries)
{
    for (size_t i = 0; i < entries->elements && !stopping; i++)
        if (work(entries->element[i]) < 0)
            return -1;
    return 0;
}

// Entries that a consumer read and did not acknowledge, a hundred at a time. Returns how many, or -1.
static int
work_left(void)
{
    redisReply *left = redisCommand(redis, "XAUTOCLAIM %s %s %s %s %s COUNT 100", stream,
                                    group, name, claim_after_ms, claim_from);
    int result = -1;

    if (left && left->type == REDIS_REPLY_ARRAY) {
        snprintf(claim_from, sizeof claim_from, "%s", left->element[0]->str);
        int count = (int)left->element[1]->elements;
        result = work_all(left->element[1]) < 0 ? -1 : count;
    }
    freeReplyObject(left);
    return result;
}

// After a start, first what this consumer had read before and not acknowledged (from 0 on), then what is
// new (>).
static int
work_new(int block_ms)
{
    redisReply *fresh = redisCommand(
        redis, "XREADGROUP GROUP %s %s COUNT 100 BLOCK %d STREAMS %s %s", group, name,
        block_ms, stream, read_from);
    int result = fresh && fresh->type != REDIS_REPLY_ERROR ? 0 : -1;

    if (fresh && fresh->type == REDIS_REPLY_ARRAY) {
        const redisReply *entries = fresh->element[0]->element[1];
        size_t count = entries->elements;
        result = work_all(entries);
        if (read_from[0] != '>')
            snprintf(read_from, sizeof read_from, "%s",
                     count ? entries->element[count - 1]->element[0]->str : ">");
    }
    freeReplyObject(fresh);
    return result;
}

// Old pending entries and new ones alternate, so that neither holds up the other. -1: reconnect.
static int
turn(void)
{
    int left = work_left();
    int result = left < 0 ? -1 : work_new(left ? 1 : 1000);

    if (failed)
        usleep(300000);
    failed = false;
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
    setlinebuf(stdout);
    printf("reading %s as %s of group %s; effects go into the hashes {ac}:%s and {ac}:%s-aside "
           "of the same Redis\n",
           stream, name, group, group, group);
    while (!stopping) {
        if (!redis)
            redis = open_redis();
        if (!redis || turn() < 0) {
            redisFree(redis);
            redis = NULL;
            strcpy(read_from, "0");
            sleep(1);
        }
    }
    redisFree(redis);
    return 0;
}
