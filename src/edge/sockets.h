// Sockets that listen, from the service manager or made here. They outlive a restart where the
// service manager (or the next process) holds them too, so that nothing is refused. And
// questions about this process's own descriptors, answered by examining all that are open:
// that needs no bookkeeping, and is right no matter who opened them.
#ifndef ACRELAY_EDGE_SOCKETS_H
#define ACRELAY_EDGE_SOCKETS_H

#include "base/err.h"
#include "base/span.h"

#include <netinet/in.h>
#include <stdint.h>
#include <sys/un.h>

union address {
    struct sockaddr any; // AF_UNSPEC: not a socket
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static inline socklen_t
address_len(const union address *a)
{
    return a->any.sa_family == AF_INET6  ? sizeof a->in6
           : a->any.sa_family == AF_UNIX ? sizeof a->un
                                         : sizeof a->in;
}

// An address to listen on: IPv4 or IPv6 host and port, or a unix socket's path.
struct socket_address {
    char *text; // as written
    char *path; // unix socket, or NULL
    union address at;
    bool only_ipv6; // [::] beside 0.0.0.0 with the same port; else [::] takes IPv4 too
};

struct socket_addresses {
    struct socket_address *at;
    size_t len;
};

// sockets_parse reads HOST:PORT with an IPv4 address or an IPv6 one in brackets. Returns NULL,
// or what is wrong ("an address with a broken port").
const char *sockets_parse(union address *to, struct span text);

// sockets_try says why sockets_listen would fail (an errno), or 0. It changes nothing.
int sockets_try(const struct socket_address *a);

// sockets_is_private: loopback, or an address that the internet does not route. Any address
// (0.0.0.0, [::]) is not.
bool sockets_is_private(const union address *a);

// sockets_is_loopback says whether an address leads to this machine alone.
bool sockets_is_loopback(const union address *a);

// sockets_inherited fills fds with the descriptors that the service manager passed
// (sd_listen_fds(3): LISTEN_FDS, LISTEN_PID), at most max, and sets *len, which may be 0. One
// that does not listen, or more than max, is an error with EXIT_CODE_PORT: nobody would ever be
// answered; *len is then the number of those before it.
int sockets_inherited(int *fds, size_t max, size_t *len, struct err *err);

// sockets_listen makes a listening socket; EXIT_CODE_PORT when the address is in use. The path
// of a unix socket that nobody listens on any more is taken over; what else stands there
// stays, and is an error. Non-blocking, close-on-exec.
int sockets_listen(const struct socket_address *a, struct err *err);

// sockets_address is where this descriptor is bound; AF_UNSPEC: it is no socket.
union address sockets_address(int fd);

// sockets_format writes an address as the configuration has it (and [IPv6]:port).
enum { SOCKETS_TEXT = 128 };
void sockets_format(const union address *a, char to[SOCKETS_TEXT]);

// sockets_format_target is the same for who connects to what listens there: any address (0.0.0.0,
// [::]) is this machine.
void sockets_format_target(union address a, char to[SOCKETS_TEXT]);

// sockets_find finds this process's IPv4 socket with that local port (network byte order): the
// connection with that peer, or the one that listens on 127.0.0.1 (NULL); -1 when there is none,
// or more than one.
int sockets_find(in_port_t port, const struct sockaddr_in *peer);

// sockets_have_connections says whether a connection whose local port or path is that of one of
// the listening sockets is open in this process, served or waiting for a thread; true also when it
// cannot look.
bool sockets_have_connections(const int *listening, size_t len);

// sockets_notify tells the service manager (sd_notify(3)); nothing when there is none.
void sockets_notify(const char *state);

// sockets_notify_status gives the line that `systemctl status` shows. Call it every second or so:
// it is sent when it is another one, and at most every 3 s. One thread.
void sockets_notify_status(const char *text);

#endif
