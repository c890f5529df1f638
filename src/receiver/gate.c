// The token is compared with the tokens of all secrets in constant time, and against a dummy for
// an unknown name, so that the time of a 404 tells nothing. The answer is the same whichever part
// was wrong.
#include "receiver/receiver.h"

#include "base/text.h"
#include "edge/digest.h"
#include "event/delivery.h"

#include <stdint.h>

static size_t
find_hook(const struct snapshot *s, struct span path)
{
    if (!span_starts(path, SPAN("/hook/")))
        return SIZE_MAX;
    struct span token = span_from(path, 6);
    size_t hook = snapshot_find(s, span_cut(&token, '/'));
    unsigned equal = 0;
    if (token.len != SECRET_TOKEN)
        return SIZE_MAX;
    for (size_t i = 0; i < s->secrets->len; i++)
        equal |= (unsigned)digest_equal(s->hooks[hook].tokens[i], token.at, SECRET_TOKEN);
    return equal && hook < s->hooks_len ? hook : SIZE_MAX;
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
judge(const struct snapshot *s, const struct http_request *r, struct gate_verdict *v)
{
    if (v->hook == SIZE_MAX || !s->hooks[v->hook].config)
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
    return !v->chunked && v->length > s->config->body_max ? 413 : 0;
}

struct gate_verdict
gate_judge(const struct snapshot *s, const struct http_request *r)
{
    struct span expect = http_find_header(r, "Expect", NULL);
    struct gate_verdict v = {.hook = find_hook(s, r->path),
                             .wants_continue =
                                 r->is_http_11 &&
                                 span_is_nocase(span_trim(expect), "100-continue"),
                             .type = http_find_header(r, "Content-Type", NULL),
                             .encoding = http_find_header(r, "Content-Encoding", NULL)};

    if (v.hook != SIZE_MAX && !s->hooks[v.hook].config && !span_is(r->method, "POST"))
        v.hook = SIZE_MAX; // no event is lost
    v.code = judge(s, r, &v);
    return v;
}
