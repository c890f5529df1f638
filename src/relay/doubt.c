// A duplicate is found by comparing two receipts, which are of the wall clock. When that clock
// was set back, two deliveries hours apart can have receipts of the same minute: a hook that
// drops duplicates would drop an event. So fingerprints are forgotten where receipts go back.
// A step between two records that a quiet hour hides is seen here, by the boot clock; what was
// in the journal then may be of either clock, and is no duplicate of anything.
#include "relay/inside.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>

enum { STEP_US = 1000000, DRIFT_PART = 1000 };

bool
receipt_went_back(int64_t before_us, int64_t received_us)
{
    return before_us > 0 && received_us > 0 && received_us < before_us - STEP_US;
}

void
relay_check_clock(struct relay *r)
{
    struct journal_status status;
    int64_t boot_us = clock_boot_us(), wall_us = clock_now_us() - boot_us;
    int64_t step_us = wall_us - r->wall_us;
    bool first = r->wall_us == 0;

    int64_t drift_us = (boot_us - r->checked_us) / DRIFT_PART;
    r->wall_us = wall_us;
    r->checked_us = boot_us;
    if (first || llabs((long long)step_us) <= STEP_US + drift_us)
        return;
    journal_read_status(r->journal, &status);
    r->doubt = status.last;
    r->forgets = true;
    log_warn(
        "relay: the clock stepped by %lld ms: duplicates among deliveries up to %llu are "
        "not looked for",
        (long long)step_us / 1000, (unsigned long long)status.last);
}
