// The receivers of a namespace, from what each wrote down under each tag (relay/receivers.c). What
// somebody else put there is passed over.
#include "base/text.h"
#include "cli/cli.h"

#include <stdio.h>

enum { SILENT_S = 60 };

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

static void
read_tag(struct receivers *all, struct tags *t, size_t i)
{
    struct err err;
    struct redis *redis = tags_redis(t, i, &err);
    int64_t now_s = redis ? cli_redis_us(redis) / 1000000 : 0;
    char key[SCRIPT_KEY];

    script_key(key, t->at[i], SPAN("receivers"));
    const struct redis_reply *reply = now_s ? cli_ask(redis, &err, "HGETALL", key) : NULL;
    for (size_t k = 0; k + 1 < redis_value(reply).len; k += 2) {
        struct span owner = redis_value(redis_reply_at(reply, k)).text;
        struct receiver r = {0};
        snprintf(r.owner, sizeof r.owner, "%.*s", (int)owner.len, owner.at);
        if (!admin_json_receiver(&r, redis_value(redis_reply_at(reply, k + 1)).text,
                                 now_s))
            continue;
        r.is_silent = r.heard_s > SILENT_S && r.waiting > 0;
        add(all, &r);
    }
}

void
receivers_read(struct receivers *all, struct tags *t)
{
    for (size_t i = 0; i < t->len; i++)
        read_tag(all, t, i);
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
    receivers_read(&all, &tags);
    tags_close(&tags);
    for (size_t i = 0; all.len > 1 && i < all.len; i++)
        if (all.at[i].is_silent)
            report_error(r, EXIT_CODE_UNAVAILABLE, "receivers",
                         "start it again, or see \"A new machine\" in OPERATING.md: what "
                         "waits is only in its journal",
                         "%s: %s", all.at[i].name, receiver_text(&all.at[i], line));
        else
            report_ok(r, "receivers", "%s: %s", all.at[i].name,
                      receiver_text(&all.at[i], line));
}
