// AC may spell in another way what it was given: URLs with another case, a port, a slash or
// escapes (RFC 3986, 6.2.2 and 6.2.3), labels with HTML entities.
#include "hook/hook.h"

#include "base/text.h"

#include <ctype.h>
#include <stdlib.h>

enum { URL_MAX = 4096, LABEL_MAX = 1 << 16, ENTITY_LEVELS = 3 };

bool
string_set_add(struct string_set *set, struct span text)
{
    char *copy = memory_copy(text);
    size_t i = 0;

    while (i < set->len && strcmp(set->at[i], copy) < 0)
        i++;
    if (i < set->len && strcmp(set->at[i], copy) == 0) {
        free(copy);
        return false;
    }
    set->at = memory_grow(set->at, (set->len + 1) * sizeof *set->at);
    memmove(set->at + i + 1, set->at + i, (set->len - i) * sizeof *set->at);
    set->at[i] = copy;
    set->len++;
    return true;
}

static void
release_set(struct string_set *set)
{
    for (size_t i = 0; i < set->len; i++)
        free(set->at[i]);
    free(set->at);
}

struct hook *
hooks_add(struct hooks *hooks)
{
    hooks->at = memory_grow(hooks->at, (hooks->len + 1) * sizeof *hooks->at);
    hooks->at[hooks->len] = (struct hook){0};
    return &hooks->at[hooks->len++];
}

struct hook *
hooks_find(const struct hooks *hooks, uint64_t row)
{
    for (size_t i = 0; i < hooks->len; i++)
        if (hooks->at[i].row == row)
            return &hooks->at[i];
    return NULL;
}

void
hook_release(struct hook *hook)
{
    free(hook->name);
    free(hook->label);
    free(hook->url);
    release_set(&hook->events);
    release_set(&hook->sources);
    release_set(&hook->tokens);
    *hook = (struct hook){0};
}

void
hooks_release(struct hooks *hooks)
{
    for (size_t i = 0; i < hooks->len; i++)
        hook_release(&hooks->at[i]);
    free(hooks->at);
    *hooks = (struct hooks){0};
}

// --- URLs ----------------------------------------------------------------------------------

// Cuts scheme and host off *url, and sets those of `to`.
static bool
cut_host(struct span *url, struct hook_url *to)
{
    size_t len = 0, scheme = span_find(*url, ':');

    to->https = span_is_nocase(span_to(*url, scheme), "https");
    if (!to->https && !span_is_nocase(span_to(*url, scheme), "http"))
        return false;
    *url = span_from(*url, scheme);
    if (!span_starts(*url, SPAN("://")))
        return false;
    *url = span_from(*url, 3);
    while (len < url->len && !strchr("/?#", url->at[len]))
        len++;
    struct span given = span_to(*url, len), port = SPAN("");
    *url = span_from(*url, len);
    for (size_t i = 0; i < given.len; i++)
        if (given.at[i] == ':')
            port = span_from(given, i);
    if (span_is(port, to->https ? ":443" : ":80") || span_is(port, ":")) {
        given.len -= port.len;
        port.len = 0;
    }
    if (port.len == 0 && given.len && given.at[given.len - 1] == '.')
        given.len--;
    if (given.len == 0 || given.len >= sizeof to->host)
        return false;
    for (size_t i = 0; i < given.len; i++)
        to->host[i] = (char)tolower((unsigned char)given.at[i]);
    to->host[given.len] = '\0';
    return true;
}

// Escapes of what needs none are decoded; the others stay.
static void
add_path(struct buf *to, struct span path)
{
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.at[i], code;
        if (c == '%' && text_unhex(&code, 1, span_to(span_from(path, i + 1), 2)) &&
            code < 128 && (isalnum(code) || (code && strchr("-._~", code)))) {
            c = code;
            i += 2;
        }
        buf_add_byte(to, (char)c);
    }
}

static void
copy_span(char to[HOOK_NAME], struct span s)
{
    size_t len = s.len < HOOK_NAME ? s.len : 0;

    memcpy(to, len ? s.at : "", len);
    to[len] = '\0';
}

bool
hook_copy_name(char to[HOOK_NAME], struct span name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";

    copy_span(to, name);
    if (to[0] == '-' || strspn(to, letters) != name.len)
        to[0] = '\0';
    return to[0];
}

static void
read_path(struct hook_url *to, struct span path)
{
    if (!span_starts(path, SPAN("/hook/")))
        return;
    struct span token = span_from(path, 6), name = span_to(token, span_find(token, '/'));
    if (name.len == token.len || !hook_copy_name(to->name, name))
        return;
    token = span_from(token, name.len + 1);
    size_t given = token.len;
    while (token.len && token.at[token.len - 1] == '/')
        token.len--;
    copy_span(to->token, token);
    to->exact = to->exact && token.len == given;
}

bool
hook_url_parse(struct hook_url *to, const char *url)
{
    struct span rest = span_of(url);
    struct buf path;

    *to = (struct hook_url){.exact = true};
    if (rest.len > URL_MAX || !cut_host(&rest, to))
        return false;
    rest = span_to(rest, span_find(rest, '?'));
    rest = span_to(rest, span_find(rest, '#'));
    buf_init(&path, URL_MAX);
    add_path(&path, rest);
    to->exact = path.len == rest.len;
    read_path(to, buf_span(&path));
    buf_release(&path);
    return true;
}

bool
hook_is_served(const struct hook *hook)
{
    struct hook_url url;

    return hook_url_parse(&url, hook->url) && url.exact;
}

static bool
is_same_url(const char *a, const char *b)
{
    struct span rest_a = span_of(a), rest_b = span_of(b);
    struct hook_url url_a, url_b;

    if (!cut_host(&rest_a, &url_a) || !cut_host(&rest_b, &url_b))
        return strcmp(a, b) == 0;
    return url_a.https == url_b.https && strcmp(url_a.host, url_b.host) == 0 &&
           span_equal(rest_a, rest_b);
}

// --- labels --------------------------------------------------------------------------------

// The code point of an entity without & and ;, 0 for none that is known here.
static uint32_t
entity_code(struct span entity)
{
    static const struct {
        const char *name;
        char c;
    } known[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
    char *end;

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (span_is(entity, known[i].name))
            return (unsigned char)known[i].c;
    if (entity.len < 2 || entity.at[0] != '#')
        return 0;
    bool hex = entity.at[1] == 'x' || entity.at[1] == 'X';
    const char *at = entity.at + 1 + hex;
    unsigned long code = strtoul(at, &end, hex ? 16 : 10); // a ';' follows
    bool is_number = isxdigit((unsigned char)*at) && end == entity.at + entity.len;
    return is_number && code <= 0x10ffff ? (uint32_t)code : 0;
}

static void
add_decoded(struct buf *to, struct span text)
{
    char utf8[4];

    for (size_t i = 0; i < text.len; i++) {
        struct span rest = span_from(text, i + 1);
        size_t end = text.at[i] == '&' ? span_find(rest, ';') : rest.len;
        uint32_t code = end < rest.len ? entity_code(span_to(rest, end)) : 0;
        if (code) {
            buf_add(to, span_make(utf8, (size_t)(text_put_utf8(utf8, code) - utf8)));
            i += end + 1;
        } else {
            buf_add_byte(to, text.at[i]);
        }
    }
}

// Some escape twice: "&amp;amp;".
static void
decode(struct buf *to, const char *label)
{
    struct buf next;

    buf_init(to, LABEL_MAX);
    buf_add_text(to, label);
    for (int level = 0; level < ENTITY_LEVELS; level++) {
        buf_init(&next, LABEL_MAX);
        add_decoded(&next, buf_span(to));
        buf_release(to);
        *to = next;
    }
}

static bool
is_same_label(const char *a, const char *b)
{
    struct buf decoded_a, decoded_b;

    if (strcmp(a, b) == 0 || (!strchr(a, '&') && !strchr(b, '&')))
        return strcmp(a, b) == 0;
    decode(&decoded_a, a);
    decode(&decoded_b, b);
    bool equal = !decoded_a.full && !decoded_b.full &&
                 span_equal(buf_span(&decoded_a), buf_span(&decoded_b));
    buf_release(&decoded_a);
    buf_release(&decoded_b);
    return equal;
}

// --- comparing -----------------------------------------------------------------------------

static bool
is_same_set(const struct string_set *a, const struct string_set *b)
{
    size_t i = 0;

    while (i < a->len && i < b->len && strcmp(a->at[i], b->at[i]) == 0)
        i++;
    return i == a->len && i == b->len;
}

unsigned
hook_differs(const struct hook *wanted, const struct hook *found)
{
    unsigned differs = 0;

    if (!is_same_label(wanted->label, found->label))
        differs |= DIFFERS_LABEL;
    if (!is_same_url(wanted->url, found->url))
        differs |= DIFFERS_URL;
    if (!is_same_set(&wanted->events, &found->events))
        differs |= DIFFERS_EVENTS;
    if (!is_same_set(&wanted->sources, &found->sources))
        differs |= DIFFERS_SOURCES;
    if (wanted->list != found->list)
        differs |= DIFFERS_LIST;
    return differs;
}

static void
digest_add(uint64_t *digest, struct span s) // FNV-1a, with the end of each piece
{
    for (size_t i = 0; i < s.len; i++)
        *digest = (*digest ^ (unsigned char)s.at[i]) * UINT64_C(0x100000001b3);
    *digest = (*digest ^ 0x100) * UINT64_C(0x100000001b3);
}

static void
digest_set(uint64_t *digest, const struct string_set *set)
{
    for (size_t i = 0; i < set->len; i++)
        digest_add(digest, span_of(set->at[i]));
    digest_add(digest, SPAN(""));
}

uint64_t
hook_digest(const struct hook *hook)
{
    uint64_t digest = UINT64_C(0xcbf29ce484222325);

    digest_add(&digest, span_of(hook->label));
    digest_add(&digest, span_of(hook->url));
    digest_set(&digest, &hook->events);
    digest_set(&digest, &hook->sources);
    digest_add(&digest, span_make(&hook->list, sizeof hook->list));
    return digest ? digest : 1; // 0 is none
}
