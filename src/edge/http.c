// civetweb opens a placeholder listener per socket; its init_thread callback runs in the
// thread that polls, before the first poll, and there our socket is put in the placeholder's
// place with dup3. The poll loop goes by descriptor number, so nothing else is needed, and
// the same trick gives the sockets back: a listener that nobody knows takes their place.
//
// begin_request is the only entry and always answers, which also keeps civetweb's file and
// form code, where its known holes are, unreachable.
#include "edge/http.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { SOCKETS_MAX = 64 };

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_un un;
};

struct http_server {
    struct http_options options;
    int sockets[SOCKETS_MAX];
    int slots[SOCKETS_MAX]; // the descriptors that civetweb polls
    union address addresses[SOCKETS_MAX];
    struct mg_context *context;
    _Atomic(size_t) connections;
    _Atomic(bool) failed;
};

static union address
address_of(int fd)
{
    union address a = {.any = {.sa_family = AF_UNSPEC}};
    socklen_t len = sizeof a;

    if (getsockname(fd, &a.any, &len) < 0)
        a.any.sa_family = AF_UNSPEC;
    return a;
}

static bool
is_listener(int fd)
{
    int yes = 0;
    socklen_t len = sizeof yes;

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) == 0 && yes;
}

// for_each_descriptor calls `visit` with every open descriptor until it returns false.
static void
for_each_descriptor(bool (*visit)(int fd, void *context), void *context)
{
    DIR *d = opendir("/proc/self/fd");

    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        int fd = atoi(e->d_name);
        if (e->d_name[0] != '.' && fd != dirfd(d) && !visit(fd, context))
            break;
    }
    closedir(d);
}

struct search {
    int port; // network byte order
    int found;
};

static bool
find_listener(int fd, void *context)
{
    struct search *s = context;
    union address a = address_of(fd);

    if (a.any.sa_family == AF_INET && a.in.sin_port == s->port && is_listener(fd))
        s->found = fd;
    return s->found < 0;
}

static void *
take_sockets(const struct mg_context *context, int thread_type)
{
    struct http_server *s = mg_get_user_data(context);
    struct mg_server_port ports[SOCKETS_MAX];

    if (thread_type != 0)
        return NULL;
    int len = mg_get_server_ports(context, SOCKETS_MAX, ports);
    for (size_t i = 0; i < s->options.sockets_len; i++) {
        struct search search = {.found = -1};
        if ((int)i < len)
            search.port = htons((uint16_t)ports[i].port);
        if ((int)i < len)
            for_each_descriptor(find_listener, &search);
        if (search.found < 0 || dup3(s->sockets[i], search.found, O_CLOEXEC) < 0)
            atomic_store(&s->failed, true);
        s->slots[i] = search.found;
    }
    return NULL;
}

// --- requests ------------------------------------------------------------------------------

static void
fill_request(struct http_request *r, struct mg_connection *conn,
             const struct mg_request_info *info)
{
    r->method = span_of(info->request_method);
    r->path = span_of(info->request_uri);
    r->query = span_of(info->query_string ? info->query_string : "");
    r->is_http_11 = info->http_version && strcmp(info->http_version, "1.1") == 0;
    r->headers_len = (size_t)info->num_headers;
    for (size_t i = 0; i < r->headers_len && i < HTTP_HEADERS_MAX; i++)
        r->headers[i] = (struct http_header){span_of(info->http_headers[i].name),
                                             span_of(info->http_headers[i].value)};
    struct in_addr peer;
    r->is_unix_peer = info->remote_addr[0] == '\0';
    r->peer = 0;
    if (inet_pton(AF_INET, info->remote_addr, &peer) == 1)
        r->peer = ntohl(peer.s_addr);
    r->connection = conn;
}

static int
begin_request(struct mg_connection *conn)
{
    const struct mg_request_info *info = mg_get_request_info(conn);
    struct http_server *s = info->user_data;
    struct http_request r;

    if (!mg_get_user_connection_data(conn)) {
        mg_set_user_connection_data(conn, s);
        atomic_fetch_add(&s->connections, 1);
    }
    fill_request(&r, conn, info);
    s->options.handle(&r, s->options.context);
    return 1;
}

static void
end_connection(const struct mg_connection *conn)
{
    struct http_server *s = mg_get_user_connection_data(conn);

    if (s)
        atomic_fetch_sub(&s->connections, 1);
}

struct span
http_find_header(const struct http_request *r, const char *name, size_t *count)
{
    struct span value = {"", 0};
    size_t found = 0;

    for (size_t i = 0; i < r->headers_len && i < HTTP_HEADERS_MAX; i++)
        if (span_is_nocase(r->headers[i].name, name) && found++ == 0)
            value = r->headers[i].value;
    if (count)
        *count = found;
    return value;
}

int64_t
http_read(struct http_request *r, char *to, size_t len)
{
    return mg_read(r->connection, to, len);
}

void
http_continue(struct http_request *r)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";

    mg_write(r->connection, interim, sizeof interim - 1);
}

static const char *
reason_of(int code)
{
    return mg_get_response_code_text(NULL, code);
}

void
http_reply(struct http_request *r, int code, const char *headers, struct span body,
           bool close)
{
    char head[512];
    struct buf all;

    if (close)
        mg_disable_keep_alive(r->connection);
    int len =
        snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\n%s%s\r\n",
                 code, code == 200 ? "OK" : reason_of(code), body.len, headers,
                 close ? "Connection: close\r\n" : "");
    if (len < 0 || (size_t)len >= sizeof head)
        return;
    if ((size_t)len + body.len <= sizeof head) {
        memcpy(head + len, body.at, body.len);
        mg_write(r->connection, head, (size_t)len + body.len);
        return;
    }
    buf_init(&all, (size_t)len + body.len);
    buf_add(&all, span_make(head, (size_t)len));
    buf_add(&all, body);
    mg_write(r->connection, all.at, all.len);
    buf_release(&all);
}

// --- start and end -------------------------------------------------------------------------

static void
set_placeholders(char *ports, size_t size, size_t n)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(ports + len, size - len, "%s127.0.0.1:0", i ? "," : "");
}

struct http_server *
http_start(const struct http_options *options, struct err *err)
{
    struct http_server *s = memory_get(sizeof *s);
    char ports[SOCKETS_MAX * 14], threads[16], timeout[24], idle[24];
    struct mg_callbacks callbacks = {.begin_request = begin_request,
                                     .connection_close = end_connection,
                                     .init_thread = take_sockets};

    *s = (struct http_server){.options = *options};
    for (size_t i = 0; i < options->sockets_len; i++) {
        s->sockets[i] = options->sockets[i];
        s->addresses[i] = address_of(options->sockets[i]);
    }
    set_placeholders(ports, sizeof ports, options->sockets_len);
    snprintf(threads, sizeof threads, "%d", options->threads);
    snprintf(timeout, sizeof timeout, "%lld", (long long)options->request_timeout_ms);
    snprintf(idle, sizeof idle, "%lld", (long long)options->idle_ms);
    const char *settings[] = {"listening_ports",
                              ports,
                              "num_threads",
                              threads,
                              "request_timeout_ms",
                              timeout,
                              "enable_keep_alive",
                              "yes",
                              "keep_alive_timeout_ms",
                              idle,
                              "connection_queue",
                              "128",
                              "tcp_nodelay",
                              "1",
                              "decode_url",
                              "no",
                              "enable_auth_domain_check",
                              "no",
                              NULL};
    mg_init_library(0);
    s->context = mg_start(&callbacks, s, settings);
    // init_thread has run when the first request is served; until then `failed` is checked
    // by whoever asks for readiness.
    if (!s->context) {
        free(s);
        err_exit(err, EXIT_CODE_FAILURE, "the HTTP server cannot start its threads");
        return NULL;
    }
    return s;
}

size_t
http_connections(const struct http_server *s)
{
    return atomic_load(&((struct http_server *)(uintptr_t)s)->connections);
}

void
http_release_sockets(struct http_server *s)
{
    int idle = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_un nowhere = {.sun_family = AF_UNIX}; // bound to a name nobody knows

    if (idle < 0 || bind(idle, (struct sockaddr *)&nowhere, sizeof(sa_family_t)) < 0 ||
        listen(idle, 1) < 0)
        return;
    for (size_t i = 0; i < s->options.sockets_len; i++)
        dup3(idle, s->slots[i], O_CLOEXEC);
    close(idle);
}

struct quiet {
    const struct http_server *server;
    bool is;
};

static bool
same_place(const union address *a, const union address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->in.sin_port == b->in.sin_port;
    return strncmp(a->un.sun_path, b->un.sun_path, sizeof a->un.sun_path) == 0;
}

static bool
look_for_connection(int fd, void *context)
{
    struct quiet *q = context;
    union address a = address_of(fd);

    if (a.any.sa_family == AF_UNSPEC || is_listener(fd))
        return true;
    for (size_t i = 0; i < q->server->options.sockets_len; i++)
        if (same_place(&a, &q->server->addresses[i]))
            q->is = false;
    return q->is;
}

bool
http_is_quiet(const struct http_server *s)
{
    struct quiet q = {.server = s, .is = true};

    for_each_descriptor(look_for_connection, &q);
    return q.is;
}

void
http_stop(struct http_server *s)
{
    mg_stop(s->context);
    free(s);
}
