// status: everything in one screen, from the admin listeners' metrics and from Redis. What
// does not answer is said, and the rest is shown.
#include "cli/cli.h"

#include "base/clock.h"
#include "base/text.h"
#include "edge/admin.h"
#include "relay/script.h"
#include "worker/known.h"

#include <stdio.h>
#include <stdlib.h>

struct status {
    struct cli *cli;
    struct redis *redis; // of {ac}; NULL: not usable, redis_err says why
    struct err redis_err;
    struct tags tags;    // of the streams
    int64_t redis_us;    // Redis's time, which its times are compared with; 0: not known
    size_t silent, left; // hooks
    bool healthy;
};

// --- lines ----------------------------------------------------------------------------

// What a part does: a line for people, a member for programs.
static void
title(const char *name, bool ok, const char *text)
{
    char member[32];

    output_text(name, span_of(text));
    snprintf(member, sizeof member, "%s_ok", name);
    output_json(member, "%s", ok ? "true" : "false");
    if (!output.json)
        printf("%s%-10s%s %s%s%s\n", output_color(OUTPUT_STRONG), name,
               output_color(OUTPUT_PLAIN), output_color(ok ? OUTPUT_OK : OUTPUT_BAD),
               text, output_color(OUTPUT_PLAIN));
}

enum unit { COUNT, BYTES, SECONDS };

// A figure: a line for people, a member for programs.
static void
figure(const char *member, const char *label, enum unit unit, double value)
{
    char text[32];

    if (unit == BYTES)
        text_bytes(text, sizeof text, value > 0 ? (uint64_t)value : 0);
    else if (unit == SECONDS)
        text_duration(text, sizeof text, (int64_t)(value * 1000));
    else
        snprintf(text, sizeof text, "%.0f", value);
    output_json(member, "%.15g", value);
    if (!output.json)
        printf("  %-26s %s\n", label, text);
}

// --- the programs ---------------------------------------------------------------------

// As the receiver counts: an entry whose answer was lost (Redis hung) is not among `entries`.
static const struct {
    const char *member, *label;
    enum unit unit;
    const char *metric;
} figures[] = {
    {"requests", "requests", COUNT, "acrelay_requests_total"},
    {"refused", "answered with 503 since start", COUNT, "acrelay_journal_refused_total"},
    {"entries", "entries confirmed by Redis", COUNT, "acrelay_relay_entries_total"},
    {"waiting", "waiting to be published", COUNT, "acrelay_journal_unpublished_records"},
    {"waiting_seconds", "the oldest unconfirmed for", SECONDS,
     "acrelay_journal_oldest_unpublished_age_seconds"},
    {"dead_letters", "dead letters since start", COUNT, "acrelay_dead_letters_total"},
    {"journal_bytes", "journal on disk", BYTES, "acrelay_journal_bytes"},
    {"journal_free_bytes", "room left for records", BYTES, "acrelay_journal_free_bytes"},
};

static void
show_figures(const struct admin_state *r)
{
    const struct buf *page = &r->metrics;
    double value;

    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        if (admin_find_metric(page, figures[i].metric, &value) ||
            figures[i].unit != SECONDS)
            figure(figures[i].member, figures[i].label, figures[i].unit, value);
    figure("repeats", "duplicates marked or dropped", COUNT,
           admin_sum_metric(page, "acrelay_relay_repeats_marked_total") +
               admin_sum_metric(page, "acrelay_relay_repeats_dropped_total"));
    if (r->left_posts > 0)
        figure("left_posts", "404 for hooks not in the file", COUNT, r->left_posts);
    if (admin_sum_metric(page, "acrelay_relay_cursor_known") > 0)
        return;
    output_json("waiting_at_most", "true");
    if (!output.json)
        puts("  waiting, at most: all records in the journal, until Redis says which are "
             "published");
}

// What doctor finds of it, and what became of its last reload. `member` is of the latter.
static bool
show_program(struct cli *c, const char *name, const struct admin_state *state,
             void (*examine)(struct report *r), const char *good, const char *member)
{
    struct report r = {.cli = c, .is_silent = true};

    examine(&r);
    bool ok = state->code == 200 && !state->activecampaign[0] && r.errors == 0;
    title(name, ok, r.errors + r.warnings ? r.worst : good);
    if (state->reload_ok && !state->last_good)
        return ok;
    output_text(member, span_of(state->reload));
    if (!output.json)
        printf("  %s%s%s%s\n", output_color(OUTPUT_BAD),
               state->last_good ? "" : "refused the last reload: ", state->reload,
               output_color(OUTPUT_PLAIN));
    return ok;
}

bool
status_programs(struct cli *cli)
{
    const struct config *c = cli->config;
    const struct admin_state *receiver = &cli->receiver, *worker = &cli->worker;

    bool ok = show_program(cli, "receiver", receiver, doctor_receiver,
                           "accepts and publishes deliveries", "reload");
    if (receiver->code)
        show_figures(receiver);
    if (worker->code || (c->account_api_url && c->account_api_token_file))
        ok &= show_program(cli, "worker", worker, doctor_worker,
                           "keeps the webhooks in sync", "worker_reload");
    return ok;
}

// --- streams --------------------------------------------------------------------------

// Its error is shown in the place of a number.
static void
show_error(struct status *s, const struct redis *r, const char *label, const char *tag,
           const struct err *err)
{
    s->healthy = s->healthy && r && !r->dead;
    if (!output.json)
        printf("  %-26s %s%s%s\n", label, tag, *tag ? ": " : "", err->text);
}

static const struct redis_reply *
ask_length(struct redis *r, const char *tag, const char *stream, struct err *err)
{
    char key[SCRIPT_KEY];

    script_key(key, tag, span_of(stream));
    return r ? cli_ask(r, err, "XLEN", key) : NULL;
}

static void
show_length(struct status *s, const char *stream, const char *member, const char *label)
{
    const char *namespace = s->cli->config->redis_namespace;
    struct err err = {0};
    const struct redis_reply *reply = ask_length(s->redis, namespace, stream, &err);

    if (reply) {
        figure(member, label, COUNT, (double)redis_value(reply).number);
        return;
    }
    output_json(member, "null");
    show_error(s, s->redis, label, "", &err);
}

// The sum over the partitions, of which each that does not say is shown.
static void
show_lengths(struct status *s, const char *stream, const char *member, const char *label)
{
    size_t known = 0;
    double sum = 0;

    for (size_t i = 0; i < s->tags.len; i++) {
        struct err err = {0};
        struct redis *r = tags_redis(&s->tags, i, &err);
        const struct redis_reply *reply = ask_length(r, s->tags.at[i], stream, &err);
        if (reply)
            sum += (double)redis_value(reply).number;
        else
            show_error(s, r, label, s->tags.len > 1 ? s->tags.at[i] : "", &err);
        known += reply != NULL;
    }
    if (known > 0)
        figure(member, label, COUNT, sum);
    else
        output_json(member, "null");
}

static void
show_streams(struct status *s)
{
    const struct config *c = s->cli->config;
    char member[96], label[96], answers[sizeof s->redis_err.text], many[40] = "";

    if (config_partitions(c) > 1)
        snprintf(many, sizeof many, ", %d partitions", config_partitions(c));
    snprintf(answers, sizeof answers, "%s answers%s", c->redis_url.text, many);
    title("redis", s->redis != NULL, s->redis ? answers : s->redis_err.text);
    s->healthy = s->healthy && s->redis;
    for (size_t i = 0; s->redis && i < c->streams.len; i++) {
        snprintf(member, sizeof member, "stream_%s", c->streams.at[i]);
        snprintf(label, sizeof label, "entries in %s", c->streams.at[i]);
        show_lengths(s, c->streams.at[i], member, label);
    }
    if (s->redis)
        show_lengths(s, "dead", "stream_dead", "dead letters kept");
}

// --- receivers ------------------------------------------------------------------------

static void
show_receiver(struct status *s, const struct receiver *r)
{
    bool silent = receiver_is_silent(r);
    char line[RECEIVER_LINE];

    s->healthy = s->healthy && !silent;
    output_open(NULL, '{');
    output_text("instance", span_of(r->name));
    output_text("journal", span_of(r->journal));
    output_number("heard_seconds", (uint64_t)r->heard_s);
    output_number("waiting", r->waiting);
    output_number("oldest_seconds", r->oldest_s);
    output_close('{');
    if (!output.json)
        printf("  %-26s %s%s%s\n", r->name,
               output_color(silent ? OUTPUT_BAD : OUTPUT_PLAIN), receiver_text(r, line),
               output_color(OUTPUT_PLAIN));
}

// One alone was shown above. What a partition does not say was shown with the streams.
static void
show_receivers(struct status *s)
{
    static struct receivers all;
    struct err err;
    char text[60];

    for (size_t i = 0; i < s->tags.len; i++)
        (void)receivers_read(&all, &s->tags, i, &err);
    if (all.len < 2)
        return;
    snprintf(text, sizeof text, "%zu share redis.namespace %s", all.len,
             s->cli->config->redis_namespace);
    if (!output.json)
        printf("%s%-10s%s %s\n", output_color(OUTPUT_STRONG), "receivers",
               output_color(OUTPUT_PLAIN), text);
    output_open("receivers", '[');
    for (size_t i = 0; i < all.len; i++)
        show_receiver(s, &all.at[i]);
    output_close('[');
}

// --- commands -------------------------------------------------------------------------

static void
show_service(struct status *s, const char *name)
{
    struct commands_state state;
    struct err err = {0};
    char age[32] = "";

    output_open(NULL, '{');
    output_text("name", span_of(name));
    bool ok = commands_read(s->redis, s->cli->config, name, &state, &err) == 0;
    int64_t ms = s->redis_us / 1000 - state.oldest_ms;
    if (ok)
        output_json("waiting", "%lld", (long long)state.waiting);
    else
        output_text("error", span_of(err.text));
    if (state.oldest_ms && s->redis_us) {
        text_duration(age, sizeof age, ms > 0 ? ms : 0);
        output_json("oldest_seconds", "%lld", (long long)(ms > 0 ? ms / 1000 : 0));
    }
    output_close('{');
    s->healthy = s->healthy && !s->redis->dead;
    if (!output.json && ok)
        printf("  %-26s %lld waiting%s%s\n", name, (long long)state.waiting,
               age[0] ? ", the oldest for " : "", age);
    else if (!output.json)
        printf("  %-26s %s\n", name, err.text);
}

// Who carries them out, and whether that goes on. By the metrics of the worker here, if it leads.
static const char *
lane_text(const struct status *s, bool *ok, struct err *err)
{
    const struct buf *here = &s->cli->worker.metrics;
    int leads = admin_sum_metric(here, "acrelay_worker_leader") > 0
                    ? 2
                    : commands_have_leader(s->redis, s->cli->config, err);

    *ok = leads != 0;
    if (leads < 2)
        return leads > 0   ? "another worker leads"
               : leads < 0 ? err->text
                           : "no worker leads: they wait";
    *ok = admin_sum_metric(here, "acrelay_commands_stopped") == 0;
    if (!*ok)
        return "the worker here leads; stopped: nothing gets through to ActiveCampaign";
    *ok = admin_sum_metric(here, "acrelay_commands_held") == 0;
    if (!*ok)
        return "the worker here leads; some wait: Redis refuses what it writes (see its "
               "log)";
    if (admin_sum_metric(here, "acrelay_commands_paused") > 0)
        return "the worker here leads; paused, as ActiveCampaign asked";
    return "the worker here leads";
}

static void
show_commands(struct status *s)
{
    const struct config *c = s->cli->config;
    struct err err = {0};
    bool ok;
    const char *text = lane_text(s, &ok, &err);

    title("commands", ok, text);
    s->healthy = s->healthy && ok && !s->redis->dead;
    output_open("services", '[');
    for (size_t i = 0; i < c->services_len && !s->redis->dead; i++)
        show_service(s, c->services[i].name);
    output_close('[');
    show_length(s, "commands.dead", "commands_dead", "dead letters of commands");
}

// --- hooks ----------------------------------------------------------------------------

// By Redis's clock, which made the time: ours may be another.
static void
add_age(struct status *s, const char *last, char *text, size_t size)
{
    char age[32];
    int64_t us;

    text[0] = '\0';
    if (s->redis_us == 0 || !clock_parse(&us, span_of(last)))
        return;
    int64_t ms = (s->redis_us - us) / 1000;
    output_json("last_event_age_seconds", "%lld", (long long)ms / 1000);
    text_duration(age, sizeof age, ms > 0 ? ms : 0);
    snprintf(text, size, ", %s ago", age);
}

// One that the worker knows of at ActiveCampaign and the file names no more has no `last`.
static void
show_hook(struct status *s, const char *name, const char *last, const char *state)
{
    bool silent = strcmp(state, "silent") == 0, left = strcmp(state, "left") == 0;
    char age[48];

    output_open(NULL, '{');
    output_text("name", span_of(name));
    output_text("last_event", span_of(last));
    output_text("state", span_of(state));
    add_age(s, last, age, sizeof age);
    output_close('{');
    s->silent += silent;
    s->left += left;
    if (!output.json)
        printf("  %-26s %s%.19s%s  %s%s%s\n", name,
               last[0] ? "last event "
               : left  ? ""
                       : "no event yet",
               last, age, output_color(silent || left ? OUTPUT_BAD : OUTPUT_PLAIN),
               silent ? "silent for longer than expect_every"
               : left ? "left: not in the file any more, but ActiveCampaign still posts "
                        "to it and gets 404"
                      : state,
               output_color(OUTPUT_PLAIN));
}

// NULL when it is not known, which is said.
static const struct redis_reply *
ask_hooks(struct status *s, struct redis *r, const char *tag, const char *name)
{
    char key[SCRIPT_KEY];
    struct err err = {0};

    script_key(key, tag, span_of(name));
    const struct redis_reply *all = r ? cli_ask(r, &err, "HGETALL", key) : NULL;
    if (!r) // shown with the streams
        return NULL;
    if (all)
        return all;
    s->healthy = false;
    output_text("hooks_error", span_of(err.text));
    if (!output.json)
        printf("  %s%s: %s%s\n", output_color(OUTPUT_BAD), key, err.text,
               output_color(OUTPUT_PLAIN));
    return NULL;
}

// The newest over the partitions: times of one form, which compare as text.
static void
read_last(struct status *s, char (*last)[CLOCK_TEXT])
{
    const struct config *c = s->cli->config;
    char found[CLOCK_TEXT];

    for (size_t k = 0; k < s->tags.len; k++) {
        struct redis *r = tags_redis(&s->tags, k, &(struct err){0});
        const struct redis_reply *all = ask_hooks(s, r, s->tags.at[k], "last");
        for (size_t i = 0; i < c->hooks_len; i++) {
            text_escape(found, sizeof found, cli_field(all, c->hooks[i].name));
            if (strcmp(found, last[i]) > 0)
                memcpy(last[i], found, sizeof found);
        }
    }
}

static void
show_hooks(struct status *s)
{
    const struct config *c = s->cli->config;
    char(*last)[CLOCK_TEXT] = calloc(c->hooks_len, sizeof *last), name[128];
    struct state state;

    if (!output.json)
        printf("%shooks%s\n", output_color(OUTPUT_STRONG), output_color(OUTPUT_PLAIN));
    read_last(s, last);
    const struct redis_reply *all = ask_hooks(s, s->redis, c->redis_namespace, "hooks");
    output_open("hooks", '[');
    for (size_t i = 0; i < c->hooks_len; i++) {
        state_read(&state, cli_field(all, c->hooks[i].name));
        show_hook(s, c->hooks[i].name, last[i], state.name);
    }
    for (size_t i = 0; i + 1 < redis_value(all).len; i += 2) {
        struct span raw = redis_value(redis_reply_at(all, i)).text;
        state_read(&state, redis_value(redis_reply_at(all, i + 1)).text);
        text_escape(name, sizeof name, raw);
        if (strcmp(state.name, "left") == 0 && !config_find_hook(c, raw))
            show_hook(s, name, "", state.name);
    }
    output_close('[');
    output_number("hooks_silent", s->silent);
    output_number("hooks_left", s->left);
    s->healthy = s->healthy && s->silent + s->left == 0;
    free(last);
}

// --- the command ----------------------------------------------------------------------

static void
ask_redis(struct status *s)
{
    struct err err;

    output_wait("asking Redis (%s)", s->cli->config->redis_url.text);
    s->redis = check_redis_open(s->cli, s->cli->config->redis_namespace, &s->redis_err);
    if (!s->redis)
        return;
    (void)tags_open(&s->tags, s->cli, &err); // what is away is shown with its streams
    s->redis_us = cli_redis_us(s->redis);
}

static int
run_status(void *cli, struct err *err)
{
    struct status s = {.cli = cli};
    char line[PROBLEM_LINE];

    (void)err;
    if (!cli_read_config(s.cli, true))
        return EXIT_CODE_CONFIG;
    admin_json_fetch(s.cli);
    ask_redis(&s);
    output_wait_end();
    if (s.cli->is_last_good) // people have it on stderr
        output_text("configuration", span_of(problems_first(&s.cli->problems, line)));
    s.healthy = status_programs(s.cli);
    show_streams(&s);
    show_receivers(&s);
    if (s.redis && !s.redis->dead && s.cli->config->services_len > 0)
        show_commands(&s);
    if (s.redis && !s.redis->dead)
        show_hooks(&s);
    s.healthy = s.healthy && !s.cli->is_last_good;
    output_json("healthy", "%s", s.healthy ? "true" : "false");
    if (output.json)
        output_line(stdout);
    redis_close(s.redis);
    tags_close(&s.tags);
    return s.healthy ? EXIT_CODE_OK : EXIT_CODE_UNAVAILABLE;
}

const struct subcommand cli_status_commands[] = {
    {"status", "", "show everything on one screen", 0, 0, NULL, run_status, false, NULL},
    {0},
};
