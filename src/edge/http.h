// An HTTP/1.1 server over civetweb, on listening sockets of ours. civetweb's own code for
// accepting, stopping, finding a handler and serving files is not used: each of these
// loses requests or has security holes. Every request goes to one handler.
//
// The handler runs in one of `threads` threads, whose stacks are small (100 KiB): large
// buffers belong on the heap. A thread belongs to one connection while it is kept alive. The
// handler answers itself (http_reply), or leaves the answer to another thread (http_defer).
#ifndef ACRELAY_EDGE_HTTP_H
#define ACRELAY_EDGE_HTTP_H

#include "base/buf.h"
#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

enum { HTTP_HEADERS_MAX = 64 }; // with so many, civetweb drops the rest silently

struct http_header {
    struct span name, value;
};

struct http_request {
    struct span method;
    struct span path;  // raw, as sent, without query
    struct span query; // raw, without '?'
    bool is_http_11;
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t headers_len;
    bool is_whole;      // every line of the head is a header, and each was read
    size_t connections; // that have a thread now, silent ones too
    bool owes_continue; // false; for http_read
    void *connection;
};

// --- deferred answers -----------------------------------------------------------------------

// A deferred answer is sent by another thread than its request's handler, so that the handler's
// thread can read the connection's next request instead of sleeping. Until it is sent it
// belongs to the one that claims it: one thread, once. No request's answer is deferred while an earlier
// one is still owed, so that answers keep the order of their requests.

// What who claims the answer must know to give it; all the handler's.
struct deferred_work {
    void *handler;
    void *subject;
    size_t index;
    int64_t start_us;
};

struct deferred {
    struct deferred_work work;
    // http.c's
    int fd;
    _Atomic(int64_t) deadline_ms;
    _Atomic(uint32_t) state; // futex word
    _Atomic(bool) awaited;
};

// deferred_claim says whether the answer is the caller's to give. False: another thread was
// faster, or this ticket's answer was given long ago.
bool deferred_claim(struct deferred *d, uint32_t ticket);

// deferred_finish sends a claimed answer, with one call that never waits: a client that does
// not read what it is sent loses its connection. *d is not the caller's any more.
void deferred_finish(struct deferred *d, struct span answer);

// --- the server ----------------------------------------------------------------------------

struct http_options {
    const int *sockets; // listening, O_NONBLOCK; they stay the caller's
    size_t sockets_len;
    int threads;
    int queue;                  // connections that are accepted and wait for a thread
    int64_t request_timeout_ms; // for a request's head
    int64_t idle_ms;            // of a connection kept alive
    void (*handle)(struct http_request *request, void *context);
    // Counts what was answered without the handler (no HTTP, too slow a head); may be NULL.
    void (*count_refusal)(int code, void *context);
    // Finishes a deferred answer whose deadline passed, claimed for it; may be NULL where none is.
    void (*expire)(struct deferred *d);
    void *context;
};

struct http_server;

// http_start serves until the process ends: civetweb's own stop would drop requests. The
// sockets' queues are taken over before the first poll, so that what waits there is served. It
// takes SIGURG for itself, to interrupt reads whose time is up. For one thread at a time.
struct http_server *http_start(const struct http_options *options, struct err *err);

// http_find_header finds a header by name; count (may be NULL) says how often it is there.
static inline struct span
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

// http_is_same_origin says whether a request comes from a page of this address: its one Origin is
// http:// and the Host (through a tunnel, the tunnel's end).
static inline bool
http_is_same_origin(const struct http_request *r)
{
    size_t count;
    struct span origin = http_find_header(r, "Origin", &count), scheme = SPAN("http://");

    return count == 1 && span_starts(origin, scheme) &&
           span_equal(span_from(origin, scheme.len),
                      span_trim(http_find_header(r, "Host", NULL)));
}

// http_read reads up to len bytes of the body (chunks decoded) and returns soon after the
// deadline (clock_mono_ms) at the latest. The number read, 0 at the end of the body, -1 when
// the connection broke, the chunks are none, or the time was up. The first one sends the interim
// answer that `Expect: 100-continue` asks for, if the handler set owes_continue.
int64_t http_read(struct http_request *r, char *to, size_t len, int64_t deadline_ms);

// http_reply sends the whole answer with one write. `headers` are extra lines, each ended by
// CRLF, or "". With `close` the connection is closed after it. HEAD gets no body.
void http_reply(struct http_request *r, int code, const char *headers, struct span body,
                bool close);

// http_defer leaves the answer to the one that claims it with the ticket (above), within
// wait_ms from now_ms (clock_mono_ms). NULL when the handler must answer itself: the connection
// is new (most carry one request), or not TCP, so that its descriptor cannot be found. Only for
// answers that keep the connection alive.
struct deferred *http_defer(struct http_request *r, int64_t now_ms, int64_t wait_ms,
                            const struct deferred_work *work, uint32_t *ticket);

// http_format writes a whole answer, as http_reply sends it, into `to`, which has room.
enum { HTTP_HEAD_MAX = 768 };
struct span http_format(char *to, int code, const char *headers, struct span body,
                        bool close);

// http_stop_listening makes the server accept nothing more; what is admitted goes on. Sockets
// that are `shared` (with a service manager, a successor) stay open, and the kernel keeps
// queueing for those that have them; others are closed, their addresses free, when it returns.
void http_stop_listening(struct http_server *s, bool shared);

#endif
