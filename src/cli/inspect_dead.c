// Dead letters: the newest of them, and one replayed or dropped.
#include "cli/inspect.h"

#include "base/clock.h"
#include "cli/setup.h"

#include <stdio.h>
#include <stdlib.h>

enum { LETTERS = 50 };

static void
add_letter(struct buf *to, const char *key, const struct redis_reply *entry)
{
    static const char *const names[] = {"hook", "reason", "detail", "content-type"};
    const struct redis_reply *fields = redis_reply_at(entry, 1);
    struct span id = redis_value(redis_reply_at(entry, 0)).text;

    document_open(to, NULL, '{');
    document_shown(to, "key", span_of(key));
    document_shown(to, "id", id);
    document_time(to, "time", strtoll(id.at, NULL, 10) * 1000);
    document_shown(to, "received", span_to(cli_field(fields, "ce_recordedtime"), 40));
    document_shown(to, "ce_id", span_to(cli_field(fields, "ce_id"), 128));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        cli_add_masked(to, names[i], cli_field(fields, names[i]), false);
    document_json(to, "bytes", "%zu", cli_field(fields, "raw").len);
    document_close(to, '{');
}

// Those of each stream one after the other, each from its newest.
static int
add_letters(const struct inspect *i, struct tags *tags, struct buf *to, struct err *err)
{
    char count[24];
    size_t len = 0;

    for (size_t k = 0; k < i->keys_len && len < LETTERS; k++) {
        const struct inspect_key *key = &i->keys[k];
        if (!key->is_dead)
            continue;
        struct redis *r = tags_redis(tags, key->tag, err);
        snprintf(count, sizeof count, "%zu", LETTERS - len);
        const struct redis_reply *reply =
            r ? cli_ask(r, err, "XREVRANGE", key->key, "+", "-", "COUNT", count) : NULL;
        if (!reply)
            return -1;
        for (size_t n = 0; n < redis_value(reply).len; n++)
            add_letter(to, key->key, redis_reply_at(reply, n));
        len += redis_value(reply).len;
    }
    return 0;
}

int
dead_page(struct inspect *i, struct buf *to, struct err *err)
{
    struct tags tags = i->tags;

    document_open(to, NULL, '{');
    document_open(to, "letters", '[');
    int result = add_letters(i, &tags, to, err);
    document_close(to, '[');
    document_end(to);
    tags_close(&tags);
    return result < 0 ? 503 : 200;
}

// As the command line does it, in a process of its own.
static int
run_dead(const struct inspect *i, const struct inspect_key *key, const char *id,
         const char *verb, struct err *err)
{
    char name[CONFIG_TAG + COMMANDS_ENTRY];
    struct buf said;

    snprintf(name, sizeof name, "%s", id);
    if (i->tags.len > 1)
        snprintf(name, sizeof name, "%s/%s", i->tags.at[key->tag], id);
    const char *words[] = {
        "/proc/self/exe", "--config", i->cli->file, "dead", verb, name, NULL};
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

    if (k < 0 || !i->keys[k].is_dead || !id || !cli_is_entry(span_of(id)))
        return err_set(err, ERR_INPUT, "key and id must be those of a dead letter"), 400;
    if (run_dead(i, &i->keys[k], id, verb, err) != 0)
        return 400;
    buf_add_text(to, "{\"done\":true}");
    return 200;
}
