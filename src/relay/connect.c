// Coming to a Redis, and looking after it every few seconds: only a master's cursor is
// believed, because a replica's is an old one and what comes after it would be sent twice. A
// policy that evicts any key could evict the cursor, and with it the promise: refused.
//
// Role and policy are advice: where Redis does not let us ask, shipping goes on. Without the
// role, a script call that writes nothing new shows whether it is a master.
#include "relay/internal.h"

#include <stdarg.h>
#include <sys/param.h>
#include <sys/socket.h>

enum { AHEAD_MAX = 1000000, QUESTIONS = 4 };

// Its key is {namespace}:account, its argument our account; the answer is whose namespace it is.
static const char account_script[] = "local account = redis.call('GET', KEYS[1]) "
                                     "if account then return account end "
                                     "redis.call('SET', KEYS[1], ARGV[1]) return ARGV[1]";

// The cursor as Redis gives it; absent: it has none, and sequence is 0.
struct found {
    char owner[64], check[ENTRY_CHECK + 1];
    uint64_t sequence;
    bool absent;
};

// --- reports -----------------------------------------------------------------------------

enum reply
connect_report(struct relay *r, enum reply reply, const char *format, ...)
{
    bool stop = reply == REPLY_STOP, fenced = reply == REPLY_FENCED;
    char raw[400], message[sizeof r->status.message];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(message, sizeof message, span_of(raw));
    pthread_mutex_lock(&r->lock);
    r->status.state = fenced ? RELAY_FENCED : stop ? RELAY_STOPPED : RELAY_CONNECTING;
    memcpy(r->status.message, message, sizeof message);
    pthread_mutex_unlock(&r->lock);
    if (!r->connection.down_ms)
        r->connection.down_ms = clock_mono_ms();
    once_report(&r->connection.trouble, stop || fenced ? LOG_LEVEL_ALARM : LOG_LEVEL_WARN,
                "relay: %s; deliveries wait in the journal for Redis at %s", raw,
                r->connection.find.address);
    return reply;
}

// report_error reports an error of Redis's. What to do next; where MOVED sends us is kept.
static enum reply
report_error(struct relay *r, enum reply reply, struct span message)
{
    connect_report(r, reply, "Redis says: %.*s", (int)message.len, message.at);
    if (reply == REPLY_MOVED && !redis_find_follow(&r->connection.find, message))
        return REPLY_UNKNOWN;
    return reply;
}

enum reply
connect_refusal(struct relay *r, const struct script_answer *a)
{
    relay_count_error(a->word);
    if (a->reply == REPLY_REFUSED || a->reply == REPLY_UNKNOWN)
        return a->reply;
    if (*a->wrong_key)
        return connect_report(r, a->reply,
                              "the key %s has another type in Redis (WRONGTYPE): rename "
                              "it or choose another redis.namespace",
                              a->wrong_key);
    return report_error(r, a->reply, span_of(a->message));
}

// error_reply classes an error reply to a question.
static enum reply
error_reply(struct relay *r, struct span message)
{
    char word[REPLY_WORD];
    enum reply reply = reply_of(message, false, word);

    relay_count_error(word);
    return report_error(r, reply == REPLY_DONE ? REPLY_UNKNOWN : reply, message);
}

// --- the connection ------------------------------------------------------------------------

// From here on relay_stop can cut the connection, also during AUTH.
static void
record_fd(int fd, void *relay)
{
    struct relay *r = relay;

    pthread_mutex_lock(&r->lock);
    r->fd = fd;
    if (fd >= 0 && r->stopping)
        shutdown(fd, SHUT_RDWR);
    pthread_mutex_unlock(&r->lock);
}

void
connect_close(struct relay *r)
{
    pthread_mutex_lock(&r->lock);
    r->fd = -1;
    r->status.up = false;
    pthread_mutex_unlock(&r->lock);
    redis_close(r->redis);
    r->redis = NULL;
    r->placed = false;
}

static int64_t
poll_limit_ms(const struct relay *r)
{
    return MIN(r->times.command, r->times.deadline);
}

// A Redis that hangs is given up before 10 s have passed since it last answered, also in the
// middle of a batch.
static void
limit_wait(struct relay *r)
{
    int64_t silent_ms = clock_mono_ms() - r->connection.heard_ms;
    int64_t limit_ms = r->times.command;

    if (silent_ms >= 1000) // mostly: nothing to change
        limit_ms -= silent_ms;
    if (limit_ms < poll_limit_ms(r))
        limit_ms = poll_limit_ms(r);
    r->redis->command_ms = limit_ms;
}

static enum reply
open_connection(struct relay *r)
{
    struct redis_options o = r->settings.redis;
    char key[SCRIPT_KEY];
    struct err err;

    o.connected = record_fd;
    o.context = r;
    o.connect_ms = r->times.connect;
    o.command_ms = poll_limit_ms(r); // for AUTH and SELECT
    o.key = script_key(key, r->script.namespace, SPAN("account")).at;
    r->redis = redis_find(&r->connection.find, &o, &err);
    if (r->redis)
        return REPLY_DONE;
    return connect_report(r, err.kind == ERR_INPUT ? REPLY_STOP : REPLY_UNKNOWN, "%s",
                          err.text);
}

// --- what is read from Redis -------------------------------------------------------------------

// no_answer: an error in the place of advice. Where Redis only refuses to be asked, because a right
// is missing or the command is not there, that is reported once and shipping goes on.
static enum reply
no_answer(struct relay *r, struct span message, struct once *once, const char *command)
{
    bool refused = span_starts(message, SPAN("NOPERM")) ||
                   (span_starts(message, SPAN("ERR")) &&
                    reply_of(message, false, NULL) != REPLY_WAIT);

    if (!refused)
        return error_reply(r, message);
    once_report(
        once, LOG_LEVEL_WARN,
        "relay: the Redis user may not run %s: grant what deploy/redis/acrelay.acl "
        "lists (%.*s)",
        command, (int)message.len, message.at);
    return REPLY_DONE;
}

static enum reply
check_role(struct relay *r, const struct redis_reply *reply)
{
    r->connection.role_hidden = redis_value(reply).kind == REDIS_ERROR;
    if (r->connection.role_hidden)
        return no_answer(r, redis_value(reply).text, &r->connection.no_role, "ROLE");
    struct span role = redis_value(redis_reply_at(reply, 0)).text;
    if (span_is(role, "master"))
        return REPLY_DONE;
    return connect_report(r, REPLY_ELSEWHERE, "this Redis is a %.*s, not the master",
                          (int)role.len, role.at);
}

static enum reply
check_eviction(struct relay *r, const struct redis_reply *reply)
{
    struct span text = redis_value(reply).text;

    if (redis_value(reply).kind == REDIS_ERROR)
        return no_answer(r, text, &r->connection.no_info, "INFO");
    while (text.len) {
        struct span line = span_cut(&text, '\n');
        if (!span_starts(line, SPAN("maxmemory_policy:allkeys-")))
            continue;
        return connect_report(r, REPLY_STOP,
                              "Redis may evict any key (%.*s), including the cursor: set "
                              "maxmemory-policy noeviction",
                              (int)line.len - 1, line.at);
    }
    return REPLY_DONE;
}

// Two accounts in one namespace would mix their streams.
static enum reply
check_account(struct relay *r, const struct redis_reply *reply)
{
    struct span account = redis_value(reply).text;

    if (redis_value(reply).kind == REDIS_ERROR)
        return no_answer(r, account, &r->connection.no_account, "GET and SET");
    if (span_is(account, r->account))
        return REPLY_DONE;
    return connect_report(r, REPLY_STOP, RELAY_ACCOUNT_IS_OTHER, r->script.namespace,
                          (int)account.len, account.at, r->account);
}

static enum reply
read_found(struct relay *r, const struct redis_reply *reply, struct found *f)
{
    struct span owner = redis_value(redis_reply_at(reply, 0)).text;
    struct span sequence = redis_value(redis_reply_at(reply, 1)).text;
    struct span check = redis_value(redis_reply_at(reply, 2)).text;

    if (redis_value(reply).kind == REDIS_ERROR)
        return error_reply(r, redis_value(reply).text);
    if (redis_value(reply).len != 3)
        return REPLY_UNKNOWN;
    *f = (struct found){.absent = sequence.len == 0};
    snprintf(f->owner, sizeof f->owner, "%.*s", (int)owner.len, owner.at);
    snprintf(f->check, sizeof f->check, "%.*s", (int)check.len, check.at);
    if (!f->absent && !entry_sequence(&f->sequence, sequence))
        return connect_report(r, REPLY_STOP, "the cursor in Redis is not a sequence");
    return REPLY_DONE;
}

static int
send_questions(struct relay *r, struct err *err)
{
    char key[SCRIPT_KEY];
    const struct span questions[QUESTIONS][5] = {
        {SPAN("ROLE")},
        {SPAN("INFO"), SPAN("memory")},
        {SPAN("EVAL"), span_of(account_script), SPAN("1"),
         script_key(key, r->script.namespace, SPAN("account")), span_of(r->account)},
        {SPAN("HMGET"), span_of(r->script.keys[0]), SPAN("owner"), SPAN("sequence"),
         SPAN("check")}};
    const size_t lens[QUESTIONS] = {1, 2, 5, 5};

    for (size_t i = 0; i < QUESTIONS; i++)
        if (redis_send(r->redis, questions[i], lens[i], NULL, err) < 0)
            return -1;
    return 0;
}

// Every answer is received, or the next command would get one of these.
static enum reply
ask(struct relay *r, struct found *f)
{
    int64_t until_ms = clock_mono_ms() + poll_limit_ms(r);
    enum reply result = REPLY_DONE;
    struct err err;

    if (send_questions(r, &err) < 0)
        return connect_report(r, REPLY_UNKNOWN, "%s", err.text);
    for (size_t i = 0; i < QUESTIONS; i++) {
        int64_t left_ms = until_ms - clock_mono_ms();
        r->redis->command_ms = left_ms > 1 ? left_ms : 1;
        const struct redis_reply *reply = redis_receive(r->redis, &err);
        if (!reply)
            return connect_report(r, REPLY_UNKNOWN, "%s", err.text);
        if (result == REPLY_DONE)
            result = i == 0   ? check_role(r, reply)
                     : i == 1 ? check_eviction(r, reply)
                     : i == 2 ? check_account(r, reply)
                              : read_found(r, reply, f);
    }
    limit_wait(r);
    return result;
}

enum reply
connect_probe(struct relay *r, uint64_t at)
{
    struct script_answer answer;
    struct err err;

    script_begin(&r->script, at, false);
    if (script_call(&r->script, r->redis, "", &answer, &err) < 0)
        return connect_report(r, REPLY_UNKNOWN, "%s", err.text);
    if (answer.reply == REPLY_DONE && answer.cursor == at)
        return REPLY_DONE;
    if (answer.reply == REPLY_DONE || answer.reply == REPLY_AT)
        return REPLY_UNKNOWN; // the cursor moves: it is read again
    return connect_refusal(r, &answer);
}

// Where Redis hides its role, a replica refuses a script call that changes nothing.
static enum reply
probe_role(struct relay *r, const struct found *f)
{
    bool ours = !*f->owner || strcmp(f->owner, r->owner) == 0;

    return r->connection.role_hidden && ours ? connect_probe(r, f->sequence) : REPLY_DONE;
}

// --- the cursor ------------------------------------------------------------------------------

// An alarm: Redis has records under numbers of ours that are not ours.
static enum reply
stop_for_copy(struct relay *r, uint64_t sequence)
{
    return connect_report(
        r, REPLY_STOP,
        "record %llu differs from the one in Redis: a copy of this journal "
        "was or is in use; see \"A backup of the journal was restored\"",
        (unsigned long long)sequence);
}

// go_to puts the reader after `sequence` and compares our record there with the cursor's check,
// "" for none.
static enum reply
go_to(struct relay *r, uint64_t sequence, struct span check)
{
    struct record record;
    char ours[ENTRY_CHECK];
    struct err err;

    r->has_held = false;
    r->received_us = 0;
    cursor_seek(r->reader, sequence ? sequence - 1 : 0);
    if (sequence == 0)
        return REPLY_DONE;
    enum cursor_result found = cursor_next(r->reader, &record, &err);
    if (found == CURSOR_ERROR)
        return connect_report(r, REPLY_UNKNOWN, "%s", err.text);
    if (found == CURSOR_END || record.sequence != sequence) {
        // It is not kept any more, or never was ours: nothing to compare.
        cursor_seek(r->reader, sequence);
        return REPLY_DONE;
    }
    if (found == CURSOR_GAP) // whose time is not of its own
        return REPLY_DONE;
    r->received_us = record.received_us;
    entry_check(&record, ours);
    return check.len == 0 || span_is(check, ours) ? REPLY_DONE
                                                  : stop_for_copy(r, sequence);
}

// handle_cursor_ahead: Redis has more of this journal than we do. The journal lost its tail, or
// this is an older copy of it.
static enum reply
handle_cursor_ahead(struct relay *r, uint64_t sequence,
                    const struct journal_status *status)
{
    if (sequence - status->last > AHEAD_MAX || status->records > 0)
        return stop_for_copy(r, sequence);
    journal_reserve(r->journal, sequence);
    log_alarm(
        "relay: the journal ends at %llu, Redis is at %llu: the journal lost its tail; "
        "numbering continues after %llu",
        (unsigned long long)status->last, (unsigned long long)sequence,
        (unsigned long long)sequence);
    return REPLY_DONE;
}

// Whether the cursor, read for the first time since the start, is among the records that came
// since: those have not been sent by us.
static bool
is_among_new(const struct relay *r, uint64_t sequence,
             const struct journal_status *status)
{
    return !r->status.known && status->records > 0 && sequence <= status->last &&
           sequence > status->last - status->records;
}

// handle_rewind reports what Redis has lost. That a new journal has no cursor is no loss.
static void
handle_rewind(struct relay *r, const struct found *f, const struct journal_status *status)
{
    const char *redis = r->connection.find.address;
    uint64_t sequence = f->sequence;

    if (r->status.known ? sequence >= r->cursor : !f->absent)
        return;
    if (!r->status.known && !r->trim.has_past) {
        log_info("relay: Redis at %s has no cursor of this new journal: publishing "
                 "begins with its first record",
                 redis);
        return;
    }
    if (r->status.known)
        log_warn("relay: Redis at %s %s: going back to %llu; %llu records are sent again "
                 "as far as the journal has them",
                 redis, f->absent ? "has no cursor" : "lost data",
                 (unsigned long long)sequence,
                 (unsigned long long)(r->cursor - sequence));
    else
        log_warn("relay: Redis at %s has no cursor of this journal: it is another Redis, "
                 "or lost its data; all %llu records that the journal has are published, "
                 "some perhaps for the second time",
                 redis, (unsigned long long)(status->last - status->first + 1));
    metric_add(&relay_metrics[RELAY_REWINDS], 1);
}

// Nothing has changed since the cursor was read or moved last.
static bool
is_as_known(const struct relay *r, const struct found *f)
{
    return r->placed && f->sequence == r->cursor && strcmp(f->owner, r->owner) == 0 &&
           strcmp(f->check, r->check) == 0;
}

void
connect_move(struct relay *r, uint64_t sequence, const char *check)
{
    r->cursor = sequence;
    snprintf(r->check, sizeof r->check, "%.*s", ENTRY_CHECK - 1, check);
    pthread_mutex_lock(&r->lock);
    r->status.cursor = sequence;
    r->status.known = true;
    pthread_mutex_unlock(&r->lock);
    journal_publish(r->journal, sequence);
}

// place puts the reader where the cursor is, unless Redis has what this journal cannot have.
static enum reply
place(struct relay *r, const struct found *f)
{
    uint64_t sequence = f->sequence;
    struct journal_status status;
    enum reply reply = REPLY_DONE;

    journal_read_status(r->journal, &status);
    if (sequence > status.last && !(r->status.known && sequence == r->cursor))
        reply = handle_cursor_ahead(r, sequence, &status);
    else if (is_among_new(r, sequence, &status))
        reply = stop_for_copy(r, sequence);
    if (reply == REPLY_DONE)
        reply = go_to(r, sequence, span_of(f->check));
    if (reply != REPLY_DONE)
        return reply;
    handle_rewind(r, f, &status);
    r->connection.waiting = status.last > sequence ? status.last - sequence : 0;
    r->placed = true;
    return REPLY_DONE;
}

static enum reply
take_cursor(struct relay *r, const struct found *f)
{
    if (*f->owner && strcmp(f->owner, r->owner) != 0)
        return connect_report(r, REPLY_FENCED,
                              "the cursor belongs to another place (%s); if nothing "
                              "publishes from there any more, run acrelay journal claim",
                              f->owner);
    enum reply reply = is_as_known(r, f) ? REPLY_DONE : place(r, f);
    if (reply == REPLY_DONE)
        connect_move(r, f->sequence, f->check);
    return reply;
}

static enum reply
poll_now(struct relay *r)
{
    struct found found;
    enum reply reply = r->redis ? REPLY_DONE : open_connection(r);

    if (reply == REPLY_DONE)
        reply = ask(r, &found);
    if (reply == REPLY_DONE)
        reply = probe_role(r, &found);
    if (reply == REPLY_DONE)
        reply = take_cursor(r, &found);
    if (reply == REPLY_DONE)
        r->connection.polled_ms = r->connection.heard_ms = clock_mono_ms();
    return reply;
}

// Also while records come, so that a change of role or policy is seen then too.
enum reply
connect_check(struct relay *r)
{
    if (!r->placed || clock_mono_ms() - r->connection.polled_ms >= r->times.poll)
        return poll_now(r);
    limit_wait(r);
    return REPLY_DONE;
}
