// redis.confirm: what Redis has executed may be in its memory only. With replicas or aof a record is
// safe, so that the journal may let go of it, once so many replicas or the append-only file have it
// (WAIT, WAITAOF). They are asked now and then for all that was sent before, not for each batch: what
// is confirmed later is kept longer, and nothing waits for it.
//
// Both count from the last write of the connection that asks. What came over the one before is
// included once this one has written too: a script call without records writes the owner. It writes
// only then, and once more when all is confirmed, to see that Redis still has the cursor: a write
// before each question would be behind an append-only file that is synced once a second.
//
// With appendfsync everysec the answer comes with the next sync, so the best time to ask is almost a
// second after the last answer. An answer that was missed may wait for a whole sync, in which nothing
// is published: only if that is missed too, it is late.
#include "relay/internal.h"

#include <sys/param.h>

enum { CONFIRM_MS = 500, LATE_MS = 1000, WAIT_MS = 100, SYNC_MS = 1000 };

static bool
is_due(const struct partition *p)
{
    int64_t since_ms = clock_mono_ms() - p->confirm.asked_ms;
    int confirm = p->settings->config->redis_confirm;

    if (confirm == CONFIG_CONFIRM_MEMORY)
        return false;
    if (!p->confirm.asked_ms) // of this connection
        return true;
    return p->safe < p->status.cursor &&
           since_ms >= (confirm == CONFIG_CONFIRM_AOF ? SYNC_MS - WAIT_MS / 2
                        : p->confirm.missed           ? LATE_MS
                                                      : CONFIRM_MS);
}

static const struct redis_reply *
ask(struct partition *p, int replicas, struct err *err)
{
    bool patient = replicas == 0 && p->confirm.missed % 2 == 1;
    char wait[16], number[16];

    snprintf(wait, sizeof wait, "%d", patient ? 2 * SYNC_MS : WAIT_MS);
    snprintf(number, sizeof number, "%d", replicas);
    return replicas > 0 ? redis_ask(p->redis, err, "WAIT", number, wait, NULL)
                        : redis_ask(p->redis, err, "WAITAOF", "1", "0", wait, NULL);
}

static void
set_safe(struct partition *p)
{
    pthread_mutex_lock(&p->relay->lock);
    p->safe = p->status.cursor;
    relay_publish(p->relay);
    pthread_mutex_unlock(&p->relay->lock);
    if (once_clear(&p->confirm.late))
        log_info("relay%s: records are confirmed as redis.confirm says again", p->label);
}

static void
report_late(struct partition *p, int replicas, int64_t confirmed)
{
    metric_add(&relay_metrics[RELAY_UNCONFIRMED], 1);
    if (replicas > 0)
        once_report(
            &p->confirm.late, LOG_LEVEL_WARN,
            "relay%s: %lld of %d replicas have what was published (redis.confirm): "
            "the journal keeps the rest. Bring the replicas back, or change "
            "redis.confirm",
            p->label, (long long)confirmed, replicas);
    else
        once_report(&p->confirm.late, LOG_LEVEL_WARN,
                    "relay%s: the append-only file of Redis does not have what was "
                    "published yet (redis.confirm): the journal keeps the rest. Check "
                    "Redis's disk, and appendfsync",
                    p->label);
}

// A server that cannot do it: nothing would ever leave the journal.
static enum reply
refuse(struct partition *p, int replicas, struct span message)
{
    if (replicas > 0)
        return report_trouble(p, REPLY_STOP,
                              "Redis does not confirm (redis.confirm: replicas=%d): %.*s",
                              replicas, (int)message.len, message.at);
    return report_trouble(p, REPLY_STOP,
                          "redis.confirm: aof needs Redis 7.2 or Valkey, with appendonly "
                          "yes, and the right to WAITAOF; set memory or replicas=N "
                          "otherwise (%.*s)",
                          (int)message.len, message.at);
}

enum reply
confirm_if_due(struct partition *p)
{
    int replicas = MAX(p->settings->config->redis_confirm, 0);
    struct err err;

    if (!is_due(p))
        return REPLY_DONE;
    enum reply reply = p->confirm.asked_ms ? REPLY_DONE : connect_probe(p, p->cursor);
    if (reply != REPLY_DONE)
        return reply;
    const struct redis_reply *answer = ask(p, replicas, &err);
    p->confirm.asked_ms = clock_mono_ms();
    if (!answer)
        return report_trouble(p, REPLY_UNKNOWN, "%s", err.text);
    if (redis_value(answer).kind == REDIS_ERROR)
        return refuse(p, replicas, redis_value(answer).text);
    const struct redis_reply *count =
        replicas > 0 ? answer : redis_reply_at(answer, 0); // local, replicas
    int64_t confirmed = redis_value(count).number;
    if (confirmed < MAX(replicas, 1)) {
        if (++p->confirm.missed > (replicas > 0 ? 0 : 1))
            report_late(p, replicas, confirmed);
        return REPLY_DONE;
    }
    p->confirm.missed = 0;
    reply = connect_probe(p, p->cursor);
    if (reply == REPLY_DONE)
        set_safe(p);
    return reply;
}
