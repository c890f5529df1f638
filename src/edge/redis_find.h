// A redis_find finds the server that has our keys: the one of the URL, the master that sentinels
// name, or the node of a cluster that serves our slot. All keys of a partition share a slot, so
// there is no map of slots: a node that does not serve it says who does (MOVED). A user of Redis
// goes through here for each new connection, and hands in the errors that say where else to go:
//
//     r = redis_find(&find, &options, &err);
//     ...
//     if (redis_find_follow(&find, text))  // MOVED: close the connection, and find again
//
// It keeps between connections what is known. One thread. It begins as zero bytes.
#ifndef ACRELAY_EDGE_REDIS_FIND_H
#define ACRELAY_EDGE_REDIS_FIND_H

#include "edge/redis.h"

enum { REDIS_ADDRESS = REDIS_HOST + 10 };

struct redis_find {
    char address[REDIS_ADDRESS]; // for people: of the server that was connected to last
    struct redis_host at;        // the same
    size_t first;                // of the hosts of the URL: the one to ask first
    struct redis_host next;      // where MOVED sent us; port 0: nowhere
};

// redis_find connects to it, in options' connect_ms at most. NULL with *err as redis_open gives it:
// what the last server said, or the one whose word an operator should know.
struct redis *redis_find(struct redis_find *f, const struct redis_options *options,
                         struct err *err);

// redis_find_follow keeps where MOVED, an error reply of the last connection, sends us, for the next
// one. false: the reply is another, or its address cannot be used.
bool redis_find_follow(struct redis_find *f, struct span message);

// redis_find_ask asks host i of the URL, a sentinel or a node of the cluster, which server it is. -1
// with *err: it does not know, or does not answer.
int redis_find_ask(const struct redis_options *options, size_t i, struct redis_host *to,
                   struct err *err);

// redis_host_text is an address for people.
void redis_host_text(const struct redis_host *h, char to[REDIS_ADDRESS]);

#endif
