// How one scalar is read, kind by kind. Each returns NULL or what is wrong; the reader adds
// the place and what was expected.
#include "base/text.h"
#include "base/types.h"
#include "config/table.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool
is_made_of(const char *text, const char *first, const char *rest, size_t most)
{
    size_t len = strlen(text);

    return len >= 1 && len <= most && strchr(first, text[0]) && strspn(text, rest) == len;
}

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static void
set_text(void *field, const char *text)
{
    char **at = field;

    free(*at);
    *at = memory_copy(span_of(text));
}

static void
release_text(void *field)
{
    free(*(char **)field);
}

static const char *
add_text(void *field, const char *text)
{
    struct config_list *list = field;

    if (list->len == CONFIG_LIST_MAX)
        return "more than 64 values";
    for (size_t i = 0; i < list->len; i++)
        if (strcmp(list->at[i], text) == 0)
            return "it stands there twice";
    list->at = memory_grow(list->at, (list->len + 2) * sizeof *list->at);
    list->at[list->len++] = memory_copy(span_of(text));
    list->at[list->len] = NULL;
    return NULL;
}

static void
release_list(void *field)
{
    struct config_list *list = field;

    for (size_t i = 0; i < list->len; i++)
        free(list->at[i]);
    free(list->at);
    *list = (struct config_list){0};
}

#define READ(name)                                                                       \
    static const char *name(struct reading *r, const struct setting *s,                  \
                            const char *text, void *field)
#define UNUSED (void)r, (void)s

READ(read_name)
{
    UNUSED;
    if (!is_made_of(text, LOWER UPPER DIGITS, LOWER UPPER DIGITS "_.-", 63))
        return "not a name";
    set_text(field, text);
    return NULL;
}

READ(read_hook_name)
{
    UNUSED;
    if (!is_made_of(text, LOWER DIGITS, LOWER DIGITS "-", 63))
        return "not a hook name";
    set_text(field, text);
    return NULL;
}

READ(read_namespace)
{
    UNUSED;
    if (!is_made_of(text, LOWER DIGITS "_-", LOWER DIGITS "_-", 32))
        return "not a namespace";
    set_text(field, text);
    return NULL;
}

READ(read_stream)
{
    UNUSED;
    static const char *const taken[] = {"dead", "hooks", "last", "leader"};

    if (!is_made_of(text, LOWER DIGITS, LOWER DIGITS "_.-", 63))
        return "not a stream name";
    for (size_t i = 0; i < 4; i++)
        if (strcmp(text, taken[i]) == 0)
            return "a name of a key of our own";
    set_text(field, text);
    return NULL;
}

READ(read_label)
{
    UNUSED;
    if (!*text || strlen(text) > 200)
        return "empty or longer than 200 bytes";
    set_text(field, text);
    return NULL;
}

READ(read_zone)
{
    UNUSED;
    char path[300];

    if (text[0] == '/' || strstr(text, "..") ||
        snprintf(path, sizeof path, "/usr/share/zoneinfo/%.200s", text) < 0 ||
        (*text && access(path, R_OK) < 0))
        return "no time zone that this machine knows";
    set_text(field, text);
    return NULL;
}

static const char *
resolve(const struct reading *r, const char *text, char *path)
{
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");

    if (!*text)
        return "an empty path";
    if (text[0] != '/' && credentials &&
        snprintf(path, PATH_MAX, "%s/%s", credentials, text) < PATH_MAX &&
        access(path, F_OK) == 0)
        return NULL;
    const char *file = reading_file(r), *slash = strrchr(file, '/');
    int keep = text[0] == '/' || !slash ? 0 : (int)(slash - file + 1);
    if (snprintf(path, PATH_MAX, "%.*s%s", keep, file, text) >= PATH_MAX)
        return "a path that is too long";
    return NULL;
}

READ(read_file)
{
    UNUSED;
    char path[PATH_MAX];
    const char *wrong = resolve(r, text, path);

    if (!wrong)
        set_text(field, path);
    return wrong;
}

READ(read_files)
{
    UNUSED;
    char path[PATH_MAX];
    const char *wrong = resolve(r, text, path);

    return wrong ? wrong : add_text(field, path);
}

READ(read_path)
{
    UNUSED;
    if (text[0] != '/' || strlen(text) > 200)
        return "not an absolute path of at most 200 bytes";
    set_text(field, text);
    return NULL;
}

// --- URLs -------------------------------------------------------------------------------

static bool
is_loopback(struct span host)
{
    return span_is(host, "localhost") || span_starts(host, SPAN("127."));
}

// Checks scheme and host of an URL without a path and copies it without trailing slashes.
static const char *
read_base_url(const char *text, const char *suffix, char *to, size_t size, bool *https,
              struct span *host, struct span *port)
{
    struct span url = span_of(text);

    *https = span_starts(url, SPAN("https://"));
    if (!*https && !span_starts(url, SPAN("http://")))
        return "not a URL that begins with https://";
    if (strpbrk(text, "@?#") || strpbrk(text, " \t\"<>\\"))
        return "a URL with user, query, fragment or blanks";
    while (url.len > 8 && url.at[url.len - 1] == '/')
        url.len--;
    size_t end = strlen(suffix);
    if (end && url.len > end && memcmp(url.at + url.len - end, suffix, end) == 0)
        url.len -= end;
    *port = span_from(url, *https ? 8 : 7);
    if (port->len == 0 || span_find(*port, '/') < port->len || url.len >= size)
        return "a URL without a host, or with a path";
    *host = span_cut(port, ':');
    snprintf(to, size, "%.*s", (int)url.len, url.at);
    return NULL;
}

READ(read_api_url)
{
    UNUSED;
    char url[512];
    struct span host, port;
    bool https;
    const char *wrong =
        read_base_url(text, "/api/3", url, sizeof url, &https, &host, &port);

    if (!wrong && !https && !is_loopback(host))
        wrong = "http, which would show the API token to everyone on the way";
    if (!wrong)
        set_text(field, url);
    return wrong;
}

static bool
is_private(struct span host)
{
    return is_loopback(host) || span_starts(host, SPAN("10.")) ||
           span_starts(host, SPAN("192.168."));
}

static const char *
check_public_url(struct reading *r, const char *text, char *url, size_t size)
{
    struct span host, port;
    bool https;
    const char *wrong = read_base_url(text, "", url, size, &https, &host, &port);

    if (wrong)
        return wrong;
    if (!https)
        reading_warn(r, "http: whoever listens on the way reads tokens and events; "
                        "expected https");
    else if (port.len > 0 && !span_is(port, "443"))
        reading_warn(r, "ActiveCampaign posts to https on port 443 only");
    if (is_private(host))
        reading_warn(r, "ActiveCampaign cannot reach a private address");
    return NULL;
}

READ(read_public_url)
{
    UNUSED;
    char url[512];
    const char *wrong = check_public_url(r, text, url, sizeof url);

    if (!wrong)
        set_text(field, url);
    return wrong;
}

READ(read_public_urls)
{
    UNUSED;
    char url[512];
    const char *wrong = check_public_url(r, text, url, sizeof url);

    return wrong ? wrong : add_text(field, url);
}

static const char *
read_redis_host(struct config *c, struct span rest)
{
    uint64_t number = 6379;
    struct span address = span_cut(&rest, '/');
    struct span host = span_cut(&address, ':');

    if (host.len == 0 || host.len > 253)
        return "a Redis URL without a host";
    if (address.len > 0 && (!text_number(&number, address, 65535) || number == 0))
        return "a Redis URL with a broken port";
    c->redis_port = (uint16_t)number;
    number = 0;
    if (rest.len > 0 && !text_number(&number, rest, 1000))
        return "a Redis URL whose database is no number";
    c->redis_database = (int)number;
    free(c->redis_host);
    c->redis_host = memory_copy(host);
    return NULL;
}

READ(read_redis_url)
{
    (void)s;
    struct config *c = reading_config(r);
    struct span url = span_of(text);

    if (strchr(text, '@'))
        return "a user or password in the URL: use redis.user and redis.password_file";
    if (span_starts(url, SPAN("rediss://")))
        return "TLS to Redis, which this build lacks: use a local proxy or a unix socket";
    free(c->redis_path);
    c->redis_path = NULL;
    const char *wrong = NULL;
    if (span_starts(url, SPAN("redis://")))
        wrong = read_redis_host(c, span_from(url, 8));
    else if (span_starts(url, SPAN("unix:///")) && url.len < 100) {
        free(c->redis_host);
        c->redis_host = NULL;
        c->redis_path = memory_copy(span_from(url, 7));
    } else
        wrong = "not a Redis URL";
    if (!wrong)
        set_text(field, text);
    return wrong;
}

// --- numbers -----------------------------------------------------------------------------

struct unit {
    const char *name;
    double factor;
};

static const struct unit durations[] = {{"us", 1},   {"ms", 1e3},   {"s", 1e6},
                                        {"m", 60e6}, {"h", 3600e6}, {"d", 86400e6},
                                        {NULL, 0}};
static const struct unit sizes[] = {{"B", 1},
                                    {"KiB", 1024},
                                    {"MiB", 1048576},
                                    {"GiB", 1073741824.0},
                                    {"TiB", 1099511627776.0},
                                    {NULL, 0}};

static const char *
read_amount(const char *text, const struct unit *units, double *amount)
{
    char *end;

    if (!(text[0] >= '0' && text[0] <= '9') || strchr(text, 'x'))
        return "not a number with a unit";
    *amount = strtod(text, &end);
    for (const struct unit *u = units; u->name; u++)
        if (strcmp(end, u->name) == 0) {
            *amount *= u->factor;
            return NULL;
        }
    return *end ? "an unknown unit" : "a number without a unit";
}

static const char *
check_bounds(const struct setting *s, double amount)
{
    if (s->least == 0 && s->most == 0)
        return NULL;
    if (amount < s->least)
        return "less than is allowed";
    return amount > s->most ? "more than is allowed" : NULL;
}

READ(read_duration_us)
{
    UNUSED;
    double amount;
    const char *wrong = read_amount(text, durations, &amount);

    if (!wrong)
        wrong = check_bounds(s, amount);
    if (!wrong)
        *(int64_t *)field = (int64_t)amount;
    return wrong;
}

READ(read_duration_ms)
{
    UNUSED;
    double amount;
    const char *wrong = read_amount(text, durations, &amount);

    if (!wrong)
        wrong = check_bounds(s, amount / 1000);
    if (!wrong)
        *(int64_t *)field = (int64_t)(amount / 1000);
    return wrong;
}

READ(read_size)
{
    UNUSED;
    double amount;
    const char *wrong = read_amount(text, sizes, &amount);

    if (!wrong)
        wrong = check_bounds(s, amount);
    if (!wrong)
        *(uint64_t *)field = (uint64_t)amount;
    return wrong;
}

READ(read_count)
{
    UNUSED;
    uint64_t n;

    if (!text_number(&n, span_of(text), INT64_MAX))
        return "not a whole number";
    const char *wrong = check_bounds(s, (double)n);
    if (!wrong)
        *(uint64_t *)field = n;
    return wrong;
}

READ(read_int)
{
    uint64_t n;
    const char *wrong = read_count(r, s, text, &n);

    if (!wrong)
        *(int *)field = (int)n;
    return wrong;
}

READ(read_rate)
{
    UNUSED;
    char *end;

    if (!(text[0] >= '0' && text[0] <= '9'))
        return "not a number";
    double n = strtod(text, &end);
    const char *wrong = *end ? "not a number" : check_bounds(s, n);
    if (!wrong)
        *(double *)field = n;
    return wrong;
}

static const char *
read_choice(const char *text, const char *const *choices, int *choice)
{
    for (int i = 0; choices[i]; i++)
        if (strcmp(text, choices[i]) == 0) {
            *choice = i;
            return NULL;
        }
    return "not one of the choices";
}

READ(read_bool)
{
    UNUSED;
    static const char *const choices[] = {"false", "true", "no", "yes",
                                          "off",   "on",   NULL};
    int choice;
    const char *wrong = read_choice(text, choices, &choice);

    if (!wrong)
        *(bool *)field = choice & 1;
    return wrong;
}

READ(read_leader)
{
    UNUSED;
    static const char *const choices[] = {"local", "redis", NULL};
    int choice;
    const char *wrong = read_choice(text, choices, &choice);

    if (!wrong)
        *(bool *)field = choice == 1;
    return wrong;
}

READ(read_repeats)
{
    UNUSED;
    static const char *const choices[] = {"mark", "drop", "keep", NULL};

    return read_choice(text, choices, field);
}

READ(read_sources)
{
    UNUSED;
    static const char *const choices[] = {"public", "admin", "api", "system", NULL};
    int choice;
    const char *wrong = read_choice(text, choices, &choice);

    return wrong ? wrong : add_text(field, text);
}

static const char *
nearest_event(const char *text)
{
    const char *best = NULL;
    size_t least = 4;

    for (const char *const *e = event_types; *e; e++) {
        size_t distance = text_distance(span_of(text), span_of(*e));
        if (distance == 0)
            return *e;
        if (distance < least) {
            least = distance;
            best = *e;
        }
    }
    return best;
}

READ(read_events)
{
    UNUSED;
    char what[200];

    if (!is_made_of(text, LOWER, LOWER DIGITS "_", 64))
        return "not an event type";
    const char *near = nearest_event(text);
    if (!near || strcmp(near, text) != 0) {
        snprintf(what, sizeof what, "event type %s is not known here%s%s%s", text,
                 near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
        reading_warn(r, what);
    }
    return add_text(field, text);
}

READ(read_lists)
{
    UNUSED;
    uint64_t **lists = field, n;
    size_t *len =
        (size_t *)(void *)((char *)field + (offsetof(struct config_hook, lists_len) -
                                            offsetof(struct config_hook, lists)));

    if (!text_number(&n, span_of(text), INT32_MAX))
        return "not a list's id";
    if (*len == CONFIG_LIST_MAX)
        return "more than 64 lists";
    *lists = memory_grow(*lists, (*len + 1) * sizeof **lists);
    (*lists)[(*len)++] = n;
    return NULL;
}

static void
release_lists(void *field)
{
    free(*(uint64_t **)field);
    *(uint64_t **)field = NULL;
    *(size_t *)(void *)((char *)field + (offsetof(struct config_hook, lists_len) -
                                         offsetof(struct config_hook, lists))) = 0;
}

// --- addresses ---------------------------------------------------------------------------

static const char *
parse_address(const char *text, struct config_address *a)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    uint64_t port;

    if (strncmp(text, "unix:", 5) == 0) {
        if (text[5] != '/' || strlen(text + 5) > 100)
            return "not the path of a unix socket";
        a->path = memory_copy(span_of(text + 5));
        a->text = memory_copy(span_of(text));
        return NULL;
    }
    size_t len = strlen(text);
    if (colon && len > 1 && (text[len - 1] == 's' || strncmp(text, "https", 5) == 0))
        return "a TLS port: TLS ends in a proxy in front (see the settings shipped for "
               "Caddy, nginx and haproxy)";
    if (!colon || (size_t)(colon - text) >= sizeof host)
        return "not an address";
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    if (inet_pton(AF_INET, host, &a->host) != 1)
        return "not an IPv4 address";
    if (!text_number(&port, span_of(colon + 1), 65535))
        return "not a port";
    a->port = (uint16_t)port;
    a->text = memory_copy(span_of(text));
    return NULL;
}

static void
release_address(void *field)
{
    struct config_address *a = field;

    free(a->text);
    free(a->path);
    *a = (struct config_address){0};
}

READ(read_address)
{
    UNUSED;
    struct config_address a = {0};
    const char *wrong = parse_address(text, &a);

    if (!wrong) {
        release_address(field);
        *(struct config_address *)field = a;
    }
    return wrong;
}

READ(read_addresses)
{
    (void)s, (void)field;
    struct config *c = reading_config(r);
    struct config_address a = {0};
    const char *wrong = parse_address(text, &a);

    if (!wrong && c->listen_len == CONFIG_LIST_MAX)
        wrong = "more than 64 addresses";
    if (wrong)
        return wrong;
    c->listen = memory_grow(c->listen, (c->listen_len + 1) * sizeof a);
    c->listen[c->listen_len++] = a;
    return NULL;
}

READ(read_networks)
{
    (void)s, (void)field;
    struct config *c = reading_config(r);
    struct span rest = span_of(text), address = span_cut(&rest, '/');
    struct in_addr host;
    char host_text[32];
    uint64_t bits = 32;

    snprintf(host_text, sizeof host_text, "%.*s", address.len > 31 ? 0 : (int)address.len,
             address.at);
    if (inet_pton(AF_INET, host_text, &host) != 1 ||
        (rest.len > 0 && !text_number(&bits, rest, 32)))
        return "not an IPv4 network";
    if (c->trusted_proxies_len == CONFIG_LIST_MAX)
        return "more than 64 networks";
    uint32_t mask = bits ? UINT32_MAX << (32 - bits) : 0;
    c->trusted_proxies = memory_grow(c->trusted_proxies, (c->trusted_proxies_len + 1) *
                                                             sizeof *c->trusted_proxies);
    c->trusted_proxies[c->trusted_proxies_len++] =
        (struct config_network){ntohl(host.s_addr) & mask, mask};
    return NULL;
}

static void
release_addresses(void *field)
{
    struct config *c = (void *)((char *)field - offsetof(struct config, listen));

    for (size_t i = 0; i < c->listen_len; i++)
        release_address(&c->listen[i]);
    free(c->listen);
    c->listen = NULL;
    c->listen_len = 0;
}

static void
release_networks(void *field)
{
    struct config *c = (void *)((char *)field - offsetof(struct config, trusted_proxies));

    free(c->trusted_proxies);
    c->trusted_proxies = NULL;
    c->trusted_proxies_len = 0;
}

#define KIND(name, expected, read, list, release)                                        \
    const struct kind name = {expected, read, list, release}

KIND(kind_name, "letters, digits, '_', '.' and '-', at most 63", read_name, false,
     release_text);
KIND(kind_user, "letters, digits, '_', '.' and '-', at most 63", read_name, false,
     release_text);
KIND(kind_hook_name, "lower-case letters, digits and '-', at most 63", read_hook_name,
     false, release_text);
KIND(kind_namespace, "lower-case letters, digits, '_' and '-', at most 32",
     read_namespace, false, release_text);
KIND(kind_stream, "lower-case letters, digits, '_', '.' and '-', at most 63", read_stream,
     false, release_text);
KIND(kind_label, "a label of 1 to 200 bytes", read_label, false, release_text);
KIND(kind_zone, "an IANA name like America/Chicago", read_zone, false, release_text);
KIND(kind_file, "the path of a file", read_file, false, release_text);
KIND(kind_files, "paths of files", read_files, true, release_list);
KIND(kind_path, "an absolute path", read_path, false, release_text);
KIND(kind_api_url, "https://ACCOUNT.api-us1.com, without user, query or fragment",
     read_api_url, false, release_text);
KIND(kind_public_url, "https://HOST, without a path", read_public_url, false,
     release_text);
KIND(kind_public_urls, "URLs like https://HOST", read_public_urls, true, release_list);
KIND(kind_redis_url, "redis://HOST:PORT/DATABASE or unix:///PATH", read_redis_url, false,
     release_text);
KIND(kind_duration_us, "a duration like 250ms, 10s, 5m, 24h, 7d", read_duration_us, false,
     NULL);
KIND(kind_duration_ms, "a duration like 250ms, 10s, 5m, 24h", read_duration_ms, false,
     NULL);
KIND(kind_size, "a size like 512KiB, 1MiB, 8GiB", read_size, false, NULL);
KIND(kind_count, "a whole number", read_count, false, NULL);
KIND(kind_int, "a whole number", read_int, false, NULL);
KIND(kind_rate, "a number", read_rate, false, NULL);
KIND(kind_bool, "true or false", read_bool, false, NULL);
KIND(kind_leader, "local or redis", read_leader, false, NULL);
KIND(kind_repeats, "mark, drop or keep", read_repeats, false, NULL);
KIND(kind_sources, "public, admin, api, system", read_sources, true, release_list);
KIND(kind_events, "event types like subscribe", read_events, true, release_list);
KIND(kind_lists, "0 for all lists, or ids of lists", read_lists, true, release_lists);
KIND(kind_address, "127.0.0.1:PORT or unix:/PATH", read_address, false, release_address);
KIND(kind_addresses, "addresses like 127.0.0.1:8080 or unix:/PATH", read_addresses, true,
     release_addresses);
KIND(kind_networks, "networks like 127.0.0.1/32", read_networks, true, release_networks);
