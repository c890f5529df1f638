#include "cli/letters.h"

#include "base/text.h"
#include "relay/relay.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAGE = 10, STORED_MAX = 64 << 20 };

int
letters_open(struct letters *l, struct cli *c, bool commands, struct err *err)
{
    *l = (struct letters){.cli = c, .commands = commands, .max = UINT64_MAX};
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
    return result < 0 ? -1 : (int)l->err.exit;
}

void
letters_expires(const struct letters *l, char to[CLOCK_TEXT])
{
    const struct config *c = l->cli->config;
    int64_t keep_us = l->commands ? c->commands_retain_dead_us : c->redis_retain_dead_us;
    long long ms = strtoll(l->id, NULL, 10); // Redis's time

    to[0] = '\0';
    if (keep_us > 0 && ms > 0 && ms < INT32_MAX * 1000LL)
        clock_format_seconds(to, ms * 1000 + keep_us);
}

void
letters_add(struct buf *to, const struct letters *l, struct span raw, bool shown)
{
    char expires[CLOCK_TEXT];
    const struct span *instead = raw.len > 0 ? &raw : NULL;

    cli_add_entry(to, span_of(l->name), l->fields, shown ? instead : &SPAN(""), l->masks);
    document_text(to, "key", span_of(l->key));
    if (!l->commands)
        document_number(to, "bytes", true, (int64_t)raw.len);
    letters_expires(l, expires);
    if (expires[0])
        document_text(to, "expires", span_of(expires));
}

static void
take(struct letters *l, const struct redis_reply *entries, size_t i)
{
    l->fields = cli_entry(entries, i, l->id);
    snprintf(l->ce_id, sizeof l->ce_id, "%.*s", (int)cli_field(l->fields, "ce_id").len,
             cli_field(l->fields, "ce_id").at);
    bool many = l->tags.len > 1;
    snprintf(l->name, sizeof l->name, "%s%s%s", many ? l->tag : "", many ? "/" : "",
             l->id);
}

static void
report(struct letters *l, struct err *err)
{
    if (!l->quiet)
        output_fail(err);
    err->exit = err->exit ? err->exit : EXIT_CODE_FAILURE;
    if (!l->err.text[0])
        l->err = *err;
}

static int
walk_partition(struct letters *l, size_t page, letters_fn *each, struct err *err)
{
    bool back = l->newest_first;
    char from[ENTRY_ID + 1], count[ENTRY_ID];
    size_t n = page;

    snprintf(from, sizeof from, "%s", back ? "+" : "-");
    snprintf(count, sizeof count, "%zu", page);
    while (n == page && l->found < l->max) {
        const struct redis_reply *reply =
            cli_ask(l->redis, err, back ? "XREVRANGE" : "XRANGE", l->key, from,
                    back ? "-" : "+", "COUNT", count);
        if (!reply)
            return -1;
        n = redis_value(reply).len;
        for (size_t i = 0; i < n && l->found < l->max; i++) {
            take(l, reply, i);
            snprintf(from, sizeof from, "(%s", l->id);
            if (l->reason && !span_is(cli_field(l->fields, "reason"), l->reason))
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
        if (enter(l, i, &err) < 0 || walk_partition(l, page, each, &err) < 0)
            report(l, &err);
    }
}

// find_in looks in one partition: 1, 0 when it is not there, -1.
static int
find_in(struct letters *l, size_t tag, struct span id, struct err *err)
{
    char text[ENTRY_ID];

    if (enter(l, tag, err) < 0)
        return -1;
    snprintf(text, sizeof text, "%.*s", (int)id.len, id.at);
    const struct redis_reply *reply =
        cli_ask(l->redis, err, "XRANGE", l->key, text, text);
    if (!reply)
        return -1;
    if (redis_value(reply).len != 1)
        return 0;
    take(l, reply, 0);
    return 1;
}

// In the partition `tag`; without one in the name (NULL), in all, of which only one may have it.
static int
find_among(struct letters *l, struct span tag, struct span id, struct err *err)
{
    size_t found = 0, where = 0;

    for (size_t i = 0; i < l->tags.len; i++) {
        bool asks = !tag.at || span_is(tag, l->tags.at[i]);
        int result = asks ? find_in(l, i, id, err) : 0;
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
    return found && l->tag != l->tags.at[where] ? find_in(l, where, id, err) : (int)found;
}

int
letters_find(struct letters *l, const char *name, struct err *err)
{
    const char *slash = strchr(name, '/'), *text = slash ? slash + 1 : name;
    struct span tag = span_make(slash ? name : NULL, slash ? (size_t)(slash - name) : 0);

    if (*text < '0' || *text > '9' || text[strspn(text, "0123456789-")])
        return err_set(err, ERR_INPUT,
                       "%s is not an entry id, such as 1795865066164-0; acrelay dead "
                       "list shows them",
                       name);
    int found = find_among(l, tag, span_of(text), err);
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
        report(l, &err);
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
    *raw = cli_field(l->fields, "raw");
    if (raw->len > 0 || !span_is(cli_field(l->fields, "reason"), "redis"))
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

static int
add_element(struct letters *l, struct err *err)
{
    (void)err;
    document_open(l->to, NULL, '{');
    letters_add(l->to, l, cli_field(l->fields, "raw"), false);
    document_close(l->to, '{');
    return 0;
}

int
letters_list(struct cli *c, uint64_t max, struct buf *to, struct err *err)
{
    struct letters l;
    int result = letters_open(&l, c, false, err);

    l.masks = l.newest_first = l.quiet = true;
    l.max = max;
    l.to = to;
    document_open(to, "letters", '[');
    if (result == 0)
        letters_walk(&l, false, add_element);
    document_close(to, '[');
    if (l.err.text[0])
        *err = l.err;
    return letters_close(&l, result) == 0 ? 0 : -1;
}

int
letters_act(struct cli *c, const char *name, letters_fn *act, struct err *err)
{
    struct letters l;
    bool found = letters_open(&l, c, false, err) == 0 && letters_find(&l, name, err) == 0;

    return letters_close(&l, found ? act(&l, err) : -1);
}

// --- replay ---------------------------------------------------------------------------

// Whether a body can be read as it is, whatever its Content-Encoding said.
static bool
is_text(struct span body)
{
    for (size_t i = 0; i < body.len; i++)
        if ((unsigned char)body.at[i] < 0x20 && !memchr("\t\r\n", body.at[i], 3))
            return false;
    return text_is_utf8(body);
}

// The delivery as it was, with stream and settings as its hook has them now.
static int
restore(struct letters *l, struct buf *stored, struct record *record, struct err *err)
{
    const struct config *c = l->cli->config;
    struct span reason = cli_field(l->fields, "reason"), id = span_of(l->ce_id);
    struct delivery d = {.hook = cli_field(l->fields, "hook"),
                         .type = cli_field(l->fields, "content-type"),
                         .query = cli_field(l->fields, "query")};
    const struct config_hook *hook = config_find_served(c, d.hook);
    const char *why = NULL;

    if (letters_read_raw(l, &d.body, err) < 0)
        return -1;
    if (d.body.len == 0 && span_is(reason, "redis"))
        return err_set(err, ERR_INPUT,
                       "its body is neither in Redis nor in %s/bad: replay it on the "
                       "receiver's machine",
                       c->state_dir);
    if (span_is(reason, "gap"))
        why = "it reports lost records and contains no delivery";
    else if (span_is(reason, "encoding") && !is_text(d.body))
        why = "its body is compressed in an unknown way and cannot become an event";
    else if (!hook)
        return err_set(err, ERR_INPUT, "its hook %.*s is not in the configuration",
                       (int)d.hook.len, d.hook.at);
    else if (id.len != EVENT_ID_TEXT ||
             !entry_sequence(&record->sequence, span_from(id, JOURNAL_ID_TEXT)))
        why = "it has no usable ce_id";
    else if (d.type.len > DELIVERY_TYPE_MAX || d.query.len > DELIVERY_QUERY_MAX)
        why = "its content type or query is too long";
    else if (!clock_parse(&record->received_us, cli_field(l->fields, "ce_recordedtime")))
        why = "it has no usable ce_recordedtime";
    if (why)
        return err_set(err, ERR_INPUT, "%s", why);
    d.stream = span_of(hook->stream);
    d.include_raw = hook->include_raw;
    d.structured = hook->format == CONFIG_STRUCTURED;
    if (delivery_encode(stored, &d) < 0)
        return err_set(err, ERR_INPUT, "it is too large");
    record->payload = buf_span(stored);
    return 0;
}

// To where deliveries go now, whichever partition has the letter.
static int
replay_entry(struct letters *l, const struct entry *e, struct err *err)
{
    size_t i = (size_t)config_partition_of(e->event.subject, (int)l->tags.configured);
    struct redis *r = tags_redis(&l->tags, i, err);

    return r ? relay_replay(r, l->tags.at[i], e, err) : -1;
}

static int
send_again(struct letters *l, const struct record *record, struct err *err)
{
    struct entry_maker maker = {.events = event_maker_open(),
                                .account = span_of(l->cli->config->account_name),
                                .journal_id =
                                    span_to(span_of(l->ce_id), JOURNAL_ID_TEXT - 1)};
    struct entry entry;
    int result = -1;

    entry_make(&maker, record, &entry);
    if (entry.reason == EVENT_OK)
        result = replay_entry(l, &entry, err);
    else
        err_set(err, ERR_INPUT, "it still cannot be parsed: %s (%.*s)",
                event_reason_name(entry.reason), (int)entry.event.detail.len,
                entry.event.detail.at);
    event_maker_close(maker.events);
    return result;
}

// First into the stream, then out of the dead letters: killed between the two, it stands in
// both, with one ce_id.
int
letters_replay(struct letters *l, struct err *err)
{
    struct record record = {0};
    struct buf stored;

    buf_init(&stored, STORED_MAX);
    int result =
        restore(l, &stored, &record, err) == 0 ? send_again(l, &record, err) : -1;
    buf_release(&stored);
    return result < 0 || letters_drop(l, err) < 0 ? err_context(err, "%s", l->name) : 0;
}
