// Dead letters: a page of them, and one replayed or dropped, over a connection for each request.
#include "cli/inspect.h"

#include "base/clock.h"
#include "base/text.h"
#include "cli/setup.h"

#include <stdio.h>
#include <stdlib.h>

enum { LETTERS = 50, PLACE = COMMANDS_ENTRY + 8 };

// What is shown of a letter, under these names.
struct column {
    const char *name, *field;
};

static const struct column of_deliveries[] = {
    {"hook", "hook"},
    {"reason", "reason"},
    {"detail", "detail"},
    {"content_type", "content-type"},
    {0},
};

static const struct column of_commands[] = {
    {"service", "service"},    {"outcome", "outcome"}, {"status", "status"},
    {"subject", "ce_subject"}, {"detail", "detail"},   {0},
};

// A page of letters: those of each stream one after the other, each from its newest.
struct letters {
    struct tags tags, of_namespace;
    const struct column *columns;
    struct buf *to;
    size_t len;
    char last[COMMANDS_ENTRY];
};

static void
add_letter(struct letters *l, const char *key, const struct redis_reply *entry)
{
    const struct redis_reply *fields = redis_reply_at(entry, 1);
    struct span id = redis_value(redis_reply_at(entry, 0)).text;
    int64_t received_us;
    bool has_received = clock_parse(&received_us, cli_field(fields, "ce_recordedtime"));

    snprintf(l->last, sizeof l->last, "%.*s", (int)id.len, id.at);
    answer_open(l->to, NULL, '{');
    answer_text(l->to, "key", span_of(key));
    answer_text(l->to, "id", id);
    answer_time(l->to, "time", strtoll(l->last, NULL, 10) * 1000);
    answer_text(l->to, "ce_id", span_to(cli_field(fields, "ce_id"), 128));
    answer_masked(l->to, "type", inspect_last_part(cli_field(fields, "ce_type"), '.'),
                  false);
    for (const struct column *c = l->columns; c->name; c++)
        answer_masked(l->to, c->name, cli_field(fields, c->field), false);
    answer_time(l->to, "received", has_received ? received_us : 0);
    answer_json(l->to, "bytes", "%zu", cli_field(fields, "raw").len);
    answer_close(l->to, '}');
}

static int
add_letters(struct letters *l, const struct inspect_key *key, const char *before,
            struct err *err)
{
    struct redis *r = key->kind == INSPECT_COMMANDS ? tags_redis(&l->of_namespace, 0, err)
                                                    : tags_redis(&l->tags, key->tag, err);
    char from[COMMANDS_ENTRY + 1] = "+", count[24];

    if (before[0])
        snprintf(from, sizeof from, "(%s", before);
    snprintf(count, sizeof count, "%zu", LETTERS - l->len);
    const struct redis_reply *reply =
        r ? cli_ask(r, err, "XREVRANGE", key->key, from, "-", "COUNT", count) : NULL;
    for (size_t n = 0; n < redis_value(reply).len; n++)
        add_letter(l, key->key, redis_reply_at(reply, n));
    l->len += redis_value(reply).len;
    return reply ? 0 : -1;
}

// The place to go on from is the key's index and an id: "3:1795865066164-0".
static int
read_letters(struct inspect *i, struct letters *l, size_t k, size_t end,
             const char *before, struct err *err)
{
    answer_open(l->to, "letters", '[');
    for (; k < end && l->len < LETTERS; k++, before = "") {
        if (i->keys[k].kind == INSPECT_EVENTS)
            continue;
        if (add_letters(l, &i->keys[k], before, err) < 0)
            return -1;
    }
    answer_close(l->to, ']');
    answer_json(l->to, "more", l->len == LETTERS ? "\"%zu:%s\"" : "null", k - 1, l->last);
    return 0;
}

int
dead_page(struct inspect *i, const struct http_request *r, struct buf *to,
          struct err *err)
{
    char commands[4], text[PLACE];
    const char *before = inspect_parameter(r, "before", text, sizeof text);
    bool of_command =
        span_is(span_of(inspect_parameter(r, "commands", commands, 4)), "1");
    struct span id = span_of(before), index = span_cut(&id, ':');
    uint64_t k = of_command ? i->keys_len : 0;
    struct letters l = {.to = to, .columns = of_command ? of_commands : of_deliveries};

    if (!before || (index.len > 0 &&
                    (!text_number(&k, index, i->keys_len) || !inspect_is_entry(id))))
        return err_set(err, ERR_INPUT, "before is not what `more` said"), 400;
    l.tags = i->tags;
    tags_of_namespace(&l.of_namespace, i->cli);
    answer_open(to, NULL, '{');
    int result = read_letters(i, &l, k, i->keys_len + of_command,
                              index.len ? before + index.len + 1 : "", err);
    answer_end(to);
    tags_close(&l.tags);
    tags_close(&l.of_namespace);
    return result < 0 ? 503 : 200;
}

// As the command line does it, in a process of its own.
static int
run_dead(const struct inspect *i, const struct inspect_key *key, const char *id,
         const char *verb, struct err *err)
{
    char name[CONFIG_TAG + COMMANDS_ENTRY];
    bool commands = key->kind == INSPECT_COMMANDS;
    struct buf said;

    snprintf(name, sizeof name, "%s", id);
    if (!commands && i->tags.len > 1)
        snprintf(name, sizeof name, "%s/%s", i->tags.at[key->tag], id);
    const char *words[] = {"/proc/self/exe",
                           "--config",
                           i->cli->file,
                           "dead",
                           verb,
                           name,
                           commands ? "--commands" : NULL,
                           NULL};
    buf_init(&said, 1 << 16);
    int code = setup_run(&said, err, words);
    if (code > 0)
        err_set(err, ERR_INPUT, "%s", buf_text(&said));
    buf_release(&said);
    return code;
}

int
dead_write(struct inspect *i, const struct http_request *r, struct buf *to,
           struct err *err, const char *verb)
{
    char key_text[SCRIPT_KEY], id_text[COMMANDS_ENTRY];
    const char *id = inspect_parameter(r, "id", id_text, sizeof id_text);
    int k = inspect_find_key(i, inspect_parameter(r, "key", key_text, sizeof key_text));

    if (k < 0 || i->keys[k].kind == INSPECT_EVENTS || !id ||
        !inspect_is_entry(span_of(id)))
        return err_set(err, ERR_INPUT, "key and id must be those of a dead letter"), 400;
    if (run_dead(i, &i->keys[k], id, verb, err) != 0)
        return 400;
    buf_add_text(to, "{\"done\":true}");
    return 200;
}
