// A post is one HTTP/1.1 request to a process of ours, over TCP or a unix socket, and its
// answer. Only for the command line; an answer has at most POST_ANSWER_MAX bytes.
#ifndef ACRELAY_EDGE_POST_H
#define ACRELAY_EDGE_POST_H

#include "base/buf.h"
#include "base/err.h"
#include "edge/sockets.h"

enum { POST_ANSWER_MAX = 4 << 20 };

struct post_target {
    const char *path; // unix socket, or NULL
    union address at; // without a path
    int patience_s;   // for each step; 0: 30
};

// post_open connects; ERR_AGAIN with EXIT_CODE_UNAVAILABLE when nobody listens.
int post_open(const struct post_target *to, struct err *err);

// post_send posts a body (`encoding`: its Content-Encoding, empty for none) and returns the status code, or -1. The connection is kept alive
// unless the answer closes it; then *closed is set.
int post_send(int fd, struct span url_path, struct span content_type,
              struct span encoding, struct span body, bool *closed, struct err *err);

// post_ask posts nothing, as JSON, and appends the answer's body to *page. The status code, or -1.
int post_ask(int fd, const char *url_path, struct buf *page, struct err *err);

// post_get asks for a page and appends its body to *page. Returns the status code, or -1.
int post_get(int fd, const char *url_path, struct buf *page, struct err *err);

#endif
