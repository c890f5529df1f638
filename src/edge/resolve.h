// Host names to addresses, with a time limit that getaddrinfo(3) does not have: the lookup runs
// in a thread of its own, which is left behind when it takes too long. Who asks for the same name
// again while it still runs waits for that one: there is at most one thread for each name.
#ifndef ACRELAY_EDGE_RESOLVE_H
#define ACRELAY_EDGE_RESOLVE_H

#include "base/err.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

enum { RESOLVE_HOST_MAX = 255, RESOLVE_ADDRESSES_MAX = 8 };

struct resolved {
    char addresses[RESOLVE_ADDRESSES_MAX][INET6_ADDRSTRLEN + 16]; // numeric, with a scope
    size_t len;
};

// resolve_host gives the addresses in the system's order of preference; a numeric address is
// its own. -1 with ERR_AGAIN: no such name, or no answer within wait_ms.
int resolve_host(const char *host, int64_t wait_ms, struct resolved *to, struct err *err);

#endif
