#include "edge/resolve.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/thread.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A lookup lives until the thread is done and nobody waits for it any more.
struct lookup {
    struct lookup *next; // of those whose thread still runs
    char host[RESOLVE_HOST_MAX + 1];
    int users;
    bool done;
    int error; // of getaddrinfo
    struct resolved found;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t finished;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct lookup *running;

static void
init(void)
{
    pthread_condattr_t monotonic;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&finished, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

// Without the resolver, which even for these may be slow.
static bool
is_address(const char *host)
{
    struct in6_addr any;

    return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

static int
look_up(const char *host, struct resolved *to)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int error = getaddrinfo(host, NULL, &hints, &list);

    to->len = 0;
    for (struct addrinfo *a = list; !error && a && to->len < RESOLVE_ADDRESSES_MAX;
         a = a->ai_next)
        if (getnameinfo(a->ai_addr, a->ai_addrlen, to->addresses[to->len],
                        sizeof *to->addresses, NULL, 0, NI_NUMERICHOST) == 0)
            to->len++;
    if (list)
        freeaddrinfo(list);
    return !error && to->len == 0 ? EAI_NONAME : error;
}

// With the lock.
static void
drop(struct lookup *l)
{
    if (--l->users == 0)
        free(l);
}

static void *
run(void *lookup)
{
    struct lookup *l = lookup;
    struct resolved found;
    int error = look_up(l->host, &found);

    pthread_mutex_lock(&lock);
    l->error = error;
    l->found = found;
    l->done = true;
    struct lookup **at = &running;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    pthread_cond_broadcast(&finished);
    drop(l);
    pthread_mutex_unlock(&lock);
    return NULL;
}

// With the lock. NULL when no thread can be had.
static struct lookup *
start(const char *host)
{
    struct lookup *l = memory_get(sizeof *l);
    pthread_t thread;
    struct err err;

    *l = (struct lookup){.users = 1, .next = running};
    snprintf(l->host, sizeof l->host, "%s", host);
    if (thread_start(&thread, "resolver", run, l, &err) < 0) {
        free(l);
        return NULL;
    }
    pthread_detach(thread);
    running = l;
    return l;
}

// With the lock.
static struct lookup *
find_or_start(const char *host)
{
    for (struct lookup *l = running; l; l = l->next)
        if (strcmp(l->host, host) == 0)
            return l;
    return start(host);
}

// With the lock. Whether it was done in time.
static bool
await(struct lookup *l, int64_t wait_ms)
{
    int64_t until_us = clock_mono_us() + wait_ms * 1000;
    struct timespec at = {until_us / 1000000, (long)(until_us % 1000000) * 1000};

    while (!l->done)
        if (pthread_cond_timedwait(&finished, &lock, &at) == ETIMEDOUT)
            break;
    return l->done;
}

int
resolve_host(const char *host, int64_t wait_ms, struct resolved *to, struct err *err)
{
    if (strlen(host) > RESOLVE_HOST_MAX)
        return err_set(err, ERR_INPUT, "a host name of more than 255 bytes");
    if (is_address(host)) {
        to->len = 1;
        snprintf(to->addresses[0], sizeof to->addresses[0], "%s", host);
        return 0;
    }
    pthread_once(&once, init);
    pthread_mutex_lock(&lock);
    struct lookup *l = find_or_start(host);
    if (!l) {
        pthread_mutex_unlock(&lock);
        return err_set(err, ERR_AGAIN, "cannot start a thread to resolve %s", host);
    }
    l->users++;
    bool done = await(l, wait_ms);
    int error = l->error;
    if (done)
        *to = l->found;
    drop(l);
    pthread_mutex_unlock(&lock);
    if (!done)
        return err_set(err, ERR_AGAIN, "no name server answers in time for %s", host);
    return error ? err_set(err, ERR_AGAIN, "cannot resolve %s: %s", host,
                           gai_strerror(error))
                 : 0;
}
