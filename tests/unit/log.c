// What keeps a log short: a trouble reported once, and a limit of lines.
#include "base/log.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>

static void
init(void)
{
    cr_redirect_stderr();
    log_start(LOG_FORM_JOURNAL, LOG_LEVEL_INFO);
}

static void
expect(const char *text)
{
    fflush(stderr);
    cr_assert_stderr_eq_str(text);
}

Test(once, reports_a_trouble_once_until_it_is_over, .init = init)
{
    struct once away = {0};

    for (int i = 0; i < 3; i++)
        cr_assert_eq(once_report(&away, LOG_LEVEL_WARN, "Redis is %s", "away"), i == 0);
    cr_assert(once_clear(&away));
    cr_assert_not(once_clear(&away), "nothing was reported since");
    cr_assert(once_report(&away, LOG_LEVEL_WARN, "Redis is away"));
    expect("<4>Redis is away\n<4>Redis is away\n");
}

Test(once, reports_another_text_at_once, .init = init)
{
    struct once o = {0};

    once_report(&o, LOG_LEVEL_ERROR, "%s", "no route");
    once_report(&o, LOG_LEVEL_ERROR, "%s", "no route");
    once_report(&o, LOG_LEVEL_ERROR, "%s", "refused");
    expect("<3>no route\n<3>refused\n");
}

enum { PAUSE_MS = 1000 };

Test(log_limit, lets_the_first_through_and_counts_the_others)
{
    struct log_limit l = LOG_LIMIT(PAUSE_MS);
    uint64_t held_back;

    cr_assert(log_limit_pass(&l, 1, 5, &held_back));
    cr_assert_eq(held_back, 0);
    for (int i = 1; i < 500; i++)
        cr_assert_not(log_limit_pass(&l, 1, 5 + i, &held_back));
    cr_assert_not(log_limit_pass(&l, 0, 5 + PAUSE_MS - 1, &held_back), "too soon");
    cr_assert(log_limit_pass(&l, 0, 5 + PAUSE_MS, &held_back));
    cr_assert_eq(held_back, 499);
    cr_assert_not(log_limit_pass(&l, 0, 5 + 2 * PAUSE_MS, &held_back), "nothing is left");
}

Test(log_limit, gives_the_number_with_the_next_one_or_at_the_end)
{
    struct log_limit l = LOG_LIMIT(PAUSE_MS);
    uint64_t held_back;

    log_limit_pass(&l, 1, 5, &held_back);
    log_limit_pass(&l, 1, 5, &held_back);
    cr_assert(log_limit_pass(&l, 1, 5 + PAUSE_MS, &held_back));
    cr_assert_eq(held_back, 1);
    log_limit_pass(&l, 1, 5 + PAUSE_MS, &held_back);
    cr_assert(log_limit_pass(&l, 0, INT64_MAX, &held_back));
    cr_assert_eq(held_back, 1);
}
