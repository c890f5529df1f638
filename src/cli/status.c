// status: everything in one screen, from the admin listeners' metrics and from Redis. What
// does not answer is said, and the rest is shown. reload: asks the receiver (or the worker) to
// read configuration and secrets again, and says what became of it.
#include "cli/cli.h"

#include "base/clock.h"
#include "base/text.h"
#include "edge/admin.h"
#include "relay/script.h"
#include "worker/known.h"

#include <stdio.h>

struct status {
    struct cli *cli;
    struct redis *redis; // NULL: not usable, redis_err says why
    struct err redis_err;
    int64_t redis_us; // Redis's time, which its times are compared with; 0: not known
    bool healthy;
};

// --- lines ----------------------------------------------------------------------------

// What a part does: a line for people, a member for programs.
static void
title(const char *name, bool ok, const char *text)
{
    output_text(name, span_of(text));
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

// --- receiver -------------------------------------------------------------------------

static void
show_reload(const char *member, const struct admin_state *state)
{
    if (state->code == 0 || (state->reload_ok && !state->last_good))
        return;
    output_text(member, span_of(state->reload));
    if (!output.json)
        printf("  %s%s%s%s\n", output_color(OUTPUT_BAD),
               state->last_good ? "" : "refused the last reload: ", state->reload,
               output_color(OUTPUT_PLAIN));
}

static void
show_figures(const struct admin_state *r)
{
    static const struct {
        const char *member, *label;
        enum unit unit;
        const char *metric, *plus; // another metric, or NULL
    } figures[] = {
        {"requests", "requests", COUNT, "acrelay_requests_total", NULL},
        {"refused", "answered with 503 since start", COUNT,
         "acrelay_journal_refused_total", NULL},
        {"entries", "entries confirmed by Redis", COUNT, "acrelay_relay_entries_total",
         NULL},
        {"waiting", "waiting to be published", COUNT,
         "acrelay_journal_unpublished_records", NULL},
        {"waiting_seconds", "the oldest of them for", SECONDS,
         "acrelay_journal_oldest_unpublished_age_seconds", NULL},
        {"repeats", "duplicates marked or dropped", COUNT,
         "acrelay_relay_repeats_marked_total", "acrelay_relay_repeats_dropped_total"},
        {"dead_letters", "dead letters since start", COUNT, "acrelay_dead_letters_total",
         NULL},
        {"journal_bytes", "journal on disk", BYTES, "acrelay_journal_bytes", NULL},
        {"journal_free_bytes", "room left for records", BYTES,
         "acrelay_journal_free_bytes", NULL},
    };
    double value, plus = 0;

    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        bool found = admin_find_metric(&r->metrics, figures[i].metric, &value);
        if (!found && figures[i].unit == SECONDS) // nothing waits
            continue;
        if (figures[i].plus)
            plus = admin_sum_metric(&r->metrics, figures[i].plus);
        figure(figures[i].member, figures[i].label, figures[i].unit, value + plus);
        plus = 0;
    }
    if (r->left_posts > 0)
        figure("left_posts", "404 for hooks not in the file", COUNT, r->left_posts);
    if (admin_sum_metric(&r->metrics, "acrelay_relay_cursor_known") > 0)
        return;
    output_json("waiting_at_most", "true");
    if (!output.json)
        puts("  waiting: all records in the journal, at most: only Redis knows which are "
             "published");
}

static void
show_receiver(struct status *s)
{
    const struct admin_state *r = &s->cli->receiver;
    char text[1024] = "accepts and publishes deliveries";
    double room;
    bool full = admin_find_metric(&r->metrics, "acrelay_journal_free_bytes", &room) &&
                room < (double)JOURNAL_SEGMENT;
    const char *why = r->journal[0] ? r->journal
                      : full ? "no space left on the disk, or journal.max is reached"
                             : "see its log";

    s->healthy = false;
    if (!r->code)
        snprintf(text, sizeof text, "does not answer on its admin address: %s",
                 r->reason);
    else if (r->code == 503)
        snprintf(text, sizeof text,
                 "REFUSES deliveries (503) because they cannot be stored: %s", why);
    else if (r->journal[0] || full)
        snprintf(text, sizeof text, "has no room for more deliveries: %s", why);
    else if (admin_sum_metric(&r->metrics, "acrelay_relay_shipping") == 0)
        snprintf(text, sizeof text, "accepts deliveries, but does not publish them: %s",
                 r->redis[0] ? r->redis : why);
    else
        s->healthy = true;
    title("receiver", s->healthy, text);
    show_reload("reload", r);
    if (r->code)
        show_figures(r);
}

// --- streams --------------------------------------------------------------------------

// A number that Redis gives; its error is shown in its place.
static void
show_length(struct status *s, const char *stream, const char *member, const char *label)
{
    char key[SCRIPT_KEY];
    struct err err = {0};

    script_key(key, s->cli->config->redis_namespace, span_of(stream));
    const struct redis_reply *reply = cli_ask(s->redis, &err, "XLEN", key);
    if (reply) {
        figure(member, label, COUNT, (double)redis_value(reply).number);
        return;
    }
    s->healthy = s->healthy && !s->redis->dead;
    output_json(member, "null");
    if (!output.json)
        printf("  %-26s %s\n", label, err.text);
}

static void
show_streams(struct status *s)
{
    const struct config *c = s->cli->config;
    char member[96], label[96], text[1024];

    if (s->redis)
        snprintf(text, sizeof text, "%s answers", c->redis_url.text);
    else
        snprintf(text, sizeof text, "%s: %s", c->redis_url.text, s->redis_err.text);
    title("redis", s->redis != NULL, text);
    s->healthy = s->healthy && s->redis;
    for (size_t i = 0; s->redis && i < c->streams.len; i++) {
        snprintf(member, sizeof member, "stream_%s", c->streams.at[i]);
        snprintf(label, sizeof label, "entries in %s", c->streams.at[i]);
        show_length(s, c->streams.at[i], member, label);
    }
    if (s->redis)
        show_length(s, "dead", "stream_dead", "dead letters kept");
}

// --- hooks ----------------------------------------------------------------------------

struct hook_seen {
    char last[CLOCK_TEXT]; // time of the last event, "" none
    struct state state;    // as the worker says
    char error[200];       // why one of them is not known
};

static struct span
ask_hook(struct status *s, const char *key, const char *name, struct hook_seen *seen)
{
    char full[SCRIPT_KEY];
    struct err err = {0};

    script_key(full, s->cli->config->redis_namespace, span_of(key));
    const struct redis_reply *reply = cli_ask(s->redis, &err, "HGET", full, name);
    if (!reply)
        snprintf(seen->error, sizeof seen->error, "%.199s", err.text);
    return redis_value(reply).text;
}

// By Redis's clock, which made the time: ours may be another.
static void
add_age(struct status *s, const struct hook_seen *seen, char *text, size_t size)
{
    char age[32];
    int64_t us;

    text[0] = '\0';
    if (s->redis_us == 0 || !clock_parse(&us, span_of(seen->last)))
        return;
    int64_t ms = (s->redis_us - us) / 1000;
    output_json("last_event_age_seconds", "%lld", (long long)ms / 1000);
    text_duration(age, sizeof age, ms > 0 ? ms : 0);
    snprintf(text, size, ", %s ago", age);
}

static void
print_hook(struct status *s, const char *name, const struct hook_seen *seen)
{
    bool silent = strcmp(seen->state.name, "silent") == 0;
    bool left = strcmp(seen->state.name, "left") == 0;
    bool bad = silent || left || seen->error[0];
    char age[48];

    output_open(NULL, '{');
    output_text("name", span_of(name));
    output_text("last_event", span_of(seen->last));
    output_text("state", span_of(seen->state.name));
    if (seen->error[0])
        output_text("error", span_of(seen->error));
    add_age(s, seen, age, sizeof age);
    output_close('{');
    if (output.json)
        return;
    printf("  %-26s %s%.19s%s", name, seen->last[0] ? "last event " : "",
           seen->last[0] ? seen->last
           : bad         ? ""
                         : "no event yet",
           age);
    printf("  %s%s%s%s\n", output_color(bad ? OUTPUT_BAD : OUTPUT_PLAIN), seen->error,
           silent ? "silent for longer than expect_every"
           : left ? "left: not in the file any more, but ActiveCampaign still posts to "
                    "it and gets 404"
                  : seen->state.name,
           output_color(OUTPUT_PLAIN));
}

// Those that the worker knows of at ActiveCampaign and the file names no more.
static size_t
show_left(struct status *s)
{
    char key[SCRIPT_KEY], name[128];
    struct err err = {0};
    size_t left = 0;

    script_key(key, s->cli->config->redis_namespace, SPAN("hooks"));
    const struct redis_reply *all = cli_ask(s->redis, &err, "HGETALL", key);
    if (!all && !output.json)
        printf("  hooks that left the file: not checked: %s\n", err.text);
    for (size_t i = 0; i + 1 < redis_value(all).len; i += 2) {
        struct span raw = redis_value(redis_reply_at(all, i)).text;
        struct hook_seen seen = {.last = ""};
        state_read(&seen.state, redis_value(redis_reply_at(all, i + 1)).text);
        if (strcmp(seen.state.name, "left") != 0 || config_find_hook(s->cli->config, raw))
            continue;
        text_escape(name, sizeof name, raw);
        print_hook(s, name, &seen);
        left++;
    }
    return left;
}

static void
show_hooks(struct status *s)
{
    const struct config *c = s->cli->config;
    size_t silent = 0, unknown = 0;

    if (!s->redis)
        return;
    if (!output.json)
        printf("%shooks%s\n", output_color(OUTPUT_STRONG), output_color(OUTPUT_PLAIN));
    output_open("hooks", '[');
    for (size_t i = 0; i < c->hooks_len && !s->redis->dead; i++) {
        struct hook_seen seen = {.last = ""};
        const char *name = c->hooks[i].name;
        text_escape(seen.last, sizeof seen.last, ask_hook(s, "last", name, &seen));
        state_read(&seen.state, ask_hook(s, "hooks", name, &seen));
        print_hook(s, name, &seen);
        silent += strcmp(seen.state.name, "silent") == 0;
        unknown += seen.error[0] != '\0';
    }
    size_t left = show_left(s);
    output_close('[');
    output_number("hooks_silent", silent);
    output_number("hooks_left", left);
    s->healthy = s->healthy && silent == 0 && left == 0 && unknown == 0;
}

// --- worker ---------------------------------------------------------------------------

static void
show_worker(struct status *s)
{
    const struct admin_state *w = &s->cli->worker;
    const struct config *c = s->cli->config;
    bool leads = admin_sum_metric(&w->metrics, "acrelay_worker_leader") > 0;
    bool ok = w->code == 200 && !w->activecampaign[0];
    char reason[300];

    if (!w->code && !(c->account_api_url && c->account_api_token_file))
        return;
    snprintf(reason, sizeof reason, "does not answer on its admin address: %s",
             w->reason);
    title("worker", ok,
          !w->code               ? reason
          : w->activecampaign[0] ? w->activecampaign
          : !ok                  ? "its last round failed"
          : leads                ? "keeps the webhooks in sync"
                                 : "on standby: another worker is the leader");
    show_reload("worker_reload", w);
    s->healthy = s->healthy && ok;
}

// --- the command ----------------------------------------------------------------------

static void
ask_redis(struct status *s)
{
    uint64_t seconds;
    struct err err;

    output_wait("asking Redis (%s)", s->cli->config->redis_url.text);
    s->redis = cli_redis(s->cli, &s->redis_err);
    if (s->redis && !check_redis_role(s->redis, &s->redis_err)) {
        redis_close(s->redis);
        s->redis = NULL;
    }
    if (!s->redis)
        return;
    const struct redis_reply *now = redis_ask(s->redis, &err, "TIME", NULL);
    if (text_number(&seconds, redis_value(redis_reply_at(now, 0)).text, INT32_MAX))
        s->redis_us = (int64_t)seconds * 1000000;
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
    show_receiver(&s);
    show_streams(&s);
    show_hooks(&s);
    show_worker(&s);
    s.healthy = s.healthy && !s.cli->is_last_good;
    output_json("healthy", "%s", s.healthy ? "true" : "false");
    if (output.json)
        output_line(stdout);
    redis_close(s.redis);
    return s.healthy ? EXIT_CODE_OK : EXIT_CODE_UNAVAILABLE;
}

// --- reload -----------------------------------------------------------------------------

static int
run_reload(void *cli, struct err *err)
{
    struct cli *c = cli;
    bool worker = options_has(c->options, "worker");
    const char *program = worker ? "acrelay-worker" : "acrelayd";
    struct admin_state state;

    if (!cli_read_config(c, true))
        return EXIT_CODE_CONFIG;
    const struct socket_address *admin =
        worker ? &c->config->worker_admin : &c->config->receiver_admin;
    output_wait("%s reloads", program);
    int result = admin_json_reload(&state, admin, err);
    output_wait_end();
    if (result < 0) {
        err_context(err, "%s on %s", program, admin->text);
        err->exit = EXIT_CODE_UNAVAILABLE;
        return -1;
    }
    output_text("program", span_of(program));
    output_json("done", "%s", state.reload_ok ? "true" : "false");
    output_text("text", span_of(state.reload));
    if (output.json)
        output_line(stdout);
    else
        printf("%s: %s\n", program, state.reload);
    if (state.reload_ok)
        return EXIT_CODE_OK;
    return err_exit(err, EXIT_CODE_CONFIG,
                    "the reload was refused; %s keeps its configuration", program);
}

static const struct option reload_options[] = {
    OPTION_IS_FLAG("worker", "reload acrelay-worker instead of acrelayd"),
    {0},
};

const struct command cli_status_commands[] = {
    {"status", "", "show everything on one screen", 0, 0, NULL, run_status, false, NULL},
    {"reload", "",
     "make acrelayd read its configuration and secrets again, and report the result", 0,
     0, reload_options, run_reload, false, NULL},
    {0},
};
