// hiredis, the part of it that 0.14 (Debian 12) and 1.x share. Commands are put into wire
// form here, because hiredis formats each argument with its own small printf, which costs
// more than everything else the relay does for a record.
#include "edge/redis.h"

#include "base/clock.h"
#include "base/thread.h"

#include <arpa/inet.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { CONNECT_MS = 5000, COMMAND_MS = 10000 };
enum { ASK_MAX = 32, HOST_MAX = 255, ADDRESSES_MAX = 8 };

// Redis takes no more than 1 GiB of one command.
static const size_t ARGS_MAX = (size_t)1 << 30;

static struct timeval
time_of_ms(int64_t ms)
{
    return (struct timeval){.tv_sec = (time_t)(ms / 1000),
                            .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
}

static int
die_of_timeout(struct redis *r, struct err *err)
{
    r->dead = true;
    err_set(err, ERR_AGAIN, "redis: no answer in time");
    if (err)
        err->error = ETIMEDOUT;
    return -1;
}

// die takes hiredis' words, but for a timeout, which it calls "Resource temporarily
// unavailable".
static int
die(struct redis *r, struct err *err)
{
    const redisContext *c = r->context;

    if (c->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK))
        return die_of_timeout(r, err);
    r->dead = true;
    return err_set(err, ERR_AGAIN, "redis: %s", c->errstr);
}

// --- names ---------------------------------------------------------------------------------

// Host names to addresses, with a time limit that getaddrinfo(3) does not have: the lookup runs
// in a thread of its own, which is left behind when it takes too long. Who asks for the same name
// again while it still runs waits for that one, so that threads do not pile up.
struct resolved {
    char addresses[ADDRESSES_MAX][INET6_ADDRSTRLEN + 16]; // numeric, with a scope
    size_t len;
};

// Lives until its thread is done and nobody waits for it any more.
struct lookup {
    char host[HOST_MAX + 1];
    int users;
    bool done; // what follows is the thread's until then
    int error; // of getaddrinfo
    struct resolved found;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t finished;
    struct lookup *running; // the newest, while its thread runs
} resolver = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL};

static void
look_up(struct lookup *l)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    struct resolved *to = &l->found;

    l->error = getaddrinfo(l->host, NULL, &hints, &list);
    if (l->error)
        return;
    for (struct addrinfo *a = list; a && to->len < ADDRESSES_MAX; a = a->ai_next)
        if (getnameinfo(a->ai_addr, a->ai_addrlen, to->addresses[to->len],
                        sizeof *to->addresses, NULL, 0, NI_NUMERICHOST) == 0)
            to->len++;
    freeaddrinfo(list);
    if (to->len == 0)
        l->error = EAI_NONAME;
}

// With the lock.
static void
drop_lookup(struct lookup *l)
{
    if (--l->users == 0)
        free(l);
}

static void *
run_lookup(void *lookup)
{
    struct lookup *l = lookup;

    look_up(l);
    pthread_mutex_lock(&resolver.lock);
    l->done = true;
    if (resolver.running == l)
        resolver.running = NULL;
    pthread_cond_broadcast(&resolver.finished);
    drop_lookup(l);
    pthread_mutex_unlock(&resolver.lock);
    return NULL;
}

// With the lock. NULL when no thread can be had.
static struct lookup *
start_lookup(const char *host)
{
    struct lookup *l = memory_get(sizeof *l);
    pthread_t thread;
    struct err err;

    *l = (struct lookup){.users = 1};
    snprintf(l->host, sizeof l->host, "%s", host);
    if (thread_start(&thread, "resolver", run_lookup, l, &err) < 0) {
        free(l);
        return NULL;
    }
    pthread_detach(thread);
    return resolver.running = l;
}

// In the system's order of preference; a numeric address is its own, without the resolver, which
// even for these may be slow. -1 with ERR_AGAIN: no such name, or no answer in time.
static int
resolve(const char *host, int64_t until_ms, struct resolved *to, struct err *err)
{
    struct timespec until = {until_ms / 1000, (long)(until_ms % 1000) * 1000000};
    struct in6_addr any;

    if (strlen(host) > HOST_MAX)
        return err_set(err, ERR_INPUT, "a host name of more than 255 bytes");
    if (inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1) {
        to->len = 1;
        snprintf(to->addresses[0], sizeof to->addresses[0], "%s", host);
        return 0;
    }
    pthread_mutex_lock(&resolver.lock);
    struct lookup *l = resolver.running;
    if (!l || strcmp(l->host, host) != 0)
        l = start_lookup(host);
    if (!l) {
        pthread_mutex_unlock(&resolver.lock);
        return err_set(err, ERR_AGAIN, "cannot start a thread to resolve %s", host);
    }
    l->users++;
    while (!l->done && pthread_cond_clockwait(&resolver.finished, &resolver.lock,
                                              CLOCK_MONOTONIC, &until) != ETIMEDOUT)
        continue;
    int result = 0;
    if (!l->done)
        result = err_set(err, ERR_AGAIN, "no name server answers in time for %s", host);
    else if (l->error)
        result = err_set(err, ERR_AGAIN, "cannot resolve %s: %s", host,
                         gai_strerror(l->error));
    else
        *to = l->found;
    drop_lookup(l);
    pthread_mutex_unlock(&resolver.lock);
    return result;
}

// --- connections -----------------------------------------------------------------------------

// Each address of the host in turn, as long as there is time.
static redisContext *
connect_to(const struct redis_options *o, struct err *err)
{
    int64_t limit_ms = o->connect_ms ? o->connect_ms : CONNECT_MS;
    int64_t until_ms = clock_mono_ms() + limit_ms, left_ms = limit_ms;
    struct resolved to = {.len = 0};
    redisContext *c = NULL;

    if (o->url.kind != REDIS_PLAIN || o->url.tls) {
        err_set(err, ERR_INPUT, "%s: not supported yet", o->url.text);
        return NULL;
    }
    if (o->url.hosts_len == 0)
        c = redisConnectUnixWithTimeout(o->url.path, time_of_ms(limit_ms));
    else if (resolve(o->url.hosts[0].name, until_ms, &to, err) < 0)
        return NULL;
    for (size_t i = 0; i < to.len && (!c || (c->err && left_ms > 0)); i++) {
        if (c)
            redisFree(c);
        left_ms = until_ms - clock_mono_ms();
        c = redisConnectWithTimeout(to.addresses[i], o->url.hosts[0].port,
                                    time_of_ms(left_ms > 1 ? left_ms : 1));
    }
    if (!c)
        err_set(err, ERR_AGAIN, "out of memory");
    return c;
}

// Whether an operator must act before the opening command can succeed. BUSY, LOADING and the
// like pass by themselves, and so does "max number of clients", the answer to whatever is sent
// first.
static bool
is_final(struct span text)
{
    static const char *const words[] = {"ERR", "NOAUTH", "WRONGPASS", "NOPERM", "DENIED"};
    struct span word = span_to(text, span_find(text, ' '));

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (span_is(word, words[i]))
            return !span_starts(text, SPAN("ERR max number"));
    return false;
}

static int
expect_ok(struct redis *r, const struct span *args, size_t n, struct err *err)
{
    const struct redis_reply *reply = redis_command(r, args, n, err);

    if (!reply)
        return -1;
    if (redis_value(reply).kind != REDIS_ERROR)
        return 0;
    struct span text = redis_value(reply).text;
    return err_set(err, is_final(text) ? ERR_INPUT : ERR_AGAIN, "redis: %s: %.*s",
                   args[0].at, (int)text.len, text.at);
}

static int
log_in(struct redis *r, const struct redis_options *o, struct err *err)
{
    char number[16];
    struct span auth[3] = {SPAN("AUTH")};
    size_t n = 1;

    snprintf(number, sizeof number, "%d", o->url.database);
    if (o->user && *o->user)
        auth[n++] = span_of(o->user);
    auth[n++] = o->password;
    if (o->password.len && expect_ok(r, auth, n, err) < 0)
        return -1;
    return o->url.database
               ? expect_ok(r, (struct span[]){SPAN("SELECT"), span_of(number)}, 2, err)
               : 0;
}

struct redis *
redis_open(const struct redis_options *o, struct err *err)
{
    struct redis *r = memory_get(sizeof *r);

    *r = (struct redis){.context = connect_to(o, err)};
    buf_init(&r->head.bytes, ARGS_MAX);
    if (!r->context) {
        err_context(err, "redis");
        goto close;
    }
    if (r->context->err) {
        die(r, err);
        goto close;
    }
    r->command_ms = o->command_ms ? o->command_ms : COMMAND_MS;
    if (o->connected)
        o->connected(r->context->fd, o->context);
    if (log_in(r, o, err) == 0)
        return r;
    if (o->connected)
        o->connected(-1, o->context);

close:
    redis_close(r);
    return NULL;
}

void
redis_close(struct redis *r)
{
    if (!r)
        return;
    if (r->reply)
        freeReplyObject(r->reply);
    if (r->context)
        redisFree(r->context);
    buf_release(&r->head.bytes);
    free(r);
}

bool
redis_peer_closed(const struct redis *r)
{
    char byte;
    ssize_t n = recv(r->context->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

// A struct redis_reply is a redisReply under another name, so that no foreign type stands
// in the header and nothing is copied. What does not apply is zero in it.
struct redis_value
redis_value(const struct redis_reply *reply)
{
    static const enum redis_kind kinds[] = {
        [REDIS_REPLY_STRING] = REDIS_TEXT, [REDIS_REPLY_STATUS] = REDIS_TEXT,
        [REDIS_REPLY_ERROR] = REDIS_ERROR, [REDIS_REPLY_INTEGER] = REDIS_NUMBER,
        [REDIS_REPLY_ARRAY] = REDIS_ARRAY, [REDIS_REPLY_NIL] = REDIS_NIL};
    const redisReply *r = (const void *)reply;

    if (!r || (size_t)r->type >= sizeof kinds / sizeof *kinds)
        return (struct redis_value){.kind = REDIS_NIL, .text = SPAN("")};
    return (struct redis_value){.kind = kinds[r->type],
                                .text = r->str ? span_make(r->str, r->len) : SPAN(""),
                                .number = r->integer,
                                .len = r->elements};
}

const struct redis_reply *
redis_reply_at(const struct redis_reply *reply, size_t i)
{
    const redisReply *r = (const void *)reply;

    return i < redis_value(reply).len ? (const void *)r->element[i] : NULL;
}

const struct redis_reply *
redis_command(struct redis *r, const struct span *args, size_t n, struct err *err)
{
    return redis_send(r, args, n, NULL, err) < 0 ? NULL : redis_receive(r, err);
}

const struct redis_reply *
redis_ask(struct redis *r, struct err *err, ...)
{
    struct span args[ASK_MAX];
    size_t n = 0;
    va_list list;

    va_start(list, err);
    for (const char *arg; n < ASK_MAX && (arg = va_arg(list, const char *));)
        args[n++] = span_of(arg);
    va_end(list);
    return redis_command(r, args, n, err);
}

const struct redis_reply *
redis_check(const struct redis_reply *reply, struct err *err)
{
    struct redis_value v = redis_value(reply);

    if (v.kind != REDIS_ERROR)
        return reply;
    err_set(err, ERR_INPUT, "Redis says: %.*s", (int)v.text.len, v.text.at);
    return NULL;
}

// add_count writes a type byte, a number and the line's end: "$12\r\n".
static void
add_count(struct buf *b, char type, size_t count)
{
    char text[24], *at = text + sizeof text;

    *--at = '\n';
    *--at = '\r';
    do
        *--at = (char)('0' + count % 10);
    while (count /= 10);
    *--at = type;
    (void)buf_add(b, span_make(at, (size_t)(text + sizeof text - at))); // stays `full`
}

void
redis_args_add(struct redis_args *a, struct span s)
{
    if (!a->bytes.max)
        buf_init(&a->bytes, ARGS_MAX);
    add_count(&a->bytes, '$', s.len);
    (void)buf_add(&a->bytes, s); // a buf that hits its ceiling stays `full`
    (void)buf_add(&a->bytes, SPAN("\r\n"));
    a->count++;
}

int
redis_send(struct redis *r, const struct span *head, size_t n,
           const struct redis_args *rest, struct err *err)
{
    struct buf *bytes = &r->head.bytes;

    if (r->dead)
        return err_set(err, ERR_AGAIN, "redis: the connection is dead");
    redis_args_clear(&r->head);
    add_count(bytes, '*', n + (rest ? rest->count : 0));
    for (size_t i = 0; i < n; i++)
        redis_args_add(&r->head, head[i]);
    if (bytes->full || (rest && rest->bytes.full))
        return err_set(err, ERR_INPUT, "redis: a command is larger than 1 GiB");
    int result = redisAppendFormattedCommand(r->context, bytes->at, bytes->len);
    if (result == REDIS_OK && rest && rest->bytes.len)
        result = redisAppendFormattedCommand(r->context, rest->bytes.at, rest->bytes.len);
    return result == REDIS_OK ? 0 : die(r, err);
}

// read_reply reads until a reply is complete: one deadline, however slowly its bytes come.
static int
read_reply(struct redis *r, void **reply, struct err *err)
{
    int64_t until_ms = clock_mono_ms() + r->command_ms;

    for (;;) {
        if (redisReaderGetReply(r->context->reader, reply) != REDIS_OK) {
            r->dead = true;
            return err_set(err, ERR_AGAIN, "redis: %s", r->context->reader->errstr);
        }
        if (*reply)
            return 0;
        struct pollfd p = {.fd = r->context->fd, .events = POLLIN};
        int64_t left_ms = until_ms - clock_mono_ms();
        if (left_ms <= 0)
            return die_of_timeout(r, err);
        if (poll(&p, 1, (int)left_ms) > 0 && redisBufferRead(r->context) != REDIS_OK)
            return die(r, err);
    }
}

// Reads are waited for in read_reply; this is for writes. It fails only on a socket that is
// closed, which the next write reports.
static void
limit_writes(struct redis *r)
{
    if (r->write_ms != r->command_ms)
        (void)redisSetTimeout(r->context, time_of_ms(r->command_ms));
    r->write_ms = r->command_ms;
}

const struct redis_reply *
redis_receive(struct redis *r, struct err *err)
{
    void *reply = NULL;
    int written = 0;

    if (r->dead) {
        err_set(err, ERR_AGAIN, "redis: the connection is dead");
        return NULL;
    }
    if (r->reply)
        freeReplyObject(r->reply);
    r->reply = NULL;
    limit_writes(r);
    while (!written)
        if (redisBufferWrite(r->context, &written) != REDIS_OK && die(r, err) < 0)
            return NULL;
    if (read_reply(r, &reply, err) < 0)
        return NULL;
    r->reply = reply;
    return reply;
}
