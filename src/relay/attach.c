// Coming to a Redis: only a master's cursor is believed, because a replica's is an old one
// and what lies behind it would be sent twice. A policy that evicts any key could evict the
// cursor, and with it the promise: refused.
#include "relay/inside.h"

#include "base/log.h"
#include "base/text.h"

#include <stdio.h>
#include <sys/socket.h>

enum { AHEAD_MAX = 1000000, CONNECT_MS = 2000 };

void
relay_detach(struct relay *r)
{
    pthread_mutex_lock(&r->lock);
    r->fd = -1;
    r->status.up = false;
    pthread_mutex_unlock(&r->lock);
    redis_close(r->redis);
    r->redis = NULL;
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

static enum reply
connect_to(struct relay *r)
{
    struct redis_options o = r->options.redis;
    struct err err;

    o.connected = note_fd;
    o.context = r;
    o.connect_ms = o.connect_ms ? o.connect_ms : CONNECT_MS;
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

static enum reply
check_role(struct relay *r)
{
    struct err err;
    const struct redis_reply *reply = redis_ask(r->redis, &err, "ROLE", NULL);

    if (!reply)
        return lost(r, &err);
    struct span words = redis_reply_text(reply);
    if (redis_reply_kind(reply) == REDIS_ERROR) {
        // A user without the right to ask: the first write tells a replica apart.
        if (!span_starts(words, SPAN("NOPERM")))
            return complain_of(r, words);
        if (!r->warned_role)
            log_warn("relay: no right to ask Redis for its role; allow ROLE");
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
check_eviction(struct relay *r)
{
    struct err err;
    const struct redis_reply *reply = redis_ask(r->redis, &err, "INFO", "memory", NULL);

    if (!reply)
        return lost(r, &err);
    struct span text = redis_reply_text(reply);
    if (redis_reply_kind(reply) == REDIS_ERROR) {
        if (!span_starts(text, SPAN("NOPERM")))
            return complain_of(r, text);
        if (!r->warned_info)
            log_warn("relay: no right to see Redis's eviction policy; allow INFO");
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

static enum reply
take_cursor(struct relay *r, const struct redis_reply *reply)
{
    struct span owner = redis_reply_text(redis_reply_at(reply, 0));
    struct span at = redis_reply_text(redis_reply_at(reply, 1));
    struct span check = redis_reply_text(redis_reply_at(reply, 2));
    struct journal_status status;
    struct err err;
    uint64_t sequence = 0;

    if (owner.len && !span_is(owner, r->owner)) {
        relay_complain(r, RELAY_FENCED, true,
                       "the cursor belongs to another place (%.*s); if nothing ships "
                       "there any more: acrelay journal claim",
                       (int)owner.len, owner.at);
        return REPLY_FENCED;
    }
    if (at.len && !entry_sequence(&sequence, at)) {
        relay_complain(r, RELAY_STOPPED, true, "the cursor in Redis is not a sequence");
        return REPLY_STOP;
    }
    journal_read_status(r->journal, &status);
    if (sequence > status.last && !(r->known && sequence == r->cursor)) {
        enum reply reply_ahead = ahead(r, sequence, &status);
        if (reply_ahead != REPLY_DONE)
            return reply_ahead;
    }
    if (is_among_new(r, sequence, &status))
        return stop_for_copy(r, sequence);
    enum place place = relay_go_to(r, sequence, check, &err);
    if (place == PLACE_UNREAD)
        return lost(r, &err);
    if (place == PLACE_ANOTHER)
        return stop_for_copy(r, sequence);
    tell_rewind(r, sequence, at.len == 0);
    r->cursor = sequence;
    r->waiting = status.last > sequence ? status.last - sequence : 0;
    journal_publish(r->journal, sequence);
    return REPLY_DONE;
}

static enum reply
read_cursor(struct relay *r)
{
    char key[SCRIPT_KEY];
    struct err err;

    script_cursor_key(key, r->namespace, journal_id(r->journal));
    const struct redis_reply *reply =
        redis_ask(r->redis, &err, "HMGET", key, "owner", "sequence", "check", NULL);
    if (!reply)
        return lost(r, &err);
    if (redis_reply_kind(reply) == REDIS_ERROR)
        return complain_of(r, redis_reply_text(reply));
    return take_cursor(r, reply);
}

enum reply
relay_attach(struct relay *r)
{
    enum reply reply = connect_to(r);

    if (reply == REPLY_DONE)
        reply = check_role(r);
    if (reply == REPLY_DONE)
        reply = check_eviction(r);
    if (reply == REPLY_DONE)
        reply = read_cursor(r);
    return reply;
}
