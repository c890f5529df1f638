// The admin listener: /livez, /readyz, /metrics, /version, and POST /reload. Never on a public
// address; shows no secret, token, address or body. One per process. And its client, for our
// programs on the same machine.
#ifndef ACRELAY_EDGE_ADMIN_H
#define ACRELAY_EDGE_ADMIN_H

#include "edge/http.h"
#include "edge/sockets.h"

// admin_start serves the pages at an address, that of `setting`. `ready` appends the members of `checks`
// (`"journal":true,...`) and returns whether the process is ready. `installation` is whose process it
// is, "ACCOUNT NAMESPACE": who asks for another's, because two files name one address, is answered 421.
struct http_server *admin_start(const struct socket_address *at, const char *setting,
                                const char *installation,
                                bool (*ready)(struct buf *checks, void *context),
                                void *context, struct err *err);

// What is below may be called from any thread, before admin_start too.

// admin_set_hosts replaces the names of this machine by which it may be asked, beside
// localhost and IP addresses: a page in somebody's browser whose name leads here (DNS
// rebinding) must read nothing.
void admin_set_hosts(char *const *names, size_t len);

// admin_set_installation has /readyz show the configuration file, and the state_dir in it, by which
// installations of one account and namespace are told apart.
void admin_set_installation(const char *file, const char *state_dir);

// admin_allows_host says whether a request's Host is such a name or an address, or none where
// HTTP/1.0 needs none.
bool admin_allows_host(const struct http_request *r);

// admin_set_detail keeps a sentence that /readyz shows under `details`: why a check is false.
// "" removes it. `name` is a constant.
void admin_set_detail(const char *name, const char *text);

// Reloads. SIGHUP asks for one, or POST /reload, whose answer has a number: that reload is over,
// and its result stands in /readyz, when `done` there is as great (`acrelay reload` waits for it).

// admin_reload_begin is called before a reload reads anything: what is asked for from here on is
// another one.
void admin_reload_begin(void);

// admin_reload_end counts a reload that is over: new settings are in use, or the old ones stay.
// `message` says why, escaped and without secrets.
void admin_reload_end(bool ok, const char *message);

// admin_use_last_good says that the last good configuration is in use instead of the file's,
// and why; NULL: the file's is in use.
void admin_use_last_good(const char *why);

// --- the client --------------------------------------------------------------------------

// admin_fetch asks the process of an installation ("ACCOUNT": of any namespace; NULL: of any) for a page, or posts to
// it, and appends the answer's body to *page; the status, or -1, also when another's process answers. 5 s at most.
int admin_fetch(const struct socket_address *to, const char *installation, bool posts,
                const char *path, struct buf *page, struct err *err);

// admin_takes asks the receiver, by its public addresses, whether it takes posts to a path,
// which holds a token: 405 is its answer to another method on a valid path, 404 to any other.
// 1, 0, or -1 when none runs here or it does not say.
int admin_takes(const struct socket_address *to, const char *installation,
                const struct socket_addresses *listen, const char *path);

// admin_fetch_metrics makes and fills *page, which the caller releases; empty: no answer.
void admin_fetch_metrics(struct buf *page, const struct socket_address *to,
                         const char *installation);

// admin_find_metric gives the sum of a metric over its labels, or of one series, named with them
// as they stand in the page: name{hook="a",code="200"}. False when the page has none;
// admin_sum_metric gives 0 then.
bool admin_find_metric(const struct buf *page, const char *name, double *sum);
static inline double
admin_sum_metric(const struct buf *page, const char *name)
{
    double sum;

    admin_find_metric(page, name, &sum);
    return sum;
}

#endif
