#include "cli/letters.h"

#include "relay/relay.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAGE = 10, STORED_MAX = 64 << 20 };

int
letters_open(struct letters *l, struct cli *c, struct err *err)
{
    *l = (struct letters){.cli = c, .max = UINT64_MAX};
    l->commands = options_has(c->options, "commands");
    buf_init(&l->body, STORED_MAX);
    if (!l->commands)
        return tags_open(&l->tags, c, err);
    tags_of_namespace(&l->tags, c);
    return 0;
}

static int
enter(struct letters *l, size_t tag, struct err *err)
{
    l->tag = l->tags.at[tag];
    script_key(l->key, l->tag, l->commands ? SPAN("commands.dead") : SPAN("dead"));
    output_wait("asking Redis (%s)", l->cli->config->redis_url.text);
    l->redis = tags_redis(&l->tags, tag, err);
    output_wait_end();
    return l->redis ? 0 : -1;
}

int
letters_close(struct letters *l, int result)
{
    tags_close(&l->tags);
    buf_release(&l->body);
    return result < 0 ? -1 : l->code;
}

struct span
letters_field(const struct letters *l, const char *name)
{
    return cli_field(l->fields, name);
}

static void
take(struct letters *l, const struct redis_reply *entry)
{
    struct span id = redis_value(redis_reply_at(entry, 0)).text;

    l->fields = redis_reply_at(entry, 1);
    snprintf(l->id, sizeof l->id, "%.*s", (int)id.len, id.at);
    snprintf(l->ce_id, sizeof l->ce_id, "%.*s", (int)letters_field(l, "ce_id").len,
             letters_field(l, "ce_id").at);
    bool many = l->tags.len > 1;
    snprintf(l->name, sizeof l->name, "%s%s%s", many ? l->tag : "", many ? "/" : "",
             l->id);
}

static int
walk_partition(struct letters *l, size_t page, letters_fn *each, struct err *err)
{
    char from[LETTERS_ID + 1] = "-", count[LETTERS_ID];
    size_t n = page;

    snprintf(count, sizeof count, "%zu", page);
    while (n == page && l->found < l->max) {
        const struct redis_reply *reply =
            cli_ask(l->redis, err, "XRANGE", l->key, from, "+", "COUNT", count);
        if (!reply)
            return -1;
        n = redis_value(reply).len;
        for (size_t i = 0; i < n && l->found < l->max; i++) {
            take(l, redis_reply_at(reply, i));
            snprintf(from, sizeof from, "(%s", l->id);
            if (l->reason && !span_is(letters_field(l, "reason"), l->reason))
                continue;
            l->found++;
            if (each(l, err) < 0)
                return -1;
        }
    }
    return 0;
}

void
letters_walk(struct letters *l, bool one_by_one, letters_fn *each)
{
    size_t page = one_by_one ? 1 : PAGE;

    for (size_t i = 0; i < l->tags.len && l->found < l->max; i++) {
        struct err err = {0};
        if (enter(l, i, &err) == 0 && walk_partition(l, page, each, &err) == 0)
            continue;
        int code = output_fail(&err);
        l->code = l->code ? l->code : code;
    }
}

// find_in looks in one partition: 1, 0 when it is not there, -1.
static int
find_in(struct letters *l, size_t tag, struct span id, struct err *err)
{
    char text[LETTERS_ID];

    if (enter(l, tag, err) < 0)
        return -1;
    snprintf(text, sizeof text, "%.*s", (int)id.len, id.at);
    const struct redis_reply *reply =
        cli_ask(l->redis, err, "XRANGE", l->key, text, text);
    if (!reply)
        return -1;
    if (redis_value(reply).len != 1)
        return 0;
    take(l, redis_reply_at(reply, 0));
    return 1;
}

// Without a partition in the name, only one may have it.
static int
find_anywhere(struct letters *l, struct span id, struct err *err)
{
    size_t found = 0, where = 0;

    for (size_t i = 0; i < l->tags.len; i++) {
        int result = find_in(l, i, id, err);
        if (result < 0)
            return -1;
        found += (size_t)result;
        where = result ? i : where;
    }
    if (found > 1)
        return err_set(err, ERR_INPUT,
                       "%.*s is in several partitions: give its name as acrelay dead "
                       "list shows it, such as %s",
                       (int)id.len, id.at, l->name);
    return found ? find_in(l, where, id, err) : 0;
}

int
letters_find(struct letters *l, const char *name, struct err *err)
{
    const char *slash = strchr(name, '/'), *text = slash ? slash + 1 : name;
    struct span id = span_of(text);
    int tag = slash ? tags_find(&l->tags, span_make(name, (size_t)(slash - name))) : 0;

    if (*text < '0' || *text > '9' || text[strspn(text, "0123456789-")])
        return err_set(err, ERR_INPUT,
                       "%s is not an entry id, such as 1795865066164-0; acrelay dead "
                       "list shows them",
                       name);
    int found = tag < 0                     ? 0
                : slash || l->tags.len == 1 ? find_in(l, (size_t)tag, id, err)
                                            : find_anywhere(l, id, err);
    if (found == 0)
        return err_set(err, ERR_INPUT,
                       "there is no dead letter %s; acrelay dead list shows them", name);
    return found < 0 ? -1 : 0;
}

void
letters_walk_named(struct letters *l, letters_fn *each)
{
    const struct options *o = l->cli->options;

    for (int i = 0; i < o->arguments_len; i++) {
        struct err err = {0};
        if (letters_find(l, o->arguments[i], &err) == 0 && each(l, &err) == 0)
            continue;
        int code = output_fail(&err);
        l->code = l->code ? l->code : code;
        if (output.json) {
            output_text("failed", span_of(o->arguments[i]));
            output_text("error", span_of(err.text));
            output_line(stdout);
        }
        if (l->tags.len == 1 && (!l->redis || l->redis->dead))
            return;
    }
}

int
letters_read_raw(struct letters *l, struct span *raw, struct err *err)
{
    *raw = letters_field(l, "raw");
    if (raw->len > 0 || !span_is(letters_field(l, "reason"), "redis"))
        return 0;
    buf_clear(&l->body);
    int found = aside_read(l->cli->config->state_dir, span_of(l->ce_id), &l->body, err);
    *raw = buf_span(&l->body);
    return found < 0 ? -1 : 0;
}

int
letters_drop(struct letters *l, struct err *err)
{
    const struct redis_reply *reply = cli_ask(l->redis, err, "XDEL", l->key, l->id);

    if (!reply)
        return -1;
    l->dropped += (uint64_t)redis_value(reply).number;
    if (!l->commands)
        aside_remove(l->cli->config->state_dir, span_of(l->ce_id));
    return 0;
}
