#include "edge/http_client.h"

#include <curl/curl.h>
#include <string.h>

static size_t
take_body(char *at, size_t size, size_t n, void *page)
{
    return !page || buf_add(page, span_make(at, size * n)) == 0 ? size * n : 0;
}

static int
fail(CURL *c, CURLcode code, struct err *err)
{
    long reason = 0;

    curl_easy_getinfo(c, CURLINFO_OS_ERRNO, &reason);
    if (code == CURLE_COULDNT_CONNECT && reason)
        err_exit(err, EXIT_CODE_UNAVAILABLE, "cannot connect: %s", strerror((int)reason));
    else if (code == CURLE_OPERATION_TIMEDOUT)
        err_exit(
            err, EXIT_CODE_UNAVAILABLE,
            "no answer in time: the process hangs, or another process uses its address");
    else if (code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR)
        err_exit(err, EXIT_CODE_UNAVAILABLE,
                 "the connection was closed without an answer");
    else if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY)
        err_exit(err, EXIT_CODE_UNAVAILABLE, "the answer is not HTTP");
    else
        err_exit(err, EXIT_CODE_UNAVAILABLE, "%s", curl_easy_strerror(code));
    err->kind = ERR_AGAIN;
    return -1;
}

// A value that is empty is sent as such (with ';'), and not left away.
static struct curl_slist *
add_header(struct curl_slist *list, const char *name, struct span value)
{
    struct buf line;

    buf_init(&line, value.len + 64);
    buf_add_format(&line, value.len ? "%s: %.*s" : "%s;", name, (int)value.len, value.at);
    list = curl_slist_append(list, buf_text(&line));
    buf_release(&line);
    return list;
}

static void
set_target(CURL *c, const struct http_call *call)
{
    struct buf url;
    char place[SOCKETS_TEXT] = "";

    buf_init(&url, 1 << 16);
    if (call->to && call->to->path)
        curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, call->to->path);
    else if (call->to)
        sockets_format_here(&call->to->at, place);
    if (call->to)
        buf_add_format(&url, "http://%s", call->to->path ? "localhost" : place);
    buf_add_text(&url, call->url);
    curl_easy_setopt(c, CURLOPT_URL, buf_text(&url)); // which it copies
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, call->to ? "http" : "http,https");
    if (call->to)
        curl_easy_setopt(c, CURLOPT_PROXY, "");
    buf_release(&url);
}

int
http_client_call(struct http_client *client, const struct http_call *call,
                 struct buf *page, struct err *err)
{
    struct curl_slist *headers = NULL;
    long status = 0;

    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (!client->curl && !(client->curl = curl_easy_init()))
        return err_exit(err, EXIT_CODE_FAILURE, "libcurl cannot start");
    CURL *c = client->curl;
    curl_easy_reset(c); // the connection stays
    set_target(c, call);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "acrelay/" ACRELAY_VERSION);
    curl_easy_setopt(c, CURLOPT_MAXFILESIZE, (long)HTTP_ANSWER_MAX);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, page);
    if (call->posts) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, call->body.at);
        headers = add_header(NULL, "Content-Type", call->type);
        if (call->encoding.len)
            headers = add_header(headers, "Content-Encoding", call->encoding);
        headers = curl_slist_append(headers, "Expect:");
        curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    }
    CURLcode code = curl_easy_perform(c);
    if (code == CURLE_OK)
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    else
        fail(c, code, err);
    curl_slist_free_all(headers);
    return code == CURLE_OK ? (int)status : -1;
}

void
http_client_close(struct http_client *c)
{
    curl_easy_cleanup(c->curl); // NULL is fine
    c->curl = NULL;
}
