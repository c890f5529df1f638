// One loop over the tags does for one partition and for many: each with a connection of its own, so
// that it does not matter whether they lie on one node, and so that one that is away stops no other.
#include "cli/cli.h"

struct redis *
tags_redis(struct tags *t, size_t i, struct err *err)
{
    if (t->redis[i] && t->redis[i]->dead) {
        redis_close(t->redis[i]);
        t->redis[i] = NULL;
    }
    if (!t->redis[i])
        t->redis[i] = cli_redis(t->cli, t->at[i], err);
    return t->redis[i];
}

// Whether a tag was ever used: its relay wrote down whose it is. What may not be asked was not.
static bool
is_used(struct tags *t, struct redis *r, size_t i)
{
    char key[SCRIPT_KEY];
    struct err err;

    script_key(key, t->at[i], SPAN("account"));
    const struct redis_reply *reply = redis_ask(r, &err, "GET", key, NULL);
    if (span_starts(redis_value(reply).text, SPAN("MOVED"))) // it lies on another node
        reply = tags_redis(t, i, &err) ? redis_ask(t->redis[i], &err, "GET", key, NULL)
                                       : NULL;
    return redis_value(reply).kind == REDIS_TEXT;
}

// An earlier number of partitions used the first ones, without a gap.
static void
find_earlier(struct tags *t, struct redis *r)
{
    const char *namespace = t->cli->config->redis_namespace;

    if (t->len > 1)
        snprintf(t->at[t->len++], CONFIG_TAG, "%s", namespace);
    for (size_t n = t->len > 1 ? t->len - 1 : 0; t->len < TAGS_MAX; n++, t->len++) {
        snprintf(t->at[t->len], CONFIG_TAG, "%s.%zu", namespace, n);
        if (!is_used(t, r, t->len))
            return;
    }
}

int
tags_open(struct tags *t, const struct cli *c, struct err *err)
{
    *t = (struct tags){.cli = c, .configured = (size_t)config_partitions(c->config)};
    for (; t->len < t->configured; t->len++)
        config_tag(c->config, (int)t->len, t->at[t->len]);
    output_wait("asking Redis (%s)", c->config->redis_url.text);
    struct redis *r = NULL;
    for (size_t i = 0; i < t->configured && !r; i++)
        r = tags_redis(t, i, err);
    if (r)
        find_earlier(t, r);
    output_wait_end();
    if (!r)
        cli_advise(err);
    return r ? 0 : -1;
}

void
tags_of_namespace(struct tags *t, const struct cli *c)
{
    *t = (struct tags){.cli = c, .len = 1, .configured = 1};
    snprintf(t->at[0], CONFIG_TAG, "%s", c->config->redis_namespace);
}

bool
tags_place(const struct tags *t, size_t n, struct tags_place *p)
{
    const struct config_list *streams = &t->cli->config->streams;
    size_t each = streams->len + 2, i = n % each;

    *p = (struct tags_place){
        .tag = n / each, .is_test = i == streams->len, .is_dead = i == streams->len + 1};
    if (p->tag < t->len)
        script_key(p->key, t->at[p->tag],
                   p->is_dead   ? SPAN("dead")
                   : p->is_test ? SPAN(CONFIG_TEST_HOOK)
                                : span_of(streams->at[i]));
    return p->tag < t->len;
}

void
tags_close(struct tags *t)
{
    for (size_t i = 0; i < TAGS_MAX; i++)
        redis_close(t->redis[i]);
    *t = (struct tags){0};
}
