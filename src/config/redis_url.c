// The URL of Redis: where it is, and in redis.url_file also who we are there.
#include "base/text.h"
#include "config/value.h"

#include <ctype.h>
#include <stdio.h>

enum { PORT = 6379, SENTINEL_PORT = 26379 };

// What a scheme means.
struct scheme {
    const char *text;
    enum redis_url_kind kind;
    bool tls, socket;
};

static const struct scheme schemes[] = {
    {"redis://", REDIS_PLAIN, false, false},
    {"rediss://", REDIS_PLAIN, true, false},
    {"redis+sentinel://", REDIS_SENTINEL, false, false},
    {"rediss+sentinel://", REDIS_SENTINEL, true, false},
    {"redis+cluster://", REDIS_CLUSTER, false, false},
    {"rediss+cluster://", REDIS_CLUSTER, true, false},
    {"unix://", REDIS_PLAIN, false, true},
    {"unix:", REDIS_PLAIN, false, true},
};

static const struct scheme *
take_scheme(struct span *url)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (url_take_scheme(url, schemes[i].text))
            return &schemes[i];
    return NULL;
}

// The password is not repeated, and neither is what stands before the last '@' of the authority.
static const char *
take_login(struct span *rest, struct span *user, struct span *password)
{
    struct span authority = span_to(*rest, span_find(*rest, '/'));
    const char *at = authority.len ? memrchr(authority.at, '@', authority.len) : NULL;

    if (!at && memchr(rest->at, '@', rest->len))
        return "a Redis URL with an '@' after its host: in a password, write '/' as %2F";
    if (!at)
        return NULL;
    if (!user)
        return "a user or password in the URL: put the whole URL into a file of its own "
               "and "
               "name that in redis.url_file, or use redis.user and redis.password_file";
    *password = span_to(*rest, (size_t)(at - rest->at));
    *user = span_cut(password, ':');
    *rest = span_from(*rest, (size_t)(at + 1 - rest->at));
    return NULL;
}

static const char *
read_database(struct redis_url *u, struct span digits)
{
    uint64_t number = 0;

    if (digits.len > 0 && !text_number(&number, digits, 1000))
        return "a Redis URL whose database is not a number";
    if (number && u->kind == REDIS_CLUSTER)
        return "a Redis Cluster with a database, and a cluster has only database 0";
    u->database = (int)number;
    return NULL;
}

static const char *
add_host(struct redis_url *u, struct span address)
{
    struct redis_host *to = &u->hosts[u->hosts_len];
    uint64_t port = u->kind == REDIS_SENTINEL ? SENTINEL_PORT : PORT;
    struct url_host h;

    if (u->hosts_len == REDIS_HOSTS_MAX)
        return "a Redis URL with more than 16 hosts";
    const char *error = url_read_host(&h, address);
    if (error)
        return error;
    if (h.port.len > 0)
        text_number(&port, h.port, 65535);
    snprintf(to->name, sizeof to->name, "%.*s", (int)h.name.len, h.name.at);
    to->port = (uint16_t)port;
    u->hosts_len++;
    return NULL;
}

// A single server may have no host, which is this machine.
static const char *
read_hosts(struct redis_url *u, struct span list)
{
    char here[32];

    if (u->kind == REDIS_PLAIN && span_find(list, ',') < list.len)
        return "a Redis URL with several hosts: redis+cluster:// or redis+sentinel:// "
               "belongs before them";
    if (u->kind == REDIS_PLAIN && list.len < 8 && (list.len == 0 || list.at[0] == ':')) {
        snprintf(here, sizeof here, "127.0.0.1%.*s", (int)list.len, list.at);
        return add_host(u, span_of(here));
    }
    const char *error = NULL;
    do
        error = add_host(u, span_cut(&list, ','));
    while (!error && list.len > 0);
    return error;
}

static const char *
read_master(struct redis_url *u, struct span name)
{
    bool ok = name.len > 0 && name.len < sizeof u->master;

    for (size_t i = 0; ok && i < name.len; i++)
        ok = isalnum((unsigned char)name.at[i]) || strchr("._-", name.at[i]);
    if (!ok)
        return "a Sentinel URL without the name of its master after the hosts";
    snprintf(u->master, sizeof u->master, "%.*s", (int)name.len, name.at);
    return NULL;
}

static const char *
read_network(struct redis_url *u, struct span rest)
{
    if (span_find(rest, '?') < rest.len)
        return "a Redis URL with a query: only unix:///PATH?db=N may have one";
    const char *error = read_hosts(u, span_cut(&rest, '/'));
    if (!error && u->kind == REDIS_SENTINEL)
        error = read_master(u, span_cut(&rest, '/'));
    return error ? error : read_database(u, rest);
}

static const char *
read_socket(struct redis_url *u, struct span rest)
{
    struct span path = span_cut(&rest, '?');

    if (!span_starts(path, SPAN("/")) || path.len > 100)
        return "not the path of a unix socket";
    if (rest.len > 0 && !span_starts(rest, SPAN("db=")))
        return "a Redis URL with a query other than ?db=N";
    snprintf(u->path, sizeof u->path, "%.*s", (int)path.len, path.at);
    return read_database(u, span_from(rest, 3));
}

const char *
redis_url_read(struct redis_url *u, struct span url, struct span *user,
               struct span *password)
{
    struct span rest = url;
    const struct scheme *s = take_scheme(&rest);

    if (!s)
        return span_starts(url, SPAN("/")) ? "a path: unix:// belongs before it"
                                           : "not a Redis URL";
    *u = (struct redis_url){.kind = s->kind, .tls = s->tls};
    const char *error = take_login(&rest, user, password);
    if (error)
        return error;
    return s->socket ? read_socket(u, rest) : read_network(u, rest);
}

static const char *
read_value(const struct value *v)
{
    struct redis_url *u = v->field;
    const char *error = redis_url_read(u, span_of(v->text), NULL, NULL);

    u->text = reading_copy(v->reading, span_of(v->text), 1);
    return error;
}

static const struct value_field url_field = {.size = sizeof(struct redis_url),
                                             .is_text = true};

const struct value_type value_redis_url = {
    "redis://HOST:PORT/DATABASE, rediss:// for TLS, unix:///PATH?db=DATABASE, "
    "redis+sentinel://HOSTS/MASTER or redis+cluster://HOSTS",
    read_value, .field = &url_field};
