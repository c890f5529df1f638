// One delivery: its bytes from the journal, where that is on this machine, else from its entry; what
// became of it in its stream; and how far each group has come. Nothing is guessed.
#include "cli/inspect.h"

#include "base/clock.h"
#include "base/text.h"
#include "event/event.h"
#include "event/form.h"
#include "event/json.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SHOWN_MAX = 256 << 10,
    PAIRS_MAX = 500,
    FIND_MS = 3000,
};

struct one {
    struct inspect *inspect;
    struct tags tags;
    bool reveals;
    char ce_id[EVENT_ID_TEXT + 1];
    uint64_t sequence;
    int key; // of its entry; -1: not found
    char entry[COMMANDS_ENTRY];
    const struct redis_reply *fields; // gone with the next command
    struct err err;                   // why there is none

    struct cursor *cursor; // holds what `record` points at
    struct record record;
    struct delivery delivery; // from the journal, or what the entry has of it
    const char *from;         // where it is from; NULL: there are no bytes
    struct err journal_err;
};

// --- the journal ------------------------------------------------------------------------------

static void
read_journal(struct one *o)
{
    char id[JOURNAL_ID_TEXT];
    const char *directory = o->inspect->config->state_dir;

    o->cursor = cursor_open_reader(directory, o->sequence - 1, id, &o->journal_err);
    if (!o->cursor)
        return;
    if (strncmp(id, o->ce_id, strlen(id)) != 0) {
        err_set(&o->journal_err, ERR_INPUT, "%s holds another journal", directory);
        return;
    }
    enum cursor_result result = cursor_next(o->cursor, &o->record, &o->journal_err);
    if (result == CURSOR_RECORD && o->record.sequence == o->sequence &&
        delivery_decode(&o->delivery, o->record.payload, &o->journal_err) == 0)
        o->from = "journal";
    else if (result == CURSOR_GAP)
        err_set(&o->journal_err, ERR_INPUT, "the journal no longer has it: %s",
                o->record.gap_reason);
    else if (result != CURSOR_ERROR && !o->journal_err.text[0])
        err_set(&o->journal_err, ERR_INPUT, "the journal does not have it");
}

// --- its entry --------------------------------------------------------------------------------

// read_entry reads the entry at key and entry; false when it is none, or another's.
static bool
read_entry(struct one *o)
{
    const struct inspect_key *key = &o->inspect->keys[o->key < 0 ? 0 : o->key];
    struct redis *r = o->key < 0 ? NULL : tags_redis(&o->tags, key->tag, &o->err);
    const struct redis_reply *reply =
        r ? cli_ask(r, &o->err, "XRANGE", key->key, o->entry, o->entry) : NULL;

    o->fields = redis_reply_at(redis_reply_at(reply, 0), 1);
    if (span_is(cli_field(o->fields, "ce_id"), o->ce_id))
        return true;
    o->fields = NULL;
    return false;
}

static bool
read_id_ms(const struct redis_reply *reply, int64_t *ms)
{
    struct span id = redis_value(redis_reply_at(redis_reply_at(reply, 0), 0)).text;

    *ms = id.len ? strtoll(id.at, NULL, 10) : 0;
    return id.len > 0;
}

// The entry's sequence against ours: less, equal or greater; one of another journal says nothing,
// and its time of receipt is all there is.
static int
compare(const struct one *o, const struct redis_reply *fields)
{
    struct span id = cli_field(fields, "ce_id"), ours = span_of(o->ce_id);
    size_t dash = JOURNAL_ID_TEXT;
    int64_t us;

    if (id.len == ours.len && memcmp(id.at, ours.at, dash) == 0)
        return memcmp(id.at + dash, ours.at + dash, id.len - dash);
    if (o->from && clock_parse(&us, cli_field(fields, "ce_recordedtime")))
        return us < o->record.received_us ? -1 : 1;
    return -1;
}

// Takes the entry of our ce_id from among these.
static bool
take_among(struct one *o, int k, const struct redis_reply *entries)
{
    for (size_t i = 0; i < redis_value(entries).len; i++) {
        const struct redis_reply *entry = redis_reply_at(entries, i);
        struct span id = redis_value(redis_reply_at(entry, 0)).text;
        if (!span_is(cli_field(redis_reply_at(entry, 1), "ce_id"), o->ce_id))
            continue;
        snprintf(o->entry, sizeof o->entry, "%.*s", (int)id.len, id.at);
        o->key = k;
        return true;
    }
    return false;
}

// A journal's entries stand in a stream by their sequence, so halving the time finds one among
// any number. A replay stands elsewhere, and is not looked for.
static bool
search_key(struct one *o, int k, int64_t end_ms)
{
    const char *key = o->inspect->keys[k].key;
    struct redis *r = tags_redis(&o->tags, o->inspect->keys[k].tag, &o->err);
    int64_t low, high, middle;
    char from[24];

    if (!r ||
        !read_id_ms(cli_ask(r, &o->err, "XRANGE", key, "-", "+", "COUNT", "1"), &low) ||
        !read_id_ms(cli_ask(r, &o->err, "XREVRANGE", key, "+", "-", "COUNT", "1"), &high))
        return false;
    while (low < high && clock_mono_ms() < end_ms) {
        middle = low + (high - low) / 2;
        snprintf(from, sizeof from, "%lld", (long long)middle);
        const struct redis_reply *reply =
            cli_ask(r, &o->err, "XRANGE", key, from, "+", "COUNT", "1");
        if (!reply)
            return false;
        if (compare(o, redis_reply_at(redis_reply_at(reply, 0), 1)) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    // It may be in the millisecond before, after a lower one: a batch has at most 256.
    snprintf(from, sizeof from, "%lld", (long long)(low > 0 ? low - 1 : 0));
    return take_among(o, k,
                      cli_ask(r, &o->err, "XRANGE", key, from, "+", "COUNT", "300"));
}

static void
find_entry(struct one *o)
{
    int64_t end_ms = clock_mono_ms() + FIND_MS;

    o->tags = o->inspect->tags;
    if (read_entry(o))
        return;
    o->key = window_find(o->inspect->window, span_of(o->ce_id), o->entry);
    bool found = read_entry(o);
    for (size_t k = 0; k < o->inspect->keys_len && !found && clock_mono_ms() < end_ms;
         k++)
        found = search_key(o, (int)k, end_ms) && read_entry(o);
    if (!found && !o->err.text[0])
        err_set(&o->err, ERR_INPUT,
                clock_mono_ms() < end_ms
                    ? "it is in no stream: dropped as a duplicate, trimmed, or not "
                      "published yet"
                    : "it was not found in time");
    o->key = found ? o->key : -1;
}

// --- what is shown ----------------------------------------------------------------------------

static bool
is_dead(const struct one *o)
{
    return o->key >= 0 && o->inspect->keys[o->key].is_dead;
}

// Without a journal here, the entry's own.
static void
use_entry_bytes(struct one *o)
{
    if (o->from || !o->fields)
        return;
    o->delivery.hook = is_dead(o)
                           ? cli_field(o->fields, "hook")
                           : span_after_last(cli_field(o->fields, "ce_source"), '/');
    o->delivery.query = cli_field(o->fields, "query");
    o->delivery.body = cli_field(o->fields, "raw");
    o->delivery.type = is_dead(o) ? cli_field(o->fields, "content-type") : SPAN("");
    if (o->delivery.body.len > 0)
        o->from = is_dead(o) ? "dead letter" : "stream";
}

// The pairs of a form, which stays one when it is masked.
static size_t
add_pairs(struct buf *pairs, struct span form)
{
    char *memory = memory_get(form.len + 1);
    size_t n = 0;

    while (form.len > 0) {
        struct span value = span_cut(&form, '&'), name = span_cut(&value, '=');
        if (name.len + value.len == 0 || n++ >= PAIRS_MAX)
            continue;
        document_open(pairs, NULL, '[');
        document_shown(pairs, NULL, form_decode(memory, name));
        document_shown(pairs, NULL, form_decode(memory, value));
        document_close(pairs, '[');
    }
    free(memory);
    return n;
}

static bool
is_form(const struct delivery *d)
{
    enum event_body as = event_body_of(d);

    return as == EVENT_BODY_FORM || (as == EVENT_BODY_EITHER && !json_is_object(d->body));
}

static void
add_raw(const struct one *o, struct buf *to)
{
    const struct delivery *d = &o->delivery;
    struct buf body, pairs, query;
    size_t len = 0;
    bool shown = o->from && d->body.len <= SHOWN_MAX;

    buf_init(&body, INSPECT_BYTES);
    buf_init(&pairs, INSPECT_BYTES);
    buf_init(&query, INSPECT_BYTES);
    document_open(&pairs, NULL, '[');
    if (shown)
        mask_body(&body, d, o->reveals);
    if (shown && is_form(d))
        len = add_pairs(&pairs, buf_span(&body));
    mask_form(&query, d->query, o->reveals);
    document_open(to, "raw", '{');
    document_word(to, "from", o->from);
    document_shown(
        to, "why",
        span_of(shown     ? ""
                : o->from ? "larger than 256 KiB: acrelay journal dump --raw shows it"
                          : o->journal_err.text));
    document_json(to, "bytes", o->from ? "%zu" : "null", d->body.len);
    cli_add_masked(to, "content_type", d->type, o->reveals);
    cli_add_masked(to, "encoding", d->encoding, o->reveals);
    document_shown(to, "query", buf_span(&query));
    if (shown)
        document_shown(to, "body", buf_span(&body));
    else
        document_word(to, "body", NULL);
    document_json(to, "exact",
                  shown && span_equal(buf_span(&body), d->body) &&
                          inspect_is_plain(d->body)
                      ? "true"
                      : "false");
    document_close(to, '{');
    document_json(to, "form_pairs", "%zu", len);
    if (shown && is_form(d)) {
        document_close(&pairs, '[');
        document_value(to, "form", buf_span(&pairs));
    } else {
        document_word(to, "form", NULL);
    }
    buf_release(&body);
    buf_release(&pairs);
    buf_release(&query);
}

static void
add_event(const struct one *o, struct buf *to)
{
    struct span data = cli_field(o->fields, "data");
    struct buf event;
    const char *why =
        data.len > SHOWN_MAX ? "larger than 256 KiB: acrelay tail shows it" : "";

    buf_init(&event, INSPECT_BYTES);
    bool shown = data.len > 0 && !why[0] && mask_object(&event, data, o->reveals);
    document_value(to, "event", shown ? buf_span(&event) : SPAN("null"));
    document_shown(to, "event_why",
                   span_of(shown || why[0] ? why
                           : is_dead(o)    ? "it could not become an event"
                           : o->fields     ? "its data is not a JSON object"
                                           : o->err.text));
    buf_release(&event);
}

// Ids are ours, and look like a phone number to whoever looks for one.
static bool
is_id(struct span name)
{
    return span_is(name, "ce_id") || span_is(name, "ce_sequence") ||
           span_is(name, "ce_fingerprint") || span_is(name, "ce_time") ||
           span_is(name, "ce_recordedtime") || span_is(name, "ce_replay");
}

static void
add_entry(const struct one *o, struct buf *to)
{
    if (o->fields) {
        document_open(to, "entry", '{');
        document_shown(to, "key", span_of(o->inspect->keys[o->key].key));
        document_shown(to, "id", span_of(o->entry));
        document_open(to, "fields", '{');
        for (size_t i = 0; i + 1 < redis_value(o->fields).len; i += 2) {
            struct span name = redis_value(redis_reply_at(o->fields, i)).text;
            struct span value = redis_value(redis_reply_at(o->fields, i + 1)).text;
            char text[64];
            text_quote(text, sizeof text, name);
            if (is_id(name))
                document_shown(to, text, span_to(value, 128));
            else if (!span_is(name, "data") && !span_is(name, "raw") &&
                     !span_is(name, "query"))
                cli_add_masked(to, text, value, o->reveals);
        }
        document_close(to, '{');
        document_close(to, '{');
    } else {
        document_word(to, "entry", NULL);
    }
    document_shown(to, "entry_why", span_of(o->fields ? "" : o->err.text));
}

// --- its journey ------------------------------------------------------------------------------

// What a group has read and not acknowledged. null where that may not be asked.
static void
add_pending(struct buf *to, const struct redis_reply *pending)
{
    const struct redis_reply *row = redis_reply_at(pending, 0);

    if (!pending)
        document_word(to, NULL, NULL);
    if (!pending)
        return;
    document_open(to, NULL, '{');
    if (row) {
        document_shown(to, "consumer", redis_value(redis_reply_at(row, 1)).text);
        document_json(to, "idle_ms", "%lld",
                      (long long)redis_value(redis_reply_at(row, 2)).number);
        document_json(to, "deliveries", "%lld",
                      (long long)redis_value(redis_reply_at(row, 3)).number);
    }
    document_close(to, '{');
}

// All are asked at once, since the next reply takes the place of the one with their names.
static void
add_groups(struct one *o, struct buf *to)
{
    const struct inspect_key *key = &o->inspect->keys[o->key < 0 ? 0 : o->key];
    struct redis *r = o->fields ? tags_redis(&o->tags, key->tag, &o->err) : NULL;
    const struct redis_reply *all =
        r ? cli_ask(r, &o->err, "XINFO", "GROUPS", key->key) : NULL;
    struct span entry = span_of(o->entry);
    size_t len = redis_value(all).len;

    document_open(to, "groups", '[');
    for (size_t i = 0; i < len; i++) {
        const struct redis_reply *group = redis_reply_at(all, i);
        struct span name = cli_field(group, "name");
        document_open(to, NULL, '{');
        document_shown(to, "name", name);
        document_shown(to, "last", cli_field(group, "last-delivered-id"));
        document_close(to, '{');
        struct span args[] = {SPAN("XPENDING"), span_of(key->key), name, entry, entry,
                              SPAN("1")};
        (void)redis_send(r, args, 6, NULL, &o->err); // a failure is the reply's too
    }
    document_close(to, '[');
    document_open(to, "pending", '[');
    for (size_t i = 0; i < len; i++)
        add_pending(to, r->dead ? NULL : cli_reply(redis_receive(r, &o->err), &o->err));
    document_close(to, '[');
}

static void
add_journey(struct one *o, struct buf *to)
{
    bool in_journal = o->from && strcmp(o->from, "journal") == 0;
    int64_t recorded_us;
    bool recorded = clock_parse(&recorded_us, cli_field(o->fields, "ce_recordedtime"));

    document_open(to, "journey", '{');
    document_time(to, "received",
                  in_journal ? o->record.received_us
                  : recorded ? recorded_us
                             : 0);
    document_word(to, "received_from",
                  in_journal ? "journal"
                  : recorded ? "entry"
                             : NULL);
    document_json(to, "durable", in_journal || o->fields ? "true" : "null");
    document_time(to, "stream", o->fields ? strtoll(o->entry, NULL, 10) * 1000 : 0);
    if (is_dead(o))
        document_shown(to, "reason", cli_field(o->fields, "reason"));
    else
        document_word(to, "reason", NULL);
    add_groups(o, to);
    document_close(to, '{');
}

static int
write_one(struct one *o, struct buf *to, struct err *err)
{
    if (!o->from && !o->fields) {
        err_set(err, ERR_INPUT, "%s; and %s", o->err.text, o->journal_err.text);
        return 404;
    }
    use_entry_bytes(o);
    document_open(to, NULL, '{');
    document_shown(to, "ce_id", span_of(o->ce_id));
    document_json(to, "sequence", "%llu", (unsigned long long)o->sequence);
    document_flag(to, "masked", !o->reveals);
    cli_add_masked(to, "hook", o->delivery.hook, o->reveals);
    cli_add_masked(to, "type", span_after_last(cli_field(o->fields, "ce_type"), '.'),
                   o->reveals);
    add_raw(o, to);
    add_event(o, to);
    add_entry(o, to);
    add_journey(o, to);
    document_end(to);
    return 200;
}

static bool
read_request(struct one *o, const struct http_request *r)
{
    char ce_id[EVENT_ID_TEXT + 1], key[SCRIPT_KEY];
    const char *id = inspect_parameter(r, "ce_id", ce_id, sizeof ce_id);
    const size_t dash = JOURNAL_ID_TEXT - 1;

    if (!id || strspn(id, "0123456789abcdef") != dash || id[dash] != '-' ||
        !entry_sequence(&o->sequence, span_of(id + dash + 1)) || o->sequence == 0)
        return false;
    memcpy(o->ce_id, id, sizeof o->ce_id);
    o->key = inspect_find_key(o->inspect, inspect_parameter(r, "key", key, sizeof key));
    const char *entry = inspect_parameter(r, "entry", o->entry, sizeof o->entry);
    if (!entry || !inspect_is_entry(span_of(entry)))
        o->key = -1;
    return true;
}

int
one_page(struct inspect *i, const struct http_request *r, struct buf *to, struct err *err,
         bool reveals)
{
    struct one *o = memory_get(sizeof *o);
    int code = 400;

    *o = (struct one){.inspect = i, .reveals = reveals};
    if (read_request(o, r)) {
        read_journal(o);
        find_entry(o);
        code = write_one(o, to, err);
    } else {
        err_set(err, ERR_INPUT, "ce_id must be 32 hex digits, a dash, and 20 digits");
    }
    cursor_close(o->cursor);
    tags_close(&o->tags);
    free(o);
    return code;
}
