// Why nothing is published: for the log, once, with what to do about it, and for the status.
#include "relay/internal.h"

#include <stdarg.h>

enum { LINES_MAX = 10, PAUSE_MS = 60000 };

// A trouble that changes all the time (sentinels that hang are asked in turn, a server that ends
// again and again) must not fill the log; nor may it hide the first alarm.
static bool
may_log(struct partition *p, bool alarm)
{
    int64_t now_ms = clock_mono_ms();

    if (now_ms - p->connection.line_ms >= PAUSE_MS) {
        p->connection.lines = 0;
        p->connection.alarmed = false;
    }
    return p->connection.lines < LINES_MAX || (alarm && !p->connection.alarmed);
}

static void
log_trouble(struct partition *p, bool alarm, const char *text)
{
    // A stop ends what is being asked: that says nothing of Redis.
    if (p->relay->stopping || !may_log(p, alarm) ||
        !once_report(
            &p->connection.trouble, alarm ? LOG_LEVEL_ALARM : LOG_LEVEL_WARN,
            "relay%s: %s; deliveries wait in the journal for Redis at %s. What to do: %s",
            p->label, text, p->connection.find.address, relay_advice(text)->advice))
        return;
    p->connection.lines++;
    p->connection.line_ms = clock_mono_ms();
    p->connection.alarmed = p->connection.alarmed || alarm;
}

enum reply
report_trouble(struct partition *p, enum reply reply, const char *format, ...)
{
    bool stop = reply == REPLY_STOP || reply == REPLY_DISK,
         fenced = reply == REPLY_FENCED;
    char raw[400], message[sizeof p->status.message];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(message, sizeof message, span_of(raw));
    pthread_mutex_lock(&p->relay->lock);
    p->status.state = fenced ? RELAY_FENCED : stop ? RELAY_STOPPED : RELAY_CONNECTING;
    memcpy(p->status.message, message, sizeof message);
    if (p->redis && p->redis->dead) // which is closed after a wait only
        p->status.up = false;
    pthread_mutex_unlock(&p->relay->lock);
    if (!p->connection.down_ms)
        p->connection.down_ms = clock_mono_ms();
    log_trouble(p, stop || fenced, raw);
    return reply;
}

// Where MOVED sends us is kept.
static enum reply
report_message(struct partition *p, enum reply reply, struct span message)
{
    report_trouble(p, reply, "Redis says: %.*s", (int)message.len, message.at);
    if (reply == REPLY_MOVED && !redis_find_follow(&p->connection.find, message))
        return REPLY_UNKNOWN;
    return reply;
}

static void
count_error(const char *word)
{
    metric_add(metric_find(METRIC_COUNTER, "acrelay_redis_errors_total",
                           "Error replies from Redis by their first word.", "word", word,
                           NULL),
               1);
}

enum reply
report_refusal(struct partition *p, const struct script_answer *a)
{
    count_error(a->word);
    if (a->reply == REPLY_REFUSED || a->reply == REPLY_UNKNOWN)
        return a->reply;
    if (*a->wrong_key)
        return report_trouble(p, a->reply,
                              "the key %s has another type in Redis (WRONGTYPE)",
                              a->wrong_key);
    return report_message(p, a->reply, span_of(a->message));
}

enum reply
report_unreadable(struct partition *p, const struct err *err)
{
    return report_trouble(p, journal_is_damage(err->error) ? REPLY_DISK : REPLY_WAIT,
                          "%s", err->text);
}

enum reply
report_error(struct partition *p, struct span message)
{
    char word[REPLY_WORD];
    enum reply reply = reply_of(message, false, word);

    count_error(word);
    return report_message(p, reply == REPLY_DONE ? REPLY_UNKNOWN : reply, message);
}
