// Entries outlive the file's word about them: a stream whose hook was renamed or removed is
// trimmed on, and its figures go on, until it is empty. The set is Redis's, so that it is lost
// with the streams and kept with them; what it names is checked like any bytes from outside.
#include "relay/inside.h"

#include <stdio.h>

static bool
is_name(struct span name)
{
    bool good = name.len > 0 && name.len < RELAY_NAME && name.at[0] != '.';

    for (size_t i = 0; good && i < name.len; i++)
        good = (name.at[i] >= 'a' && name.at[i] <= 'z') ||
               (name.at[i] >= '0' && name.at[i] <= '9') ||
               (name.at[i] && strchr("_.-", name.at[i]));
    return good;
}

static bool
is_in(char names[][RELAY_NAME], size_t len, struct span name)
{
    size_t i = 0;

    while (i < len && !span_is(name, names[i]))
        i++;
    return i < len;
}

// add takes a stream that no hook names, while there is room; true when it is new.
static bool
add(struct relay *r, struct span name)
{
    if (!is_name(name) || is_in(r->streams, r->streams_len, name) ||
        is_in(r->left, r->left_len, name) ||
        r->streams_len + r->left_len >= RELAY_STREAMS_MAX - 1)
        return false;
    memcpy(r->left[r->left_len], name.at, name.len);
    r->left[r->left_len++][name.len] = '\0';
    return true;
}

void
relay_replace_streams(struct relay *r, char streams[][RELAY_NAME], size_t len)
{
    char before[RELAY_STREAMS_MAX][RELAY_NAME], name[RELAY_NAME];
    size_t before_len = r->streams_len, left_len = r->left_len;

    memcpy(before, r->streams, sizeof before);
    memcpy(r->streams, streams, len * RELAY_NAME);
    r->streams_len = len;
    r->left_len = 0;
    for (size_t i = 0; i < left_len; i++) {
        memcpy(name, r->left[i], sizeof name);
        add(r, span_of(name));
    }
    for (size_t i = 0; i < before_len; i++)
        add(r, span_of(before[i]));
}

void
relay_remember_streams(struct relay *r)
{
    size_t prefix = strlen(r->namespace) + 3; // "{namespace}:"

    for (size_t i = SCRIPT_KEYS_FIXED; i < r->script.keys_len; i++)
        if (add(r, span_of(r->script.keys[i] + prefix)))
            r->exact_ms = 0;
}

void
relay_sync_streams(struct relay *r)
{
    char set[SCRIPT_KEY], key[SCRIPT_KEY];
    struct err err;

    // version 0.1.0 kept fingerprints there
    script_key(set, r->namespace, SPAN("seen:a"));
    script_key(key, r->namespace, SPAN("seen:b"));
    redis_ask(r->redis, &err, "UNLINK", set, key, NULL);
    script_key(set, r->namespace, SPAN("streams"));
    const struct redis_reply *known = redis_ask(r->redis, &err, "SMEMBERS", set, NULL);
    for (size_t i = 0; i < redis_reply_len(known); i++)
        add(r, redis_reply_text(redis_reply_at(known, i)));
    for (size_t i = 1; i < r->streams_len; i++)
        redis_ask(r->redis, &err, "SADD", set, r->streams[i], NULL);
    for (size_t i = 0; i < r->left_len; i++) {
        script_key(key, r->namespace, span_of(r->left[i]));
        const struct redis_reply *length = redis_ask(r->redis, &err, "XLEN", key, NULL);
        if (redis_reply_kind(length) == REDIS_NUMBER)
            redis_ask(r->redis, &err, redis_reply_number(length) ? "SADD" : "SREM", set,
                      r->left[i], NULL);
    }
}

static bool
is_hook(struct relay *r, struct span name)
{
    struct span names = buf_span(&r->hooks);

    while (names.len)
        if (span_equal(span_cut(&names, '\0'), name))
            return true;
    return false;
}

void
relay_forget_hooks(struct relay *r)
{
    char key[SCRIPT_KEY], names[16][DELIVERY_NAME_MAX + 1];
    size_t len = 0;
    struct err err;

    if (r->hooks.len == 0)
        return;
    script_key(key, r->namespace, SPAN("last"));
    const struct redis_reply *found = redis_ask(r->redis, &err, "HKEYS", key, NULL);
    // The names live as long as the reply; a few each time are enough.
    for (size_t i = 0; i < redis_reply_len(found) && len < 16; i++) {
        struct span name = redis_reply_text(redis_reply_at(found, i));
        if (name.len <= DELIVERY_NAME_MAX && !is_hook(r, name))
            snprintf(names[len++], sizeof *names, "%.*s", (int)name.len, name.at);
    }
    for (size_t i = 0; i < len; i++)
        redis_ask(r->redis, &err, "HDEL", key, names[i], NULL);
}
