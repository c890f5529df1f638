// What the wall clock does against the boot clock, while a journal is open.
#include "journal/internal.h"

enum { BACK_REPORT_US = 600 * 1000000 };
static const int64_t CLEAN_US = INT64_C(3600) * 1000000,
                     STEADY_US = INT64_C(86400) * 1000000;

static void
report_clock(const struct journal *j, enum clock_watch_result result)
{
    double step_s = (double)j->watch.step_us / 1e6;

    if (result == CLOCK_STEPPED)
        log_alarm(
            "journal: the wall clock stepped %s by %.0f s. Receipt times follow "
            "it; nothing is removed because of journal.keep and keep_max until it is "
            "back or has been stable for %lld s. If this was not intended, find out "
            "what sets the clock (timedatectl)",
            step_s < 0 ? "back" : "ahead", step_s < 0 ? -step_s : step_s,
            (long long)(j->watch.settle_us / 1000000));
    else if (result == CLOCK_UNDONE || result == CLOCK_SETTLED)
        log_info("journal: the wall clock %s: journal.keep and keep_max apply again",
                 result == CLOCK_UNDONE ? "is back where it was"
                                        : "has been stable since the step");
}

// Once in a while: a clock that goes back and forth must not fill the log.
static void
report_back(struct journal *j, int64_t back_us, int64_t now_us)
{
    if (back_us == 0 ||
        (j->back_reported_us && now_us - j->back_reported_us < BACK_REPORT_US))
        return;
    j->back_reported_us = now_us;
    log_warn(
        "journal: the wall clock went back by %lld.%03lld s, and receipt times with it: "
        "sequence numbers give the order of the records. Find out what sets the clock "
        "(timedatectl)",
        (long long)(back_us / 1000000), (long long)(back_us / 1000 % 1000));
}

void
wall_clock_check(struct journal *j)
{
    int64_t wall_us = clock_now_us(), boot_us = clock_boot_us();

    report_clock(j, clock_watch_check(&j->watch, wall_us, boot_us));
    if (j->watch.holding)
        j->steady_us = boot_us;
    pthread_mutex_lock(&j->lock);
    j->counts.clock_held = j->watch.holding;
    j->counts.clock_step_us = j->watch.holding ? j->watch.step_us : 0;
    j->wall_base_us = j->watch.base_us;
    int64_t back_us = j->back_us;
    j->back_us = 0;
    pthread_mutex_unlock(&j->lock);
    report_back(j, back_us, boot_us);
}

void
wall_clock_clean_bad(struct journal *j)
{
    int64_t boot_us = clock_boot_us();

    if (boot_us - j->cleaned_us < CLEAN_US || boot_us - j->steady_us < STEADY_US)
        return;
    j->cleaned_us = boot_us;
    bad_clean(j->dir, clock_now_us());
}
