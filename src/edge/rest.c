#include "edge/rest.h"

#include "base/clock.h"
#include "base/pace.h"
#include "base/text.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
    BACKOFF_LEAST_MS = 500,
    BACKOFF_MOST_MS = 30000,
    CONNECT_MS = 10000,
    FIRST_PATIENCE_MS = 8000, // until there was any answer: a wrong host is told soon
};

struct rest {
    struct rest_options options;
    char *base;
    CURL *curl;
    struct curl_slist *headers;
    struct pace pace;
    struct buf answer;
    // of the answer under way
    uint64_t retry_after_s, remaining;
    bool has_retry_after, has_remaining;
    bool answered; // ever
};

static size_t
take_body(char *at, size_t size, size_t n, void *rest)
{
    struct rest *r = rest;

    (void)size;
    return buf_add(&r->answer, span_make(at, n)) == 0 ? n : 0;
}

static bool
is_header(struct span *line, const char *name)
{
    struct span rest = *line, key = span_cut(&rest, ':');

    if (!span_is_nocase(span_trim(key), name))
        return false;
    while (rest.len && (rest.at[rest.len - 1] == '\n' || rest.at[rest.len - 1] == '\r'))
        rest.len--;
    *line = span_trim(rest);
    return true;
}

static size_t
take_header(char *at, size_t size, size_t n, void *rest)
{
    struct rest *r = rest;
    struct span line = span_make(at, n);

    (void)size;
    if (is_header(&line, "Retry-After"))
        r->has_retry_after = text_number(&r->retry_after_s, line, UINT32_MAX);
    else if (is_header(&line, "RateLimit-Remaining"))
        r->has_remaining = text_number(&r->remaining, line, UINT32_MAX);
    return n;
}

static void
add_headers(struct rest *r, struct span token)
{
    struct buf line;

    buf_init(&line, token.len + 64);
    buf_add_text(&line, "Api-Token: ");
    buf_add(&line, token);
    r->headers = curl_slist_append(NULL, buf_text(&line));
    r->headers = curl_slist_append(r->headers, "Content-Type: application/json");
    r->headers = curl_slist_append(r->headers, "Accept: application/json");
    r->headers = curl_slist_append(r->headers, "Expect:");
    explicit_bzero(line.at, line.len);
    buf_release(&line);
}

static void
set_up(struct rest *r)
{
    CURL *c = r->curl;
    bool plain = span_starts(span_of(r->base), SPAN("http://"));

    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, plain ? "http" : "https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)r->options.timeout_ms);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, r->headers);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "acrelay/" ACRELAY_VERSION);
    curl_easy_setopt(c, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(c, CURLOPT_MAXFILESIZE, (long)REST_ANSWER_MAX);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, r);
    if (plain)
        curl_easy_setopt(c, CURLOPT_PROXY, ""); // loopback
}

struct rest *
rest_open(const struct rest_options *options, struct err *err)
{
    struct rest *r = memory_get(sizeof *r);

    *r = (struct rest){.options = *options, .base = memory_copy(span_of(options->base))};
    buf_init(&r->answer, REST_ANSWER_MAX);
    pace_init(&r->pace, options->rate);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    r->curl = curl_easy_init();
    if (!r->curl) {
        err_exit(err, EXIT_CODE_FAILURE, "libcurl cannot start");
        rest_close(r);
        return NULL;
    }
    add_headers(r, options->token);
    set_up(r);
    return r;
}

void
rest_close(struct rest *r)
{
    if (!r)
        return;
    if (r->curl)
        curl_easy_cleanup(r->curl);
    curl_slist_free_all(r->headers);
    buf_release(&r->answer);
    free(r->base);
    free(r);
}

// --- one try -------------------------------------------------------------------------------

// A request that gets no answer on a connection used before is sent once more by libcurl
// itself. What must not be done twice has a connection of its own.
static void
set_method(CURL *c, const char *method, struct span body)
{
    curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, strcmp(method, "POST") == 0 ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    if (body.len) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)body.len);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, body.at);
    } else {
        curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    }
}

// What cannot have reached the other side.
static bool
was_not_sent(CURLcode code)
{
    return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
           code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_SSL_CONNECT_ERROR ||
           code == CURLE_PEER_FAILED_VERIFICATION;
}

// An answer is whole, or it is none: a status without its body says too little.
static CURLcode
try_once(struct rest *r, const char *method, const char *path, struct span body,
         struct rest_answer *a)
{
    struct buf url;
    long status = 0;

    buf_clear(&r->answer);
    r->has_retry_after = r->has_remaining = false;
    buf_init(&url, 8192);
    buf_add_format(&url, "%s%s", r->base, path);
    set_method(r->curl, method, body);
    curl_easy_setopt(r->curl, CURLOPT_URL, buf_text(&url));
    pace_take(&r->pace, clock_mono_us());
    CURLcode code = curl_easy_perform(r->curl);
    buf_release(&url);
    if (code == CURLE_OK)
        curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &status);
    *a = (struct rest_answer){.status = (int)status,
                              .maybe_done = code != CURLE_OK && !was_not_sent(code),
                              .body = buf_span(&r->answer)};
    if (r->options.note)
        r->options.note(a->status, r->options.context);
    return code;
}

// --- tries ---------------------------------------------------------------------------------

static int64_t
jitter(int64_t ms)
{
    uint32_t random = 0;

    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return ms;
    return ms / 2 + random % (ms / 2 + 1);
}

// Retry-After is obeyed with the answers that say when to come again (RFC 6585 4, RFC 9110
// 15.6.4). Returns whether the lane is held for that long: no back-off is needed then.
static bool
obey_limits(struct rest *r, const struct rest_answer *a)
{
    int64_t now = clock_mono_us();
    uint64_t s = r->retry_after_s;

    if (r->has_retry_after && (a->status == 429 || a->status == 503)) {
        s = s < REST_RETRY_AFTER_MAX_S ? s : REST_RETRY_AFTER_MAX_S;
        pace_hold(&r->pace, now + (int64_t)s * 1000000);
        return s > 0;
    }
    // No header says when there will be more: half a turn is given to the others.
    if (r->has_remaining && r->remaining == 0)
        pace_hold(&r->pace, now + r->pace.interval_us + r->pace.interval_us / 2);
    return false;
}

static bool
wants_retry(const char *method, CURLcode code, const struct rest_answer *a)
{
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_UNSUPPORTED_PROTOCOL ||
        code == CURLE_URL_MALFORMAT)
        return false;
    if (a->status == 429)
        return true;
    if (strcmp(method, "POST") == 0)
        return code != CURLE_OK && !a->maybe_done;
    return code != CURLE_OK || a->status >= 500;
}

static bool
wait_for_turn(struct rest *r)
{
    for (;;) {
        int64_t us = pace_wait(&r->pace, clock_mono_us());
        if (us == 0)
            return true;
        if (!r->options.wait((us + 999) / 1000, r->options.context))
            return false;
    }
}

static int
give_up(const struct rest *r, CURLcode code, struct err *err)
{
    err_set(err, ERR_AGAIN, "%s does not answer: %s", r->base, curl_easy_strerror(code));
    if (err)
        err->exit = EXIT_CODE_UNAVAILABLE;
    return -1;
}

int
rest_call(struct rest *r, const char *method, const char *path, struct span body,
          struct rest_answer *a, struct err *err)
{
    int64_t start = clock_mono_ms(), backoff = BACKOFF_LEAST_MS;

    *a = (struct rest_answer){0};
    for (;;) {
        if (!wait_for_turn(r))
            return err_set(err, ERR_AGAIN, "stopped while waiting for %s", r->base);
        if (r->options.may_write && strcmp(method, "GET") != 0 &&
            !r->options.may_write(r->options.context))
            return err_set(err, ERR_FATAL, "another worker is the leader now");
        CURLcode code = try_once(r, method, path, body, a);
        bool held = obey_limits(r, a);
        r->answered = r->answered || code == CURLE_OK;
        int64_t patience = r->answered ? r->options.patience_ms : FIRST_PATIENCE_MS;
        bool over = clock_mono_ms() - start + backoff > patience;
        if (!wants_retry(method, code, a) || over)
            return code == CURLE_OK ? 0 : give_up(r, code, err);
        if (!held && !r->options.wait(jitter(backoff), r->options.context))
            return err_set(err, ERR_AGAIN, "stopped while waiting for %s", r->base);
        backoff = backoff * 2 < BACKOFF_MOST_MS ? backoff * 2 : BACKOFF_MOST_MS;
    }
}

// --- a stranger ------------------------------------------------------------------------------

static size_t
drop(char *at, size_t size, size_t n, void *unused)
{
    (void)at, (void)unused;
    return size * n;
}

int
rest_probe(const char *url, int64_t timeout_ms, struct err *err)
{
    long status = 0;

    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *c = curl_easy_init();
    if (!c)
        return err_exit(err, EXIT_CODE_FAILURE, "libcurl cannot start");
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "acrelay/" ACRELAY_VERSION);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, "type=doctor");
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, drop);
    CURLcode code = curl_easy_perform(c);
    if (code == CURLE_OK)
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(c);
    if (code != CURLE_OK)
        return err_exit(err, EXIT_CODE_UNAVAILABLE, "%s", curl_easy_strerror(code));
    return (int)status;
}
