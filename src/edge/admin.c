#include "edge/admin.h"

#include "base/metric.h"
#include "edge/reloads.h"

#include <stdio.h>

enum { PAGE_MAX = 4 << 20 };

static struct {
    admin_ready_fn *ready;
    void *context;
} admin; // one admin listener per process

static void
reply_page(struct http_request *r, int code, const char *type, struct span body)
{
    char header[96];

    snprintf(header, sizeof header, "Content-Type: %s\r\nCache-Control: no-store\r\n",
             type);
    http_reply(r, code, header, body, true);
}

static void
reply_ready(struct http_request *r)
{
    struct buf checks, page;

    buf_init(&checks, 4096);
    buf_init(&page, 8192);
    bool ready = admin.ready(&checks, admin.context);
    buf_add_format(&page, "{\"ready\":%s,\"checks\":{%s},", ready ? "true" : "false",
                   buf_text(&checks));
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

static void
handle(struct http_request *r, void *context)
{
    (void)context;
    if (!span_is(r->method, "GET") && !span_is(r->method, "HEAD"))
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
        reply_page(r, 404, "text/plain", SPAN("/livez /readyz /metrics /version\n"));
}

struct http_server *
admin_start(int socket, admin_ready_fn *ready, void *context, struct err *err)
{
    struct http_options options = {.sockets = &socket,
                                   .sockets_len = 1,
                                   .threads = 2,
                                   .request_timeout_ms = 5000,
                                   .idle_ms = 500,
                                   .handle = handle};

    admin.ready = ready;
    admin.context = context;
    return http_start(&options, err);
}
