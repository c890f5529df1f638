// The token is compared with the tokens of all secrets in constant time, and against a dummy for
// an unknown name, so that the time of a 404 tells nothing. The answer is the same whichever part
// was wrong.
#include "receiver/receiver.h"

#include "base/text.h"
#include "edge/digest.h"
#include "event/delivery.h"

#include <stdint.h>
#include <stdlib.h>

static int
compare_name(const void *name, const void *hook)
{
    struct span x = *(const struct span *)name,
                y = span_of(((const struct gate_hook *)hook)->name);
    int order = x.len && y.len ? memcmp(x.at, y.at, x.len < y.len ? x.len : y.len) : 0;

    return order ? order : (x.len > y.len) - (x.len < y.len);
}

static int
compare_hooks(const void *a, const void *b)
{
    struct span name = span_of(((const struct gate_hook *)a)->name);

    return compare_name(&name, b);
}

static void
add_hook(struct gate *g, const struct secrets *s, const char *name,
         const struct config_hook *config)
{
    struct gate_hook *h = &g->hooks[g->hooks_len++];

    *h = (struct gate_hook){.name = memory_copy(span_of(name)), .config = config};
    h->tokens = memory_get(g->tokens_len * sizeof *h->tokens);
    for (size_t i = 0; i < g->tokens_len; i++)
        secrets_token(s, i, span_of(name), h->tokens[i]);
}

static void
add_former(struct gate *g, const struct secrets *s, const char *name, size_t hooks_max)
{
    bool known = g->hooks_len == hooks_max;

    for (size_t i = 0; i < g->hooks_len && !known; i++)
        known = strcmp(g->hooks[i].name, name) == 0;
    if (!known)
        add_hook(g, s, name, NULL);
}

struct gate *
gate_make(const struct config *c, const struct secrets *s, const struct gate *before,
          const struct config *earlier)
{
    size_t served = c->hooks_len + 1, hooks_max = served + CONFIG_HOOKS_MAX;
    struct gate *g = memory_get(sizeof *g);

    *g = (struct gate){.tokens_len = s->len, .body_max = c->body_max};
    g->hooks = memory_get((hooks_max + 1) * sizeof *g->hooks);
    for (size_t i = 0; i < served; i++)
        add_hook(g, s, config_served(c, i)->name, config_served(c, i));
    for (size_t i = 0; before && i < before->hooks_len; i++)
        add_former(g, s, before->hooks[i].name, hooks_max);
    for (size_t i = 0; earlier && i < earlier->hooks_len; i++)
        add_former(g, s, earlier->hooks[i].name, hooks_max);
    qsort(g->hooks, g->hooks_len, sizeof *g->hooks, compare_hooks);
    add_hook(g, s, "-", NULL);
    g->hooks_len--;
    return g;
}

void
gate_release(struct gate *g)
{
    if (!g)
        return;
    for (size_t i = 0; i <= g->hooks_len; i++) {
        explicit_bzero(g->hooks[i].tokens, g->tokens_len * sizeof *g->hooks->tokens);
        free(g->hooks[i].tokens);
        free(g->hooks[i].name);
    }
    free(g->hooks);
    free(g);
}

static size_t
find_hook(const struct gate *g, struct span path)
{
    if (!span_starts(path, SPAN("/hook/")))
        return SIZE_MAX;
    struct span token = span_from(path, 6);
    struct span name = span_cut(&token, '/');
    const struct gate_hook *h =
        bsearch(&name, g->hooks, g->hooks_len, sizeof *h, compare_name);
    unsigned equal = 0;
    size_t at = h ? (size_t)(h - g->hooks) : g->hooks_len;
    if (token.len != SECRET_TOKEN)
        return SIZE_MAX;
    for (size_t i = 0; i < g->tokens_len; i++)
        equal |= (unsigned)digest_equal(g->hooks[at].tokens[i], token.at, SECRET_TOKEN);
    return equal && h ? at : SIZE_MAX;
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
    if (v->hook == SIZE_MAX || !g->hooks[v->hook].config)
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
                             .wants_continue =
                                 r->is_http_11 &&
                                 span_is_nocase(span_trim(expect), "100-continue"),
                             .type = http_find_header(r, "Content-Type", NULL),
                             .encoding = http_find_header(r, "Content-Encoding", NULL)};

    if (v.hook != SIZE_MAX && !g->hooks[v.hook].config && !span_is(r->method, "POST"))
        v.hook = SIZE_MAX; // no event is lost
    v.code = judge(g, r, &v);
    return v;
}
