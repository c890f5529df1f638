// The text below works from Redis 6.2 to 8 and Valkey: no `#!lua` header, no functions to
// deploy, only commands with pcall, whose errors keep their first word in every version
// (an error that leaves a script does not).
//
// A Lua script that fails keeps what it has written. So all that can fail, fails before the
// first XADD: the first write is the owner into the cursor, which a replica, a full memory,
// a missing right or a wrong type refuses. An XADD that is refused ends the batch there,
// and the cursor says so. Redis does not apply its memory limit again once a script has
// written (256 records beyond it at most).
//
// A cursor that is not at prev stops the call before it writes anything. One before it: Redis
// lost data. One beyond it: a late call of ours, or another copy of the journal; the relay
// compares the record at the cursor before it goes on behind it.
//
// Sequences are 20 digits and compared as strings: Lua's numbers are doubles and lose
// integers above 2^53.
//
// KEYS: 1 cursor, 2 dead letters, 3 and 4 fingerprints a and b, 5 last event of each hook,
//       6.. streams
// ARGV: 1 owner, 2 prev, 3 check of the last record, 4 index of the current set in KEYS,
//       5 wipe (0 none, 1 the current set, 2 both), 6 most fingerprints, 7 "<journal id>-",
//       8 number n of arguments of the next part, then n: hook and time, in turn,
//       then for each record 13:
//       sequence, index of the stream in KEYS, repeats (m d k), fingerprint,
//       event: source type subject time recorded fingerprint-in-hex data query raw
//       dead letter: source hook reason detail recorded content-type query raw, and one
//       empty
// Answer: {word, cursor, repeats marked, repeats dropped, notice}
#include "relay/script.h"

#include "edge/digest.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

const char script_text[] =
    "local key = KEYS[1]\n"
    "local c = redis.pcall('HMGET', key, 'owner', 'sequence')\n"
    "if c.err then return {c.err} end\n"
    "local at = c[2] or '00000000000000000000'\n"
    "if c[1] and c[1] ~= ARGV[1] then return {'FENCED', at} end\n"
    "if at ~= ARGV[2] then return {'AT', at} end\n"
    "local first = 9 + tonumber(ARGV[8])\n"
    // everything that can fail, fails here
    "local r = redis.pcall('HSET', key, 'owner', ARGV[1])\n"
    "if type(r) == 'table' then return {r.err, at} end\n"
    // the sets swap roles
    "local current = KEYS[tonumber(ARGV[4])]\n"
    "if ARGV[5] ~= '0' then\n"
    "  if ARGV[5] == '2' then r = redis.pcall('UNLINK', KEYS[3], KEYS[4])\n"
    "  else r = redis.pcall('UNLINK', current) end\n"
    "  if type(r) == 'table' then return {r.err, at} end\n"
    "end\n"
    // which of these fingerprints were seen
    "local prints, seen = {}, {}\n"
    "for i = first, #ARGV, 13 do\n"
    "  if ARGV[i + 2] ~= 'k' then prints[#prints + 1] = ARGV[i + 3] end\n"
    "end\n"
    "if #prints > 0 then\n"
    "  for set = 3, 4 do\n"
    "    r = redis.pcall('SMISMEMBER', KEYS[set], unpack(prints))\n"
    "    if r.err then return {r.err, at} end\n"
    "    for i = 1, #r do if r[i] == 1 then seen[prints[i]] = true end end\n"
    "  end\n"
    "end\n"
    "local id, dead, xadd = ARGV[7], KEYS[2], redis.pcall\n"
    "local done, word, marked, dropped, add = nil, 'OK', 0, 0, {}\n"
    "for i = first, #ARGV, 13 do\n"
    "  local sequence, stream, mode, print, source, b, c, d, e, f, g, h, raw =\n"
    "    unpack(ARGV, i, i + 12)\n"
    "  stream = KEYS[tonumber(stream)]\n"
    "  local again = mode ~= 'k' and seen[print]\n"
    "  r = nil\n"
    "  if stream == dead then\n"
    "    r = xadd('XADD', stream, '*', 'ce_id', id .. sequence, 'ce_source', source,\n"
    "      'hook', b, 'reason', c, 'detail', d, 'ce_recordedtime', e,\n"
    "      'content-type', f, 'query', g, 'raw', h)\n"
    "  elseif again and mode == 'd' then\n"
    "    dropped = dropped + 1\n"
    "  else\n"
    "    r = xadd('XADD', stream, '*', 'ce_specversion', '1.0', 'ce_id', id .. "
    "sequence,\n"
    "      'ce_source', source, 'ce_type', b, 'ce_subject', c, 'ce_time', d,\n"
    "      'ce_recordedtime', e, 'ce_sequence', sequence,\n"
    "      'ce_dataschema', 'urn:acrelay:event:v1', 'ce_fingerprint', f,\n"
    "      'ce_repeat', again and '1' or '0', 'content-type', 'application/json',\n"
    "      'data', g, 'query', h, 'raw', raw)\n"
    "  end\n"
    "  if type(r) == 'table' and r.err then word = r.err break end\n"
    "  done = sequence\n"
    "  if r and mode ~= 'k' then\n"
    "    if again then marked = marked + 1 end\n"
    "    seen[print] = true\n"
    "    add[#add + 1] = print\n"
    "  end\n"
    "end\n"
    "if not done then return {word, at, 0, 0} end\n"
    "redis.call('HSET', key, 'sequence', done, 'check', word == 'OK' and ARGV[3] or '')\n"
    // what is below may fail without harm to the promise: it is told as a notice
    "local notice\n"
    "if #add > 0 then\n"
    "  r = redis.pcall('SCARD', KEYS[3])\n"
    "  local other = redis.pcall('SCARD', KEYS[4])\n"
    "  if type(r) == 'table' or type(other) == 'table' then notice = r.err or other.err\n"
    "  elseif r + other + #add > tonumber(ARGV[6]) then notice = 'FULL'\n"
    "  else r = redis.pcall('SADD', current, unpack(add)) end\n"
    "  if type(r) == 'table' then notice = r.err end\n"
    "  notice = notice or 'KEPT'\n"
    "end\n"
    "if ARGV[8] ~= '0' then\n"
    "  r = redis.pcall('HSET', KEYS[5], unpack(ARGV, 9, 8 + tonumber(ARGV[8])))\n"
    "  if type(r) == 'table' then notice = r.err end\n"
    "end\n"
    "return {word, done, marked, dropped, notice}\n";

enum { KEYS_FIXED = 5, HEAD = 3 + KEYS_FIXED + SCRIPT_RECORDS_MAX + 8 };

// A hook of the batch and the receipt time of its last record.
struct last {
    char hook[DELIVERY_NAME_MAX + 1];
    char time[32];
};

struct script {
    char namespace[SCRIPT_NAMESPACE_MAX + 1];
    char sha[DIGEST_SHA1_TEXT];
    char owner[SCRIPT_OWNER];
    char id[JOURNAL_ID_TEXT + 1]; // with its dash
    char max[24];
    char keys[KEYS_FIXED + SCRIPT_RECORDS_MAX][SCRIPT_KEY];
    size_t keys_len;
    struct last last[SCRIPT_RECORDS_MAX];
    size_t last_len;
    char prev[ENTRY_SEQUENCE];
    int64_t epoch;
    enum script_wipe wipe;
    struct redis_args records;
    size_t records_len;
};

void
script_key(char to[SCRIPT_KEY], const char *namespace, struct span name)
{
    snprintf(to, SCRIPT_KEY, "{%s}:%.*s", namespace, (int)name.len, name.at);
}

void
script_cursor_key(char to[SCRIPT_KEY], const char *namespace, const char *journal_id)
{
    snprintf(to, SCRIPT_KEY, "{%s}:cursor:%s", namespace, journal_id);
}

struct script *
script_open(const char *namespace, const char *journal_id, const char *owner,
            uint64_t repeats_max)
{
    struct script *s = memory_get(sizeof *s);

    memset(s, 0, sizeof *s);
    snprintf(s->namespace, sizeof s->namespace, "%s", namespace);
    snprintf(s->owner, sizeof s->owner, "%s", owner);
    snprintf(s->id, sizeof s->id, "%s-", journal_id);
    script_set_repeats_max(s, repeats_max);
    digest_sha1_text(span_of(script_text), s->sha);
    script_cursor_key(s->keys[0], namespace, journal_id);
    script_key(s->keys[1], namespace, SPAN("dead"));
    script_key(s->keys[2], namespace, SPAN("seen:a"));
    script_key(s->keys[3], namespace, SPAN("seen:b"));
    script_key(s->keys[4], namespace, SPAN("last"));
    return s;
}

void
script_close(struct script *s)
{
    if (!s)
        return;
    buf_release(&s->records.bytes);
    free(s);
}

void
script_set_repeats_max(struct script *s, uint64_t repeats_max)
{
    snprintf(s->max, sizeof s->max, "%llu", (unsigned long long)repeats_max);
}

int64_t
script_epoch(int64_t received_us, int64_t window_us)
{
    return window_us > 0 && received_us > 0 ? received_us / window_us : 0;
}

enum script_wipe
script_wipe_of(int64_t epoch_before, int64_t epoch)
{
    if (epoch == epoch_before)
        return SCRIPT_WIPE_NONE;
    // The set of this parity holds what was seen two windows ago; after a longer silence
    // the other one is too old as well.
    return epoch == epoch_before + 1 ? SCRIPT_WIPE_CURRENT : SCRIPT_WIPE_BOTH;
}

void
script_begin(struct script *s, uint64_t prev, int64_t epoch, enum script_wipe wipe)
{
    redis_args_clear(&s->records);
    s->keys_len = KEYS_FIXED;
    s->last_len = 0;
    s->records_len = 0;
    s->epoch = epoch;
    s->wipe = wipe;
    entry_sequence_text(s->prev, prev);
}

// stream_index finds or adds the stream among the keys and gives its index for Lua. The
// last one is asked first: most often all records go to one stream.
static size_t
stream_index(struct script *s, struct span stream)
{
    char key[SCRIPT_KEY];

    script_key(key, s->namespace, stream);
    for (size_t i = s->keys_len; i > KEYS_FIXED; i--) {
        if (strcmp(s->keys[i - 1], key) == 0)
            return i;
    }
    memcpy(s->keys[s->keys_len++], key, SCRIPT_KEY);
    return s->keys_len;
}

static void
note_last(struct script *s, struct span hook, struct span time)
{
    size_t i = 0;

    if (hook.len == 0 || hook.len > DELIVERY_NAME_MAX)
        return;
    while (i < s->last_len && !span_is(hook, s->last[i].hook))
        i++;
    struct last *last = &s->last[i];
    if (i == s->last_len) {
        s->last_len++;
        memcpy(last->hook, hook.at, hook.len);
        last->hook[hook.len] = '\0';
    }
    snprintf(last->time, sizeof last->time, "%.*s", (int)time.len, time.at);
}

static void
add_all(struct redis_args *a, const struct span *spans, size_t n)
{
    for (size_t i = 0; i < n; i++)
        redis_args_add(a, spans[i]);
}

static void
add_head(struct script *s, const struct entry *e, size_t index, char mode)
{
    char number[24];
    struct span print = mode == 'k' ? SPAN("") : span_make(e->print, ENTRY_PRINT);
    int len = snprintf(number, sizeof number, "%zu", index);

    add_all(&s->records,
            (struct span[]){span_make(e->sequence_text, 20),
                            span_make(number, (size_t)len), span_make(&mode, 1), print},
            4);
}

static void
add_event(struct script *s, const struct entry *e)
{
    static const char modes[] = {
        [DELIVERY_MARK] = 'm', [DELIVERY_DROP] = 'd', [DELIVERY_KEEP] = 'k'};
    const struct event *v = &e->event;

    add_head(s, e, stream_index(s, e->delivery.stream), modes[e->delivery.repeats]);
    add_all(&s->records,
            (struct span[]){v->source, v->type, v->subject, v->time, v->recorded,
                            span_make(e->print_text, 2 * (size_t)ENTRY_PRINT), v->data,
                            v->query, v->raw},
            9);
}

static void
add_dead(struct script *s, const struct entry *e)
{
    const struct event *v = &e->event;
    const struct delivery *d = &e->delivery;

    add_head(s, e, 2, 'k');
    add_all(&s->records,
            (struct span[]){v->source, d->hook, span_of(event_reason_name(e->reason)),
                            v->detail, v->recorded, d->type, v->query, v->raw, SPAN("")},
            9);
}

void
script_add(struct script *s, const struct entry *e)
{
    assert(s->records_len < SCRIPT_RECORDS_MAX);
    if (e->reason == EVENT_GOOD)
        add_event(s, e);
    else
        add_dead(s, e);
    note_last(s, e->delivery.hook, e->event.recorded);
    s->records_len++;
}

size_t
script_records(const struct script *s)
{
    return s->records_len;
}

int
script_send(struct script *s, struct redis *r, const char *check, bool by_text,
            struct err *err)
{
    // Large enough for every stream and hook of a batch; no other thread has this script.
    struct span head[HEAD + 2 * SCRIPT_RECORDS_MAX];
    char keys_len[24], last_len[24];
    size_t n = 0;

    snprintf(keys_len, sizeof keys_len, "%zu", s->keys_len);
    snprintf(last_len, sizeof last_len, "%zu", 2 * s->last_len);
    head[n++] = by_text ? SPAN("EVAL") : SPAN("EVALSHA");
    head[n++] = span_of(by_text ? script_text : s->sha);
    head[n++] = span_of(keys_len);
    for (size_t i = 0; i < s->keys_len; i++)
        head[n++] = span_of(s->keys[i]);
    head[n++] = span_of(s->owner);
    head[n++] = span_of(s->prev);
    head[n++] = span_of(check);
    head[n++] = s->epoch % 2 ? SPAN("4") : SPAN("3");
    head[n++] = span_make(&"012"[s->wipe], 1);
    head[n++] = span_of(s->max);
    head[n++] = span_of(s->id);
    head[n++] = span_of(last_len);
    for (size_t i = 0; i < s->last_len; i++) {
        head[n++] = span_of(s->last[i].hook);
        head[n++] = span_of(s->last[i].time);
    }
    return redis_send(r, head, n, &s->records, err);
}

static uint64_t
number_at(const struct redis_reply *reply, size_t i)
{
    int64_t number = redis_reply_number(redis_reply_at(reply, i));

    return number > 0 ? (uint64_t)number : 0;
}

const char *
script_wrong_key(const struct script *s, struct redis *r)
{
    static const char *const fixed[KEYS_FIXED] = {"hash", "stream", "set", "set", "hash"};
    struct err err;

    for (size_t i = 0; i < s->keys_len; i++) {
        const struct redis_reply *reply = redis_ask(r, &err, "TYPE", s->keys[i], NULL);
        struct span type = redis_reply_text(reply);
        if (!reply || redis_reply_kind(reply) == REDIS_ERROR)
            return NULL;
        if (!span_is(type, "none") &&
            !span_is(type, i < KEYS_FIXED ? fixed[i] : "stream"))
            return s->keys[i];
    }
    return NULL;
}

void
script_read(const struct redis_reply *reply, struct script_answer *a)
{
    *a = (struct script_answer){.reply = REPLY_UNKNOWN};
    if (redis_reply_kind(reply) == REDIS_ERROR) {
        a->words = redis_reply_text(reply);
        a->reply = reply_of(a->words, false);
        return;
    }
    if (redis_reply_kind(reply) != REDIS_ARRAY)
        return;
    a->words = redis_reply_text(redis_reply_at(reply, 0));
    a->reply = reply_of(a->words, true);
    // Another owner's cursor says nothing about our records.
    a->has_cursor =
        a->reply != REPLY_FENCED &&
        entry_sequence(&a->cursor, redis_reply_text(redis_reply_at(reply, 1)));
    a->marked = number_at(reply, 2);
    a->dropped = number_at(reply, 3);
    a->notice = redis_reply_text(redis_reply_at(reply, 4));
    bool needs_cursor = a->reply == REPLY_DONE || a->reply == REPLY_AT;
    if (needs_cursor && !a->has_cursor)
        a->reply = REPLY_UNKNOWN;
}
