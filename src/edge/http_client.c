#include "edge/http_client.h"

#include <curl/curl.h>
#include <string.h>

enum { CONNECT_MS = 10000 };

static size_t
take_body(char *at, size_t size, size_t n, void *page)
{
    return !page || buf_add(page, span_make(at, size * n)) == 0 ? size * n : 0;
}

static size_t
take_header(char *at, size_t size, size_t n, void *call)
{
    const struct http_call *c = call;

    if (c->header)
        c->header(span_make(at, size * n), c->context);
    return size * n;
}

// About once a second, also while nothing comes.
static int
watch(void *call, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct http_call *of = call;

    (void)a, (void)b, (void)c, (void)d;
    return of->stop && of->stop(of->context);
}

// Right before a request is sent. The second time is libcurl's own, after a connection that was
// kept turned out to be cut.
static int
count_sent(void *sent, char *a, char *b, int c, int d)
{
    (void)a, (void)b, (void)c, (void)d;
    return ++*(int *)sent > 1 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static enum http_outcome
outcome_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return HTTP_ANSWERED;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_SSL_CONNECT_ERROR:
        return HTTP_NOT_SENT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return HTTP_HOPELESS;
    case CURLE_ABORTED_BY_CALLBACK:
        return HTTP_STOPPED;
    default:
        return HTTP_UNCLEAR;
    }
}

// What it means where one of our own programs was asked.
static const char *
explain(CURL *c, CURLcode code)
{
    long reason = 0;

    curl_easy_getinfo(c, CURLINFO_OS_ERRNO, &reason);
    switch (code) {
    case CURLE_COULDNT_CONNECT:
        return reason ? strerror((int)reason) : curl_easy_strerror(code);
    case CURLE_OPERATION_TIMEDOUT:
        return "no answer in time: the process hangs, or another process uses its "
               "address";
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
        return "the connection was closed without an answer";
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
        return "the answer is not HTTP";
    default:
        return curl_easy_strerror(code);
    }
}

// A value that is empty is sent as such (with ';'), and not left away.
static struct curl_slist *
add_header(struct curl_slist *list, const char *name, struct span value)
{
    struct buf line;

    buf_init(&line, value.len + 64);
    buf_add_format(&line, value.len ? "%s: %.*s" : "%s;", name, (int)value.len, value.at);
    list = curl_slist_append(list, buf_text(&line));
    buf_wipe(&line);
    return list;
}

static struct curl_slist *
make_headers(const struct http_call *call)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");

    if (call->method || call->type.len)
        list = add_header(list, "Content-Type", call->type);
    if (call->encoding.len)
        list = add_header(list, "Content-Encoding", call->encoding);
    if (call->token.len) {
        list = add_header(list, "Api-Token", call->token);
        list = curl_slist_append(list, "Accept: application/json");
    }
    if (call->line)
        list = curl_slist_append(list, call->line);
    return list;
}

static void
set_target(CURL *c, const struct http_call *call)
{
    char place[SOCKETS_TEXT] = "localhost";
    struct buf url;

    buf_init(&url, 1 << 16);
    if (call->to && call->to->path)
        curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, call->to->path);
    else if (call->to)
        sockets_format_target(call->to->at, place);
    if (call->to)
        buf_add_format(&url, "http://%s", place);
    buf_add_text(&url, call->url);
    bool plain = span_starts(buf_span(&url), SPAN("http://"));
    curl_easy_setopt(c, CURLOPT_URL, buf_text(&url)); // which it copies
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, plain ? "http" : "https");
    if (plain)
        curl_easy_setopt(c, CURLOPT_PROXY, "");
    buf_release(&url);
}

// A request that gets no answer on a connection used before is sent once more by libcurl
// itself. What must not be done twice at an API has a connection of its own.
static void
set_method(CURL *c, const struct http_call *call)
{
    bool posts = call->method && strcmp(call->method, "POST") == 0;

    curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, posts && call->token.len ? 1L : 0L);
    if (call->body.len || posts) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, call->body.at);
    }
    if (call->method)
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, call->method);
}

int
http_client_call(struct http_client *client, const struct http_call *call,
                 struct buf *page, struct err *err)
{
    long status = 0;
    int sent = 0;

    client->outcome = HTTP_NOT_SENT;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (!client->curl && !(client->curl = curl_easy_init()))
        return err_exit(err, EXIT_CODE_FAILURE, "libcurl cannot start");
    CURL *c = client->curl;
    struct curl_slist *headers = make_headers(call);
    curl_easy_reset(c); // the connection stays
    set_target(c, call);
    set_method(c, call);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "acrelay/" ACRELAY_VERSION);
    curl_easy_setopt(c, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(c, CURLOPT_MAXFILESIZE,
                     page ? (long)page->max : (long)HTTP_ANSWER_MAX);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, page);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, watch);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, call);
    if (call->once) {
        curl_easy_setopt(c, CURLOPT_PREREQFUNCTION, count_sent);
        curl_easy_setopt(c, CURLOPT_PREREQDATA, &sent);
    }
    CURLcode code = curl_easy_perform(c);
    curl_slist_free_all(headers);
    if (sent > 1)
        code = CURLE_GOT_NOTHING; // to the first
    client->outcome = outcome_of(code);
    if (code == CURLE_OK) {
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
        return (int)status;
    }
    err_exit(err, EXIT_CODE_UNAVAILABLE, "%s%s",
             code == CURLE_COULDNT_CONNECT && call->to ? "cannot connect: " : "",
             call->to ? explain(c, code) : curl_easy_strerror(code));
    err->kind = ERR_AGAIN;
    return -1;
}

void
http_client_close(struct http_client *c)
{
    curl_easy_cleanup(c->curl); // NULL is fine
    c->curl = NULL;
}
