// Opening, closing and figures. What is on disk is read by recover.c; records are made durable
// by group.c and commit.c, room by space.c.
#include "journal/journal.h"

#include "base/clock.h"
#include "base/thread.h"
#include "journal/cursor.h"
#include "journal/inside.h"

#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { FAILING_TOLD_US = 10000000 };

static void
set_defaults(struct journal *j)
{
    struct statvfs fs;

    if (j->options.segment_bytes == 0)
        j->options.segment_bytes = 16 << 20;
    j->bytes_max = j->options.bytes_max;
    if (j->bytes_max == 0) {
        j->bytes_max = JOURNAL_BYTES_MAX;
        if (fstatvfs(j->dir, &fs) == 0 && fs.f_frsize * fs.f_blocks / 2 < j->bytes_max)
            j->bytes_max = fs.f_frsize * fs.f_blocks / 2;
    }
    // Less than this and no rotation could ever succeed.
    if (j->bytes_max < 3 * j->options.segment_bytes)
        j->options.segment_bytes = j->bytes_max / 3;
}

static void
init_conditions(struct journal *j)
{
    pthread_condattr_t monotonic;
    pthread_cond_t *all[] = {&j->work, &j->taken, &j->space, &j->filled, &j->read};

    pthread_mutex_init(&j->lock, NULL);
    pthread_mutex_init(&j->aged, NULL);
    pthread_mutex_init(&j->removing, NULL);
    tail_init(&j->tail);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        pthread_cond_init(all[i], &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static void
release(struct journal *j)
{
    if (j->open)
        group_drop(j->open);
    cursor_close(j->age);
    tail_release(&j->tail);
    free(j->segments);
    if (j->spare_fd >= 0)
        close(j->spare_fd);
    if (j->dir >= 0)
        close(j->dir);
    if (j->lock_fd >= 0)
        close(j->lock_fd); // gives the lock back
    free(j);
}

static void
tell_to_stop(struct journal *j)
{
    pthread_mutex_lock(&j->lock);
    j->stopping = true;
    pthread_cond_broadcast(&j->work);
    pthread_cond_broadcast(&j->taken);
    pthread_cond_broadcast(&j->space);
    pthread_cond_broadcast(&j->read);
    pthread_mutex_unlock(&j->lock);
}

static int
start_threads(struct journal *j, struct err *err)
{
    if (thread_start(&j->committer, "committer", committer_run, j, err) < 0)
        return -1;
    if (thread_start(&j->keeper, "journal-keeper", keeper_run, j, err) == 0)
        return 0;
    tell_to_stop(j);
    pthread_join(j->committer, NULL);
    return -1;
}

struct journal *
journal_open(const struct journal_options *options, struct err *err)
{
    struct journal *j = memory_get(sizeof *j);

    *j = (struct journal){.options = *options, .fd = -1, .lock_fd = -1, .spare_fd = -1};
    j->dir = files_open(options->directory, true, options->force, err);
    if (j->dir < 0)
        goto fail;
    j->lock_fd = files_lock(j->dir, options->directory, options->lock_wait_ms, err);
    if (j->lock_fd < 0)
        goto fail;
    set_defaults(j);
    if (recover(j, err) < 0)
        goto fail;
    if (j->spare_bytes)
        j->spare_fd = files_open_spare(j->dir);
    hold_init(j);
    init_conditions(j);
    j->open = group_make();
    j->age = cursor_open(j, 0);
    if (start_threads(j, err) < 0)
        goto fail;
    return j;

fail:
    release(j);
    return NULL;
}

void
journal_close(struct journal *j)
{
    if (!j)
        return;
    tell_to_stop(j);
    pthread_join(j->committer, NULL);
    pthread_join(j->keeper, NULL);
    release(j);
}

void
journal_publish(struct journal *j, uint64_t sequence)
{
    pthread_mutex_lock(&j->lock);
    j->published = sequence;
    j->published_us = clock_boot_us();
    if (j->spare_bytes == 0)
        pthread_cond_signal(&j->space);
    pthread_mutex_unlock(&j->lock);
}

void
journal_skip_to(struct journal *j, uint64_t sequence)
{
    pthread_mutex_lock(&j->lock);
    if (sequence > j->skip_to)
        j->skip_to = sequence;
    pthread_mutex_unlock(&j->lock);
}

const char *
journal_id(const struct journal *j)
{
    return j->id_text;
}

// Age of a record that an earlier process wrote: what its receipt says, as far as the wall
// clock is believed, and at least the time since the opening. The receipt is read from the
// journal: at most one segment is scanned.
static int64_t
read_age(struct journal *j, uint64_t published, int64_t wall_us, int64_t opened_ago_us)
{
    struct record rec;
    int64_t age_us = opened_ago_us;

    pthread_mutex_lock(&j->aged);
    cursor_seek(j->age, published);
    if (cursor_next(j->age, &rec, NULL) > 0 && wall_us - rec.received_us > age_us)
        age_us = wall_us - rec.received_us;
    pthread_mutex_unlock(&j->aged);
    return age_us;
}

// Something that waits is never of age 0, which means that nothing does.
static int64_t
age_since(int64_t now_us, int64_t since_us)
{
    return now_us > since_us ? now_us - since_us : 1;
}

static uint64_t
room_left(const struct journal *j, uint64_t used)
{
    struct statvfs fs;
    uint64_t left = j->bytes_max > used ? j->bytes_max - used : 0;

    if (fstatvfs(j->dir, &fs) == 0 && fs.f_frsize * fs.f_bavail < left)
        left = fs.f_frsize * fs.f_bavail;
    return left;
}

void
journal_read_status(struct journal *j, struct journal_status *status)
{
    int64_t now_us = clock_boot_us();

    pthread_mutex_lock(&j->lock);
    *status = j->counts;
    if (j->segments_len && j->segments[0].header.first <= j->durable)
        status->first = j->segments[0].header.first;
    status->last = j->durable;
    status->published = j->published;
    status->bytes = space_used(j);
    uint64_t published = space_published(j);
    status->bytes_max = j->bytes_max;
    status->segments = j->segments_len;
    status->spares = j->spare_bytes > 0;
    status->damaged = j->damaged;
    status->failing = j->failed_us && clock_mono_us() - j->failed_us < FAILING_TOLD_US;
    status->clock_held = j->clock_held;
    status->first_age_us = j->first_us ? age_since(now_us, j->first_us) : 0;
    int64_t since_us = age_find(&j->ages, j->published + 1);
    int64_t wall_us = now_us + j->wall_base_us;
    pthread_mutex_unlock(&j->lock);
    status->bytes_free = room_left(j, status->bytes) + published;
    if (status->published < status->last)
        status->oldest_unpublished_age_us =
            since_us ? age_since(now_us, since_us)
                     : read_age(j, status->published, wall_us,
                                age_since(now_us, j->opened_us));
}
