// What Redis has of the streams: how much, who reads it and how far, and who writes it. What a
// partition does not say is said in its place, and the rest is shown.
#include "cli/status.h"

#include "base/text.h"

#include <stdio.h>

// --- connections ----------------------------------------------------------------------

void
status_connect(struct status *s)
{
    const char *namespace = s->cli->config->redis_namespace;

    s->away = false;
    s->redis_us = s->redis ? cli_redis_us(s->redis) : 0;
    if (!s->redis || s->redis->dead) {
        redis_close(s->redis);
        s->redis = check_redis_open(s->cli, namespace, &s->redis_err);
        s->redis_us = s->redis ? cli_redis_us(s->redis) : 0;
    }
}

struct redis *
status_connection(struct status *s, size_t tag, struct err *err)
{
    struct redis *r = s->tags.redis[tag];

    if (!s->redis || (s->away && (!r || r->dead))) {
        *err = s->redis_err;
        return NULL;
    }
    r = tags_redis(&s->tags, tag, err);
    if (!r && s->hurries) {
        s->away = true;
        s->redis_err = *err;
    }
    return r;
}

// --- streams --------------------------------------------------------------------------

// Its error is shown in the place of a number.
static void
show_error(struct status *s, const struct redis *r, const char *label, const char *tag,
           const struct err *err)
{
    s->healthy = s->healthy && r && !r->dead;
    status_line(s, OUTPUT_PLAIN, label, "%s%s%s", tag, *tag ? ": " : "", err->text);
}

static const struct redis_reply *
ask_length(struct redis *r, const char *tag, const char *stream, struct err *err)
{
    char key[SCRIPT_KEY];

    script_key(key, tag, span_of(stream));
    return r ? cli_ask(r, err, "XLEN", key) : NULL;
}

void
status_commands_dead(struct status *s)
{
    static const char member[] = "commands_dead", label[] = "dead letters of commands";
    const char *namespace = s->cli->config->redis_namespace;
    struct err err = s->redis_err;
    const struct redis_reply *reply =
        ask_length(s->redis, namespace, "commands.dead", &err);

    if (reply) {
        status_figure(s, member, label, STATUS_COUNT, (double)redis_value(reply).number);
        return;
    }
    document_word(s->to, member, NULL);
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
        struct redis *r = status_connection(s, i, &err);
        const struct redis_reply *reply = ask_length(r, s->tags.at[i], stream, &err);
        if (reply)
            sum += (double)redis_value(reply).number;
        else
            show_error(s, r, label, s->tags.len > 1 ? s->tags.at[i] : "", &err);
        known += reply != NULL;
    }
    if (known == s->tags.len) {
        status_figure(s, member, label, STATUS_COUNT, sum);
        return;
    }
    document_word(s->to, member, NULL);
    if (known > 0)
        status_line(s, OUTPUT_PLAIN, label, "%.0f in the other partitions", sum);
}

void
status_streams(struct status *s)
{
    const struct config_list *streams = &s->cli->config->streams;
    char member[96], label[96];

    for (size_t i = 0; i < streams->len; i++) {
        snprintf(member, sizeof member, "stream_%s", streams->at[i]);
        snprintf(label, sizeof label, "entries in %s", streams->at[i]);
        show_lengths(s, streams->at[i], member, label);
    }
}

void
status_dead(struct status *s)
{
    show_lengths(s, "dead", "stream_dead", "dead letters kept");
}

// --- groups ---------------------------------------------------------------------------

// Of many partitions only those that are behind have a line.
static void
print_group(const struct status *s, const char *key, struct span name, int64_t pending,
            int64_t consumers, const struct redis_reply *lag)
{
    char shown[64], label[80], behind[32] = "lag not known", unacknowledged[48] = "";
    int64_t n = redis_value(lag).number;

    if (s->tags.len > 1 && n == 0 && pending == 0)
        return;
    text_escape(shown, sizeof shown, name);
    snprintf(label, sizeof label, "group %s", shown);
    if (redis_value(lag).kind == REDIS_NUMBER)
        snprintf(behind, sizeof behind, "%lld behind", (long long)n);
    if (pending)
        snprintf(unacknowledged, sizeof unacknowledged, ", %lld not acknowledged",
                 (long long)pending);
    status_line(s, OUTPUT_PLAIN, label, "%s in %s, %lld consumer%s%s",
                redis_value(lag).kind == REDIS_NUMBER && n == 0 ? "up to date" : behind,
                key, (long long)consumers, PLURAL(consumers), unacknowledged);
}

static void
show_group(struct status *s, const char *key, const struct redis_reply *group)
{
    const struct redis_reply *lag = redis_member(group, "lag"); // nil: not known
    int64_t pending = redis_value(redis_member(group, "pending")).number;
    int64_t consumers = redis_value(redis_member(group, "consumers")).number;

    document_open(s->to, NULL, '{');
    document_shown(s->to, "name", cli_field(group, "name"));
    document_shown(s->to, "last", cli_field(group, "last-delivered-id"));
    document_number(s->to, "consumers", true, consumers);
    document_number(s->to, "pending", true, pending);
    document_number(s->to, "lag", redis_value(lag).kind == REDIS_NUMBER,
                    redis_value(lag).number);
    document_close(s->to, '{');
    print_group(s, key, cli_field(group, "name"), pending, consumers, lag);
}

static void
show_groups(struct status *s, const struct tags_place *place)
{
    const char *key = place->key;
    struct err err = {0};
    struct redis *r = status_connection(s, place->tag, &err);

    // Of a stream without an entry yet, which has no groups, Redis says that there is no key.
    const struct redis_reply *groups =
        r ? cli_ask(r, &err, "XINFO", "GROUPS", key) : NULL;
    document_open(s->to, NULL, '{');
    document_text(s->to, "key", span_of(key));
    document_open(s->to, "groups", '[');
    for (size_t i = 0; i < redis_value(groups).len; i++)
        show_group(s, key, redis_reply_at(groups, i));
    document_close(s->to, '[');
    if (!groups && !strstr(err.text, "no such key"))
        document_text(s->to, "error", span_of(err.text));
    document_close(s->to, '{');
}

void
status_groups(struct status *s)
{
    struct tags_place place;

    document_open(s->to, "streams", '[');
    for (size_t n = 0; tags_place(&s->tags, n, &place); n++)
        if (!place.is_test && !place.is_dead)
            show_groups(s, &place);
    document_close(s->to, '[');
}

// --- receivers ------------------------------------------------------------------------

static void
show_receiver(struct status *s, const struct receiver *r)
{
    char line[RECEIVER_LINE];

    s->healthy = s->healthy && !r->is_silent;
    document_open(s->to, NULL, '{');
    document_text(s->to, "instance", span_of(r->name));
    document_text(s->to, "journal", span_of(r->journal));
    document_number(s->to, "heard_seconds", true, r->heard_s);
    document_number(s->to, "waiting", true, (int64_t)r->waiting);
    document_number(s->to, "oldest_seconds", true, (int64_t)r->oldest_s);
    document_close(s->to, '{');
    status_line(s, r->is_silent ? OUTPUT_BAD : OUTPUT_PLAIN, r->name, "%s",
                receiver_text(r, line));
}

// One alone was shown among the programs. What a partition does not say was shown with the streams.
void
status_receivers(struct status *s)
{
    static struct receivers all;

    receivers_read(&all, &s->tags);
    if (all.len < 2)
        return;
    if (s->prints)
        printf("%s%-10s%s %zu share redis.namespace %s\n", output_color(OUTPUT_STRONG),
               "receivers", output_color(OUTPUT_PLAIN), all.len,
               s->cli->config->redis_namespace);
    document_open(s->to, "receivers", '[');
    for (size_t i = 0; i < all.len; i++)
        show_receiver(s, &all.at[i]);
    document_close(s->to, '[');
}
