// Coming to a Redis, and looking after it every few seconds: only a master's cursor is
// believed, because a replica's is an old one and what lies behind it would be sent twice. A
// policy that evicts any key could evict the cursor, and with it the promise: refused.
//
// Role and policy are advice: where Redis does not let us ask, shipping goes on. Without the
// role, a script call that writes nothing new tells a master apart.
#include "relay/inside.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#include <stdio.h>
#include <sys/socket.h>

// A Redis that hangs is given up before 10 s have passed since it last answered, also in the
// middle of a batch.
enum { AHEAD_MAX = 1000000, CONNECT_MS = 2000, COMMAND_MS = 8000, POLL_MS = 3000 };

// The cursor as Redis tells it; empty: it has none.
struct found {
    char owner[64], sequence[32], check[ENTRY_CHECK + 1];
};

void
relay_detach(struct relay *r)
{
    pthread_mutex_lock(&r->lock);
    r->fd = -1;
    r->status.up = false;
    pthread_mutex_unlock(&r->lock);
    redis_close(r->redis);
    r->redis = NULL;
    r->placed = false;
}

// From here on relay_stop can cut the connection, also while it says who we are.
static void
note_fd(int fd, void *relay)
{
    struct relay *r = relay;

    pthread_mutex_lock(&r->lock);
    r->fd = fd;
    if (fd >= 0 && r->stopping)
        shutdown(fd, SHUT_RDWR);
    pthread_mutex_unlock(&r->lock);
}

// A node that is gone or no master is no place to insist on: the next try asks the first one.
static void
forget_moved(struct relay *r)
{
    r->moved_host[0] = '\0';
    r->moved_port = 0;
}

static int64_t
command_limit_ms(const struct relay *r)
{
    return r->options.redis.command_ms ? r->options.redis.command_ms : COMMAND_MS;
}

static int64_t
poll_limit_ms(const struct relay *r)
{
    int64_t limit_ms = command_limit_ms(r),
            poll_ms = times_ms("cursor-deadline", POLL_MS);

    return limit_ms < poll_ms ? limit_ms : poll_ms;
}

void
relay_limit_wait(struct relay *r)
{
    int64_t silent_ms = clock_mono_ms() - r->heard_ms, limit_ms = COMMAND_MS - silent_ms;

    if (silent_ms < 1000) // mostly: nothing to change
        limit_ms = COMMAND_MS;
    if (limit_ms < POLL_MS)
        limit_ms = POLL_MS;
    redis_set_timeout(r->redis,
                      limit_ms < command_limit_ms(r) ? limit_ms : command_limit_ms(r));
}

static enum reply
connect_to(struct relay *r)
{
    struct redis_options o = r->options.redis;
    struct err err;

    o.connected = note_fd;
    o.context = r;
    o.connect_ms = o.connect_ms ? o.connect_ms : CONNECT_MS;
    o.command_ms = poll_limit_ms(r); // for AUTH and SELECT
    if (*r->moved_host || r->moved_port) {
        o.host = *r->moved_host ? r->moved_host : o.host;
        o.path = NULL;
        o.port = r->moved_port;
    }
    r->redis = redis_open(&o, &err);
    if (!r->redis) {
        forget_moved(r);
        bool refused = err.kind == ERR_INPUT;
        relay_complain(r, refused ? RELAY_STOPPED : RELAY_CONNECTING, refused,
                       "%s; the journal waits", err.text);
        return refused ? REPLY_STOP : REPLY_UNKNOWN;
    }
    return REPLY_DONE;
}

// complain_of classes an error reply, says it, and returns what to do.
static enum reply
complain_of(struct relay *r, struct span words)
{
    enum reply reply = reply_of(words, false);
    bool stop = reply == REPLY_STOP;

    relay_count_word(r, words);
    relay_complain(r, stop ? RELAY_STOPPED : RELAY_CONNECTING, stop, "Redis says: %.*s",
                   (int)words.len, words.at);
    if (reply == REPLY_MOVED &&
        !reply_moved(words, r->moved_host, sizeof r->moved_host, &r->moved_port))
        return REPLY_UNKNOWN;
    return reply == REPLY_DONE ? REPLY_UNKNOWN : reply;
}

static enum reply
lost(struct relay *r, const struct err *err)
{
    relay_complain(r, RELAY_CONNECTING, false, "%s", err->text);
    return REPLY_UNKNOWN;
}

// Whether Redis only refuses to be asked: a right is missing, or the command is not there.
static bool
is_refused_question(struct span words)
{
    return span_starts(words, SPAN("NOPERM")) ||
           (span_starts(words, SPAN("ERR")) && reply_of(words, false) != REPLY_WAIT);
}

static enum reply
judge_role(struct relay *r, const struct redis_reply *reply)
{
    struct span words = redis_reply_text(reply);

    r->role_hidden = redis_reply_kind(reply) == REDIS_ERROR;
    if (r->role_hidden) {
        if (!is_refused_question(words))
            return complain_of(r, words);
        if (!r->warned_role)
            log_warn("relay: Redis does not tell its role (%.*s); allow ROLE",
                     (int)words.len, words.at);
        r->warned_role = true;
        return REPLY_DONE;
    }
    struct span role = redis_reply_text(redis_reply_at(reply, 0));
    if (span_is(role, "master"))
        return REPLY_DONE;
    forget_moved(r);
    relay_complain(r, RELAY_CONNECTING, false, "this Redis is a %.*s, not the master",
                   (int)role.len, role.at);
    return REPLY_ELSEWHERE;
}

static enum reply
judge_eviction(struct relay *r, const struct redis_reply *reply)
{
    struct span text = redis_reply_text(reply);

    if (redis_reply_kind(reply) == REDIS_ERROR) {
        if (!is_refused_question(text))
            return complain_of(r, text);
        if (!r->warned_info)
            log_warn("relay: Redis does not tell its eviction policy (%.*s); allow INFO",
                     (int)text.len, text.at);
        r->warned_info = true;
        return REPLY_DONE;
    }
    while (text.len) {
        struct span line = span_cut(&text, '\n');
        if (!span_starts(line, SPAN("maxmemory_policy:allkeys-")))
            continue;
        relay_complain(r, RELAY_STOPPED, true,
                       "Redis may evict any key (%.*s), the cursor too: set "
                       "maxmemory-policy noeviction",
                       (int)line.len - 1, line.at);
        return REPLY_STOP;
    }
    return REPLY_DONE;
}

// An alarm: Redis has records under numbers of ours that are not ours.
static enum reply
stop_for_copy(struct relay *r, uint64_t sequence)
{
    relay_complain(
        r, RELAY_STOPPED, true,
        "record %llu is not the one that Redis has: a copy of this journal was "
        "or is in use; see \"A backup of the journal was restored\"",
        (unsigned long long)sequence);
    return REPLY_STOP;
}

// ahead: Redis has more of this journal than we do. The journal lost its tail, or this is
// an older copy of it.
static enum reply
ahead(struct relay *r, uint64_t sequence, const struct journal_status *status)
{
    unsigned long long far = sequence, end = status->last;

    if (sequence - status->last > AHEAD_MAX || status->records > 0)
        return stop_for_copy(r, sequence);
    journal_skip_to(r->journal, sequence);
    log_alarm("relay: Redis has records up to %llu, the journal ends at %llu: its last "
              "records are lost here, numbers go on behind them",
              far, end);
    return REPLY_DONE;
}

// Whether the cursor, read for the first time since the start, is among the records that came
// since: those have not been sent by us.
static bool
is_among_new(const struct relay *r, uint64_t sequence,
             const struct journal_status *status)
{
    return !r->known && status->records > 0 && sequence <= status->last &&
           sequence > status->last - status->records;
}

static void
tell_rewind(struct relay *r, uint64_t sequence, bool absent)
{
    struct journal_status status;

    journal_read_status(r->journal, &status);
    uint64_t before = r->known ? r->cursor : absent ? status.last : sequence;
    r->known = true;
    if (sequence >= before)
        return;
    log_warn("relay: Redis %s: back to %llu, %llu records are sent again as far as kept",
             absent ? "has no cursor" : "lost data", (unsigned long long)sequence,
             (unsigned long long)(before - sequence));
    pthread_mutex_lock(&r->lock);
    r->status.rewinds++;
    r->status.rewound += before - sequence;
    pthread_mutex_unlock(&r->lock);
}

// Nothing has changed since the cursor was read or moved last.
static bool
is_as_known(const struct relay *r, const struct found *f, uint64_t sequence)
{
    return r->placed && sequence == r->cursor && strcmp(f->owner, r->owner) == 0 &&
           strcmp(f->check, r->check) == 0;
}

static void
set_cursor(struct relay *r, uint64_t sequence, const char *check)
{
    r->cursor = sequence;
    snprintf(r->check, sizeof r->check, "%.*s", ENTRY_CHECK - 1, check);
    r->placed = true;
    pthread_mutex_lock(&r->lock);
    r->status.cursor = sequence;
    pthread_mutex_unlock(&r->lock);
}

static enum reply
take_cursor(struct relay *r, const struct found *f)
{
    struct journal_status status;
    struct err err;
    uint64_t sequence = 0;

    if (*f->owner && strcmp(f->owner, r->owner) != 0) {
        relay_complain(r, RELAY_FENCED, true,
                       "the cursor belongs to another place (%s); if nothing ships "
                       "there any more: acrelay journal claim",
                       f->owner);
        return REPLY_FENCED;
    }
    if (*f->sequence && !entry_sequence(&sequence, span_of(f->sequence))) {
        relay_complain(r, RELAY_STOPPED, true, "the cursor in Redis is not a sequence");
        return REPLY_STOP;
    }
    if (is_as_known(r, f, sequence)) {
        journal_publish(r->journal, sequence);
        return REPLY_DONE;
    }
    journal_read_status(r->journal, &status);
    if (sequence > status.last && !(r->known && sequence == r->cursor)) {
        enum reply reply_ahead = ahead(r, sequence, &status);
        if (reply_ahead != REPLY_DONE)
            return reply_ahead;
    }
    if (is_among_new(r, sequence, &status))
        return stop_for_copy(r, sequence);
    enum place place = relay_go_to(r, sequence, span_of(f->check), &err);
    if (place == PLACE_UNREAD)
        return lost(r, &err);
    if (place == PLACE_ANOTHER)
        return stop_for_copy(r, sequence);
    tell_rewind(r, sequence, !*f->sequence);
    set_cursor(r, sequence, f->check);
    r->waiting = status.last > sequence ? status.last - sequence : 0;
    journal_publish(r->journal, sequence);
    return REPLY_DONE;
}

static enum reply
read_found(struct relay *r, const struct redis_reply *reply, struct found *f)
{
    char *to[] = {f->owner, f->sequence, f->check};
    size_t sizes[] = {sizeof f->owner, sizeof f->sequence, sizeof f->check};

    if (redis_reply_kind(reply) == REDIS_ERROR)
        return complain_of(r, redis_reply_text(reply));
    if (redis_reply_len(reply) != 3)
        return REPLY_UNKNOWN;
    for (size_t i = 0; i < 3; i++) {
        struct span text = redis_reply_text(redis_reply_at(reply, i));
        snprintf(to[i], sizes[i], "%.*s", (int)text.len, text.at);
    }
    return REPLY_DONE;
}

static int
send_questions(struct relay *r, struct err *err)
{
    const struct span questions[3][5] = {{SPAN("ROLE")},
                                         {SPAN("INFO"), SPAN("memory")},
                                         {SPAN("HMGET"), span_of(r->script.keys[0]),
                                          SPAN("owner"), SPAN("sequence"),
                                          SPAN("check")}};
    const size_t lens[] = {1, 2, 5};

    for (size_t i = 0; i < 3; i++)
        if (redis_send(r->redis, questions[i], lens[i], NULL, err) < 0)
            return -1;
    return 0;
}

static enum reply
judge(struct relay *r, size_t question, const struct redis_reply *reply, struct found *f)
{
    switch (question) {
    case 0:
        return judge_role(r, reply);
    case 1:
        return judge_eviction(r, reply);
    default:
        return read_found(r, reply, f);
    }
}

// Every answer is received, or the next command would get one of these.
static enum reply
ask(struct relay *r, struct found *f)
{
    int64_t until_ms = clock_mono_ms() + poll_limit_ms(r);
    enum reply result = REPLY_DONE;
    struct err err;

    if (send_questions(r, &err) < 0)
        return lost(r, &err);
    for (size_t i = 0; i < 3; i++) {
        int64_t left_ms = until_ms - clock_mono_ms();
        redis_set_timeout(r->redis, left_ms > 1 ? left_ms : 1);
        const struct redis_reply *reply = redis_receive(r->redis, &err);
        if (!reply)
            return lost(r, &err);
        if (result == REPLY_DONE)
            result = judge(r, i, reply, f);
    }
    relay_limit_wait(r);
    return result;
}

// Where Redis hides its role, a replica refuses a script call that changes nothing.
static enum reply
probe_role(struct relay *r, const struct found *f)
{
    uint64_t sequence = 0;
    bool ours = !*f->owner || strcmp(f->owner, r->owner) == 0;

    if (!r->role_hidden || !ours ||
        (*f->sequence && !entry_sequence(&sequence, span_of(f->sequence))))
        return REPLY_DONE; // or take_cursor says what is wrong
    return relay_probe(r, sequence);
}

enum reply
relay_poll(struct relay *r)
{
    struct found found;
    enum reply reply = ask(r, &found);

    if (reply == REPLY_DONE)
        reply = probe_role(r, &found);
    if (reply == REPLY_DONE)
        reply = take_cursor(r, &found);
    if (reply == REPLY_DONE)
        r->polled_ms = r->heard_ms = clock_mono_ms();
    return reply;
}

enum reply
relay_attach(struct relay *r)
{
    enum reply reply = connect_to(r);

    return reply == REPLY_DONE ? relay_poll(r) : reply;
}
