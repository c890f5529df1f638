#include "base/clock.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(times, gives_the_default_unless_the_environment_says_otherwise)
{
    unsetenv("ACRELAY_TEST_TIMES");
    cr_assert_eq(times_ms("lease", 15000), 15000);
    setenv("ACRELAY_TEST_TIMES", "lease_more=1 lease=1500  look=20", 1);
    cr_assert_eq(times_ms("lease", 15000), 1500);
    cr_assert_eq(times_ms("look", 5), 20);
    cr_assert_eq(times_ms("loo", 5), 5);
}
