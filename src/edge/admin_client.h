// A client of the admin listeners of our own programs on this machine: a page, /metrics, and
// whether the receiver takes a path. It waits 5 s for each step.
#ifndef ACRELAY_EDGE_ADMIN_CLIENT_H
#define ACRELAY_EDGE_ADMIN_CLIENT_H

#include "base/buf.h"
#include "base/err.h"
#include "edge/sockets.h"

// admin_client_get fetches a page and appends it to *page; the status code, or -1.
// admin_client_post posts there instead.
int admin_client_get(const struct socket_address *admin, const char *path,
                     struct buf *page, struct err *err);
int admin_client_post(const struct socket_address *admin, const char *path,
                      struct buf *page, struct err *err);

// admin_client_takes asks the receiver, by its public addresses, whether it takes posts to a
// path, which holds a token: 405 is its answer to another method on a good path, 404 to any other.
// 1, 0, or -1 when none runs here or it does not say.
int admin_client_takes(const struct socket_address *admin,
                       const struct socket_addresses *listen, const char *path);

// admin_client_metrics makes and fills *page, which the caller releases; empty: no answer.
void admin_client_metrics(struct buf *page, const struct socket_address *admin);

// metrics_page_find gives the sum of a metric over its labels, or of one series, named with them
// as they stand in the page: name{hook="a",code="200"}. False when the page has none;
// metrics_page_sum gives 0 then.
bool metrics_page_find(const struct buf *page, const char *name, double *sum);
double metrics_page_sum(const struct buf *page, const char *name);

// metrics_page_left is how many posts came for hooks that left the file, and were answered 404.
double metrics_page_left(const struct buf *page);

#endif
