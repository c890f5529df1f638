// put: a command to ActiveCampaign, added to its stream as a service does it
// (acrelay-commands(7)), and with --wait its result. What the worker would refuse is refused
// here, before anything is written.
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"

#include <stdio.h>
#include <sys/random.h>

enum { LEADERLESS_MS = 60000 };

struct put {
    struct cli *cli;
    struct redis *redis;
    const struct config_service *service;
    struct span fields[COMMAND_FIELDS];
    struct buf data;
    struct command command;
    char type[160], random_id[33];
    char commands[SCRIPT_KEY], results[SCRIPT_KEY];
    char entry[ENTRY_ID],
        last[ENTRY_ID]; // the command; the result that was read last
    bool waits;
    int64_t wait_ms; // 0: for as long as it takes
    bool is_ok;      // the result
};

// --- the operations ---------------------------------------------------------------------

static void
print_operation(const struct operation *o)
{
    char envelope[64] = "{...}";

    if (o->envelope)
        snprintf(envelope, sizeof envelope, "{\"%s\":{...}}", o->envelope);
    printf("%-36s %-34s %s%s%s%s%s\n", o->id, o->path, o->refused ? "no command: " : "",
           o->refused ? o->refused : envelope, o->query ? "  ?" : "",
           o->query ? o->query : "", o->query ? "=" : "");
}

static int
list_operations(void)
{
    for (const struct operation *o = operations; o->id; o++) {
        const struct {
            const char *name, *value;
        } members[] = {{"operation", o->id},    {"path", o->path},
                       {"summary", o->summary}, {"envelope", o->envelope},
                       {"query", o->query},     {"header", o->header},
                       {"refused", o->refused}};
        for (size_t i = 0; i < sizeof members / sizeof *members; i++)
            if (members[i].value)
                output_text(members[i].name, span_of(members[i].value));
        if (output.json)
            output_line(stdout);
        else
            print_operation(o);
    }
    return EXIT_CODE_OK;
}

// By the operation that is given, else by the path: no two have the same.
static const struct operation *
find_operation(const char *given, const char *path, struct err *err)
{
    struct span asked = span_of(given ? given : path);
    const struct operation *found =
        given ? operation_find(asked) : operation_match(asked);
    struct nearest near = nearest_start(span_to(asked, span_find(asked, '/')));

    for (const struct operation *o = operations; o->id && !found; o++) {
        struct span word = span_of(given ? o->id : o->path);
        nearest_try(&near, span_cut(&word, '/'));
    }
    near.asked = asked;
    if (!found)
        cli_fail_unknown(err, EXIT_CODE_USAGE, &near, "operation", "put --list");
    return found;
}

// --- what is given ----------------------------------------------------------------------

// "30", "30s", "5m" or "2h".
static bool
read_duration(int64_t *ms, struct span text)
{
    const char *unit = text.len ? memchr("smh", text.at[text.len - 1], 3) : NULL;
    uint64_t number = 0;

    bool ok = text_number(&number, span_to(text, text.len - (unit != NULL)), 1000000);
    *ms = (int64_t)number * (!unit || *unit == 's' ? 1000
                             : *unit == 'm'        ? 60000
                                                   : 3600000);
    return ok && number > 0;
}

static int
read_wait(struct put *p, struct err *err)
{
    const char *wait = options_text(p->cli->options, "wait", NULL);

    p->waits = options_has(p->cli->options, "wait");
    if (wait && !read_duration(&p->wait_ms, span_of(wait)))
        return err_exit(err, EXIT_CODE_USAGE,
                        "--wait=%s: expected a duration like 30s, 5m or 2h", wait);
    return 0;
}

static int
read_data(struct put *p, struct err *err)
{
    const char *path = options_text(p->cli->options, "data", NULL);

    if (!path)
        return err_exit(err, EXIT_CODE_USAGE,
                        "put requires --data FILE with the body (- for standard input)");
    return file_read(strcmp(path, "-") == 0 ? "/dev/stdin" : path, &p->data, err);
}

static int
make_id(struct put *p, struct err *err)
{
    unsigned char random[16];

    if (getrandom(random, sizeof random, 0) != sizeof random)
        return err_errno(err, "no random bytes");
    text_hex(p->random_id, sizeof p->random_id, random, sizeof random);
    return 0;
}

static void
fill_fields(struct put *p, const char *type)
{
    const struct options *o = p->cli->options;

    snprintf(p->type, sizeof p->type, COMMAND_TYPE "%s", type);
    p->fields[COMMAND_SPECVERSION] = SPAN("1.0");
    p->fields[COMMAND_SOURCE] = SPAN("acrelay put");
    p->fields[COMMAND_ID] = span_of(options_text(o, "id", p->random_id));
    p->fields[COMMAND_TYPE_FIELD] = span_of(p->type);
    p->fields[COMMAND_SUBJECT] = span_of(o->arguments[0]);
    p->fields[COMMAND_CONTENT_TYPE] = SPAN("application/json");
    p->fields[COMMAND_PRIORITY] = span_of(options_text(o, "priority", ""));
    p->fields[COMMAND_NOT_AFTER] = span_of(options_text(o, "not-after", ""));
    p->fields[COMMAND_QUERY] = span_of(options_text(o, "query", ""));
    p->fields[COMMAND_REPLACE] = span_of(options_has(o, "replace") ? "1" : "");
    p->fields[COMMAND_VALIDATE_ONLY] =
        span_of(options_has(o, "validate-only") ? "1" : "");
    p->fields[COMMAND_DATA] = buf_span(&p->data);
}

// As the worker would: what passes here is refused there only if its configuration is another.
static int
prepare(struct put *p, struct err *err)
{
    const struct options *o = p->cli->options;

    if (o->arguments_len != 1)
        return err_exit(err, EXIT_CODE_USAGE, "put requires a path, such as contacts/66");
    const struct operation *operation =
        find_operation(options_text(o, "type", NULL), o->arguments[0], err);
    if (!operation)
        return -1;
    p->service =
        commands_find_service(p->cli, span_of(options_text(o, "service", "cli")), err);
    if (!p->service || read_wait(p, err) < 0 || read_data(p, err) < 0 ||
        make_id(p, err) < 0)
        return -1;
    fill_fields(p, operation->id);
    return command_read(&p->command, p->fields, p->service->allow.at, err);
}

// --- adding it --------------------------------------------------------------------------

static int
check_leader(struct put *p, struct err *err)
{
    int leads = commands_have_leader(p->redis, p->cli->config, err);

    if (leads == 0 && p->waits)
        return err_exit(err, EXIT_CODE_UNAVAILABLE,
                        "no worker leads, so nobody would carry it out: nothing was "
                        "written. Start acrelay-worker (one that runs needs some seconds "
                        "to load a changed file), or leave out --wait");
    if (leads == 0)
        fputs("acrelay: no worker leads: the command waits until one does\n", stderr);
    return p->redis->dead ? -1 : 0; // without the right to ask, it is believed
}

static int
add(struct put *p, struct err *err)
{
    p->fields[COMMAND_DATA] = buf_span(&p->command.body); // compact
    if (commands_add(p->redis, p->commands, p->fields, p->entry, err) == 0)
        return 0;
    if (p->redis->dead)
        err_context(err, "it is not known whether it was added; try again with --id %.*s",
                    (int)p->fields[COMMAND_ID].len, p->fields[COMMAND_ID].at);
    return -1;
}

static void
print_added(const struct put *p)
{
    output_text("id", span_of(p->entry));
    output_text("stream", span_of(p->commands));
    for (size_t i = 0; i < COMMAND_DATA; i++)
        if (p->fields[i].len)
            output_text(command_fields[i], p->fields[i]);
    if (output.json) {
        output_line(stdout);
        return;
    }
    printf("%s  %s  added as %s with the ce_id ", p->entry, p->command.operation->id,
           p->service->name);
    output_print(p->fields[COMMAND_ID], 0);
    putchar('\n');
}

// --- waiting for the result -------------------------------------------------------------

// 1 when it was there and is printed, 0 when not within a second and nothing is left to read, -1.
static int
read_results(struct put *p, struct err *err)
{
    const struct redis_reply *reply =
        cli_ask(p->redis, err, "XREAD", "COUNT", CLI_PAGE, "BLOCK", "1000", "STREAMS",
                p->results, p->last);
    const struct redis_reply *entries = redis_reply_at(redis_reply_at(reply, 0), 1);

    for (size_t i = 0; i < redis_value(entries).len; i++) {
        const struct redis_reply *fields = cli_entry(entries, i, p->last);
        if (!span_is(cli_field(fields, "ce_command"), p->entry))
            continue;
        output_wait_end();
        cli_print_result(span_of(p->last), fields, true, false);
        p->is_ok = span_is(cli_field(fields, "outcome"), "ok");
        return 1;
    }
    if (redis_value(entries).len == CLI_PAGE_LEN)
        return read_results(p, err);
    return reply ? 0 : -1;
}

static int
fail_waiting(const struct put *p, const char *why, struct err *err)
{
    return err_exit(
        err, EXIT_CODE_UNAVAILABLE,
        "%s; the command is in the stream as %s: acrelay results --service %s "
        "--from %s shows its result once it is there",
        why, p->entry, p->service->name, p->last);
}

static void
show_progress(struct put *p, bool leads, bool *was_led)
{
    const struct redis_reply *reply =
        redis_ask(p->redis, &(struct err){0}, "XLEN", p->commands, NULL);

    if (leads != *was_led) // with its id, for who breaks the waiting off
        output_wait(leads ? "waiting for the result of %s; commands of %s that wait"
                          : "no worker leads: %s waits; commands of %s that wait",
                    p->entry, p->service->name);
    output_count((uint64_t)redis_value(reply).number, 0);
    *was_led = leads;
}

// Whether it is in the stream no more: either it has its result, or it never will.
static bool
is_gone(struct put *p)
{
    struct redis_value found = redis_value(
        redis_ask(p->redis, NULL, "XRANGE", p->commands, p->entry, p->entry, NULL));

    return found.kind == REDIS_ARRAY && found.len == 0;
}

static int
wait_for_result(struct put *p, struct err *err)
{
    int64_t start = clock_mono_ms(), led_ms = start;
    bool was_led = false, gone = false;

    for (int found; (found = read_results(p, err)) <= 0;) {
        if (found == 0 && gone)
            return err_exit(
                err, EXIT_CODE_FAILURE,
                "the command %s is gone without a result: somebody deleted it, "
                "or Redis lost it. Add it again with --id %.*s",
                p->entry, (int)p->fields[COMMAND_ID].len, p->fields[COMMAND_ID].at);
        int leads = found < 0 ? -1 : commands_have_leader(p->redis, p->cli->config, err);
        struct err cause = *err;
        if (found < 0 || p->redis->dead)
            return fail_waiting(p, cause.text, err);
        int64_t now = clock_mono_ms();
        led_ms = leads != 0 ? now : led_ms;
        if (now - led_ms >= times_ms("put_leaderless", LEADERLESS_MS))
            return fail_waiting(p, "no worker leads", err);
        if (p->wait_ms && now - start >= p->wait_ms)
            return fail_waiting(p, "no result yet", err);
        show_progress(p, leads != 0, &was_led);
        gone = is_gone(p);
    }
    return p->is_ok ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

// --- the command line -------------------------------------------------------------------

static int
carry_out(struct put *p, struct err *err)
{
    const struct config *c = p->cli->config;

    commands_key(p->commands, c, "commands", span_of(p->service->name));
    commands_key(p->results, c, "results", span_of(p->service->name));
    output_wait("asking Redis (%s)", c->redis_url.text);
    p->redis = cli_redis(p->cli, c->redis_namespace, err);
    if (!p->redis)
        cli_advise(err);
    // What is in the stream of results already is not ours.
    if (!p->redis || check_leader(p, err) < 0 ||
        (p->waits && cli_end(p->redis, p->results, p->last, err) < 0) || add(p, err) < 0)
        return -1;
    if (p->waits)
        return wait_for_result(p, err);
    output_wait_end();
    print_added(p);
    return EXIT_CODE_OK;
}

static int
run_put(void *cli, struct err *err)
{
    struct put p = {.cli = cli};

    if (options_has(p.cli->options, "list"))
        return list_operations();
    if (cli_read_config(p.cli, false, err) < 0)
        return -1;
    buf_init(&p.data, COMMAND_BODY_MAX);
    int result = prepare(&p, err) < 0 ? -1 : carry_out(&p, err);
    redis_close(p.redis);
    command_release(&p.command);
    buf_release(&p.data);
    return result;
}

static const struct option put_options[] = {
    OPTION_IS_TEXT("data", "FILE", "the body, a JSON object (- for standard input)"),
    OPTION_IS_TEXT("type", "OPERATION", "check that the path fits this operation"),
    OPTION_IS_TEXT("query", "QUERY", "query string of the request, such as reorder=1"),
    OPTION_IS_TEXT("id", "ID", "idempotency key, carried out once (default: a new one)"),
    {"priority", "WORD", "high, normal or low", OPTION_TEXT, command_priorities},
    OPTION_IS_TEXT("not-after", "TIME",
                   "the command expires then, as in 2026-03-02T11:20:00Z"),
    OPTION_IS_FLAG("replace", "a newer command with --replace may take its place"),
    OPTION_IS_FLAG("validate-only",
                   "only have it checked, if the operation supports that"),
    OPTION_IS_TEXT("service", "NAME", "the service (default: cli)"),
    {"wait", "[=DURATION]", "wait for the result, at most this long: 30s, 5m, 2h",
     OPTION_MAYBE, NULL},
    OPTION_IS_FLAG("list", "list the operations"),
    {0},
};

const struct subcommand cli_put_commands[] = {
    {"put", "<path>",
     "change something at ActiveCampaign through a command to the worker", 0, 1,
     put_options, run_put, false, NULL},
    {0},
};
