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
sockets_listen(const struct socket_address *a, struct err *err)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(a->port), .sin_addr = a->host};
    int on = 1;

    if (a->path)
        return listen_unix(a, err);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return refuse(err, a, fd);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    keep_silent_ones_out(fd);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(fd, BACKLOG) < 0)
        return refuse(err, a, fd);
    return fd;
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
