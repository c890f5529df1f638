// dead: letters that could not become events. Their stream holds the bytes as received, so
// that one which a newer version understands can be sent through again. Bytes that Redis does
// not take lie beside the receiver's journal (aside_read). With --commands: the letters of
// commands that failed or expired, which hold the command's fields and what became of it.
//
// Each partition has its own letters. Where there are several, a letter's name is "ac.2/ENTRY-ID".
#include "base/text.h"
#include "cli/letters.h"

#include <stdio.h>

static int
read_reason(struct letters *d, struct err *err)
{
    d->reason = options_text(d->cli->options, "reason", NULL);
    if (d->reason && d->commands)
        return err_exit(err, EXIT_CODE_USAGE,
                        "--reason and --commands cannot be combined");
    return 0;
}

// --- list and show --------------------------------------------------------------------

static void
print_command(const struct letters *d)
{
    output_print(cli_field(d->fields, "service"), 63);
    printf("  %s", output_color(OUTPUT_BAD));
    output_print(cli_field(d->fields, "outcome"), 20);
    printf("%s  ", output_color(OUTPUT_PLAIN));
    output_print(cli_field(d->fields, "status"), 3);
    fputs("  ", stdout);
    output_print(cli_field(d->fields, "ce_subject"), 60);
    fputs("  ", stdout);
}

static void
print_delivery(const struct letters *d)
{
    char size[32];

    text_bytes(size, sizeof size, cli_field(d->fields, "raw").len);
    fputs(output_color(OUTPUT_FAINT), stdout);
    output_print(span_to(cli_field(d->fields, "ce_recordedtime"), 19), 0);
    printf("%s  ", output_color(OUTPUT_PLAIN));
    output_print(cli_field(d->fields, "hook"), 63);
    printf("  %s", output_color(OUTPUT_BAD));
    output_print(cli_field(d->fields, "reason"), 20);
    printf("%s  %s  ", output_color(OUTPUT_PLAIN), size);
}

static int
print_letter(struct letters *d, struct err *err)
{
    char expires[CLOCK_TEXT];

    (void)err;
    if (output.json) {
        letters_add(&output.document, d, cli_field(d->fields, "raw"), true);
        output_line(stdout);
        return 0;
    }
    letters_expires(d, expires);
    printf("%-20s  ", d->name);
    if (d->commands)
        print_command(d);
    else
        print_delivery(d);
    cli_print_field(d->fields, "detail", cli_field(d->fields, "detail"), 200, d->masks);
    printf("%s%.10s\n", expires[0] ? "  until " : "", expires);
    return 0;
}

static int
run_dead_list(void *cli, struct err *err)
{
    struct cli *c = cli;
    struct letters d;

    if (letters_open(&d, c, options_has(c->options, "commands"), err) < 0)
        return -1;
    d.max = options_number(c->options, "count", UINT64_MAX);
    d.masks = options_has(c->options, "mask");
    d.newest_first = options_has(c->options, "newest");
    int result = read_reason(&d, err);
    if (result == 0)
        letters_walk(&d, false, print_letter);
    if (result == 0 && !d.err.text[0] && d.found == 0 && !output.json)
        puts("no dead letters");
    return letters_close(&d, result);
}

static int
print_whole(struct letters *d, struct err *err)
{
    struct span raw;
    char name[64];

    if (letters_read_raw(d, &raw, err) < 0)
        return -1;
    if (output.json) {
        letters_add(&output.document, d, raw, true);
        output_line(stdout);
        return 0;
    }
    for (size_t i = 0; i + 1 < redis_value(d->fields).len; i += 2) {
        struct span value = redis_value(redis_reply_at(d->fields, i + 1)).text;
        text_escape(name, sizeof name, redis_value(redis_reply_at(d->fields, i)).text);
        printf("%s%s%s: ", output_color(OUTPUT_STRONG), name, output_color(OUTPUT_PLAIN));
        cli_print_field(d->fields, name, strcmp(name, "raw") == 0 ? raw : value, 0,
                        d->masks);
        putchar('\n');
    }
    return 0;
}

static int
run_dead_show(void *cli, struct err *err)
{
    struct cli *c = cli;
    struct letters d;

    if (letters_open(&d, c, options_has(c->options, "commands"), err) < 0)
        return -1;
    d.masks = options_has(c->options, "mask");
    int result = letters_find(&d, c->options->arguments[0], err);
    return letters_close(&d, result == 0 ? print_whole(&d, err) : -1);
}

// --- replay ---------------------------------------------------------------------------

static int
replay(struct letters *d, struct err *err)
{
    if (letters_replay(d, err) < 0)
        return -1;
    output_text("replayed", span_of(d->name));
    output_say("%s was added to its stream, marked with ce_replay\n", d->name);
    return 0;
}

// A new command with a new id, which the letter's own gives: replayed twice, because killed
// before the letter was dropped, it is carried out once. Its time is over, so it has none.
static int
replay_command(struct letters *d, struct err *err)
{
    const struct config_service *service =
        commands_find_service(d->cli, cli_field(d->fields, "service"), err);
    struct span fields[COMMAND_FIELDS];
    char key[SCRIPT_KEY], id[ENTRY_ID + 8], source[256], entry[ENTRY_ID];

    if (!service)
        return err_context(err, "%s", d->name);
    for (size_t i = 0; i < COMMAND_FIELDS; i++)
        fields[i] = cli_field(d->fields, command_fields[i]);
    snprintf(id, sizeof id, "replay-%s", d->id);
    snprintf(source, sizeof source, "acrelay dead replay of %.*s",
             (int)cli_field(d->fields, "ce_id").len, cli_field(d->fields, "ce_id").at);
    fields[COMMAND_ID] = span_of(id);
    fields[COMMAND_SOURCE] = span_of(source);
    fields[COMMAND_NOT_AFTER] = SPAN("");
    commands_key(key, d->cli->config, "commands", span_of(service->name));
    if (commands_add(d->redis, key, fields, entry, err) < 0 || letters_drop(d, err) < 0)
        return err_context(err, "%s", d->name);
    output_text("replayed", span_of(d->name));
    output_text("entry", span_of(entry));
    output_text("ce_id", span_of(id));
    output_say("%s was added as command %s with the ce_id %s\n", d->id, entry, id);
    return 0;
}

static int
run_dead_replay(void *cli, struct err *err)
{
    struct cli *c = cli;
    struct letters d;

    if (event_zone_set(c->config->account_time_zone, err) < 0 ||
        letters_open(&d, c, options_has(c->options, "commands"), err) < 0)
        return -1;
    letters_walk_named(&d, d.commands ? replay_command : replay);
    return letters_close(&d, 0);
}

static int
run_dead_drop(void *cli, struct err *err)
{
    struct cli *c = cli;
    const struct options *o = c->options;
    struct letters d;
    int result = 0;
    bool many = options_has(o, "all") || options_has(o, "reason");

    if (many == (o->arguments_len > 0))
        return err_exit(err, EXIT_CODE_USAGE,
                        "dead drop requires entry ids, --reason WORD or --all");
    if (letters_open(&d, c, options_has(c->options, "commands"), err) < 0)
        return -1;
    if (many && (result = read_reason(&d, err)) == 0)
        letters_walk(&d, true, letters_drop);
    letters_walk_named(&d, letters_drop);
    output_number("dropped", d.dropped);
    output_say("%llu dropped\n", (unsigned long long)d.dropped);
    return letters_close(&d, result);
}

// --- the command line -------------------------------------------------------------------

static const char *const reason_words[] = {"empty",     "nul",      "pairs", "json",
                                           "multipart", "encoding", "size",  "redis",
                                           "gap",       NULL};
#define OPTION_COMMANDS                                                                  \
    OPTION_IS_FLAG("commands", "dead letters of commands, not of deliveries")
static const struct option dead_list_options[] = {
    OPTION_COMMANDS,
    {"reason", "WORD", "list only those with this reason", OPTION_TEXT, reason_words},
    OPTION_IS_COUNT("count", "list at most this many"),
    OPTION_IS_FLAG("newest", "list the newest first"),
    OPTION_MASK,
    {0},
};

const struct subcommand cli_dead_commands[] = {
    {"dead list", "", "list the dead letters", 0, 0, dead_list_options, run_dead_list,
     true, NULL},
    {"dead show", "<entry id>", "show one dead letter with its bytes", 1, 1,
     OPTIONS(OPTION_COMMANDS, OPTION_MASK), run_dead_show, true, NULL},
    {"dead replay", "<entry id>...", "process dead letters again", 1, 1000,
     OPTIONS(OPTION_COMMANDS), run_dead_replay, true, NULL},
    {"dead drop", "[<entry id>...]", "delete dead letters", 0, 1000,
     OPTIONS(OPTION_COMMANDS,
             {"reason", "WORD", "drop all with this reason", OPTION_TEXT, reason_words},
             OPTION_IS_FLAG("all", "drop all of them")),
     run_dead_drop, true, NULL},
    {0},
};
