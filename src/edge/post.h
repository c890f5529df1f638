// A post is one HTTP/1.1 request to a receiver of ours, over TCP or a unix socket, and its
// status. Only for the command line: it trusts the answer no further than its first line.
#ifndef ACRELAY_EDGE_POST_H
#define ACRELAY_EDGE_POST_H

#include "base/err.h"
#include "base/span.h"

#include <netinet/in.h>

struct post_target {
    const char *path; // unix socket, or NULL
    struct in_addr host;
    uint16_t port;
};

// post_open connects; ERR_AGAIN with EXIT_CODE_UNAVAILABLE when nobody listens.
int post_open(const struct post_target *to, struct err *err);

// post_send posts a body and returns the status code, or -1. The connection is kept alive
// unless the answer closes it; then *closed is set.
int post_send(int fd, struct span url_path, struct span content_type, struct span body,
              bool *closed, struct err *err);

#endif
