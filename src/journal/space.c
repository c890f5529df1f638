// Room. The keeper holds one zero-filled spare at all times, so that the committer rotates
// without waiting for the disk, and removes published segments when they are older or more
// than wished and nothing speaks against it (hold.c). When the bounds are reached, published
// segments become spares before their time, whatever speaks against it: a certain 503 is worse
// than a possible gap. What is not published is never touched.
//
// A segment is published when the next one starts at or below `published` + 1. The newest
// segment always stays: it carries the journal's id and the sequence to go on from.
#include "journal/inside.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

uint64_t
space_used(const struct journal *j)
{
    uint64_t bytes = j->filling ? j->options.segment_bytes : j->spare_bytes;

    bytes += j->entering ? j->options.segment_bytes : 0;
    for (size_t i = 0; i < j->segments_len; i++)
        bytes += j->segments[i].bytes;
    return bytes;
}

static bool
is_published(const struct journal *j, size_t segment)
{
    return segment + 1 < j->segments_len &&
           j->segments[segment + 1].header.first <= j->published + 1;
}

uint64_t
space_published(const struct journal *j)
{
    uint64_t bytes = 0;

    for (size_t i = 0; is_published(j, i); i++)
        bytes += j->segments[i].bytes;
    return bytes;
}

// With the lock: the oldest segment, when all its records are published.
static bool
oldest_is_published(const struct journal *j)
{
    return is_published(j, 0);
}

// take_oldest takes the oldest segment out of the list, so that no cursor opens it any more,
// when it may go.
static bool
take_oldest(struct journal *j, bool (*may_go)(const struct journal *), struct segment *s)
{
    pthread_mutex_lock(&j->lock);
    bool there = may_go(j);
    if (there) {
        *s = j->segments[0];
        j->segments_len--;
        memmove(j->segments, j->segments + 1, j->segments_len * sizeof *s);
    }
    pthread_mutex_unlock(&j->lock);
    return there;
}

// put_back undoes take_oldest.
static void
put_back(struct journal *j, const struct segment *s)
{
    pthread_mutex_lock(&j->lock);
    j->segments = memory_grow(j->segments, (j->segments_len + 1) * sizeof *s);
    memmove(j->segments + 1, j->segments, j->segments_len * sizeof *s);
    j->segments[0] = *s;
    j->segments_len++;
    pthread_mutex_unlock(&j->lock);
}

// remove_oldest removes it if may_go says so. -1 when not, or when it cannot be removed.
static int
remove_oldest(struct journal *j, bool (*may_go)(const struct journal *))
{
    struct segment s;
    struct err err;
    int result = -1;

    pthread_mutex_lock(&j->removing);
    if (take_oldest(j, may_go, &s)) {
        result = dir_remove(j->dir, s.name, false, &err);
        if (result < 0) {
            if (j->stuck != err.error)
                log_warn("journal: %s: its room is not free, and keep cannot hold",
                         err.text);
            put_back(j, &s);
        }
        j->stuck = result < 0 ? err.error : 0;
    }
    pthread_mutex_unlock(&j->removing);
    return result;
}

int
space_give(struct journal *j)
{
    if (remove_oldest(j, oldest_is_published) < 0)
        return -1;
    hold_report_room(j);
    return 0;
}

bool
space_is_missing(const struct err *err)
{
    return err->error == ENOSPC || err->error == EDQUOT;
}

void
space_await_spare(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    while (j->filling)
        pthread_cond_wait(&j->filled, &j->lock);
    pthread_mutex_unlock(&j->lock);
}

void
space_lost_spare(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    j->spare_bytes = 0;
    j->spare_taken = j->filling;
    pthread_cond_signal(&j->space);
    pthread_mutex_unlock(&j->lock);
}

// With the lock: one more segment keeps the journal within its bounds.
static bool
is_within_bounds(const struct journal *j)
{
    return space_used(j) + j->options.segment_bytes <= j->bytes_max;
}

// has_room says whether one more segment may be made, and reserves its room: out of the
// spare, also one that the keeper is just filling, or within the bounds.
static bool
has_room(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    bool fits = j->spare_bytes > 0 || is_within_bounds(j);
    while (!fits && j->filling) {
        pthread_cond_wait(&j->filled, &j->lock);
        fits = j->spare_bytes > 0 || is_within_bounds(j);
    }
    j->entering = fits;
    pthread_mutex_unlock(&j->lock);
    return fits;
}

int
space_for_segment(struct journal *j, struct err *err)
{
    while (!has_room(j))
        if (space_give(j) < 0)
            return err_set(err, ERR_AGAIN,
                           "the journal is full (journal.max) and nothing in it is "
                           "published yet");
    return 0;
}

// With the lock: more or older than wished?
static bool
oldest_is_due(const struct journal *j)
{
    if (!oldest_is_published(j) || hold_is_on(j))
        return false;
    if (clock_boot_us() - j->segments[0].since_us > j->options.keep_us)
        return true;
    return space_published(j) > j->options.keep_bytes_max;
}

static int
give_oldest_to_spare(struct journal *j, struct err *err)
{
    struct segment s;
    int result = -1;

    pthread_mutex_lock(&j->removing);
    if (take_oldest(j, oldest_is_published, &s)) {
        result = dir_remove(j->dir, s.name, true, err);
        if (result < 0)
            put_back(j, &s);
        else
            hold_report_room(j);
    }
    pthread_mutex_unlock(&j->removing);
    return result;
}

static int
recycle_oldest(struct journal *j, struct err *err)
{
    if (give_oldest_to_spare(j, err) < 0)
        return -1;
    return dir_make_spare(j->dir, j->options.segment_bytes, err);
}

// A spare must not take the room in which the active segment still grows: that would be
// refused though the records fit.
static bool
disk_has_room(const struct journal *j)
{
    struct statvfs fs;

    return fstatvfs(j->dir, &fs) < 0 ||
           fs.f_frsize * fs.f_bavail >= j->options.segment_bytes + GROUP_BYTES_MAX;
}

// begin_filling reserves the room for a spare. *fits: a new file has room on the disk and is
// within the bounds.
static bool
begin_filling(struct journal *j, bool *fits)
{
    *fits = disk_has_room(j);
    pthread_mutex_lock(&j->lock);
    *fits = *fits && is_within_bounds(j);
    j->filling = *fits || oldest_is_published(j);
    bool filling = j->filling;
    pthread_mutex_unlock(&j->lock);
    return filling;
}

// The committer may have used the spare up between its naming and this.
static void
end_filling(struct journal *j, int fd)
{
    pthread_mutex_lock(&j->lock);
    j->filling = false;
    if (fd >= 0 && !j->spare_taken) {
        j->spare_bytes = j->options.segment_bytes;
        j->spare_fd = fd;
    } else if (fd >= 0) {
        close(fd);
    }
    j->spare_taken = false;
    pthread_cond_broadcast(&j->filled);
    pthread_mutex_unlock(&j->lock);
}

static bool
has_spare(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    bool has = j->spare_bytes > 0;
    pthread_mutex_unlock(&j->lock);
    return has;
}

static void
tell_spare(struct journal *j, bool made, const struct err *err)
{
    if (!made && !j->spareless)
        log_warn("journal: no spare segment is held: %s", err->text);
    if (made && j->spareless)
        log_info("journal: a spare segment is held again");
    j->spareless = !made;
}

// make_spare makes a new file, or, where that would go over the bounds or the disk is full,
// makes the oldest published segment the spare.
static int
make_spare(struct journal *j, struct err *err)
{
    bool fits;

    if (!begin_filling(j, &fits))
        return err_set(err, ERR_AGAIN,
                       "there is no room for one, and nothing is published yet");
    err_set(err, ERR_AGAIN, "there is no room for one");
    int made = fits ? dir_make_spare(j->dir, j->options.segment_bytes, err) : -1;
    if (made < 0 && (!fits || space_is_missing(err)))
        made = recycle_oldest(j, err);
    end_filling(j, made);
    return made < 0 ? -1 : 0;
}

// One spare is held. That there is none is no loss yet: the committer goes on without.
static void
hold_spare(struct journal *j)
{
    struct err err;

    if (!has_spare(j))
        tell_spare(j, make_spare(j, &err) == 0, &err);
}

static bool
await_next_round(struct journal *j)
{
    int64_t until_us = clock_mono_us() + j->round_us;
    struct timespec at = {until_us / 1000000, (long)(until_us % 1000000) * 1000};

    pthread_mutex_lock(&j->lock);
    if (!j->stopping)
        pthread_cond_timedwait(&j->space, &j->lock, &at);
    bool stopping = j->stopping;
    pthread_mutex_unlock(&j->lock);
    return !stopping;
}

void *
keeper_run(void *journal)
{
    struct journal *j = journal;

    do {
        hold_check(j);
        while (remove_oldest(j, oldest_is_due) == 0)
            continue;
        hold_spare(j);
        hold_clean_bad(j);
    } while (await_next_round(j));
    return NULL;
}
