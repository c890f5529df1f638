// A transport carries bytes to a server and back: over TCP or a unix socket, plain or in TLS. It
// belongs to one thread; times are clock_mono_ms().
#ifndef ACRELAY_EDGE_TRANSPORT_H
#define ACRELAY_EDGE_TRANSPORT_H

#include "base/err.h"
#include "base/span.h"
#include "edge/resolve.h"
#include "edge/tls.h"

#include <stdint.h>

struct transport;

struct transport_options {
    const char *host; // a name or an address without brackets; NULL: a unix socket
    uint16_t port;
    const char *path;            // of the unix socket
    const struct tls_files *tls; // NULL: plain
    int64_t until_ms;            // for all of it: name, connection, handshake
    struct socket_watch watch;   // of every socket that is waited on, now and later
};

// transport_open connects to each address of the host in turn. NULL with *err: ERR_AGAIN when the
// server cannot be reached, ERR_INPUT when a certificate, a file or the other side refuses.
struct transport *transport_open(const struct transport_options *options,
                                 struct err *err);
void transport_close(struct transport *t); // NULL is fine

// transport_write sends all of it, transport_read waits for bytes and returns how many it wrote. -1
// with *err: nothing more can be done with the connection but transport_close. err->error is
// ETIMEDOUT when it was too late.
int transport_write(struct transport *t, struct span bytes, int64_t until_ms,
                    struct err *err);
int transport_read(struct transport *t, void *to, size_t size, int64_t until_ms,
                   struct err *err);

// transport_peek says, without waiting, what the server did while nothing was asked: -1 it has closed
// the connection, 1 it has sent something, 0 neither.
int transport_peek(struct transport *t);

// transport_speaks_tls asks, over another connection, whether a server that closed this plain one
// without a word is one of TLS. Afterwards nothing is left to do with t but transport_close.
bool transport_speaks_tls(struct transport *t, int64_t until_ms);

// transport_tls is NULL where it is plain.
const struct tls *transport_tls(const struct transport *t);

#endif
