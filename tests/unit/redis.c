// What a server can do to a connection, with one of our own making. All else of it is tried with a
// real one (tests/live).
#include "edge/redis.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// It gives its answers in turn, one to each piece that it receives, and then none, or the last one
// over and over.
static struct {
    char path[REDIS_PATH];
    int listener;
    const char *answers[4];
    bool endless;
    pthread_t thread;
} server;

static void *
serve(void *unused)
{
    char bytes[4096];
    int fd = accept(server.listener, NULL, NULL);
    const char *answer = "";

    for (size_t i = 0; server.answers[i] && recv(fd, bytes, sizeof bytes, 0) > 0; i++) {
        answer = server.answers[i];
        (void)!write(fd, answer, strlen(answer));
    }
    while (server.endless && write(fd, answer, strlen(answer)) > 0)
        ;
    while (recv(fd, bytes, sizeof bytes, 0) > 0)
        ;
    close(fd);
    return unused;
}

static struct redis_options
start(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct redis_options o = {.connect_ms = 5000, .command_ms = 5000};

    signal(SIGPIPE, SIG_IGN);
    snprintf(server.path, sizeof server.path, "/var/tmp/acrelay-redis.%d", (int)getpid());
    snprintf(at.sun_path, sizeof at.sun_path, "%s", server.path);
    snprintf(o.url.path, sizeof o.url.path, "%s", server.path);
    server.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert(bind(server.listener, (struct sockaddr *)&at, sizeof at) == 0);
    cr_assert(listen(server.listener, 1) == 0);
    cr_assert(pthread_create(&server.thread, NULL, serve, NULL) == 0);
    return o;
}

static void
stop(struct redis *r)
{
    redis_close(r);
    pthread_join(server.thread, NULL);
    close(server.listener);
    unlink(server.path);
}

// A connection to a server that greets, and then gives this answer, over and over if it is endless.
static struct redis *
connect_to(const char *answer, bool endless)
{
    struct err err = {0};

    server.answers[0] = "+PONG\r\n";
    server.answers[1] = answer;
    server.endless = endless;
    struct redis_options o = start();
    struct redis *r = redis_open(&o, &err);
    cr_assert_not_null(r, "%s", err.text);
    return r;
}

TestSuite(redis, .timeout = 100);

// Redis and Sentinel before version 6, and a Redis whose AUTH has another name.
Test(redis, shows_no_password_that_a_server_repeats)
{
    struct err err = {0};

    server.answers[0] =
        "-ERR unknown command `AUTH`, with args beginning with: `acrelay`, "
        "`hunter2`, \r\n";
    struct redis_options o = start();
    o.user = "acrelay";
    o.password = SPAN("hunter2");
    struct redis *r = redis_open(&o, &err);
    cr_expect_null(r);
    cr_expect(strstr(err.text, "unknown command `AUTH`"), "%s", err.text);
    cr_expect(!strstr(err.text, "hunter2"), "%s", err.text);
    cr_expect_eq(err.kind, ERR_INPUT);
    stop(r);
}

Test(redis, keeps_no_password_after_the_login)
{
    struct err err = {0};

    server.answers[0] = "+OK\r\n";
    struct redis_options o = start();
    o.password = SPAN("hunter2");
    struct redis *r = redis_open(&o, &err);
    cr_assert_not_null(r, "%s", err.text);
    const struct buf *sent = &r->queued.bytes;
    cr_expect(!sent->at || !memmem(sent->at, sent->cap, "hunter2", 7));
    stop(r);
}

// What would be sent over it is not refused by anybody.
Test(redis, a_connection_that_is_dead_counts_as_closed)
{
    struct redis *r = connect_to(NULL, false);
    struct err err = {0};

    cr_expect_not(redis_peer_closed(r));
    r->command_ms = 20;
    cr_expect_null(redis_ask(r, &err, "PING", NULL));
    cr_expect_eq(err.error, ETIMEDOUT);
    cr_expect(redis_peer_closed(r));
    for (int i = 0; i < 2; i++) { // and why it is stays known
        struct err again = {0};
        if (i == 0)
            cr_expect(redis_send(r, (struct span[]){SPAN("PING")}, 1, NULL, &again) < 0);
        else
            cr_expect_null(redis_receive(r, &again));
        cr_expect_eq(again.error, ETIMEDOUT);
        cr_expect_str_eq(again.text, err.text);
    }
    stop(r);
}

// Each byte comes in time, and there is always one: the call as a whole has the deadline.
Test(redis, an_answer_without_an_end_ends_with_its_call)
{
    static char line[4096];
    struct err err = {0};

    memset(line, '+', sizeof line - 1);
    struct redis *r = connect_to(line, true);
    r->command_ms = 200;
    cr_expect_null(redis_ask(r, &err, "GET", "a", NULL));
    cr_expect_eq(err.error, ETIMEDOUT, "%s", err.text);
    stop(r);
}

// What a server does that lies, or what answers in the place of Redis.
static void
expect_given_up(const char *answer, bool endless, const char *words)
{
    struct redis *r = connect_to(answer, endless);
    struct err err = {0};

    r->command_ms = 60000;
    cr_expect_null(redis_ask(r, &err, "GET", "a", NULL));
    cr_expect_eq(err.kind, ERR_AGAIN);
    cr_expect_neq(err.error, ETIMEDOUT);
    cr_expect(strstr(err.text, words), "%s", err.text);
    cr_expect(r->dead);
    cr_expect_null(redis_ask(r, &err, "GET", "a", NULL));
    stop(r);
}

Test(redis, a_reply_whose_bytes_do_not_end_is_given_up)
{
    static char bytes[1 << 20];

    memset(bytes, 'a', sizeof bytes - 1);
    memcpy(bytes, "$300000000\r\n", 12);
    expect_given_up(bytes, true, "more than 64 MiB");
}

Test(redis, an_array_that_announces_too_much_is_given_up_at_once)
{
    expect_given_up("*2147483647\r\n", false, "more than 262144 elements");
}

Test(redis, arrays_that_announce_too_much_together_are_given_up)
{
    expect_given_up("*4\r\n*131072\r\n*131072\r\n", false, "more than 262144 elements");
}

Test(redis, arrays_without_a_bottom_are_given_up)
{
    expect_given_up("*1\r\n", true, "deep");
}

// A push would be taken for the answer, and a map for nothing.
Test(redis, a_reply_of_a_type_that_was_not_asked_for_is_given_up)
{
    expect_given_up(">1\r\n+x\r\n", false, "type");
    expect_given_up("%1\r\n+a\r\n+b\r\n", false, "type");
    expect_given_up("*1\r\n~1\r\n+a\r\n", false, "type");
}

// What was counted for one reply does not count for the next.
Test(redis, a_reply_as_large_as_may_be_is_read_and_so_is_the_next)
{
    static char large[4 + 8 + 4 * 262144 + 1];
    struct err err = {0};

    char *end = stpcpy(large, "*262144\r\n");
    for (size_t i = 0; i < 262144; i++)
        end = stpcpy(end, ":1\r\n");
    server.answers[2] = large;
    struct redis *r = connect_to(large, false);
    r->reply_bytes_max = sizeof large;
    for (int i = 0; i < 2; i++) {
        const struct redis_reply *reply = redis_ask(r, &err, "HKEYS", "a", NULL);
        cr_assert_eq(redis_value(reply).len, 262144, "%s", err.text);
        cr_expect_eq(redis_value(redis_reply_at(reply, 262143)).number, 1);
    }
    stop(r);
}
