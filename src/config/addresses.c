// Addresses to listen on, and networks.
#include "base/text.h"
#include "config/kind.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

// "443s" as civetweb writes it, "443 ssl" as nginx does, "https://...".
static bool
means_tls(const char *text)
{
    size_t len = strlen(text);

    return strcasestr(text, "ssl") || strcasestr(text, "tls") ||
           strncasecmp(text, "https", 5) == 0 ||
           (len > 1 && text[len - 1] == 's' && strchr(DIGITS, text[len - 2]));
}

static const char *
parse_address(const char *text, struct socket_address *a)
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
    if (means_tls(text))
        return "a TLS port: TLS ends in a proxy in front (see the settings shipped for "
               "Caddy, nginx and haproxy)";
    if (!colon || (size_t)(colon - text) >= sizeof host)
        return "not an address";
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    if (inet_pton(AF_INET, host, &a->host) != 1)
        return "not an IPv4 address with a port";
    if (!text_number(&port, span_of(colon + 1), 65535) || port == 0)
        return "an address with a broken port";
    a->port = (uint16_t)port;
    a->text = memory_copy(span_of(text));
    return NULL;
}

static void
release_address(void *field)
{
    struct socket_address *a = field;

    free(a->text);
    free(a->path);
    *a = (struct socket_address){0};
}

READ(read_address)
{
    UNUSED;
    struct socket_address a = {0};
    const char *wrong = parse_address(text, &a);

    if (!wrong) {
        release_address(field);
        *(struct socket_address *)field = a;
    }
    return wrong;
}

READ(read_addresses)
{
    (void)s, (void)field;
    struct config *c = reading_config(r);
    struct socket_address a = {0};
    const char *wrong = parse_address(text, &a);

    if (!wrong && c->listen_len == CONFIG_LIST_MAX)
        wrong = "one more than 64 addresses";
    if (wrong) {
        release_address(&a);
        return wrong;
    }
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
        return "one more than 64 networks";
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

KIND(kind_address, "127.0.0.1:PORT or unix:/PATH", read_address, false, release_address);
KIND(kind_addresses, "addresses like 127.0.0.1:8080 or unix:/PATH", read_addresses, true,
     release_addresses);
KIND_OR_NONE(kind_networks, "networks like 127.0.0.1/32", read_networks,
             release_networks);
