// civetweb opens a placeholder listener per socket; its init_thread callback runs in the
// thread that polls, before the first poll, and there our socket is put in the placeholder's
// place with dup3. The poll loop goes by descriptor number, so nothing else is needed, and
// the same trick gives the sockets back: an eventfd that is never readable takes their place.
//
// A thread that waits for its record's sync sleeps twice for each request: there, and for the
// next request. So an answer may be deferred to the thread that knows the outcome, with send(2)
// on the connection's descriptor, which civetweb does not give: its two ends do. Such an
// answer is settled before civetweb writes to the connection or closes it.
//
// A read of civetweb's ends only when it has all it wants, the connection breaks, or a pause
// lasts for the whole timeout: a byte now and then holds a thread for ever, and nothing in
// its interface helps. So a timekeeper checks what each thread waits for, and sends SIGURG to
// one that is late: poll(2) fails with EINTR, and civetweb gives up. Reading byte by byte was
// rejected for its cost.
//
// begin_request is the only entry and always answers, which also keeps civetweb's file and
// form code, where its known holes are, unreachable.
#include "edge/http.h"

#include "base/clock.h"
#include "base/thread.h"
#include "edge/sockets.h"

#include <arpa/inet.h>
#include <assert.h>
#include <civetweb.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

// NEW: a connection's first requests, for which finding its descriptor does not pay.
enum { SERVER_SOCKETS_MAX = 64, NEW = 3, TICK_MS = 200 };

// What is known of a thread: which connection it serves, and until when it may wait.
struct http_thread {
    // Its own, about the connection it serves.
    int64_t since_ms;  // of the wait for a request's head
    unsigned requests; // so far
    int fd;            // -1: not known
    // Used in turn: an answer that is just being sent does not hold up the next request.
    struct deferred deferred[2];
    bool turn;
    uint32_t ticket; // the last one given
    struct http_server *server;
    struct http_thread *next;
    pthread_t id;
    pthread_mutex_t lock;
    int64_t deadline_ms; // of the read under way, 0: none; under lock
};

struct http_server {
    struct http_options options;
    int slots[SERVER_SOCKETS_MAX]; // the descriptors that civetweb polls
    int nothing;                   // takes the sockets' place when they are given back
    sem_t taken;                   // posted when the sockets are in place, or `failed`
    bool failed;
    _Atomic(size_t) connections;
};

static _Atomic(struct http_thread *) all_threads; // of all servers; grows only

static _Thread_local struct http_thread *me;

// --- deferred answers ----------------------------------------------------------------------

// The state of an answer is a ticket and what is done for it. A claim compares both, so that the
// journal's belated result for an answer whose time was up cannot answer the request that came
// after it.
enum { SETTLED, OWED, SENDING, EXPIRING, STATES };

// Wraps after 2^30 requests, long past any belated result.
static uint32_t
state_of(uint32_t ticket, uint32_t step)
{
    return ticket * STATES + step;
}

// A signal only makes it check again.
static void
wait_settled(struct deferred *d)
{
    uint32_t state = atomic_load(&d->state);

    if (state % STATES == SETTLED)
        return;
    atomic_store(&d->awaited, true);
    while ((state = atomic_load(&d->state)) % STATES != SETTLED)
        syscall(SYS_futex, &d->state, FUTEX_WAIT_PRIVATE, state, NULL, NULL, 0);
    atomic_store(&d->awaited, false);
}

// Before the connection's own thread writes to it or closes it.
static void
settle_all(void)
{
    wait_settled(&me->deferred[0]);
    wait_settled(&me->deferred[1]);
}

bool
deferred_claim(struct deferred *d, uint32_t ticket)
{
    uint32_t owed = state_of(ticket, OWED);

    return atomic_compare_exchange_strong(&d->state, &owed, state_of(ticket, SENDING));
}

void
deferred_finish(struct deferred *d, struct span answer)
{
    uint32_t state = atomic_load(&d->state);

    if (send(d->fd, answer.at, answer.len, MSG_DONTWAIT | MSG_NOSIGNAL) !=
        (ssize_t)answer.len)
        shutdown(d->fd, SHUT_RDWR); // its thread sees the end and closes it
    atomic_store(&d->state, state - state % STATES + SETTLED);
    if (atomic_load(&d->awaited))
        syscall(SYS_futex, &d->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void
expire_if_late(struct http_thread *t, int64_t now_ms)
{
    for (size_t i = 0; i < 2; i++) {
        struct deferred *d = &t->deferred[i];
        uint32_t owed = atomic_load(&d->state);
        if (owed % STATES == OWED && atomic_load(&d->deadline_ms) <= now_ms &&
            atomic_compare_exchange_strong(&d->state, &owed, owed - OWED + EXPIRING))
            t->server->options.expire(d);
    }
}

// --- threads -------------------------------------------------------------------------------

static void
take_sockets(const struct mg_context *context, struct http_server *s)
{
    struct mg_server_port ports[SERVER_SOCKETS_MAX];
    size_t len = s->options.sockets_len;
    int got = mg_get_server_ports(context, (int)len, ports);

    for (size_t i = 0; i < len; i++) {
        s->slots[i] = -1;
        if ((int)i < got)
            s->slots[i] = sockets_find(htons((uint16_t)ports[i].port), NULL);
        if (s->slots[i] < 0 || dup3(s->options.sockets[i], s->slots[i], O_CLOEXEC) < 0)
            s->failed = true;
    }
    sem_post(&s->taken);
}

static struct http_thread *
add_thread(struct http_server *s)
{
    struct http_thread *t = memory_get(sizeof *t);

    *t = (struct http_thread){.id = pthread_self(), .fd = -1, .server = s};
    pthread_mutex_init(&t->lock, NULL);
    t->next = atomic_load(&all_threads);
    while (!atomic_compare_exchange_weak(&all_threads, &t->next, t))
        continue;
    return t;
}

// Under load a worker wakes up with each answer that is sent. As SCHED_BATCH it then waits for
// its turn instead of taking the core from the thread that sends the others: fewer switches,
// and larger groups. Where that is refused nothing is lost but this.
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
        (void)sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
        me = add_thread(s);
    }
    return NULL;
}

// A signal that falls between two polls is lost; the next tick sends another.
static void *
keep_time(void *unused)
{
    for (;;) {
        clock_sleep_ms(TICK_MS);
        int64_t now_ms = clock_mono_ms();
        for (struct http_thread *t = atomic_load(&all_threads); t; t = t->next) {
            pthread_mutex_lock(&t->lock);
            if (t->deadline_ms && t->deadline_ms <= now_ms)
                pthread_kill(t->id, SIGURG);
            pthread_mutex_unlock(&t->lock);
            expire_if_late(t, now_ms);
        }
    }
    return unused; // never
}

static void
do_nothing(int signal)
{
    (void)signal; // it interrupts a call, that is all
}

// One for all servers; it ends with the process.
static int
start_timekeeper(struct err *err)
{
    static bool started;
    struct sigaction action = {.sa_handler = do_nothing};
    pthread_t timekeeper;

    if (started)
        return 0;
    sigemptyset(&action.sa_mask);
    sigaction(SIGURG, &action, NULL);
    if (thread_start(&timekeeper, "http-timeouts", keep_time, NULL, err) < 0)
        return -1;
    pthread_detach(timekeeper);
    started = true;
    return 0;
}

// --- requests ------------------------------------------------------------------------------

// What civetweb's reader of heads lets pass and RFC 9112 has refused: a blank before a header's
// colon (5.1), a folded line (5.2), a line without a name. At the last two it stops reading, so
// that headers after them go unseen, which is how requests are smuggled. civetweb (1.15) reads in
// place: it writes NULs over what ends a name or a value and leaves the rest as it came.
// "Name: value" has one NUL after the name, where the colon was; "Name : value" has more. After a
// value stand the NULs of its line's end, and then, after the last, the end of an empty line.
static bool
is_whole(const struct http_header *headers, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const char *end = headers[i].name.at + headers[i].name.len;
        if (headers[i].value.at > end + 1 && end[1] == '\0')
            return false;
    }
    if (len == 0)
        return true;
    const char *at = headers[len - 1].value.at + headers[len - 1].value.len;
    for (int i = 0; i < 2 && *at == '\0'; i++)
        at++;
    return *at == '\r' || *at == '\n';
}

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
        r->headers_len >= HTTP_HEADERS_MAX || is_whole(r->headers, r->headers_len);
    r->connections = atomic_load(&me->server->connections);
    r->owes_continue = false;
    r->connection = conn;
}

static int
begin_request(struct mg_connection *conn)
{
    struct http_request r;

    me->requests++;
    fill_request(&r, conn, mg_get_request_info(conn));
    me->server->options.handle(&r, me->server->options.context);
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
    atomic_fetch_add(&me->server->connections, 1);
    return 0;
}

static void
end_connection(const struct mg_connection *conn)
{
    (void)conn;
    settle_all();
    atomic_fetch_sub(&me->server->connections, 1);
}

// 0: the read is over. One that is late is interrupted.
static void
set_deadline(int64_t deadline_ms)
{
    pthread_mutex_lock(&me->lock);
    me->deadline_ms = deadline_ms;
    pthread_mutex_unlock(&me->lock);
}

int64_t
http_read(struct http_request *r, char *to, size_t len, int64_t deadline_ms)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";

    if (r->owes_continue) {
        settle_all();
        mg_write(r->connection, interim, sizeof interim - 1);
    }
    r->owes_continue = false;
    set_deadline(deadline_ms);
    int64_t n = mg_read(r->connection, to, len);
    set_deadline(0);
    return n;
}

static int
find_descriptor(const struct mg_request_info *info)
{
    struct sockaddr_in peer = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)info->remote_port)};

    if (inet_pton(AF_INET, info->remote_addr, &peer.sin_addr) != 1)
        return -1;
    return sockets_find(htons((uint16_t)info->server_port), &peer);
}

struct deferred *
http_defer(struct http_request *r, int64_t now_ms, int64_t wait_ms,
           const struct deferred_work *work, uint32_t *ticket)
{
    if (me->requests == NEW + 1)
        me->fd = find_descriptor(mg_get_request_info(r->connection));
    if (me->fd < 0)
        return NULL;
    // Answers that are sent come from one thread, in order. One that expires is another's.
    struct deferred *last = &me->deferred[me->turn], *d = &me->deferred[!me->turn];
    if (atomic_load(&last->state) % STATES != SENDING)
        wait_settled(last);
    me->turn = !me->turn;
    wait_settled(d); // its answer was sent before the last one: it never sleeps
    *ticket = ++me->ticket;
    d->work = *work;
    d->fd = me->fd;
    // A tick early, as the timekeeper may come a tick late; but not at once.
    wait_ms -= wait_ms / 2 < TICK_MS ? wait_ms / 2 : TICK_MS;
    atomic_store(&d->deadline_ms, now_ms + wait_ms);
    atomic_store(&d->state, state_of(*ticket, OWED));
    return d;
}

// --- answers -------------------------------------------------------------------------------

struct span
http_format(char *to, int code, const char *headers, struct span body, bool close)
{
    int len =
        snprintf(to, HTTP_HEAD_MAX, "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\n%s%s\r\n",
                 code, mg_get_response_code_text(NULL, code), body.len, headers,
                 close ? "Connection: close\r\n" : "");

    assert(len > 0 && len < HTTP_HEAD_MAX); // headers are ours
    memcpy(to + len, body.at, body.len);
    return span_make(to, (size_t)len + body.len);
}

void
http_reply(struct http_request *r, int code, const char *headers, struct span body,
           bool close)
{
    char small[HTTP_HEAD_MAX * 2], *to = small;

    if (close)
        mg_disable_keep_alive(r->connection);
    if (body.len > HTTP_HEAD_MAX)
        to = memory_get(HTTP_HEAD_MAX + body.len);
    struct span answer = http_format(to, code, headers, body, close);
    settle_all();
    bool is_head = span_is(r->method, "HEAD");
    mg_write(r->connection, answer.at, answer.len - (is_head ? body.len : 0));
    if (to != small)
        free(to);
}

// What civetweb refuses by itself. It says 400 for a head that did not come in time too.
static int
answer_refusal(struct mg_connection *conn, int code, const char *text)
{
    const struct http_options *o = &me->server->options;

    (void)text;
    if (code == 400 && clock_mono_ms() - me->since_ms >= o->request_timeout_ms)
        code = 408;
    if (o->count_refusal)
        o->count_refusal(code, o->context);
    http_reply(&(struct http_request){.connection = conn}, code, "", SPAN(""), true);
    return 0;
}

// --- start and end -------------------------------------------------------------------------

static struct mg_context *
start_civetweb(struct http_server *s)
{
    const struct http_options *o = &s->options;
    char threads[16], queue[16], timeout[24], idle[24];
    struct buf ports; // of placeholders
    struct mg_callbacks callbacks = {.begin_request = begin_request,
                                     .init_connection = begin_connection,
                                     .connection_close = end_connection,
                                     .http_error = answer_refusal,
                                     .init_thread = init_thread};

    buf_init(&ports, 4096);
    for (size_t i = 0; i < o->sockets_len; i++)
        buf_add_text(&ports, i ? ",127.0.0.1:0" : "127.0.0.1:0");
    snprintf(threads, sizeof threads, "%d", o->threads);
    snprintf(queue, sizeof queue, "%d", o->queue);
    snprintf(timeout, sizeof timeout, "%lld", (long long)o->request_timeout_ms);
    snprintf(idle, sizeof idle, "%lld", (long long)o->idle_ms);
    const char *settings[][2] = {{"listening_ports", buf_text(&ports)},
                                 {"num_threads", threads},
                                 {"request_timeout_ms", timeout},
                                 {"enable_keep_alive", "yes"},
                                 {"keep_alive_timeout_ms", idle},
                                 {"connection_queue", queue},
                                 {"tcp_nodelay", "1"},
                                 {"decode_url", "no"},
                                 {"enable_auth_domain_check", "no"},
                                 {NULL, NULL}};
    mg_init_library(0);
    struct mg_context *context = mg_start(&callbacks, s, &settings[0][0]);
    buf_release(&ports);
    return context;
}

struct http_server *
http_start(const struct http_options *options, struct err *err)
{
    struct http_server *s = memory_get(sizeof *s);

    *s = (struct http_server){.options = *options, .nothing = eventfd(0, EFD_CLOEXEC)};
    sem_init(&s->taken, 0, 0);
    if (s->nothing < 0)
        err_errno(err, "the HTTP server cannot open a descriptor");
    if (s->nothing < 0 || start_timekeeper(err) < 0) {
        free(s);
        return NULL;
    }
    if (!start_civetweb(s)) {
        err_exit(err, EXIT_CODE_FAILURE,
                 "the HTTP server cannot start its threads (out of memory, or too many "
                 "processes?)");
        return NULL; // the caller ends the program; a thread still uses s
    }
    while (sem_wait(&s->taken) < 0)
        continue; // a signal
    if (s->failed) {
        err_exit(err, EXIT_CODE_FAILURE,
                 "the HTTP server cannot use the listening sockets");
        return NULL;
    }
    return s;
}

// The poll under way holds the sockets open for as long as it sleeps, whatever becomes of the
// descriptors: shutdown ends the listening itself.
void
http_stop_listening(struct http_server *s, bool shared)
{
    for (size_t i = 0; i < s->options.sockets_len; i++) {
        if (!shared)
            shutdown(s->slots[i], SHUT_RDWR);
        dup3(s->nothing, s->slots[i], O_CLOEXEC); // both are open: it cannot fail
    }
}
