// The receivers of a namespace, from what each wrote down under each tag (relay/receivers.c). What
// somebody else put there is passed over.
#include "base/text.h"
#include "cli/cli.h"
#include "event/json.h"

#include <stdio.h>

enum { SILENT_S = 60, WORDS_MAX = 4096 };

static uint64_t
number(struct span value)
{
    uint64_t n = 0;

    return text_number(&n, value, INT64_MAX) ? n : 0;
}

// Without control bytes and quotes: it is shown as it is.
static void
copy_word(char to[RECEIVER_TEXT], struct span value)
{
    struct span text = {"", 0};

    (void)json_text(value, to, RECEIVER_TEXT, &text);
    size_t len = text.len < RECEIVER_TEXT ? text.len : RECEIVER_TEXT - 1;
    memmove(to, text.at, len);
    to[len] = '\0';
    for (size_t i = 0; i < len; i++)
        if (to[i] < 0x21 || to[i] > 0x7e || to[i] == '"' || to[i] == '\\')
            to[i] = '?';
}

// `json` is compact.
static void
parse(struct receiver *r, struct span json, uint64_t now_s)
{
    struct span name, value;

    while (json_next(&json, &name, &value)) {
        if (span_is(name, "\"heard\""))
            r->heard_s = (int64_t)now_s - (int64_t)number(value);
        else if (span_is(name, "\"waiting\""))
            r->waiting = number(value);
        else if (span_is(name, "\"oldest_seconds\""))
            r->oldest_s = number(value);
        else if (span_is(name, "\"instance\""))
            copy_word(r->name, value);
        else if (span_is(name, "\"journal\""))
            copy_word(r->journal, value);
    }
    r->heard_s = r->heard_s > 0 ? r->heard_s : 0;
    if (!r->name[0])
        snprintf(r->name, sizeof r->name, "%.8s", r->owner);
}

// One that is known from another partition: the newest counts.
static void
add(struct receivers *all, const struct receiver *r)
{
    size_t i = 0;

    while (i < all->len && strcmp(all->at[i].owner, r->owner) != 0)
        i++;
    if (i == all->len && all->len < RECEIVERS_MAX)
        all->at[all->len++] = *r;
    else if (i < all->len && r->heard_s <= all->at[i].heard_s)
        all->at[i] = *r;
}

int
receivers_read(struct receivers *all, struct tags *t, size_t i, struct err *err)
{
    struct redis *redis = tags_redis(t, i, err);
    const struct redis_reply *reply = redis ? cli_ask(redis, err, "TIME") : NULL;
    uint64_t now_s = number(redis_value(redis_reply_at(reply, 0)).text);
    char key[SCRIPT_KEY];
    struct buf compact;

    script_key(key, t->at[i], SPAN("receivers"));
    reply = reply ? cli_ask(redis, err, "HGETALL", key) : NULL;
    buf_init(&compact, WORDS_MAX);
    for (size_t k = 0; k + 1 < redis_value(reply).len; k += 2) {
        struct span owner = redis_value(redis_reply_at(reply, k)).text;
        struct receiver r = {0};
        buf_clear(&compact);
        snprintf(r.owner, sizeof r.owner, "%.*s", (int)owner.len, owner.at);
        if (json_compact(&compact, redis_value(redis_reply_at(reply, k + 1)).text))
            continue;
        parse(&r, buf_span(&compact), now_s);
        add(all, &r);
    }
    buf_release(&compact);
    return reply ? 0 : -1;
}

bool
receiver_is_silent(const struct receiver *r)
{
    return r->heard_s > SILENT_S && r->waiting > 0;
}

const char *
receiver_text(const struct receiver *r, char to[RECEIVER_LINE])
{
    char heard[32], oldest[32];

    text_duration(heard, sizeof heard, r->heard_s * 1000);
    text_duration(oldest, sizeof oldest, (int64_t)r->oldest_s * 1000);
    snprintf(to, RECEIVER_LINE, "heard of %s ago, waiting: %llu%s%s", heard,
             (unsigned long long)r->waiting, r->waiting ? ", the oldest for " : "",
             r->waiting ? oldest : "");
    return to;
}

// One alone is examined by what it says itself.
void
receivers_report(struct report *r)
{
    static struct receivers all;
    char line[RECEIVER_LINE];
    struct tags tags;
    struct err err;

    if (tags_open(&tags, r->cli, &err) < 0)
        return;
    for (size_t i = 0; i < tags.len; i++)
        (void)receivers_read(&all, &tags, i, &err);
    tags_close(&tags);
    for (size_t i = 0; all.len > 1 && i < all.len; i++)
        if (receiver_is_silent(&all.at[i]))
            report_error(r, EXIT_CODE_UNAVAILABLE, "receivers",
                         "start it again, or see \"A new machine\" in OPERATING.md: what "
                         "waits is only in its journal",
                         "%s: %s", all.at[i].name, receiver_text(&all.at[i], line));
        else
            report_ok(r, "receivers", "%s: %s", all.at[i].name,
                      receiver_text(&all.at[i], line));
}
