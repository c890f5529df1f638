// civetweb opens a placeholder listener per socket; its init_thread callback runs in the
// thread that polls, before the first poll, and there our socket is put in the placeholder's
// place with dup3. The poll loop goes by descriptor number, so nothing else is needed, and
// the same trick gives the sockets back: a listener that nobody knows takes their place.
//
// A thread that waits for its record's sync sleeps twice for each request: there, and for the
// next request. So an answer may be left to the thread that knows the outcome, with send(2)
// on the connection's descriptor, which civetweb does not tell: its two ends do. Such an
// answer is settled before civetweb writes to the connection or closes it.
//
// begin_request is the only entry and always answers, which also keeps civetweb's file and
// form code, where its known holes are, unreachable.
#include "edge/http.h"

#include "base/clock.h"
#include "edge/descriptors.h"
#include "edge/head.h"
#include "edge/workers.h"

#include <arpa/inet.h>
#include <assert.h>
#include <civetweb.h>
#include <fcntl.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// NEW: a connection's first requests, while looking for its descriptor does not pay.
enum { SOCKETS_MAX = 64, NEW = 3 };

struct http_server {
    struct http_options options;
    int sockets[SOCKETS_MAX];
    int slots[SOCKETS_MAX]; // the descriptors that civetweb polls
    union address addresses[SOCKETS_MAX];
    int nowhere; // takes the sockets' place when they are given back
    sem_t taken; // posted when the sockets are in place, or `failed`
    bool failed;
    _Atomic(size_t) connections;
    struct workers workers;
};

// In civetweb's worker threads.
static _Thread_local struct http_server *my_server;
static _Thread_local struct worker *me;

// --- threads -------------------------------------------------------------------------------

static void
take_sockets(const struct mg_context *context, struct http_server *s)
{
    struct mg_server_port ports[SOCKETS_MAX];
    size_t len = s->options.sockets_len;
    int got = mg_get_server_ports(context, (int)len, ports);

    for (size_t i = 0; i < len; i++) {
        s->slots[i] = -1;
        if ((int)i < got)
            s->slots[i] = descriptors_find_listener(htons((uint16_t)ports[i].port));
        if (s->slots[i] < 0 || dup3(s->sockets[i], s->slots[i], O_CLOEXEC) < 0)
            s->failed = true;
    }
    sem_post(&s->taken);
}

// Under load a thread wakes up with each answer that is sent. As SCHED_BATCH it then waits for
// its turn instead of taking the core from the thread that sends the others: fewer switches,
// and larger groups. Where that is refused nothing is lost but this.
static void
yield_on_wakeup(void)
{
    struct sched_param none = {0};

    (void)sched_setscheduler(0, SCHED_BATCH, &none);
}

static void *
init_thread(const struct mg_context *context, int type)
{
    enum { POLLING = 0, WORKER = 1 };
    struct http_server *s = mg_get_user_data(context);

    if (type == POLLING) {
        pthread_setname_np(pthread_self(), "http-accept");
        take_sockets(context, s);
    } else if (type == WORKER) {
        pthread_setname_np(pthread_self(), "http");
        yield_on_wakeup();
        my_server = s;
        me = workers_add(&s->workers);
    }
    return NULL;
}

// --- requests ------------------------------------------------------------------------------

static void
fill_request(struct http_request *r, struct mg_connection *conn,
             const struct mg_request_info *info)
{
    r->method = span_of(info->request_method);
    r->path = span_of(info->request_uri);
    r->query = span_of(info->query_string ? info->query_string : "");
    r->is_http_11 = info->http_version && strcmp(info->http_version, "1.1") == 0;
    r->headers_len = (size_t)info->num_headers;
    for (size_t i = 0; i < r->headers_len && i < HTTP_HEADERS_MAX; i++)
        r->headers[i] = (struct http_header){span_of(info->http_headers[i].name),
                                             span_of(info->http_headers[i].value)};
    r->is_whole =
        r->headers_len >= HTTP_HEADERS_MAX || head_is_whole(r->headers, r->headers_len);
    r->connections = atomic_load(&my_server->connections);
    r->connection = conn;
}

static int
begin_request(struct mg_connection *conn)
{
    struct http_request r;

    me->requests++;
    fill_request(&r, conn, mg_get_request_info(conn));
    my_server->options.handle(&r, my_server->options.context);
    me->since_ms = clock_mono_ms();
    return 1;
}

static int
begin_connection(const struct mg_connection *conn, void **data)
{
    (void)conn, (void)data;
    me->since_ms = clock_mono_ms();
    me->requests = 0;
    me->fd = -1;
    atomic_fetch_add(&my_server->connections, 1);
    return 0;
}

static void
end_connection(const struct mg_connection *conn)
{
    (void)conn;
    laters_settle(&me->laters);
    atomic_fetch_sub(&my_server->connections, 1);
}

struct span
http_find_header(const struct http_request *r, const char *name, size_t *count)
{
    struct span value = {"", 0};
    size_t found = 0;

    for (size_t i = 0; i < r->headers_len && i < HTTP_HEADERS_MAX; i++)
        if (span_is_nocase(r->headers[i].name, name) && found++ == 0)
            value = r->headers[i].value;
    if (count)
        *count = found;
    return value;
}

int64_t
http_read(struct http_request *r, char *to, size_t len, int64_t deadline_ms)
{
    worker_set_deadline(me, deadline_ms);
    int64_t n = mg_read(r->connection, to, len);
    worker_set_deadline(me, 0);
    return n;
}

static int
find_descriptor(const struct mg_request_info *info)
{
    struct sockaddr_in peer = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)info->remote_port)};

    if (inet_pton(AF_INET, info->remote_addr, &peer.sin_addr) != 1)
        return -1;
    return descriptors_find_connection(&peer, htons((uint16_t)info->server_port));
}

struct later *
http_later(struct http_request *r, int64_t deadline_ms, uint32_t *ticket)
{
    if (me->requests == NEW + 1)
        me->fd = find_descriptor(mg_get_request_info(r->connection));
    if (me->fd < 0)
        return NULL;
    // A tick early, as the timekeeper may look a tick late; but not at once.
    int64_t left_ms = deadline_ms - clock_mono_ms();
    int64_t early_ms = left_ms / 2 < WORKERS_TICK_MS ? left_ms / 2 : WORKERS_TICK_MS;
    return laters_next(&me->laters, me->fd, deadline_ms - early_ms, ticket);
}

void
http_continue(struct http_request *r)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";

    laters_settle(&me->laters);
    mg_write(r->connection, interim, sizeof interim - 1);
}

// --- answers -------------------------------------------------------------------------------

static const char *
reason_of(int code)
{
    return code == 200 ? "OK" : mg_get_response_code_text(NULL, code);
}

struct span
http_format(char *to, int code, const char *headers, struct span body, bool close)
{
    int len = snprintf(
        to, HTTP_HEAD_MAX, "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\n%s%s\r\n", code,
        reason_of(code), body.len, headers, close ? "Connection: close\r\n" : "");

    assert(len > 0 && len < HTTP_HEAD_MAX); // headers are ours
    memcpy(to + len, body.at, body.len);
    return span_make(to, (size_t)len + body.len);
}

static void
write_answer(struct mg_connection *conn, int code, const char *headers, struct span body,
             bool is_head, bool close)
{
    char small[HTTP_HEAD_MAX * 2], *to = small;

    if (close)
        mg_disable_keep_alive(conn);
    if (body.len > HTTP_HEAD_MAX)
        to = memory_get(HTTP_HEAD_MAX + body.len);
    struct span answer = http_format(to, code, headers, body, close);
    laters_settle(&me->laters);
    mg_write(conn, answer.at, answer.len - (is_head ? body.len : 0));
    if (to != small)
        free(to);
}

void
http_reply(struct http_request *r, int code, const char *headers, struct span body,
           bool close)
{
    write_answer(r->connection, code, headers, body, span_is(r->method, "HEAD"), close);
}

// What civetweb refuses by itself. It says 400 for a head that did not come in time too.
static int
answer_refusal(struct mg_connection *conn, int code, const char *text)
{
    const struct http_options *o = &my_server->options;

    (void)text;
    if (code == 400 && clock_mono_ms() - me->since_ms >= o->request_timeout_ms)
        code = 408;
    if (o->note_refusal)
        o->note_refusal(code, o->context);
    write_answer(conn, code, "", SPAN(""), false, true);
    return 0;
}

// --- start and end -------------------------------------------------------------------------

static struct http_server *
make_server(const struct http_options *options, struct err *err)
{
    struct http_server *s = memory_get(sizeof *s);

    *s = (struct http_server){.options = *options, .nowhere = descriptors_nowhere()};
    for (size_t i = 0; i < options->sockets_len; i++) {
        s->sockets[i] = options->sockets[i];
        s->addresses[i] = descriptors_address(options->sockets[i]);
    }
    sem_init(&s->taken, 0, 0);
    if (s->nowhere >= 0)
        return s;
    err_errno(err, "the HTTP server cannot open a socket");
    free(s);
    return NULL;
}

static void
set_placeholders(char *ports, size_t size, size_t n)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(ports + len, size - len, "%s127.0.0.1:0", i ? "," : "");
}

static struct mg_context *
start_civetweb(struct http_server *s)
{
    const struct http_options *o = &s->options;
    char ports[SOCKETS_MAX * 14], threads[16], queue[16], timeout[24], idle[24];
    struct mg_callbacks callbacks = {.begin_request = begin_request,
                                     .init_connection = begin_connection,
                                     .connection_close = end_connection,
                                     .http_error = answer_refusal,
                                     .init_thread = init_thread};

    set_placeholders(ports, sizeof ports, o->sockets_len);
    snprintf(threads, sizeof threads, "%d", o->threads);
    snprintf(queue, sizeof queue, "%d", o->queue);
    snprintf(timeout, sizeof timeout, "%lld", (long long)o->request_timeout_ms);
    snprintf(idle, sizeof idle, "%lld", (long long)o->idle_ms);
    const char *settings[] = {"listening_ports",
                              ports,
                              "num_threads",
                              threads,
                              "request_timeout_ms",
                              timeout,
                              "enable_keep_alive",
                              "yes",
                              "keep_alive_timeout_ms",
                              idle,
                              "connection_queue",
                              queue,
                              "tcp_nodelay",
                              "1",
                              "decode_url",
                              "no",
                              "enable_auth_domain_check",
                              "no",
                              NULL};
    mg_init_library(0);
    return mg_start(&callbacks, s, settings);
}

struct http_server *
http_start(const struct http_options *options, struct err *err)
{
    struct http_server *s = make_server(options, err);

    if (!s || workers_start(&s->workers, options->expire, err) < 0)
        return NULL;
    if (!start_civetweb(s)) {
        err_exit(err, EXIT_CODE_FAILURE,
                 "the HTTP server cannot start its threads (too little memory, "
                 "or too many processes?)");
        return NULL; // the caller ends the program; a thread still uses s
    }
    while (sem_wait(&s->taken) < 0)
        continue; // a signal
    if (s->failed) {
        err_exit(err, EXIT_CODE_FAILURE, "the HTTP server cannot take our sockets");
        return NULL;
    }
    return s;
}

void
http_release_sockets(struct http_server *s)
{
    for (size_t i = 0; i < s->options.sockets_len; i++)
        dup3(s->nowhere, s->slots[i], O_CLOEXEC); // both are open: it cannot fail
}

// The poll under way holds the sockets open for as long as it sleeps, whatever becomes of the
// descriptors: shutdown ends the listening itself.
void
http_close_sockets(struct http_server *s)
{
    for (size_t i = 0; i < s->options.sockets_len; i++)
        shutdown(s->slots[i], SHUT_RDWR);
    http_release_sockets(s);
}

bool
http_is_quiet(const struct http_server *s)
{
    return !descriptors_hold_connection(s->addresses, s->options.sockets_len);
}
