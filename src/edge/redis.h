// A redis is one connection to a Redis server: commands out, replies in, in order. It
// belongs to one thread. Any failure but an error reply (no answer in time, cut, not the
// protocol, too large a reply) kills the connection: nothing more can be done with it than
// redis_close, since a reply that comes late would be taken for the next one's (seen with hiredis 0.14).
#ifndef ACRELAY_EDGE_REDIS_H
#define ACRELAY_EDGE_REDIS_H

#include "base/buf.h"
#include "base/err.h"
#include "edge/resolve.h"
#include "edge/tls.h"

#include <stdint.h>

enum { REDIS_HOSTS_MAX = 16, REDIS_HOST = 256, REDIS_PATH = 108, REDIS_MASTER = 128 };

// What one reply may have, whatever the server is. Bytes: the largest that receiver and worker ask for
// are a stream's first and last entry (XINFO STREAM), of at most 24 MiB each: 16 of body_max, 8 of
// `data`. Elements, of all its arrays together: a thousand entries of 16 fields are 35,000; one takes
// 120 bytes of memory. Arrays in each other: four, of XREAD.
enum {
    REDIS_REPLY_BYTES = 64 << 20,
    REDIS_REPLY_ELEMENTS = 1 << 18,
    REDIS_REPLY_DEPTH = 7,
};

struct redis_host {
    char name[REDIS_HOST]; // or an address, without brackets
    uint16_t port;
};

// What a URL says: where Redis is, or where to ask for it. It holds no password.
struct redis_url {
    char *text; // to show
    enum redis_url_kind {
        REDIS_PLAIN,    // one server
        REDIS_SENTINEL, // the hosts are its sentinels, which know the master
        REDIS_CLUSTER,  // the hosts are some of its nodes
    } kind;
    bool tls;
    struct redis_host hosts[REDIS_HOSTS_MAX];
    size_t hosts_len;          // 0: a unix socket
    char path[REDIS_PATH];     // of the unix socket
    char master[REDIS_MASTER]; // name of the master, of REDIS_SENTINEL
    int database;              // SELECTed when not 0; REDIS_CLUSTER has none other
};

struct redis_options {
    struct redis_url url;
    struct tls_files tls; // where url.tls is set
    const char *user;     // NULL or "": the default user
    struct span password;
    const char *key; // of REDIS_CLUSTER: one of ours, whose node is meant
    const char *sentinel_user;
    struct span sentinel_password;
    struct socket_watch watch; // of every socket that is waited on
    int64_t connect_ms;        // for name, connection and TLS together; 0: 5000
    int64_t command_ms;        // of struct redis; 0: 10000
};

// redis_args are arguments already in wire form, so that a large command is put together
// without a copy and can be sent again after another head.
struct redis_args {
    struct buf bytes;
    size_t count;
};

struct redis {
    bool dead;      // nothing more can be done with it
    struct err why; // once it is dead
    // May be changed. Within that time of redis_receive what is queued must be written and the reply
    // complete; each further MiB that is written has as long again.
    int64_t command_ms;
    // May be changed, by who asks for many entries at once; REDIS_REPLY_BYTES at first.
    size_t reply_bytes_max;
    // redis.c's
    struct transport *transport;
    struct redisReader *reader;
    struct redisReplyObjectFunctions *functions, *standard; // ours and hiredis's
    struct redisReply *reply;                               // the last one received
    size_t elements;          // that the reply being read has announced
    size_t unanswered;        // commands
    struct redis_args queued; // commands, not yet written
};

// redis_open connects, authenticates and selects the database, and has an answer. NULL with
// ERR_AGAIN when the server cannot be reached or is full, ERR_INPUT when it refuses what we say
// (password, right, database: the text then holds Redis's own message, never the password), when its
// certificate or ours does not count, or when one side speaks TLS and the other does not.
struct redis *redis_open(const struct redis_options *options, struct err *err);
void redis_close(struct redis *r); // NULL is fine

// redis_peer_closed says, without waiting, whether the connection is dead, or the server has closed it
// while nothing was asked (it ended, or its `timeout` for idle connections has passed).
bool redis_peer_closed(const struct redis *r);

// redis_tls_state describes the connection's TLS; false: it has none.
bool redis_tls_state(const struct redis *r, struct tls_state *state);

// A reply belongs to its connection and is valid until the next redis_receive (or
// redis_command, redis_ask) on it.
struct redis_reply;

enum redis_kind { REDIS_NIL, REDIS_TEXT, REDIS_NUMBER, REDIS_ARRAY, REDIS_ERROR };

// A value is what a reply is: text of REDIS_TEXT and REDIS_ERROR, the number of REDIS_NUMBER, how
// many elements of REDIS_ARRAY; what does not apply is empty or 0. NULL is REDIS_NIL.
struct redis_value {
    enum redis_kind kind;
    struct span text;
    int64_t number;
    size_t len;
};
struct redis_value redis_value(const struct redis_reply *reply);

// redis_reply_at is an element of REDIS_ARRAY, NULL after the last.
const struct redis_reply *redis_reply_at(const struct redis_reply *reply, size_t i);

// redis_member finds a value in a reply of names and values; NULL: it is not there.
const struct redis_reply *redis_member(const struct redis_reply *reply, const char *name);

// redis_time_us reads the reply to TIME; 0 for any other.
int64_t redis_time_us(const struct redis_reply *reply);

// redis_command sends one command and waits for its reply; an error reply is a reply. NULL
// with *err (ERR_AGAIN): the connection is dead, and whether the command was executed is
// not known; err->error is ETIMEDOUT when no answer came in time, else the server cut it.
const struct redis_reply *redis_command(struct redis *r, const struct span *args,
                                        size_t n, struct err *err);

// redis_ask is redis_command for NUL-terminated arguments, ended by NULL.
const struct redis_reply *redis_ask(struct redis *r, struct err *err, ...)
    __attribute__((sentinel));

// redis_check returns the reply, or NULL where it is an error: *err (ERR_INPUT) has Redis's words.
// NULL stays NULL.
const struct redis_reply *redis_check(const struct redis_reply *reply, struct err *err);

void redis_args_add(struct redis_args *a, struct span s);
// redis_args_format adds a short one, at most 511 bytes, as printf does.
void redis_args_format(struct redis_args *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline void
redis_args_clear(struct redis_args *a)
{
    buf_clear(&a->bytes);
    a->count = 0;
}

// redis_send queues the command `head` followed by `rest` (may be NULL); redis_receive
// writes what is queued and waits for the oldest reply still due. Several redis_send may
// stand before their redis_receives. -1 or NULL: as for redis_command.
int redis_send(struct redis *r, const struct span *head, size_t n,
               const struct redis_args *rest, struct err *err);
const struct redis_reply *redis_receive(struct redis *r, struct err *err);

#endif
