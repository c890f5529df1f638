// status: everything in one screen, from the admin listeners' metrics and from Redis. What
// does not answer is said, and the rest is shown. reload: asks the receiver (or the worker) to
// read configuration and secrets again, waits, and says what became of it; the answer is to
// this request and no other (edge/admin.h).
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
    struct admin_state receiver, worker;
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

static double
metric(const struct status *s, const char *name)
{
    return admin_sum_metric(&s->receiver.metrics, name);
}

// --- receiver -------------------------------------------------------------------------

static void
show_reload(struct status *s, const struct admin_state *state)
{
    if (state->last_good || (state->code && !state->reload_ok)) {
        output_text(state == &s->worker ? "worker_reload" : "reload",
                    span_of(state->reload));
        if (!output.json)
            printf("  %s%s: %s%s\n", output_color(OUTPUT_BAD),
                   state->last_good ? "runs with the last good configuration"
                                    : "refused the last reload",
                   state->reload, output_color(OUTPUT_PLAIN));
    }
}

static void
show_receiver_figures(const struct status *s)
{
    const struct buf *page = &s->receiver.metrics;
    bool known = metric(s, "acrelay_relay_cursor_known") > 0;
    double age;

    figure("requests", "requests", COUNT, metric(s, "acrelay_requests_total"));
    figure("refused", "answered with 503 since start", COUNT,
           metric(s, "acrelay_journal_refused_total"));
    if (s->receiver.left_posts > 0)
        figure("left_posts", "404 for hooks not in the file", COUNT,
               s->receiver.left_posts);
    figure("entries", "entries added", COUNT, metric(s, "acrelay_relay_entries_total"));
    figure("waiting", known ? "waiting to be published" : "waiting, at most (*)", COUNT,
           metric(s, "acrelay_journal_unpublished_records"));
    if (!known)
        output_json("waiting_at_most", "true");
    if (admin_find_metric(page, "acrelay_journal_oldest_unpublished_age_seconds", &age))
        figure("waiting_seconds", "the oldest of them for", SECONDS, age);
    figure("repeats", "duplicates marked or dropped", COUNT,
           metric(s, "acrelay_relay_repeats_marked_total") +
               metric(s, "acrelay_relay_repeats_dropped_total"));
    figure("dead_letters", "dead letters since start", COUNT,
           metric(s, "acrelay_dead_letters_total"));
    figure("journal_bytes", "journal on disk", BYTES, metric(s, "acrelay_journal_bytes"));
    figure("journal_free_bytes", "room left for records", BYTES,
           metric(s, "acrelay_journal_free_bytes"));
    if (!known && !output.json)
        puts("  (*) all records in the journal: only Redis knows which are published");
}

static void
show_receiver(struct status *s)
{
    const struct admin_state *r = &s->receiver;
    bool refuses = r->code == 503, ships = metric(s, "acrelay_relay_shipping") > 0;
    char text[1024] = "accepts and publishes deliveries";

    s->healthy = r->code && ships && !refuses;
    if (!r->code)
        snprintf(text, sizeof text, "does not answer on its admin address: %s",
                 r->reason);
    else if (refuses)
        snprintf(text, sizeof text,
                 "REFUSES deliveries (503) because they cannot be stored, see its log");
    else if (!ships)
        snprintf(text, sizeof text, "accepts deliveries, which wait in the journal: %s",
                 r->redis_error[0] ? r->redis_error : "see its log");
    title("receiver", s->healthy, text);
    if (!r->code)
        return;
    show_reload(s, r);
    show_receiver_figures(s);
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
    char member[96], label[96];

    title("redis", s->redis != NULL, s->redis ? "answers" : s->redis_err.text);
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
    printf("  %-26s ", name);
    if (seen->last[0])
        printf("last event %.19s%s", seen->last, age);
    else if (!seen->error[0] && !left)
        printf("%sno event yet%s", output_color(OUTPUT_FAINT),
               output_color(OUTPUT_PLAIN));
    if (seen->error[0])
        printf("  %s%s%s", output_color(OUTPUT_BAD), seen->error,
               output_color(OUTPUT_PLAIN));
    if (silent || left)
        printf("  %s%s%s", output_color(OUTPUT_BAD),
               silent ? "silent for longer than expect_every"
                      : "left: not in the file any more, but ActiveCampaign still posts "
                        "to it and gets 404",
               output_color(OUTPUT_PLAIN));
    else if (seen->state.name[0])
        printf("  %s", seen->state.name);
    putchar('\n');
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
    const struct admin_state *w = &s->worker;
    const struct config *c = s->cli->config;
    bool wanted = c->account_api_url && c->account_api_token_file;
    bool leads = admin_sum_metric(&s->worker.metrics, "acrelay_worker_leader") > 0;
    bool ok = w->code == 200 && !w->activecampaign[0];
    char reason[300];

    if (!w->code && !wanted)
        return;
    snprintf(reason, sizeof reason, "does not answer on its admin address: %s",
             w->reason);
    title("worker", ok,
          !w->code               ? reason
          : w->activecampaign[0] ? w->activecampaign
          : !ok                  ? "its last round failed"
          : leads                ? "keeps the webhooks in sync"
                                 : "on standby: another worker is the leader");
    show_reload(s, w);
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
    struct cli *c = cli;
    struct status s = {.cli = c};

    (void)err;
    output_wait("asking the receiver (%s)", c->config->receiver_admin.text);
    admin_json_fetch(&s.receiver, &c->config->receiver_admin, true);
    output_wait("asking the worker (%s)", c->config->worker_admin.text);
    admin_json_fetch(&s.worker, &c->config->worker_admin, true);
    ask_redis(&s);
    output_wait_end();
    show_receiver(&s);
    show_streams(&s);
    show_hooks(&s);
    show_worker(&s);
    output_json("healthy", "%s", s.healthy ? "true" : "false");
    if (output.json)
        output_line(stdout);
    redis_close(s.redis);
    buf_release(&s.receiver.metrics);
    buf_release(&s.worker.metrics);
    return s.healthy ? EXIT_CODE_OK : EXIT_CODE_UNAVAILABLE;
}

// --- reload -----------------------------------------------------------------------------

enum { WAIT_MS = 60000, POLL_MS = 20 };

// 0 when it is done, and *state says with what result.
static int
wait_done(uint64_t number, const struct socket_address *admin, struct admin_state *state,
          struct err *err)
{
    int64_t end = clock_mono_ms() + times_ms("reload_wait", WAIT_MS);

    for (;;) {
        admin_json_fetch(state, admin, false);
        if (state->code && state->reloads_done >= number)
            return 0;
        if (!state->code)
            return err_exit(err, EXIT_CODE_UNAVAILABLE, "it exited meanwhile: %s",
                            state->reason);
        if (clock_mono_ms() >= end)
            return err_exit(err, EXIT_CODE_UNAVAILABLE,
                            "it has not reloaded within %lld s: see its log",
                            (long long)times_ms("reload_wait", WAIT_MS) / 1000);
        clock_sleep_ms(POLL_MS);
    }
}

static int
run_reload(void *cli, struct err *err)
{
    struct cli *c = cli;
    bool worker = options_has(c->options, "worker");
    const char *program = worker ? "acrelay-worker" : "acrelayd";
    const struct socket_address *admin =
        worker ? &c->config->worker_admin : &c->config->receiver_admin;
    struct admin_state state = {.reload_ok = false};
    uint64_t number;

    output_wait("%s reloads", program);
    int result = admin_json_reload(&number, admin, err);
    if (result == 0)
        result = wait_done(number, admin, &state, err);
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
    err_exit(err, EXIT_CODE_CONFIG, "the reload was refused; %s keeps its configuration",
             program);
    return -1;
}

// --- the command line -------------------------------------------------------------------

static const struct option reload_options[] = {
    OPTION_IS_FLAG("worker", "reload acrelay-worker instead of acrelayd"),
    {0},
};

const struct command cli_status_commands[] = {
    {"status", "", "show everything on one screen", 0, 0, NULL, run_status, true, NULL},
    {"reload", "",
     "make acrelayd read its configuration and secrets again, and report the result", 0,
     0, reload_options, run_reload, true, NULL},
    {0},
};
