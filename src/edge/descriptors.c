// /proc/self/fd lists what is open. A descriptor may be closed by another thread between the
// listing and the look: then it has no address, and is passed over.
#include "edge/descriptors.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union address
descriptors_address(int fd)
{
    union address a;
    socklen_t len = sizeof a;

    memset(&a, 0, sizeof a); // an unnamed unix socket fills in its family only
    if (getsockname(fd, &a.any, &len) < 0)
        a.any.sa_family = AF_UNSPEC;
    return a;
}

bool
descriptors_listens(int fd)
{
    int yes = 0;
    socklen_t len = sizeof yes;

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) == 0 && yes;
}

enum { NONE = -1, UNKNOWN = -2 };

// find_descriptor returns the first open descriptor that is wanted, or NONE, or UNKNOWN when
// it cannot look (no descriptor is left for the listing).
static int
find_descriptor(bool (*wanted)(int fd, void *context), void *context)
{
    DIR *d = opendir("/proc/self/fd");
    int found = NONE;

    if (!d)
        return UNKNOWN;
    for (struct dirent *e; found == NONE && (e = readdir(d));) {
        int fd = atoi(e->d_name);
        if (e->d_name[0] != '.' && fd != dirfd(d) && wanted(fd, context))
            found = fd;
    }
    closedir(d);
    return found;
}

static bool
listens_on_port(int fd, void *port)
{
    union address a = descriptors_address(fd);

    return a.any.sa_family == AF_INET && a.in.sin_port == *(const in_port_t *)port &&
           descriptors_listens(fd);
}

int
descriptors_find_listener(in_port_t port)
{
    int fd = find_descriptor(listens_on_port, &port);

    return fd < 0 ? -1 : fd;
}

struct ends {
    struct sockaddr_in peer;
    in_port_t port;
    int found; // -1: none yet
    bool several;
};

// Looks at all descriptors: with one port on several addresses, one peer may have two.
static bool
note_ends(int fd, void *context)
{
    struct ends *e = context;
    struct sockaddr_in peer = {0};
    socklen_t len = sizeof peer;

    if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0 ||
        peer.sin_family != AF_INET || peer.sin_port != e->peer.sin_port ||
        peer.sin_addr.s_addr != e->peer.sin_addr.s_addr ||
        descriptors_address(fd).in.sin_port != e->port)
        return false;
    e->several = e->found >= 0;
    e->found = fd;
    return e->several;
}

int
descriptors_find_connection(const struct sockaddr_in *peer, in_port_t port)
{
    struct ends e = {.peer = *peer, .port = port, .found = -1};

    (void)find_descriptor(note_ends, &e); // its answer stands in e
    return e.several ? -1 : e.found;
}

struct places {
    const union address *at;
    size_t len;
};

static bool
same_place(const union address *a, const union address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    switch (a->any.sa_family) {
    case AF_INET:
        return a->in.sin_port == b->in.sin_port;
    case AF_INET6: // IPv4 clients of such a listener too
        return a->in6.sin6_port == b->in6.sin6_port;
    case AF_UNIX:
        return memcmp(a->un.sun_path, b->un.sun_path, sizeof a->un.sun_path) == 0;
    default: // not one of ours; rather held than lost
        return true;
    }
}

static bool
is_connection(int fd, void *context)
{
    struct places *places = context;
    union address a = descriptors_address(fd);

    if (a.any.sa_family != AF_UNSPEC && !descriptors_listens(fd))
        for (size_t i = 0; i < places->len; i++)
            if (same_place(&a, &places->at[i]))
                return true;
    return false;
}

bool
descriptors_hold_connection(const union address *addresses, size_t len)
{
    struct places places = {addresses, len};

    return find_descriptor(is_connection, &places) != NONE;
}

int
descriptors_nowhere(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_un name = {.sun_family = AF_UNIX}; // the kernel invents one

    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&name, sizeof(sa_family_t)) < 0 ||
        listen(fd, 1) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}
