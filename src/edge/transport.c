// Sockets that never block: each wait is a poll(2) with what is left of the caller's time, and ends at
// once when another thread calls shutdown(2) on the socket. TLS is made and read in memory (tls.c),
// so that what is sent and received goes one way.
#include "edge/transport.h"

#include "base/clock.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Several records of TLS at a time; and what a server that does not speak TLS is asked.
enum { WIRE_BYTES = 65536, READ_BYTES = 16384 };
static const struct span PING = {"PING\r\n", 6};
#define TLS_NOT_SPOKEN                                                                   \
    "the server does not speak TLS on this port: correct the port, or write redis:// "   \
    "in the URL"

struct transport {
    int fd; // -1: none
    union address address;
    struct socket_watch watch;
    struct tls *tls; // NULL: plain
    bool heard;      // anything from a server of TLS
};

// --- the socket -------------------------------------------------------------------------------

static int
fail(struct err *err, int error, const char *text)
{
    err_set(err, ERR_AGAIN, "%s", text);
    if (err)
        err->error = error;
    return -1;
}

static int
wait_for(const struct transport *t, short events, int64_t until_ms, struct err *err)
{
    struct pollfd p = {.fd = t->fd, .events = events};

    for (;;) {
        int64_t left_ms = until_ms - clock_mono_ms();
        if (left_ms <= 0)
            return fail(err, ETIMEDOUT, "no answer in time");
        if (poll(&p, 1, left_ms < INT32_MAX ? (int)left_ms : INT32_MAX) > 0)
            return 0;
    }
}

static int
send_all(struct transport *t, struct span bytes, int64_t until_ms, struct err *err)
{
    while (bytes.len > 0) {
        ssize_t n = send(t->fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (n > 0)
            bytes = span_from(bytes, (size_t)n);
        else if (errno == EAGAIN && wait_for(t, POLLOUT, until_ms, err) < 0)
            return -1;
        else if (errno != EAGAIN && errno != EINTR)
            return fail(err, errno, strerror(errno));
    }
    return 0;
}

// What is there, at most `size` bytes: 0 when that is nothing yet.
static int
receive(struct transport *t, void *to, size_t size, struct err *err)
{
    ssize_t n = recv(t->fd, to, size, 0);

    if (n > 0)
        return (int)n;
    if (n == 0)
        return fail(err, ECONNRESET, "the server closed the connection");
    return errno == EAGAIN || errno == EINTR ? 0 : fail(err, errno, strerror(errno));
}

// Waits for bytes. The time is looked at each time, so that a server that never ends is not read for
// ever.
static int
receive_until(struct transport *t, void *to, size_t size, int64_t until_ms,
              struct err *err)
{
    int n;

    do {
        if (wait_for(t, POLLIN, until_ms, err) < 0)
            return -1;
        n = receive(t, to, size, err);
    } while (n == 0);
    return n;
}

static void
close_socket(struct transport *t)
{
    if (t->fd < 0)
        return;
    socket_watch_set(&t->watch, -1);
    close(t->fd);
    t->fd = -1;
}

// --- connecting -------------------------------------------------------------------------------

static int
finish_connecting(struct transport *t, int64_t until_ms, struct err *err)
{
    int error = 0;
    socklen_t len = sizeof error;

    if (wait_for(t, POLLOUT, until_ms, NULL) < 0)
        return fail(err, ETIMEDOUT, "Connection timed out");
    if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    return error ? fail(err, error, strerror(error)) : 0;
}

// The watch gets the socket when there is a connection to end, or one in progress.
static int
connect_socket(struct transport *t, int64_t until_ms, struct err *err)
{
    int one = 1, family = t->address.any.sa_family;

    t->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd < 0) {
        err_set(err, ERR_AGAIN, "cannot make a socket: %s", strerror(errno));
        return -1;
    }
    if (family != AF_UNIX) // fails only on what is no TCP socket
        (void)setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int result = connect(t->fd, &t->address.any, address_len(&t->address));
    int error = errno;
    socket_watch_set(&t->watch, t->fd);
    if (result == 0)
        return 0;
    result = error == EINPROGRESS ? finish_connecting(t, until_ms, err)
                                  : fail(err, error, strerror(error));
    if (result < 0)
        close_socket(t);
    return result;
}

// Each address has an equal share of the time that is left.
static int
connect_host(struct transport *t, const struct transport_options *o, struct err *err)
{
    struct resolved to;
    int result = err_set(err, ERR_AGAIN, "%s has no address", o->host);

    if (resolve_host(o->host, o->port, o->until_ms, &t->watch, &to, err) < 0)
        return -1;
    for (size_t i = 0; i < to.len && result < 0; i++) {
        int64_t now_ms = clock_mono_ms();
        t->address = to.at[i];
        result = connect_socket(
            t, now_ms + (o->until_ms - now_ms) / (int64_t)(to.len - i), err);
    }
    return result;
}

static int
connect_path(struct transport *t, const struct transport_options *o, struct err *err)
{
    struct sockaddr_un *un = &t->address.un;

    un->sun_family = AF_UNIX;
    snprintf(un->sun_path, sizeof un->sun_path, "%s", o->path);
    return connect_socket(t, o->until_ms, err);
}

// --- what the other side speaks ------------------------------------------------------------------

// The first byte of the answer to these bytes, over a connection of its own; -1: none.
static int
ask_first_byte(struct transport *t, struct span question, int64_t until_ms)
{
    struct transport other = {.fd = -1, .address = t->address, .watch = t->watch};
    unsigned char byte = 0;
    bool heard = false;

    close_socket(t); // the watch has only one
    if (connect_socket(&other, until_ms, NULL) == 0 &&
        send_all(&other, question, until_ms, NULL) == 0)
        heard = receive_until(&other, &byte, 1, until_ms, NULL) == 1;
    close_socket(&other);
    return heard ? byte : -1;
}

bool
transport_speaks_tls(struct transport *t, int64_t until_ms)
{
    struct tls_files none = {0};
    struct tls *tls = tls_open(&none, "localhost", NULL);
    int byte = -1;

    if (tls && tls_handshake(tls, NULL) == 0) // its hello
        byte = ask_first_byte(t, tls_outgoing(tls), until_ms);
    tls_close(tls);
    return byte == 21 || byte == 22; // an alert, or the server's hello
}

static bool
speaks_redis(struct transport *t, int64_t until_ms)
{
    int byte = ask_first_byte(t, PING, until_ms);

    return byte == '+' || byte == '-';
}

// --- TLS --------------------------------------------------------------------------------------

// Takes what comes within that time. Every record of TLS begins with its type: 20 to 23.
static int
feed_tls(struct transport *t, int64_t until_ms, struct err *err)
{
    char bytes[READ_BYTES];
    int n = receive_until(t, bytes, sizeof bytes, until_ms, err);

    if (n < 0)
        return -1;
    bool is_tls = t->heard || (bytes[0] >= 20 && bytes[0] <= 23);
    t->heard = true;
    if (!is_tls)
        return err_set(err, ERR_INPUT, TLS_NOT_SPOKEN);
    return tls_feed(t->tls, span_make(bytes, (size_t)n), err);
}

static int
shake_hands(struct transport *t, int64_t until_ms, struct err *err)
{
    for (;;) {
        int done = tls_handshake(t->tls, err);
        // Also what tells the server why we refuse.
        struct err *unsent = done < 0 ? NULL : err;
        if (send_all(t, tls_outgoing(t->tls), until_ms, unsent) < 0 || done < 0)
            return -1;
        if (done > 0)
            return 0;
        if (feed_tls(t, until_ms, err) < 0)
            return -1;
    }
}

// A Redis without TLS waits for the end of a line that does not come, or leaves. So the last quarter
// of the time is for asking a server that said nothing at all.
static int
start_tls(struct transport *t, const struct transport_options *o, struct err *err)
{
    int64_t left_ms = o->until_ms - clock_mono_ms();

    t->tls = tls_open(o->tls, o->host, err);
    if (!t->tls)
        return -1;
    if (shake_hands(t, o->until_ms - left_ms / 4, err) == 0)
        return 0;
    if (!t->heard && speaks_redis(t, o->until_ms))
        err_set(err, ERR_INPUT, TLS_NOT_SPOKEN);
    return -1;
}

// --- public -----------------------------------------------------------------------------------

struct transport *
transport_open(const struct transport_options *o, struct err *err)
{
    struct transport *t = memory_get(sizeof *t);

    *t = (struct transport){.fd = -1, .watch = o->watch};
    if ((o->host ? connect_host(t, o, err) : connect_path(t, o, err)) == 0 &&
        (!o->tls || start_tls(t, o, err) == 0))
        return t;
    transport_close(t);
    return NULL;
}

void
transport_close(struct transport *t)
{
    if (!t)
        return;
    close_socket(t);
    tls_close(t->tls);
    free(t);
}

// A server that closed the connection may have said why before that: a client certificate is refused
// (TLS 1.3) after the handshake.
static int
explain_by_alert(struct transport *t, struct err *err)
{
    char bytes[READ_BYTES];
    struct err alert;
    int n = receive(t, bytes, sizeof bytes, NULL);

    if (n > 0 && tls_feed(t->tls, span_make(bytes, (size_t)n), NULL) == 0 &&
        tls_decrypt(t->tls, bytes, sizeof bytes, &alert) == -1 && err)
        *err = alert;
    return -1;
}

int
transport_write(struct transport *t, struct span bytes, int64_t until_ms, struct err *err)
{
    if (!t->tls)
        return send_all(t, bytes, until_ms, err);
    for (; bytes.len > 0; bytes = span_from(bytes, WIRE_BYTES)) {
        if (tls_encrypt(t->tls, span_to(bytes, WIRE_BYTES), err) < 0)
            return -1;
        if (send_all(t, tls_outgoing(t->tls), until_ms, err) < 0)
            return explain_by_alert(t, err);
    }
    return 0;
}

static int
read_tls(struct transport *t, void *to, size_t size, int64_t until_ms, struct err *err)
{
    int n;

    while ((n = tls_decrypt(t->tls, to, size, err)) == TLS_MORE)
        if (send_all(t, tls_outgoing(t->tls), until_ms, err) < 0 ||
            feed_tls(t, until_ms, err) < 0)
            return -1;
    return n == TLS_CLOSED ? fail(err, ECONNRESET, "the server closed the connection")
                           : n;
}

int
transport_read(struct transport *t, void *to, size_t size, int64_t until_ms,
               struct err *err)
{
    return t->tls ? read_tls(t, to, size, until_ms, err)
                  : receive_until(t, to, size, until_ms, err);
}

// What TLS says by itself (a session ticket) is no goodbye, and is taken in.
static int
peek_tls(struct transport *t)
{
    char bytes[READ_BYTES];
    int n = receive(t, bytes, sizeof bytes, NULL);

    if (n > 0)
        n = tls_feed(t->tls, span_make(bytes, (size_t)n), NULL);
    return n < 0 ? -1 : tls_peek(t->tls, NULL);
}

int
transport_peek(struct transport *t)
{
    char byte;

    if (t->tls)
        return peek_tls(t);
    ssize_t n = recv(t->fd, &byte, 1, MSG_PEEK);
    return n > 0 ? 1 : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

const struct tls *
transport_tls(const struct transport *t)
{
    return t->tls;
}
