// tail: events as they reach the stream; results: what became of commands, in the same way. Without
// --group it only reads (XREAD); with --group it is a consumer like any other, acknowledges what it
// has shown, and takes over first what it had read before and not acknowledged. Partitions are read
// in turn, each from its own place: their entries are shown as they are found.
//
// Once it has read, it ends only with its reader, a signal, or --count: when Redis goes away,
// comes back empty or with an older state, it says so on stderr and goes on, and so it does when one
// of several partitions is away.
#include "base/clock.h"
#include "cli/cli.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { RETRY_MS = 1000, IDLE_MS = 100, BLOCK_MS = 1000, TURN_MS = 200 };

// The stream in one partition.
struct part {
    const char *tag;
    struct redis *redis; // NULL: to be connected
    char key[SCRIPT_KEY];
    char last[ENTRY_ID];       // the next read starts after this id
    char shown_last[ENTRY_ID]; // of a group: printed, and perhaps not acknowledged yet
    bool reads;                // has read once: from here on trouble is waited for
    bool pending;     // of a group: what was read before and not acknowledged comes first
    bool anchored;    // `last` is an entry's that was there
    int64_t retry_ms; // after trouble: when to try again
    struct err trouble; // that was reported; "": none
};

struct tail {
    struct cli *cli;
    struct tags tags;
    struct part at[TAGS_MAX];
    bool results; // it is a stream of them
    bool ends; // where nothing more has come yet: of results, which are in one partition
    const char *group, *type, *hook;
    uint64_t shown, max;
    bool data, masks;
};

static volatile sig_atomic_t stopped;

static void
stop(int signal)
{
    (void)signal;
    stopped = 1;
}

static bool
is_wanted(const struct tail *t, const struct redis_reply *fields)
{
    struct span source = span_after_last(cli_field(fields, "ce_source"), '/');
    struct span type = cli_field(fields, "ce_type");

    return (!t->type || span_is(cli_type(type), t->type) || span_is(type, t->type)) &&
           (!t->hook || span_is(source, t->hook));
}

static void
print_entry(const struct tail *t, const struct part *p, struct span id,
            const struct redis_reply *fields)
{
    if (t->results) {
        cli_print_result(id, fields, t->data, t->masks);
    } else if (output.json) {
        if (t->tags.len > 1)
            output_text("partition", span_of(p->tag));
        cli_add_entry(&output.document, id, fields, NULL, t->masks);
        output_line(stdout);
    } else {
        cli_print_event(fields, t->data, t->masks);
    }
}

// The reply is gone with the next command, so with a group entries are read one by one: each
// is acknowledged when it is written.
static int
take_entries(struct tail *t, struct part *p, const struct redis_reply *entries,
             struct err *err)
{
    size_t n = redis_value(entries).len;

    for (size_t i = 0; i < n && t->shown < t->max; i++) {
        const struct redis_reply *fields = cli_entry(entries, i, p->last);
        p->anchored = true;
        // A pending entry that was trimmed meanwhile has no fields any more; one whose
        // acknowledgement was cut off has been shown.
        if (redis_value(fields).len > 0 && is_wanted(t, fields) &&
            !(t->group && strcmp(p->last, p->shown_last) == 0)) {
            t->shown++;
            print_entry(t, p, span_of(p->last), fields);
        }
        snprintf(p->shown_last, sizeof p->shown_last, "%s", p->last);
    }
    if (fflush(stdout) != 0 || ferror(stdout))
        return err_errno(err, "cannot write");
    if (t->group && n > 0 && !cli_ask(p->redis, err, "XACK", p->key, t->group, p->last))
        return -1;
    return n > 0;
}

static const struct redis_reply *
read_next(struct tail *t, struct part *p, const char *from, struct err *err)
{
    size_t block_ms = t->tags.len == 1 ? BLOCK_MS : TURN_MS / t->tags.len;
    char consumer[80], block[24];

    snprintf(block, sizeof block, "%zu", t->ends ? 1 : block_ms);
    if (!t->group)
        return redis_ask(p->redis, err, "XREAD", "COUNT", CLI_PAGE, "BLOCK", block,
                         "STREAMS", p->key, from, NULL);
    snprintf(consumer, sizeof consumer, "acrelay-tail-%lu", (unsigned long)getuid());
    return redis_ask(p->redis, err, "XREADGROUP", "GROUP", t->group, consumer, "COUNT",
                     "1", "BLOCK", block, "STREAMS", p->key, from, NULL);
}

// Redis does not say which of its keys is of the wrong type. -1.
static int
name_key(const struct part *p, struct err *err)
{
    struct err said = *err;

    if (!strstr(said.text, "WRONGTYPE"))
        return -1;
    snprintf(err->text, sizeof err->text, "%s: %.200s: rename or delete that key", p->key,
             said.text);
    return -1;
}

// 1 when entries came, 0 when none did in its time, -1.
static int
step(struct tail *t, struct part *p, const char *from, struct err *err)
{
    const struct redis_reply *reply = cli_reply(read_next(t, p, from, err), err);

    if (!reply)
        return name_key(p, err);
    p->reads = true;
    return take_entries(t, p, redis_reply_at(redis_reply_at(reply, 0), 1), err);
}

// "$" would lose what comes between two reads: the newest id is asked for once.
static int
find_end(struct part *p, struct err *err)
{
    if (cli_end(p->redis, p->key, p->last, err) < 0)
        return name_key(p, err);
    p->anchored = strcmp(p->last, "0") != 0;
    return 0;
}

// A stream whose last id (also of entries that were deleted) is before what was shown is another
// one (flushed), or an older one (a failover, a backup): what comes after its end is new, also
// where Redis's clock was set back.
static int
check_end(struct part *p, struct err *err)
{
    const struct redis_reply *reply =
        p->anchored ? redis_ask(p->redis, err, "XINFO", "STREAM", p->key, NULL) : NULL;
    bool absent = span_starts(redis_value(reply).text, SPAN("ERR no such key"));
    struct span end = cli_field(reply, "last-generated-id");
    char newest[ENTRY_ID] = "0";

    if (!p->anchored || span_starts(redis_value(reply).text, SPAN("NOPERM")))
        return 0; // without the right it is believed to be the same
    if (!absent && !cli_reply(reply, err))
        return -1;
    if (end.len)
        snprintf(newest, sizeof newest, "%.*s", (int)end.len, end.at);
    if (!cli_is_before(newest, p->last))
        return 0;
    fprintf(stderr, "acrelay: %s %s: continuing with new entries\n", p->key,
            absent ? "is gone" : "has lost its newest entries");
    memcpy(p->last, newest, sizeof p->last);
    p->anchored = !absent;
    return 0;
}

static int
make_group(const struct tail *t, struct part *p, struct err *err)
{
    const struct redis_reply *reply = redis_ask(p->redis, err, "XGROUP", "CREATE", p->key,
                                                t->group, "0", "MKSTREAM", NULL);

    p->pending = true;
    snprintf(p->last, sizeof p->last, "0");
    if (span_starts(redis_value(reply).text, SPAN("BUSYGROUP")))
        return 0;
    if (!cli_reply(reply, err))
        return -1;
    if (p->reads)
        fprintf(stderr, "acrelay: group %s was gone and has been created again at 0\n",
                t->group);
    return 0;
}

static int
connect_to(struct tail *t, struct part *p, struct err *err)
{
    p->redis = tags_redis(&t->tags, (size_t)(p - t->at), err);
    if (!p->redis)
        return -1;
    if (t->group)
        return make_group(t, p, err);
    return p->last[0] ? check_end(p, err) : find_end(p, err);
}

// What is shown next: of a group first what it had read before and not acknowledged.
static int
read_on(struct tail *t, struct part *p, struct err *err)
{
    if (!p->redis || p->redis->dead)
        return connect_to(t, p, err);
    int result = step(t, p, t->group && !p->pending ? ">" : p->last, err);
    if (result != 0)
        return result;
    p->pending = false;
    return t->group ? 0 : check_end(p, err);
}

// After trouble: the group may be gone with its stream, which no waiting mends.
static bool
is_gone(const struct err *err)
{
    return strstr(err->text, "NOGROUP") || strstr(err->text, "UNBLOCKED");
}

// A trouble is reported once, until it changes.
static void
report(const struct tail *t, struct part *p, const struct err *err)
{
    bool shows = t->tags.len > 1;

    if (strcmp(p->trouble.text, err->text) != 0)
        fprintf(stderr, "acrelay: %s%s%s: waiting until this is over\n",
                shows ? p->tag : "", shows ? ": " : "", err->text);
    p->trouble = *err;
    if (p->redis)
        p->redis->dead = true; // to be connected again
    p->retry_ms = clock_mono_ms() + RETRY_MS;
}

// One turn of one partition. *idle stays true where there was nothing to wait for Redis for.
static int
visit(struct tail *t, struct part *p, bool *idle, struct err *err)
{
    if (clock_mono_ms() < p->retry_ms)
        return 0;
    int result = read_on(t, p, err);
    if (result >= 0) {
        *idle = false;
        if (p->trouble.text[0])
            fprintf(stderr, "acrelay: Redis is back\n");
        p->trouble.text[0] = '\0';
        return result;
    }
    if (stopped)
        return 0;
    if (t->ends || ferror(stdout) || (!p->reads && t->tags.len == 1))
        return -1;
    if (!is_gone(err) || make_group(t, p, err) < 0)
        report(t, p, err);
    return 0;
}

// Where it ends without having shown one. Who reads JSON sees that it is empty.
static void
report_none(const struct tail *t)
{
    const struct options *o = t->cli->options;
    const char *from = options_text(o, "from", NULL);

    if (t->shown == 0 && !output.json)
        fprintf(
            stderr, "acrelay: service %s has no results%s%s; --service names another\n",
            options_text(o, "service", "cli"), from ? " after " : "", from ? from : "");
}

static int
follow(struct tail *t, struct err *err)
{
    while (t->shown < t->max && !stopped) {
        bool idle = true, came = false;
        for (size_t i = 0; i < t->tags.len && t->shown < t->max; i++) {
            int result = visit(t, &t->at[i], &idle, err);
            if (output_is_unread()) // without an event no write would show it
                return 0;
            if (result < 0)
                return -1;
            came |= result > 0;
        }
        if (t->ends && !came && t->at[0].reads) {
            report_none(t);
            return 0;
        }
        if (idle && !stopped)
            clock_sleep_ms(IDLE_MS);
    }
    return 0;
}

// What is not there at the start is reported at once, and waited for where others are.
static int
connect_all(struct tail *t, struct err *err)
{
    size_t failed = 0;

    output_wait("asking Redis (%s)", t->cli->config->redis_url.text);
    for (size_t i = 0; i < t->tags.len; i++)
        if (connect_to(t, &t->at[i], err) < 0) {
            failed++;
            if (t->tags.len > 1)
                report(t, &t->at[i], err);
        }
    output_wait_end();
    return failed < t->tags.len ? 0 : -1;
}

// `from` NULL: only what is new.
static int
start(struct tail *t, const char *stream, const char *from, struct err *err)
{
    for (size_t i = 0; i < t->tags.len; i++) {
        struct part *p = &t->at[i];
        *p = (struct part){.tag = t->tags.at[i]};
        snprintf(p->last, sizeof p->last, "%s", from ? from : "");
        script_key(p->key, p->tag, span_of(stream));
    }
    return connect_all(t, err);
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
    if (strlen(stream) > 63)
        return err_exit(err, EXIT_CODE_USAGE, "--stream: at most 63 characters");
    if (from && t->group)
        return err_exit(err, EXIT_CODE_USAGE, "--from and --group cannot be combined");
    if (t->group && (t->type || t->hook))
        return err_exit(err, EXIT_CODE_USAGE,
                        "--group cannot be combined with --type or --hook: events they "
                        "hide would be acknowledged without being shown");
    if (tags_open(&t->tags, t->cli, err) < 0)
        return -1;
    return start(t, stream, from, err);
}

static int
prepare_results(struct tail *t, struct err *err)
{
    const struct options *o = t->cli->options;
    const char *service = options_text(o, "service", "cli");
    char stream[80];

    t->ends = !options_has(o, "follow");
    if (strlen(service) > 63)
        return err_exit(err, EXIT_CODE_USAGE, "--service: at most 63 characters");
    snprintf(stream, sizeof stream, "results:%s", service);
    tags_of_namespace(&t->tags, t->cli);
    return start(t, stream, options_text(o, "from", "0"), err);
}

static int
check_from(const struct options *o, struct err *err)
{
    const char *from = options_text(o, "from", "0");

    return *from >= '0' && *from <= '9' && !from[strspn(from, "0123456789-")]
               ? 0
               : err_exit(err, EXIT_CODE_USAGE, "--from requires an entry id, such as 0");
}

static int
run(void *cli, struct err *err)
{
    struct cli *c = cli;
    struct tail t = {.cli = c,
                     .results = strcmp(c->options->command->name, "results") == 0,
                     .max = options_number(c->options, "count", UINT64_MAX),
                     .data = options_has(c->options, "data"),
                     .masks = options_has(c->options, "mask")};
    struct sigaction action = {.sa_handler = stop};

    if (check_from(c->options, err) < 0)
        return -1;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    int result = t.results ? prepare_results(&t, err) : prepare_tail(&t, err);
    if (result == 0)
        result = follow(&t, err);
    tags_close(&t.tags);
    return result;
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
    OPTION_IS_COUNT("count", "stop after this many"),
    OPTION_IS_FLAG("data", "also show the event's data (JSON)"),
    OPTION_MASK,
    {0},
};

static const struct option results_options[] = {
    OPTION_IS_TEXT("service", "NAME", "the service (default: cli)"),
    OPTION_IS_TEXT("from", "ID", "start after this entry id (default: the oldest)"),
    OPTION_IS_FLAG("follow", "keep running, and show results as they come"),
    OPTION_IS_COUNT("count", "stop after this many"),
    OPTION_IS_FLAG("data", "also show ActiveCampaign's answers"),
    OPTION_MASK,
    {0},
};

const struct subcommand cli_tail_commands[] = {
    {"tail", "", "show events as they reach the stream", 0, 0, tail_options, run, true,
     NULL},
    {"results", "", "show what became of a service's commands", 0, 0, results_options,
     run, true, NULL},
    {0},
};
