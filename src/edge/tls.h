// TLS of a client, without a socket: the caller carries the bytes between it and the wire. TLS 1.2
// at least; the server's certificate is always verified, and must be for its name. One
// thread.
//
//     while ((done = tls_handshake(t, &err)) == 0)
//         send(tls_outgoing(t)); ... tls_feed(t, received)
#ifndef ACRELAY_EDGE_TLS_H
#define ACRELAY_EDGE_TLS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

// Files in PEM, read for each connection, so that a renewed certificate is taken. All may be NULL.
struct tls_files {
    const char *ca_file;              // instead of the system's certificate authorities
    const char *cert_file, *key_file; // of the client, where the server asks for one
    const char *server_name;          // in the certificate, instead of the host
};

struct tls;

// tls_open begins a connection to that host, a name or an address. NULL with ERR_INPUT: a file
// cannot be used (EXIT_CODE_CONFIG, or EXIT_CODE_PERMISSION for a key that others can read).
struct tls *tls_open(const struct tls_files *files, const char *host, struct err *err);
void tls_close(struct tls *t); // NULL is fine

// tls_outgoing is what must be sent now, valid until the next call; it counts as sent.
struct span tls_outgoing(struct tls *t);

// tls_feed takes bytes that were received.
int tls_feed(struct tls *t, struct span received, struct err *err);

// tls_handshake returns 1 when it is done, 0 when the server must say more, or -1 with ERR_INPUT: a
// certificate or the other side refuses.
int tls_handshake(struct tls *t, struct err *err);

// tls_encrypt takes bytes to send; they come out of tls_outgoing.
int tls_encrypt(struct tls *t, struct span bytes, struct err *err);

// tls_decrypt returns how many bytes it wrote, TLS_MORE when the server must send more,
// TLS_CLOSED after it said goodbye, or -1 as tls_handshake: a server that requires a client
// certificate may say so only here (TLS 1.3).
enum { TLS_MORE = 0, TLS_CLOSED = -2 };
int tls_decrypt(struct tls *t, void *to, size_t size, struct err *err);

// tls_peek is tls_decrypt of nothing: 1 when bytes wait.
int tls_peek(struct tls *t, struct err *err);

// What to know of a connection.
enum { TLS_NAME = 128 };
struct tls_state {
    const char *version; // "TLSv1.3"
    int64_t ends; // seconds since 1970: when the first of the server's chain expires
    char whose[TLS_NAME]; // of that one
};
void tls_read_state(const struct tls *t, struct tls_state *state);

// tls_file_ends is when the certificate in a file expires; 0 when it cannot be read.
int64_t tls_file_ends(const char *cert_file);

#endif
