// The script itself, call by call, against a real redis-server.
#include "relay/script.h"

#include "redis_server.h"

#define JOURNAL "0123456789abcdef0123456789abcdef"
#define CURSOR "{t}:cursor:" JOURNAL

static struct redis_server server;
static struct redis *redis;
static struct script *script;
static struct script_answer answer;
static struct entry_maker *maker;

static void
set_up(void)
{
    redis_server_start(&server);
    redis = redis_server_open(&server);
    script = script_open("t", JOURNAL, "me", 100);
    maker = entry_maker_open("acme", JOURNAL);
}

static void
tear_down(void)
{
    entry_maker_close(maker);
    script_close(script);
    redis_close(redis);
    redis_server_stop(&server);
}

TestSuite(script, .init = set_up, .fini = tear_down, .timeout = 20);

static void
add(uint64_t sequence, const char *stream, enum delivery_repeats repeats,
    const char *body)
{
    struct delivery d = {.hook = SPAN("h"),
                         .stream = span_of(stream),
                         .body = span_of(body),
                         .repeats = repeats,
                         .include_raw = true};
    struct record record = {.sequence = sequence, .received_us = (int64_t)sequence};
    struct buf stored;
    struct entry e;

    buf_init(&stored, 1000);
    cr_assert(delivery_encode(&stored, &d) == 0);
    record.payload = buf_span(&stored);
    entry_make(maker, &record, &e);
    script_add(script, &e);
    buf_release(&stored);
}

static enum reply
call(void)
{
    struct err err;

    cr_assert(script_send(script, redis, "0123456789abcdef", true, &err) == 0);
    script_read(redis_receive(redis, &err), &answer);
    return answer.reply;
}

// one sends a batch of one marked delivery to "events" and returns its ce_repeat.
static char
one(uint64_t sequence, int64_t epoch, enum script_wipe wipe, const char *body)
{
    script_begin(script, sequence - 1, epoch, wipe);
    add(sequence, "events", DELIVERY_MARK, body);
    cr_assert_eq(call(), REPLY_DONE, "%.*s", (int)answer.words.len, answer.words.at);
    cr_assert_eq(answer.cursor, sequence);
    return answer.marked ? '1' : '0';
}

static int64_t
number(const char *command, const char *key)
{
    return redis_reply_number(redis_ask(redis, NULL, command, key, NULL));
}

static int64_t
dbsize(void)
{
    return redis_reply_number(redis_ask(redis, NULL, "DBSIZE", NULL));
}

static void
cursor_field_is(const char *field, const char *value)
{
    struct span found =
        redis_reply_text(redis_ask(redis, NULL, "HGET", CURSOR, field, NULL));

    cr_expect(span_is(found, value), "%s is %.*s", field, (int)found.len, found.at);
}

Test(script, sets_the_cursor_with_owner_and_check)
{
    script_begin(script, 0, 0, SCRIPT_WIPE_BOTH);
    add(1, "events", DELIVERY_MARK, "a=1");
    add(2, "other", DELIVERY_MARK, "a=2");
    cr_assert_eq(call(), REPLY_DONE);
    cr_expect_eq(answer.cursor, 2u);
    cr_expect_eq(number("HLEN", CURSOR), 3);
    cursor_field_is("sequence", "00000000000000000002");
    cursor_field_is("owner", "me");
    cursor_field_is("check", "0123456789abcdef");
    cr_expect_eq(number("XLEN", "{t}:events"), 1);
    cr_expect_eq(number("XLEN", "{t}:other"), 1);
}

Test(script, writes_nothing_when_the_cursor_is_before_prev_or_anothers)
{
    script_begin(script, 5, 0, SCRIPT_WIPE_BOTH);
    add(6, "events", DELIVERY_MARK, "a=1");
    cr_expect_eq(call(), REPLY_AT);
    cr_expect_eq(answer.cursor, 0u);
    cr_expect_eq(dbsize(), 0);

    redis_ask(redis, NULL, "HSET", CURSOR, "owner", "another", NULL);
    cr_expect_eq(call(), REPLY_FENCED);
    cr_expect_eq(number("EXISTS", "{t}:events"), 0);
    cursor_field_is("owner", "another");
}

Test(script, executed_twice_does_it_once)
{
    script_begin(script, 0, 0, SCRIPT_WIPE_BOTH);
    add(1, "events", DELIVERY_MARK, "a=1");
    add(2, "events", DELIVERY_MARK, "a=2");
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(call(), i == 0 ? REPLY_DONE : REPLY_AT);
        cr_expect_eq(answer.cursor, 2u);
        cr_expect_eq(number("XLEN", "{t}:events"), 2);
    }
}

// Whose record stands at the cursor is not known then: the relay must look.
Test(script, writes_nothing_when_the_cursor_is_beyond_prev)
{
    one(1, 0, SCRIPT_WIPE_BOTH, "a=1");
    script_begin(script, 0, 0, SCRIPT_WIPE_NONE);
    add(1, "events", DELIVERY_MARK, "a=1");
    add(7, "events", DELIVERY_MARK, "a=7");
    cr_expect_eq(call(), REPLY_AT);
    cr_expect_eq(answer.cursor, 1u);
    cr_expect_eq(number("XLEN", "{t}:events"), 1);
}

Test(script, ends_at_a_refused_record_and_says_how_far_it_got)
{
    redis_ask(redis, NULL, "SET", "{t}:text", "x", NULL);
    script_begin(script, 0, 0, SCRIPT_WIPE_BOTH);
    add(1, "events", DELIVERY_MARK, "a=1");
    add(2, "text", DELIVERY_MARK, "a=2");
    add(3, "events", DELIVERY_MARK, "a=3");
    cr_expect_eq(call(), REPLY_STOP);
    cr_expect_eq(answer.cursor, 1u);
    cr_expect_eq(number("XLEN", "{t}:events"), 1);
    cursor_field_is("check", ""); // that of the last record would be a lie

    redis_ask(redis, NULL, "DEL", "{t}:text", NULL);
    script_begin(script, 1, 0, SCRIPT_WIPE_NONE);
    add(2, "text", DELIVERY_MARK, "a=2");
    add(3, "events", DELIVERY_MARK, "a=3");
    cr_expect_eq(call(), REPLY_DONE);
    cr_expect_eq(answer.cursor, 3u);
    cr_expect_eq(number("XLEN", "{t}:events"), 2);
    cr_expect_eq(number("XLEN", "{t}:text"), 1);
}

// Sequences beyond 2^53, where Lua's numbers stop telling neighbours apart.
Test(script, tells_neighbours_apart_at_the_end_of_the_numbers)
{
    uint64_t last = UINT64_MAX;

    script_begin(script, 0, 0, SCRIPT_WIPE_BOTH);
    add(last - 2, "events", DELIVERY_MARK, "a=1");
    cr_expect_eq(call(), REPLY_DONE);
    cr_expect_eq(one(last - 1, 0, SCRIPT_WIPE_NONE, "a=2"), '0');
    cr_expect_eq(one(last, 0, SCRIPT_WIPE_NONE, "a=3"), '0');
    cr_expect_eq(number("XLEN", "{t}:events"), 3);
    cursor_field_is("sequence", "18446744073709551615");
}

// The sets swap roles: what was seen in this window or the one before is a repeat.
Test(script, forgets_fingerprints_after_two_windows)
{
    cr_expect_eq(script_wipe_of(-1, 10), SCRIPT_WIPE_BOTH);
    cr_expect_eq(one(1, 10, SCRIPT_WIPE_BOTH, "a=1"), '0');
    cr_expect_eq(one(2, 10, script_wipe_of(10, 10), "a=1"), '1');
    cr_expect_eq(one(3, 11, script_wipe_of(10, 11), "a=2"), '0');
    cr_expect_eq(one(4, 11, script_wipe_of(11, 11), "a=1"), '1'); // and is seen anew
    cr_expect_eq(one(5, 12, script_wipe_of(11, 12), "a=3"), '0');
    cr_expect_eq(one(6, 12, script_wipe_of(12, 12), "a=1"), '1'); // because of 4
    cr_expect_eq(one(7, 13, script_wipe_of(12, 13), "a=2"), '0'); // 3 is two windows old
    cr_expect_eq(one(8, 20, script_wipe_of(13, 20), "a=1"), '0'); // a long silence
}

// A batch sent again must not empty the set that it filled.
Test(script, swaps_the_sets_only_with_the_first_record)
{
    cr_expect_eq(one(1, 10, SCRIPT_WIPE_BOTH, "a=1"), '0');
    script_begin(script, 1, 11, SCRIPT_WIPE_CURRENT);
    add(2, "events", DELIVERY_MARK, "a=2");
    cr_expect_eq(call(), REPLY_DONE);
    cr_expect_eq(call(), REPLY_AT);
    cr_expect_eq(one(3, 11, script_wipe_of(11, 11), "a=2"), '1');
    cr_expect_eq(number("SCARD", "{t}:seen:a"), 1);
    cr_expect_eq(number("SCARD", "{t}:seen:b"), 1);
}

Test(script, keeps_a_fingerprint_only_of_what_is_in_the_stream)
{
    redis_ask(redis, NULL, "SET", "{t}:events", "x", NULL);
    script_begin(script, 0, 0, SCRIPT_WIPE_BOTH);
    add(1, "events", DELIVERY_DROP, "a=1");
    cr_expect_eq(call(), REPLY_STOP);
    redis_ask(redis, NULL, "DEL", "{t}:events", NULL);
    cr_expect_eq(call(), REPLY_DONE);
    cr_expect_eq(answer.dropped, 0u);
    cr_expect_eq(number("XLEN", "{t}:events"), 1);
}
