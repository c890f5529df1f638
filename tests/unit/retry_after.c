// How long to wait, from the headers of an answer alone.
#include "edge/rest.h"

#include <criterion/criterion.h>

#define NOW "Sun, 06 Nov 1994 08:49:37 GMT"

static int64_t
wait_ms(const char *value, const char *date)
{
    return rest_retry_after_ms(span_of(value), span_of(date));
}

Test(retry_after, reads_seconds)
{
    cr_assert_eq(wait_ms("6", NOW), 6000);
    cr_assert_eq(wait_ms("0", ""), 0);
    cr_assert_eq(wait_ms(" 30 ", ""), 30000);
    cr_assert_eq(wait_ms("006", ""), 6000);
}

Test(retry_after, reads_the_three_forms_of_a_date_against_the_answers_own)
{
    cr_assert_eq(wait_ms("Sun, 06 Nov 1994 08:49:43 GMT", NOW), 6000);
    cr_assert_eq(wait_ms("Sunday, 06-Nov-94 08:49:43 GMT", NOW), 6000);
    cr_assert_eq(wait_ms("Sun Nov  6 08:49:43 1994", NOW), 6000);
    cr_assert_eq(wait_ms("Sun Nov 16 08:49:43 1994", NOW), REST_RETRY_AFTER_MAX_MS);
    cr_assert_eq(
        wait_ms("Sun, 06 Nov 1994 08:49:43 GMT", "Sunday, 06-Nov-94 08:49:37 GMT"), 6000);
    cr_assert_eq(wait_ms("sun, 06 nov 1994 08:49:43 GMT", NOW), 6000);
    cr_assert_eq(
        wait_ms("Mon, 01 Jan 2035 00:00:03 GMT", "Sun, 31 Dec 2034 23:59:59 GMT"), 4000);
}

Test(retry_after, is_zero_for_a_date_that_has_passed)
{
    cr_assert_eq(wait_ms("Sun, 06 Nov 1994 08:49:31 GMT", NOW), 0);
    cr_assert_eq(wait_ms("Thu, 01 Jan 1970 00:00:00 GMT", NOW), 0);
}

Test(retry_after, cannot_use_a_date_without_the_answers_own)
{
    cr_assert_eq(wait_ms("Sun, 06 Nov 1994 08:49:43 GMT", ""), -1);
    cr_assert_eq(wait_ms("Sun, 06 Nov 1994 08:49:43 GMT", "yesterday"), -1);
}

Test(retry_after, is_lenient_with_fractions_and_a_header_sent_twice)
{
    cr_assert_eq(wait_ms("6.5", ""), 6500);
    cr_assert_eq(wait_ms("0.25", ""), 250);
    cr_assert_eq(wait_ms("6, 6", ""), 6000);
    cr_assert_eq(wait_ms("2,30 , x", ""), 30000);
}

Test(retry_after, bounds_what_is_absurd)
{
    cr_assert_eq(wait_ms("3600", ""), REST_RETRY_AFTER_MAX_MS);
    cr_assert_eq(wait_ms("99999999999999999999999999", ""), REST_RETRY_AFTER_MAX_MS);
    cr_assert_eq(wait_ms("Sun, 06 Nov 9994 08:49:37 GMT", NOW), REST_RETRY_AFTER_MAX_MS);
    cr_assert_eq(wait_ms("0.00000000000000000000000009", ""), 0);
}

Test(retry_after, cannot_use_anything_else)
{
    static const char *const others[] = {
        "", "soon", "-5", "6s", "+6", "0x10", "1e9", "Sun, 06 Nov 1994 08:49:43 CET"};

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        cr_assert_eq(wait_ms(others[i], NOW), -1, "%s", others[i]);
}
