// tail: events as they reach the stream; results: what became of commands, in the same way. Without --group it only reads (XREAD); with --group
// it is a consumer like any other, acknowledges what it has shown, and takes over first what
// it had read before and not acknowledged.
//
// Once it has read, it ends only with its reader, a signal, or --count: when Redis goes away,
// comes back empty or with an older state, it says so on stderr and goes on.
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli.h"
#include "relay/script.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ID_TEXT = 64, RETRY_MS = 1000 };

struct tail {
    struct cli *cli;
    struct redis *redis;
    char key[SCRIPT_KEY];
    char last[ID_TEXT];       // the next read starts after this id
    char shown_last[ID_TEXT]; // of a group: printed, and perhaps not acknowledged yet
    bool reads;               // has read once: from here on trouble is waited for
    bool pending;  // of a group: what was read before and not acknowledged comes first
    bool anchored; // `last` is an entry's that was there
    bool results;  // it is a stream of them
    bool ends;     // where nothing more has come yet
    const char *group, *type, *hook;
    uint64_t shown, max;
    bool data;
};

static volatile sig_atomic_t stopped;

static void
stop(int signal)
{
    (void)signal;
    stopped = 1;
}

static struct span
without_prefix(struct span type)
{
    struct span prefix = SPAN("com.activecampaign.");

    return span_starts(type, prefix) ? span_from(type, prefix.len) : type;
}

static bool
is_wanted(const struct tail *t, const struct redis_reply *fields)
{
    struct span source = cli_field(fields, "ce_source");
    struct span type = cli_field(fields, "ce_type");

    while (span_find(source, '/') < source.len)
        source = span_from(source, span_find(source, '/') + 1);
    return (!t->type || span_is(without_prefix(type), t->type) ||
            span_is(type, t->type)) &&
           (!t->hook || span_is(source, t->hook));
}

static void
print_cell(enum output_color color, struct span s, int width)
{
    char text[128];

    size_t len = text_escape(text, sizeof text, s);
    printf("%s%-*s%s  ", output_color(color), len < sizeof text ? width : 0, text,
           output_color(OUTPUT_PLAIN));
}

// Receipt in local hours would differ from machine to machine: UTC as in the stream.
static void
print_line(const struct tail *t, const struct redis_reply *fields)
{
    print_cell(OUTPUT_FAINT, span_to(cli_field(fields, "ce_recordedtime"), 19), 19);
    print_cell(OUTPUT_STRONG, without_prefix(cli_field(fields, "ce_type")), 22);
    print_cell(OUTPUT_PLAIN, cli_field(fields, "ce_subject"), 14);
    output_print(cli_field(fields, "ce_source"), 80);
    if (span_is(cli_field(fields, "ce_repeat"), "1"))
        printf("  %srepeat%s", output_color(OUTPUT_WARNING), output_color(OUTPUT_PLAIN));
    if (cli_field(fields, "ce_replay").len)
        printf("  %sreplay%s", output_color(OUTPUT_WARNING), output_color(OUTPUT_PLAIN));
    if (t->data) {
        fputs("\n    ", stdout);
        output_print(cli_field(fields, "data"), 0);
    }
    putchar('\n');
}

void
cli_print_result(struct span id, const struct redis_reply *fields, bool with_data)
{
    struct span type = cli_field(fields, "ce_type"), prefix = SPAN("result.");
    bool ok = span_is(cli_field(fields, "outcome"), "ok");

    if (output.json) {
        cli_add_entry(id, fields, SPAN(""));
        output_line(stdout);
        return;
    }
    type = without_prefix(type);
    type = span_starts(type, prefix) ? span_from(type, prefix.len) : type;
    print_cell(OUTPUT_FAINT, span_to(cli_field(fields, "ce_time"), 19), 19);
    print_cell(ok ? OUTPUT_OK : OUTPUT_BAD, cli_field(fields, "outcome"), 10);
    print_cell(OUTPUT_PLAIN, cli_field(fields, "status"), 3);
    print_cell(OUTPUT_STRONG, type, 24);
    print_cell(OUTPUT_PLAIN, cli_field(fields, "ce_subject"), 14);
    output_print(cli_field(fields, "ce_id"), 80);
    if (span_is(cli_field(fields, "repeat"), "1"))
        printf("  %srepeat%s", output_color(OUTPUT_WARNING), output_color(OUTPUT_PLAIN));
    if (cli_field(fields, "detail").len) {
        fputs("\n    ", stdout);
        output_print(cli_field(fields, "detail"), 0);
    }
    if (with_data && cli_field(fields, "data").len) {
        fputs("\n    ", stdout);
        output_print(cli_field(fields, "data"), 0);
    }
    putchar('\n');
}

static void
print_entry(const struct tail *t, struct span id, const struct redis_reply *fields)
{
    if (t->results) {
        cli_print_result(id, fields, t->data);
    } else if (output.json) {
        cli_add_entry(id, fields, SPAN(""));
        output_line(stdout);
    } else {
        print_line(t, fields);
    }
}

// The reply is gone with the next command, so with a group entries are read one by one: each
// is acknowledged when it is written.
static int
take_entries(struct tail *t, const struct redis_reply *entries, struct err *err)
{
    size_t n = redis_value(entries).len;

    for (size_t i = 0; i < n && t->shown < t->max; i++) {
        const struct redis_reply *entry = redis_reply_at(entries, i);
        const struct redis_reply *fields = redis_reply_at(entry, 1);
        struct span id = redis_value(redis_reply_at(entry, 0)).text;
        snprintf(t->last, sizeof t->last, "%.*s", (int)id.len, id.at);
        t->anchored = true;
        // A pending entry that was trimmed meanwhile has no fields any more; one whose
        // acknowledgement was cut off has been shown.
        if (redis_value(fields).len > 0 && is_wanted(t, fields) &&
            !(t->group && span_is(id, t->shown_last))) {
            t->shown++;
            print_entry(t, id, fields);
        }
        snprintf(t->shown_last, sizeof t->shown_last, "%s", t->last);
    }
    if (fflush(stdout) != 0 || ferror(stdout))
        return err_errno(err, "cannot write");
    if (t->group && n > 0 && !cli_ask(t->redis, err, "XACK", t->key, t->group, t->last))
        return -1;
    return n > 0;
}

static const struct redis_reply *
read_next(struct tail *t, const char *from, struct err *err)
{
    char consumer[80];

    if (!t->group)
        return redis_ask(t->redis, err, "XREAD", "COUNT", "100", "BLOCK",
                         t->ends ? "1" : "1000", "STREAMS", t->key, from, NULL);
    snprintf(consumer, sizeof consumer, "acrelay-tail-%lu", (unsigned long)getuid());
    return redis_ask(t->redis, err, "XREADGROUP", "GROUP", t->group, consumer, "COUNT",
                     "1", "BLOCK", "1000", "STREAMS", t->key, from, NULL);
}

// A reader that has closed its end; without an event no write would show it.
static bool
is_reader_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};

    return poll(&out, 1, 0) == 1 && out.revents & POLLERR;
}

// 1 when entries came, 0 when none did within a second, -1.
static int
step(struct tail *t, const char *from, struct err *err)
{
    const struct redis_reply *reply = cli_reply(read_next(t, from, err), err);

    if (!reply)
        return -1;
    t->reads = true;
    return take_entries(t, redis_reply_at(redis_reply_at(reply, 0), 1), err);
}

// "$" would lose what comes between two reads: the newest id is asked for once.
static int
find_end(struct tail *t, struct err *err)
{
    const struct redis_reply *reply =
        cli_ask(t->redis, err, "XREVRANGE", t->key, "+", "-", "COUNT", "1");

    if (!reply)
        return -1;
    struct span id = redis_value(redis_reply_at(redis_reply_at(reply, 0), 0)).text;
    t->anchored = id.len > 0;
    snprintf(t->last, sizeof t->last, "%.*s", id.len ? (int)id.len : 1,
             id.len ? id.at : "0");
    return 0;
}

static bool
is_before(const char *a, const char *b)
{
    unsigned long long a_ms = 0, a_n = 0, b_ms = 0, b_n = 0;

    sscanf(a, "%llu-%llu", &a_ms, &a_n);
    sscanf(b, "%llu-%llu", &b_ms, &b_n);
    return a_ms < b_ms || (a_ms == b_ms && a_n < b_n);
}

// A stream whose last id (also of entries that were deleted) is before what was shown is another
// one (flushed), or an older one (a failover, a backup): what comes after its end is new, also
// where Redis's clock was set back.
static int
check_end(struct tail *t, struct err *err)
{
    const struct redis_reply *reply =
        t->anchored ? redis_ask(t->redis, err, "XINFO", "STREAM", t->key, NULL) : NULL;
    bool absent = span_starts(redis_value(reply).text, SPAN("ERR no such key"));
    struct span end = cli_field(reply, "last-generated-id");
    char newest[ID_TEXT] = "0";

    if (!t->anchored || span_starts(redis_value(reply).text, SPAN("NOPERM")))
        return 0; // without the right it is believed to be the same
    if (!absent && !cli_reply(reply, err))
        return -1;
    if (end.len)
        snprintf(newest, sizeof newest, "%.*s", (int)end.len, end.at);
    if (!is_before(newest, t->last))
        return 0;
    fprintf(stderr, "acrelay: %s %s: continuing with new entries\n", t->key,
            absent ? "is gone" : "has lost its newest entries");
    memcpy(t->last, newest, sizeof t->last);
    t->anchored = !absent;
    return 0;
}

static int
make_group(struct tail *t, struct err *err)
{
    const struct redis_reply *reply = redis_ask(t->redis, err, "XGROUP", "CREATE", t->key,
                                                t->group, "0", "MKSTREAM", NULL);

    t->pending = true;
    snprintf(t->last, sizeof t->last, "0");
    if (span_starts(redis_value(reply).text, SPAN("BUSYGROUP")))
        return 0;
    if (!cli_reply(reply, err))
        return -1;
    if (t->reads)
        fprintf(stderr, "acrelay: group %s was gone and has been created again at 0\n",
                t->group);
    return 0;
}

static int
connect_to(struct tail *t, struct err *err)
{
    redis_close(t->redis);
    t->redis = cli_redis(t->cli, err);
    if (!t->redis)
        return -1;
    if (t->group)
        return make_group(t, err);
    return t->last[0] ? check_end(t, err) : find_end(t, err);
}

// What is shown next: of a group first what it had read before and not acknowledged.
static int
read_on(struct tail *t, struct err *err)
{
    if (!t->redis || t->redis->dead)
        return connect_to(t, err);
    int result = step(t, t->group && !t->pending ? ">" : t->last, err);
    if (result != 0)
        return result;
    t->pending = false;
    return t->group ? 0 : check_end(t, err);
}

// After trouble: the group may be gone with its stream, which no waiting mends.
static bool
is_gone(const struct err *err)
{
    return strstr(err->text, "NOGROUP") || strstr(err->text, "UNBLOCKED");
}

// A trouble is reported once, until it changes.
static void
wait_for_redis(struct tail *t, const struct err *err, struct err *last_error)
{
    if (strcmp(last_error->text, err->text) != 0)
        fprintf(stderr, "acrelay: %s: waiting until this is over\n", err->text);
    *last_error = *err;
    redis_close(t->redis);
    t->redis = NULL;
    for (int i = 0; i < RETRY_MS / 100 && !stopped && !is_reader_gone(); i++)
        clock_sleep_ms(100);
}

static int
follow(struct tail *t, struct err *err)
{
    struct err last_error = {.text = ""};
    int result = 0;

    while (t->shown < t->max && !stopped) {
        result = read_on(t, err);
        if (is_reader_gone())
            return err_set(err, ERR_FATAL, "cannot write: the reader has gone");
        if (result >= 0 && last_error.text[0]) {
            fprintf(stderr, "acrelay: Redis is back\n");
            last_error.text[0] = '\0';
        }
        if (result < 0 && !stopped && (!t->reads || t->ends || ferror(stdout)))
            return -1;
        if (result == 0 && t->ends && t->reads)
            return 0;
        if (result < 0 && is_gone(err) && make_group(t, err) == 0)
            continue;
        if (result < 0)
            wait_for_redis(t, err, &last_error);
    }
    return 0;
}

// `from` NULL: only what is new.
static int
start(struct tail *t, const char *stream, const char *from, struct err *err)
{
    if (from && (*from < '0' || *from > '9' || from[strspn(from, "0123456789-")]))
        return err_exit(err, EXIT_CODE_USAGE, "--from requires an entry id, such as 0");
    snprintf(t->last, sizeof t->last, "%s", from ? from : "");
    script_key(t->key, t->cli->config->redis_namespace, span_of(stream));
    output_wait("asking Redis (%s)", t->cli->config->redis_url.text);
    int result = connect_to(t, err);
    output_wait_end();
    return result;
}

static int
prepare_tail(struct tail *t, struct err *err)
{
    const struct options *o = t->cli->options;
    const char *stream = options_text(o, "stream", "events");
    const char *from = options_text(o, "from", NULL);

    t->group = options_text(o, "group", NULL);
    t->type = options_text(o, "type", NULL);
    t->hook = options_text(o, "hook", NULL);
    t->max = options_number(o, "count", UINT64_MAX);
    t->data = options_has(o, "data");
    if (strlen(stream) > 63)
        return err_exit(err, EXIT_CODE_USAGE, "--stream: at most 63 characters");
    if (from && t->group)
        return err_exit(err, EXIT_CODE_USAGE, "--from and --group cannot be combined");
    if (t->group && (t->type || t->hook))
        return err_exit(err, EXIT_CODE_USAGE,
                        "--group cannot be combined with --type or --hook: events they "
                        "hide would be acknowledged without being shown");
    return start(t, stream, from, err);
}

static int
prepare_results(struct tail *t, struct err *err)
{
    const struct options *o = t->cli->options;
    const char *service = options_text(o, "service", "cli");
    char stream[80];

    t->results = true;
    t->ends = !options_has(o, "follow");
    t->max = options_number(o, "count", UINT64_MAX);
    t->data = options_has(o, "data");
    if (strlen(service) > 63)
        return err_exit(err, EXIT_CODE_USAGE, "--service: at most 63 characters");
    snprintf(stream, sizeof stream, "results:%s", service);
    return start(t, stream, options_text(o, "from", "0"), err);
}

static int
run(struct cli *c, int prepare(struct tail *t, struct err *err), struct err *err)
{
    struct tail t = {.cli = c};
    struct sigaction action = {.sa_handler = stop};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    int result = prepare(&t, err) < 0 || follow(&t, err) < 0 ? -1 : 0;
    redis_close(t.redis);
    return result < 0 ? -1 : EXIT_CODE_OK;
}

static int
run_tail(void *cli, struct err *err)
{
    return run(cli, prepare_tail, err);
}

static int
run_results(void *cli, struct err *err)
{
    return run(cli, prepare_results, err);
}

// --- the command line -------------------------------------------------------------------

static const struct option tail_options[] = {
    OPTION_IS_TEXT(
        "from", "ID",
        "start after this entry id, 0 for the oldest (default: only new entries)"),
    OPTION_IS_TEXT(
        "group", "NAME",
        "read as a consumer group (created at 0) and acknowledge what is shown"),
    OPTION_IS_TEXT("stream", "NAME", "the stream to read (default: events)"),
    OPTION_IS_TEXT("type", "TYPE", "only events of this type, for example subscribe"),
    OPTION_IS_TEXT("hook", "NAME", "only events of this hook"),
    OPTION_IS_NUMBER("count", "stop after this many"),
    OPTION_IS_FLAG("data", "also show the normal form"),
    {0},
};

static const struct option results_options[] = {
    OPTION_IS_TEXT("service", "NAME", "of this service (default: cli)"),
    OPTION_IS_TEXT("from", "ID", "start after this entry id (default: the oldest)"),
    OPTION_IS_FLAG("follow", "keep on, and show results as they come"),
    OPTION_IS_NUMBER("count", "stop after this many"),
    OPTION_IS_FLAG("data", "also show ActiveCampaign's answers"),
    {0},
};

const struct subcommand cli_tail_commands[] = {
    {"tail", "", "show events as they reach the stream", 0, 0, tail_options, run_tail,
     true, NULL},
    {"results", "", "show what became of a service's commands", 0, 0, results_options,
     run_results, true, NULL},
    {0},
};
