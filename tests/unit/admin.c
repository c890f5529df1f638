#include "edge/admin.h"

#include "base/metric.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { SERIES = 3, LABELS = 6 << 20, PAGE = 32 << 20 };

static bool
is_ready(struct buf *checks, void *context)
{
    (void)checks, (void)context;
    return true;
}

static struct metric metrics[SERIES];

// A series whose labels alone are several MiB.
static void
show_long(int i)
{
    char *labels = memset(memory_get(LABELS + 1), 'a' + i, LABELS);

    labels[LABELS] = '\0';
    metrics[i] = (struct metric)METRIC_WITH(GAUGE, "many", "Many.", labels);
    metric_show(&metrics[i], 1);
}

// Half a page would be taken for all of it, or for none by who does not see why.
Test(admin, metrics_that_do_not_fit_are_an_error_and_no_half_page, .timeout = 60)
{
    char path[] = "/tmp/acrelay-admin-XXXXXX", name[64];
    struct err err = {0};
    struct buf page;

    cr_assert(mkdtemp(path));
    snprintf(name, sizeof name, "%s/s", path);
    struct socket_address at = {.text = name, .path = name};
    cr_assert(admin_start(&at, "admin", "acme", is_ready, NULL, &err), "%s", err.text);
    buf_init(&page, PAGE);
    show_long(0);
    show_long(1);
    int code = admin_fetch(&at, NULL, false, "/metrics", &page, &err);
    cr_assert_eq(code, 200, "%d %s", code, err.text);
    cr_assert_gt(page.len, 2 * LABELS);
    cr_assert_eq(page.at[page.len - 1], '\n');
    buf_clear(&page);
    show_long(2);
    cr_assert_eq(admin_fetch(&at, NULL, false, "/metrics", &page, &err), 500);
    cr_assert_lt(page.len, 1000);
    remove(name);
    remove(path);
    buf_release(&page);
}
