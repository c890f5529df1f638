// The admin listener: /livez, /readyz, /metrics, /version, and POST /reload (reloads.h). Never
// on a public address; shows no secret, token, address or body.
#ifndef ACRELAY_EDGE_ADMIN_H
#define ACRELAY_EDGE_ADMIN_H

#include "edge/http.h"

// admin_ready_fn appends the members of `checks` (`"journal":true,...`) and returns whether
// the process is ready.
typedef bool admin_ready_fn(struct buf *checks, void *context);

// admin_set_hosts replaces the names of this machine by which it may be asked, beside
// localhost and IP addresses: a page in somebody's browser whose name leads here (DNS
// rebinding) must read nothing. Any thread.
void admin_set_hosts(char *const *names, size_t len);

// admin_start serves the pages on a listening socket.
struct http_server *admin_start(int socket, admin_ready_fn *ready, void *context,
                                struct err *err);

// admin_set_detail keeps a sentence that /readyz shows under `details`: why a check is false.
// "" removes it. Any thread; `name` is a constant.
void admin_set_detail(const char *name, const char *text);

#endif
