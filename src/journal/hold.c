// What keeps the keeper from removing published segments that are due by `keep` or `keep_max`:
// a wall clock that stepped away from the boot clock, and a cursor that was read too long ago.
// A segment's age is counted by the boot clock, which the step does not touch. But whatever
// set the clock may have moved Redis's too, and emptied streams that the journal can refill:
// what can wait does, until the clock is back or has settled. `keep_max` waits as well: it
// believes no clock, but nothing is lost by 10 minutes more than it, and `max` still bounds.
#include "journal/inside.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

static const int64_t CLEAN_US = INT64_C(3600) * 1000000,
                     STEADY_US = INT64_C(86400) * 1000000;
enum {
    ROUND_MS = 1000,
    CURSOR_FRESH_MS = 10000,
    DUE_FRESH_US = 2000000,
    BACK_REPORT_US = 600 * 1000000
};

static void
warn_of_future(struct journal *j)
{
    int64_t now_us = clock_now_us();
    char then[CLOCK_TEXT], now[CLOCK_TEXT];

    if (j->last_us - now_us <= RECEIPT_BACK_MAX_US)
        return;
    clock_format_seconds(then, j->last_us);
    clock_format_seconds(now, now_us);
    log_warn(
        "journal: the newest record was received at %s, and the clock says %s: it was "
        "ahead then, or is behind now. New receipt times go by the clock; the order is "
        "the sequence's. See that the clock is synchronized (timedatectl)",
        then, now);
    j->last_us = 0;
}

void
hold_init(struct journal *j)
{
    j->opened_us = clock_boot_us();
    j->round_us = times_ms("journal-round", ROUND_MS) * 1000;
    j->fresh_us = times_ms("cursor-fresh", CURSOR_FRESH_MS) * 1000;
    j->watch = (struct clock_watch){.settle_us =
                                        times_ms("clock-settle", CLOCK_SETTLE_MS) * 1000};
    clock_watch_check(&j->watch, clock_now_us(), j->opened_us); // the first is believed
    j->wall_base_us = j->watch.base_us;
    j->steady_us = j->cleaned_us = j->opened_us;
    warn_of_future(j);
}

static void
report_clock(const struct journal *j, enum clock_watch_result result)
{
    double step_s = (double)j->watch.step_us / 1e6;

    switch (result) {
    case CLOCK_STEPPED:
        log_alarm(
            "journal: the wall clock stepped %s by %.0f s. Receipt times follow it; "
            "nothing is removed for keep and keep_max until it is back or has stayed "
            "for %lld s. If nobody meant it, see what sets the clock (timedatectl)",
            step_s < 0 ? "back" : "ahead", step_s < 0 ? -step_s : step_s,
            (long long)(j->watch.settle_us / 1000000));
        break;
    case CLOCK_UNDONE:
        log_info(
            "journal: the wall clock is back where it was: keep and keep_max hold again");
        break;
    case CLOCK_SETTLED:
        log_info(
            "journal: the wall clock has stayed where it stepped to: keep and keep_max "
            "hold again");
        break;
    case CLOCK_STEADY:
    case CLOCK_HELD:
        break;
    }
}

// Once in a while: a clock that goes back and forth must not fill the log.
static void
report_back(struct journal *j, int64_t back_us, int64_t now_us)
{
    if (back_us == 0 ||
        (j->back_reported_us && now_us - j->back_reported_us < BACK_REPORT_US))
        return;
    j->back_reported_us = now_us;
    log_alarm(
        "journal: the wall clock went back by %lld.%03lld s, and receipt times with it: "
        "records are not in the order of their times, but of their sequence. See what "
        "sets the clock (timedatectl)",
        (long long)(back_us / 1000000), (long long)(back_us / 1000 % 1000));
}

void
hold_check(struct journal *j)
{
    int64_t wall_us = clock_now_us(), boot_us = clock_boot_us();

    report_clock(j, clock_watch_check(&j->watch, wall_us, boot_us));
    if (j->watch.holding)
        j->steady_us = boot_us;
    pthread_mutex_lock(&j->lock);
    j->clock_held = j->watch.holding;
    j->counts.clock_step_us = j->watch.holding ? j->watch.step_us : 0;
    j->wall_base_us = j->watch.base_us;
    int64_t back_us = j->back_us;
    j->back_us = 0;
    pthread_mutex_unlock(&j->lock);
    report_back(j, back_us, boot_us);
}

// Files in bad/ are known by the wall clock only, which is believed when it has been steady
// for a day of the boot clock.
void
hold_clean_bad(struct journal *j)
{
    int64_t boot_us = clock_boot_us();

    if (boot_us - j->cleaned_us < CLEAN_US || boot_us - j->steady_us < STEADY_US)
        return;
    j->cleaned_us = boot_us;
    bad_clean(j->dir, clock_now_us());
}

static bool
is_cursor_fresh(const struct journal *j, int64_t max_us)
{
    return j->published_us && clock_boot_us() - j->published_us <= max_us;
}

// What is due can wait for the next cursor read, a few seconds: a Redis that was emptied since
// the last one is not known yet.
bool
hold_is_on(const struct journal *j)
{
    return j->clock_held || !is_cursor_fresh(j, DUE_FRESH_US);
}

void
hold_report_room(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    bool fresh = is_cursor_fresh(j, j->fresh_us), report = !fresh && !j->room_reported;
    j->room_reported = !fresh;
    if (!fresh)
        j->counts.unconfirmed++;
    pthread_mutex_unlock(&j->lock);
    if (report)
        log_alarm(
            "journal: there is no room left, and Redis has not answered for more than "
            "%lld s: the oldest published records are removed before keep. If Redis "
            "has lost them, they cannot be sent again. Bring Redis back, or give the "
            "journal room (disk, journal.max)",
            (long long)(j->fresh_us / 1000000));
}
