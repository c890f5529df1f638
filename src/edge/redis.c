// hiredis's reader of replies, the part of it that is the same in 0.14 (Debian 12) and 1.x, above a
// transport of our own, which has TLS and one time limit for each call. Commands are put into wire
// form here, because hiredis formats each argument with its own small printf, which costs more than
// everything else the relay does for a record.
#include "edge/redis.h"

#include "base/clock.h"
#include "base/text.h"
#include "edge/transport.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONNECT_MS = 5000, COMMAND_MS = 10000, PROBE_MS = 1500 };
enum { ASK_MAX = 32, READ_BYTES = 16384, QUEUED_KEPT = 1 << 21, MIB = 1 << 20 };

// Redis takes no more than 1 GiB of one command.
static const size_t ARGS_MAX = (size_t)1 << 30;

// --- opening -----------------------------------------------------------------------------------

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

// A server that does not know a command repeats its arguments, and one of AUTH's is the password.
static int
refuse(struct span command, struct span text, struct err *err)
{
    const char *arguments = memmem(text.at, text.len, ", with args", 11);

    if (arguments)
        text.len = (size_t)(arguments - text.at);
    return err_set(err, is_final(text) ? ERR_INPUT : ERR_AGAIN, "redis: %.*s: %.*s",
                   (int)command.len, command.at, (int)text.len, text.at);
}

static int
expect_ok(struct redis *r, const struct span *args, size_t n, struct err *err)
{
    const struct redis_reply *reply = redis_command(r, args, n, err);

    if (!reply)
        return -1;
    struct redis_value v = redis_value(reply);
    return v.kind == REDIS_ERROR ? refuse(args[0], v.text, err) : 0;
}

// Any answer will do, but for those after which the server closes the connection, and that a password
// is missing: larger commands are then answered with a protocol error instead.
static int
expect_answer(struct redis *r, struct err *err)
{
    const struct redis_reply *reply = redis_ask(r, err, "PING", NULL);
    struct span text = redis_value(reply).text;

    if (!reply)
        return -1;
    return span_starts(text, SPAN("DENIED")) || span_starts(text, SPAN("NOAUTH")) ||
                   span_starts(text, SPAN("ERR max number"))
               ? refuse(SPAN("PING"), text, err)
               : 0;
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
    int result = o->password.len ? expect_ok(r, auth, n, err) : 0;
    buf_wipe(&r->queued.bytes); // it held the password
    if (result < 0)
        return -1;
    if (o->url.database)
        return expect_ok(r, (struct span[]){SPAN("SELECT"), span_of(number)}, 2, err);
    return o->password.len ? 0 : expect_answer(r, err);
}

// A server of TLS closes a connection that begins with something else, mostly without a word.
static int
greet(struct redis *r, const struct redis_options *o, struct err *err)
{
    if (log_in(r, o, err) == 0)
        return 0;
    if (r->dead && !o->url.tls && err->error != ETIMEDOUT &&
        transport_speaks_tls(r->transport, clock_mono_ms() + PROBE_MS))
        err_set(
            err, ERR_INPUT,
            "redis: the server speaks TLS on this port: write rediss:// in the URL, or "
            "correct the port");
    return -1;
}

static struct transport *
open_transport(const struct redis_options *o, int64_t until_ms, struct err *err)
{
    struct transport_options t = {.path = o->url.path,
                                  .tls = o->url.tls ? &o->tls : NULL,
                                  .until_ms = until_ms,
                                  .watch = o->watch};

    if (o->url.hosts_len > 0) {
        t.host = o->url.hosts[0].name;
        t.port = o->url.hosts[0].port;
    }
    return transport_open(&t, err);
}

#if HIREDIS_MAJOR == 0
typedef int array_len;
#else
typedef size_t array_len;
#endif

// hiredis takes memory for all elements that an array announces, 16 GiB and more, before there is one;
// 1.x nests arrays without end, and needs as deep a stack to free them; and it reads RESP3, which is not
// asked for: a push would be taken for the answer, a map for nothing. NULL ends the reading.
static void *
create_array(const redisReadTask *task, array_len len)
{
    struct redis *r = task->privdata;
    int depth = 1;

    for (const redisReadTask *t = task->parent; t; t = t->parent)
        depth++;
    r->elements += (size_t)len;
    if (r->elements <= REDIS_REPLY_ELEMENTS && depth <= REDIS_REPLY_DEPTH &&
        task->type == REDIS_REPLY_ARRAY)
        return r->standard->createArray(task, len);
    r->elements = SIZE_MAX;
    return NULL;
}

static bool
open_reader(struct redis *r)
{
    r->reader = redisReaderCreate();
    if (!r->reader)
        return false;
    r->standard = r->reader->fn;
    r->functions = memory_get(sizeof *r->functions);
    *r->functions = *r->standard;
    r->functions->createArray = create_array;
    r->reader->fn = r->functions;
    r->reader->privdata = r;
    return true;
}

struct redis *
redis_open(const struct redis_options *o, struct err *err)
{
    struct redis *r = memory_get(sizeof *r);
    int64_t until_ms = clock_mono_ms() + (o->connect_ms ? o->connect_ms : CONNECT_MS);

    *r = (struct redis){.command_ms = o->command_ms ? o->command_ms : COMMAND_MS,
                        .reply_bytes_max = REDIS_REPLY_BYTES};
    buf_init(&r->queued.bytes, ARGS_MAX);
    r->transport = open_transport(o, until_ms, err);
    if (!r->transport) {
        err_context(err, "redis");
    } else {
        if (open_reader(r) && greet(r, o, err) == 0)
            return r;
        if (!r->reader)
            err_set(err, ERR_AGAIN, "redis: out of memory");
    }
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
    if (r->reader)
        redisReaderFree(r->reader);
    free(r->functions);
    transport_close(r->transport);
    buf_release(&r->queued.bytes);
    free(r);
}

bool
redis_peer_closed(const struct redis *r)
{
    return r->dead || transport_peek(r->transport) < 0;
}

bool
redis_tls_state(const struct redis *r, struct tls_state *state)
{
    const struct tls *tls = transport_tls(r->transport);

    if (tls)
        tls_read_state(tls, state);
    return tls;
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
redis_member(const struct redis_reply *reply, const char *name)
{
    for (size_t i = 0; i + 1 < redis_value(reply).len; i += 2)
        if (span_is(redis_value(redis_reply_at(reply, i)).text, name))
            return redis_reply_at(reply, i + 1);
    return NULL;
}

int64_t
redis_time_us(const struct redis_reply *reply)
{
    uint64_t seconds, us;

    if (!text_number(&seconds, redis_value(redis_reply_at(reply, 0)).text,
                     INT64_MAX / 1000000 - 1) ||
        !text_number(&us, redis_value(redis_reply_at(reply, 1)).text, 999999))
        return 0;
    return (int64_t)(seconds * 1000000 + us);
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

void
redis_args_format(struct redis_args *a, const char *format, ...)
{
    char text[512];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    redis_args_add(a, span_of(text));
}

static int
fail_dead(const struct redis *r, struct err *err)
{
    if (err)
        *err = r->why;
    return -1;
}

// A reply too many, a proxy's say, and each command would get the answer to the one before it. What
// is there before the first one says why the connection ends.
static void
check_unasked(struct redis *r)
{
    if (r->dead || r->unanswered > 0 || !r->reply ||
        (r->reader->pos == r->reader->len && transport_peek(r->transport) <= 0))
        return;
    r->dead = true;
    err_set(&r->why, ERR_AGAIN,
            "redis: the server, or a proxy before it, sent a reply unasked");
}

int
redis_send(struct redis *r, const struct span *head, size_t n,
           const struct redis_args *rest, struct err *err)
{
    struct buf *bytes = &r->queued.bytes;
    size_t before = bytes->len;

    check_unasked(r);
    if (r->dead)
        return fail_dead(r, err);
    add_count(bytes, '*', n + (rest ? rest->count : 0));
    for (size_t i = 0; i < n; i++)
        redis_args_add(&r->queued, head[i]);
    if (rest)
        (void)buf_add(bytes, buf_span(&rest->bytes)); // stays `full`
    if (!bytes->full && (!rest || !rest->bytes.full)) {
        r->unanswered++;
        return 0;
    }
    buf_clear(bytes);
    bytes->len = before;
    return err_set(err, ERR_INPUT, "redis: a command is larger than 1 GiB");
}

static int
write_queued(struct redis *r, int64_t until_ms, struct err *err)
{
    struct buf *bytes = &r->queued.bytes;
    int result = transport_write(r->transport, buf_span(bytes), until_ms, err);

    buf_clear(bytes);
    if (bytes->cap > QUEUED_KEPT)
        buf_release(bytes);
    return result;
}

static int
refuse_bytes(const struct redis *r, struct err *err)
{
    if (r->elements > REDIS_REPLY_ELEMENTS)
        return err_set(err, ERR_AGAIN,
                       "a reply has more than %d elements, is more than %d arrays deep, "
                       "or is RESP3",
                       REDIS_REPLY_ELEMENTS, REDIS_REPLY_DEPTH);
    return err_set(err, ERR_AGAIN, "%s", r->reader->errstr);
}

static int
read_reply(struct redis *r, void **reply, int64_t until_ms, struct err *err)
{
    char bytes[READ_BYTES];
    size_t read = 0;
    int n = 0;

    r->elements = 0;
    for (;;) {
        if ((n > 0 && redisReaderFeed(r->reader, bytes, (size_t)n) != REDIS_OK) ||
            redisReaderGetReply(r->reader, reply) != REDIS_OK)
            return refuse_bytes(r, err);
        if (*reply)
            return 0;
        if (read > r->reply_bytes_max)
            return err_set(err, ERR_AGAIN, "a reply has more than %zu MiB",
                           r->reply_bytes_max / MIB);
        n = transport_read(r->transport, bytes, sizeof bytes, until_ms, err);
        if (n < 0)
            return -1;
        read += (size_t)n;
    }
}

const struct redis_reply *
redis_receive(struct redis *r, struct err *err)
{
    void *reply = NULL;
    int64_t turns = 1 + (int64_t)(r->queued.bytes.len / MIB);
    int64_t until_ms = clock_mono_ms() + r->command_ms * turns;

    if (!r->dead) {
        if (r->reply)
            freeReplyObject(r->reply);
        r->reply = NULL;
        r->dead = write_queued(r, until_ms, &r->why) < 0 ||
                  read_reply(r, &reply, until_ms, &r->why) < 0;
        if (r->dead)
            err_context(&r->why, "redis");
    }
    if (r->dead) {
        (void)fail_dead(r, err);
        return NULL;
    }
    r->reply = reply;
    r->unanswered--;
    return reply;
}
