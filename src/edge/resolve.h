// Host names to addresses, with a time limit that getaddrinfo(3) does not have. Any thread.
#ifndef ACRELAY_EDGE_RESOLVE_H
#define ACRELAY_EDGE_RESOLVE_H

#include "edge/sockets.h"

enum { RESOLVE_ADDRESSES_MAX = 8 };

struct resolved {
    union address at[RESOLVE_ADDRESSES_MAX]; // in the system's order of preference
    size_t len;
};

// A watch gets each socket that a call waits on, so that another thread can end the call with
// shutdown(2), and -1 before that socket is closed. `set` may be NULL.
struct socket_watch {
    void (*set)(int fd, void *context);
    void *context;
};

static inline void
socket_watch_set(const struct socket_watch *w, int fd)
{
    if (w->set)
        w->set(fd, w->context);
}

// resolve_host takes a name or an address without brackets. -1 with ERR_AGAIN: no such name, no
// answer until then (clock_mono_ms()), or ended by the watch.
int resolve_host(const char *host, uint16_t port, int64_t until_ms,
                 const struct socket_watch *watch, struct resolved *to, struct err *err);

#endif
