// A partition's thread: attach, ship until Redis or the network objects, wait, attach again. After every
// doubt the cursor is read again, mostly over a new connection: it alone shows what has been
// published.
#include "base/thread.h"
#include "relay/internal.h"

#include <stdlib.h>
#include <sys/param.h>

enum { IDLE_MS = 1000 };

// --- waiting ---------------------------------------------------------------------------------

// sleep_interruptible waits, unless the relay is stopped or reloaded meanwhile.
static void
sleep_interruptible(struct partition *p, int64_t ms)
{
    struct timespec at = clock_timespec(clock_mono_us() + ms * 1000);

    pthread_mutex_lock(&p->relay->lock);
    while (!p->relay->stopping && !p->next)
        if (pthread_cond_clockwait(&p->relay->wake, &p->relay->lock, CLOCK_MONOTONIC,
                                   &at) != 0)
            break;
    pthread_mutex_unlock(&p->relay->lock);
}

// wait_before_retry waits as the reply asks, and returns whether the connection may be kept.
static bool
wait_before_retry(struct partition *p, enum reply reply)
{
    if (reply == REPLY_DONE || reply == REPLY_AT)
        return true;
    if (reply == REPLY_REFUSED) {
        sleep_interruptible(p, p->batch.suspect.wait_ms);
        return !p->batch.suspect.by_cut;
    }
    bool stop = reply == REPLY_STOP || reply == REPLY_FENCED || reply == REPLY_DISK;
    int64_t min = p->times.backoff_min, max = p->times.backoff_max;
    sleep_interruptible(p,
                        stop ? p->times.stop_wait : backoff_ms(&p->backoff_ms, min, max));
    return reply == REPLY_WAIT || reply == REPLY_DISK;
}

// A server that has ended is noticed here, before the next poll.
static enum reply
wait_for_records(struct partition *p)
{
    int64_t wait_ms = MIN(IDLE_MS, MIN(p->times.trim, p->times.poll));

    if (p->passed >= p->last) // the records after are not for it
        sleep_interruptible(p, wait_ms);
    else if (p->reads)
        cursor_wait(p->reader, wait_ms);
    else
        feed_wait(&p->follower, wait_ms);
    return redis_peer_closed(p->redis) ? REPLY_UNKNOWN : REPLY_DONE;
}

// --- settings --------------------------------------------------------------------------------

static void
take_reload(struct partition *p)
{
    pthread_mutex_lock(&p->relay->lock);
    struct relay_settings *next = p->next;
    p->next = NULL;
    pthread_mutex_unlock(&p->relay->lock);
    if (!next)
        return;
    settings_release(p->settings);
    p->settings = next;
    p->script.duplicates_max = p->settings->config->duplicates_max;
    p->connection.find.next.port = 0; // MOVED was the word of the servers before
    p->trim.reloaded = true;
}

// --- the thread ------------------------------------------------------------------------------

static void
report_resumed(struct partition *p)
{
    p->backoff_ms = 0;
    if (once_clear(&p->connection.trouble)) // else it was not logged
        log_info(
            "relay%s: publishing to Redis at %s resumed after %lld ms, %llu record%s "
            "queued",
            p->label, p->connection.find.address,
            (long long)(clock_mono_ms() - p->connection.down_ms),
            (unsigned long long)p->connection.waiting, PLURAL(p->connection.waiting));
    p->connection.down_ms = 0;
    pthread_mutex_lock(&p->relay->lock);
    p->status.state = RELAY_SHIPPING;
    p->status.message[0] = '\0';
    p->status.up = true;
    pthread_mutex_unlock(&p->relay->lock);
}

// ship_on ships until the answer asks for something else than going on.
static enum reply
ship_on(struct partition *p)
{
    enum reply reply = REPLY_DONE;

    while (reply == REPLY_DONE && !p->relay->stopping && !p->is_empty) {
        bool idle = false;
        take_reload(p);
        reply = connect_check(p);
        if (reply == REPLY_DONE)
            reply = confirm_if_due(p);
        if (reply == REPLY_DONE) {
            trim_if_due(p);
            reply = batch_ship(p, &idle);
        }
        if (reply == REPLY_DONE && idle)
            reply = wait_for_records(p);
        if (reply == REPLY_DONE && p->connection.down_ms)
            report_resumed(p);
    }
    return reply;
}

// A connection that is closed while nothing is asked is opened again without a word, unless it did not
// live longer than the longest wait before another one: then that waits ever longer, and is reported.
static void
check_life(struct partition *p)
{
    int64_t lived_ms = clock_mono_ms() - p->connection.opened_ms;

    // One that died under a question was reported, or is about a record (refused.c).
    if (p->redis && !p->redis->dead && !p->connection.down_ms &&
        lived_ms < p->times.backoff_max && redis_peer_closed(p->redis))
        report_trouble(p, REPLY_UNKNOWN,
                       "redis: the server, or a proxy before it, closed the connection "
                       "%lld ms after it was opened",
                       (long long)lived_ms);
}

static void *
run(void *partition)
{
    struct partition *p = partition;

    while (!p->relay->stopping && !p->is_empty) {
        enum reply reply = REPLY_DONE;
        take_reload(p);
        if (!p->redis)
            reply = connect_check(p);
        pthread_mutex_lock(&p->relay->lock);
        p->attempted = true;
        pthread_cond_broadcast(&p->relay->wake);
        pthread_mutex_unlock(&p->relay->lock);
        bool attached = reply == REPLY_DONE;
        // A change of state is reported when a batch or a quiet moment proves it.
        if (attached && !p->connection.down_ms)
            report_resumed(p);
        if (attached)
            reply = ship_on(p);
        check_life(p);
        // An attachment that did not get all its answers starts again from the beginning.
        if (!wait_before_retry(p, reply) || (!attached && reply != REPLY_DISK))
            connect_close(p);
    }
    connect_close(p);
    feed_leave(&p->follower);
    return NULL;
}

// --- made and released -----------------------------------------------------------------------

static void
init_times(struct partition *p)
{
    p->times.backoff_min = times_ms("relay-backoff", 50);
    p->times.backoff_max = times_ms("relay-backoff-max", 2000);
    p->times.stop_wait = times_ms("relay-stop-wait", 5000);
    p->times.refused_wait = times_ms("refused-wait", 4000);
    p->times.trim = times_ms("trim", 10000);
    p->times.poll = times_ms("cursor-check", 5000);
    p->times.deadline = times_ms("cursor-deadline", 3000);
    p->times.connect = times_ms("redis-connect", 2000);
    p->times.command = times_ms("redis-command", 8000);
    p->times.tls = times_ms("tls-connection", 86400000);
    p->trim.clock.settle_us = times_ms("clock-settle", CLOCK_SETTLE_MS) * 1000;
}

struct partition *
partition_make(struct relay *r, int tag, struct relay_settings *settings)
{
    const struct config *c = settings->config;
    struct partition *p = memory_get(sizeof *p);
    struct journal_status status;
    char name[CONFIG_TAG];

    memset(p, 0, sizeof *p);
    p->relay = r;
    p->tag = tag;
    p->settings = settings;
    atomic_fetch_add(&settings->holders, 1);
    (void)layout_find(&r->layout, tag, &p->first, &p->last);
    p->fd = -1;
    p->journal = r->journal;
    init_times(p);
    journal_read_status(p->journal, &status);
    p->trim.has_past = status.last > 0;
    p->trim.started_us = clock_boot_us();
    p->trim.reloaded = true;
    buf_init(&p->batch.last_payload, JOURNAL_RECORD_MAX);
    buf_init(&p->batch.held_payload, JOURNAL_RECORD_MAX);
    p->batch.records_max = SCRIPT_RECORDS_MAX;
    feed_begin(r->feed, &p->follower, tag);
    p->reader = cursor_open(p->journal, 0);
    p->reads = true;
    p->maker = (struct entry_maker){.events = event_maker_open(),
                                    .account = span_of(r->account),
                                    .journal_id = span_of(journal_id(p->journal))};
    script_init(&p->script, layout_tag(c->redis_namespace, tag, name),
                journal_id(p->journal), r->owner, c->duplicates_window_us,
                c->duplicates_max);
    return p;
}

int
partition_start(struct partition *p, struct err *err)
{
    char thread[16] = "relay";

    if (p->relay->len > 1) {
        snprintf(p->label, sizeof p->label, " {%s}", p->script.namespace);
        snprintf(thread, sizeof thread, p->tag ? "relay.%d" : "relay", p->tag - 1);
    }
    return thread_start(&p->thread, thread, run, p, err);
}

void
partition_wake(struct partition *p)
{
    cursor_wake(p->reader);
    feed_wake(&p->follower);
}

void
partition_release(struct partition *p)
{
    redis_close(p->redis);
    feed_end(&p->follower);
    cursor_close(p->reader);
    event_maker_close(p->maker.events);
    script_release(&p->script);
    buf_release(&p->batch.last_payload);
    buf_release(&p->batch.held_payload);
    settings_release(p->settings);
    settings_release(p->next);
    free(p);
}
