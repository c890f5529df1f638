// Listening sockets, from the service manager or made here. They outlive a restart where the
// service manager (or a successor of ours) holds them too, so that nothing is refused.
#ifndef ACRELAY_EDGE_SOCKETS_H
#define ACRELAY_EDGE_SOCKETS_H

#include "base/err.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

// An address to listen on: IPv4 host and port, or a unix socket's path.
struct socket_address {
    char *text; // as written
    char *path; // unix socket, or NULL
    struct in_addr host;
    uint16_t port;
};

// sockets_inherited fills fds with the descriptors that the service manager passed
// (sd_listen_fds(3): LISTEN_FDS, LISTEN_PID), at most max, and sets *len, which may be 0. One
// that does not listen is an error with EXIT_CODE_PORT: nobody would ever be answered.
int sockets_inherited(int *fds, size_t max, size_t *len, struct err *err);

// sockets_listen makes a listening socket; EXIT_CODE_PORT when the address is in use. The path
// of a unix socket that nobody listens on any more is taken over; what else stands there
// stays, and is an error. Non-blocking, close-on-exec.
int sockets_listen(const struct socket_address *a, struct err *err);

// sockets_format writes a socket's own address as the configuration has it (and [IPv6]:port).
enum { SOCKETS_TEXT = 128 };
void sockets_format(int fd, char to[SOCKETS_TEXT]);

// sockets_notify tells the service manager (sd_notify(3)); nothing when there is none.
void sockets_notify(const char *state);

#endif
