// Single requests over HTTP: to our own programs on this machine, or, as a stranger would make
// them, to a public address. No token, pace or retry: rest.h has those. No redirect is
// followed, TLS is verified.
#ifndef ACRELAY_EDGE_HTTP_CLIENT_H
#define ACRELAY_EDGE_HTTP_CLIENT_H

#include "base/buf.h"
#include "edge/sockets.h"

enum { HTTP_ANSWER_MAX = 4 << 20 };

struct http_call {
    const struct socket_address *to;  // a program of ours; NULL: `url` says where to
    const char *url;                  // with `to` its path and query
    bool posts;                       // else it is a GET
    struct span body, type, encoding; // of a POST; an empty encoding is not sent
    int64_t timeout_ms;
};

// A client keeps its connection for the next call; {0} at first. It belongs to one thread.
struct http_client {
    void *curl;
};

// http_client_call makes a request and appends the answer's body to *page (may be NULL). The
// status, or -1: ERR_AGAIN with EXIT_CODE_UNAVAILABLE when there was no answer.
int http_client_call(struct http_client *c, const struct http_call *call,
                     struct buf *page, struct err *err);
void http_client_close(struct http_client *c);

// http_client_once is the same over a connection of its own.
static inline int
http_client_once(const struct http_call *call, struct buf *page, struct err *err)
{
    struct http_client c = {0};
    int status = http_client_call(&c, call, page, err);

    http_client_close(&c);
    return status;
}

#endif
