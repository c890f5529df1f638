// Who listens on an address, as far as /proc shows it to us (to root: always).
#ifndef ACRELAY_CLI_HOLDER_H
#define ACRELAY_CLI_HOLDER_H

#include "edge/sockets.h"

#include <sys/types.h>

struct holder {
    pid_t pid;
    char name[32];   // of the process, escaped
    bool is_systemd; // a socket unit's
};

// holder_find finds the process that listens on the port, or the path; of several (a socket
// unit's and its service) the one that is not systemd. False: not seen.
bool holder_find(struct holder *h, const struct socket_address *a);

#endif
