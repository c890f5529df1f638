// The lookup runs in a thread of its own, which is left behind when it takes too long. Who asks for
// the same name again while it still runs waits for that one, so that threads do not pile up, also
// where several names (of sentinels, say) are asked for in turn.
//
// A waiter waits on a socket, because a socket is what its watch can end: it holds one end of a
// pair, and the lookup shuts down the other when it is done.
#include "edge/resolve.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/thread.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HOST_MAX = 255 };

struct waiter {
    int far; // the end that the lookup shuts down
    struct waiter *next;
};

// Lives until its thread is done and nobody waits for it any more.
struct lookup {
    struct lookup *next; // that runs
    char host[HOST_MAX + 1];
    int users;
    struct waiter *waiters;
    bool done; // what follows is the thread's until then
    int error; // of getaddrinfo
    struct resolved found;
};

static struct {
    pthread_mutex_t lock;
    struct lookup *running; // those whose thread runs
} resolver = {PTHREAD_MUTEX_INITIALIZER, NULL};

static void
look_up(struct lookup *l)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    struct resolved *to = &l->found;

    l->error = getaddrinfo(l->host, NULL, &hints, &list);
    if (l->error)
        return;
    for (struct addrinfo *a = list; a && to->len < RESOLVE_ADDRESSES_MAX; a = a->ai_next)
        memcpy(&to->at[to->len++], a->ai_addr, a->ai_addrlen);
    freeaddrinfo(list);
}

// With the lock.
static void
drop_lookup(struct lookup *l)
{
    if (--l->users == 0)
        free(l);
}

static void *
run_lookup(void *lookup)
{
    struct lookup *l = lookup;

    look_up(l);
    pthread_mutex_lock(&resolver.lock);
    l->done = true;
    struct lookup **at = &resolver.running;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    for (struct waiter *w = l->waiters; w; w = w->next)
        shutdown(w->far, SHUT_RDWR);
    drop_lookup(l);
    pthread_mutex_unlock(&resolver.lock);
    return NULL;
}

// With the lock. NULL when no thread can be had.
static struct lookup *
start_lookup(const char *host)
{
    struct lookup *l = memory_get(sizeof *l);
    pthread_t thread;
    struct err err;

    *l = (struct lookup){.next = resolver.running, .users = 1};
    snprintf(l->host, sizeof l->host, "%s", host);
    if (thread_start(&thread, "resolver", run_lookup, l, &err) < 0) {
        free(l);
        return NULL;
    }
    pthread_detach(thread);
    return resolver.running = l;
}

// The lookup that answers for this host, joined; NULL when no thread can be had.
static struct lookup *
join_lookup(const char *host, struct waiter *w)
{
    pthread_mutex_lock(&resolver.lock);
    struct lookup *l = resolver.running;
    while (l && strcmp(l->host, host) != 0)
        l = l->next;
    if (!l)
        l = start_lookup(host);
    if (l) {
        l->users++;
        w->next = l->waiters;
        l->waiters = w;
    }
    pthread_mutex_unlock(&resolver.lock);
    return l;
}

// Takes what is known by now.
static int
leave_lookup(struct lookup *l, const struct waiter *w, struct resolved *to,
             struct err *err)
{
    int result = 0;

    pthread_mutex_lock(&resolver.lock);
    struct waiter **at = &l->waiters;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    if (!l->done)
        result =
            err_set(err, ERR_AGAIN, "no name server answers in time for %s", l->host);
    else if (l->error)
        result = err_set(err, ERR_AGAIN, "cannot resolve %s: %s", l->host,
                         gai_strerror(l->error));
    else
        *to = l->found;
    drop_lookup(l);
    pthread_mutex_unlock(&resolver.lock);
    return result;
}

// Until the other end is shut down, by the lookup or by the watch, or it is too late.
static void
wait_on(int fd, int64_t until_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t left_ms;

    do
        left_ms = until_ms - clock_mono_ms();
    while (left_ms > 0 && poll(&p, 1, (int)left_ms) <= 0);
}

static int
ask(const char *host, int64_t until_ms, const struct socket_watch *watch,
    struct resolved *to, struct err *err)
{
    int pair[2], result;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(err, ERR_AGAIN, "cannot make a socket: %s", strerror(errno));
    struct waiter w = {.far = pair[1]};
    struct lookup *l = join_lookup(host, &w);
    if (l) {
        socket_watch_set(watch, pair[0]);
        wait_on(pair[0], until_ms);
        socket_watch_set(watch, -1);
        result = leave_lookup(l, &w, to, err);
    } else {
        result = err_set(err, ERR_AGAIN, "cannot start a thread to resolve %s", host);
    }
    close(pair[0]);
    close(pair[1]);
    return result;
}

// A numeric address is its own, without the resolver, which even for these may be slow.
static bool
is_address(const char *host, struct resolved *to)
{
    union address *a = &to->at[0];

    *to = (struct resolved){.len = 1};
    if (inet_pton(AF_INET, host, &a->in.sin_addr) == 1)
        a->any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, host, &a->in6.sin6_addr) == 1)
        a->any.sa_family = AF_INET6;
    else
        to->len = 0;
    return to->len == 1;
}

int
resolve_host(const char *host, uint16_t port, int64_t until_ms,
             const struct socket_watch *watch, struct resolved *to, struct err *err)
{
    if (strlen(host) > HOST_MAX)
        return err_set(err, ERR_INPUT,
                       "the host name in the URL is longer than 255 bytes");
    if (!is_address(host, to) && ask(host, until_ms, watch, to, err) < 0)
        return -1;
    for (size_t i = 0; i < to->len; i++)
        to->at[i].in.sin_port = htons(port); // IPv6 has it in the same place
    return 0;
}
