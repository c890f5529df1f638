// URLs: of the API, of ourselves as ActiveCampaign sees us, of Redis. One that holds a
// password is refused and never shown (reader.c).
#include "base/text.h"
#include "config/kind.h"

#include <stdio.h>
#include <stdlib.h>

// A URL's host is a name, an IPv4 address, or an IPv6 one in brackets; its port may be missing.
struct place {
    struct span host; // without brackets
    struct span port; // digits, or empty
    bool is_address;
    union address address;
};

static bool
is_loopback(const struct place *p)
{
    if (!p->is_address)
        return span_is_nocase(p->host, "localhost");
    return p->address.any.sa_family == AF_INET6
               ? IN6_IS_ADDR_LOOPBACK(&p->address.in6.sin6_addr)
               : ntohl(p->address.in.sin_addr.s_addr) >> 24 == 127;
}

// Names with '_' are not the internet's, and common for containers.
static const char *
check_name(struct span host)
{
    if (host.len == 0 || host.len > 253 || host.at[0] == '-' || host.at[0] == '.')
        return "a URL with a broken host";
    for (size_t i = 0; i < host.len; i++)
        if ((unsigned char)host.at[i] >= 0x80)
            return "a URL whose host is not ASCII: write it in punycode, as xn--...";
        else if (!strchr(LOWER UPPER DIGITS "._-", host.at[i]))
            return "a URL with a broken host or port";
    return NULL;
}

// Reads HOST[:PORT] whole. Returns NULL, or what is wrong.
static const char *
read_place(struct place *p, struct span text)
{
    char full[300];
    uint64_t number;

    *p = (struct place){.port = text};
    size_t close = span_find(text, ']');
    if (text.len > 0 && text.at[0] == '[' && close < text.len) {
        p->host = span_make(text.at + 1, close - 1);
        p->port = span_from(text, close + 1);
        if (p->port.len > 0 && p->port.at[0] != ':')
            return "a URL with a broken host or port";
        p->port = span_from(p->port, 1);
        snprintf(full, sizeof full, "[%.*s]:1", (int)p->host.len, p->host.at);
        p->is_address = sockets_parse(&p->address, span_of(full)) == NULL;
        if (!p->is_address)
            return "a URL with a broken IPv6 address";
    } else {
        p->host = span_cut(&p->port, ':');
        const char *wrong = check_name(p->host);
        if (wrong)
            return wrong;
        snprintf(full, sizeof full, "%.*s:1", (int)p->host.len, p->host.at);
        p->is_address = sockets_parse(&p->address, span_of(full)) == NULL;
    }
    if (p->port.len > 0 && (!text_number(&number, p->port, 65535) || number == 0))
        return "a URL with a broken host or port";
    return NULL;
}

static bool
take_scheme(struct span *url, const char *scheme)
{
    size_t len = strlen(scheme);

    if (!span_is_nocase(span_to(*url, len), scheme))
        return false;
    *url = span_from(*url, len);
    return true;
}

// Checks scheme and host of a URL without a path and writes it in one spelling, so that it can
// be compared: scheme and host in lower case, no default port, no trailing slash or dot.
static const char *
read_base_url(const char *text, const char *suffix, char *to, size_t size, bool *https,
              struct place *p)
{
    struct span url = span_of(text);

    if (strpbrk(text, "@?#") || strpbrk(text, " \t\"<>\\"))
        return "a URL with user, query, fragment or blanks";
    *https = take_scheme(&url, "https://");
    if (!*https && !take_scheme(&url, "http://"))
        return "not a URL that begins with https://";
    while (url.len > 0 && url.at[url.len - 1] == '/')
        url.len--;
    size_t end = strlen(suffix);
    if (end && url.len > end && memcmp(url.at + url.len - end, suffix, end) == 0)
        url.len -= end;
    if (url.len == 0 || span_find(url, '/') < url.len || url.len + 16 >= size)
        return "a URL without a host, or with a path";
    const char *wrong = read_place(p, url);
    if (wrong)
        return wrong;
    while (p->port.len > 1 && p->port.at[0] == '0')
        p->port = span_from(p->port, 1);
    if (p->host.len > 1 && p->host.at[p->host.len - 1] == '.')
        p->host.len--;
    bool ipv6 = url.at[0] == '[', plain = p->port.len == 0;
    plain = plain || span_is(p->port, *https ? "443" : "80");
    snprintf(to, size, "%s%s%.*s%s%s%.*s", *https ? "https://" : "http://",
             ipv6 ? "[" : "", (int)p->host.len, p->host.at, ipv6 ? "]" : "",
             plain ? "" : ":", plain ? 0 : (int)p->port.len, p->port.at);
    for (char *c = to; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    return NULL;
}

READ(read_api_url)
{
    UNUSED;
    char url[512];
    struct place place;
    bool https;
    const char *wrong = read_base_url(text, "/api/3", url, sizeof url, &https, &place);

    if (!wrong && !https && !is_loopback(&place))
        wrong = "http, which would show the API token to everyone on the way";
    if (!wrong)
        kind_set_text(field, url);
    return wrong;
}

static const char *
check_public_url(struct reading *r, const char *text, char *url, size_t size)
{
    struct place p;
    bool https;
    const char *wrong = read_base_url(text, "", url, size, &https, &p);

    if (wrong)
        return wrong;
    if (!https)
        reading_warn(r, "http: whoever listens on the way reads tokens and events; "
                        "expected https");
    else if (p.port.len > 0 && !span_is(p.port, "443"))
        reading_warn(r, "ActiveCampaign posts to https on port 443 only");
    if (is_loopback(&p) || (p.is_address && (sockets_is_private(&p.address) ||
                                             span_starts(p.host, SPAN("0.")))))
        reading_warn(r, "ActiveCampaign cannot reach a private address");
    return NULL;
}

READ(read_public_url)
{
    UNUSED;
    char url[512];
    const char *wrong = check_public_url(r, text, url, sizeof url);

    if (!wrong)
        kind_set_text(field, url);
    return wrong;
}

READ(read_public_urls)
{
    UNUSED;
    char url[512];
    const char *wrong = check_public_url(r, text, url, sizeof url);

    return wrong ? wrong : kind_add_text(field, url);
}

static const char *
read_database(struct config *c, struct span digits)
{
    uint64_t number = 0;

    if (digits.len > 0 && !text_number(&number, digits, 1000))
        return "a Redis URL whose database is no number";
    c->redis_database = (int)number;
    return NULL;
}

static const char *
read_redis_host(struct config *c, struct span rest)
{
    uint64_t number = 6379;
    struct place p;

    if (span_find(rest, '?') < rest.len)
        return "a Redis URL with a query: only unix:///PATH?db=N takes one";
    struct span address = span_cut(&rest, '/');
    char here[32];
    if (address.len < 8 && (address.len == 0 || address.at[0] == ':')) { // this machine
        snprintf(here, sizeof here, "127.0.0.1%.*s", (int)address.len, address.at);
        address = span_of(here);
    }
    const char *wrong = read_place(&p, address);
    if (wrong)
        return wrong;
    if (p.port.len > 0)
        text_number(&number, p.port, 65535);
    c->redis_port = (uint16_t)number;
    free(c->redis_host);
    c->redis_host = memory_copy(p.host);
    return read_database(c, rest);
}

static const char *
read_redis_path(struct config *c, struct span rest)
{
    struct span path = span_cut(&rest, '?');

    if (!span_starts(path, SPAN("/")) || path.len > 100)
        return "not the path of a unix socket";
    if (rest.len > 0 && !span_starts(rest, SPAN("db=")))
        return "a Redis URL with a query other than ?db=N";
    free(c->redis_host);
    c->redis_host = NULL;
    c->redis_path = memory_copy(path);
    return read_database(c, span_from(rest, 3));
}

READ(read_redis_url)
{
    (void)s;
    struct config *c = reading_config(r);
    struct span url = span_of(text);
    const char *wrong;

    if (strchr(text, '@'))
        return "a user or password in the URL: use redis.user and redis.password_file";
    if (take_scheme(&url, "rediss://"))
        return "TLS to Redis, which this build lacks: use a local proxy or a unix socket";
    free(c->redis_path);
    c->redis_path = NULL;
    if (take_scheme(&url, "redis://"))
        wrong = read_redis_host(c, url);
    else if (take_scheme(&url, "unix://") || take_scheme(&url, "unix:"))
        wrong = read_redis_path(c, url);
    else if (text[0] == '/')
        wrong = "a path: unix:// belongs before it";
    else
        wrong = "not a Redis URL";
    if (!wrong)
        kind_set_text(field, text);
    return wrong;
}

KIND(kind_api_url, "https://ACCOUNT.api-us1.com, without user, query or fragment",
     read_api_url, false, kind_release_text);
KIND(kind_public_url, "https://HOST, without a path", read_public_url, false,
     kind_release_text);
KIND_OR_NONE(kind_public_urls, "URLs like https://HOST", read_public_urls,
             kind_release_list);
KIND(kind_redis_url, "redis://HOST:PORT/DATABASE or unix:///PATH?db=DATABASE",
     read_redis_url, false, kind_release_text);
