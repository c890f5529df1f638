// A batch as arguments of the script; script_text.c holds the script and their order.
#include "relay/script.h"

#include "edge/digest.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

// Fingerprints expire a day after two windows: by then a Redis that was away has got what came
// meanwhile.
enum {
    KEYS_FIXED = 6,
    HEAD = 3 + KEYS_FIXED + SCRIPT_RECORDS_MAX + 9,
    DAY_MS = 86400000
};

struct script {
    char namespace[SCRIPT_NAMESPACE_MAX + 1];
    char sha[DIGEST_SHA1_TEXT];
    char owner[SCRIPT_OWNER];
    char id[JOURNAL_ID_TEXT + 1]; // with its dash
    char max[24], window[24], expiry[24];
    char keys[KEYS_FIXED + SCRIPT_RECORDS_MAX][SCRIPT_KEY];
    size_t keys_len;
    char hooks[SCRIPT_RECORDS_MAX][DELIVERY_NAME_MAX + 1]; // of the batch, each once
    size_t hooks_len;
    char prev[ENTRY_SEQUENCE];
    bool forgets;
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
            int64_t window_us, uint64_t repeats_max)
{
    struct script *s = memory_get(sizeof *s);

    memset(s, 0, sizeof *s);
    snprintf(s->namespace, sizeof s->namespace, "%s", namespace);
    snprintf(s->owner, sizeof s->owner, "%s", owner);
    snprintf(s->id, sizeof s->id, "%s-", journal_id);
    snprintf(s->window, sizeof s->window, "%lld", (long long)window_us);
    snprintf(s->expiry, sizeof s->expiry, "%lld", (long long)window_us / 500 + DAY_MS);
    script_set_repeats_max(s, repeats_max);
    digest_sha1_text(span_of(script_text), s->sha);
    script_cursor_key(s->keys[0], namespace, journal_id);
    script_key(s->keys[1], namespace, SPAN("dead"));
    script_key(s->keys[2], namespace, SPAN("seen:state"));
    script_key(s->keys[3], namespace, SPAN("seen:1"));
    script_key(s->keys[4], namespace, SPAN("seen:2"));
    script_key(s->keys[5], namespace, SPAN("last"));
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

void
script_begin(struct script *s, uint64_t prev, bool forgets)
{
    redis_args_clear(&s->records);
    s->keys_len = KEYS_FIXED;
    s->hooks_len = 0;
    s->records_len = 0;
    s->forgets = forgets;
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
note_hook(struct script *s, struct span hook)
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
add_all(struct redis_args *a, const struct span *spans, size_t n)
{
    for (size_t i = 0; i < n; i++)
        redis_args_add(a, spans[i]);
}

static void
add_head(struct script *s, const struct entry *e, size_t index, char mode)
{
    char number[24], received[24];
    struct span print = SPAN(""), receipt = SPAN("");
    int len = snprintf(number, sizeof number, "%zu", index);

    if (mode != 'k') {
        int digits =
            snprintf(received, sizeof received, "%lld", (long long)e->received_us);
        print = span_make(e->print, ENTRY_PRINT);
        receipt = span_make(received, (size_t)digits);
    }
    add_all(&s->records,
            (struct span[]){span_make(e->sequence_text, 20),
                            span_make(number, (size_t)len), span_make(&mode, 1), print,
                            receipt},
            5);
}

static void
add_event(struct script *s, const struct entry *e, bool in_doubt)
{
    static const char modes[] = {
        [DELIVERY_MARK] = 'm', [DELIVERY_DROP] = 'd', [DELIVERY_KEEP] = 'k'};
    const struct event *v = &e->event;

    add_head(s, e, stream_index(s, e->delivery.stream),
             in_doubt ? 'k' : modes[e->delivery.repeats]);
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
script_add(struct script *s, const struct entry *e, bool in_doubt)
{
    assert(s->records_len < SCRIPT_RECORDS_MAX);
    if (e->reason == EVENT_GOOD)
        add_event(s, e, in_doubt);
    else
        add_dead(s, e);
    note_hook(s, e->delivery.hook);
    s->records_len++;
}

const char *
script_stream(const struct script *s, size_t i)
{
    size_t at = KEYS_FIXED + i;

    // behind "{namespace}:"
    return at < s->keys_len ? s->keys[at] + strlen(s->namespace) + 3 : NULL;
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
    struct span head[HEAD + SCRIPT_RECORDS_MAX];
    char keys_len[24], hooks_len[24];
    size_t n = 0;

    snprintf(keys_len, sizeof keys_len, "%zu", s->keys_len);
    snprintf(hooks_len, sizeof hooks_len, "%zu", s->hooks_len);
    head[n++] = by_text ? SPAN("EVAL") : SPAN("EVALSHA");
    head[n++] = span_of(by_text ? script_text : s->sha);
    head[n++] = span_of(keys_len);
    for (size_t i = 0; i < s->keys_len; i++)
        head[n++] = span_of(s->keys[i]);
    head[n++] = span_of(s->owner);
    head[n++] = span_of(s->prev);
    head[n++] = span_of(check);
    head[n++] = s->forgets ? SPAN("1") : SPAN("0");
    head[n++] = span_of(s->window);
    head[n++] = span_of(s->max);
    head[n++] = span_of(s->expiry);
    head[n++] = span_of(s->id);
    head[n++] = span_of(hooks_len);
    for (size_t i = 0; i < s->hooks_len; i++)
        head[n++] = span_of(s->hooks[i]);
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
    static const char *const fixed[KEYS_FIXED] = {"hash", "stream", "hash",
                                                  "hash", "hash",   "hash"};
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
    // What failed before the first record is no fault of a record.
    if (a->reply == REPLY_REFUSED && redis_reply_len(reply) == 2)
        a->reply = REPLY_STOP;
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
