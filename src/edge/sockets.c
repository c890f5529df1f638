#include "edge/sockets.h"

#include "base/text.h"
#include "edge/descriptors.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096, FIRST_PASSED = 3 };

static socklen_t
length_of(const union address *a)
{
    return a->any.sa_family == AF_INET6 ? sizeof a->in6 : sizeof a->in;
}

const char *
sockets_parse(union address *to, struct span text)
{
    char host[INET6_ADDRSTRLEN];
    size_t colon = text.len;
    uint64_t port;

    while (colon > 0 && text.at[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return "not an address with a port";
    struct span name = span_to(text, colon - 1);
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
    if (!text_number(&port, span_from(text, colon), 65535) || port == 0)
        return "an address with a broken port";
    to->any.sa_family = ipv6 ? AF_INET6 : AF_INET;
    to->in.sin_port = htons((uint16_t)port); // both have it in the same place
    return NULL;
}

static bool
is_any(const union address *a)
{
    return a->any.sa_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr)
                                        : a->in.sin_addr.s_addr == 0;
}

int
sockets_connect(int fd, const union address *to)
{
    union address here = *to;

    if (is_any(to) && to->any.sa_family == AF_INET6)
        here.in6.sin6_addr = in6addr_loopback;
    else if (is_any(to))
        here.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(fd, &here.any, length_of(&here));
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
        (pid_t)owner != getpid() || !text_number(&n, span_of(count), max))
        return 0;
    for (size_t i = 0; i < n; i++) {
        fds[i] = FIRST_PASSED + (int)i;
        if (!descriptors_listens(fds[i]))
            return err_exit(err, EXIT_CODE_PORT,
                            "descriptor %d (LISTEN_FDS) is no listening socket", fds[i]);
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
        // Without O_NONBLOCK accept could hang when another process took the connection.
        fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK);
        keep_silent_ones_out(fds[i]);
    }
    *len = (size_t)n;
    return 0;
}

static int
refuse(struct err *err, const struct socket_address *a, int fd)
{
    int why = errno;

    if (fd >= 0)
        close(fd);
    errno = why;
    err_errno(err, "cannot listen on %s%s", a->text,
              why == EADDRINUSE ? " (ss -ltnp says who does)" : "");
    if (err)
        err->exit = why == EACCES ? EXIT_CODE_PERMISSION : EXIT_CODE_PORT;
    return -1;
}

// Removes the path of a socket that nobody listens on any more. What else is there stays, and
// bind(2) tells. -1 with errno when the path cannot be had.
static int
free_path(int fd, const struct sockaddr_un *address)
{
    struct stat there;

    if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
        errno == EAGAIN) { // its queue is full
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
listen_unix(const struct socket_address *a, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", a->path);
    if (fd < 0 || free_path(fd, &address) < 0)
        return refuse(err, a, fd);
    mode_t mask = umask(0117);
    int bound = bind(fd, (struct sockaddr *)&address, sizeof address);
    umask(mask);
    if (bound < 0 || listen(fd, BACKLOG) < 0)
        return refuse(err, a, fd);
    return fd;
}

int
sockets_bind(const struct socket_address *a)
{
    int on = 1, only = a->only_ipv6;
    int fd = socket(a->at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->at.any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    if (bind(fd, &a->at.any, length_of(&a->at)) == 0)
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

int
sockets_listen(const struct socket_address *a, struct err *err)
{
    if (a->path)
        return listen_unix(a, err);
    int fd = sockets_bind(a);
    if (fd < 0)
        return refuse(err, a, fd);
    keep_silent_ones_out(fd);
    return listen(fd, BACKLOG) < 0 ? refuse(err, a, fd) : fd;
}

void
sockets_format(int fd, char to[SOCKETS_TEXT])
{
    union address a = descriptors_address(fd);
    char host[INET6_ADDRSTRLEN] = "?";

    if (a.any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof host);
        snprintf(to, SOCKETS_TEXT, "%s:%u", host, ntohs(a.in.sin_port));
    } else if (a.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof host);
        snprintf(to, SOCKETS_TEXT, "[%s]:%u", host, ntohs(a.in6.sin6_port));
    } else {
        bool abstract = a.un.sun_path[0] == '\0';
        snprintf(to, SOCKETS_TEXT, "unix:%s%.107s", abstract ? "@" : "",
                 a.un.sun_path + abstract);
    }
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
