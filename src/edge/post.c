#include "edge/post.h"

#include "base/buf.h"
#include "base/text.h"
#include "edge/sockets.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int
connect_unix(int fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

int
post_open(const struct post_target *to, struct err *err)
{
    struct timeval patience = {.tv_sec = to->patience_s ? to->patience_s : 30};
    int fd =
        socket(to->path ? AF_UNIX : to->at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return err_errno(err, "cannot make a socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if ((to->path ? connect_unix(fd, to->path) : sockets_connect(fd, &to->at)) == 0)
        return fd;
    err_errno(err, "cannot reach it");
    err->kind = ERR_AGAIN;
    err->exit = EXIT_CODE_UNAVAILABLE;
    close(fd);
    return -1;
}

static int
send_all(int fd, struct span s)
{
    while (s.len > 0) {
        ssize_t n = send(fd, s.at, s.len, MSG_NOSIGNAL);
        if (n <= 0)
            return -1;
        s = span_from(s, (size_t)n);
    }
    return 0;
}

// Reads head and body of an answer into `answer`. 0, or -1.
static int
read_answer(int fd, struct buf *answer)
{
    for (;;) {
        char piece[16384];
        ssize_t n = read(fd, piece, sizeof piece);
        if (n <= 0 || buf_add(answer, span_make(piece, (size_t)n)) < 0)
            return -1;
        const char *text = buf_text(answer), *end = strstr(text, "\r\n\r\n");
        const char *length = strcasestr(text, "\nContent-Length: ");
        uint64_t body = 0;
        if (!end || !length || length > end)
            continue;
        struct span digits = span_of(length + strlen("\nContent-Length: "));
        if (!text_number(&body, span_to(digits, span_find(digits, '\r')),
                         POST_ANSWER_MAX))
            return -1;
        if (answer->len >= (size_t)(end + 4 - text) + body)
            return 0;
    }
}

// Sends what is in *request and reads the answer; the status code, or -1.
static int
exchange(int fd, const struct buf *request, struct buf *answer, struct err *err)
{
    uint64_t code = 0;

    errno = 0;
    if (send_all(fd, buf_span(request)) < 0 || read_answer(fd, answer) < 0)
        return err_set(err, ERR_AGAIN, "%s",
                       errno == EAGAIN || errno == EWOULDBLOCK
                           ? "no answer in time: the process hangs, or another holds "
                             "its address"
                           : "the connection was closed without an answer");
    if (answer->len < 13 || !text_number(&code, span_make(answer->at + 9, 3), 999))
        return err_set(err, ERR_AGAIN, "the answer is not HTTP");
    return (int)code;
}

int
post_send(int fd, struct span url_path, struct span content_type, struct span encoding,
          struct span body, bool *closed, struct err *err)
{
    struct buf request, answer;

    buf_init(&request, body.len + 8192);
    buf_init(&answer, POST_ANSWER_MAX);
    buf_add_format(&request, "POST %.*s HTTP/1.1\r\nHost: localhost\r\n",
                   (int)url_path.len, url_path.at);
    if (encoding.len)
        buf_add_format(&request, "Content-Encoding: %.*s\r\n", (int)encoding.len,
                       encoding.at);
    buf_add_format(&request, "Content-Type: %.*s\r\nContent-Length: %zu\r\n\r\n",
                   (int)content_type.len, content_type.at, body.len);
    buf_add(&request, body);
    int code = exchange(fd, &request, &answer, err);
    *closed = code < 0 || strcasestr(buf_text(&answer), "\nConnection: close");
    buf_release(&request);
    buf_release(&answer);
    return code;
}

// Sends a request without a body and appends the answer's to *page.
static int
fetch(int fd, const char *head, const char *url_path, const char *more, struct buf *page,
      struct err *err)
{
    struct buf request, answer;

    buf_init(&request, 8192);
    buf_init(&answer, POST_ANSWER_MAX);
    buf_add_format(&request, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", head,
                   url_path, more);
    int code = exchange(fd, &request, &answer, err);
    if (code >= 0) {
        const char *body = strstr(buf_text(&answer), "\r\n\r\n") + 4;
        buf_add(page, span_from(buf_span(&answer), (size_t)(body - answer.at)));
    }
    buf_release(&request);
    buf_release(&answer);
    return code;
}

int
post_ask(int fd, const char *url_path, struct buf *page, struct err *err)
{
    return fetch(fd, "POST", url_path,
                 "Content-Type: application/json\r\nContent-Length: 0\r\n", page, err);
}

int
post_get(int fd, const char *url_path, struct buf *page, struct err *err)
{
    return fetch(fd, "GET", url_path, "", page, err);
}
