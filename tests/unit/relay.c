// The relay between a real journal and a real redis-server.
#include "relay/relay.h"

#include "base/text.h"
#include "redis_server.h"
#include "directory.h"

#include <stdarg.h>

// --- the scene -----------------------------------------------------------------------------

static struct redis_server server;
static struct redis *look; // the test's own connection
static struct journal *journal;
static struct relay *relay;
static uint64_t repeats_max = 1000;
static int64_t keep_us = 3600000000;

static void
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

static void
relay_up_with(struct redis_options redis)
{
    struct err err;
    const char *streams[] = {"events", NULL};
    struct relay_options o = {.redis = redis,
                              .namespace = "t",
                              .account = "acme",
                              .directory = directory,
                              .streams = streams,
                              .repeats_window_us = 3600000000,
                              .repeats_max = repeats_max,
                              .wait_least_ms = 5,
                              .wait_most_ms = 20,
                              .stop_wait_ms = 20,
                              .refused_wait_ms = 5,
                              .refused_times = 3,
                              .trim_ms = 50,
                              .poll_ms = 20};

    relay = relay_start(&o, journal, &err);
    cr_assert(relay, "%s", err.text);
}

static void
relay_up(void)
{
    relay_up_with(redis_server_options(&server));
}

// The options of a relay that trims.
static struct relay_options
trimming(const char *const *streams, uint64_t entries, int64_t trim_ms)
{
    return (struct relay_options){.redis = redis_server_options(&server),
                                  .namespace = "t",
                                  .account = "acme",
                                  .directory = directory,
                                  .streams = streams,
                                  .repeats_window_us = 3600000000,
                                  .repeats_max = 10000,
                                  .retain_entries = entries,
                                  .trim_ms = trim_ms};
}

static void
set_up(void)
{
    redis_server_start(&server);
    look = redis_server_open(&server);
    make_directory();
    journal_up();
}

static void
tear_down(void)
{
    relay_stop(relay);
    journal_close(journal);
    redis_close(look);
    redis_server_stop(&server);
    remove_directory();
}

TestSuite(relay, .init = set_up, .fini = tear_down, .timeout = 30);

static void
post_to(const char *stream, enum delivery_repeats repeats, const char *body)
{
    struct delivery d = {.hook = SPAN("h"),
                         .stream = span_of(stream),
                         .body = span_of(body),
                         .repeats = repeats,
                         .include_raw = true};
    struct buf stored;
    struct err err;

    buf_init(&stored, 1 << 22);
    delivery_encode(&stored, &d);
    cr_assert(journal_append(journal, buf_span(&stored), 5000, NULL, &err) == 0, "%s",
              err.text);
    buf_release(&stored);
}

static void
post(int first, int last)
{
    char body[32];

    for (int i = first; i <= last; i++) {
        snprintf(body, sizeof body, "event %d", i);
        post_to("events", DELIVERY_MARK, body);
    }
}

// ask sends one command given as words and returns the reply.
static const struct redis_reply *
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

static void
tell(const char *words)
{
    const struct redis_reply *reply = ask(words);

    cr_assert(redis_reply_kind(reply) != REDIS_ERROR, "%s: %s", words,
              redis_reply_text(reply).at);
}

static struct relay_status
status(void)
{
    struct relay_status s;

    relay_read_status(relay, &s);
    return s;
}

// until waits for a condition on the status, for ten seconds at most.
#define until(condition)                                                                 \
    do {                                                                                 \
        struct relay_status s = status();                                                \
        int64_t end_ms = clock_mono_ms() + 10000;                                        \
        while (!(condition) && clock_mono_ms() < end_ms) {                               \
            clock_sleep_ms(2);                                                           \
            s = status();                                                                \
        }                                                                                \
        cr_assert(condition, "state %d cursor %llu words '%s'", (int)s.state,            \
                  (unsigned long long)s.cursor, s.words);                                \
    } while (0)

static struct span
field(const struct redis_reply *entry, const char *name)
{
    const struct redis_reply *fields = redis_reply_at(entry, 1);

    for (size_t i = 0; i + 1 < redis_reply_len(fields); i += 2)
        if (span_is(redis_reply_text(redis_reply_at(fields, i)), name))
            return redis_reply_text(redis_reply_at(fields, i + 1));
    return SPAN("(no such field)");
}

// stream_is holds the stream's entries against event numbers: each once, in order.
static void
stream_is(const char *stream, int first, int last)
{
    char command[64], body[32];

    snprintf(command, sizeof command, "XRANGE {t}:%s - +", stream);
    const struct redis_reply *entries = ask(command);
    cr_expect_eq(redis_reply_len(entries), (size_t)(last - first + 1), "%zu entries",
                 redis_reply_len(entries));
    for (size_t i = 0; i < redis_reply_len(entries); i++) {
        snprintf(body, sizeof body, "event %d", first + (int)i);
        struct span data = field(redis_reply_at(entries, i), "raw");
        cr_assert(span_is(data, body), "entry %zu is %.*s", i, (int)data.len, data.at);
    }
}

static void
field_is(const char *stream, size_t i, const char *name, const char *value)
{
    char command[64];

    snprintf(command, sizeof command, "XRANGE {t}:%s - +", stream);
    struct span found = field(redis_reply_at(ask(command), i), name);
    cr_expect(span_is(found, value), "%s %zu %s is %.*s", stream, i, name, (int)found.len,
              found.at);
}

static void
tell_cursor(const char *field_name, const char *value)
{
    char command[256];

    snprintf(command, sizeof command, "HSET {t}:cursor:%s %s %s", journal_id(journal),
             field_name, value);
    tell(command);
}

// --- the way it should be --------------------------------------------------------------------

Test(relay, ships_in_order_with_fifteen_fields)
{
    static const char *const names[] = {"ce_specversion",
                                        "ce_id",
                                        "ce_source",
                                        "ce_type",
                                        "ce_subject",
                                        "ce_time",
                                        "ce_recordedtime",
                                        "ce_sequence",
                                        "ce_dataschema",
                                        "ce_fingerprint",
                                        "ce_repeat",
                                        "content-type",
                                        "data",
                                        "query",
                                        "raw"};

    relay_up();
    post(1, 600);
    until(s.cursor == 600);
    stream_is("events", 1, 600);
    const struct redis_reply *entry =
        redis_reply_at(redis_reply_at(ask("XRANGE {t}:events - + COUNT 1"), 0), 1);
    cr_assert_eq(redis_reply_len(entry), 30u);
    for (size_t i = 0; i < 15; i++)
        cr_expect(span_is(redis_reply_text(redis_reply_at(entry, 2 * i)), names[i]), "%s",
                  names[i]);
    field_is("events", 41, "ce_sequence", "00000000000000000042");
    field_is("events", 41, "ce_repeat", "0");
    cr_expect_eq(redis_reply_len(ask("HGETALL {t}:last")), 2u);
    struct journal_status js;
    journal_read_status(journal, &js);
    cr_expect_eq(js.published, 600u);
}

Test(relay, sends_large_records_alone_and_splits_batches_by_bytes)
{
    char *body = memory_get(700001);

    memset(body, 'x', 700000);
    body[700000] = '\0';
    for (int i = 0; i < 5; i++)
        post_to("events", DELIVERY_KEEP, body);
    free(body);
    relay_up();
    until(s.cursor == 5);
    cr_expect_eq(status().batches, 5u);
    cr_expect_eq(redis_reply_number(ask("XLEN {t}:events")), 5);
}

Test(relay, goes_on_after_its_own_restart)
{
    relay_up();
    post(1, 10);
    until(s.cursor == 10);
    relay_stop(relay);
    journal_close(journal);
    journal_up();
    post(11, 20);
    relay_up();
    until(s.cursor == 20);
    stream_is("events", 1, 20);
}

Test(relay, waits_for_a_redis_that_is_away_and_fills_a_new_one)
{
    redis_server_kill(&server);
    relay_up();
    post(1, 30);
    until(s.state == RELAY_CONNECTING && *s.words);
    redis_close(look);
    redis_server_run(&server);
    look = redis_server_open(&server);
    until(s.cursor == 30);
    stream_is("events", 1, 30);
}

// --- Redis forgets ----------------------------------------------------------------------------

Test(relay, sends_again_exactly_what_a_rollback_lost)
{
    relay_up();
    post(1, 20);
    until(s.cursor == 20);
    tell("SAVE");
    post(21, 50);
    until(s.cursor == 50);
    tell("DEBUG RELOAD NOSAVE");
    post(51, 60);
    until(s.cursor == 60 && s.rewinds == 1);
    stream_is("events", 1, 60);
    cr_expect_eq(status().rewound, 30u);
}

Test(relay, sends_all_that_is_kept_after_a_flush)
{
    relay_up();
    post(1, 20);
    until(s.cursor == 20);
    tell("FLUSHALL");
    post(21, 25);
    until(s.cursor == 25 && s.rewinds == 1);
    stream_is("events", 1, 25);
}

Test(relay, sends_the_text_when_the_script_was_flushed)
{
    relay_up();
    for (int i = 0; i < 5; i++) {
        tell("SCRIPT FLUSH");
        post(i * 3 + 1, i * 3 + 3);
        until(s.cursor == (uint64_t)i * 3 + 3);
    }
    stream_is("events", 1, 15);
}

Test(relay, goes_on_when_its_connections_are_killed)
{
    relay_up();
    for (int i = 0; i < 20; i++) {
        post(i * 10 + 1, i * 10 + 10);
        ask("CLIENT KILL TYPE normal SKIPME yes");
    }
    until(s.cursor == 200);
    stream_is("events", 1, 200);
}

// What Redis lost and the journal no longer keeps is told as one dead letter, with its range.
Test(relay, tells_what_is_no_longer_kept_as_a_gap)
{
    char body[40001];
    struct journal_status js;

    relay_stop(relay);
    relay = NULL;
    journal_close(journal);
    keep_us = 1;
    journal_up();
    relay_up();
    memset(body, 'x', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    for (int i = 0; i < 200; i++)
        post_to("events", DELIVERY_KEEP, body);
    until(s.cursor == 200);
    int64_t limit_ms = clock_mono_ms() + 10000;
    do
        journal_read_status(journal, &js);
    while (js.first <= 1 && clock_mono_ms() < limit_ms);
    cr_assert(js.first > 1, "nothing was removed");
    tell("FLUSHALL");
    post(201, 201);
    until(s.cursor == 201 && s.gaps == 1);
    journal_read_status(journal, &js);
    int64_t length = redis_reply_number(ask("XLEN {t}:events"));
    cr_expect(length > 0 && length < 201, "%lld", (long long)length);
    cr_expect_eq(redis_reply_number(ask("XLEN {t}:dead")), 1);
    field_is("dead", 0, "reason", "gap");
    char id[64], detail[80];
    snprintf(id, sizeof id, "%s-%020lld", journal_id(journal), 201LL - (long long)length);
    field_is("dead", 0, "ce_id", id);
    snprintf(detail, sizeof detail, "records 1 to %lld are lost: no longer kept",
             201LL - (long long)length);
    field_is("dead", 0, "detail", detail);
}

// --- while nothing is posted --------------------------------------------------------------------

Test(relay, refills_a_redis_that_forgot_while_nothing_was_posted)
{
    relay_up();
    tell("SAVE");
    post(1, 20);
    until(s.cursor == 20);
    tell("FLUSHALL");
    until(s.cursor == 20 && s.rewinds == 1);
    stream_is("events", 1, 20);
    tell("DEBUG RELOAD NOSAVE");
    until(s.cursor == 20 && s.rewinds == 2);
    stream_is("events", 1, 20);
}

Test(relay, sees_role_policy_and_owner_change_while_nothing_is_posted)
{
    relay_up();
    post(1, 2);
    until(s.cursor == 2 && s.state == RELAY_SHIPPING);
    tell("REPLICAOF 127.0.0.1 1");
    until(s.state == RELAY_CONNECTING && strstr(s.words, "not the master"));
    tell("REPLICAOF NO ONE");
    until(s.state == RELAY_SHIPPING);
    tell("CONFIG SET maxmemory-policy allkeys-lru");
    until(s.state == RELAY_STOPPED && strstr(s.words, "noeviction"));
    tell("CONFIG SET maxmemory-policy noeviction");
    until(s.state == RELAY_SHIPPING);
    tell_cursor("owner", "somebody");
    until(s.state == RELAY_FENCED);
}

// ROLE and INFO are advice. A replica whose role is hidden is known by a write it refuses.
Test(relay, believes_no_replica_that_hides_its_role)
{
    struct redis_options o = redis_server_options(&server);

    tell("ACL SETUSER acrelay on >secret ~{t}:* +@all -@dangerous");
    o.user = "acrelay";
    o.password = SPAN("secret");
    relay_up_with(o);
    post(1, 2);
    until(s.cursor == 2 && s.state == RELAY_SHIPPING);
    tell("REPLICAOF 127.0.0.1 1");
    until(s.state == RELAY_CONNECTING && strstr(s.words, "READONLY"));
    tell("REPLICAOF NO ONE");
    until(s.state == RELAY_SHIPPING && s.cursor == 2);
}

// --- Redis refuses ------------------------------------------------------------------------------

Test(relay, waits_out_of_memory_and_read_only_and_without_replicas)
{
    static const char *const faults[][3] = {
        {"CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM"},
        {"CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0",
         "NOREPLICAS"},
        {"REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "READONLY"},
    };

    relay_up();
    post(1, 1);
    until(s.cursor == 1);
    for (int i = 0; i < 3; i++) {
        tell(faults[i][0]);
        post(i * 10 + 2, i * 10 + 11);
        until(s.state == RELAY_CONNECTING && strstr(s.words, i < 2 ? faults[i][2] : ""));
        tell(faults[i][1]);
        until(s.state == RELAY_SHIPPING && s.cursor == (uint64_t)i * 10 + 11);
    }
    stream_is("events", 1, 31);
}

Test(relay, stops_with_an_alarm_on_a_wrong_type_and_goes_on_when_it_is_gone)
{
    relay_up();
    post(1, 3);
    until(s.cursor == 3);
    tell("SET {t}:other text");
    post_to("other", DELIVERY_MARK, "event 1");
    post(4, 5);
    until(s.state == RELAY_STOPPED && strstr(s.words, "WRONGTYPE") &&
          strstr(s.words, "under {t}:other"));
    tell("DEL {t}:other");
    until(s.cursor == 6);
    stream_is("events", 1, 5);
    stream_is("other", 1, 1);
}

Test(relay, refuses_a_redis_that_may_evict_the_cursor)
{
    tell("CONFIG SET maxmemory-policy allkeys-lru");
    relay_up();
    post(1, 1);
    until(s.state == RELAY_STOPPED && strstr(s.words, "noeviction"));
    cr_expect_eq(redis_reply_number(ask("XLEN {t}:events")), 0);
    tell("CONFIG SET maxmemory-policy noeviction");
    until(s.cursor == 1);
}

Test(relay, needs_its_password_and_its_rights)
{
    struct redis_options o = redis_server_options(&server);

    tell("ACL SETUSER acrelay on >secret ~{t}:* +evalsha +eval +hmget +hset +xadd");
    o.user = "acrelay";
    o.password = SPAN("wrong");
    relay_up_with(o);
    post(1, 2);
    until(s.state == RELAY_STOPPED && strstr(s.words, "WRONGPASS"));
    tell("ACL SETUSER acrelay >wrong");
    until(s.state == RELAY_STOPPED && strstr(s.words, "script"));
    cr_expect_eq(redis_reply_number(ask("XLEN {t}:events")), 0);
    tell("ACL SETUSER acrelay +@all -@dangerous");
    until(s.cursor == 2);
    stream_is("events", 1, 2);
}

// In the words of every version: no event becomes a dead letter because of a wrong ACL.
Test(relay, stops_for_any_right_that_is_missing_and_makes_no_dead_letters)
{
    static const char *const rights[][2] = {
        {"-evalsha", "+evalsha"},
        {"-hset", "+hset"},
        {"-xadd", "+xadd"},
        {"-hmget", "+hmget"},
        {"-time", "+time"},
        {"-zadd", "+zadd"},
        {"resetkeys ~{t}:dead ~{t}:cursor:* ~{t}:seen:* ~{t}:last", "~{t}:events"},
        {"resetkeys ~{t}:dead ~{t}:events ~{t}:seen:* ~{t}:last", "~{t}:cursor:*"},
    };
    struct redis_options o = redis_server_options(&server);
    uint64_t posted = 0;
    char command[128];

    tell("ACL SETUSER acrelay on >secret ~{t}:* +@all -@dangerous");
    o.user = "acrelay";
    o.password = SPAN("secret");
    relay_up_with(o);
    for (size_t i = 0; i < sizeof rights / sizeof *rights; i++) {
        snprintf(command, sizeof command, "ACL SETUSER acrelay %s", rights[i][0]);
        tell(command);
        post((int)posted + 1, (int)posted + 2);
        posted += 2;
        until(s.state == RELAY_STOPPED || s.cursor == posted); // where it is not needed
        snprintf(command, sizeof command, "ACL SETUSER acrelay %s", rights[i][1]);
        tell(command);
        until(s.state == RELAY_SHIPPING && s.cursor == posted);
    }
    cr_expect_eq(status().dead_letters, 0u);
    stream_is("events", 1, (int)posted);
}

// A stream whose last id is the greatest there is takes no entry any more: an error of one
// record, as opposed to one of the server.
Test(relay, makes_a_dead_letter_of_a_record_that_is_refused_alone)
{
    relay_up();
    post(1, 3);
    until(s.cursor == 3);
    tell("XADD {t}:full 18446744073709551615-18446744073709551615 a b");
    post(4, 5);
    post_to("full", DELIVERY_MARK, "event 6");
    post(6, 8);
    until(s.cursor == 9);
    stream_is("events", 1, 8);
    cr_expect_eq(redis_reply_number(ask("XLEN {t}:dead")), 1);
    field_is("dead", 0, "reason", "redis");
    field_is("dead", 0, "raw", "event 6");
}

Test(relay, makes_a_dead_letter_of_what_is_no_event)
{
    relay_up();
    post_to("events", DELIVERY_MARK, "");
    post(1, 1);
    until(s.cursor == 2 && s.dead_letters == 1);
    field_is("dead", 0, "reason", "empty");
    field_is("dead", 0, "hook", "h");
    stream_is("events", 1, 1);
}

// --- whose cursor ---------------------------------------------------------------------------------

Test(relay, is_fenced_by_another_owner_until_it_is_claimed)
{
    struct redis_options o = redis_server_options(&server);
    uint64_t cursor;
    struct err err;

    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    tell_cursor("owner", "somebody");
    post(3, 4);
    until(s.state == RELAY_FENCED);
    stream_is("events", 1, 2);
    cr_assert(relay_claim(&o, "t", journal_id(journal), directory, &cursor, &err) == 0);
    cr_expect_eq(cursor, 2u);
    until(s.cursor == 4);
    stream_is("events", 1, 4);
}

// Another place ships this journal, and is ahead: what it has says nothing of our records.
Test(relay, takes_no_word_of_another_owner_for_what_is_published)
{
    struct journal_status js;

    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    tell_cursor("owner", "somebody");
    tell_cursor("sequence", "00000000000000000009");
    post(3, 4);
    until(s.state == RELAY_FENCED);
    journal_read_status(journal, &js);
    cr_expect_eq(js.published, 2u);
    cr_expect_neq(js.oldest_unpublished_age_us, 0);
}

// A clone with the same machine id and path has the same owner.
Test(relay, stops_when_a_copy_with_the_same_owner_was_faster)
{
    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    tell_cursor("sequence", "00000000000000000003");
    tell_cursor("check", "0123456789abcdef");
    post(3, 5);
    until(s.state == RELAY_STOPPED && strstr(s.words, "copy"));
    stream_is("events", 1, 2);
}

// Redis was away when an older copy of the journal was started: its new records have the
// numbers of others, which Redis has.
Test(relay, stops_when_redis_has_other_records_under_our_new_numbers)
{
    struct journal_status js;
    char command[256];

    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    relay_stop(relay);
    relay = NULL;
    journal_close(journal);
    journal_up();
    post(3, 9);
    tell_cursor("sequence", "00000000000000000005");
    snprintf(command, sizeof command, "HDEL {t}:cursor:%s check", journal_id(journal));
    tell(command);
    relay_up();
    until(s.state == RELAY_STOPPED && strstr(s.words, "copy"));
    journal_read_status(journal, &js);
    cr_expect_eq(js.published, 0u);
    stream_is("events", 1, 2);
}

// A Redis that is busy while the relay comes to it is asked again for all it must tell.
Test(relay, reads_the_cursor_before_it_ships_to_a_redis_that_was_busy)
{
    char command[256];

    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    relay_stop(relay);
    relay = NULL;
    journal_close(journal);
    journal_up();
    tell_cursor("sequence", "00000000000000000009");
    tell_cursor("check", "0123456789abcdef");
    tell("CONFIG SET busy-reply-threshold 10");
    snprintf(command, sizeof command,
             "redis-cli -s %s EVAL 'while true do end' 0 >/dev/null 2>&1 &",
             server.socket);
    cr_assert(system(command) == 0);
    const struct redis_reply *reply;
    do
        reply = ask("GET x");
    while (redis_reply_kind(reply) != REDIS_ERROR);
    relay_up();
    until(s.state == RELAY_CONNECTING && strstr(s.words, "BUSY"));
    post(3, 4);
    tell("SCRIPT KILL");
    until(s.state == RELAY_STOPPED && strstr(s.words, "copy"));
    stream_is("events", 1, 2);
}

Test(relay, trims_the_streams_that_a_reload_names)
{
    const char *before[] = {"events", NULL}, *after[] = {"events", "other", NULL};
    struct relay_options options = trimming(before, 100, 20);
    struct err err;

    relay = relay_start(&options, journal, &err);
    cr_assert(relay, "%s", err.text);
    for (int i = 0; i < 500; i++)
        post_to("other", DELIVERY_KEEP, "event 1");
    until(s.cursor == 500);
    options.streams = after;
    relay_reload(relay, &options);
    until(strcmp(s.streams[2].name, "other") == 0 && s.streams[2].length < 200);
}

// XTRIM with '~' drops 10,000 entries at most.
Test(relay, trims_more_than_one_call_can)
{
    const char *streams[] = {"events", NULL};
    struct relay_options options = trimming(streams, 1000, 3600000);
    struct span args[] = {
        SPAN("EVAL"),
        SPAN("for i = 1, 35000 do redis.call('XADD', KEYS[1], '*', 'a', "
             "'b') end"),
        SPAN("1"), SPAN("{t}:events")};
    struct err err;

    cr_assert(redis_command(look, args, 4, &err));
    relay = relay_start(&options, journal, &err);
    cr_assert(relay, "%s", err.text);
    until(s.streams[1].length > 0 && s.streams[1].length < 1200);
}

Test(relay, stops_when_the_record_at_the_cursor_is_not_ours)
{
    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    relay_stop(relay);
    tell_cursor("check", "0123456789abcdef");
    relay_up();
    post(3, 3);
    until(s.state == RELAY_STOPPED && strstr(s.words, "copy"));
    stream_is("events", 1, 2);
}

Test(relay, gives_no_number_away_again_when_the_journal_lost_its_tail)
{
    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    relay_stop(relay);
    journal_close(journal);
    journal_up();
    tell_cursor("sequence", "00000000000000000009");
    relay_up();
    post(3, 4);
    until(s.cursor == 11);
    stream_is("events", 1, 4);
}

// --- repeats --------------------------------------------------------------------------------------

Test(relay, marks_drops_or_keeps_repeats_within_and_across_batches)
{
    relay_up();
    for (int round = 0; round < 2; round++) {
        uint64_t so_far = (uint64_t)round * 6;
        for (int i = 0; i < 2; i++) {
            post_to("marked", DELIVERY_MARK, "event 1");
            post_to("dropped", DELIVERY_DROP, "event 2");
            post_to("kept", DELIVERY_KEEP, "event 3");
        }
        until(s.cursor == so_far + 6);
    }
    cr_expect_eq(redis_reply_number(ask("XLEN {t}:marked")), 4);
    cr_expect_eq(redis_reply_number(ask("XLEN {t}:dropped")), 1);
    cr_expect_eq(redis_reply_number(ask("XLEN {t}:kept")), 4);
    field_is("marked", 0, "ce_repeat", "0");
    field_is("marked", 1, "ce_repeat", "1");
    field_is("marked", 3, "ce_repeat", "1");
    field_is("kept", 3, "ce_repeat", "0");
    cr_expect_eq(status().repeats_marked, 3u);
    cr_expect_eq(status().repeats_dropped, 3u);
}

Test(relay, says_so_when_there_is_no_room_for_fingerprints)
{
    repeats_max = 3;
    relay_up();
    post(1, 3);
    until(s.cursor == 3);
    cr_expect_not(status().repeats_full);
    post(4, 4);
    until(s.cursor == 4 && s.repeats_full);
    post(4, 4);
    until(s.cursor == 5);
    field_is("events", 4, "ce_repeat", "0");
}

Test(relay, does_not_take_a_rollback_for_repeats)
{
    relay_up();
    tell("SAVE");
    post(1, 10);
    until(s.cursor == 10);
    tell("DEBUG RELOAD NOSAVE");
    post(11, 11);
    until(s.cursor == 11 && s.rewinds == 1);
    stream_is("events", 1, 11);
    cr_expect_eq(status().repeats_marked, 0u);
}

// --- trimming ---------------------------------------------------------------------------------------

Test(relay, counts_what_was_trimmed_before_a_group_read_it)
{
    const char *streams[] = {"events", NULL};
    struct relay_options options = trimming(streams, 100, 20);
    struct err err;

    tell("XGROUP CREATE {t}:events slow 0 MKSTREAM");
    post(1, 1000);
    relay = relay_start(&options, journal, &err);
    cr_assert(relay, "%s", err.text);
    // Whole nodes of 100 entries are dropped, so up to 99 more than asked stay.
    until(s.cursor == 1000 && s.streams[1].length >= 100 && s.streams[1].length < 200);
    post(1001, 1500);
    until(s.cursor == 1500 && s.trimmed > 1000 && s.streams[1].length < 200);
    uint64_t length = (uint64_t)redis_reply_number(ask("XLEN {t}:events"));
    cr_expect_eq(status().trimmed, 1500 - length);
    cr_expect_eq(status().trimmed_unread, 1500 - length);
    // What a group has read is not missed.
    ask("XREADGROUP GROUP slow me COUNT 1000 STREAMS {t}:events >");
    post(1501, 1502);
    until(s.cursor == 1502 && s.streams[1].lag == 2);
    cr_expect_eq(status().trimmed_unread, 1500 - length);
}

static void start_trimming(const struct relay_options *options);

// Redis gives no lag then, and no lag must not look like none.
Test(relay, knows_what_is_unread_when_an_entry_ahead_was_deleted)
{
    const char *streams[] = {"events", NULL};
    struct relay_options options = trimming(streams, 1000, 20);

    tell("XGROUP CREATE {t}:events slow 0 MKSTREAM");
    for (int i = 1; i <= 500; i++)
        tell("XADD {t}:events * a b");
    ask("XREADGROUP GROUP slow me COUNT 50 STREAMS {t}:events >");
    tell("XADD {t}:events 9000000000000-1 a b");
    tell("XDEL {t}:events 9000000000000-1");
    start_trimming(&options);
    until(s.streams[1].lag == 451);
    options.retain_entries = 100;
    relay_reload(relay, &options);
    until(s.streams[1].length < 200);
    cr_expect_eq(status().trimmed_unread, status().trimmed - 50 + 1); // the deleted one
}

static void
start_trimming(const struct relay_options *options)
{
    struct err err;

    relay = relay_start(options, journal, &err);
    cr_assert(relay, "%s", err.text);
}

// add_old adds an entry that is so many hours old by Redis's clock; `tell` says it.
static void
add_old(const char *stream, int hours)
{
    char command[128];
    uint64_t seconds;

    cr_assert(text_number(&seconds, redis_reply_text(redis_reply_at(ask("TIME"), 0)),
                          INT64_MAX));
    snprintf(command, sizeof command, "XADD {t}:%s %llu-* a b", stream,
             (unsigned long long)(seconds - (uint64_t)hours * 3600) * 1000);
    tell(command);
}

#define HOUR_US INT64_C(3600000000)

// 61 entries are less than a node: '~' drops none of them.
Test(relay, keeps_no_entry_that_is_too_old)
{
    const char *streams[] = {"events", NULL};
    struct relay_options options = trimming(streams, 0, 20);

    options.retain_age_us = 7 * 24 * HOUR_US;
    for (int day = 60; day >= 0; day--)
        add_old("events", day * 24);
    start_trimming(&options);
    until(s.streams[1].length == 7 || s.streams[1].length == 8);
    cr_expect_eq(status().trimmed, 61 - status().streams[1].length);
}

// Each call drops 10,000 at most, and the exact one comes when a node is all that is left.
Test(relay, trims_very_many_old_entries_in_bounded_calls)
{
    const char *streams[] = {"events", NULL};
    struct relay_options options = trimming(streams, 0, 3600000);
    struct span args[] = {
        SPAN("EVAL"),
        SPAN("for i = 1, 35050 do redis.call('XADD', KEYS[1], i .. '-1', 'a', 'b') end"),
        SPAN("1"), SPAN("{t}:events")};
    struct err err;

    cr_assert(redis_command(look, args, 4, &err));
    add_old("events", 1);
    options.retain_age_us = 2 * HOUR_US;
    start_trimming(&options);
    until(s.streams[1].length == 1);
    cr_expect_eq(status().trimmed, 35050u);
}

Test(relay, trims_streams_that_no_hook_names_any_more_until_they_are_empty)
{
    const char *before[] = {"events", "gone", NULL}, *after[] = {"events", NULL};
    struct relay_options options = trimming(before, 0, 20);

    options.retain_age_us = 7 * 24 * HOUR_US;
    start_trimming(&options);
    until(*s.streams[2].name);
    relay_stop(relay);
    // the file changed, and the receiver started anew: Redis remembers
    for (int i = 0; i < 30; i++)
        add_old("gone", 60 * 24);
    options.streams = after;
    start_trimming(&options);
    until(strcmp(s.streams[2].name, "gone") == 0 && s.trimmed == 30);
    // a reload is enough, and makes it look at once
    add_old("gone", 1);
    relay_reload(relay, &options);
    until(s.streams[2].length == 1);
    cr_expect_eq(redis_reply_number(ask("SISMEMBER {t}:streams gone")), 1);
    tell("XTRIM {t}:gone MAXLEN 0");
    relay_reload(relay, &options);
    until(s.streams[2].length == 0 &&
          redis_reply_number(ask("SISMEMBER {t}:streams gone")) == 0);
    cr_expect_str_eq(status().streams[2].name, "gone"); // its figure is true
    cr_expect_eq(redis_reply_number(ask("SISMEMBER {t}:streams events")), 1);
}

// A reload takes a stream out of the file; records for it still come out of the journal.
Test(relay, trims_streams_that_only_records_name)
{
    const char *both[] = {"events", "gone", NULL}, *one[] = {"events", NULL};
    struct relay_options options = trimming(both, 0, 20);

    start_trimming(&options);
    until(*s.streams[2].name);
    options.streams = one;
    relay_reload(relay, &options);
    post_to("gone", DELIVERY_MARK, "event 1");
    post_to("never", DELIVERY_MARK, "event 1");
    until(strcmp(s.streams[2].name, "gone") == 0 && s.streams[2].length == 1 &&
          strcmp(s.streams[3].name, "never") == 0 && s.streams[3].length == 1);
    cr_expect_eq(redis_reply_number(ask("SISMEMBER {t}:streams never")), 1);
    tell("SADD {t}:streams x{t}:cursor ../.. CURSOR");
    struct entry again = {.reason = EVENT_GOOD, .delivery = {.stream = SPAN("again")}};
    struct err err;
    cr_assert(relay_replay(look, "t", &again, &err) == 0);
    cr_expect_eq(redis_reply_number(ask("SISMEMBER {t}:streams again")), 1);
    tell("SREM {t}:streams again");
    options.streams = both; // and back
    relay_reload(relay, &options);
    until(strcmp(s.streams[2].name, "gone") == 0 &&
          strcmp(s.streams[3].name, "never") == 0 && !*s.streams[4].name);
}

Test(relay, keeps_dead_letters_by_their_own_bound)
{
    const char *streams[] = {"events", NULL};
    struct relay_options options = trimming(streams, 0, 20);

    options.retain_age_us = 7 * 24 * HOUR_US;
    options.retain_dead_us = 90 * 24 * HOUR_US;
    for (int i = 0; i < 3; i++)
        add_old("dead", 91 * 24);
    for (int i = 0; i < 5; i++)
        add_old("dead", 60 * 24);
    start_trimming(&options);
    until(s.streams[0].length == 5);
    cr_expect_eq(status().dead_trimmed, 3u);
}

Test(relay, forgets_last_events_of_hooks_that_left_the_file)
{
    const char *streams[] = {"events", NULL}, *hooks[] = {"h", "i", NULL};
    struct relay_options options = trimming(streams, 0, 20);

    options.hooks = hooks;
    tell("SADD {t}:seen:a x"); // of version 0.1.0, without an expiry
    tell("HSET {t}:last h 1 i 2 hh 3 gone 4");
    start_trimming(&options);
    until(redis_reply_len(ask("HKEYS {t}:last")) == 2);
    cr_expect_eq(redis_reply_number(ask("HEXISTS {t}:last i")), 1);
    hooks[1] = NULL;
    relay_reload(relay, &options);
    until(redis_reply_len(ask("HKEYS {t}:last")) == 1);
    cr_expect_eq(redis_reply_number(ask("EXISTS {t}:seen:a")), 0);
}
