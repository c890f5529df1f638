#include "edge/sockets.h"

#include "base/clock.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 4096, FIRST_PASSED = 3 };

union address
sockets_address(int fd)
{
    union address a;
    socklen_t len = sizeof a;

    memset(&a, 0, sizeof a); // an unnamed unix socket fills in its family only
    if (getsockname(fd, &a.any, &len) < 0)
        a.any.sa_family = AF_UNSPEC;
    return a;
}

static bool
listens(int fd)
{
    int yes = 0;
    socklen_t len = sizeof yes;

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) == 0 && yes;
}

const char *
sockets_parse(union address *to, struct span text)
{
    struct span digits = span_after_last(text, ':');
    char host[INET6_ADDRSTRLEN];
    uint64_t port;

    if (digits.len == text.len)
        return "not an address with a port";
    struct span name = span_to(text, text.len - digits.len - 1);
    bool ipv6 = name.len > 1 && name.at[0] == '[' && name.at[name.len - 1] == ']';
    if (ipv6)
        name = span_make(name.at + 1, name.len - 2);
    if (name.len >= sizeof host)
        return "not an address";
    memcpy(host, name.at, name.len);
    host[name.len] = '\0';
    memset(to, 0, sizeof *to);
    if (inet_pton(ipv6 ? AF_INET6 : AF_INET, host,
                  ipv6 ? (void *)&to->in6.sin6_addr : (void *)&to->in.sin_addr) != 1)
        return "not an IPv4 address, or an IPv6 one in brackets, with a port";
    if (!text_number(&port, digits, 65535) || port == 0)
        return "an address with an invalid port";
    to->any.sa_family = ipv6 ? AF_INET6 : AF_INET;
    to->in.sin_port = htons((uint16_t)port); // both have it in the same place
    return NULL;
}

// RFC 6890, and RFC 4193 and 4291 for IPv6.
static bool
is_private_ipv4(uint32_t host)
{
    static const struct {
        uint32_t address;
        int bits;
    } networks[] = {{0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},
                    {0xa9fe0000, 16}, {0xac100000, 12}, {0xc0a80000, 16}};

    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
        if ((host ^ networks[i].address) >> (32 - networks[i].bits) == 0)
            return true;
    return false;
}

bool
sockets_is_private(const union address *a)
{
    if (a->any.sa_family != AF_INET6)
        return is_private_ipv4(ntohl(a->in.sin_addr.s_addr));
    const struct in6_addr *host = &a->in6.sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(host)) {
        uint32_t ipv4;
        memcpy(&ipv4, host->s6_addr + 12, sizeof ipv4);
        return is_private_ipv4(ntohl(ipv4));
    }
    return IN6_IS_ADDR_LOOPBACK(host) || IN6_IS_ADDR_LINKLOCAL(host) ||
           (host->s6_addr[0] & 0xfe) == 0xfc;
}

bool
sockets_is_loopback(const union address *a)
{
    return a->any.sa_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr)
                                        : ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
}

// Connections that say nothing stay in the kernel and take no thread. A unix socket refuses
// the option, and needs it not.
static void
keep_silent_ones_out(int fd)
{
    int seconds = 10;

    setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds);
}

int
sockets_inherited(int *fds, size_t max, size_t *len, struct err *err)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    uint64_t n, owner;

    *len = 0;
    if (!pid || !count || !text_number(&owner, span_of(pid), INT32_MAX) ||
        (pid_t)owner != getpid())
        return 0;
    if (!text_number(&n, span_of(count), max))
        return err_exit(err, EXIT_CODE_PORT,
                        "LISTEN_FDS is %.20s, not a number up to %zu: nobody would be "
                        "answered there; give the socket unit fewer ListenStream=",
                        count, max);
    for (size_t i = 0; i < n; i++) {
        fds[i] = FIRST_PASSED + (int)i;
        if (!listens(fds[i]))
            return err_exit(err, EXIT_CODE_PORT,
                            "descriptor %d (LISTEN_FDS) is not a listening socket: the "
                            "socket unit needs ListenStream= and Accept=no",
                            fds[i]);
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
        // Without O_NONBLOCK accept could hang when another process took the connection.
        fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK);
        keep_silent_ones_out(fds[i]);
        *len = i + 1;
    }
    return 0;
}

// Closes it (-1: none) and leaves errno as it is.
static int
drop(int fd)
{
    int why = errno;

    if (fd >= 0)
        close(fd);
    errno = why;
    return -1;
}

static int
refuse(struct err *err, const struct socket_address *a, int fd)
{
    drop(fd);
    err_errno(err, "cannot listen on %s%s", a->text,
              errno == EADDRINUSE ? " (ss -ltnp shows which process)" : "");
    err->exit = err->error == EACCES ? EXIT_CODE_PERMISSION : EXIT_CODE_PORT;
    return -1;
}

static bool
has_listener(int fd, const struct sockaddr_un *address)
{
    return connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
           errno == EAGAIN; // its queue is full
}

// Removes the path of a socket that nobody listens on any more. What else is there stays, and
// bind(2) says so. -1 with errno when the path cannot be had.
static int
free_path(int fd, const struct sockaddr_un *address)
{
    struct stat there;

    if (has_listener(fd, address)) {
        errno = EADDRINUSE;
        return -1;
    }
    bool refused = errno == ECONNREFUSED; // which a file that is no socket says too
    if (lstat(address->sun_path, &there) < 0)
        return 0;
    if (!S_ISSOCK(there.st_mode)) {
        errno = EEXIST;
        return -1;
    }
    return refused ? unlink(address->sun_path) : 0;
}

static int
open_unix(const struct socket_address *a, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof address->sun_path, "%s", a->path);
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int
listen_unix(const struct socket_address *a, struct err *err)
{
    struct sockaddr_un address;
    int fd = open_unix(a, &address);

    if (fd < 0 || free_path(fd, &address) < 0)
        return refuse(err, a, fd);
    mode_t mask = umask(0117);
    int bound = bind(fd, (struct sockaddr *)&address, sizeof address);
    umask(mask);
    if (bound < 0 || listen(fd, BACKLOG) < 0)
        return refuse(err, a, fd);
    return fd;
}

static int
bind_tcp(const struct socket_address *a)
{
    int on = 1, only = a->only_ipv6;
    int fd = socket(a->at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->at.any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    return bind(fd, &a->at.any, address_len(&a->at)) == 0 ? fd : drop(fd);
}

int
sockets_listen(const struct socket_address *a, struct err *err)
{
    if (a->path)
        return listen_unix(a, err);
    int fd = bind_tcp(a);
    if (fd < 0)
        return refuse(err, a, fd);
    keep_silent_ones_out(fd);
    return listen(fd, BACKLOG) < 0 ? refuse(err, a, fd) : fd;
}

int
sockets_try(const struct socket_address *a)
{
    struct sockaddr_un address;
    char parent[sizeof address.sun_path];
    int reason = 0, fd = a->path ? open_unix(a, &address) : bind_tcp(a);

    if (fd < 0)
        return errno;
    if (a->path && has_listener(fd, &address))
        reason = EADDRINUSE;
    close(fd);
    if (!a->path || reason)
        return reason;
    snprintf(parent, sizeof parent, "%s", a->path);
    return faccessat(AT_FDCWD, dirname(parent), W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

// --- descriptors ---------------------------------------------------------------------------

// The next descriptor in a listing of /proc/self/fd; -1 at its end. Another thread may close it
// before it is checked: then it has no address, and is passed over.
static int
next_descriptor(DIR *d)
{
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d))
            return atoi(e->d_name);
    return -1;
}

static bool
has_peer(int fd, const struct sockaddr_in *wanted)
{
    struct sockaddr_in peer = {0};
    socklen_t len = sizeof peer;

    return getpeername(fd, (struct sockaddr *)&peer, &len) == 0 &&
           peer.sin_family == AF_INET && peer.sin_port == wanted->sin_port &&
           peer.sin_addr.s_addr == wanted->sin_addr.s_addr;
}

static bool
has_ends(int fd, in_port_t port, const struct sockaddr_in *peer)
{
    if (peer && !has_peer(fd, peer)) // first: one call for each that it is not
        return false;
    union address a = sockets_address(fd);
    if (a.any.sa_family != AF_INET || a.in.sin_port != port)
        return false;
    return peer || (a.in.sin_addr.s_addr == htonl(INADDR_LOOPBACK) && listens(fd));
}

// With one port on several addresses, one peer may have two.
int
sockets_find(in_port_t port, const struct sockaddr_in *peer)
{
    DIR *d = opendir("/proc/self/fd");
    int found = -1, count = 0;

    if (!d)
        return -1;
    for (int fd; count < 2 && (fd = next_descriptor(d)) >= 0;)
        if (has_ends(fd, port, peer)) {
            found = fd;
            count++;
        }
    closedir(d);
    return count == 1 ? found : -1;
}

static bool
same_place(const union address *a, const union address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_UNIX)
        return memcmp(a->un.sun_path, b->un.sun_path, sizeof a->un.sun_path) == 0;
    return a->in.sin_port == b->in.sin_port; // IPv6 has it in the same place
}

static bool
is_connection(int fd, const int *listening, size_t len)
{
    union address a = sockets_address(fd);

    if (a.any.sa_family == AF_UNSPEC || listens(fd))
        return false;
    for (size_t i = 0; i < len; i++) {
        union address place = sockets_address(listening[i]);
        if (same_place(&a, &place))
            return true;
    }
    return false;
}

bool
sockets_have_connections(const int *listening, size_t len)
{
    DIR *d = opendir("/proc/self/fd");
    bool found = !d; // no descriptor is left for the listing

    for (int fd; !found && (fd = next_descriptor(d)) >= 0;)
        found = is_connection(fd, listening, len);
    if (d)
        closedir(d);
    return found;
}

// --- for people and the service manager ---------------------------------------------------

void
sockets_format(const union address *a, char to[SOCKETS_TEXT])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (a->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof host);
        snprintf(to, SOCKETS_TEXT, "%s:%u", host, ntohs(a->in.sin_port));
    } else if (a->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof host);
        snprintf(to, SOCKETS_TEXT, "[%s]:%u", host, ntohs(a->in6.sin6_port));
    } else {
        bool abstract = a->un.sun_path[0] == '\0';
        snprintf(to, SOCKETS_TEXT, "unix:%s%.107s", abstract ? "@" : "",
                 a->un.sun_path + abstract);
    }
}

void
sockets_format_target(union address a, char to[SOCKETS_TEXT])
{
    if (a.any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a.in6.sin6_addr))
        a.in6.sin6_addr = in6addr_loopback;
    else if (a.any.sa_family == AF_INET && a.in.sin_addr.s_addr == 0)
        a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockets_format(&a, to);
}

void
sockets_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (!path || (path[0] != '/' && path[0] != '@') ||
        strlen(path) >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    // A manager that does not listen is no reason to stop.
    (void)sendto(fd, state, strlen(state), 0, (struct sockaddr *)&address, len);
    close(fd);
}

void
sockets_notify_status(const char *text)
{
    static char shown[504];
    static int64_t next_ms;
    char line[sizeof shown] = "STATUS=";
    size_t len = strlen(line);

    text_escape(line + len, sizeof line - len, span_of(text));
    if (strcmp(line, shown) == 0 || clock_mono_ms() < next_ms)
        return;
    next_ms = clock_mono_ms() + times_ms("status", 3000);
    memcpy(shown, line, sizeof shown);
    sockets_notify(line);
}
