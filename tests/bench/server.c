// What acrelayd is compared with, on civetweb with the same options:
//
//   server null THREADS              reads the body and answers 200: the floor
//   server naive THREADS REDIS-PORT  one synchronous XADD of the body for each request, over
//                                    a connection for each worker
//
// Prints its port.
#include <civetweb.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BODY_MAX = 16384 };

static int redis_port;
static _Thread_local redisContext *redis;
static _Thread_local char *body;

static int
read_body(struct mg_connection *conn)
{
    int len = 0, n;

    if (!body && !(body = malloc(BODY_MAX)))
        abort();
    while (len < BODY_MAX &&
           (n = mg_read(conn, body + len, (size_t)(BODY_MAX - len))) > 0)
        len += n;
    return len;
}

static int
add(int len)
{
    if (!redis)
        redis = redisConnect("127.0.0.1", redis_port);
    if (!redis || redis->err)
        return 503;
    redisReply *reply = redisCommand(redis, "XADD events * raw %b", body, (size_t)len);
    int code = reply && reply->type == REDIS_REPLY_STRING ? 200 : 503;
    freeReplyObject(reply);
    return code;
}

static int
begin_request(struct mg_connection *conn)
{
    int len = read_body(conn);
    int code = redis_port ? add(len) : 200;
    char answer[80];
    int n = snprintf(answer, sizeof answer,
                     "HTTP/1.1 %d OK\r\nContent-Length: 2\r\n\r\nok", code);

    mg_write(conn, answer, (size_t)n);
    return 1;
}

int
main(int argc, char **argv)
{
    struct mg_callbacks callbacks = {.begin_request = begin_request};
    struct mg_server_port port;
    sigset_t signals;
    int got;

    if (argc < 3)
        return 64;
    if (strcmp(argv[1], "naive") == 0 && argc > 3)
        redis_port = atoi(argv[3]);
    const char *settings[] = {"listening_ports",
                              "127.0.0.1:0",
                              "num_threads",
                              argv[2],
                              "request_timeout_ms",
                              "10000",
                              "enable_keep_alive",
                              "yes",
                              "keep_alive_timeout_ms",
                              "5000",
                              "connection_queue",
                              "128",
                              "tcp_nodelay",
                              "1",
                              "decode_url",
                              "no",
                              "enable_auth_domain_check",
                              "no",
                              NULL};
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    mg_init_library(0);
    struct mg_context *context = mg_start(&callbacks, NULL, settings);
    if (!context || mg_get_server_ports(context, 1, &port) < 1)
        return 1;
    printf("%d\n", port.port);
    fflush(stdout);
    sigwait(&signals, &got);
    _exit(0);
}
