// Opening and closing. All state is derived by looking: the id and the next sequence come
// from segment headers and a scan of the last segment that has records. There is no index
// and no counter that could disagree with the records.
#include "journal/journal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "journal/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static void
set_defaults(struct journal *j)
{
    struct statvfs fs;

    if (j->options.segment_bytes == 0)
        j->options.segment_bytes = 16 << 20;
    j->bytes_max = j->options.bytes_max;
    if (j->bytes_max == 0) {
        j->bytes_max = (uint64_t)8 << 30;
        if (fstatvfs(j->dir, &fs) == 0 && fs.f_frsize * fs.f_blocks / 2 < j->bytes_max)
            j->bytes_max = fs.f_frsize * fs.f_blocks / 2;
    }
    // Less than this and no rotation could ever succeed.
    if (j->bytes_max < 3 * j->options.segment_bytes)
        j->options.segment_bytes = j->bytes_max / 3;
}

// Segments of another journal are not ours to read or delete.
static void
set_foreign_aside(struct journal *j, struct files_list *list)
{
    size_t kept = 0;

    for (size_t i = 0; i < list->len; i++) {
        struct segment *s = &list->at[i];
        char to[SEGMENT_NAME + 8];
        if (memcmp(s->header.id, j->id, sizeof j->id) == 0) {
            list->at[kept++] = *s;
            continue;
        }
        snprintf(to, sizeof to, "bad/%s", s->name);
        mkdirat(j->dir, "bad", 0700); // there already is fine
        if (renameat(j->dir, s->name, j->dir, to) < 0)
            log_error("journal: cannot set %s aside: error %d", s->name, errno);
        else
            log_alarm("journal: %s belongs to another journal: set aside in bad/",
                      s->name);
        j->damaged++;
    }
    list->len = kept;
}

// scan_last finds the last valid record of a segment, over damage if need be.
static int
scan_last(struct journal *j, const struct segment *s, uint64_t *last, uint64_t *durable,
          int64_t *last_us, struct err *err)
{
    struct segment_scan scan;
    struct segment_frame f;
    const char *payload;
    struct buf chunk;
    int result = 0;
    int fd = openat(j->dir, s->name, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_errno(err, "cannot open segment %s", s->name);
    buf_init(&chunk, SEGMENT_PAYLOAD_MAX + (2 << 20));
    segment_scan_start(&scan, fd, &s->header, &chunk);
    for (;;) {
        enum segment_result r = segment_scan_next(&scan, &f, &payload, err);
        if (r == SEGMENT_END)
            r = (enum segment_result)segment_scan_resync(&scan, err);
        else if (r == SEGMENT_RECORD) {
            *last = f.sequence;
            *durable = f.durable;
            *last_us = f.received_us;
        }
        if (r != SEGMENT_RECORD) {
            result = r;
            break;
        }
    }
    buf_release(&chunk);
    close(fd);
    return result;
}

static int
read_state(struct journal *j, struct err *err)
{
    struct files_list list;

    if (files_list_read(j->dir, true, &list, &j->damaged, err) < 0)
        return -1;
    if (list.len > 0)
        memcpy(j->id, list.at[list.len - 1].header.id, sizeof j->id);
    else if (getrandom(j->id, sizeof j->id, 0) != sizeof j->id)
        return err_errno(err, "no random bytes");
    text_hex(j->id_text, sizeof j->id_text, j->id, sizeof j->id);
    set_foreign_aside(j, &list);
    j->segments = list.at;
    j->segments_len = list.len;
    j->spare_bytes = list.spares ? list.other_bytes : 0;
    uint64_t last = 0, durable = 0;
    for (size_t i = list.len; i-- > 0 && last == 0;) {
        const struct segment *s = &list.at[i];
        if (scan_last(j, s, &last, &durable, &j->last_us, err) < 0)
            return -1;
        if (last < s->header.first - 1)
            last = s->header.first - 1;
        if (s->header.skipped == 0 && durable < s->header.first - 1)
            durable = s->header.first - 1;
    }
    j->proved = durable;
    j->last_at_open = j->durable = last;
    j->next = last + 1;
    return 0;
}

static void
init_conditions(struct journal *j)
{
    pthread_condattr_t monotonic;
    pthread_cond_t *all[] = {&j->work, &j->taken, &j->space, &j->read};

    pthread_mutex_init(&j->lock, NULL);
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
    free(j->segments);
    if (j->dir >= 0)
        close(j->dir);
    if (j->lock_fd >= 0)
        close(j->lock_fd); // gives the lock back
    free(j);
}

struct journal *
journal_open(const struct journal_options *options, struct err *err)
{
    struct journal *j = memory_get(sizeof *j);

    *j = (struct journal){.options = *options, .fd = -1, .lock_fd = -1};
    j->dir = files_open(options->directory, true, options->force, err);
    if (j->dir < 0)
        goto fail;
    j->lock_fd = files_lock(j->dir, options->directory, options->lock_wait_ms, err);
    if (j->lock_fd < 0)
        goto fail;
    set_defaults(j);
    if (read_state(j, err) < 0)
        goto fail;
    init_conditions(j);
    j->open = group_make();
    if (pthread_create(&j->committer, NULL, committer_run, j) != 0 ||
        pthread_create(&j->keeper, NULL, keeper_run, j) != 0) {
        err_exit(err, EXIT_CODE_FAILURE, "cannot start the journal's threads");
        goto fail;
    }
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
    pthread_mutex_lock(&j->lock);
    j->stopping = true;
    pthread_cond_broadcast(&j->work);
    pthread_cond_broadcast(&j->taken);
    pthread_cond_broadcast(&j->space);
    pthread_cond_broadcast(&j->read);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->committer, NULL);
    pthread_join(j->keeper, NULL);
    release(j);
}

void
journal_publish(struct journal *j, uint64_t sequence)
{
    pthread_mutex_lock(&j->lock);
    j->published = sequence;
    pthread_mutex_unlock(&j->lock);
}

void
journal_skip_to(struct journal *j, uint64_t sequence)
{
    pthread_mutex_lock(&j->lock);
    if (j->next <= sequence && j->open->first == 0 && j->fd < 0) {
        j->skipped = j->next;
        j->next = sequence + 1;
    }
    pthread_mutex_unlock(&j->lock);
}

const char *
journal_id(const struct journal *j)
{
    return j->id_text;
}

void
journal_read_status(struct journal *j, struct journal_status *status)
{
    pthread_mutex_lock(&j->lock);
    *status = j->counts;
    status->first = j->segments_len ? j->segments[0].header.first : 0;
    status->last = j->durable;
    status->published = j->published;
    status->bytes = space_used(j);
    status->bytes_max = j->bytes_max;
    status->bytes_free = j->bytes_max > status->bytes ? j->bytes_max - status->bytes : 0;
    status->segments = j->segments_len;
    status->spares = j->spare_bytes > 0;
    status->damaged = j->damaged;
    pthread_mutex_unlock(&j->lock);
}
