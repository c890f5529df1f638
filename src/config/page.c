#include "config/page.h"

#include "config/reach.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAGE_MAX = 4 << 20 };

void
page_fetch(struct buf *page, const struct socket_address *admin)
{
    struct err err;

    buf_init(page, PAGE_MAX);
    if (config_get(admin, "/metrics", page, &err) != 200)
        buf_clear(page);
}

bool
page_says_refusing(const struct socket_address *admin)
{
    struct buf page;
    struct err err;

    buf_init(&page, PAGE_MAX);
    int code = config_get(admin, "/readyz", &page, &err);
    buf_release(&page);
    return code == 503;
}

bool
page_find(const struct buf *page, const char *name, double *sum)
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
page_metric(const struct buf *page, const char *name)
{
    double sum;

    page_find(page, name, &sum);
    return sum;
}

// Posts to what never was a hook stand under hook="-".
double
page_left(const struct buf *page)
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
