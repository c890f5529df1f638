// dead: letters that could not become events. Their stream holds the bytes as received, so
// that one which a newer version understands can be sent through again. Bytes that Redis does
// not take lie beside the receiver's journal (aside_read).
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli.h"
#include "relay/relay.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAGE = 10, ID_TEXT = 64, STORED_MAX = 64 << 20 };

struct dead {
    struct cli *cli;
    struct redis *redis;
    char key[SCRIPT_KEY];
    const char *reason;
    uint64_t found, max;
    int code;        // of the first letter that failed
    struct buf ids;  // NUL-ended, of letters to drop
    struct buf body; // of the letter at hand, when its bytes lie beside the journal
};

// A step of a walk: 0 to go on, -1 with *err.
typedef int dead_fn(struct dead *d, const char *id, const struct redis_reply *fields,
                    struct err *err);

static int
dead_open(struct dead *d, struct cli *c, struct err *err)
{
    *d = (struct dead){.cli = c, .max = UINT64_MAX};
    buf_init(&d->body, STORED_MAX);
    script_key(d->key, c->config->redis_namespace, SPAN("dead"));
    output_wait("asking Redis (%s)", c->config->redis_url.text);
    d->redis = cli_redis(c, err);
    output_wait_end();
    return d->redis ? 0 : -1;
}

static int
dead_close(struct dead *d, int result)
{
    redis_close(d->redis);
    buf_release(&d->body);
    return result < 0 ? -1 : d->code;
}

// Walks over all letters, a page at a time; each must not ask Redis anything itself.
static int
walk(struct dead *d, dead_fn *each, struct err *err)
{
    char from[ID_TEXT + 1] = "-", id[ID_TEXT];
    size_t n = PAGE;

    while (n == PAGE && d->found < d->max) {
        const struct redis_reply *page =
            cli_ask(d->redis, err, "XRANGE", d->key, from, "+", "COUNT", "10");
        if (!page)
            return -1;
        n = redis_value(page).len;
        for (size_t i = 0; i < n && d->found < d->max; i++) {
            const struct redis_reply *entry = redis_reply_at(page, i);
            struct span name = redis_value(redis_reply_at(entry, 0)).text;
            snprintf(id, sizeof id, "%.*s", (int)name.len, name.at);
            snprintf(from, sizeof from, "(%s", id);
            if (d->reason &&
                !span_is(cli_field(redis_reply_at(entry, 1), "reason"), d->reason))
                continue;
            d->found++;
            if (each(d, id, redis_reply_at(entry, 1), err) < 0)
                return -1;
        }
    }
    return 0;
}

// --- list and show --------------------------------------------------------------------

static int
print_letter(struct dead *d, const char *id, const struct redis_reply *fields,
             struct err *err)
{
    int64_t keep_us = d->cli->config->redis_retain_dead_us;
    long long ms = strtoll(id, NULL, 10); // Redis's time
    char size[32], expires[CLOCK_TEXT] = "";

    (void)err;
    if (keep_us > 0 && ms > 0 && ms < INT32_MAX * 1000LL)
        clock_format_seconds(expires, ms * 1000 + keep_us);
    if (output.json) {
        cli_add_entry(span_of(id), fields, SPAN(""));
        if (expires[0])
            output_text("expires", span_of(expires));
        output_line(stdout);
        return 0;
    }
    text_bytes(size, sizeof size, cli_field(fields, "raw").len);
    printf("%-20s  %s", id, output_color(OUTPUT_FAINT));
    output_print(span_to(cli_field(fields, "ce_recordedtime"), 19), 0);
    printf("%s  ", output_color(OUTPUT_PLAIN));
    output_print(cli_field(fields, "hook"), 63);
    printf("  %s", output_color(OUTPUT_BAD));
    output_print(cli_field(fields, "reason"), 20);
    printf("%s  %s  ", output_color(OUTPUT_PLAIN), size);
    output_print(cli_field(fields, "detail"), 200);
    printf("%s%.10s\n", expires[0] ? "  until " : "", expires);
    return 0;
}

static int
run_dead_list(void *cli, struct err *err)
{
    struct cli *c = cli;
    struct dead d;

    if (dead_open(&d, c, err) < 0)
        return -1;
    d.reason = options_text(c->options, "reason", NULL);
    d.max = options_number(c->options, "count", UINT64_MAX);
    int result = walk(&d, print_letter, err);
    if (result == 0 && d.found == 0 && !output.json)
        puts("no dead letters");
    return dead_close(&d, result);
}

static int
check_id(const char *id, struct err *err)
{
    if (*id >= '0' && *id <= '9' && id[strspn(id, "0123456789-")] == '\0')
        return 0;
    return err_set(
        err, ERR_INPUT,
        "%s is not an entry id, such as 1795865066164-0; acrelay dead list shows them",
        id);
}

static const struct redis_reply *
find(struct dead *d, const char *id, struct err *err)
{
    if (check_id(id, err) < 0)
        return NULL;
    const struct redis_reply *reply = cli_ask(d->redis, err, "XRANGE", d->key, id, id);

    if (!reply)
        return NULL;
    if (redis_value(reply).len != 1) {
        err_set(err, ERR_INPUT,
                "there is no dead letter %s; acrelay dead list shows them", id);
        return NULL;
    }
    return redis_reply_at(redis_reply_at(reply, 0), 1);
}

// read_raw gives the letter's bytes, from the letter or from beside the journal.
static int
read_raw(struct dead *d, const struct redis_reply *fields, struct span *raw,
         struct err *err)
{
    *raw = cli_field(fields, "raw");
    if (raw->len > 0 || !span_is(cli_field(fields, "reason"), "redis"))
        return 0;
    buf_clear(&d->body);
    int found =
        aside_read(d->cli->config->state_dir, cli_field(fields, "ce_id"), &d->body, err);
    *raw = buf_span(&d->body);
    return found < 0 ? -1 : 0;
}

static void
print_whole(const struct redis_reply *fields, struct span raw)
{
    for (size_t i = 0; i + 1 < redis_value(fields).len; i += 2) {
        printf("%s", output_color(OUTPUT_STRONG));
        struct span name = redis_value(redis_reply_at(fields, i)).text;
        struct span value = redis_value(redis_reply_at(fields, i + 1)).text;
        output_print(name, 60);
        printf("%s: ", output_color(OUTPUT_PLAIN));
        output_print(span_is(name, "raw") ? raw : value, 0);
        putchar('\n');
    }
}

static int
run_dead_show(void *cli, struct err *err)
{
    struct cli *c = cli;
    const char *id = c->options->arguments[0];
    struct dead d;

    if (dead_open(&d, c, err) < 0)
        return -1;
    const struct redis_reply *fields = find(&d, id, err);
    struct span raw;
    int result = fields ? read_raw(&d, fields, &raw, err) : -1;
    if (result == 0 && output.json) {
        cli_add_entry(span_of(id), fields, raw);
        output_line(stdout);
    }
    if (result == 0 && !output.json)
        print_whole(fields, raw);
    return dead_close(&d, result);
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
restore(struct dead *dead, const struct redis_reply *fields, struct buf *stored,
        struct record *record, struct err *err)
{
    const struct cli *c = dead->cli;
    struct span name = cli_field(fields, "hook"), id = cli_field(fields, "ce_id");
    const struct config_hook *hook = config_find_hook(c->config, name);
    struct delivery d = {.hook = name,
                         .type = cli_field(fields, "content-type"),
                         .query = cli_field(fields, "query")};

    if (read_raw(dead, fields, &d.body, err) < 0)
        return -1;
    if (d.body.len == 0 && span_is(cli_field(fields, "reason"), "redis"))
        return err_set(err, ERR_INPUT,
                       "its body is neither in Redis nor in %s/bad: replay it on the "
                       "receiver's machine",
                       c->config->state_dir);
    if (span_is(cli_field(fields, "reason"), "gap"))
        return err_set(err, ERR_INPUT,
                       "it reports lost records and contains no delivery");
    if (span_is(cli_field(fields, "reason"), "encoding") && !is_text(d.body))
        return err_set(
            err, ERR_INPUT,
            "its body is compressed in an unknown way and cannot become an event");
    if (!hook)
        return err_set(err, ERR_INPUT, "its hook %.*s is not in the configuration",
                       (int)name.len, name.at);
    if (id.len != EVENT_ID_TEXT || !entry_sequence(&record->sequence, span_from(id, 33)))
        return err_set(err, ERR_INPUT, "it has no usable ce_id");
    if (d.type.len > DELIVERY_TYPE_MAX || d.query.len > DELIVERY_QUERY_MAX)
        return err_set(err, ERR_INPUT, "its content type or query is too long");
    if (!clock_parse(&record->received_us, cli_field(fields, "ce_recordedtime")))
        return err_set(err, ERR_INPUT, "it has no usable ce_recordedtime");
    d.stream = span_of(hook->stream);
    d.include_raw = hook->include_raw;
    if (delivery_encode(stored, &d) < 0)
        return err_set(err, ERR_INPUT, "it is too large");
    record->payload = buf_span(stored);
    return 0;
}

static int
send_again(struct dead *d, const struct record *record, const char *journal_id,
           struct err *err)
{
    struct entry_maker maker = {.events = event_maker_open(),
                                .account = span_of(d->cli->config->account_name),
                                .journal_id = span_of(journal_id)};
    struct entry entry;
    int result = -1;

    entry_make(&maker, record, &entry);
    if (entry.reason == EVENT_OK)
        result = relay_replay(d->redis, d->cli->config->redis_namespace, &entry, err);
    else
        err_set(err, ERR_INPUT, "it still cannot be parsed: %s (%.*s)",
                event_reason_name(entry.reason), (int)entry.event.detail.len,
                entry.event.detail.at);
    event_maker_close(maker.events);
    return result;
}

// take_out removes a letter, and its bytes beside the journal. *count: how many there were.
static int
take_out(struct dead *d, const char *id, int64_t *count, struct err *err)
{
    const char *directory = d->cli->config->state_dir;
    char ce_id[EVENT_ID_TEXT + 1] = "";

    if (aside_sweep(directory, "", 0)) { // some are kept there
        const struct redis_reply *fields = find(d, id, err);
        struct span name = cli_field(fields, "ce_id");
        snprintf(ce_id, sizeof ce_id, "%.*s", (int)name.len, name.at);
    }
    const struct redis_reply *reply = cli_ask(d->redis, err, "XDEL", d->key, id);
    if (!reply)
        return -1;
    *count = redis_value(reply).number;
    aside_remove(directory, span_of(ce_id));
    return 0;
}

// First into the stream, then out of the dead letters: killed between the two, it stands in
// both, with one ce_id.
static int
replay(struct dead *d, const char *id, struct err *err)
{
    struct record record = {0};
    struct buf stored;
    char journal_id[JOURNAL_ID_TEXT];
    const struct redis_reply *fields = find(d, id, err);
    int64_t count;
    int result = -1;

    if (!fields)
        return -1;
    buf_init(&stored, STORED_MAX);
    if (restore(d, fields, &stored, &record, err) == 0) {
        struct span ce_id = cli_field(fields, "ce_id"); // gone with the next command
        snprintf(journal_id, sizeof journal_id, "%.*s", (int)ce_id.len, ce_id.at);
        result = send_again(d, &record, journal_id, err);
    }
    buf_release(&stored);
    if (result == 0 && take_out(d, id, &count, err) < 0)
        return -1;
    return result < 0 ? err_context(err, "%s", id) : 0;
}

// One that fails stops no other; the exit code is the first one's.
static void
report_failed(struct dead *d, const char *id, const struct err *err)
{
    int code = output_fail(err);

    d->code = d->code ? d->code : code;
    if (!output.json)
        return;
    output_text("failed", span_of(id));
    output_text("error", span_of(err->text));
    output_line(stdout);
}

static int
run_dead_replay(void *cli, struct err *err)
{
    struct cli *c = cli;
    struct dead d;

    if (event_zone_set(c->config->account_time_zone, err) < 0 ||
        dead_open(&d, c, err) < 0)
        return -1;
    for (int i = 0; i < c->options->arguments_len && !d.redis->dead; i++) {
        const char *id = c->options->arguments[i];
        if (replay(&d, id, err) < 0)
            report_failed(&d, id, err);
        else
            printf(output.json ? "{\"replayed\":\"%s\"}\n"
                               : "%s was added to its stream, marked with ce_replay\n",
                   id);
    }
    return dead_close(&d, 0);
}

// --- drop -----------------------------------------------------------------------------

static void
drop(struct dead *d, const char *id)
{
    struct err err = {0};
    int64_t count = 0;

    if (d->redis->dead)
        return; // reported
    if (check_id(id, &err) == 0 && take_out(d, id, &count, &err) == 0 && count != 1)
        err_set(&err, ERR_INPUT, "there is no dead letter %s", id);
    d->found += count == 1;
    if (count != 1)
        report_failed(d, id, &err);
}

static int
keep_id(struct dead *d, const char *id, const struct redis_reply *fields, struct err *err)
{
    (void)fields;
    (void)err;
    return buf_add(&d->ids, span_make(id, strlen(id) + 1));
}

static int
run_dead_drop(void *cli, struct err *err)
{
    struct cli *c = cli;
    const struct options *o = c->options;
    struct dead d;
    int result = 0;
    bool many = options_has(o, "all") || options_has(o, "reason");

    if (many == (o->arguments_len > 0))
        return err_exit(err, EXIT_CODE_USAGE,
                        "dead drop requires entry ids, --reason WORD or --all");
    if (dead_open(&d, c, err) < 0)
        return -1;
    d.reason = options_text(o, "reason", NULL);
    // The ids are collected first: dropping while walking would skip some.
    buf_init(&d.ids, 1 << 30);
    if (many)
        result = walk(&d, keep_id, err);
    d.found = 0;
    for (size_t at = 0; result == 0 && at < d.ids.len; at += strlen(d.ids.at + at) + 1)
        drop(&d, d.ids.at + at);
    buf_release(&d.ids);
    for (int i = 0; i < o->arguments_len; i++)
        drop(&d, o->arguments[i]);
    printf(output.json ? "{\"dropped\":%llu}\n" : "%llu dropped\n",
           (unsigned long long)d.found);
    return dead_close(&d, result);
}

// --- the command line -------------------------------------------------------------------

static const char *const reason_words[] = {"empty",     "nul",      "pairs", "json",
                                           "multipart", "encoding", "size",  "redis",
                                           "gap",       NULL};
static const struct option dead_options[] = {
    {"reason", "WORD", "list only those with this reason", OPTION_TEXT, reason_words},
    OPTION_IS_NUMBER("count", "list at most this many"),
    {0},
};

static const struct option dead_drop_options[] = {
    {"reason", "WORD", "drop all with this reason", OPTION_TEXT, reason_words},
    OPTION_IS_FLAG("all", "drop all of them"),
    {0},
};

const struct command cli_dead_commands[] = {
    {"dead list", "", "list the dead letters", 0, 0, dead_options, run_dead_list, true,
     NULL},
    {"dead show", "<entry id>", "show one dead letter with its bytes", 1, 1, NULL,
     run_dead_show, true, NULL},
    {"dead replay", "<entry id>...", "process dead letters again", 1, 1000, NULL,
     run_dead_replay, true, NULL},
    {"dead drop", "[<entry id>...]", "delete dead letters", 0, 1000, dead_drop_options,
     run_dead_drop, true, NULL},
    {0},
};
