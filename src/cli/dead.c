// dead: letters that could not become events. Their stream holds the bytes as received, so
// that one which a newer version understands can be sent through again. Bytes that Redis does
// not take lie beside the receiver's journal (aside_read). With --commands: the letters of
// commands that failed or expired, which hold the command's fields and what became of it.
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
    bool commands;
    const char *reason;
    uint64_t found, max, dropped;
    int code; // of the first letter that failed

    // The letter at hand.
    char id[ID_TEXT], ce_id[ID_TEXT];
    const struct redis_reply *fields; // gone with the next command
    struct buf body;                  // when its bytes lie beside the journal
};

// What is done with the letter at hand: 0 to go on, -1 with *err.
typedef int dead_fn(struct dead *d, struct err *err);

static int
dead_open(struct dead *d, struct cli *c, struct err *err)
{
    *d = (struct dead){.cli = c, .max = UINT64_MAX};
    d->commands = options_has(c->options, "commands");
    buf_init(&d->body, STORED_MAX);
    script_key(d->key, c->config->redis_namespace,
               d->commands ? SPAN("commands.dead") : SPAN("dead"));
    output_wait("asking Redis (%s)", c->config->redis_url.text);
    d->redis = cli_redis(c, err);
    output_wait_end();
    return d->redis ? 0 : -1;
}

static int
read_reason(struct dead *d, struct err *err)
{
    d->reason = options_text(d->cli->options, "reason", NULL);
    if (d->reason && d->commands)
        return err_exit(err, EXIT_CODE_USAGE,
                        "--reason and --commands cannot be combined");
    return 0;
}

static int
dead_close(struct dead *d, int result)
{
    redis_close(d->redis);
    buf_release(&d->body);
    return result < 0 ? -1 : d->code;
}

static struct span
field(const struct dead *d, const char *name)
{
    return cli_field(d->fields, name);
}

static void
take(struct dead *d, const struct redis_reply *entry)
{
    struct span id = redis_value(redis_reply_at(entry, 0)).text;

    d->fields = redis_reply_at(entry, 1);
    snprintf(d->id, sizeof d->id, "%.*s", (int)id.len, id.at);
    snprintf(d->ce_id, sizeof d->ce_id, "%.*s", (int)field(d, "ce_id").len,
             field(d, "ce_id").at);
}

// Walks over all letters, a page at a time: 1 where each asks Redis something itself.
static int
walk(struct dead *d, size_t page, dead_fn *each, struct err *err)
{
    char from[ID_TEXT + 1] = "-", count[ID_TEXT];
    size_t n = page;

    snprintf(count, sizeof count, "%zu", page);
    while (n == page && d->found < d->max) {
        const struct redis_reply *reply =
            cli_ask(d->redis, err, "XRANGE", d->key, from, "+", "COUNT", count);
        if (!reply)
            return -1;
        n = redis_value(reply).len;
        for (size_t i = 0; i < n && d->found < d->max; i++) {
            take(d, redis_reply_at(reply, i));
            snprintf(from, sizeof from, "(%s", d->id);
            if (d->reason && !span_is(field(d, "reason"), d->reason))
                continue;
            d->found++;
            if (each(d, err) < 0)
                return -1;
        }
    }
    return 0;
}

static int
find(struct dead *d, const char *id, struct err *err)
{
    if (*id < '0' || *id > '9' || id[strspn(id, "0123456789-")])
        return err_set(err, ERR_INPUT,
                       "%s is not an entry id, such as 1795865066164-0; acrelay dead "
                       "list shows them",
                       id);
    const struct redis_reply *reply = cli_ask(d->redis, err, "XRANGE", d->key, id, id);
    if (!reply)
        return -1;
    if (redis_value(reply).len != 1)
        return err_set(err, ERR_INPUT,
                       "there is no dead letter %s; acrelay dead list shows them", id);
    take(d, redis_reply_at(reply, 0));
    return 0;
}

// Walks over those that are named. One that fails stops no other; the exit code is the first
// one's.
static void
walk_named(struct dead *d, dead_fn *each)
{
    const struct options *o = d->cli->options;

    for (int i = 0; i < o->arguments_len && !d->redis->dead; i++) {
        struct err err = {0};
        if (find(d, o->arguments[i], &err) == 0 && each(d, &err) == 0)
            continue;
        int code = output_fail(&err);
        d->code = d->code ? d->code : code;
        if (!output.json)
            continue;
        output_text("failed", span_of(o->arguments[i]));
        output_text("error", span_of(err.text));
        output_line(stdout);
    }
}

// --- list and show --------------------------------------------------------------------

static void
print_command(const struct dead *d)
{
    output_print(field(d, "service"), 63);
    printf("  %s", output_color(OUTPUT_BAD));
    output_print(field(d, "outcome"), 20);
    printf("%s  ", output_color(OUTPUT_PLAIN));
    output_print(field(d, "status"), 3);
    fputs("  ", stdout);
    output_print(field(d, "ce_subject"), 60);
    fputs("  ", stdout);
    output_print(field(d, "detail"), 200);
}

static void
print_delivery(const struct dead *d)
{
    char size[32];

    text_bytes(size, sizeof size, field(d, "raw").len);
    fputs(output_color(OUTPUT_FAINT), stdout);
    output_print(span_to(field(d, "ce_recordedtime"), 19), 0);
    printf("%s  ", output_color(OUTPUT_PLAIN));
    output_print(field(d, "hook"), 63);
    printf("  %s", output_color(OUTPUT_BAD));
    output_print(field(d, "reason"), 20);
    printf("%s  %s  ", output_color(OUTPUT_PLAIN), size);
    output_print(field(d, "detail"), 200);
}

static int
print_letter(struct dead *d, struct err *err)
{
    const struct config *c = d->cli->config;
    int64_t keep_us = d->commands ? c->commands_retain_dead_us : c->redis_retain_dead_us;
    long long ms = strtoll(d->id, NULL, 10); // Redis's time
    char expires[CLOCK_TEXT] = "";

    (void)err;
    if (keep_us > 0 && ms > 0 && ms < INT32_MAX * 1000LL)
        clock_format_seconds(expires, ms * 1000 + keep_us);
    if (output.json) {
        cli_add_entry(span_of(d->id), d->fields, SPAN(""));
        if (expires[0])
            output_text("expires", span_of(expires));
        output_line(stdout);
        return 0;
    }
    printf("%-20s  ", d->id);
    if (d->commands)
        print_command(d);
    else
        print_delivery(d);
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
    d.max = options_number(c->options, "count", UINT64_MAX);
    int result = read_reason(&d, err) < 0 ? -1 : walk(&d, PAGE, print_letter, err);
    if (result == 0 && d.found == 0 && !output.json)
        puts("no dead letters");
    return dead_close(&d, result);
}

// read_raw gives the letter's bytes, from the letter or from beside the journal.
static int
read_raw(struct dead *d, struct span *raw, struct err *err)
{
    *raw = field(d, "raw");
    if (raw->len > 0 || !span_is(field(d, "reason"), "redis"))
        return 0;
    buf_clear(&d->body);
    int found = aside_read(d->cli->config->state_dir, span_of(d->ce_id), &d->body, err);
    *raw = buf_span(&d->body);
    return found < 0 ? -1 : 0;
}

static int
print_whole(struct dead *d, struct err *err)
{
    struct span raw;

    if (read_raw(d, &raw, err) < 0)
        return -1;
    if (output.json) {
        cli_add_entry(span_of(d->id), d->fields, raw);
        output_line(stdout);
        return 0;
    }
    for (size_t i = 0; i + 1 < redis_value(d->fields).len; i += 2) {
        struct span name = redis_value(redis_reply_at(d->fields, i)).text;
        struct span value = redis_value(redis_reply_at(d->fields, i + 1)).text;
        fputs(output_color(OUTPUT_STRONG), stdout);
        output_print(name, 60);
        printf("%s: ", output_color(OUTPUT_PLAIN));
        output_print(span_is(name, "raw") ? raw : value, 0);
        putchar('\n');
    }
    return 0;
}

static int
run_dead_show(void *cli, struct err *err)
{
    struct cli *c = cli;
    struct dead d;

    if (dead_open(&d, c, err) < 0)
        return -1;
    int result = find(&d, c->options->arguments[0], err);
    return dead_close(&d, result == 0 ? print_whole(&d, err) : -1);
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
restore(struct dead *dead, struct buf *stored, struct record *record, struct err *err)
{
    const struct config *c = dead->cli->config;
    struct span reason = field(dead, "reason"), id = span_of(dead->ce_id);
    struct delivery d = {.hook = field(dead, "hook"),
                         .type = field(dead, "content-type"),
                         .query = field(dead, "query")};
    const struct config_hook *hook = config_find_served(c, d.hook);
    const char *why = NULL;

    if (read_raw(dead, &d.body, err) < 0)
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
    else if (!clock_parse(&record->received_us, field(dead, "ce_recordedtime")))
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

static int
send_again(struct dead *d, const struct record *record, struct err *err)
{
    struct entry_maker maker = {.events = event_maker_open(),
                                .account = span_of(d->cli->config->account_name),
                                .journal_id =
                                    span_to(span_of(d->ce_id), JOURNAL_ID_TEXT - 1)};
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

// drop removes a letter, and its bytes beside the journal.
static int
drop(struct dead *d, struct err *err)
{
    const struct redis_reply *reply = cli_ask(d->redis, err, "XDEL", d->key, d->id);

    if (!reply)
        return -1;
    d->dropped += (uint64_t)redis_value(reply).number;
    if (!d->commands)
        aside_remove(d->cli->config->state_dir, span_of(d->ce_id));
    return 0;
}

// First into the stream, then out of the dead letters: killed between the two, it stands in
// both, with one ce_id.
static int
replay(struct dead *d, struct err *err)
{
    struct record record = {0};
    struct buf stored;

    buf_init(&stored, STORED_MAX);
    int result =
        restore(d, &stored, &record, err) == 0 ? send_again(d, &record, err) : -1;
    buf_release(&stored);
    if (result < 0 || drop(d, err) < 0)
        return err_context(err, "%s", d->id);
    output_text("replayed", span_of(d->id));
    if (output.json)
        output_line(stdout);
    else
        printf("%s was added to its stream, marked with ce_replay\n", d->id);
    return 0;
}

// A new command with a new id, which the letter's own gives: replayed twice, because killed
// before the letter was dropped, it is carried out once. Its time is over, so it has none.
static int
replay_command(struct dead *d, struct err *err)
{
    const struct config_service *service =
        commands_find_service(d->cli, field(d, "service"), err);
    struct span fields[COMMAND_FIELDS];
    char key[SCRIPT_KEY], id[ID_TEXT + 8], source[256], entry[COMMANDS_ENTRY];

    if (!service)
        return err_context(err, "%s", d->id);
    for (size_t i = 0; i < COMMAND_FIELDS; i++)
        fields[i] = field(d, command_fields[i]);
    snprintf(id, sizeof id, "replay-%s", d->id);
    snprintf(source, sizeof source, "acrelay dead replay of %.*s",
             (int)field(d, "ce_id").len, field(d, "ce_id").at);
    fields[COMMAND_ID] = span_of(id);
    fields[COMMAND_SOURCE] = span_of(source);
    fields[COMMAND_NOT_AFTER] = SPAN("");
    commands_key(key, d->cli->config, "commands", span_of(service->name));
    if (commands_add(d->redis, key, fields, entry, err) < 0 || drop(d, err) < 0)
        return err_context(err, "%s", d->id);
    output_text("replayed", span_of(d->id));
    output_text("entry", span_of(entry));
    output_text("ce_id", span_of(id));
    if (output.json)
        output_line(stdout);
    else
        printf("%s was added as command %s with the ce_id %s\n", d->id, entry, id);
    return 0;
}

static int
run_dead_replay(void *cli, struct err *err)
{
    struct cli *c = cli;
    struct dead d;

    if (event_zone_set(c->config->account_time_zone, err) < 0 ||
        dead_open(&d, c, err) < 0)
        return -1;
    walk_named(&d, d.commands ? replay_command : replay);
    return dead_close(&d, 0);
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
    if (many)
        result = read_reason(&d, err) < 0 ? -1 : walk(&d, 1, drop, err);
    walk_named(&d, drop);
    output_number("dropped", d.dropped);
    if (output.json)
        output_line(stdout);
    else
        printf("%llu dropped\n", (unsigned long long)d.dropped);
    return dead_close(&d, result);
}

// --- the command line -------------------------------------------------------------------

static const char *const reason_words[] = {"empty",     "nul",      "pairs", "json",
                                           "multipart", "encoding", "size",  "redis",
                                           "gap",       NULL};
#define OPTION_COMMANDS                                                                  \
    OPTION_IS_FLAG("commands", "dead letters of commands, not of deliveries")
static const struct option dead_options[] = {
    OPTION_COMMANDS,
    {0},
};

static const struct option dead_list_options[] = {
    OPTION_COMMANDS,
    {"reason", "WORD", "list only those with this reason", OPTION_TEXT, reason_words},
    OPTION_IS_NUMBER("count", "list at most this many"),
    {0},
};

static const struct option dead_drop_options[] = {
    OPTION_COMMANDS,
    {"reason", "WORD", "drop all with this reason", OPTION_TEXT, reason_words},
    OPTION_IS_FLAG("all", "drop all of them"),
    {0},
};

const struct subcommand cli_dead_commands[] = {
    {"dead list", "", "list the dead letters", 0, 0, dead_list_options, run_dead_list,
     true, NULL},
    {"dead show", "<entry id>", "show one dead letter with its bytes", 1, 1, dead_options,
     run_dead_show, true, NULL},
    {"dead replay", "<entry id>...", "process dead letters again", 1, 1000, dead_options,
     run_dead_replay, true, NULL},
    {"dead drop", "[<entry id>...]", "delete dead letters", 0, 1000, dead_drop_options,
     run_dead_drop, true, NULL},
    {0},
};
