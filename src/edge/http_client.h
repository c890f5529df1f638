// Single requests over HTTP: to our own programs on this machine, or to a URL. No redirect is
// followed, TLS is verified, plain http never goes through a proxy. Pace and retries are
// rest.h's business.
#ifndef ACRELAY_EDGE_HTTP_CLIENT_H
#define ACRELAY_EDGE_HTTP_CLIENT_H

#include "base/buf.h"
#include "edge/sockets.h"

enum { HTTP_ANSWER_MAX = 4 << 20 }; // of an API, or a body that nobody takes

struct http_call {
    const struct socket_address *to;  // a program of ours; NULL: `url` says where to
    const char *url;                  // with `to` its path and query
    const char *method;               // NULL: GET
    struct span body, type, encoding; // an empty encoding is not sent
    struct span token;                // sent as Api-Token, if there is one
    const char *line;                 // one more header, "Name: value"; NULL: none
    bool once; // libcurl does not repeat it, as it does where a kept connection is cut
    int64_t timeout_ms;
    // `header` is given each line of the answer's head; `stop` is asked about once a second and
    // ends the request with true. Both may be NULL.
    void (*header)(struct span line, void *context);
    bool (*stop)(void *context);
    void *context;
};

enum http_outcome {
    HTTP_ANSWERED, // and the answer is whole
    HTTP_NOT_SENT, // the request cannot have reached the other side
    HTTP_HOPELESS, // nor will it ever: TLS does not verify, the URL is none
    HTTP_STOPPED,
    HTTP_UNCLEAR, // it may have been carried out
};

// A client keeps its connection for the next call; {0} at first. It belongs to one thread.
struct http_client {
    void *curl;
    enum http_outcome outcome; // of the last call
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
