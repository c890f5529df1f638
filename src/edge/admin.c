#include "edge/admin.h"

#include "base/metric.h"
#include "base/text.h"
#include "edge/reloads.h"
#include "edge/sockets.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAGE_MAX = 4 << 20, DETAILS_MAX = 8, DETAIL_TEXT = 600, HOSTS_MAX = 64 };

static struct {
    admin_ready_fn *ready;
    void *context;
    pthread_mutex_t lock; // of details and hosts
    struct {
        const char *name;
        char text[DETAIL_TEXT];
    } details[DETAILS_MAX];
    char *hosts[HOSTS_MAX];
    size_t hosts_len;
} admin = {.lock = PTHREAD_MUTEX_INITIALIZER}; // one admin listener per process

// --- hosts ---------------------------------------------------------------------------------

void
admin_set_hosts(char *const *names, size_t len)
{
    pthread_mutex_lock(&admin.lock);
    for (size_t i = 0; i < admin.hosts_len; i++)
        free(admin.hosts[i]);
    admin.hosts_len = len < HOSTS_MAX ? len : HOSTS_MAX;
    for (size_t i = 0; i < admin.hosts_len; i++)
        admin.hosts[i] = memory_copy(span_of(names[i]));
    pthread_mutex_unlock(&admin.lock);
}

static bool
is_listed(struct span host)
{
    bool found = false;

    pthread_mutex_lock(&admin.lock);
    for (size_t i = 0; i < admin.hosts_len && !found; i++)
        found = span_is_nocase(host, admin.hosts[i]);
    pthread_mutex_unlock(&admin.lock);
    return found;
}

// A browser always sends a Host; what speaks HTTP/1.0 without one is a balancer's check.
static bool
is_allowed_host(const struct http_request *r)
{
    union address address;
    char full[300];
    size_t count;
    struct span host = span_trim(http_find_header(r, "Host", &count));

    if (count != 1)
        return count == 0 && !r->is_http_11;
    if (host.len > 255)
        return false;
    bool ipv6 = host.len > 0 && host.at[0] == '[';
    struct span tail = span_from(host, ipv6 ? span_find(host, ']') + 1 : 0);
    bool has_port = span_find(tail, ':') < tail.len;
    snprintf(full, sizeof full, "%.*s%s", (int)host.len, host.at, has_port ? "" : ":1");
    if (!sockets_parse(&address, span_of(full)))
        return true;
    host = span_to(host, span_find(host, ':'));
    return span_is_nocase(host, "localhost") || is_listed(host);
}

// --- pages -----------------------------------------------------------------------------------

void
admin_set_detail(const char *name, const char *text)
{
    size_t i = 0;

    pthread_mutex_lock(&admin.lock);
    while (i < DETAILS_MAX && admin.details[i].name &&
           strcmp(admin.details[i].name, name) != 0)
        i++;
    assert(i < DETAILS_MAX);
    admin.details[i].name = name;
    snprintf(admin.details[i].text, DETAIL_TEXT, "%s", text);
    pthread_mutex_unlock(&admin.lock);
}

static void
reply_page(struct http_request *r, int code, const char *type, struct span body)
{
    char header[96];

    snprintf(header, sizeof header, "Content-Type: %s\r\nCache-Control: no-store\r\n",
             type);
    http_reply(r, code, header, body, true);
}

static void
add_details(struct buf *page)
{
    char text[2 * DETAIL_TEXT];
    const char *comma = "";

    buf_add_text(page, "\"details\":{");
    pthread_mutex_lock(&admin.lock);
    for (size_t i = 0; i < DETAILS_MAX && admin.details[i].name; i++) {
        if (!admin.details[i].text[0])
            continue;
        text_quote(text, sizeof text, span_of(admin.details[i].text));
        buf_add_format(page, "%s\"%s\":\"%s\"", comma, admin.details[i].name, text);
        comma = ",";
    }
    pthread_mutex_unlock(&admin.lock);
    buf_add_text(page, "},");
}

static void
reply_ready(struct http_request *r)
{
    struct buf checks, page;

    buf_init(&checks, 4096);
    buf_init(&page, 16384);
    bool ready = admin.ready(&checks, admin.context);
    buf_add_format(&page, "{\"ready\":%s,\"checks\":{%s},", ready ? "true" : "false",
                   buf_text(&checks));
    add_details(&page);
    reloads_write(&page);
    buf_add_text(&page, "}\n");
    reply_page(r, ready ? 200 : 503, "application/json", buf_span(&page));
    buf_release(&checks);
    buf_release(&page);
}

static void
reply_metrics(struct http_request *r)
{
    struct buf page;

    buf_init(&page, PAGE_MAX);
    metric_write(&page);
    reply_page(r, 200, "text/plain; version=0.0.4; charset=utf-8", buf_span(&page));
    buf_release(&page);
}

// No page of a browser can send this unasked: a form has another type.
static void
ask_reload(struct http_request *r)
{
    char text[64];

    if (!span_is(http_find_header(r, "Content-Type", NULL), "application/json")) {
        http_reply(r, 415, "", SPAN("Content-Type: application/json\n"), true);
        return;
    }
    int len = snprintf(text, sizeof text, "{\"reload\":%llu}\n", reloads_ask());
    reply_page(r, 202, "application/json", span_make(text, (size_t)len));
}

static void
handle(struct http_request *r, void *context)
{
    (void)context;
    if (!is_allowed_host(r))
        reply_page(r, 403, "text/plain",
                   SPAN("Host: an IP address, localhost, or a name in admin_hosts\n"));
    else if (span_is(r->method, "POST") && span_is(r->path, "/reload"))
        ask_reload(r);
    else if (!span_is(r->method, "GET") && !span_is(r->method, "HEAD"))
        http_reply(r, 405, "Allow: GET\r\n", SPAN("only GET\n"), true);
    else if (span_is(r->path, "/livez"))
        reply_page(r, 200, "text/plain", SPAN("ok\n"));
    else if (span_is(r->path, "/readyz"))
        reply_ready(r);
    else if (span_is(r->path, "/metrics"))
        reply_metrics(r);
    else if (span_is(r->path, "/version"))
        reply_page(r, 200, "application/json",
                   SPAN("{\"version\":\"" ACRELAY_VERSION "\"}\n"));
    else
        reply_page(r, 404, "text/plain",
                   SPAN("/livez /readyz /metrics /version; POST /reload\n"));
}

struct http_server *
admin_start(int socket, admin_ready_fn *ready, void *context, struct err *err)
{
    struct http_options options = {.sockets = &socket,
                                   .sockets_len = 1,
                                   .threads = 2,
                                   .queue = 8,
                                   .request_timeout_ms = 5000,
                                   .idle_ms = 500,
                                   .handle = handle};

    admin.ready = ready;
    admin.context = context;
    return http_start(&options, err);
}
