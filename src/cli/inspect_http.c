// Who may ask for what. A page of somebody else in the same browser can send requests here, so:
// Host is an address or localhost (a name could be made to lead here), the token is no cookie,
// and a write comes from a page of this very address, with a header that a form cannot send.
#include "cli/inspect.h"

#include "base/embed.h"
#include "cli/letters.h"
#include "cli/show.h"
#include "edge/admin.h"
#include "edge/digest.h"
#include "event/form.h"

#include <stdio.h>
#include <stdlib.h>

enum { LETTERS = 50 };

// --- the page's files -------------------------------------------------------------------------

#define TYPE_html "text/html"
#define TYPE_css "text/css"
#define TYPE_js "text/javascript"
#define TYPE_svg "image/svg+xml"

// The Makefile lists them, INSPECT_FILES(F): F(a_js, "a.js", js) ...
#define FILE_EMBED(symbol, file, type) EMBED(inspect_##symbol, "src/cli/inspect/" file);
#define FILE_ROW(symbol, file, type)                                                     \
    {"/" file, TYPE_##type, inspect_##symbol, inspect_##symbol##_end},
INSPECT_FILES(FILE_EMBED)
static const struct file {
    const char *path, *type, *at, *end;
} files[] = {INSPECT_FILES(FILE_ROW){0}};

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
            reply(r, 200, f->type, span_make(f->at, (size_t)(f->end - f->at)));
            return;
        }
    reply_error(r, 404, "there is no such path");
}

// --- paths ------------------------------------------------------------------------------------

static int
answer_head(struct inspect *i, const struct http_request *r, struct buf *to,
            struct err *err)
{
    (void)r, (void)err;
    pthread_mutex_lock(&i->lock);
    buf_add(to, buf_span(&i->head));
    pthread_mutex_unlock(&i->lock);
    return 200;
}

static int
answer_delivery(struct inspect *i, const struct http_request *r, struct buf *to,
                struct err *err)
{
    char id_text[EVENT_ID_TEXT + 1], key_text[SCRIPT_KEY], entry_text[ENTRY_ID];
    const char *id = form_find(r->query, "ce_id", id_text, sizeof id_text);
    const char *key = form_find(r->query, "key", key_text, sizeof key_text);
    const char *entry = form_find(r->query, "entry", entry_text, sizeof entry_text);
    struct show s = {.directory = i->cli->config->state_dir,
                     .reveals = span_is(r->path, "/api/reveal")};
    int result = show_document(&s, &i->tags, id, key, entry, to, err);

    return result == 0 ? 200 : err->exit == EXIT_CODE_USAGE ? 400 : 404;
}

static int
answer_letters(struct inspect *i, const struct http_request *r, struct buf *to,
               struct err *err)
{
    (void)r;
    return letters_list(i->cli, LETTERS, to, err) == 0 ? 200 : 503;
}

static int
answer_letter(struct inspect *i, const struct http_request *r, struct buf *to,
              struct err *err)
{
    char text[CONFIG_TAG + ENTRY_ID];
    const char *id = form_find(r->query, "id", text, sizeof text);
    letters_fn *act = span_is(r->path, "/api/dead/drop") ? letters_drop : letters_replay;

    document_flag(to, "done", true);
    return letters_act(i->cli, id ? id : "", act, err) ? 400 : 200;
}

static const struct route {
    const char *method, *path;
    inspect_answer_fn *answer;
} routes[] = {
    {"GET", "/api/head", answer_head},
    {"GET", "/api/deliveries", window_list},
    {"GET", "/api/delivery", answer_delivery},
    {"POST", "/api/reveal", answer_delivery},
    {"GET", "/api/dead", answer_letters},
    {"POST", "/api/dead/replay", answer_letter},
    {"POST", "/api/dead/drop", answer_letter},
    {0},
};

static void
reply_api(struct inspect *i, struct http_request *r)
{
    const struct route *route = routes;
    struct buf body;
    struct err err = {0};

    while (route->path &&
           !(span_is(r->path, route->path) && span_is(r->method, route->method)))
        route++;
    buf_init(&body, INSPECT_BYTES);
    int code = route->path ? route->answer(i, r, &body, &err) : 404;
    document_end(&body);
    if (code != 200)
        reply_error(r, code, route->path ? err.text : "there is no such path");
    else if (body.full)
        reply_error(r, 400, "it is too large to be shown");
    else
        reply(r, code, "application/json", buf_span(&body));
    buf_release(&body);
}

// --- who may ask ------------------------------------------------------------------------------

// How long it takes says nothing about the token.
static bool
has_bearer(const struct http_request *r, struct span token)
{
    size_t count;
    struct span given = http_find_header(r, "Authorization", &count),
                bearer = SPAN("Bearer ");

    return count == 1 && span_starts(given, bearer) &&
           given.len - bearer.len == token.len &&
           digest_equal(given.at + bearer.len, token.at, token.len);
}

void
inspect_handle(struct http_request *r, void *context)
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
    else if (!has_bearer(r, span_of(i->token)))
        reply_error(r, 401,
                    "the token is missing or another run's: open the address that "
                    "acrelay inspect printed");
    else if (posts && (!http_is_same_origin(r) ||
                       !span_is(http_find_header(r, "X-Acrelay", NULL), "1")))
        reply_error(r, 403, "a write needs this page's Origin, and X-Acrelay: 1");
    else
        reply_api(i, r);
}
