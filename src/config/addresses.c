// URLs and addresses: of the API, of ourselves as ActiveCampaign sees us, to listen on. A text that may hold a password is never shown (reader.c).
#include "base/text.h"
#include "config/value.h"

#include <ctype.h>
#include <stdio.h>

// A URL of scheme and host in one spelling, so that it can be compared: both in lower case, no
// default port, no trailing slash or dot.
struct url {
    char text[512];
    bool https, loopback, is_private;
    bool other_port; // than the scheme's own
};

static bool
is_loopback(const struct url_host *h)
{
    return h->is_address ? sockets_is_loopback(&h->address)
                         : span_is_nocase(h->name, "localhost");
}

// Names with '_' are not the internet's, and common for containers.
static const char *
check_name(struct span name)
{
    if (name.len == 0 || name.len > 253 || name.at[0] == '-' || name.at[0] == '.')
        return "a URL with an invalid host";
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.at[i] >= 0x80)
            return "a URL whose host is not ASCII: write it in punycode, as xn--...";
        else if (!isalnum((unsigned char)name.at[i]) && !strchr("._-", name.at[i]))
            return "a URL with an invalid host or port";
    return NULL;
}

const char *
url_read_host(struct url_host *h, struct span text)
{
    char full[300];
    uint64_t number;
    size_t close = span_find(text, ']');
    bool brackets = text.len > 0 && text.at[0] == '[' && close < text.len;

    *h = (struct url_host){.port = text};
    if (brackets) {
        h->name = span_make(text.at + 1, close - 1);
        h->port = span_from(text, close + 1);
        if (h->port.len > 0 && h->port.at[0] != ':')
            return "a URL with an invalid host or port";
        h->port = span_from(h->port, 1);
    } else {
        h->name = span_cut(&h->port, ':');
        const char *error = check_name(h->name);
        if (error)
            return error;
    }
    snprintf(full, sizeof full, brackets ? "[%.*s]:1" : "%.*s:1", (int)h->name.len,
             h->name.at);
    h->is_address = sockets_parse(&h->address, span_of(full)) == NULL;
    if (brackets && !h->is_address)
        return "a URL with an invalid IPv6 address";
    if (h->port.len > 0 && (!text_number(&number, h->port, 65535) || number == 0))
        return "a URL with an invalid host or port";
    return NULL;
}

bool
url_take_scheme(struct span *url, const char *scheme)
{
    size_t len = strlen(scheme);

    if (!span_is_nocase(span_to(*url, len), scheme))
        return false;
    *url = span_from(*url, len);
    return true;
}

// Writes it in one spelling.
static void
write_url(struct url *u, struct url_host *h, bool brackets)
{
    while (h->port.len > 1 && h->port.at[0] == '0')
        h->port = span_from(h->port, 1);
    if (h->name.len > 1 && h->name.at[h->name.len - 1] == '.')
        h->name.len--;
    u->other_port = h->port.len > 0 && !span_is(h->port, u->https ? "443" : "80");
    snprintf(u->text, sizeof u->text, "%s%s%.*s%s%s%.*s",
             u->https ? "https://" : "http://", brackets ? "[" : "", (int)h->name.len,
             h->name.at, brackets ? "]" : "", u->other_port ? ":" : "",
             u->other_port ? (int)h->port.len : 0, h->port.at);
    for (char *c = u->text; *c; c++)
        *c = (char)tolower((unsigned char)*c);
}

// Also takes a path that is exactly `suffix`, and leaves it out.
static const char *
read_url(struct url *u, const char *text, const char *suffix)
{
    struct span url = span_of(text);
    struct url_host h;

    if (strpbrk(text, "@?#") || strpbrk(text, " \t\"<>\\"))
        return "a URL with user, query, fragment or blanks";
    u->https = url_take_scheme(&url, "https://");
    if (!u->https && !url_take_scheme(&url, "http://"))
        return "not a URL that begins with https://";
    while (url.len > 0 && url.at[url.len - 1] == '/')
        url.len--;
    size_t end = strlen(suffix);
    if (end && url.len > end && memcmp(url.at + url.len - end, suffix, end) == 0)
        url.len -= end;
    if (url.len == 0 || span_find(url, '/') < url.len || url.len + 16 >= sizeof u->text)
        return "a URL without a host, or with a path";
    const char *error = url_read_host(&h, url);
    if (error)
        return error;
    u->loopback = is_loopback(&h);
    u->is_private = h.is_address &&
                    (sockets_is_private(&h.address) || span_starts(h.name, SPAN("0.")));
    write_url(u, &h, url.at[0] == '[');
    return NULL;
}

static const char *
read_api_url(const struct value *v)
{
    struct url u;
    const char *error = read_url(&u, v->text, "/api/3");

    if (!error && !u.https && !u.loopback)
        error = "http, which would show the API token to anyone on the network path";
    return error ? error : value_store_text(v, u.text);
}

static const char *
read_public_url(const struct value *v)
{
    struct url u;
    const char *error = read_url(&u, v->text, "");

    if (error)
        return error;
    if (!u.https)
        problem_add(v->reading, WARNING, v->place,
                    "http: anyone on the network path can read tokens and events; "
                    "expected https");
    else if (u.other_port)
        problem_add(v->reading, WARNING, v->place,
                    "ActiveCampaign posts to https on port 443 only");
    if (u.loopback || u.is_private)
        problem_add(v->reading, WARNING, v->place,
                    "ActiveCampaign cannot reach a private address");
    return value_store_text(v, u.text);
}

// --- listeners ---------------------------------------------------------------------------------

// "443s" as civetweb writes it, "443 ssl" as nginx does, "https://...".
static bool
means_tls(const char *text)
{
    size_t len = strlen(text);

    return strcasestr(text, "ssl") || strcasestr(text, "tls") ||
           strncasecmp(text, "https", 5) == 0 ||
           (len > 1 && text[len - 1] == 's' && isdigit((unsigned char)text[len - 2]));
}

static const char *
parse_address(const struct value *v, struct socket_address *a)
{
    const char *text = v->text;
    struct span path = span_of(text);

    *a = (struct socket_address){.text = reading_copy(v->reading, path, 1)};
    if (text[0] == '/')
        return "a path: unix: belongs before it";
    if (strncmp(text, "unix:", 5) == 0) {
        path = span_from(path, strncmp(text, "unix:///", 8) == 0 ? 7 : 5);
        a->path = reading_copy(v->reading, path, 1);
        bool ok = path.len > 0 && path.len <= 100 && *path.at == '/';
        return ok ? NULL : "not the path of a unix socket";
    }
    if (means_tls(text))
        return "a TLS port: a proxy in front must terminate TLS (see deploy/proxy for "
               "Caddy, nginx and haproxy)";
    return sockets_parse(&a->at, path);
}

// One, or another one of a list.
static const char *
read_address(const struct value *v)
{
    struct socket_addresses *list = v->field;

    if (!v->setting->type->field->item_size)
        return parse_address(v, v->field);
    const char *error = parse_address(v, &list->at[list->len]);
    list->len += !error;
    return error;
}

static bool
same_addresses(const void *a, const void *b)
{
    const struct socket_addresses *x = a, *y = b;
    bool same = x->len == y->len;

    for (size_t i = 0; same && i < x->len; i++)
        same = strcmp(x->at[i].text, y->at[i].text) == 0;
    return same;
}

static const struct value_field address_field = {.size = sizeof(struct socket_address),
                                                 .is_text = true},
                                addresses_field = {
                                    .size = sizeof(struct socket_addresses),
                                    .item_size = sizeof(struct socket_address),
                                    .same = same_addresses};

const struct value_type value_api_url = {
    "https://ACCOUNT.api-us1.com, without user, query or fragment", read_api_url,
    .field = &text_field};
const struct value_type value_public_url = {"https://HOST, without a path",
                                            read_public_url, .field = &text_field};
const struct value_type value_public_urls = {"URLs like https://HOST", read_public_url,
                                             .field = &list_field, .may_be_empty = true};
const struct value_type value_address = {
    "an address like 127.0.0.1:9180, [::1]:9180 or unix:/PATH", read_address,
    .field = &address_field};
const struct value_type value_addresses = {
    "addresses like 127.0.0.1:8080, [::]:8080 or unix:/PATH", read_address,
    .field = &addresses_field};
