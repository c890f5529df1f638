// status: everything in one screen, from the admin listeners' metrics and from Redis. What
// does not answer is said, and the rest is shown.
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli.h"
#include "config/page.h"
#include "cli/show.h"
#include "relay/script.h"
#include "worker/state_json.h"

#include <stdio.h>
#include <stdlib.h>

struct status {
    struct cli *cli;
    struct buf receiver, worker; // pages of /metrics; empty: it does not answer
    struct redis *redis;
    struct err redis_err;
    struct buf json;
    bool healthy;
};

// --- lines ----------------------------------------------------------------------------

static void
title(const struct status *s, const char *name, bool good, const char *words)
{
    const struct cli *c = s->cli;

    if (!c->json)
        printf("%s%-10s%s %s%s%s\n", show_color(c, SHOW_STRONG), name, show_plain(c),
               show_color(c, good ? SHOW_GOOD : SHOW_BAD), words, show_plain(c));
}

// A figure: a line for people, a member for programs.
static void
figure(struct status *s, const char *member, const char *label, double value,
       const char *text)
{
    if (s->json.len == 0)
        buf_add_byte(&s->json, '{');
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
show_receiver(struct status *s)
{
    const struct buf *page = &s->receiver;
    bool up = page->len > 0, redis = page_metric(page, "acrelay_redis_up") > 0;
    bool ships = page_metric(page, "acrelay_relay_shipping") > 0;
    bool known = page_metric(page, "acrelay_relay_cursor_known") > 0;
    bool refuses = up && page_says_refusing(&s->cli->config->receiver_admin);

    s->healthy = up && redis && ships && !refuses;
    title(s, "receiver", s->healthy,
          !up       ? "does not answer on its admin address"
          : refuses ? "REFUSES deliveries (503): they cannot be made durable, see its log"
          : !redis  ? "takes deliveries; Redis is away, they wait in the journal"
          : !ships  ? "takes deliveries; the relay has stopped, see its log"
                    : "takes deliveries and relays them");
    if (!up)
        return;
    count(s, "requests", "requests", page_metric(page, "acrelay_requests_total"));
    count(s, "refused", "refused with 503 since start",
          page_metric(page, "acrelay_journal_refused_total"));
    count(s, "entries", "entries added",
          page_metric(page, "acrelay_relay_entries_total"));
    count(s, "waiting", known ? "waiting for the stream" : "waiting, at most (*)",
          page_metric(page, "acrelay_journal_unpublished_records"));
    double age;
    if (page_find(page, "acrelay_journal_oldest_unpublished_age_seconds", &age))
        seconds(s, "waiting_seconds", "the oldest of them since", age);
    count(s, "repeats", "repeats marked or dropped",
          page_metric(page, "acrelay_relay_repeats_marked_total") +
              page_metric(page, "acrelay_relay_repeats_dropped_total"));
    count(s, "dead_letters", "dead letters since start",
          page_metric(page, "acrelay_dead_letters_total"));
    bytes(s, "journal_bytes", "journal on disk",
          page_metric(page, "acrelay_journal_bytes"));
    bytes(s, "journal_free_bytes", "room left for records",
          page_metric(page, "acrelay_journal_free_bytes"));
    if (!known && !s->cli->json)
        puts("  (*) all that the journal keeps: only Redis knows what it has of them");
}

// --- streams --------------------------------------------------------------------------

static double
length_of(struct status *s, const char *stream)
{
    char key[SCRIPT_KEY];

    script_key(key, s->cli->config->redis_namespace, span_of(stream));
    return (double)redis_reply_number(
        redis_ask(s->redis, &s->redis_err, "XLEN", key, NULL));
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
        count(s, member, label, length_of(s, c->hooks[i].stream));
    }
    if (s->redis)
        count(s, "stream_dead", "dead letters kept", length_of(s, "dead"));
}

// --- hooks ----------------------------------------------------------------------------

struct hook_seen {
    char last[CLOCK_TEXT]; // time of the last event, "" none
    char state[24];        // as the worker says, "" it says nothing
};

// NULL: Redis does not answer any more.
static const struct redis_reply *
ask_hook(struct status *s, const char *key, const char *name)
{
    char full[SCRIPT_KEY];
    struct err err = {0};

    script_key(full, s->cli->config->redis_namespace, span_of(key));
    return redis_ask(s->redis, &err, "HGET", full, name, NULL);
}

static bool
look_at_hook(struct status *s, const char *name, struct hook_seen *seen)
{
    const struct redis_reply *reply = ask_hook(s, "last", name);

    *seen = (struct hook_seen){0};
    if (!reply)
        return false;
    if (redis_reply_kind(reply) == REDIS_TEXT)
        text_escape(seen->last, sizeof seen->last, span_to(redis_reply_text(reply), 19));
    reply = ask_hook(s, "hooks", name);
    if (!reply)
        return false;
    if (redis_reply_kind(reply) == REDIS_TEXT)
        state_json_word(seen->state, sizeof seen->state, redis_reply_text(reply));
    return true;
}

static void
print_hook(const struct status *s, const char *name, const struct hook_seen *seen)
{
    const struct cli *c = s->cli;
    bool silent = strcmp(seen->state, "silent") == 0;

    printf("  %-26s ", name);
    if (seen->last[0])
        printf("last event %s", seen->last);
    else
        printf("%sno event yet%s", show_color(c, SHOW_FAINT), show_plain(c));
    if (silent)
        printf("  %ssilent for longer than expect_every%s", show_color(c, SHOW_BAD),
               show_plain(c));
    else if (seen->state[0])
        printf("  %s", seen->state);
    putchar('\n');
}

static void
show_hooks(struct status *s)
{
    const struct config *c = s->cli->config;
    size_t silent = 0;

    if (!s->redis)
        return;
    title(s, "hooks", true, "");
    for (size_t i = 0; i < c->hooks_len; i++) {
        struct hook_seen seen;
        if (!look_at_hook(s, c->hooks[i].name, &seen))
            break; // the connection is dead; what we know is on the screen
        if (!s->cli->json)
            print_hook(s, c->hooks[i].name, &seen);
        silent += strcmp(seen.state, "silent") == 0;
    }
    s->healthy = s->healthy && silent == 0;
    buf_add_format(&s->json, "\"hooks_silent\":%zu,", silent);
}

static void
show_worker(struct status *s)
{
    bool up = s->worker.len > 0, wanted = s->cli->config->account_api_token_file != NULL;

    if (up || wanted)
        title(s, "worker", up,
              up ? "keeps the hooks" : "does not answer on its admin address");
    if (wanted)
        s->healthy = s->healthy && up;
}

int
cli_status(struct cli *c)
{
    struct status s = {.cli = c};

    buf_init(&s.json, 1 << 20);
    page_fetch(&s.receiver, &c->config->receiver_admin);
    page_fetch(&s.worker, &c->config->worker_admin);
    s.redis = cli_redis(c, &s.redis_err);
    show_receiver(&s);
    show_streams(&s);
    show_hooks(&s);
    show_worker(&s);
    buf_add_format(&s.json, "%s\"healthy\":%s,", s.json.len ? "" : "{",
                   s.healthy ? "true" : "false");
    if (c->json)
        show_end(&s.json);
    redis_close(s.redis);
    buf_release(&s.receiver);
    buf_release(&s.worker);
    buf_release(&s.json);
    return s.healthy ? EXIT_CODE_OK : EXIT_CODE_UNAVAILABLE;
}
