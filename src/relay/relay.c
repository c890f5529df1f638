// The thread: attach, ship until Redis or the network objects, wait, attach again. After every
// doubt the cursor is read again, mostly over a new connection: it alone shows what has been
// published.
#include "base/file.h"
#include "base/thread.h"
#include "edge/digest.h"
#include "relay/internal.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IDLE_MS = 1000, FIRST_MS = 500 };

// --- waiting ---------------------------------------------------------------------------------

// sleep_interruptible waits, unless the relay is stopped or reloaded meanwhile, or `done` (NULL:
// nothing) is.
static void
sleep_interruptible(struct relay *r, int64_t ms, const bool *done)
{
    int64_t until_us = clock_mono_us() + ms * 1000;
    struct timespec at = {until_us / 1000000, (long)(until_us % 1000000) * 1000};

    pthread_mutex_lock(&r->lock);
    while (!r->stopping && !r->next.config && !(done && *done))
        if (pthread_cond_clockwait(&r->wake, &r->lock, CLOCK_MONOTONIC, &at) != 0)
            break;
    pthread_mutex_unlock(&r->lock);
}

// wait_before_retry waits as the reply asks, and returns whether the connection may be kept.
static bool
wait_before_retry(struct relay *r, enum reply reply)
{
    if (reply == REPLY_DONE || reply == REPLY_AT)
        return true;
    if (reply == REPLY_REFUSED) {
        sleep_interruptible(r, r->batch.suspect.wait_ms, NULL);
        return !r->batch.suspect.by_cut;
    }
    bool stop = reply == REPLY_STOP || reply == REPLY_FENCED;
    int64_t min = r->times.backoff_min, max = r->times.backoff_max;
    sleep_interruptible(
        r, stop ? r->times.stop_wait : backoff_ms(&r->backoff_ms, min, max), NULL);
    return reply == REPLY_WAIT;
}

// A server that has ended is noticed here, before the next poll.
static enum reply
wait_for_records(struct relay *r)
{
    int64_t wait_ms = r->times.trim < r->times.poll ? r->times.trim : r->times.poll;

    cursor_wait(r->reader, wait_ms < IDLE_MS ? wait_ms : IDLE_MS);
    return redis_peer_closed(r->redis) ? REPLY_UNKNOWN : REPLY_DONE;
}

// --- settings --------------------------------------------------------------------------------

static int
read_settings(struct relay_settings *s, struct config *c, struct err *err)
{
    if (config_redis_options(&s->redis, c, &s->secrets, err) < 0) {
        redis_secrets_wipe(&s->secrets);
        return -1;
    }
    s->config = config_hold(c);
    return 0;
}

static void
release_settings(struct relay_settings *s)
{
    config_release(s->config);
    redis_secrets_wipe(&s->secrets);
    *s = (struct relay_settings){0};
}

static void
take_reload(struct relay *r)
{
    struct relay_settings before = {0};

    pthread_mutex_lock(&r->lock);
    if (r->next.config) {
        before = r->settings;
        r->settings = r->next;
        r->next = (struct relay_settings){0};
    }
    pthread_mutex_unlock(&r->lock);
    if (!before.config)
        return;
    release_settings(&before);
    r->script.duplicates_max = r->settings.config->duplicates_max;
    r->trim.reloaded = true;
}

// --- the thread ------------------------------------------------------------------------------

static void
report_resumed(struct relay *r)
{
    r->backoff_ms = 0;
    if (r->connection.down_ms)
        log_info("relay: publishing to Redis at %s resumed after %lld ms, %llu records "
                 "queued",
                 r->connection.find.address,
                 (long long)(clock_mono_ms() - r->connection.down_ms),
                 (unsigned long long)r->connection.waiting);
    r->connection.down_ms = 0;
    once_clear(&r->connection.trouble);
    pthread_mutex_lock(&r->lock);
    r->status.state = RELAY_SHIPPING;
    r->status.message[0] = '\0';
    r->status.up = true;
    pthread_mutex_unlock(&r->lock);
}

// ship_on ships until the answer asks for something else than going on.
static enum reply
ship_on(struct relay *r)
{
    enum reply reply = REPLY_DONE;

    while (reply == REPLY_DONE && !r->stopping) {
        bool idle = false;
        take_reload(r);
        reply = connect_check(r);
        if (reply == REPLY_DONE) {
            trim_if_due(r);
            reply = batch_ship(r, &idle);
        }
        if (reply == REPLY_DONE && r->connection.down_ms)
            report_resumed(r);
        if (reply == REPLY_DONE && idle)
            reply = wait_for_records(r);
    }
    return reply;
}

static void *
run(void *relay)
{
    struct relay *r = relay;

    while (!r->stopping) {
        enum reply reply = REPLY_DONE;
        take_reload(r);
        if (!r->redis)
            reply = connect_check(r);
        pthread_mutex_lock(&r->lock);
        r->attempted = true;
        pthread_cond_broadcast(&r->wake);
        pthread_mutex_unlock(&r->lock);
        bool attached = reply == REPLY_DONE;
        // A change of state is reported when a batch or a quiet moment proves it.
        if (attached && !r->connection.down_ms)
            report_resumed(r);
        if (attached)
            reply = ship_on(r);
        // An attachment that did not get all its answers starts again from the beginning.
        if (!wait_before_retry(r, reply) || !attached)
            connect_close(r);
    }
    connect_close(r);
    return NULL;
}

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
relay_claim(struct redis *r, const struct config *c, const char *journal_id,
            const char *directory, struct err *err)
{
    char key[SCRIPT_KEY], name[7 + JOURNAL_ID_TEXT], owner[SCRIPT_OWNER];

    snprintf(name, sizeof name, "cursor:%s", journal_id);
    script_key(key, c->redis_namespace, span_of(name));
    make_owner(owner, c->instance, directory);
    const struct redis_reply *reply =
        redis_ask(r, err, "HSET", key, "owner", owner, "check", "", NULL);
    if (!reply || redis_value(reply).kind == REDIS_ERROR)
        return reply;
    return redis_ask(r, err, "HGET", key, "sequence", NULL);
}

// --- start and stop --------------------------------------------------------------------------

static void
show(void *relay)
{
    struct journal_status j;
    struct relay_status s;
    struct relay *r = relay;

    relay_read_status(r, &s);
    journal_read_status(r->journal, &j);
    uint64_t kept = j.first ? j.last - j.first + 1 : 0;
    uint64_t waiting = j.last > s.cursor ? j.last - s.cursor : 0;
    // Before the cursor is known, published records are no reason to wake anybody.
    int64_t age_us = s.known ? j.oldest_unpublished_age_us : j.first_age_us;
    metric_set(&relay_metrics[RELAY_REDIS_UP], s.up);
    metric_set(&relay_metrics[RELAY_IS_SHIPPING], s.state == RELAY_SHIPPING);
    metric_set(&relay_metrics[RELAY_CURSOR_KNOWN], s.known);
    metric_set(&relay_metrics[RELAY_UNPUBLISHED], (double)(s.known ? waiting : kept));
    metric_set(&relay_metrics[RELAY_OLDEST_AGE], (double)age_us / 1e6);
}

static void
release(struct relay *r)
{
    redis_close(r->redis);
    cursor_close(r->reader);
    event_maker_close(r->maker.events);
    script_release(&r->script);
    buf_release(&r->batch.last_payload);
    buf_release(&r->batch.held_payload);
    release_settings(&r->settings);
    release_settings(&r->next);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void
init_times(struct relay *r)
{
    r->times.backoff_min = times_ms("relay-backoff", 50);
    r->times.backoff_max = times_ms("relay-backoff-max", 2000);
    r->times.stop_wait = times_ms("relay-stop-wait", 5000);
    r->times.refused_wait = times_ms("refused-wait", 4000);
    r->times.trim = times_ms("trim", 10000);
    r->times.poll = times_ms("cursor-check", 5000);
    r->times.deadline = times_ms("cursor-deadline", 3000);
    r->times.connect = times_ms("redis-connect", 2000);
    r->times.command = times_ms("redis-command", 8000);
    r->trim.clock.settle_us = times_ms("clock-settle", CLOCK_SETTLE_MS) * 1000;
}

static void
init(struct relay *r, struct journal *j)
{
    const struct config *c = r->settings.config;
    struct journal_status status;

    r->fd = -1;
    r->journal = j;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    init_times(r);
    journal_read_status(j, &status);
    r->trim.has_past = status.last > 0;
    r->trim.started_us = clock_boot_us();
    r->trim.reloaded = true;
    buf_init(&r->batch.last_payload, JOURNAL_RECORD_MAX);
    buf_init(&r->batch.held_payload, JOURNAL_RECORD_MAX);
    r->batch.records_max = SCRIPT_RECORDS_MAX;
    make_owner(r->owner, c->instance, c->state_dir);
    r->reader = cursor_open(j, 0);
    snprintf(r->account, sizeof r->account, "%s", c->account_name);
    r->maker = (struct entry_maker){.events = event_maker_open(),
                                    .account = span_of(r->account),
                                    .journal_id = span_of(journal_id(j))};
    script_init(&r->script, c->redis_namespace, journal_id(j), r->owner,
                c->duplicates_window_us, c->duplicates_max);
}

struct relay *
relay_start(struct config *c, struct journal *j, struct err *err)
{
    struct relay *r = memory_get(sizeof *r);

    memset(r, 0, sizeof *r);
    if (read_settings(&r->settings, c, err) < 0) {
        free(r);
        return NULL;
    }
    init(r, j);
    if (thread_start(&r->thread, "relay", run, r, err) < 0) {
        release(r);
        return NULL;
    }
    metric_show(relay_metrics, RELAY_METRICS);
    metric_before_write(show, r);
    // Not for long: posts wait in the kernel meanwhile.
    sleep_interruptible(r, times_ms("first-cursor", FIRST_MS), &r->attempted);
    return r;
}

void
relay_stop(struct relay *r)
{
    if (!r)
        return;
    metric_forget(r);
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    if (r->fd >= 0)
        shutdown(r->fd, SHUT_RDWR); // a blocked read ends; the cursor shows what was done
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    cursor_wake(r->reader);
    pthread_join(r->thread, NULL);
    release(r);
}

int
relay_reload(struct relay *r, struct config *c, struct err *err)
{
    struct relay_settings next = {0}, skipped;

    if (read_settings(&next, c, err) < 0)
        return -1;
    pthread_mutex_lock(&r->lock);
    skipped = r->next;
    r->next = next;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    release_settings(&skipped);
    cursor_wake(r->reader);
    return 0;
}

void
relay_read_status(struct relay *r, struct relay_status *status)
{
    pthread_mutex_lock(&r->lock);
    *status = r->status;
    pthread_mutex_unlock(&r->lock);
    status->entries = (uint64_t)metric_read(&relay_metrics[RELAY_ENTRIES]);
}
