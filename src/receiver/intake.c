// A request's body and its record are made in buffers that the thread keeps, unless a large
// body has blown them up: a thread's stack is too small for them, and malloc per request
// would cost more than the copy.
#include "receiver/receiver.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "event/delivery.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

// RECORD_MAX: the largest body_max that the configuration allows, a piece, and the head.
enum { PIECE = 16384, RECORD_MAX = (16 << 20) + (1 << 16), KEPT_MAX = 64 << 10 };
enum { LEFT = -1 }; // not an answer: another thread gives it

static const double ack_bounds[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05,
                                    0.1,    0.25,  0.5,   1,     2.5,  5};
// By 503, and by any other answer.
static struct metric lost[] = {
    METRIC(COUNTER, "acrelay_journal_refused_total",
           "Deliveries that could not be stored durably."),
    METRIC(COUNTER, "acrelay_deliveries_refused_total",
           "Deliveries with a valid URL that were refused as too large or malformed, or "
           "did not arrive completely."),
};
static struct metric ack_time = {.kind = METRIC_HISTOGRAM,
                                 .name = "acrelay_ack_seconds",
                                 .help =
                                     "Time from the head of a request until its answer.",
                                 .labels = "",
                                 .bounds = ack_bounds,
                                 .bounds_len = sizeof ack_bounds / sizeof *ack_bounds};

struct intake {
    struct journal *journal;
    pthread_mutex_t lock; // of snapshot, from reading the pointer until it is held
    struct snapshot *snapshot;
    int threads;
    _Atomic(bool) draining;
    // Of `ok`, the answer that keeps a connection alive.
    char ok_text[HTTP_HEAD_MAX * 2];
    struct span ok;
};

struct buffers {
    struct buf body, record;
};

// --- parts ----------------------------------------------------------------------------------

void
intake_replace(struct intake *i, struct snapshot *snapshot)
{
    pthread_mutex_lock(&i->lock);
    struct snapshot *before = i->snapshot;
    i->snapshot = snapshot;
    pthread_mutex_unlock(&i->lock);
    snapshot_drop(before);
}

static struct snapshot *
hold_snapshot(struct intake *i)
{
    pthread_mutex_lock(&i->lock);
    struct snapshot *snapshot = i->snapshot;
    atomic_fetch_add(&snapshot->holders, 1);
    pthread_mutex_unlock(&i->lock);
    return snapshot;
}

void
intake_drain(struct intake *i)
{
    atomic_store(&i->draining, true);
}

// A thread of the server lives as long as the process.
static struct buffers *
my_buffers(void)
{
    static _Thread_local struct buffers b = {{.max = RECORD_MAX}, {.max = RECORD_MAX}};

    return &b;
}

static void
empty(struct buf *b)
{
    if (b->cap > KEPT_MAX)
        buf_release(b);
    buf_clear(b);
}

// --- answers -------------------------------------------------------------------------------

static bool
is_crowded(const struct intake *i, const struct http_request *r)
{
    return r->connections * 4 > (size_t)i->threads * 3;
}

static bool
must_close(struct intake *i, const struct http_request *r)
{
    struct span wish = http_find_header(r, "Connection", NULL);

    if (atomic_load(&i->draining) || !r->is_http_11)
        return true;
    if (wish.len > 0 && !span_is_nocase(span_trim(wish), "keep-alive"))
        return true;
    return is_crowded(i, r);
}

// `lost`: of those that lose a delivery, why, for the log; all but 503, which has many reasons.
struct answer {
    int code;
    const char *body, *lost;
};

static const struct answer *
find_answer(int code)
{
    static const struct answer answers[] = {
        {200, "ok", NULL},
        {404, "not found\n", NULL},
        {405, "only POST\n", NULL},
        {503, "cannot be stored now\n", NULL},
        {408, "the request was not complete in time\n",
         "it did not arrive completely within receiver.request_timeout: check the "
         "network and "
         "the proxy"},
        {411, "Content-Length is required\n",
         "it has no Content-Length: correct the proxy that removes it"},
        {413, "the body is too large\n",
         "that is more than receiver.body_max: raise it, and the proxy's limit"},
        {414, "the query is too long\n",
         "the query of its URL is longer than 1 KiB: shorten it"},
        {431, "too many headers\n",
         "it has 64 headers or more, or a Content-Type or Content-Encoding over 255 "
         "bytes: "
         "have the proxy add less"},
        {400, "bad request\n",
         "the connection broke off before its end, or its headers or chunks are "
         "malformed: check the network and the proxy"}};
    const struct answer *a = answers;

    while (a->code != code && a->code != 400)
        a++;
    return a;
}

// What is still on its way to a connection that was closed resets it, and the client may not see the
// answer (RFC 9112, 9.6). So that is read for a moment; not where it comes only after a 100.
static void
read_rest(struct http_request *r)
{
    int64_t deadline_ms = clock_mono_ms() + times_ms("read-rest", 1000);
    char rest[4096];

    while (http_read(r, rest, sizeof rest, deadline_ms) > 0)
        continue;
}

// After a refusal the connection ends.
static void
answer(struct intake *i, struct http_request *r, int code)
{
    bool is_refusal = code != 200 && code != 503;

    http_reply(r, code, code == 405 ? "Allow: POST\r\n" : "",
               span_of(find_answer(code)->body), is_refusal || must_close(i, r));
    if (is_refusal && code != 408 && !r->owes_continue && !is_crowded(i, r))
        read_rest(r);
}

// --- bodies --------------------------------------------------------------------------------

// Returns 0, or the answer: 400 (cut short, or no chunks), 408, 413.
static int
read_body(struct http_request *r, const struct gate_verdict *v, const struct config *c,
          int64_t deadline_ms, struct buf *body)
{
    while (v->chunked || body->len < v->length) {
        size_t want = v->chunked ? PIECE : (size_t)(v->length - body->len);
        int64_t n = http_read(r, buf_room(body, want), want, deadline_ms);
        if (n == 0 && v->chunked)
            return 0;
        if (n > 0)
            body->len += (size_t)n;
        if (body->len > c->body_max)
            return 413;
        if ((v->chunked || body->len < v->length) && clock_mono_ms() >= deadline_ms)
            return 408;
        if (n <= 0)
            return 400;
    }
    return 0;
}

// --- lost deliveries ---------------------------------------------------------------------------

// A disk that fails under load must not write a line for each, and threads that answer must
// not wait for stderr that often.
static struct log_limit lost_limit = LOG_LIMIT(1000);

static void
report_held_back(uint64_t held_back)
{
    if (held_back > 0)
        log_error("receiver: %llu more %s not stored and may be lost",
                  (unsigned long long)held_back,
                  held_back == 1 ? "delivery was" : "deliveries were");
}

static void
report_lost(const char *hook, const char *size, int code, const char *why)
{
    uint64_t count = log_limit_pass(&lost_limit, 1, clock_mono_ms());

    metric_add(&lost[code != 503], 1);
    if (count == 0)
        return;
    report_held_back(count - 1);
    log_error("receiver: a delivery%s to hook %s was answered with %d and %s: %s", size,
              hook, code,
              code == 503 ? "may be lost"
                          : "is lost unless its sender posts it again, which "
                            "ActiveCampaign does not",
              why);
}

// Only of a hook's valid URL: strangers must not fill the log.
static void
report_refused(const struct snapshot *s, const struct gate_verdict *v, int code)
{
    const char *why = find_answer(code)->lost;
    char size[64] = "";

    if (v->hook == SIZE_MAX || !why)
        return;
    if (code == 413)
        snprintf(size, sizeof size,
                 v->chunked ? " of more than %llu bytes" : " of %llu bytes",
                 (unsigned long long)(v->chunked ? s->config->body_max : v->length));
    report_lost(s->hooks[v->hook].name, size, code, why);
}

void
intake_report_lost(int64_t now_ms)
{
    report_held_back(log_limit_pass(&lost_limit, 0, now_ms));
}

// --- storing -----------------------------------------------------------------------------------

static void
observe_ack(int64_t start_us)
{
    metric_observe(&ack_time, (double)(clock_mono_us() - start_us) / 1e6);
}

// finish gives an answer that was left to this thread: the committer, or for a 503 also the
// one that keeps time, or the request's own.
static void
finish(struct deferred *d, int code, const char *why)
{
    struct intake *i = d->work.handler;
    struct snapshot *snapshot = d->work.subject; // held for this answer
    char text[HTTP_HEAD_MAX * 2];
    struct span answer = i->ok;

    if (code == 200) {
        observe_ack(d->work.start_us);
    } else {
        answer = http_format(text, code, "", span_of(find_answer(code)->body), false);
        report_lost(snapshot->hooks[d->work.index].name, "", code, why);
    }
    snapshot_count(snapshot, d->work.index, code);
    deferred_finish(d, answer);
    snapshot_drop(snapshot);
}

static void
end_deferred(void *deferred, uint32_t ticket, bool durable)
{
    if (deferred_claim(deferred, ticket))
        finish(deferred, durable ? 200 : 503, "journal: cannot be made durable");
}

// Its deadline has passed.
static void
expire(struct deferred *d)
{
    finish(d, 503, "not durable in time");
}

// Returns false when the answer cannot be left to others.
static bool
store_deferred(struct intake *i, struct http_request *r, struct snapshot *snapshot,
               size_t hook, struct span record, int64_t start_us)
{
    int64_t wait_ms = snapshot->config->ack_timeout_ms;
    struct deferred_work work = {
        .handler = i, .subject = snapshot, .index = hook, .start_us = start_us};
    uint32_t ticket;
    struct err err;

    if (must_close(i, r))
        return false;
    struct deferred *d = http_defer(r, clock_mono_ms(), wait_ms, &work, &ticket);
    if (!d)
        return false;
    if (journal_append(i->journal, record, wait_ms,
                       &(struct journal_waiter){end_deferred, d, ticket}, NULL,
                       &err) < 0 &&
        deferred_claim(d, ticket))
        finish(d, 503, err.text);
    return true;
}

static int
store(struct intake *i, struct http_request *r, const struct gate_verdict *v,
      struct snapshot *snapshot, struct buffers *b, int64_t start_us)
{
    const struct config_hook *hook = snapshot->hooks[v->hook].config;
    struct err err;
    struct delivery d = {.hook = span_of(hook->name),
                         .stream = span_of(hook->stream),
                         .type = v->type,
                         .encoding = v->encoding,
                         .query = r->query,
                         .body = buf_span(&b->body),
                         .duplicates = (enum delivery_duplicates)hook->duplicates,
                         .include_raw = hook->include_raw,
                         .structured = hook->format == CONFIG_STRUCTURED};

    if (delivery_encode(&b->record, &d) < 0)
        return 413;
    struct span record = buf_span(&b->record);
    if (store_deferred(i, r, snapshot, v->hook, record, start_us))
        return LEFT;
    if (journal_append(i->journal, record, snapshot->config->ack_timeout_ms, NULL, NULL,
                       &err) < 0) {
        report_lost(hook->name, "", 503, err.text);
        return 503;
    }
    return 200;
}

static int
take_in(struct intake *i, struct http_request *r, const struct gate_verdict *v,
        struct snapshot *snapshot, int64_t start_us)
{
    struct buffers *b = my_buffers();
    const struct config *c = snapshot->config;
    int64_t deadline_ms = start_us / 1000 + c->request_timeout_ms;

    int code = read_body(r, v, c, deadline_ms, &b->body);
    if (code == 0)
        code = store(i, r, v, snapshot, b, start_us);
    empty(&b->body);
    empty(&b->record);
    return code;
}

// For load balancers that can ask nowhere else. Not a request to a hook, and not counted.
static void
answer_health(struct intake *i, struct http_request *r)
{
    bool asks = span_is(r->method, "GET") || span_is(r->method, "HEAD");
    int code = !asks ? 405 : journal_is_failing(i->journal) ? 503 : 200;

    http_reply(r, code, asks ? "" : "Allow: GET\r\n", SPAN(""), true);
}

static void
handle(struct http_request *r, void *context)
{
    struct intake *i = context;
    int64_t start_us = clock_mono_us();

    if (span_is(r->path, "/healthz")) {
        answer_health(i, r);
        return;
    }
    struct snapshot *snapshot = hold_snapshot(i);
    struct gate_verdict v = gate_judge(snapshot, r);
    int code = v.code;

    r->owes_continue = v.wants_continue;
    if (code == 0)
        code = take_in(i, r, &v, snapshot, start_us);
    if (code == LEFT)
        return; // with the snapshot
    // Before the answer goes out: a client that reads /metrics next must find it there.
    snapshot_count(snapshot, v.hook, code);
    report_refused(snapshot, &v, code);
    snapshot_drop(snapshot);
    if (code == 200)
        observe_ack(start_us);
    answer(i, r, code);
}

// Answered by the HTTP library itself.
static void
count_refusal(int code, void *context)
{
    (void)context;
    snapshot_count(NULL, SIZE_MAX, code);
}

struct intake *
intake_open(struct journal *j, struct snapshot *s, struct http_options *options)
{
    struct intake *i = memory_get(sizeof *i);

    *i = (struct intake){.journal = j, .snapshot = s, .threads = options->threads};
    pthread_mutex_init(&i->lock, NULL);
    metric_show(&ack_time, 1);
    metric_show(lost, sizeof lost / sizeof *lost);
    i->ok = http_format(i->ok_text, 200, "", SPAN("ok"), false);
    options->handle = handle;
    options->count_refusal = count_refusal;
    options->expire = expire;
    options->context = i;
    return i;
}
