// A batch as arguments of the script; script.lua holds the script and their order.
#include "relay/script.h"

#include "base/embed.h"
#include "edge/digest.h"

#include <assert.h>

EMBED(script_lua, "src/relay/script.lua");

// Fingerprints expire a day after two windows: by then a Redis that was away has got what came
// meanwhile.
enum { DAY_MS = 86400000, RECEIPT_DIGITS = 16 };

// --- the script's text -----------------------------------------------------------------

static void
write_fields(struct buf *to, const struct entry_field *fields, size_t len)
{
    int at = 1; // the sequence is the record's first argument

    for (size_t i = 0; i < len; i++) {
        buf_add_format(to, "%s'%s', ", i ? ",\n      " : "", fields[i].name);
        if (fields[i].how == ENTRY_RECORD)
            buf_add_format(to,
                           *fields[i].lua ? "%s(ARGV[i + %d], again)" : "%sARGV[i + %d]",
                           fields[i].lua, at++);
        else if (fields[i].how == ENTRY_RARE)
            buf_add_format(to, "whole and ARGV[i + %d] or ''", at++);
        else
            buf_add_text(to, fields[i].lua);
    }
}

static void
write_text(struct buf *to)
{
    static const struct {
        const char *name;
        const struct entry_field *fields;
        size_t len;
    } parts[] = {{"DEAD_FIELDS", entry_dead_fields, ENTRY_DEAD_FIELDS},
                 {"STRUCTURED_FIELDS", entry_structured_fields, ENTRY_STRUCTURED_FIELDS},
                 {"EVENT_FIELDS", entry_event_fields, ENTRY_EVENT_FIELDS}};
    const char *from = script_lua;

    buf_init(to, 1 << 20);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const char *mark = memmem(from, (size_t)(script_lua_end - from), parts[i].name,
                                  strlen(parts[i].name));
        assert(mark);
        buf_add(to, span_make(from, (size_t)(mark - from)));
        write_fields(to, parts[i].fields, parts[i].len);
        from = mark + strlen(parts[i].name);
    }
    buf_add(to, span_make(from, (size_t)(script_lua_end - from)));
}

// --- a batch -----------------------------------------------------------------------------

void
script_init(struct script *s, const char *namespace, const char *journal_id,
            const char *owner, int64_t window_us, uint64_t duplicates_max)
{
    static const char *const names[SCRIPT_KEYS_FIXED] = {NULL,     "dead",   "seen:state",
                                                         "seen:1", "seen:2", "last"};
    char cursor[7 + JOURNAL_ID_TEXT];

    memset(s, 0, sizeof *s);
    s->window_us = window_us;
    s->duplicates_max = duplicates_max;
    snprintf(s->namespace, sizeof s->namespace, "%s", namespace);
    snprintf(s->owner, sizeof s->owner, "%s", owner);
    snprintf(s->id, sizeof s->id, "%s-", journal_id);
    write_text(&s->text);
    digest_sha1_text(buf_span(&s->text), s->sha);
    snprintf(cursor, sizeof cursor, "cursor:%s", journal_id);
    for (size_t i = 0; i < SCRIPT_KEYS_FIXED; i++)
        script_key(s->keys[i], namespace, span_of(names[i] ? names[i] : cursor));
    script_begin(s, 0);
}

void
script_release(struct script *s)
{
    struct redis_args *args[] = {&s->fingerprints, &s->receipts, &s->kind, &s->records,
                                 &s->call};

    buf_release(&s->text);
    for (size_t i = 0; i < sizeof args / sizeof *args; i++)
        buf_release(&args[i]->bytes);
}

void
script_begin(struct script *s, uint64_t prev)
{
    redis_args_clear(&s->fingerprints);
    redis_args_clear(&s->receipts);
    redis_args_clear(&s->records);
    s->keys_len = SCRIPT_KEYS_FIXED;
    s->hooks_len = s->kinds_len = s->kind_last = s->records_len = 0;
    s->forgets = false;
    s->oldest_us = INT64_MAX;
    s->newest_us = 0;
    *text_digits(s->prev, prev, ENTRY_SEQUENCE - 1) = '\0';
    s->end[0] = '\0';
    s->last = prev;
}

void
script_pass(struct script *s, uint64_t sequence)
{
    if (sequence != s->last)
        *text_digits(s->end, sequence, ENTRY_SEQUENCE - 1) = '\0';
}

// stream_index finds or adds the stream among the keys and gives its index for Lua. The
// last one is asked first: most often all records go to one stream.
static size_t
stream_index(struct script *s, struct span stream)
{
    size_t i = s->keys_len, prefix = strlen(s->namespace) + 3; // "{namespace}:"

    while (i > SCRIPT_KEYS_FIXED && !span_is(stream, s->keys[i - 1] + prefix))
        i--;
    if (i > SCRIPT_KEYS_FIXED)
        return i;
    script_key(s->keys[s->keys_len], s->namespace, stream);
    return ++s->keys_len;
}

static void
record_hook(struct script *s, struct span hook)
{
    size_t i = 0;

    if (hook.len == 0 || hook.len > DELIVERY_NAME_MAX)
        return;
    while (i < s->hooks_len && !span_is(hook, s->hooks[i]))
        i++;
    if (i < s->hooks_len)
        return;
    memcpy(s->hooks[i], hook.at, hook.len);
    s->hooks[i][hook.len] = '\0';
    s->hooks_len++;
}

static void
add_number(struct redis_args *a, uint64_t number)
{
    char text[20], *end = text + sizeof text, *at = end;

    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    redis_args_add(a, span_make(at, (size_t)(end - at)));
}

static void
add_receipt(struct redis_args *a, int64_t received_us)
{
    char text[RECEIPT_DIGITS];

    text_digits(text, received_us > 0 ? (uint64_t)received_us : 0, RECEIPT_DIGITS);
    redis_args_add(a, span_make(text, sizeof text));
}

static void
add_duplicate_check(struct script *s, const struct entry *e)
{
    redis_args_add(&s->fingerprints, span_make(e->fingerprint, ENTRY_FINGERPRINT));
    add_receipt(&s->receipts, e->received_us);
    if (e->received_us < s->oldest_us)
        s->oldest_us = e->received_us;
    if (e->received_us > s->newest_us)
        s->newest_us = e->received_us;
}

// A buf at its ceiling stays `full`, and redis_send refuses it.
static void
append(struct redis_args *a, const struct redis_args *more)
{
    (void)buf_add(&a->bytes, buf_span(&more->bytes));
    a->count += more->count;
}

// add_kind names the kind that s->kind describes where the record before has another one, and
// describes it where it is new. Kinds are equal when their descriptions are.
static void
add_kind(struct script *s)
{
    struct span kind = buf_span(&s->kind.bytes), records = buf_span(&s->records.bytes);
    size_t k = s->kinds_len;

    while (k > 0 && !span_equal(kind, span_make(records.at + s->kinds[k - 1].at,
                                                s->kinds[k - 1].len)))
        k--;
    if (k > 0 && k == s->kind_last)
        return;
    s->kind_last = k ? k : ++s->kinds_len;
    add_number(&s->records, s->kind_last);
    if (k > 0)
        return;
    s->kinds[s->kinds_len - 1].at = s->records.bytes.len;
    s->kinds[s->kinds_len - 1].len = kind.len;
    append(&s->records, &s->kind);
}

void
script_add(struct script *s, const struct entry *e, bool in_doubt)
{
    static const char modes[] = {
        [DELIVERY_MARK] = 'm', [DELIVERY_DROP] = 'd', [DELIVERY_KEEP] = 'k'};
    bool event = e->reason == EVENT_OK, whole = e->event.query.len || e->event.raw.len;
    char mode = event && !in_doubt ? modes[e->delivery.duplicates] : 'k';
    struct span values[ENTRY_EVENT_FIELDS];
    size_t len, width = 1;
    const struct entry_field *fields = entry_fields(e, values, &len);

    assert(s->records_len < SCRIPT_RECORDS_MAX);
    for (size_t i = 0; i < len; i++)
        width += fields[i].how == ENTRY_RECORD || (fields[i].how == ENTRY_RARE && whole);
    redis_args_clear(&s->kind);
    add_number(&s->kind, event ? stream_index(s, e->delivery.stream) : 2);
    redis_args_add(&s->kind, span_make(&mode, 1));
    add_number(&s->kind, width);
    add_number(&s->kind, whole);
    if (event && e->event.structured.len)
        redis_args_add(&s->kind, SPAN("")); // in the place of a source
    for (size_t i = 0; i < len; i++)
        if (fields[i].how == ENTRY_KIND)
            redis_args_add(&s->kind, values[i]);
    add_kind(s);
    redis_args_add(&s->records, span_of(e->sequence_text));
    for (size_t i = 0; i < len; i++)
        if (fields[i].how == ENTRY_RECORD || (fields[i].how == ENTRY_RARE && whole))
            redis_args_add(&s->records, values[i]);
    if (mode != 'k')
        add_duplicate_check(s, e);
    record_hook(s, e->delivery.hook);
    s->last = e->sequence;
    s->records_len++;
}

// --- the call ----------------------------------------------------------------------------

static int
send_call(struct script *s, struct redis *r, const char *check, bool by_text,
          struct err *err)
{
    struct redis_args *a = &s->call;

    redis_args_clear(a);
    redis_args_add(a, by_text ? SPAN("EVAL") : SPAN("EVALSHA"));
    redis_args_add(a, by_text ? buf_span(&s->text) : span_of(s->sha));
    add_number(a, s->keys_len);
    for (size_t i = 0; i < s->keys_len; i++)
        redis_args_add(a, span_of(s->keys[i]));
    redis_args_add(a, span_of(s->owner));
    redis_args_add(a, span_of(s->prev));
    redis_args_add(a, span_of(check));
    add_number(a, s->forgets);
    add_number(a, (uint64_t)s->window_us);
    add_number(a, s->duplicates_max);
    add_number(a, (uint64_t)s->window_us / 500 + DAY_MS);
    redis_args_add(a, span_of(s->id));
    add_number(a, s->hooks_len);
    add_number(a, s->fingerprints.count);
    redis_args_add(a, span_of(s->end));
    add_receipt(a, s->newest_us - s->window_us);
    add_receipt(a, s->fingerprints.count ? s->oldest_us + s->window_us : 0);
    for (size_t i = 0; i < s->hooks_len; i++)
        redis_args_add(a, span_of(s->hooks[i]));
    append(a, &s->fingerprints);
    append(a, &s->receipts);
    append(a, &s->records);
    return redis_send(r, NULL, 0, a, err);
}

static void
copy(char *to, size_t size, struct span text)
{
    snprintf(to, size, "%.*s", (int)text.len, text.at);
}

static uint64_t
number_at(const struct redis_reply *reply, size_t i)
{
    int64_t number = redis_value(redis_reply_at(reply, i)).number;

    return number > 0 ? (uint64_t)number : 0;
}

static void
read_answer(const struct redis_reply *reply, struct script_answer *a)
{
    bool error = redis_value(reply).kind == REDIS_ERROR;
    struct span message = redis_value(error ? reply : redis_reply_at(reply, 0)).text;

    *a = (struct script_answer){.reply = REPLY_UNKNOWN};
    copy(a->message, sizeof a->message, message);
    a->reply = reply_of(message, !error, a->word);
    if (error || redis_value(reply).kind != REDIS_ARRAY)
        return;
    // What failed before the first record is no fault of a record.
    if (a->reply == REPLY_REFUSED && redis_value(reply).len == 2)
        a->reply = REPLY_STOP;
    // Another owner's cursor says nothing about our records.
    a->has_cursor =
        a->reply != REPLY_FENCED &&
        entry_sequence(&a->cursor, redis_value(redis_reply_at(reply, 1)).text);
    a->marked = number_at(reply, 2);
    a->dropped = number_at(reply, 3);
    copy(a->notice, sizeof a->notice, redis_value(redis_reply_at(reply, 4)).text);
    bool needs_cursor = a->reply == REPLY_DONE || a->reply == REPLY_AT;
    if (needs_cursor && !a->has_cursor)
        a->reply = REPLY_UNKNOWN;
}

// find_wrong_key asks which key of the batch is not of its type.
static void
find_wrong_key(const struct script *s, struct redis *r, char to[SCRIPT_KEY])
{
    struct err err;

    for (size_t i = 0; i < s->keys_len; i++) {
        bool stream = i == 1 || i >= SCRIPT_KEYS_FIXED;
        const struct redis_reply *reply = redis_ask(r, &err, "TYPE", s->keys[i], NULL);
        struct span type = redis_value(reply).text;
        if (!reply || redis_value(reply).kind == REDIS_ERROR)
            return;
        if (!span_is(type, "none") && !span_is(type, stream ? "stream" : "hash")) {
            memcpy(to, s->keys[i], SCRIPT_KEY);
            return;
        }
    }
}

int
script_call(struct script *s, struct redis *r, const char *check, struct script_answer *a,
            struct err *err)
{
    for (int by_text = 0; by_text <= 1; by_text++) {
        const struct redis_reply *reply = NULL;
        if (send_call(s, r, check, by_text, err) == 0)
            reply = redis_receive(r, err);
        if (!reply)
            return -1;
        read_answer(reply, a);
        if (a->reply != REPLY_NOSCRIPT)
            break;
    }
    if (span_starts(span_of(a->message), SPAN("WRONGTYPE")))
        find_wrong_key(s, r, a->wrong_key);
    return 0;
}

// --- what a reply means ------------------------------------------------------------------

// What is not in this table is REPLY_UNKNOWN, which is always safe: the cursor in Redis shows what
// has been done. A row of one word is a reply's first word, a longer one its beginning. Errors that
// begin with ERR and are not about one record: Redis 7.0 writes "The user executing the script ..."
// of a right that is missing inside a script, Redis 8 and Valkey "ACL failure in script: ..."; a
// command that is missing there is "Unknown Redis command" or "Unknown command".
static const struct {
    const char *start;
    enum reply reply;
} replies[] = {
    {"OK", REPLY_DONE},
    {"AT", REPLY_AT},
    {"FENCED", REPLY_FENCED},
    {"NOSCRIPT", REPLY_NOSCRIPT},
    {"LOADING", REPLY_WAIT},
    {"BUSY", REPLY_WAIT},
    {"OOM", REPLY_WAIT},
    {"MISCONF", REPLY_WAIT},
    {"CLUSTERDOWN", REPLY_WAIT},
    {"TRYAGAIN", REPLY_WAIT},
    // A slot on its way to another node (redis_find.c): MOVED follows when it has arrived.
    {"ASK", REPLY_WAIT},
    // Its replicas may have left it, and one of them may be the master by now.
    {"NOREPLICAS", REPLY_ELSEWHERE},
    {"READONLY", REPLY_ELSEWHERE},
    {"MASTERDOWN", REPLY_ELSEWHERE},
    {"MOVED", REPLY_MOVED},
    {"NOAUTH", REPLY_STOP},
    {"WRONGPASS", REPLY_STOP},
    {"NOPERM", REPLY_STOP},
    {"WRONGTYPE", REPLY_STOP},
    {"CROSSSLOT", REPLY_STOP},
    {"DENIED", REPLY_STOP}, // protected mode
    {"ERR max number of clients", REPLY_WAIT},
    {"ERR unknown command", REPLY_STOP},
    {"ERR Unknown command", REPLY_STOP},
    {"ERR Unknown Redis command", REPLY_STOP},
    {"ERR This Redis command is not allowed from script", REPLY_STOP},
    {"ERR This command is not allowed from script", REPLY_STOP},
    {"ERR The user executing the script", REPLY_STOP},
    {"ERR ACL failure in script", REPLY_STOP},
};

static void
copy_word(char to[REPLY_WORD], struct span word)
{
    size_t len = 0;

    while (len < word.len && word.at[len] >= 'A' && word.at[len] <= 'Z')
        len++;
    if (len != word.len || len == 0 || len >= REPLY_WORD)
        word = SPAN("other");
    memcpy(to, word.at, word.len);
    to[word.len] = '\0';
}

enum reply
reply_of(struct span text, bool inside, char to[REPLY_WORD])
{
    // Inside a script some versions keep the '-' of the wire before the word.
    text = span_from(text, span_starts(text, SPAN("-")));
    struct span word = span_to(text, span_find(text, ' '));

    if (to)
        copy_word(to, word);
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        const char *start = replies[i].start;
        if (strchr(start, ' ') ? span_starts(text, span_of(start)) : span_is(word, start))
            return replies[i].reply;
    }
    return inside && span_is(word, "ERR") ? REPLY_REFUSED : REPLY_UNKNOWN;
}
