#include "edge/admin_client.h"

#include "edge/http_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE_MS = 5000, PAGE_MAX = 4 << 20 };

int
admin_client_get(const struct socket_address *admin, const char *path, struct buf *page,
                 struct err *err)
{
    struct http_call call = {.to = admin, .url = path, .timeout_ms = PATIENCE_MS};

    return http_client_once(&call, page, err);
}

int
admin_client_post(const struct socket_address *admin, const char *path, struct buf *page,
                  struct err *err)
{
    struct http_call call = {.to = admin,
                             .url = path,
                             .posts = true,
                             .type = SPAN("application/json"),
                             .timeout_ms = PATIENCE_MS};

    return http_client_once(&call, page, err);
}

// Does a program of ours answer there?
static bool
is_running(const struct socket_address *admin)
{
    struct buf page;
    struct err err;

    buf_init(&page, 1 << 16);
    bool runs = admin_client_get(admin, "/version", &page, &err) == 200 &&
                strstr(buf_text(&page), "\"version\"");
    buf_release(&page);
    return runs;
}

int
admin_client_takes(const struct socket_address *admin,
                   const struct socket_addresses *listen, const char *path)
{
    int takes = -1;
    struct buf page;
    struct err err;

    if (!is_running(admin))
        return -1;
    buf_init(&page, 1 << 16);
    for (size_t i = 0; i < listen->len && takes < 0; i++) {
        int code = admin_client_get(&listen->at[i], path, &page, &err);
        takes = code == 405 ? 1 : code == 404 ? 0 : -1;
    }
    buf_release(&page);
    return takes;
}

// --- metrics -----------------------------------------------------------------------------

void
admin_client_metrics(struct buf *page, const struct socket_address *admin)
{
    struct err err;

    buf_init(page, PAGE_MAX);
    if (admin_client_get(admin, "/metrics", page, &err) != 200)
        buf_clear(page);
}

bool
metrics_page_find(const struct buf *page, const char *name, double *sum)
{
    struct span rest = buf_span(page);
    bool found = false;

    *sum = 0;
    while (rest.len > 0) {
        struct span line = span_cut(&rest, '\n');
        if (!span_starts(line, span_of(name)))
            continue;
        char next = line.len > strlen(name) ? line.at[strlen(name)] : '\0';
        if (next != ' ' && next != '{')
            continue;
        while (span_find(line, ' ') < line.len)
            line = span_from(line, span_find(line, ' ') + 1);
        char number[64];
        snprintf(number, sizeof number, "%.*s", (int)line.len, line.at);
        *sum += strtod(number, NULL);
        found = true;
    }
    return found;
}

double
metrics_page_sum(const struct buf *page, const char *name)
{
    double sum;

    metrics_page_find(page, name, &sum);
    return sum;
}

// Posts to what never was a hook stand under hook="-".
double
metrics_page_left(const struct buf *page)
{
    struct span rest = buf_span(page);
    double left = 0;

    while (rest.len > 0) {
        char line[256];
        struct span text = span_cut(&rest, '\n');
        snprintf(line, sizeof line, "%.*s", (int)text.len, text.at);
        if (span_starts(text, SPAN("acrelay_requests_total{hook=\"")) &&
            strstr(line, "code=\"404\"") && !strstr(line, "hook=\"-\""))
            left += strtod(strrchr(line, ' ') + 1, NULL);
    }
    return left;
}
