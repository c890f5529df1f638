// Where MOVED sends us, and sentinels that do not help, of our own making. Real sentinels and clusters
// are found in tests/live.
#include "edge/redis_find.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct redis_find find;

static bool
is_sent_to(const char *reply, const char *host, uint16_t port)
{
    find = (struct redis_find){.at = {"here", 1}};
    return redis_find_follow(&find, span_of(reply)) &&
           strcmp(find.next.name, host) == 0 && find.next.port == port;
}

static bool
is_sent_nowhere(const char *reply)
{
    find = (struct redis_find){.at = {"here", 1}};
    return !redis_find_follow(&find, span_of(reply)) && find.next.port == 0;
}

Test(redis_find, follows_moved)
{
    cr_expect(is_sent_to("MOVED 3999 10.0.0.7:6381", "10.0.0.7", 6381));
    cr_expect(is_sent_to("MOVED 1 fe80::1:7000", "fe80::1", 7000));
    cr_expect(
        is_sent_to("MOVED 1 node-3.acme.example:7000", "node-3.acme.example", 7000));
}

Test(redis_find, takes_an_empty_host_for_the_one_it_is_connected_to)
{
    cr_expect(is_sent_to("MOVED 1 :7000", "here", 7000));
}

Test(redis_find, follows_nothing_else)
{
    char name[REDIS_HOST + 100] = "MOVED 1 ";

    cr_expect(is_sent_nowhere("MOVED 1 host"));
    cr_expect(is_sent_nowhere("MOVED 1 host:0"));
    cr_expect(is_sent_nowhere("MOVED 1 host:65536"));
    cr_expect(is_sent_nowhere("MOVED 1 ?:6379"));
    cr_expect(is_sent_nowhere("MOVED"));
    cr_expect(is_sent_nowhere("ASK 1 host:6379"));
    cr_expect(is_sent_nowhere("ERR MOVED 1 host:6379"));
    memset(name + 8, 'a', REDIS_HOST);
    strcpy(name + 8 + REDIS_HOST, ":6379");
    cr_expect(is_sent_nowhere(name));
}

Test(redis_find, writes_addresses_for_people)
{
    char text[REDIS_ADDRESS];

    redis_host_text(&(struct redis_host){"::1", 7000}, text);
    cr_expect_str_eq(text, "[::1]:7000");
    redis_host_text(&(struct redis_host){"redis_1", 7000}, text);
    cr_expect_str_eq(text, "redis_1:7000");
}

// --- sentinels -------------------------------------------------------------------------------

// A sentinel or a server: it answers PING or AUTH, and then the question (which master, or ROLE);
// NULL: never.
struct fake {
    const char *greeting, *answer;
    char address[64]; // its answer where it is the master's
    int listener;
    uint16_t port;
    atomic_int connections;
    pthread_t thread;
};

enum { BAD, GOOD, MASTER, REPLICA, FAKES };
static struct fake fakes[FAKES];

static void *
serve(void *fake)
{
    struct fake *f = fake;
    char bytes[4096];

    for (int fd; (fd = accept(f->listener, NULL, NULL)) >= 0; close(fd)) {
        const char *answers[] = {f->greeting, f->answer};
        f->connections++;
        for (size_t i = 0; recv(fd, bytes, sizeof bytes, 0) > 0; i++)
            if (i < 2 && answers[i])
                (void)!write(fd, answers[i], strlen(answers[i]));
    }
    return NULL;
}

static void
start(struct fake *f, const char *greeting, const char *answer)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;

    f->greeting = greeting;
    f->answer = answer;
    f->listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(bind(f->listener, (struct sockaddr *)&at, sizeof at) == 0);
    cr_assert(listen(f->listener, 8) == 0);
    cr_assert(getsockname(f->listener, (struct sockaddr *)&at, &len) == 0);
    f->port = ntohs(at.sin_port);
    cr_assert(pthread_create(&f->thread, NULL, serve, f) == 0);
}

static const char *
address_of(struct fake *f)
{
    char port[8];

    snprintf(port, sizeof port, "%u", f->port);
    snprintf(f->address, sizeof f->address, "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%s\r\n",
             strlen(port), port);
    return f->address;
}

// A sentinel that does not help, and after it one that does.
static struct redis_options
start_sentinels(const char *greeting, const char *answer)
{
    struct redis_options o = {.connect_ms = 5000, .command_ms = 5000};

    signal(SIGPIPE, SIG_IGN);
    start(&fakes[MASTER], "+PONG\r\n", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    start(&fakes[REPLICA], "+PONG\r\n", "*1\r\n$5\r\nslave\r\n");
    start(&fakes[BAD], greeting, answer ? answer : address_of(&fakes[REPLICA]));
    start(&fakes[GOOD], "+OK\r\n", address_of(&fakes[MASTER]));
    o.url.kind = REDIS_SENTINEL;
    snprintf(o.url.master, sizeof o.url.master, "mymaster");
    o.sentinel_password = SPAN("a password");
    o.url.hosts_len = 2;
    o.url.hosts[0] = (struct redis_host){"127.0.0.1", fakes[BAD].port};
    o.url.hosts[1] = (struct redis_host){"127.0.0.1", fakes[GOOD].port};
    return o;
}

static void
stop_sentinels(void)
{
    for (int i = 0; i < FAKES; i++) {
        shutdown(fakes[i].listener, SHUT_RDWR);
        pthread_join(fakes[i].thread, NULL);
        close(fakes[i].listener);
    }
}

// The master is found, and the next time with one question.
static void
expect_next_one(const char *greeting, const char *answer)
{
    struct redis_options o = start_sentinels(greeting, answer);
    struct err err = {0};

    find = (struct redis_find){0};
    int64_t began = clock_mono_ms();
    for (int i = 0; i < 2; i++) {
        struct redis *r = redis_find(&find, &o, &err);
        cr_assert_not_null(r, "%s", err.text);
        redis_close(r);
        cr_expect_eq(find.at.port, fakes[MASTER].port);
    }
    cr_expect_lt(clock_mono_ms() - began, o.connect_ms);
    cr_expect_eq(fakes[BAD].connections, 1);
    cr_expect_eq(fakes[GOOD].connections, 2);
    stop_sentinels();
}

Test(redis_find, passes_over_a_sentinel_that_does_not_know_the_master, .timeout = 100)
{
    expect_next_one("+OK\r\n", "*-1\r\n");
}

Test(redis_find, passes_over_a_sentinel_that_has_no_answer_yet, .timeout = 100)
{
    expect_next_one("+OK\r\n", "-IDONTKNOW I have not enough information to reply\r\n");
}

Test(redis_find, passes_over_a_sentinel_with_another_password, .timeout = 100)
{
    expect_next_one("-WRONGPASS invalid username-password pair or user is disabled.\r\n",
                    "-NOAUTH Authentication required.\r\n");
}

Test(redis_find, passes_over_a_sentinel_that_names_what_was_the_master, .timeout = 100)
{
    expect_next_one("+OK\r\n", NULL);
    cr_expect_eq(fakes[REPLICA].connections, 1);
}

Test(redis_find, passes_over_a_sentinel_that_names_no_address, .timeout = 100)
{
    expect_next_one("+OK\r\n", "*2\r\n$0\r\n\r\n$1\r\n0\r\n");
}

Test(redis_find, passes_over_a_sentinel_that_hangs, .timeout = 100)
{
    expect_next_one(NULL, "");
}

// The file of redis.url_file may name fewer at the next reload.
Test(redis_find, begins_anew_where_the_list_became_shorter, .timeout = 100)
{
    struct redis_options o = start_sentinels("+OK\r\n", "*-1\r\n");
    struct err err = {0};

    o.url.hosts[0] = o.url.hosts[1];
    o.url.hosts[1] = (struct redis_host){0};
    o.url.hosts_len = 1;
    find = (struct redis_find){.first = 1};
    struct redis *r = redis_find(&find, &o, &err);
    cr_expect_not_null(r, "%s", err.text);
    redis_close(r);
    stop_sentinels();
}

// As where the process was stopped right after it began.
Test(redis_find, says_why_when_no_time_was_left_to_ask, .timeout = 100)
{
    struct redis_options o = start_sentinels("+OK\r\n", "*-1\r\n");
    struct err err = {.text = "of something else"};

    o.connect_ms = -1;
    find = (struct redis_find){0};
    cr_expect_null(redis_find(&find, &o, &err));
    cr_expect_eq(err.kind, ERR_AGAIN);
    cr_expect_str_eq(err.text, "no answer in time");
    stop_sentinels();
}

Test(redis_find, gives_up_in_time_when_all_sentinels_hang, .timeout = 100)
{
    struct redis_options o = start_sentinels(NULL, "");
    struct err err = {0};

    for (o.url.hosts_len = 0; o.url.hosts_len < REDIS_HOSTS_MAX; o.url.hosts_len++)
        o.url.hosts[o.url.hosts_len] = (struct redis_host){"127.0.0.1", fakes[BAD].port};
    o.connect_ms = 1500;
    find = (struct redis_find){0};
    int64_t began = clock_mono_ms();
    cr_expect_null(redis_find(&find, &o, &err));
    cr_expect_geq(clock_mono_ms() - began, 1500);
    cr_expect_lt(clock_mono_ms() - began, 12000); // one after the other: 24 s
    cr_expect(strstr(err.text, "sentinel 127.0.0.1:"), "%s", err.text);
    stop_sentinels();
}

// Of several errors the operator reads the one that does not pass by itself.
Test(redis_find, reports_the_error_that_needs_an_operator, .timeout = 100)
{
    struct redis_options o = start_sentinels("-WRONGPASS no\r\n", "");
    struct err err = {0};

    fakes[GOOD].answer = address_of(&fakes[REPLICA]);
    find = (struct redis_find){0};
    cr_expect_null(redis_find(&find, &o, &err));
    cr_expect_eq(err.kind, ERR_INPUT);
    cr_expect(strstr(err.text, "WRONGPASS"), "%s", err.text);
    stop_sentinels();
}
