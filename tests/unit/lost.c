#include "receiver/lost.h"

#include "base/log.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <string.h>

static struct lost lost;

static void
init(void)
{
    cr_redirect_stderr();
    log_start(LOG_FORM_JOURNAL, LOG_LEVEL_INFO);
    lost_init(&lost);
}

static void
expect(const char *text)
{
    fflush(stderr);
    cr_assert_stderr_eq_str(text);
}

#define ONE "<3>receiver: a delivery to a was answered 503 and may be lost: why\n"
#define MORE "<3>receiver: each of 499 more was answered 503 and may be lost\n"

Test(lost, tells_the_first_at_once_and_the_number_of_the_others, .init = init)
{
    for (int i = 0; i < 500; i++)
        lost_add(&lost, 5 + i, "a", "why");
    lost_tell(&lost, 5 + LOST_PAUSE_MS - 1); // too soon
    lost_tell(&lost, 5 + LOST_PAUSE_MS);
    lost_tell(&lost, 5 + 2 * LOST_PAUSE_MS); // nothing is left
    expect(ONE MORE);
}

Test(lost, tells_the_number_with_the_next_one, .init = init)
{
    for (int i = 0; i < 500; i++)
        lost_add(&lost, 5, "a", "why");
    lost_add(&lost, 5 + LOST_PAUSE_MS, "a", "why");
    expect(ONE MORE ONE);
}

Test(lost, tells_the_number_at_the_end, .init = init)
{
    for (int i = 0; i < 500; i++)
        lost_add(&lost, 5, "a", "why");
    lost_tell(&lost, INT64_MAX);
    expect(ONE MORE);
}
