// status: everything in one screen, from the admin listeners' metrics and from Redis. What
// does not answer is said, and the rest is shown.
#include "base/clock.h"
#include "base/text.h"
#include "cli/admin_json.h"
#include "cli/check_redis.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "cli/waiting.h"
#include "edge/admin_client.h"
#include "relay/script.h"
#include "worker/state_json.h"

#include <stdio.h>
#include <stdlib.h>

struct status {
    struct cli *cli;
    struct admin_state receiver, worker;
    struct buf receiver_page, worker_page; // of /metrics; empty: it does not answer
    struct redis *redis;                   // NULL: not usable, redis_err says why
    struct err redis_err;
    int64_t redis_us; // Redis's time, which its times are compared with; 0: not known
    struct buf json;
    bool healthy;
};

// --- lines ----------------------------------------------------------------------------

// What a part does: a line for people, a member for programs.
static void
title(struct status *s, const char *name, bool good, const char *words)
{
    const struct cli *c = s->cli;

    show_add_member(&s->json, name, span_of(words));
    if (!c->json)
        printf("%s%-10s%s %s%s%s\n", show_color(c, SHOW_STRONG), name, show_plain(c),
               show_color(c, good ? SHOW_GOOD : SHOW_BAD), words, show_plain(c));
}

// A figure: a line for people, a member for programs.
static void
figure(struct status *s, const char *member, const char *label, double value,
       const char *text)
{
    buf_add_format(&s->json, "\"%s\":%.15g,", member, value);
    if (!s->cli->json)
        printf("  %-26s %s\n", label, text);
}

static void
count(struct status *s, const char *member, const char *label, double value)
{
    char text[32];

    snprintf(text, sizeof text, "%.0f", value);
    figure(s, member, label, value, text);
}

static void
bytes(struct status *s, const char *member, const char *label, double value)
{
    char text[32];

    text_bytes(text, sizeof text, value > 0 ? (uint64_t)value : 0);
    figure(s, member, label, value, text);
}

static void
seconds(struct status *s, const char *member, const char *label, double value)
{
    char text[32];

    text_duration(text, sizeof text, (int64_t)(value * 1000));
    figure(s, member, label, value, text);
}

// --- receiver -------------------------------------------------------------------------

static void
show_reload(struct status *s, const struct admin_state *state)
{
    if (state->last_good || (state->code && !state->reload_ok)) {
        show_add_member(&s->json, state == &s->worker ? "worker_reload" : "reload",
                        span_of(state->reload));
        if (!s->cli->json)
            printf("  %s%s: %s%s\n", show_color(s->cli, SHOW_BAD),
                   state->last_good ? "runs with the last good configuration"
                                    : "refused the last reload",
                   state->reload, show_plain(s->cli));
    }
}

static void
show_receiver(struct status *s)
{
    const struct buf *page = &s->receiver_page;
    const char *redis = s->receiver.redis_error;
    bool up = s->receiver.code != 0, refuses = s->receiver.code == 503;
    bool ships = metrics_page_sum(page, "acrelay_relay_shipping") > 0;
    bool known = metrics_page_sum(page, "acrelay_relay_cursor_known") > 0;
    char words[1024];

    s->healthy = up && ships && !refuses;
    if (!up)
        snprintf(words, sizeof words, "does not answer on its admin address: %s",
                 s->receiver.reason);
    else if (refuses)
        snprintf(words, sizeof words,
                 "REFUSES deliveries (503): they cannot be made durable, see its log");
    else if (!ships)
        snprintf(words, sizeof words, "takes deliveries, they wait in the journal: %s",
                 redis[0] ? redis : "see its log");
    else
        snprintf(words, sizeof words, "takes deliveries and relays them");
    title(s, "receiver", s->healthy, words);
    if (!up)
        return;
    show_reload(s, &s->receiver);
    count(s, "requests", "requests", metrics_page_sum(page, "acrelay_requests_total"));
    count(s, "refused", "refused with 503 since start",
          metrics_page_sum(page, "acrelay_journal_refused_total"));
    if (metrics_page_left(page) > 0)
        count(s, "left_posts", "404 for hooks that left", metrics_page_left(page));
    count(s, "entries", "entries added",
          metrics_page_sum(page, "acrelay_relay_entries_total"));
    count(s, "waiting", known ? "waiting for the stream" : "waiting, at most (*)",
          metrics_page_sum(page, "acrelay_journal_unpublished_records"));
    if (!known)
        buf_add_text(&s->json, "\"waiting_at_most\":true,");
    double age;
    if (metrics_page_find(page, "acrelay_journal_oldest_unpublished_age_seconds", &age))
        seconds(s, "waiting_seconds", "the oldest of them since", age);
    count(s, "repeats", "repeats marked or dropped",
          metrics_page_sum(page, "acrelay_relay_repeats_marked_total") +
              metrics_page_sum(page, "acrelay_relay_repeats_dropped_total"));
    count(s, "dead_letters", "dead letters since start",
          metrics_page_sum(page, "acrelay_dead_letters_total"));
    bytes(s, "journal_bytes", "journal on disk",
          metrics_page_sum(page, "acrelay_journal_bytes"));
    bytes(s, "journal_free_bytes", "room left for records",
          metrics_page_sum(page, "acrelay_journal_free_bytes"));
    if (!known && !s->cli->json)
        puts("  (*) all that the journal keeps: only Redis knows what it has of them");
}

// --- streams --------------------------------------------------------------------------

// A number that Redis gives; its error is shown in its place.
static void
show_length(struct status *s, const char *stream, const char *member, const char *label)
{
    char key[SCRIPT_KEY];
    struct err err = {0};

    script_key(key, s->cli->config->redis_namespace, span_of(stream));
    const struct redis_reply *reply = redis_ask(s->redis, &err, "XLEN", key, NULL);
    if (!cli_ask_failed(reply, &err)) {
        count(s, member, label, (double)redis_reply_number(reply));
        return;
    }
    s->healthy = s->healthy && !redis_is_dead(s->redis);
    buf_add_format(&s->json, "\"%s\":null,", member);
    if (!s->cli->json)
        printf("  %-26s %s\n", label, err.text);
}

static void
show_streams(struct status *s)
{
    const struct config *c = s->cli->config;
    char member[96], label[96];

    title(s, "redis", s->redis != NULL, s->redis ? "answers" : s->redis_err.text);
    s->healthy = s->healthy && s->redis;
    for (size_t i = 0; s->redis && i < c->hooks_len; i++) {
        if (config_has_stream_before(c, i))
            continue;
        snprintf(member, sizeof member, "stream_%s", c->hooks[i].stream);
        snprintf(label, sizeof label, "entries in %s", c->hooks[i].stream);
        show_length(s, c->hooks[i].stream, member, label);
    }
    if (s->redis)
        show_length(s, "dead", "stream_dead", "dead letters kept");
}

// --- hooks ----------------------------------------------------------------------------

struct hook_seen {
    char last[CLOCK_TEXT]; // time of the last event, "" none
    char state[24];        // as the worker says, "" it says nothing
    char error[200];       // why one of them is not known
};

static const struct redis_reply *
ask_hook(struct status *s, const char *key, const char *name, struct hook_seen *seen)
{
    char full[SCRIPT_KEY];
    struct err err = {0};

    script_key(full, s->cli->config->redis_namespace, span_of(key));
    const struct redis_reply *reply = redis_ask(s->redis, &err, "HGET", full, name, NULL);
    if (cli_ask_failed(reply, &err))
        snprintf(seen->error, sizeof seen->error, "%.199s", err.text);
    return reply;
}

static void
look_at_hook(struct status *s, const char *name, struct hook_seen *seen)
{
    const struct redis_reply *reply = ask_hook(s, "last", name, seen);

    if (redis_reply_kind(reply) == REDIS_TEXT)
        text_escape(seen->last, sizeof seen->last, redis_reply_text(reply));
    reply = ask_hook(s, "hooks", name, seen);
    if (redis_reply_kind(reply) == REDIS_TEXT)
        state_json_word(seen->state, sizeof seen->state, redis_reply_text(reply));
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
    buf_add_format(&s->json, "\"last_event_age_seconds\":%lld,", (long long)ms / 1000);
    text_duration(age, sizeof age, ms > 0 ? ms : 0);
    snprintf(text, size, ", %s ago", age);
}

static void
print_hook(struct status *s, const char *name, const struct hook_seen *seen)
{
    const struct cli *c = s->cli;
    bool silent = strcmp(seen->state, "silent") == 0;
    bool left = strcmp(seen->state, "left") == 0;
    char age[48];

    buf_add_byte(&s->json, '{');
    show_add_member(&s->json, "name", span_of(name));
    show_add_member(&s->json, "last_event", span_of(seen->last));
    show_add_member(&s->json, "state", span_of(seen->state));
    if (seen->error[0])
        show_add_member(&s->json, "error", span_of(seen->error));
    add_age(s, seen, age, sizeof age);
    s->json.at[s->json.len - 1] = '}';
    buf_add_byte(&s->json, ',');
    if (c->json)
        return;
    printf("  %-26s ", name);
    if (seen->last[0])
        printf("last event %.19s%s", seen->last, age);
    else if (!seen->error[0] && !left)
        printf("%sno event yet%s", show_color(c, SHOW_FAINT), show_plain(c));
    if (seen->error[0])
        printf("  %s%s%s", show_color(c, SHOW_BAD), seen->error, show_plain(c));
    if (silent || left)
        printf("  %s%s%s", show_color(c, SHOW_BAD),
               silent ? "silent for longer than expect_every"
                      : "left: the file does not name it, ActiveCampaign still posts to "
                        "it, and is answered 404",
               show_plain(c));
    else if (seen->state[0])
        printf("  %s", seen->state);
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
    const struct redis_reply *all = redis_ask(s->redis, &err, "HGETALL", key, NULL);
    if (cli_ask_failed(all, &err) && !s->cli->json)
        printf("  hooks that left the file: not looked at: %s\n", err.text);
    for (size_t i = 0; i + 1 < redis_reply_len(all); i += 2) {
        struct span raw = redis_reply_text(redis_reply_at(all, i));
        struct hook_seen seen = {.last = ""};
        state_json_word(seen.state, sizeof seen.state,
                        redis_reply_text(redis_reply_at(all, i + 1)));
        if (strcmp(seen.state, "left") != 0 || config_find_hook(s->cli->config, raw))
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
    if (!s->cli->json)
        printf("%shooks%s\n", show_color(s->cli, SHOW_STRONG), show_plain(s->cli));
    buf_add_text(&s->json, "\"hooks\":[");
    size_t start = s->json.len;
    for (size_t i = 0; i < c->hooks_len && !redis_is_dead(s->redis); i++) {
        struct hook_seen seen = {.last = ""};
        look_at_hook(s, c->hooks[i].name, &seen);
        print_hook(s, c->hooks[i].name, &seen);
        silent += strcmp(seen.state, "silent") == 0;
        unknown += seen.error[0] != '\0';
    }
    size_t left = show_left(s);
    if (s->json.len > start)
        s->json.len--; // the last comma
    buf_add_format(&s->json, "],\"hooks_silent\":%zu,\"hooks_left\":%zu,", silent, left);
    s->healthy = s->healthy && silent == 0 && left == 0 && unknown == 0;
}

// --- worker ---------------------------------------------------------------------------

static void
show_worker(struct status *s)
{
    const struct admin_state *w = &s->worker;
    const struct config *c = s->cli->config;
    bool wanted = c->account_api_url && c->account_api_token_file;
    bool leads = metrics_page_sum(&s->worker_page, "acrelay_worker_leader") > 0;
    bool good = w->code == 200 && !w->activecampaign[0];
    char words[1024];

    if (!w->code && !wanted)
        return;
    if (!w->code)
        snprintf(words, sizeof words, "does not answer on its admin address: %s",
                 w->reason);
    else if (!good)
        snprintf(words, sizeof words, "%s",
                 w->activecampaign[0] ? w->activecampaign : "its last round failed");
    else
        snprintf(words, sizeof words, "%s",
                 leads ? "keeps the hooks" : "stands by: another worker is the leader");
    title(s, "worker", good, words);
    show_reload(s, w);
    s->healthy = s->healthy && good;
}

// --- the command ----------------------------------------------------------------------

static void
ask_admins(struct status *s)
{
    const struct config *c = s->cli->config;

    waiting_for("asking the receiver (%s)", c->receiver_admin.text);
    admin_json_fetch(&s->receiver, &c->receiver_admin);
    if (s->receiver.code)
        admin_client_metrics(&s->receiver_page, &c->receiver_admin);
    waiting_for("asking the worker (%s)", c->worker_admin.text);
    admin_json_fetch(&s->worker, &c->worker_admin);
    if (s->worker.code)
        admin_client_metrics(&s->worker_page, &c->worker_admin);
}

static void
ask_redis(struct status *s)
{
    uint64_t seconds;
    struct err err;

    s->redis = cli_redis(s->cli, &s->redis_err);
    waiting_for("asking Redis (%s)", s->cli->config->redis_url);
    if (s->redis && !redis_is_usable(s->redis, &s->redis_err)) {
        redis_close(s->redis);
        s->redis = NULL;
    }
    if (!s->redis)
        return;
    const struct redis_reply *now = redis_ask(s->redis, &err, "TIME", NULL);
    if (text_number(&seconds, redis_reply_text(redis_reply_at(now, 0)), INT32_MAX))
        s->redis_us = (int64_t)seconds * 1000000;
}

int
cli_status(void *cli)
{
    struct cli *c = cli;
    struct status s = {.cli = c};

    buf_init(&s.json, 1 << 20);
    ask_admins(&s);
    ask_redis(&s);
    waiting_end();
    show_receiver(&s);
    show_streams(&s);
    show_hooks(&s);
    show_worker(&s);
    buf_add_format(&s.json, "\"healthy\":%s,", s.healthy ? "true" : "false");
    if (c->json)
        show_end(&s.json);
    redis_close(s.redis);
    buf_release(&s.receiver_page);
    buf_release(&s.worker_page);
    buf_release(&s.json);
    return s.healthy ? EXIT_CODE_OK : EXIT_CODE_UNAVAILABLE;
}
