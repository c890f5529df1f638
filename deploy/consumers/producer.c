// A complete producer of commands with hiredis: each change reaches ActiveCampaign, or is reported.
//
//     cc -o producer producer.c -lhiredis
//     ./producer [HOST [PORT [NAMESPACE [SERVICE]]]] <commands
//
// Each line of the input is a command: its id, operation, subject and body, separated by spaces:
//
//     order-4711 Contact_updateContact contacts/66 {"contact":{"firstName":"Ann"}}
//
// The id names the change, not the attempt. Whenever it is not known whether a command is in the
// stream (the connection broke, Redis lost its last second of writes), it is added again with the
// same id, and acrelay carries it out once. So a service keeps a command (here in `commands`; in a
// real one, in its database) until the result is there.
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { COMMANDS_MAX = 1000, SILENCE = 600 }; // seconds without any result: added again

static struct command {
    char *id, *operation, *subject, *body;
    bool done;
} commands[COMMANDS_MAX];
static size_t commands_len, waiting;
static const char *host = "127.0.0.1", *namespace = "ac", *service = "crm";
static int port = 6379;
static char after[64]; // the result that was read last
static bool failed;
static redisContext *redis;

static void
read_commands(void)
{
    char *line = NULL;
    size_t size = 0;

    while (commands_len < COMMANDS_MAX && getline(&line, &size, stdin) > 0) {
        struct command c = {.id = strtok(strdup(line), " \n"), .operation = strtok(NULL, " "),
                            .subject = strtok(NULL, " "), .body = strtok(NULL, "\n")};
        if (c.body)
            commands[commands_len++] = c;
        else if (c.id)
            fprintf(stderr, "%s: not ID OPERATION SUBJECT BODY\n", c.id), failed = true;
    }
    free(line);
    waiting = commands_len;
}

// Whether the answer is one; an error (a right is missing, for example) ends the program, unless
// Redis is only starting.
static bool
is_answer(const redisReply *reply)
{
    bool is_error = reply && reply->type == REDIS_REPLY_ERROR;

    if (is_error)
        fprintf(stderr, "Redis: %s\n", reply->str);
    if (is_error && strncmp(reply->str, "LOADING", 7) != 0)
        exit(1);
    return reply && !is_error;
}

static bool
add(const struct command *c)
{
    redisReply *reply = redisCommand(
        redis,
        "XADD {%s}:commands:%s * ce_specversion 1.0 ce_id %s ce_source producer.c "
        "ce_type com.activecampaign.command.%s ce_subject %s "
        "content-type application/json data %s",
        namespace, service, c->id, c->operation, c->subject, c->body);
    bool ok = is_answer(reply);

    freeReplyObject(reply);
    return ok;
}

static const char *
value_of(const redisReply *fields, const char *name)
{
    for (size_t i = 0; i + 1 < fields->elements; i += 2)
        if (strcmp(fields->element[i]->str, name) == 0)
            return fields->element[i + 1]->str;
    return "";
}

static void
take(const redisReply *fields)
{
    const char *id = value_of(fields, "ce_id"), *outcome = value_of(fields, "outcome");

    for (struct command *c = commands; c < commands + commands_len; c++)
        if (!c->done && strcmp(c->id, id) == 0) {
            c->done = true;
            waiting--;
            failed = failed || strcmp(outcome, "ok") != 0;
            printf("%s %s %s %s\n", id, outcome, value_of(fields, "status"),
                   value_of(fields, "detail"));
        }
}

// Takes what comes within some seconds. Gives how many came, or -1.
static int
read_results(void)
{
    redisReply *reply = redisCommand(redis, "XREAD COUNT 100 BLOCK 5000 STREAMS {%s}:results:%s %s",
                                     namespace, service, after);
    int count = is_answer(reply) ? 0 : -1;

    if (reply && reply->type == REDIS_REPLY_ARRAY) {
        const redisReply *entries = reply->element[0]->element[1];
        for (size_t i = 0; i < entries->elements; i++) {
            snprintf(after, sizeof after, "%s", entries->element[i]->element[0]->str);
            take(entries->element[i]->element[1]);
        }
        count = (int)entries->elements;
    }
    freeReplyObject(reply);
    return count;
}

// What is there already is not ours.
static bool
find_end(void)
{
    redisReply *reply =
        redisCommand(redis, "XREVRANGE {%s}:results:%s + - COUNT 1", namespace, service);
    bool ok = is_answer(reply);

    if (ok)
        snprintf(after, sizeof after, "%s",
                 reply->elements ? reply->element[0]->element[0]->str : "0");
    freeReplyObject(reply);
    return ok;
}

// Adds what waits for its result, and reads until all are there, or none for too long. False: the
// connection is gone.
static bool
turn(void)
{
    if (!after[0] && !find_end())
        return false;
    for (const struct command *c = commands; c < commands + commands_len; c++)
        if (!c->done && !add(c))
            return false;
    for (time_t last = time(NULL); waiting > 0 && time(NULL) < last + SILENCE;) {
        int count = read_results();
        if (count < 0)
            return false;
        if (count > 0)
            last = time(NULL);
    }
    return true;
}

int
main(int argc, char **argv)
{
    struct timeval patience = {30, 0};

    host = argc > 1 ? argv[1] : host;
    port = argc > 2 ? atoi(argv[2]) : port;
    namespace = argc > 3 ? argv[3] : namespace;
    service = argc > 4 ? argv[4] : service;
    read_commands();
    while (waiting > 0) {
        redis = redisConnectWithTimeout(host, port, patience);
        if (!redis || redis->err || redisSetTimeout(redis, patience) != REDIS_OK || !turn()) {
            fprintf(stderr, "Redis: %s; adding again\n", redis ? redis->errstr : "no memory");
            sleep(1);
        }
        redisFree(redis);
    }
    return failed;
}
