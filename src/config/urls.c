// URLs: of the API, of ourselves as ActiveCampaign sees us, of Redis. One that holds a
// password is refused and never shown (reader.c).
#include "base/text.h"
#include "config/kind.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

// A host that is an IPv4 address, in host byte order; false for a name. "127.example.com"
// is a name, and not on this machine.
static bool
read_ipv4(struct span host, uint32_t *address)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr in;

    if (host.len >= sizeof text)
        return false;
    memcpy(text, host.at, host.len);
    text[host.len] = '\0';
    if (inet_pton(AF_INET, text, &in) != 1)
        return false;
    *address = ntohl(in.s_addr);
    return true;
}

static bool
is_loopback(struct span host)
{
    uint32_t address;

    return span_is_nocase(host, "localhost") ||
           (read_ipv4(host, &address) && address >> 24 == 127);
}

// Addresses that the internet does not route (RFC 6890).
static bool
is_private(struct span host)
{
    static const struct {
        uint32_t address;
        int bits;
    } networks[] = {{0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},
                    {0xa9fe0000, 16}, {0xac100000, 12}, {0xc0a80000, 16}};
    uint32_t address;

    if (is_loopback(host))
        return true;
    if (!read_ipv4(host, &address))
        return false;
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++)
        if ((address ^ networks[i].address) >> (32 - networks[i].bits) == 0)
            return true;
    return false;
}

// A host name or an IPv4 address, and a port or nothing.
static bool
is_host(struct span host, struct span port)
{
    uint64_t number;
    bool good = host.len > 0 && host.len <= 253 && host.at[0] != '-' && host.at[0] != '.';

    for (size_t i = 0; i < host.len; i++)
        good = good && strchr(LOWER UPPER DIGITS ".-", host.at[i]);
    return good && (port.len == 0 || (text_number(&number, port, 65535) && number > 0));
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
    if (!is_host(*host, *port))
        return "a URL with a broken host or port";
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
        kind_set_text(field, url);
    return wrong;
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
read_redis_host(struct config *c, struct span rest)
{
    uint64_t number = 6379;
    struct span address = span_cut(&rest, '/');
    struct span host = span_cut(&address, ':');

    if (!is_host(host, address))
        return "a Redis URL with a broken host or port";
    if (address.len > 0)
        text_number(&number, address, 65535);
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
        kind_set_text(field, text);
    return wrong;
}

KIND(kind_api_url, "https://ACCOUNT.api-us1.com, without user, query or fragment",
     read_api_url, false, kind_release_text);
KIND(kind_public_url, "https://HOST, without a path", read_public_url, false,
     kind_release_text);
KIND_OR_NONE(kind_public_urls, "URLs like https://HOST", read_public_urls,
             kind_release_list);
KIND(kind_redis_url, "redis://HOST:PORT/DATABASE or unix:///PATH", read_redis_url, false,
     kind_release_text);
