// Coming to a Redis, and looking after it every few seconds: only a master's cursor is
// believed, because a replica's is an old one and what comes after it would be sent twice. A
// policy that evicts any key could evict the cursor, and with it the promise: refused.
//
// Role and policy are advice: where Redis does not let us ask, shipping goes on. Without the
// role, a script call that writes nothing new shows whether it is a master.
#include "relay/internal.h"

#include <sys/param.h>
#include <sys/socket.h>

enum { AHEAD_MAX = 1000000, QUESTIONS = 4 };

const char relay_account_script[] = "local account = redis.call('GET', KEYS[1]) "
                                    "if account then return account end "
                                    "redis.call('SET', KEYS[1], ARGV[1]) return ARGV[1]";

// The cursor as Redis gives it; absent: it has none, and sequence is 0.
struct found {
    char owner[64], check[ENTRY_CHECK + 1];
    uint64_t sequence;
    bool absent;
};

// --- the connection ------------------------------------------------------------------------

// From here on relay_stop can cut the connection, also during AUTH.
static void
record_fd(int fd, void *relay)
{
    struct partition *p = relay;

    pthread_mutex_lock(&p->relay->lock);
    p->fd = fd;
    if (fd >= 0 && p->relay->stopping)
        shutdown(fd, SHUT_RDWR);
    pthread_mutex_unlock(&p->relay->lock);
}

void
connect_close(struct partition *p)
{
    pthread_mutex_lock(&p->relay->lock);
    p->fd = -1;
    p->status.up = false;
    pthread_mutex_unlock(&p->relay->lock);
    redis_close(p->redis);
    p->redis = NULL;
    p->placed = false;
    p->confirm.asked_ms = 0;
}

static int64_t
poll_limit_ms(const struct partition *p)
{
    return MIN(p->times.command, p->times.deadline);
}

// A Redis that hangs is given up before 10 s have passed since it last answered, also in the
// middle of a batch.
static void
limit_wait(struct partition *p)
{
    int64_t silent_ms = clock_mono_ms() - p->connection.heard_ms;
    int64_t limit_ms = p->times.command;

    if (silent_ms >= 1000) // mostly: nothing to change
        limit_ms -= silent_ms;
    if (limit_ms < poll_limit_ms(p))
        limit_ms = poll_limit_ms(p);
    p->redis->command_ms = limit_ms;
}

static enum reply
open_connection(struct partition *p)
{
    struct redis_options o = p->settings->redis;
    char key[SCRIPT_KEY];
    struct err err;

    o.watch = (struct socket_watch){record_fd, p};
    o.connect_ms = p->times.connect;
    o.command_ms = poll_limit_ms(p); // for AUTH and SELECT
    o.key = script_key(key, p->script.namespace, SPAN("account")).at;
    p->redis = redis_find(&p->connection.find, &o, &err);
    if (!p->redis)
        return report_trouble(p, err.kind == ERR_INPUT ? REPLY_STOP : REPLY_UNKNOWN, "%s",
                              err.text);
    p->connection.opened_ms = clock_mono_ms();
    relay_show_certificates(p);
    return REPLY_DONE;
}

// The metrics show the certificates of a new connection: a day later it is opened again, so that they
// show a certificate that was renewed.
static bool
is_outdated(const struct partition *p)
{
    return p->redis && p->settings->redis.url.tls &&
           clock_mono_ms() - p->connection.opened_ms >= p->times.tls;
}

// --- what is read from Redis -------------------------------------------------------------------

// no_answer: an error in the place of advice. Where Redis only refuses to be asked, because a right
// is missing or the command is not there, that is reported once and shipping goes on.
static enum reply
no_answer(struct partition *p, struct span message, struct once *once,
          const char *command)
{
    bool refused = span_starts(message, SPAN("NOPERM")) ||
                   (span_starts(message, SPAN("ERR")) &&
                    reply_of(message, false, NULL) != REPLY_WAIT);

    if (!refused)
        return report_error(p, message);
    once_report(
        once, LOG_LEVEL_WARN,
        "relay%s: the Redis user may not run %s: grant what deploy/redis/acrelay.acl "
        "lists (%.*s)",
        p->label, command, (int)message.len, message.at);
    return REPLY_DONE;
}

static enum reply
check_role(struct partition *p, const struct redis_reply *reply)
{
    p->connection.role_hidden = redis_value(reply).kind == REDIS_ERROR;
    if (p->connection.role_hidden)
        return no_answer(p, redis_value(reply).text, &p->connection.no_role, "ROLE");
    struct span role = redis_value(redis_reply_at(reply, 0)).text;
    if (span_is(role, "master"))
        return REPLY_DONE;
    return report_trouble(p, REPLY_ELSEWHERE, "this Redis is a %.*s, not the master",
                          (int)role.len, role.at);
}

static enum reply
check_eviction(struct partition *p, const struct redis_reply *reply)
{
    struct span text = redis_value(reply).text;

    if (redis_value(reply).kind == REDIS_ERROR)
        return no_answer(p, text, &p->connection.no_info, "INFO");
    while (text.len) {
        struct span line = span_cut(&text, '\n');
        if (!span_starts(line, SPAN("maxmemory_policy:allkeys-")))
            continue;
        return report_trouble(p, REPLY_STOP,
                              "Redis may evict any key (%.*s), including the cursor",
                              (int)line.len - 1, line.at);
    }
    return REPLY_DONE;
}

// Two accounts in one namespace would mix their streams.
static enum reply
check_account(struct partition *p, const struct redis_reply *reply)
{
    struct span account = redis_value(reply).text;

    if (redis_value(reply).kind == REDIS_ERROR)
        return no_answer(p, account, &p->connection.no_account, "GET and SET");
    if (span_is(account, p->relay->account))
        return REPLY_DONE;
    return report_trouble(p, REPLY_STOP, RELAY_ACCOUNT_IS_OTHER, p->script.namespace,
                          (int)account.len, account.at, p->relay->account);
}

static enum reply
read_found(struct partition *p, const struct redis_reply *reply, struct found *f)
{
    struct span owner = redis_value(redis_reply_at(reply, 0)).text;
    struct span sequence = redis_value(redis_reply_at(reply, 1)).text;
    struct span check = redis_value(redis_reply_at(reply, 2)).text;

    if (redis_value(reply).kind == REDIS_ERROR)
        return report_error(p, redis_value(reply).text);
    if (redis_value(reply).len != 3)
        return REPLY_UNKNOWN;
    *f = (struct found){.absent = sequence.len == 0};
    snprintf(f->owner, sizeof f->owner, "%.*s", (int)owner.len, owner.at);
    snprintf(f->check, sizeof f->check, "%.*s", (int)check.len, check.at);
    if (!f->absent && !entry_sequence(&f->sequence, sequence))
        return report_trouble(p, REPLY_STOP,
                              "the cursor in Redis, %s, is not a sequence number",
                              p->script.keys[0]);
    return REPLY_DONE;
}

static int
send_questions(struct partition *p, struct err *err)
{
    char key[SCRIPT_KEY];
    const struct span questions[QUESTIONS][5] = {
        {SPAN("ROLE")},
        {SPAN("INFO"), SPAN("memory")},
        {SPAN("EVAL"), span_of(relay_account_script), SPAN("1"),
         script_key(key, p->script.namespace, SPAN("account")),
         span_of(p->relay->account)},
        {SPAN("HMGET"), span_of(p->script.keys[0]), SPAN("owner"), SPAN("sequence"),
         SPAN("check")}};
    const size_t lens[QUESTIONS] = {1, 2, 5, 5};

    for (size_t i = 0; i < QUESTIONS; i++)
        if (redis_send(p->redis, questions[i], lens[i], NULL, err) < 0)
            return -1;
    return 0;
}

// Every answer is received, or the next command would get one of these.
static enum reply
ask(struct partition *p, struct found *f)
{
    int64_t until_ms = clock_mono_ms() + poll_limit_ms(p);
    enum reply result = REPLY_DONE;
    struct err err;

    if (send_questions(p, &err) < 0)
        return report_trouble(p, REPLY_UNKNOWN, "%s", err.text);
    for (size_t i = 0; i < QUESTIONS; i++) {
        int64_t left_ms = until_ms - clock_mono_ms();
        p->redis->command_ms = left_ms > 1 ? left_ms : 1;
        const struct redis_reply *reply = redis_receive(p->redis, &err);
        if (!reply)
            return report_trouble(p, REPLY_UNKNOWN, "%s", err.text);
        if (result == REPLY_DONE)
            result = i == 0   ? check_role(p, reply)
                     : i == 1 ? check_eviction(p, reply)
                     : i == 2 ? check_account(p, reply)
                              : read_found(p, reply, f);
    }
    limit_wait(p);
    return result;
}

enum reply
connect_probe(struct partition *p, uint64_t at)
{
    struct script_answer answer;
    struct err err;

    script_begin(&p->script, at);
    if (script_call(&p->script, p->redis, "", &answer, &err) < 0)
        return report_trouble(p, REPLY_UNKNOWN, "%s", err.text);
    if (answer.reply == REPLY_DONE && answer.cursor == at)
        return REPLY_DONE;
    if (answer.reply == REPLY_DONE || answer.reply == REPLY_AT)
        return REPLY_UNKNOWN; // the cursor moves: it is read again
    return report_refusal(p, &answer);
}

// Where Redis hides its role, a replica refuses a script call that changes nothing.
static enum reply
probe_role(struct partition *p, const struct found *f)
{
    bool ours = !*f->owner || strcmp(f->owner, p->script.owner) == 0;

    return p->connection.role_hidden && ours ? connect_probe(p, f->sequence) : REPLY_DONE;
}

// --- the cursor ------------------------------------------------------------------------------

// An alarm: Redis has records under numbers of ours that are not ours.
static enum reply
stop_for_copy(struct partition *p, uint64_t sequence)
{
    report_trouble(p, REPLY_STOP,
                   "record %llu differs from the one in Redis: a copy of this "
                   "journal was or is in use",
                   (unsigned long long)sequence);
    // Not before it counts as stopped: relay_publish of another would remove it.
    if (p->status.known) // else it was written at the start
        relay_mark_unread(p->relay, p->cursor + 1);
    return REPLY_STOP;
}

// go_to puts the reader after `sequence`, or where what it can own begins, and compares our record
// there with the cursor's check, "" for none.
static enum reply
go_to(struct partition *p, uint64_t sequence, struct span check)
{
    struct record record;
    char ours[ENTRY_CHECK];
    struct err err;

    feed_leave(&p->follower);
    p->reads = true;
    p->has_held = false;
    p->received_us = 0;
    p->passed = MAX(sequence, p->first - 1);
    cursor_seek(p->reader, sequence < p->first ? p->passed : sequence - 1);
    if (sequence < p->first)
        return REPLY_DONE;
    enum cursor_result found = cursor_next(p->reader, &record, &err);
    if (found == CURSOR_ERROR)
        return report_unreadable(p, &err);
    if (found == CURSOR_END || record.sequence != sequence) {
        // It is not kept any more, or never was ours: nothing to compare.
        cursor_seek(p->reader, sequence);
        return REPLY_DONE;
    }
    if (found == CURSOR_GAP) // whose time is not of its own
        return REPLY_DONE;
    p->received_us = record.received_us;
    entry_check(&record, ours);
    return check.len == 0 || span_is(check, ours) ? REPLY_DONE
                                                  : stop_for_copy(p, sequence);
}

// handle_cursor_ahead: Redis has more of this journal than we do. The journal lost its tail, or
// this is an older copy of it. What came before the cursor was read, in this process or an earlier
// one, has numbers that Redis knows for other records: it would be taken for published.
static enum reply
handle_cursor_ahead(struct partition *p, uint64_t sequence,
                    const struct journal_status *status)
{
    if (sequence - status->last > AHEAD_MAX || relay_has_unread(p->relay, status->last) ||
        !journal_reserve(p->journal, sequence))
        return stop_for_copy(p, sequence);
    log_error(
        "relay%s: the journal ends at %llu, but Redis has its records up to %llu: the "
        "journal lost its tail, or is an older copy; numbering continues after that. "
        "Check the disk, unless a backup was restored",
        p->label, (unsigned long long)status->last, (unsigned long long)sequence);
    return REPLY_DONE;
}

// Whether the cursor, read for the first time since the start, is among the records that came
// since: those have not been sent by us. Neither have those that came before an earlier process read
// it; but one partition may have read its own then, so there the check decides, if there is one.
static bool
is_among_new(const struct partition *p, const struct found *f,
             const struct journal_status *status)
{
    if (f->sequence > status->last)
        return false;
    return (!p->status.known && f->sequence > status->last - status->records) ||
           (!*f->check && relay_has_unread(p->relay, f->sequence));
}

// handle_rewind reports what Redis has lost. That a new journal has no cursor is no loss.
static void
handle_rewind(struct partition *p, const struct found *f,
              const struct journal_status *status)
{
    const char *redis = p->connection.find.address;
    uint64_t sequence = f->sequence;

    if (p->status.known ? MAX(sequence, p->first - 1) >= p->cursor : !f->absent)
        return;
    if (!p->status.known && !p->trim.has_past) {
        log_info("relay%s: Redis at %s has no cursor of this new journal: publishing "
                 "begins with its first record",
                 p->label, redis);
        return;
    }
    if (!p->status.known && status->last < p->first) {
        log_info("relay%s: publishing begins with record %llu, by redis.partitions",
                 p->label, (unsigned long long)p->first);
        return;
    }
    uint64_t from = MAX(sequence, p->first - 1);
    if (p->status.known)
        log_warn("relay%s: Redis at %s %s: what came after record %llu is published "
                 "again, as far as the journal has it (records: %llu)%s",
                 p->label, redis, f->absent ? "has no cursor any more" : "lost data",
                 (unsigned long long)from, (unsigned long long)(p->cursor - from),
                 f->absent
                     ? ". If its consumer groups are gone too, create them again at 0"
                     : "");
    else
        log_warn(
            "relay%s: Redis at %s has no cursor of this journal: it is another Redis, "
            "lost its data, or was never reached before; all %llu records that the "
            "journal has are published, some perhaps for the second time",
            p->label, redis,
            (unsigned long long)(status->last - MAX(status->first, p->first) + 1));
    metric_add(&relay_metrics[RELAY_REWINDS], 1);
}

// Nothing has changed since the cursor was read or moved last.
static bool
is_as_known(const struct partition *p, const struct found *f)
{
    return p->placed && f->sequence == p->cursor &&
           strcmp(f->owner, p->script.owner) == 0 && strcmp(f->check, p->check) == 0;
}

void
connect_move(struct partition *p, uint64_t sequence, const char *check)
{
    p->cursor = sequence;
    snprintf(p->check, sizeof p->check, "%.*s", ENTRY_CHECK - 1, check);
    pthread_mutex_lock(&p->relay->lock);
    p->status.cursor = MAX(sequence, p->first - 1);
    p->status.known = true;
    if (p->settings->config->redis_confirm == CONFIG_CONFIRM_MEMORY)
        p->safe = p->status.cursor;
    else // it is raised when it is confirmed
        p->safe = MIN(MAX(p->safe, p->first - 1), p->status.cursor);
    p->heard_us = clock_boot_us();
    relay_publish(p->relay);
    pthread_mutex_unlock(&p->relay->lock);
}

// place puts the reader where the cursor is, unless Redis has what this journal cannot have.
static enum reply
place(struct partition *p, const struct found *f)
{
    uint64_t sequence = f->sequence;
    struct journal_status status;
    enum reply reply = REPLY_DONE;

    journal_read_status(p->journal, &status);
    if (sequence > status.last && !(p->status.known && sequence == p->cursor))
        reply = handle_cursor_ahead(p, sequence, &status);
    else if (is_among_new(p, f, &status))
        reply = stop_for_copy(p, sequence);
    if (reply == REPLY_DONE)
        reply = go_to(p, sequence, span_of(f->check));
    if (reply != REPLY_DONE)
        return reply;
    handle_rewind(p, f, &status);
    p->connection.waiting = status.last > sequence ? status.last - sequence : 0;
    p->placed = true;
    return REPLY_DONE;
}

static enum reply
take_cursor(struct partition *p, const struct found *f)
{
    if (*f->owner && strcmp(f->owner, p->script.owner) != 0)
        return report_trouble(p, REPLY_FENCED,
                              "the cursor of this journal belongs to another machine or "
                              "directory (owner %s)",
                              f->owner);
    enum reply reply = is_as_known(p, f) ? REPLY_DONE : place(p, f);
    if (reply == REPLY_DONE)
        connect_move(p, f->sequence, f->check);
    return reply;
}

static enum reply
poll_now(struct partition *p)
{
    struct found found;
    enum reply reply = p->redis ? REPLY_DONE : open_connection(p);

    if (reply == REPLY_DONE)
        reply = ask(p, &found);
    if (reply == REPLY_DONE)
        reply = probe_role(p, &found);
    if (reply == REPLY_DONE)
        reply = take_cursor(p, &found);
    if (reply == REPLY_DONE || reply == REPLY_FENCED)
        receivers_register(p);
    if (reply != REPLY_DONE)
        return reply;
    p->connection.heard_ms = clock_mono_ms();
    p->connection.polled_ms =
        p->connection.heard_ms - p->connection.heard_ms % p->times.poll;
    return REPLY_DONE;
}

// Also while records come, so that a change of role or policy is seen then too. All partitions at
// the same time: the journal lets go by the oldest of their cursors, which must be fresh.
enum reply
connect_check(struct partition *p)
{
    if (is_outdated(p))
        return REPLY_UNKNOWN;
    if (!p->placed || clock_mono_ms() - p->connection.polled_ms >= p->times.poll)
        return poll_now(p);
    limit_wait(p);
    return REPLY_DONE;
}
