// Who may ask for what. A page of somebody else in the same browser can send requests here, so:
// Host is an address or localhost (a name could be made to lead here), the token is no cookie,
// and a write comes from a page of this very address, with a header that a form cannot send.
#include "cli/inspect.h"

#include "base/text.h"
#include "edge/admin.h"
#include "edge/digest.h"

#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 8, IDLE_MS = 5000, HEAD_MS = 5000 };

// --- the page's files -------------------------------------------------------------------------

// The assembler takes them in; the Makefile lists them, INSPECT_FILES(F): F(a_js, "a.js") ...
#define EMBED(symbol, file)                                                              \
    __asm__(".section .rodata\n"                                                         \
            ".global inspect_" #symbol "\n.global inspect_" #symbol "_end\n"             \
            "inspect_" #symbol ":\n.incbin \"src/cli/inspect/" file "\"\n"               \
            "inspect_" #symbol "_end:\n.byte 0\n.previous\n");                           \
    extern const char inspect_##symbol[], inspect_##symbol##_end[]

#define FILE_EMBED(symbol, file) EMBED(symbol, file);
#define FILE_ROW(symbol, file) {"/" file, inspect_##symbol, inspect_##symbol##_end},
INSPECT_FILES(FILE_EMBED)
static const struct file {
    const char *path, *at, *end;
} files[] = {INSPECT_FILES(FILE_ROW){0}};

static const char *
type_of(const char *path)
{
    static const char *const types[][2] = {{".html", "text/html"},
                                           {".css", "text/css"},
                                           {".js", "text/javascript"},
                                           {".svg", "image/svg+xml"}};
    size_t i = 0;

    while (i < 3 && strcmp(strrchr(path, '.'), types[i][0]) != 0)
        i++;
    return types[i][1];
}

// --- answers ----------------------------------------------------------------------------------

static void
reply(struct http_request *r, int code, const char *type, struct span body)
{
    char headers[HTTP_HEAD_MAX - 128];

    snprintf(headers, sizeof headers,
             "Content-Type: %s; charset=utf-8\r\nCache-Control: no-store\r\n"
             "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src "
             "'self'; connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; "
             "base-uri 'none'; form-action 'none'\r\nX-Content-Type-Options: nosniff\r\n"
             "Referrer-Policy: no-referrer\r\nX-Frame-Options: DENY\r\n"
             "Cross-Origin-Resource-Policy: same-origin\r\n",
             type);
    http_reply(r, code, headers, body, code != 200 || span_is(r->method, "POST"));
}

static void
reply_error(struct http_request *r, int code, const char *text)
{
    struct buf body;

    buf_init(&body, 4096);
    document_shown(&body, "error", span_of(text));
    document_end(&body);
    reply(r, code, "application/json", buf_span(&body));
    buf_release(&body);
}

static void
reply_file(struct http_request *r)
{
    struct span path = span_is(r->path, "/") ? SPAN("/index.html") : r->path;

    for (const struct file *f = files; f->path; f++)
        if (span_is(path, f->path)) {
            reply(r, 200, type_of(f->path), span_make(f->at, (size_t)(f->end - f->at)));
            return;
        }
    reply_error(r, 404, "there is no such path");
}

// --- who may ask ------------------------------------------------------------------------------

static bool
has_token(const struct inspect *i, const struct http_request *r)
{
    size_t count;
    struct span given = http_find_header(r, "Authorization", &count),
                bearer = SPAN("Bearer ");
    struct span token = span_from(given, bearer.len);

    return count == 1 && span_starts(given, bearer) && token.len == SECRET_TOKEN &&
           digest_equal(token.at, i->token, SECRET_TOKEN);
}

// With http://, since that is what is served here; through a tunnel the Host is the tunnel's end.
static bool
is_from_page(const struct http_request *r)
{
    struct span host = span_trim(http_find_header(r, "Host", NULL)),
                scheme = SPAN("http://");
    size_t count;
    struct span origin = http_find_header(r, "Origin", &count);

    return count == 1 && span_starts(origin, scheme) &&
           span_equal(span_from(origin, scheme.len), host) &&
           span_is(http_find_header(r, "X-Acrelay", NULL), "1");
}

// --- paths ------------------------------------------------------------------------------------

static int
copy_page(struct inspect *i, enum inspect_page page, struct buf *to)
{
    pthread_mutex_lock(&i->lock);
    buf_add(to, buf_span(&i->pages[page]));
    pthread_mutex_unlock(&i->lock);
    return 200;
}

static int
get(struct inspect *i, const struct http_request *r, struct buf *to, struct err *err)
{
    if (span_is(r->path, "/api/head"))
        return copy_page(i, INSPECT_HEAD, to);
    if (span_is(r->path, "/api/hooks"))
        return copy_page(i, INSPECT_HOOKS, to);
    if (span_is(r->path, "/api/commands"))
        return copy_page(i, INSPECT_COMMANDS, to);
    if (span_is(r->path, "/api/deliveries"))
        return window_list(i, r, to, err);
    if (span_is(r->path, "/api/delivery"))
        return one_page(i, r, to, err, false);
    if (span_is(r->path, "/api/dead"))
        return dead_page(i, to, err);
    return 404;
}

static int
post(struct inspect *i, const struct http_request *r, struct buf *to, struct err *err)
{
    if (span_is(r->path, "/api/reveal"))
        return one_page(i, r, to, err, true);
    if (span_is(r->path, "/api/dead/replay"))
        return dead_write(i, r, to, err, letters_replay);
    if (span_is(r->path, "/api/dead/drop"))
        return dead_write(i, r, to, err, letters_drop);
    return 404;
}

static void
reply_api(struct inspect *i, struct http_request *r)
{
    bool posts = span_is(r->method, "POST");
    struct buf body;
    struct err err = {0};

    buf_init(&body, INSPECT_BYTES);
    int code = posts ? post(i, r, &body, &err) : get(i, r, &body, &err);
    if (body.full) {
        code = 400;
        err_set(&err, ERR_INPUT, "it is too large to be shown");
    }
    if (code == 200)
        reply(r, code, "application/json", buf_span(&body));
    else
        reply_error(r, code, err.text[0] ? err.text : "there is no such path");
    buf_release(&body);
}

static void
handle(struct http_request *r, void *context)
{
    struct inspect *i = context;
    bool posts = span_is(r->method, "POST");
    size_t hosts;

    http_find_header(r, "Host", &hosts);
    if (hosts != 1 || !admin_allows_host(r))
        reply_error(r, 403, "Host must be an IP address or localhost");
    else if (!posts && !span_is(r->method, "GET"))
        reply_error(r, 405, "only GET and POST");
    else if (!span_starts(r->path, SPAN("/api/")))
        reply_file(r);
    else if (!has_token(i, r))
        reply_error(r, 401,
                    "the token is missing or another run's: open the address that "
                    "acrelay inspect printed");
    else if (posts && !is_from_page(r))
        reply_error(r, 403, "a write needs this page's Origin, and X-Acrelay: 1");
    else
        reply_api(i, r);
}

int
inspect_serve(struct inspect *i, const int *socket, struct err *err)
{
    struct http_options options = {.sockets = socket,
                                   .sockets_len = 1,
                                   .threads = THREADS,
                                   .queue = 32,
                                   .request_timeout_ms = HEAD_MS,
                                   .idle_ms = IDLE_MS,
                                   .handle = handle,
                                   .context = i};

    return http_start(&options, err) ? 0 : -1;
}
