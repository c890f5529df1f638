// Addresses to listen on, and names of this machine.
#include "base/text.h"
#include "config/kind.h"

#include <stddef.h>
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
    struct span path = span_of(text);

    if (text[0] == '/')
        return "a path: unix: belongs before it";
    if (strncmp(text, "unix:", 5) == 0) {
        path = span_from(path, strncmp(text, "unix:///", 8) == 0 ? 7 : 5);
        if (!span_starts(path, SPAN("/")) || path.len > 100)
            return "not the path of a unix socket";
        a->path = memory_copy(path);
        a->text = memory_copy(span_of(text));
        return NULL;
    }
    if (means_tls(text))
        return "a TLS port: TLS ends in a proxy in front (see the settings shipped for "
               "Caddy, nginx and haproxy)";
    const char *wrong = sockets_parse(&a->at, span_of(text));
    if (!wrong)
        a->text = memory_copy(span_of(text));
    return wrong;
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
    UNUSED;
    struct socket_addresses *list = field;
    struct socket_address a = {0};
    const char *wrong = parse_address(text, &a);

    if (!wrong && list->len == CONFIG_LIST_MAX)
        wrong = "one more than 64 addresses";
    if (wrong) {
        release_address(&a);
        return wrong;
    }
    list->at = memory_grow(list->at, (list->len + 1) * sizeof a);
    list->at[list->len++] = a;
    return NULL;
}

// A Host as a browser sends it, without a port.
READ(read_host)
{
    UNUSED;
    if (!kind_is_made_of(text, LOWER UPPER DIGITS, LOWER UPPER DIGITS "._-", 253))
        return "not a host name";
    return kind_add_text(field, text);
}

static void
release_addresses(void *field)
{
    struct socket_addresses *list = field;

    for (size_t i = 0; i < list->len; i++)
        release_address(&list->at[i]);
    free(list->at);
    *list = (struct socket_addresses){0};
}

KIND(kind_address, "an address like 127.0.0.1:9180, [::1]:9180 or unix:/PATH",
     read_address, false, release_address);
KIND(kind_addresses, "addresses like 127.0.0.1:8080, [::]:8080 or unix:/PATH",
     read_addresses, true, release_addresses);
KIND_OR_NONE(kind_hosts, "host names", read_host, kind_release_list);
