// Retention: how long published segments stay, and room for new ones. The maintenance thread
// holds one zero-filled spare at all times, so that the committer rotates without waiting for
// the disk, and removes published segments when they are older or more than wished and nothing
// speaks against it. When the bounds are reached, published segments become spares before their
// time, whatever speaks against it: a certain 503 is worse than a possible gap. What is not
// published is never touched.
//
// A segment is published when the next one starts at or below `published` + 1. The newest
// segment always stays: it carries the journal's id and the sequence to go on from.
//
// What speaks against removing what is due by `keep` or `keep_max`: a wall clock that stepped
// away from the boot clock, and a cursor that was read too long ago. A segment's age is counted
// by the boot clock, which the step does not touch. But whatever set the clock may have moved
// Redis's too, and emptied streams that the journal can refill: what can wait does, until the
// clock is back or has settled. `keep_max` waits as well: it believes no clock, but nothing is
// lost by 10 minutes more than it, and `max` still bounds.
#include "journal/internal.h"

#include "base/thread.h"
#include "journal/cursor.h"

#include <sys/statvfs.h>

enum {
    ROUND_MS = 1000,
    CURSOR_FRESH_MS = 10000,
    DUE_FRESH_US = 2000000,
    FAILING_REPORTED_US = 10000000,
    SPARE_BACK_MS = 600 * 1000
};

// --- room -----------------------------------------------------------------------------

static uint64_t
bytes_used(const struct journal *j)
{
    uint64_t bytes = j->filling ? j->options.segment_bytes : j->segments.spare_bytes;

    bytes += j->creating ? j->options.segment_bytes : 0;
    for (size_t i = 0; i < j->segments.len; i++)
        bytes += j->segments.at[i].bytes;
    return bytes;
}

static bool
is_published(const struct journal *j, size_t segment)
{
    return segment + 1 < j->segments.len &&
           j->segments.at[segment + 1].header.first <= j->published + 1;
}

static uint64_t
bytes_published(const struct journal *j)
{
    uint64_t bytes = 0;

    for (size_t i = 0; is_published(j, i); i++)
        bytes += j->segments.at[i].bytes;
    return bytes;
}

// With the lock: there is a segment, or one is just being begun or can be, be the bounds reached or the
// disk full.
static bool
has_room(const struct journal *j)
{
    return j->active || j->creating || j->filling || j->segments.spare_fd >= 0 ||
           is_published(j, 0);
}

static uint64_t
disk_left(const struct journal *j)
{
    struct statvfs fs;

    return fstatvfs(j->dir, &fs) == 0 ? fs.f_frsize * fs.f_bavail : UINT64_MAX;
}

// With the lock: one more segment keeps the journal within its bounds. Beside the newest, which always
// stays, there is room for one, however large a group made that.
static bool
is_within_bounds(const struct journal *j)
{
    bool is_alone = j->segments.len <= 1 && !j->filling && !j->creating &&
                    j->segments.spare_bytes == 0;

    return is_alone || bytes_used(j) + j->options.segment_bytes <= j->options.bytes_max;
}

static bool
is_for_want_of_room(const struct err *err)
{
    return err->error == ENOSPC || err->error == EDQUOT;
}

const char *
retention_advice(const struct err *why)
{
    if (is_for_want_of_room(why))
        return "free space on that file system (df -h), but never delete files in "
               "state_dir; if Redis is away, bring it back";
    if (why->error == ENOENT)
        return "someone removed or unmounted state_dir: put it back and restart";
    return why->error ? "check the disk (dmesg)"
                      : "bring Redis back, or raise journal.max and restart";
}

// --- figures --------------------------------------------------------------------------

// Something that waits is never of age 0, which means that nothing does.
static int64_t
age_since(int64_t now_us, int64_t since_us)
{
    return now_us > since_us ? now_us - since_us : 1;
}

// Age of a record that has no mark: what its receipt says, as far as the wall clock is believed. Of
// one that an earlier process wrote at least the time since the opening, of one of ours (Redis lost
// it) at most that. The receipt is read from the journal: at most one segment is scanned.
static int64_t
read_age(struct journal *j, uint64_t published, int64_t wall_us, int64_t opened_ago_us)
{
    struct record rec;
    int64_t age_us = opened_ago_us;

    pthread_mutex_lock(&j->aged);
    cursor_seek(j->age, published);
    if (cursor_next(j->age, &rec, NULL) > 0) {
        int64_t told_us = age_since(wall_us, rec.received_us);
        if (rec.sequence > j->recovered ? told_us < age_us : told_us > age_us)
            age_us = told_us;
    }
    pthread_mutex_unlock(&j->aged);
    return age_us;
}

// The rest of the active segment may not have its blocks yet. A new segment is allowed as a whole.
static uint64_t
bytes_free(const struct journal *j, uint64_t disk_left)
{
    uint64_t used = bytes_used(j), size = j->options.segment_bytes, allowed = 0,
             spare = j->filling ? size : j->segments.spare_bytes;

    if (used < j->options.bytes_max)
        allowed = (j->options.bytes_max - used) / size * size;
    if (j->active) {
        const struct segment *s = &j->segments.at[j->segments.len - 1];
        allowed += s->bytes - s->end;
    }
    return (disk_left < allowed ? disk_left : allowed) + bytes_published(j) + spare;
}

// Why the next delivery could not be stored, NULL: it could. That the journal is full is over when a
// segment can be begun.
static const struct err *
why_failing(const struct journal *j)
{
    const struct err *why = &j->failed;
    bool failed = j->failed_us && clock_mono_us() - j->failed_us < FAILING_REPORTED_US;

    if (failed && (why->kind != ERR_AGAIN || !has_room(j)))
        return why;
    return j->no_room.kind && !has_room(j) ? &j->no_room : NULL;
}

bool
journal_is_failing(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    bool failing = why_failing(j);
    pthread_mutex_unlock(&j->lock);
    return failing;
}

void
journal_read_status(struct journal *j, struct journal_status *status)
{
    int64_t now_us = clock_boot_us();
    uint64_t left = disk_left(j);

    pthread_mutex_lock(&j->lock);
    *status = j->counts;
    if (j->segments.len && j->segments.at[0].header.first <= j->durable)
        status->first = j->segments.at[0].header.first;
    status->last = j->durable;
    status->published = j->published;
    status->bytes = bytes_used(j);
    status->bytes_free = bytes_free(j, left);
    status->segments = j->segments.len;
    status->spares = j->segments.spare_fd >= 0;
    const struct err *why = why_failing(j);
    status->failing = why;
    status->advice = why ? retention_advice(why) : "";
    if (why)
        memcpy(status->reason, why->text, sizeof status->reason);
    status->first_age_us = j->first_us ? age_since(now_us, j->first_us) : 0;
    int64_t since_us = age_find(&j->ages, j->published + 1);
    int64_t wall_us = now_us + j->wall_base_us;
    pthread_mutex_unlock(&j->lock);
    if (status->published < status->last)
        status->oldest_unpublished_age_us =
            since_us ? age_since(now_us, since_us)
                     : read_age(j, status->published, wall_us,
                                age_since(now_us, j->opened_us));
}

// --- removing the oldest --------------------------------------------------------------

enum removal { FOR_KEEP, FOR_ROOM, FOR_SPARE };

static bool
is_cursor_fresh(const struct journal *j, int64_t max_us)
{
    return j->published_us && clock_boot_us() - j->published_us <= max_us;
}

// With the lock: is the oldest segment published, and for FOR_KEEP also due? What is due can
// wait for the next cursor read, a few seconds: a Redis that was emptied since the last one is
// not known yet.
static bool
may_remove(const struct journal *j, enum removal why)
{
    if (!is_published(j, 0) || why != FOR_KEEP)
        return is_published(j, 0);
    if (j->counts.clock_held || !is_cursor_fresh(j, DUE_FRESH_US))
        return false;
    return clock_boot_us() - j->segments.at[0].since_us > j->options.keep_us ||
           bytes_published(j) > j->options.keep_bytes_max;
}

// take_oldest takes the oldest segment out of the list, so that no cursor opens it any more,
// when it may go.
static bool
take_oldest(struct journal *j, enum removal why, struct segment *s)
{
    pthread_mutex_lock(&j->lock);
    bool taken = may_remove(j, why);
    if (taken) {
        *s = j->segments.at[0];
        segment_list_remove(&j->segments, 0);
    }
    pthread_mutex_unlock(&j->lock);
    return taken;
}

// report_room: a segment was removed for room, whatever speaks against it. With `removing`.
static void
report_room(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    bool fresh = is_cursor_fresh(j, j->fresh_us);
    j->counts.unconfirmed += !fresh;
    pthread_mutex_unlock(&j->lock);
    if (fresh)
        once_clear(&j->unconfirmed);
    else
        once_report(
            &j->unconfirmed, LOG_LEVEL_ALARM,
            "journal: no room is left, and Redis has not answered for more than "
            "%lld s: the oldest published records are removed before journal.keep has "
            "passed. If Redis loses them, they cannot be sent again. Bring Redis "
            "back, or give the journal more room (disk, or journal.max: %s now)",
            (long long)(j->fresh_us / 1000000), j->max_text);
}

// remove_oldest removes the oldest segment if it may, or makes it the next spare's file. -1
// with *err unless there was none.
static int
remove_oldest(struct journal *j, enum removal why, struct err *err)
{
    struct segment s;
    int result = -1;

    pthread_mutex_lock(&j->removing);
    if (take_oldest(j, why, &s)) {
        result = dir_remove(j->dir, s.name, why == FOR_SPARE, err);
        if (result < 0) {
            pthread_mutex_lock(&j->lock);
            segment_list_insert(&j->segments, 0, &s);
            pthread_mutex_unlock(&j->lock);
        }
        if (result == 0)
            once_clear(&j->stuck);
        else if (why != FOR_SPARE)
            once_report(
                &j->stuck, LOG_LEVEL_WARN,
                "journal: %s: its space cannot be freed, so journal.keep does not "
                "apply. Check the disk (dmesg)",
                err->text);
        if (result == 0 && why != FOR_KEEP)
            report_room(j);
    }
    pthread_mutex_unlock(&j->removing);
    return result;
}

// --- spares ---------------------------------------------------------------------------

// Where the disk is full as well, a larger journal.max alone would not help.
static int
refuse_full(const struct journal *j, struct err *err)
{
    uint64_t left = disk_left(j);
    bool disk_has_room = left >= j->options.segment_bytes;

    err_set(err, ERR_AGAIN,
            "the journal is full (journal.max is %s; the file system of state_dir has "
            "%s), and none of it has been published, which would make room",
            j->max_text,
            left >= j->options.bytes_max ? "room for twice that"
            : disk_has_room              ? "room for more, but not for twice that"
                                         : "no room for more");
    err->error = disk_has_room ? 0 : ENOSPC; // as retention_advice tells them apart
    return -1;
}

int
retention_reserve(struct journal *j, struct err *err)
{
    struct err reason = {0};

    for (;;) {
        bool fits; // in the spare, or one that is being filled, or within the bounds
        pthread_mutex_lock(&j->lock);
        while (!(fits = j->segments.spare_fd >= 0 || is_within_bounds(j)) && j->filling)
            pthread_cond_wait(&j->filled, &j->lock);
        j->creating = fits;
        pthread_mutex_unlock(&j->lock);
        if (fits)
            return 0;
        if (remove_oldest(j, FOR_ROOM, &reason) < 0)
            break;
    }
    if (!reason.kind)
        return refuse_full(j, err);
    *err = reason; // there is one to remove, which failed
    return -1;
}

bool
retention_make_room(struct journal *j, const struct err *why)
{
    struct err err;

    if (!is_for_want_of_room(why) || remove_oldest(j, FOR_ROOM, &err) == 0)
        return is_for_want_of_room(why);
    pthread_mutex_lock(&j->lock);
    bool filling = j->filling;
    while (j->filling)
        pthread_cond_wait(&j->filled, &j->lock);
    pthread_mutex_unlock(&j->lock);
    return filling;
}

// make_spare makes a new file where that is within the bounds, and does not take the room on the
// disk in which the active segment still grows: that would be refused though the records fit.
// Otherwise the oldest published segment becomes the spare.
static int
make_spare(struct journal *j, struct err *err)
{
    bool disk_has_room = disk_left(j) >= j->options.segment_bytes + GROUP_BYTES_MAX;
    int made = -1;

    pthread_mutex_lock(&j->lock);
    bool fits = disk_has_room && is_within_bounds(j);
    bool published = is_published(j, 0);
    j->filling = fits || published;
    pthread_mutex_unlock(&j->lock);
    if (disk_has_room)
        err_set(err, ERR_AGAIN, "journal.max (%s) leaves no room for one", j->max_text);
    else
        err_set(err, ERR_AGAIN, "the file system of state_dir leaves no room for one");
    err->error = disk_has_room ? 0 : ENOSPC; // as retention_advice tells them apart
    if (fits)
        made = dir_make_spare(j->dir, j->options.segment_bytes, err);
    if (made < 0 && (!fits || is_for_want_of_room(err)) &&
        remove_oldest(j, FOR_SPARE, err) == 0)
        made = dir_make_spare(j->dir, j->options.segment_bytes, err);
    pthread_mutex_lock(&j->lock);
    j->filling = false;
    j->segments.spare_fd = made;
    j->segments.spare_bytes = made < 0 ? 0 : j->options.segment_bytes;
    pthread_cond_broadcast(&j->filled);
    pthread_mutex_unlock(&j->lock);
    return made < 0 ? -1 : 0;
}

// One spare is held. That there is none is no loss yet: the committer goes on without. None is
// made while the committer makes a segment: its spare still has the name of one. On a full disk a
// spare comes and goes with each segment: it is there again once it has not been missed for a while,
// and each reason is logged once until then, for two may take turns.
static void
hold_spare(struct journal *j)
{
    struct err err;

    pthread_mutex_lock(&j->lock);
    bool held = j->segments.spare_fd >= 0, creating = j->creating;
    pthread_mutex_unlock(&j->lock);
    if (!held && creating)
        return;
    if (!held && make_spare(j, &err) < 0) {
        uint64_t reason = UINT64_C(1) << err.error % 64;
        j->spareless_ms = clock_boot_ms();
        if (!(j->spareless & reason))
            log_warn("journal: no spare segment can be prepared: %s. What to do: %s",
                     err.text, retention_advice(&err));
        j->spareless |= reason;
    } else if (j->spareless && clock_boot_ms() - j->spareless_ms >=
                                   times_ms("spare-back", SPARE_BACK_MS)) {
        j->spareless = 0;
        log_info("journal: there is a spare segment again");
    }
}

// check_room finds out before a delivery does whether one could be stored, while there is neither
// a segment to write to nor a spare: at a start on a full disk, and after a failure.
static void
check_room(struct journal *j)
{
    struct err err = {0};

    pthread_mutex_lock(&j->lock);
    bool known = has_room(j), fits = is_within_bounds(j), reported = j->failed_us;
    pthread_mutex_unlock(&j->lock);
    if (!known && !fits)
        refuse_full(j, &err);
    else if (!known && dir_check_room(j->dir, &err) < 0) {
        errno = err.error;
        err_errno(&err, "nothing can be written to state_dir");
    }
    pthread_mutex_lock(&j->lock);
    j->no_room = j->active ? (struct err){0} : err;
    pthread_mutex_unlock(&j->lock);
    if (err.kind && !reported)
        once_report(&j->roomless, LOG_LEVEL_ALARM,
                    "journal: no delivery can be stored (they will be answered with "
                    "503): %s. What to do: %s",
                    err.text, retention_advice(&err));
    else if (!err.kind && once_clear(&j->roomless))
        log_info("journal: there is room for deliveries again");
}

// --- the thread -----------------------------------------------------------------------

static bool
await_next_round(struct journal *j)
{
    struct timespec at = clock_timespec(clock_mono_us() + j->round_us);

    pthread_mutex_lock(&j->lock);
    if (!j->stopping)
        pthread_cond_clockwait(&j->space, &j->lock, CLOCK_MONOTONIC, &at);
    bool stopping = j->stopping;
    pthread_mutex_unlock(&j->lock);
    return !stopping;
}

static void *
maintenance_run(void *journal)
{
    struct journal *j = journal;
    struct err err;

    do {
        wall_clock_check(j);
        while (remove_oldest(j, FOR_KEEP, &err) == 0)
            continue;
        hold_spare(j);
        check_room(j);
        wall_clock_clean_bad(j);
    } while (await_next_round(j));
    return NULL;
}

int
retention_start(struct journal *j, struct err *err)
{
    j->opened_us = clock_boot_us();
    j->round_us = times_ms("journal-round", ROUND_MS) * 1000;
    j->fresh_us = times_ms("cursor-fresh", CURSOR_FRESH_MS) * 1000;
    j->watch = (struct clock_watch){.settle_us =
                                        times_ms("clock-settle", CLOCK_SETTLE_MS) * 1000};
    clock_watch_check(&j->watch, clock_now_us(), j->opened_us); // the first is believed
    j->wall_base_us = j->watch.base_us;
    j->steady_us = j->cleaned_us = j->opened_us;
    return thread_start(&j->maintenance, "maintenance", maintenance_run, j, err);
}
