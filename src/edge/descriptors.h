// Questions about this process's own socket descriptors, answered by a look at all that are
// open. They need no bookkeeping, so they are right whoever opened them.
#ifndef ACRELAY_EDGE_DESCRIPTORS_H
#define ACRELAY_EDGE_DESCRIPTORS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

union address {
    struct sockaddr any; // AF_UNSPEC: not a socket
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

// descriptors_address is the local address of a socket.
union address descriptors_address(int fd);

// descriptors_listens says whether it is a socket that listens.
bool descriptors_listens(int fd);

// descriptors_find_listener finds the listening IPv4 socket with that port (network byte
// order), -1 when there is none.
int descriptors_find_listener(in_port_t port);

// descriptors_find_connection finds the IPv4 connection with that peer and local port
// (network byte order), -1 when there is none or more than one.
int descriptors_find_connection(const struct sockaddr_in *peer, in_port_t port);

// descriptors_hold_connection says whether a connection (not a listener) whose local port or
// path is that of one of the addresses is open; true also when it cannot look.
bool descriptors_hold_connection(const union address *addresses, size_t len);

// descriptors_nowhere opens a listening socket that nobody can know of; -1 with errno.
int descriptors_nowhere(void);

#endif
