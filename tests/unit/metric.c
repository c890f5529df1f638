#include "base/metric.h"

#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>

static struct buf page;

static const char *
written(void)
{
    buf_init(&page, 1 << 16);
    cr_assert_eq(metric_write(&page), 0);
    return buf_text(&page);
}

static void
check_line(const char *line)
{
    cr_assert(strstr(written(), line), "no <%s> in:\n%s", line, buf_text(&page));
}

Test(metric, a_counter_is_written_with_help_and_type)
{
    metric_add(metric_find(METRIC_COUNTER, "a_total", "All of a.", NULL), 3);
    cr_assert_str_eq(written(), "# HELP a_total All of a.\n# TYPE a_total counter\n"
                                "a_total 3\n");
}

Test(metric, the_same_labels_give_the_same_series)
{
    struct metric *one = metric_find(METRIC_GAUGE, "g", "G.", "hook", "x", NULL);
    struct metric *other = metric_find(METRIC_GAUGE, "g", "G.", "hook", "y", NULL);

    cr_assert_eq(one, metric_find(METRIC_GAUGE, "g", "G.", "hook", "x", NULL));
    cr_assert_neq(one, other);
    metric_set(other, -0.25);
    cr_assert_str_eq(written(), "# HELP g G.\n# TYPE g gauge\n"
                                "g{hook=\"x\"} 0\ng{hook=\"y\"} -0.25\n");
}

Test(metric, of_a_module_counts_where_it_is_shown)
{
    enum { SENT, HELD, METRICS };
    static struct metric metrics[METRICS] = {
        [SENT] = METRIC(COUNTER, "sent_total", "Sent."),
        [HELD] = METRIC_WITH(GAUGE, "held", "Held.", "clock=\"wall\""),
    };

    metric_add(&metrics[SENT], 2); // before it is shown
    metric_set(metric_find(METRIC_GAUGE, "held", "Held.", "clock", "redis", NULL), 1);
    metric_show(metrics, METRICS);
    metric_show(metrics, METRICS); // by the module's second start
    metric_add(&metrics[SENT], 1);
    cr_assert_str_eq(written(), "# HELP held Held.\n# TYPE held gauge\n"
                                "held{clock=\"redis\"} 1\nheld{clock=\"wall\"} 0\n"
                                "# HELP sent_total Sent.\n# TYPE sent_total counter\n"
                                "sent_total 3\n");
    cr_assert_eq(metric_find(METRIC_GAUGE, "held", "Held.", "clock", "wall", NULL),
                 &metrics[HELD]);
}

Test(metric, label_values_are_escaped)
{
    metric_set(metric_find(METRIC_GAUGE, "g", "G.", "a", "q\"b\\n\n", "b", "2", NULL), 1);
    check_line("g{a=\"q\\\"b\\\\n\\n\",b=\"2\"} 1\n");
}

Test(metric, histogram_buckets_are_cumulative_and_agree_with_the_count)
{
    static const double bounds[] = {0.1, 1};
    static struct metric series = {.kind = METRIC_HISTOGRAM,
                                   .name = "h_seconds",
                                   .help = "H.",
                                   .labels = "k=\"v\"",
                                   .bounds = bounds,
                                   .bounds_len = 2};
    struct metric *h = &series;

    metric_show(h, 1);
    metric_observe(h, 0.1); // a bound is inclusive
    metric_observe(h, 0.5);
    metric_observe(h, 7);
    check_line("h_seconds_bucket{k=\"v\",le=\"0.1\"} 1\n"
               "h_seconds_bucket{k=\"v\",le=\"1\"} 2\n"
               "h_seconds_bucket{k=\"v\",le=\"+Inf\"} 3\n"
               "h_seconds_sum{k=\"v\"} 7.6\nh_seconds_count{k=\"v\"} 3\n");
}

Test(metric, infinity_is_spelled_out_and_a_gauge_without_a_number_not_written)
{
    metric_set(metric_find(METRIC_GAUGE, "g", "G.", "n", "1", NULL), NAN);
    metric_set(metric_find(METRIC_GAUGE, "g", "G.", "n", "2", NULL), INFINITY);
    metric_set(metric_find(METRIC_GAUGE, "g", "G.", "n", "3", NULL), 4503599627370.0);
    check_line("g{n=\"2\"} +Inf\ng{n=\"3\"} 4503599627370\n");
    cr_assert_null(strstr(buf_text(&page), "g{n=\"1\"}"));
}

static void
set_to_seven(void *context)
{
    metric_set(context, 7);
}

Test(metric, is_brought_up_to_date_before_it_is_written)
{
    metric_before_write(set_to_seven, metric_find(METRIC_GAUGE, "g", "G.", NULL));
    check_line("g 7\n");
}

Test(metric, an_update_that_was_forgotten_is_not_called)
{
    struct metric *g = metric_find(METRIC_GAUGE, "g", "G.", NULL);

    metric_before_write(set_to_seven, g);
    metric_forget(g);
    check_line("g 0\n");
}

Test(metric, a_page_that_does_not_fit_is_an_error)
{
    metric_find(METRIC_COUNTER, "a_total", "All of a.", NULL);
    buf_init(&page, 10);
    cr_assert_eq(metric_write(&page), -1);
}

static void *
add_many(void *m)
{
    for (int i = 0; i < 10000; i++)
        metric_add(m, 1);
    return NULL;
}

Test(metric, threads_lose_no_count)
{
    struct metric *m = metric_find(METRIC_COUNTER, "a_total", "All of a.", NULL);
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, add_many, m);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(metric_read(m), 40000);
}
