// The token is compared with the tokens of all secrets in constant time, and against a dummy for
// an unknown name, so that the time of a 404 tells nothing. The answer is the same whichever part
// was wrong.
#include "receiver/receiver.h"

#include "base/text.h"
#include "edge/digest.h"
#include "event/delivery.h"

#include <stdint.h>
#include <stdlib.h>

struct gate_entry {
    struct span name;
    size_t hook;
    char (*tokens)[SECRET_TOKEN_TEXT];
};

struct gate {
    struct gate_entry *entries; // by name, and after them the dummy
    size_t entries_len, tokens_len;
    size_t hooks_len; // hooks numbered from here on are former ones
    uint64_t body_max;
};

static int
compare_entries(const void *a, const void *b)
{
    const struct gate_entry *x = a, *y = b;
    size_t len = x->name.len < y->name.len ? x->name.len : y->name.len;
    int order = len ? memcmp(x->name.at, y->name.at, len) : 0;

    return order ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

static void
fill_entry(struct gate *g, struct gate_entry *e, struct span name, size_t hook,
           const struct secrets *s)
{
    *e = (struct gate_entry){.name = name, .hook = hook};
    e->tokens = memory_get(g->tokens_len * sizeof *e->tokens);
    for (size_t i = 0; i < g->tokens_len; i++)
        secrets_token(s, i, name, e->tokens[i]);
}

struct gate *
gate_make(const struct config *c, const struct secrets *s,
          const struct config_list *former)
{
    struct gate *g = memory_get(sizeof *g);

    *g = (struct gate){.entries_len = c->hooks_len + 1 + (former ? former->len : 0),
                       .tokens_len = s->len,
                       .hooks_len = c->hooks_len + 1,
                       .body_max = c->body_max};
    g->entries = memory_get((g->entries_len + 1) * sizeof *g->entries);
    fill_entry(g, &g->entries[g->entries_len], SPAN("-"), SIZE_MAX, s);
    for (size_t i = 0; i < g->entries_len; i++) {
        const char *name =
            i < g->hooks_len ? config_served(c, i)->name : former->at[i - g->hooks_len];
        fill_entry(g, &g->entries[i], span_of(name), i, s);
    }
    qsort(g->entries, g->entries_len, sizeof *g->entries, compare_entries);
    return g;
}

void
gate_release(struct gate *g)
{
    if (!g)
        return;
    for (size_t i = 0; i <= g->entries_len; i++) {
        explicit_bzero(g->entries[i].tokens, g->tokens_len * sizeof *g->entries->tokens);
        free(g->entries[i].tokens);
    }
    free(g->entries);
    free(g);
}

static size_t
find_hook(const struct gate *g, struct span path)
{
    if (!span_starts(path, SPAN("/hook/")))
        return SIZE_MAX;
    struct span token = span_from(path, 6);
    struct span name = span_cut(&token, '/');
    const struct gate_entry wanted = {.name = name};
    const struct gate_entry *e =
        bsearch(&wanted, g->entries, g->entries_len, sizeof wanted, compare_entries);
    unsigned equal = 0;
    if (!e)
        e = &g->entries[g->entries_len];
    if (token.len != SECRET_TOKEN)
        return SIZE_MAX;
    for (size_t i = 0; i < g->tokens_len; i++)
        equal |= (unsigned)digest_equal(e->tokens[i], token.at, SECRET_TOKEN);
    return equal ? e->hook : SIZE_MAX;
}

// Exactly one Content-Length that is a plain number, or exactly one Transfer-Encoding that
// is `chunked`, never both (RFC 9112 6.1 to 6.3). Returns 0 or the answer.
static int
read_length(struct gate_verdict *v, const struct http_request *r)
{
    size_t lengths, codings;
    struct span length = http_find_header(r, "Content-Length", &lengths);
    struct span coding = http_find_header(r, "Transfer-Encoding", &codings);

    if (lengths + codings > 1)
        return 400;
    if (codings == 1) {
        v->chunked = true;
        return r->is_http_11 && span_is_nocase(span_trim(coding), "chunked") ? 0 : 400;
    }
    if (lengths == 0)
        return 411;
    return text_number(&v->length, span_trim(length), UINT64_MAX) ? 0 : 400;
}

static bool
has_odd_header(const struct http_request *r)
{
    for (size_t i = 0; i < r->headers_len; i++) {
        struct span name = r->headers[i].name;
        if (name.len == 0)
            return true;
        for (size_t at = 0; at < name.len; at++)
            if (name.at[at] <= ' ' || name.at[at] == 0x7f)
                return true;
    }
    return false;
}

// Heads that two readers may read differently (RFC 9112 5.1, 5.2, and 3.2: one Host).
static bool
is_odd(const struct http_request *r)
{
    size_t hosts;

    (void)http_find_header(r, "Host", &hosts);
    return !r->is_whole || hosts > 1 || (hosts == 0 && r->is_http_11) ||
           has_odd_header(r);
}

// Returns 0 or the answer. With so many headers that some were dropped, nothing else about
// them can be known.
static int
judge(const struct gate *g, const struct http_request *r, struct gate_verdict *v)
{
    if (v->hook == SIZE_MAX)
        return 404;
    if (!span_is(r->method, "POST"))
        return 405;
    if (r->headers_len >= HTTP_HEADERS_MAX)
        return 431;
    if (is_odd(r))
        return 400;
    int code = read_length(v, r);
    if (code != 0)
        return code;
    if (r->query.len > DELIVERY_QUERY_MAX)
        return 414;
    if (v->type.len > DELIVERY_TYPE_MAX || v->encoding.len > DELIVERY_TYPE_MAX)
        return 431;
    return !v->chunked && v->length > g->body_max ? 413 : 0;
}

struct gate_verdict
gate_judge(const struct gate *g, const struct http_request *r)
{
    struct span expect = http_find_header(r, "Expect", NULL);
    struct gate_verdict v = {.hook = find_hook(g, r->path),
                             .former = SIZE_MAX,
                             .wants_continue =
                                 r->is_http_11 &&
                                 span_is_nocase(span_trim(expect), "100-continue"),
                             .type = http_find_header(r, "Content-Type", NULL),
                             .encoding = http_find_header(r, "Content-Encoding", NULL)};

    if (v.hook != SIZE_MAX && v.hook >= g->hooks_len) {
        v.former = span_is(r->method, "POST") ? v.hook - g->hooks_len : SIZE_MAX;
        v.hook = SIZE_MAX;
    }
    v.code = judge(g, r, &v);
    return v;
}
