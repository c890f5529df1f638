// The scene of the relay's tests: a real journal, a real redis-server, and the relay between them.
// The configuration is made by hand; a test changes it before relay_up, or reloads it.
#ifndef ACRELAY_TESTS_RELAY_SCENE_H
#define ACRELAY_TESTS_RELAY_SCENE_H

#include "directory.h"
#include "redis_server.h"
#include "relay/internal.h"

#include <stdarg.h>

#define HOUR_US INT64_C(3600000000)
#define DAY_US (24 * HOUR_US)

static struct redis_server server;
static struct redis *look; // the test's own connection
static struct journal *journal;
static struct relay *relay;
static int64_t keep_us = HOUR_US;
static struct config config;

static inline void
journal_up(void)
{
    struct err err;
    struct journal_options o = {.directory = directory,
                                .segment_bytes = 1 << 20,
                                .keep_us = keep_us,
                                .keep_bytes_max = 64 << 20,
                                .bytes_max = 256 << 20,
                                .force = true};

    journal = journal_open(&o, &err);
    cr_assert(journal, "%s", err.text);
}

// snapshot is the configuration as it is now: the relay's, which never changes any more.
static inline struct config *
snapshot(void)
{
    static struct config snapshots[8];
    static size_t len;

    cr_assert(len < 8);
    snapshots[len] = config;
    snapshots[len].holders = 1;
    return &snapshots[len++];
}

static inline void
relay_up(void)
{
    struct err err;

    relay = relay_start(snapshot(), journal, &err);
    cr_assert(relay, "%s", err.text);
}

static inline void
relay_up_as(const char *user, const char *password)
{
    static char name[32], file[] = "env:RELAY_PASSWORD";

    snprintf(name, sizeof name, "%s", user);
    config.redis_user = name;
    config.redis_password_file = file;
    setenv("RELAY_PASSWORD", password, 1);
    relay_up();
}

// The relay and the journal end, and only the journal begins again.
static inline void
relay_down(void)
{
    relay_stop(relay);
    relay = NULL;
    journal_close(journal);
    journal_up();
}

// configure has the configuration name these streams and hooks (words).
static inline void
configure(const char *streams, const char *hooks)
{
    static char names[64][RELAY_NAME];
    static char *lists[64];
    static struct config_hook hook_lists[64];
    static size_t n; // names of the configurations before stay as they are
    struct span words = span_of(streams);

    cr_assert(n < 50);
    config.streams = (struct config_list){.at = lists + n};
    while (words.len) {
        struct span word = span_cut(&words, ' ');
        memcpy(names[n], word.at, word.len);
        config.streams.len++;
        lists[n] = names[n];
        n++;
    }
    n++; // the NULL that ends the list
    config.hooks = hook_lists + n;
    config.hooks_len = 0;
    words = span_of(hooks);
    while (words.len) {
        struct span word = span_cut(&words, ' ');
        memcpy(names[n], word.at, word.len);
        config.hooks[config.hooks_len++].name = names[n];
        n++;
    }
}

static inline void
reload(void)
{
    struct err err;

    cr_assert(relay_reload(relay, snapshot(), &err) == 0, "%s", err.text);
}

static inline void
set_times(const char *times)
{
    char all[400];

    snprintf(all, sizeof all,
             "%s relay-backoff=5 relay-backoff-max=20 relay-stop-wait=20 refused-wait=5 "
             "trim=50 cursor-check=20 redis-command=3000",
             times);
    setenv("ACRELAY_TEST_TIMES", all, 1);
}

static inline void
set_up(void)
{
    static char account[] = "acme", namespace[] = "t";

    redis_server_start(&server);
    look = redis_server_open(&server);
    make_directory();
    set_times("");
    config = (struct config){.holders = 1,
                             .account_name = account,
                             .redis_namespace = namespace,
                             .redis_url = redis_server_options(&server).url,
                             .state_dir = directory,
                             .duplicates_window_us = HOUR_US,
                             .duplicates_max = 10000};
    configure("events", "");
    journal_up();
}

static inline void
tear_down(void)
{
    relay_stop(relay);
    journal_close(journal);
    redis_close(look);
    redis_server_stop(&server);
    remove_directory();
}

static inline void
post_to(const char *stream, enum delivery_duplicates repeats, const char *body)
{
    struct delivery d = {.hook = SPAN("h"),
                         .stream = span_of(stream),
                         .body = span_of(body),
                         .duplicates = repeats,
                         .include_raw = true};
    struct buf stored;
    struct err err;

    buf_init(&stored, 1 << 22);
    delivery_encode(&stored, &d);
    cr_assert(journal_append(journal, buf_span(&stored), 5000, NULL, NULL, &err) == 0,
              "%s", err.text);
    buf_release(&stored);
}

static inline void
post(int first, int last)
{
    char body[32];

    for (int i = first; i <= last; i++) {
        snprintf(body, sizeof body, "event %d", i);
        post_to("events", DELIVERY_MARK, body);
    }
}

// ask sends one command given as words and returns the reply.
static inline const struct redis_reply *
ask(const char *words)
{
    struct span args[32], rest = span_of(words);
    struct err err;
    size_t n = 0;

    while (rest.len)
        args[n++] = span_cut(&rest, ' ');
    const struct redis_reply *reply = redis_command(look, args, n, &err);
    cr_assert(reply, "%s: %s", words, err.text);
    return reply;
}

static inline void
command(const char *words)
{
    const struct redis_reply *reply = ask(words);

    cr_assert(redis_value(reply).kind != REDIS_ERROR, "%s: %s", words,
              redis_value(reply).text.at);
}

static inline struct relay_status
status(void)
{
    struct relay_status s;

    relay_read_status(relay, &s);
    return s;
}

// counted reads a counter of the relay's, length and lag the figures of a stream.
static inline uint64_t
counted(enum relay_metric metric)
{
    return (uint64_t)metric_read(&relay_metrics[metric]);
}

static inline uint64_t
length(const char *stream)
{
    return (uint64_t)metric_read(metric_find(
        METRIC_GAUGE, "acrelay_stream_length_entries", "", "stream", stream, NULL));
}

static inline uint64_t
lag(const char *stream)
{
    return (uint64_t)metric_read(metric_find(METRIC_GAUGE, "acrelay_stream_lag_entries",
                                             "", "stream", stream, NULL));
}

// until waits for a condition on the status, for a minute at most.
#define until(condition)                                                                 \
    do {                                                                                 \
        struct relay_status s = status();                                                \
        int64_t end_ms = clock_mono_ms() + 60000;                                        \
        bool met;                                                                        \
        while (!(met = (condition)) && clock_mono_ms() < end_ms) {                       \
            clock_sleep_ms(2);                                                           \
            s = status();                                                                \
        }                                                                                \
        cr_assert(met, "state %d cursor %llu message '%s'", (int)s.state,                \
                  (unsigned long long)s.cursor, s.message);                              \
    } while (0)

static inline struct span
field(const struct redis_reply *entry, const char *name)
{
    const struct redis_reply *fields = redis_reply_at(entry, 1);

    for (size_t i = 0; i + 1 < redis_value(fields).len; i += 2)
        if (span_is(redis_value(redis_reply_at(fields, i)).text, name))
            return redis_value(redis_reply_at(fields, i + 1)).text;
    return SPAN("(no such field)");
}

// stream_is holds the stream's entries against event numbers: each once, in order.
static inline void
stream_is(const char *stream, int first, int last)
{
    char text[64], body[32];

    snprintf(text, sizeof text, "XRANGE {t}:%s - +", stream);
    const struct redis_reply *entries = ask(text);
    cr_expect_eq(redis_value(entries).len, (size_t)(last - first + 1), "%zu entries",
                 redis_value(entries).len);
    for (size_t i = 0; i < redis_value(entries).len; i++) {
        snprintf(body, sizeof body, "event %d", first + (int)i);
        struct span data = field(redis_reply_at(entries, i), "raw");
        cr_assert(span_is(data, body), "entry %zu is %.*s", i, (int)data.len, data.at);
    }
}

static inline void
field_is(const char *stream, size_t i, const char *name, const char *value)
{
    char text[64];

    snprintf(text, sizeof text, "XRANGE {t}:%s - +", stream);
    struct span found = field(redis_reply_at(ask(text), i), name);
    cr_expect(span_is(found, value), "%s %zu %s is %.*s", stream, i, name, (int)found.len,
              found.at);
}

static inline void
set_cursor(const char *field_name, const char *value)
{
    char text[256];

    snprintf(text, sizeof text, "HSET {t}:cursor:%s %s %s", journal_id(journal),
             field_name, value);
    command(text);
}

#endif
