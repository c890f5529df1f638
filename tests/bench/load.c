// Posts a body again and again over many connections, from one thread, and prints one line of
// JSON: answers, latencies, and how many the least served connection got.
//
//   load PORT PATH BODY-FILE CONNECTIONS SECONDS [close] [numbered] [rate N]
//
// Without `rate` each connection posts as soon as it has its answer. With it, N posts a second
// are due at even times over whichever connection is free, and latency counts from when a post
// was due, so that a server which stalls cannot hide it. `close`: a connection per post.
// `numbered`: the end of each body is overwritten with another number: none is a duplicate.
#include "base/clock.h"
#include "base/buf.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 1024,
    ANSWER_MAX = 4096,
    LATENCY_MAX_US = 20000000,
    NUMBER = 20
};

struct connection {
    int fd;
    bool waiting;
    int64_t since_us;
    uint64_t served;
    size_t len;
    char answer[ANSWER_MAX];
};

static struct {
    struct sockaddr_in to;
    struct buf request;
    uint64_t number;
    bool close, numbered;
    double rate;
    int epoll;
    size_t len;
    struct connection at[CONNECTIONS_MAX];
    uint64_t ok, other, errors;
    uint32_t *latencies; // counts by 10 us
} load;

static void
open_connection(struct connection *c)
{
    int one = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&load.to, sizeof load.to) < 0) {
        load.errors++;
        if (c->fd >= 0)
            close(c->fd);
        c->fd = -1;
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &event);
    c->len = 0;
    c->waiting = false;
}

static void
drop_connection(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
    c->waiting = false;
}

static void
post(struct connection *c, int64_t due_us)
{
    if (c->fd < 0)
        open_connection(c);
    if (c->fd < 0)
        return;
    c->since_us = due_us;
    c->waiting = true;
    c->len = 0;
    if (load.numbered)
        text_digits(load.request.at + load.request.len - NUMBER, load.number++, NUMBER);
    // The request is smaller than a socket's buffer, which is empty here.
    if (send(c->fd, load.request.at, load.request.len, MSG_NOSIGNAL) !=
        (ssize_t)load.request.len) {
        load.errors++;
        drop_connection(c);
    }
}

// 0: not whole yet, else the status.
static int
whole_answer(struct connection *c, bool *closes)
{
    c->answer[c->len] = '\0';
    char *end = strstr(c->answer, "\r\n\r\n");
    if (!end)
        return 0;
    char *length = strcasestr(c->answer, "\r\nContent-Length:");
    size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    if (c->len < (size_t)(end + 4 - c->answer) + body)
        return 0;
    char *connection = strcasestr(c->answer, "\r\nConnection: close");
    *closes = load.close || (connection && connection < end);
    return atoi(c->answer + 9);
}

static void
note(struct connection *c, int status)
{
    int64_t us = clock_mono_us() - c->since_us;

    if (us >= LATENCY_MAX_US)
        us = LATENCY_MAX_US - 1;
    load.latencies[us / 10]++;
    c->served++;
    load.ok += status == 200;
    load.other += status != 200;
    c->waiting = false;
}

static void
receive(struct connection *c)
{
    bool closes = false;
    ssize_t n = recv(c->fd, c->answer + c->len, sizeof c->answer - 1 - c->len, 0);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        load.errors += c->waiting; // else it was idle, and the server may close it
        drop_connection(c);
        return;
    }
    c->len += (size_t)n;
    int status = whole_answer(c, &closes);
    if (status == 0)
        return;
    note(c, status);
    if (closes)
        drop_connection(c);
}

static struct connection *
free_connection(void)
{
    static size_t turn;

    for (size_t i = 0; i < load.len; i++) {
        struct connection *c = &load.at[turn++ % load.len];
        if (!c->waiting)
            return c;
    }
    return NULL;
}

// Returns how long to wait for events.
static int
post_what_is_due(int64_t start_us, uint64_t *posted)
{
    for (;;) {
        int64_t due = start_us + (int64_t)((double)*posted * 1e6 / load.rate);
        int64_t now = clock_mono_us();
        if (due > now)
            return (int)((due - now) / 1000);
        struct connection *c = free_connection();
        if (!c)
            return 1;
        post(c, due);
        ++*posted;
    }
}

static void
run(int64_t until_us)
{
    struct epoll_event events[256];
    int64_t start = clock_mono_us();
    uint64_t posted = 0;
    int wait = 100;

    for (size_t i = 0; i < load.len; i++)
        load.at[i].fd = -1;
    while (clock_mono_us() < until_us) {
        if (load.rate > 0)
            wait = post_what_is_due(start, &posted);
        else
            for (size_t i = 0; i < load.len; i++)
                if (!load.at[i].waiting)
                    post(&load.at[i], clock_mono_us());
        int n = epoll_wait(load.epoll, events, 256, wait);
        for (int i = 0; i < n; i++)
            receive(events[i].data.ptr);
    }
    // What was posted is waited for: each post is counted.
    int64_t last = clock_mono_us() + 5000000;
    for (size_t i = 0; i < load.len; i++)
        while (load.at[i].waiting && clock_mono_us() < last) {
            int n = epoll_wait(load.epoll, events, 256, 100);
            for (int k = 0; k < n; k++)
                receive(events[k].data.ptr);
        }
}

static double
percentile(double part)
{
    uint64_t all = 0, seen = 0;

    for (size_t i = 0; i < LATENCY_MAX_US / 10; i++)
        all += load.latencies[i];
    for (size_t i = 0; i < LATENCY_MAX_US / 10; i++) {
        seen += load.latencies[i];
        if ((double)seen >= (double)all * part)
            return (double)(i * 10 + 5) / 1000;
    }
    return 0;
}

static int
make_request(const char *path, const char *file)
{
    char body[65536];
    FILE *f = fopen(file, "rb");

    if (!f)
        return -1;
    size_t len = fread(body, 1, sizeof body, f);
    fclose(f);
    buf_init(&load.request, 1 << 20);
    buf_add_format(&load.request,
                   "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: "
                   "application/x-www-form-urlencoded\r\n%sContent-Length: %zu\r\n\r\n",
                   path, load.close ? "Connection: close\r\n" : "", len);
    load.number = (uint64_t)clock_boot_us(); // further than all that was counted before
    return len < NUMBER ? -1 : buf_add(&load.request, span_make(body, len));
}

int
main(int argc, char **argv)
{
    if (argc < 6) {
        fputs("usage: load PORT PATH BODY-FILE CONNECTIONS SECONDS [close] "
              "[numbered] [rate N]\n",
              stderr);
        return 64;
    }
    for (int i = 6; i < argc; i++) {
        load.close = load.close || strcmp(argv[i], "close") == 0;
        load.numbered = load.numbered || strcmp(argv[i], "numbered") == 0;
        if (strcmp(argv[i], "rate") == 0 && i + 1 < argc)
            load.rate = strtod(argv[i + 1], NULL);
    }
    load.to = (struct sockaddr_in){.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)atoi(argv[1])),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    load.len = strtoul(argv[4], NULL, 10);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.latencies = calloc(LATENCY_MAX_US / 10, sizeof *load.latencies);
    if (load.len == 0 || load.len > CONNECTIONS_MAX || load.epoll < 0 ||
        !load.latencies || make_request(argv[2], argv[3]) < 0)
        return 1;
    int64_t start = clock_mono_us();
    run(start + (int64_t)(strtod(argv[5], NULL) * 1e6));
    double seconds = (double)(clock_mono_us() - start) / 1e6;
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < load.len; i++)
        least = load.at[i].served < least ? load.at[i].served : least;
    printf("{\"ok\":%llu,\"other\":%llu,\"errors\":%llu,\"seconds\":%.3f,\"p50_ms\":%.3f,"
           "\"p99_ms\":%.3f,\"least\":%llu}\n",
           (unsigned long long)load.ok, (unsigned long long)load.other,
           (unsigned long long)load.errors, seconds, percentile(0.5), percentile(0.99),
           (unsigned long long)least);
    return 0;
}
