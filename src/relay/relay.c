// The relay as a whole: it starts and stops the partitions, by the layout, and sums up what they
// report. What one does is in partition.c.
#include "base/file.h"
#include "edge/digest.h"
#include "relay/internal.h"

#include <stdlib.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST_MS = 500 };

// --- whose cursor it is ----------------------------------------------------------------------

static void
read_machine(struct buf *id)
{
    static const char *const files[] = {"/etc/machine-id", "/var/lib/dbus/machine-id"};
    char host[256] = "";

    for (size_t i = 0; i < 2 && span_trim(buf_span(id)).len == 0; i++) {
        buf_clear(id);
        if (access(files[i], R_OK) == 0)
            (void)file_read(files[i], id, NULL); // without it the next one stands in
    }
    id->len = span_find(buf_span(id), '\n');
    if (id->len == 0 && gethostname(host, sizeof host - 1) == 0)
        buf_add_text(id, host);
}

// make_owner names the place: the first 32 hex digits of SHA-256 over receiver.instance and the
// real path of the directory. Where that is not set, the machine id stands for it, or the host's
// name. The place, not the process: a restart must not fence itself off, a copy of the volume on
// another machine must. So nothing of it is kept in the volume.
static void
make_owner(char to[SCRIPT_OWNER], const char *instance, const char *directory)
{
    unsigned char sum[DIGEST_BYTES];
    char *real = realpath(directory, NULL);
    struct buf id;

    buf_init(&id, 256);
    if (instance)
        buf_add_text(&id, instance);
    else
        read_machine(&id);
    digest_of(
        (struct span[]){buf_span(&id), SPAN("\n"), span_of(real ? real : directory)}, 3,
        sum);
    text_hex(to, SCRIPT_OWNER, sum, (SCRIPT_OWNER - 1) / 2);
    buf_release(&id);
    free(real);
}

const struct redis_reply *
relay_claim(struct redis *r, const struct config *c, const char *tag,
            const char *journal_id, const char *directory, uint64_t *cursor,
            struct err *err)
{
    char key[SCRIPT_KEY], name[7 + JOURNAL_ID_TEXT], owner[SCRIPT_OWNER];

    snprintf(name, sizeof name, "cursor:%s", journal_id);
    script_key(key, tag, span_of(name));
    make_owner(owner, c->instance, directory);
    const struct redis_reply *reply =
        redis_ask(r, err, "HSET", key, "owner", owner, "check", "", NULL);
    if (!reply || redis_value(reply).kind == REDIS_ERROR)
        return reply;
    reply = redis_ask(r, err, "HGET", key, "sequence", NULL);
    if (!entry_sequence(cursor, redis_value(reply).text))
        *cursor = 0;
    return reply;
}

// --- what the partitions report ----------------------------------------------------------------

// add_status: the worst of all. One that is over is no trouble of anybody's.
static void
add_status(struct relay_status *s, const struct partition *p)
{
    const struct relay_status *of = &p->status;

    if (partition_is_over(p))
        return;
    // One that answers, but does not let us publish, is up: its connection is closed meanwhile.
    s->up = s->up && (of->up || of->state == RELAY_STOPPED || of->state == RELAY_FENCED);
    s->known = s->known && of->known;
    s->cursor = MIN(s->cursor, of->cursor);
    bool worse = of->state == RELAY_FENCED || of->state == RELAY_STOPPED
                     ? s->state == RELAY_SHIPPING || s->state == RELAY_CONNECTING
                     : of->state == RELAY_CONNECTING && s->state == RELAY_SHIPPING;
    if (!worse)
        return;
    s->state = of->state;
    snprintf(s->message, sizeof s->message, "%s%s%.200s", p->label + (*p->label != 0),
             *p->label && *of->message ? ": " : "", of->message);
}

void
relay_read_status(struct relay *r, struct relay_status *status)
{
    struct journal_status j;

    *status = (struct relay_status){
        .state = RELAY_SHIPPING, .up = true, .known = true, .cursor = UINT64_MAX};
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->len; i++)
        add_status(status, r->partitions[i]);
    pthread_mutex_unlock(&r->lock);
    if (*r->damage) {
        // Redis is not asked, and not what fails.
        *status = (struct relay_status){.state = RELAY_STOPPED, .up = true};
        memcpy(status->message, r->damage, sizeof status->message);
    }
    status->entries = (uint64_t)metric_read(&relay_metrics[RELAY_ENTRIES]);
    journal_read_status(r->journal, &j);
    uint64_t before = status->known ? status->cursor : j.first ? j.first - 1 : j.last;
    status->waiting = j.last > before ? j.last - before : 0;
    // Before the cursor is known, published records are no reason to wake anybody.
    status->age_us = status->known ? j.oldest_unpublished_age_us : j.first_age_us;
}

// More than there are where the answer to what was sent last is not awaited.
void
relay_log_waiting(struct relay *r)
{
    struct relay_status s;

    relay_read_status(r, &s);
    if (s.waiting > 0)
        log_info("relay: stopped; deliveries that wait in the journal in %s: up to %llu; "
                 "they stay there and are published after the next start",
                 r->directory, (unsigned long long)s.waiting);
}

static void
show(void *relay)
{
    struct relay_status s;
    struct relay *r = relay;

    relay_read_status(r, &s);
    metric_set(&relay_metrics[RELAY_REDIS_UP], s.up);
    metric_set(&relay_metrics[RELAY_IS_SHIPPING], s.state == RELAY_SHIPPING);
    metric_set(&relay_metrics[RELAY_CURSOR_KNOWN], s.known);
    metric_set(&relay_metrics[RELAY_LAGGING],
               r->feed ? (double)feed_left_behind(r->feed) : 0);
    metric_set(&relay_metrics[RELAY_UNPUBLISHED], (double)s.waiting);
    metric_set(&relay_metrics[RELAY_OLDEST_AGE], (double)s.age_us / 1e6);
}

// --- settings --------------------------------------------------------------------------------

// The caller is a holder. NULL with *err when a secret cannot be read.
static struct relay_settings *
settings_read(struct config *c, struct err *err)
{
    struct relay_settings *s = memory_get(sizeof *s);

    *s = (struct relay_settings){.holders = 1, .config = config_hold(c)};
    if (config_redis_options(&s->redis, c, &s->secrets, err) == 0)
        return s;
    settings_release(s);
    return NULL;
}

// --- start -----------------------------------------------------------------------------------

// A journal without records has no layout, whatever file an earlier one left there. One without the
// file is older than partitions, and all of it is in one place.
static int
read_layout(struct relay *r, const struct journal_status *status, int partitions,
            struct err *err)
{
    int found = 0;

    r->layout = (struct layout){.at[0] = {1, 1}, .len = 1};
    if (status->last == 0)
        r->layout.at[0].partitions = partitions;
    else
        found = layout_read(&r->layout, r->directory, journal_id(r->journal), err);
    if (found == 0 && status->last > 0 && partitions > 1)
        return err_set(
            err, ERR_INPUT,
            "%s/partitions is missing, so which records are in which partition "
            "is not known: restore it, or run acrelay journal partitions N --yes",
            r->directory);
    return found;
}

static bool
is_same(const struct layout *a, const struct layout *b)
{
    bool same = a->len == b->len;

    for (size_t i = 0; i < a->len && same; i++)
        same = a->at[i].first == b->at[i].first &&
               a->at[i].partitions == b->at[i].partitions;
    return same;
}

// Where the file cannot be written, the journal is published by what no file means, if that is true.
static int
write_layout(const struct relay *r, struct err *err)
{
    const char *id = journal_id(r->journal);
    struct layout unused;
    struct err why;

    if (layout_write(&r->layout, r->directory, id, &why) == 0)
        return 0;
    if (!layout_is_single(&r->layout) ||
        layout_read(&unused, r->directory, id, NULL) != 0)
        return err_set(err, ERR_AGAIN,
                       "which records are in which partition cannot be saved: "
                       "free space, or make the directory writable (%s)",
                       why.text);
    log_warn(
        "relay: %s; there is one partition, so publishing continues without that file",
        why.text);
    return 0;
}

// open_layout has the layout say how the records from now on are spread, before one is received.
static int
open_layout(struct relay *r, int partitions, struct err *err)
{
    static const bool none[LAYOUT_TAGS_MAX];
    struct journal_status status;
    struct layout before;

    journal_read_status(r->journal, &status);
    int found = read_layout(r, &status, partitions, err);
    if (found < 0)
        return -1;
    before = r->layout;
    layout_forget(&r->layout, status.first ? status.first : status.last + 1, none);
    if (layout_switch(&r->layout, status.last + 1, partitions, err) < 0)
        return -1;
    if (found > 0 && is_same(&r->layout, &before))
        return 0;
    return write_layout(r, err);
}

static int
make_partitions(struct relay *r, struct config *c, struct err *err)
{
    uint64_t first, last;

    if (!layout_is_single(&r->layout) &&
        !(r->feed = feed_open(r->journal, &r->layout, r->account, err)))
        return -1;
    struct relay_settings *settings = settings_read(c, err);
    if (!settings)
        return -1;
    for (int tag = 0; tag < LAYOUT_TAGS_MAX; tag++)
        if (layout_find(&r->layout, tag, &first, &last))
            r->partitions[r->len++] = partition_make(r, tag, settings);
    settings_release(settings);
    return 0;
}

// Without a layout nothing is published: what is sent to another partition than before is there
// twice.
static void
report_damage(struct relay *r, const struct err *why)
{
    snprintf(r->damage, sizeof r->damage, "%.250s", why->text);
    log_alarm("relay: %s; then restart. Until then nothing is published, and deliveries "
              "wait in the journal",
              why->text);
}

static bool
have_attempted(const struct relay *r)
{
    for (size_t i = 0; i < r->len; i++)
        if (!r->partitions[i]->attempted)
            return false;
    return true;
}

// Not for long: posts wait in the kernel meanwhile.
static void
wait_for_cursors(struct relay *r)
{
    struct timespec at =
        clock_timespec(clock_mono_us() + times_ms("first-cursor", FIRST_MS) * 1000);

    pthread_mutex_lock(&r->lock);
    while (!have_attempted(r))
        if (pthread_cond_clockwait(&r->wake, &r->lock, CLOCK_MONOTONIC, &at) != 0)
            break;
    pthread_mutex_unlock(&r->lock);
}

static void
release(struct relay *r)
{
    for (size_t i = 0; i < r->len; i++)
        partition_release(r->partitions[i]);
    feed_close(r->feed);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

// stop ends those of the first `len` partitions that run.
static void
stop(struct relay *r, size_t len)
{
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    // a blocked read ends; the cursor shows what was done
    for (size_t i = 0; i < len; i++)
        if (r->partitions[i]->fd >= 0)
            shutdown(r->partitions[i]->fd, SHUT_RDWR);
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < len; i++)
        partition_wake(r->partitions[i]);
    for (size_t i = 0; i < len; i++)
        pthread_join(r->partitions[i]->thread, NULL);
    if (r->feed)
        feed_stop(r->feed);
}

struct relay *
relay_start(struct config *c, struct journal *j, struct err *err)
{
    struct relay *r = memory_get(sizeof *r);
    struct err damage;
    size_t started = 0;

    memset(r, 0, sizeof *r);
    r->journal = j;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    snprintf(r->directory, sizeof r->directory, "%s", c->state_dir);
    snprintf(r->account, sizeof r->account, "%s", c->account_name);
    make_owner(r->owner, c->instance, c->state_dir);
    relay_read_unread(r);
    if (open_layout(r, config_partitions(c), &damage) < 0)
        report_damage(r, &damage);
    else if (make_partitions(r, c, err) < 0)
        goto fail;
    while (started < r->len && partition_start(r->partitions[started], err) == 0)
        started++;
    if (started < r->len)
        goto fail;
    metric_show(relay_metrics, RELAY_METRICS);
    metric_before_write(show, r);
    wait_for_cursors(r);
    relay_mark_start(r);
    return r;

fail:
    stop(r, started);
    release(r);
    return NULL;
}

// forget_layout takes out of the layout what no partition has anything of any more.
static void
forget_layout(struct relay *r)
{
    bool empty[LAYOUT_TAGS_MAX] = {false};
    struct journal_status status;
    struct err err;

    for (size_t i = 0; i < r->len; i++)
        empty[r->partitions[i]->tag] = r->partitions[i]->is_empty;
    journal_read_status(r->journal, &status);
    // That it cannot be written is no harm: the next stop tries again.
    if (layout_forget(&r->layout, status.first, empty))
        (void)layout_write(&r->layout, r->directory, journal_id(r->journal), &err);
}

void
relay_stop(struct relay *r)
{
    if (!r)
        return;
    metric_forget(r);
    stop(r, r->len);
    relay_log_waiting(r);
    if (!*r->damage) // else nothing of it is known
        forget_layout(r);
    release(r);
}

int
relay_reload(struct relay *r, struct config *c, struct err *err)
{
    struct relay_settings *next = settings_read(c, err);

    if (!next)
        return -1;
    for (size_t i = 0; i < r->len; i++) {
        struct partition *p = r->partitions[i];
        atomic_fetch_add(&next->holders, 1);
        pthread_mutex_lock(&r->lock);
        struct relay_settings *skipped = p->next;
        p->next = next;
        pthread_cond_broadcast(&r->wake);
        pthread_mutex_unlock(&r->lock);
        settings_release(skipped);
        partition_wake(p);
    }
    settings_release(next);
    return 0;
}
