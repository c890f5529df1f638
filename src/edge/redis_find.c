// Sentinels and nodes are asked in turn, each for a short time, beginning with the one that knew it
// last. None is believed: behind sentinels the server must say that it is a master (a sentinel may
// be cut off, and name one that was), and in a cluster that it serves our slot.
//
// ASK is not followed but waited for, as TRYAGAIN is. While a slot moves, its new node (after ASKING)
// serves a call of several keys only if it has every one of them, and a script's are never all there:
// without dead letters, for example, there is no key for them. So ASKING would turn ASK into TRYAGAIN
// (seen with Redis 7.0 and Valkey 8.1). Commands of one key would be served, but then the cursor would
// be read at one node while the script can move it at neither. MOVED follows when the move is over.
#include "edge/redis_find.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdio.h>
#include <sys/param.h>

enum { FIND_MS = 5000, ASK_MS = 1000, HOPS_MAX = 4 };

void
redis_host_text(const struct redis_host *h, char to[REDIS_ADDRESS])
{
    snprintf(to, REDIS_ADDRESS, strchr(h->name, ':') ? "[%s]:%u" : "%s:%u", h->name,
             h->port);
}

static bool
set_host(struct redis_host *to, struct span name, struct span port)
{
    uint64_t number;

    if (name.len == 0 || name.len >= sizeof to->name ||
        !text_number(&number, port, UINT16_MAX) || number == 0)
        return false;
    snprintf(to->name, sizeof to->name, "%.*s", (int)name.len, name.at);
    to->port = (uint16_t)number;
    return true;
}

// "host:port" by its last colon: an IPv6 address has colons of its own. An empty host is `here`;
// Redis writes "?" for a node whose name it does not know.
static bool
read_address(struct redis_host *to, struct span text, const char *here)
{
    struct span port = span_after_last(text, ':'),
                host = span_to(text, text.len - port.len - 1);

    return port.len < text.len && !span_is(host, "?") &&
           set_host(to, host.len ? host : span_of(here), port);
}

// "MOVED slot host:port"
static bool
read_moved(struct redis_host *to, struct span text, const char *here)
{
    if (!span_is(span_cut(&text, ' '), "MOVED"))
        return false;
    (void)span_cut(&text, ' '); // the slot
    return read_address(to, text, here);
}

bool
redis_find_follow(struct redis_find *f, struct span message)
{
    return read_moved(&f->next, message, f->at.name);
}

// --- one server ----------------------------------------------------------------------------

static struct redis *
open_host(const struct redis_options *options, const struct redis_host *host,
          int64_t wait_ms, struct err *err)
{
    struct redis_options o = *options;

    o.url.kind = REDIS_PLAIN;
    o.url.hosts[0] = *host;
    o.url.hosts_len = 1;
    o.connect_ms = wait_ms;
    return redis_open(&o, err);
}

// What a node that cannot serve our keys answers, and will later.
static bool
is_away(struct span text)
{
    static const char *const words[] = {"CLUSTERDOWN", "LOADING", "MASTERDOWN"};
    struct span word = span_to(text, span_find(text, ' '));

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (span_is(word, words[i]))
            return true;
    return false;
}

// The node's answer to a question about a key of ours; the text is empty where it serves it. Any
// other error, as a right that is missing, is for those to report who need it.
static int
ask_node(struct redis *r, const struct redis_options *o, struct span *moved,
         struct err *err)
{
    const struct redis_reply *reply = redis_ask(r, err, "GET", o->key, NULL);
    struct redis_value v = redis_value(reply);

    *moved = SPAN("");
    if (!reply)
        return -1;
    if (v.kind == REDIS_ERROR && is_away(v.text))
        return err_set(err, ERR_AGAIN, "%.*s", (int)v.text.len, v.text.at);
    if (v.kind == REDIS_ERROR && span_starts(v.text, SPAN("MOVED ")))
        *moved = v.text;
    return 0;
}

// Where it may not be asked for its role, that is for those to find out who write.
static int
check_master(struct redis *r, struct err *err)
{
    const struct redis_reply *reply = redis_ask(r, err, "ROLE", NULL);
    struct span role = redis_value(redis_reply_at(reply, 0)).text;

    if (!reply)
        return -1;
    if (role.len == 0 || span_is(role, "master"))
        return 0;
    return err_set(err, ERR_AGAIN, "this Redis is a %.*s, not the master", (int)role.len,
                   role.at);
}

// MOVED is kept for the next try.
static int
check_server(struct redis_find *f, struct redis *r, const struct redis_options *o,
             struct err *err)
{
    struct span moved;

    if (o->url.kind == REDIS_PLAIN)
        return 0;
    if (o->url.kind == REDIS_SENTINEL)
        return check_master(r, err);
    if (ask_node(r, o, &moved, err) < 0)
        return -1;
    if (moved.len == 0)
        return 0;
    (void)redis_find_follow(f, moved);
    return err_set(err, ERR_AGAIN, "%.*s", (int)moved.len, moved.at);
}

// open_next connects to where we are sent, once.
static struct redis *
open_next(struct redis_find *f, const struct redis_options *o, int64_t wait_ms,
          struct err *err)
{
    f->at = f->next;
    f->next.port = 0;
    redis_host_text(&f->at, f->address);
    struct redis *r = open_host(o, &f->at, wait_ms, err);
    if (!r || check_server(f, r, o, err) == 0)
        return r;
    redis_close(r);
    err_context(err, "%s", f->address);
    return NULL;
}

// --- sentinels and nodes ---------------------------------------------------------------------

static int
ask_sentinel(struct redis *r, const struct redis_options *o, struct redis_host *to,
             struct err *err)
{
    const struct redis_reply *reply =
        redis_ask(r, err, "SENTINEL", "get-master-addr-by-name", o->url.master, NULL);
    struct span name = redis_value(redis_reply_at(reply, 0)).text,
                port = redis_value(redis_reply_at(reply, 1)).text;

    if (!redis_check(reply, err))
        return -1;
    if (redis_value(reply).kind == REDIS_NIL)
        return err_set(err, ERR_INPUT, "it does not know a master named %s",
                       o->url.master);
    if (!set_host(to, name, port))
        return err_set(err, ERR_AGAIN, "its answer is not an address");
    return 0;
}

static int
ask_seed(struct redis *r, const struct redis_options *o, const struct redis_host *seed,
         struct redis_host *to, struct err *err)
{
    struct span moved;

    *to = *seed;
    if (ask_node(r, o, &moved, err) < 0)
        return -1;
    if (moved.len == 0 || read_moved(to, moved, seed->name))
        return 0;
    return err_set(err, ERR_AGAIN, "%.*s", (int)moved.len, moved.at);
}

static int
ask_host(const struct redis_options *options, size_t i, int64_t wait_ms,
         struct redis_host *to, struct err *err)
{
    bool sentinel = options->url.kind == REDIS_SENTINEL;
    const struct redis_host *host = &options->url.hosts[i];
    struct redis_options o = *options;
    char address[REDIS_ADDRESS];

    if (sentinel) {
        o.user = o.sentinel_user;
        o.password = o.sentinel_password;
        o.url.database = 0;
    }
    o.command_ms = wait_ms;
    struct redis *r = open_host(&o, host, wait_ms, err);
    int result = !r         ? -1
                 : sentinel ? ask_sentinel(r, &o, to, err)
                            : ask_seed(r, &o, host, to, err);
    redis_close(r);
    redis_host_text(host, address);
    return result == 0 ? 0
                       : err_context(err, sentinel ? "sentinel %s" : "node %s", address);
}

int
redis_find_ask(const struct redis_options *o, size_t i, struct redis_host *to,
               struct err *err)
{
    return ask_host(o, i, o->connect_ms ? o->connect_ms : FIND_MS, to, err);
}

// What an operator must act on is kept; else the newest.
static void
keep_error(struct err *to, const struct err *err)
{
    if (to->kind != ERR_INPUT)
        *to = *err;
}

// Where no error has sent us, the hosts are asked. The one whose word was good is the first the next
// time too.
static struct redis *
find_by_hosts(struct redis_find *f, const struct redis_options *o, int64_t until_ms,
              struct err *err)
{
    size_t hosts = o->url.hosts_len, asked = 0;
    struct err why = {0};
    int64_t left_ms;

    if (f->first >= hosts) // those of the URL may be fewer since
        f->first = 0;
    for (size_t steps = 0; asked < hosts && steps < hosts + HOPS_MAX; steps++) {
        if ((left_ms = until_ms - clock_mono_ms()) <= 0)
            break;
        struct redis *r = NULL;
        if (f->next.port ||
            ask_host(o, f->first, MIN(left_ms, ASK_MS), &f->next, &why) == 0)
            r = open_next(f, o, MAX(until_ms - clock_mono_ms(), 1), &why);
        if (r)
            return r;
        keep_error(err, &why);
        if (f->next.port)
            continue; // MOVED: the server that we came to knows better
        f->first = (f->first + 1) % hosts;
        asked++;
    }
    return NULL;
}

struct redis *
redis_find(struct redis_find *f, const struct redis_options *o, struct err *err)
{
    int64_t wait_ms = o->connect_ms ? o->connect_ms : FIND_MS;

    err_set(err, ERR_AGAIN, "no answer in time"); // until there is one
    if (!f->address[0] && o->url.text)
        snprintf(f->address, sizeof f->address, "%s", o->url.text);
    if (o->url.kind != REDIS_PLAIN)
        return find_by_hosts(f, o, clock_mono_ms() + wait_ms, err);
    if (f->next.port)
        return open_next(f, o, wait_ms, err);
    f->at = o->url.hosts[0];
    redis_host_text(&f->at, f->address);
    if (o->url.hosts_len == 0)
        snprintf(f->address, sizeof f->address, "%s", o->url.path);
    return redis_open(o, err);
}
