// The script itself, call by call, against a real redis-server.
#include "relay/script.h"

#include "base/text.h"
#include "redis_server.h"

#define JOURNAL "0123456789abcdef0123456789abcdef"
#define CURSOR "{t}:cursor:" JOURNAL

enum { SECOND = 1000000, WINDOW = 10 * SECOND };

static struct redis_server server;
static struct redis *redis;
static struct script first, *script = &first;
static struct script_answer answer;
static struct entry_maker maker;

static void
set_up(void)
{
    redis_server_start(&server);
    redis = redis_server_open(&server);
    script_init(script, "t", JOURNAL, "me", WINDOW, 100);
    maker = (struct entry_maker){.events = event_maker_open(),
                                 .account = SPAN("acme"),
                                 .journal_id = SPAN(JOURNAL)};
}

static void
tear_down(void)
{
    event_maker_close(maker.events);
    script_release(&first);
    redis_close(redis);
    redis_server_stop(&server);
}

TestSuite(script, .init = set_up, .fini = tear_down, .timeout = 100);

static void
add_delivery(uint64_t sequence, int64_t received_us, const struct delivery *d)
{
    struct record record = {.sequence = sequence, .received_us = received_us};
    struct buf stored;
    struct entry e;

    buf_init(&stored, 1000);
    cr_assert(delivery_encode(&stored, d) == 0);
    record.payload = buf_span(&stored);
    entry_make(&maker, &record, &e);
    script_add(script, &e, false);
    buf_release(&stored);
}

static void
add_at(uint64_t sequence, int64_t received_us, const char *stream,
       enum delivery_duplicates repeats, const char *body)
{
    struct delivery d = {.hook = SPAN("h"),
                         .stream = span_of(stream),
                         .body = span_of(body),
                         .duplicates = repeats,
                         .include_raw = true};

    add_delivery(sequence, received_us, &d);
}

static void
add(uint64_t sequence, const char *stream, enum delivery_duplicates repeats,
    const char *body)
{
    add_at(sequence, 1, stream, repeats, body);
}

static enum reply
call(void)
{
    struct err err;

    cr_assert(script_call(script, redis, "0123456789abcdef", &answer, &err) == 0);
    return answer.reply;
}

// one sends a batch of one marked delivery to "events" and returns its ce_repeat.
static char
one(uint64_t sequence, int64_t received_us, const char *body)
{
    script_begin(script, sequence - 1);
    add_at(sequence, received_us, "events", DELIVERY_MARK, body);
    cr_assert_eq(call(), REPLY_DONE, "%s", answer.message);
    cr_assert_eq(answer.cursor, sequence);
    return answer.marked ? '1' : '0';
}

static int64_t
number(const char *command, const char *key)
{
    return redis_value(redis_ask(redis, NULL, command, key, NULL)).number;
}

static int64_t
dbsize(void)
{
    return redis_value(redis_ask(redis, NULL, "DBSIZE", NULL)).number;
}

static void
cursor_field_is(const char *field, const char *value)
{
    struct span found =
        redis_value(redis_ask(redis, NULL, "HGET", CURSOR, field, NULL)).text;

    cr_expect(span_is(found, value), "%s is %.*s", field, (int)found.len, found.at);
}

Test(script, sets_the_cursor_with_owner_and_check)
{
    script_begin(script, 0);
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

static void
add_structured(uint64_t sequence, const char *stream, const char *body)
{
    struct delivery d = {.hook = SPAN("h"),
                         .stream = span_of(stream),
                         .body = span_of(body),
                         .query = SPAN("q"),
                         .structured = true};

    add_delivery(sequence, 1, &d);
}

// entry_field gives a field of entry i of {t}:s, valid until the next command.
static struct span
entry_field(size_t i, const char *name)
{
    const struct redis_reply *all =
        redis_ask(redis, NULL, "XRANGE", "{t}:s", "-", "+", NULL);
    const struct redis_reply *fields = redis_reply_at(redis_reply_at(all, i), 1);

    for (size_t f = 0; f + 1 < redis_value(fields).len; f += 2)
        if (span_is(redis_value(redis_reply_at(fields, f)).text, name))
            return redis_value(redis_reply_at(fields, f + 1)).text;
    return SPAN("(none)");
}

Test(script, writes_structured_and_binary_events_and_dead_letters_in_one_batch)
{
    const char rest[] = ",\"id\":\"" JOURNAL "-00000000000000000002\"";

    script_begin(script, 0);
    add(1, "events", DELIVERY_MARK, "type=sent");
    add_structured(2, "s", "type=sent&campaign[id]=7");
    add_structured(3, "s", "type=sent&campaign[id]=7");
    add_structured(4, "s", ""); // a dead letter, as ever
    add(5, "events", DELIVERY_MARK, "type=open");
    cr_assert_eq(call(), REPLY_DONE, "%s", answer.message);
    cr_expect_eq(answer.marked, 1u);
    cr_expect_eq(number("XLEN", "{t}:events"), 2);
    cr_expect_eq(number("XLEN", "{t}:dead"), 1);
    cr_assert_eq(number("XLEN", "{t}:s"), 2);
    cr_expect(span_is(entry_field(0, "ce_id"), JOURNAL "-00000000000000000002"));
    cr_expect(span_is(entry_field(0, "ce_type"), "com.activecampaign.sent"));
    cr_expect(span_is(entry_field(0, "ce_subject"), "campaign/7"));
    cr_expect(span_is(entry_field(0, "content-type"), ENTRY_STRUCTURED_TYPE));
    cr_expect(span_is(entry_field(0, "query"), "q"));
    cr_expect(span_is(entry_field(0, "ce_source"), "(none)"));
    struct span event = entry_field(0, "data");
    cr_expect(span_starts(event, SPAN(EVENT_STRUCTURED_START)));
    cr_expect(
        span_starts(span_from(event, strlen(EVENT_STRUCTURED_START)), span_of(rest)));
    char before[2000];
    size_t len = event.len;
    cr_assert(len < sizeof before);
    memcpy(before, event.at, len);
    event = entry_field(1, "data");
    cr_assert_eq(event.len, len);
    size_t differ =
        0; // the digit of the mark, and that of the sequence in id and sequence
    for (size_t i = 0; i < len; i++)
        differ += before[i] != event.at[i];
    cr_expect_eq(differ, 3u);
    cr_expect_eq(before[strlen(EVENT_STRUCTURED_START) - 2], '0');
    cr_expect_eq(event.at[strlen(EVENT_STRUCTURED_START) - 2], '1');
}

Test(script, writes_nothing_when_the_cursor_is_before_prev_or_anothers)
{
    script_begin(script, 5);
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
    script_begin(script, 0);
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
    one(1, 1, "a=1");
    script_begin(script, 0);
    add(1, "events", DELIVERY_MARK, "a=1");
    add(7, "events", DELIVERY_MARK, "a=7");
    cr_expect_eq(call(), REPLY_AT);
    cr_expect_eq(answer.cursor, 1u);
    cr_expect_eq(number("XLEN", "{t}:events"), 1);
}

Test(script, ends_at_a_refused_record_and_says_how_far_it_got)
{
    redis_ask(redis, NULL, "SET", "{t}:text", "x", NULL);
    script_begin(script, 0);
    add(1, "events", DELIVERY_MARK, "a=1");
    add(2, "text", DELIVERY_MARK, "a=2");
    add(3, "events", DELIVERY_MARK, "a=3");
    cr_expect_eq(call(), REPLY_STOP);
    cr_expect_eq(answer.cursor, 1u);
    cr_expect_eq(number("XLEN", "{t}:events"), 1);
    cursor_field_is("check", ""); // that of the last record would be a lie

    redis_ask(redis, NULL, "DEL", "{t}:text", NULL);
    script_begin(script, 1);
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

    script_begin(script, 0);
    add(last - 2, "events", DELIVERY_MARK, "a=1");
    cr_expect_eq(call(), REPLY_DONE);
    cr_expect_eq(one(last - 1, 1, "a=2"), '0');
    cr_expect_eq(one(last, 1, "a=3"), '0');
    cr_expect_eq(number("XLEN", "{t}:events"), 3);
    cursor_field_is("sequence", "18446744073709551615");
}

// --- duplicates ----------------------------------------------------------------------------

static int64_t
ttl_ms(const char *key)
{
    return number("PTTL", key);
}

Test(script, finds_a_duplicate_by_two_receipts_within_the_window)
{
    int64_t t = 1764000000LL * SECOND;

    cr_expect_eq(one(1, t, "a=1"), '0');
    cr_expect_eq(one(2, t + WINDOW, "a=1"), '1');
    cr_expect_eq(one(3, t + 2 * WINDOW + 1, "a=1"), '0'); // of 2, and not of 1
    cr_expect_eq(one(4, t + 2 * WINDOW + 2, "a=2"), '0');
    cr_expect_eq(one(5, t + 3 * WINDOW + 1, "a=1"), '1'); // of 3, in the other hash
    cr_expect_eq(one(6, t + 99 * WINDOW, "a=1"), '0');    // a long silence
    cr_expect_eq(one(7, t + 99 * WINDOW + 1, "a=1"), '1');
}

// Each receipt of a long random row against the definition, over many turns of the hashes.
Test(script, finds_what_the_definition_says)
{
    int64_t seen[5], t = 1764000000LL * SECOND;
    char body[] = "a=0";

    srand(7);
    for (int i = 0; i < 5; i++)
        seen[i] = -WINDOW;
    for (uint64_t sequence = 1; sequence <= 400; sequence++) {
        int which = rand() % 5;
        t += rand() % (6 * SECOND);
        body[2] = (char)('0' + which);
        char expected = t - seen[which] <= WINDOW ? '1' : '0';
        cr_assert_eq(one(sequence, t, body), expected, "%llu",
                     (unsigned long long)sequence);
        seen[which] = t;
    }
}

// A batch may hold what came in many windows, when Redis was away.
Test(script, compares_receipts_within_a_batch_too)
{
    script_begin(script, 0);
    for (int i = 0; i < 5; i++)
        add_at((uint64_t)i + 1, (i + 1) * 4 * (int64_t)SECOND * (i < 3 ? 1 : 5), "events",
               DELIVERY_DROP, "a=1"); // 4 8 12 80 100 s
    cr_assert_eq(call(), REPLY_DONE);
    cr_expect_eq(answer.dropped, 2u);
    cr_expect_eq(number("XLEN", "{t}:events"), 3);
    cr_expect_eq(one(6, 110 * SECOND, "a=1"), '1');
    cr_expect_eq(one(7, 121 * SECOND, "a=1"), '0');
}

// An error of Lua's after the first XADD would have the records before it appended again and again.
Test(script, takes_what_is_no_receipt_for_none)
{
    static const char *const wrong[] = {"", "-", "x", "9x"};
    static const char *const keys[] = {"{t}:seen:1", "{t}:seen:2"}, *const sizes[] = {
                                                                        "4", "5"};
    int64_t t = 1764000000LL * SECOND;
    char name[ENTRY_FINGERPRINT + 1];
    uint64_t sequence = 1;

    one(sequence, t, "a=1");
    struct span found =
        redis_value(redis_reply_at(redis_ask(redis, NULL, "HKEYS", keys[0], NULL), 0))
            .text;
    snprintf(name, sizeof name, "%.*s", (int)found.len, found.at);
    for (int hash = 0; hash < 2; hash++)
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            redis_ask(redis, NULL, "DEL", keys[0], keys[1], NULL);
            redis_ask(redis, NULL, "HSET", keys[hash], name, wrong[i], NULL);
            redis_ask(redis, NULL, "HSET", "{t}:seen:state", sizes[hash], "1", NULL);
            cr_expect_eq(one(++sequence, t, "a=1"), '0', "\"%s\"", wrong[i]);
        }
    cr_expect_eq(number("XLEN", "{t}:events"), (int64_t)sequence);
}

// Another receiver of the namespace has a journal, a cursor and a script of its own.
Test(script, finds_duplicates_across_two_receivers)
{
    static const char other_journal[] = "ffffffffffffffffffffffffffffffff";
    static struct script second;
    struct script *a = script, *b = &second;
    int64_t t = 1764000000LL * SECOND;

    script_init(b, "t", other_journal, "me", WINDOW, 100);
    cr_expect_eq(one(1, t, "x=1"), '0');
    script = b; // its first record ever
    cr_expect_eq(one(1, t + SECOND, "y=1"), '0');
    script = a;
    cr_expect_eq(one(2, t + 2 * SECOND, "x=1"), '1');
    script = b; // its first of the next window
    cr_expect_eq(one(2, t + WINDOW + SECOND, "z=1"), '0');
    cr_expect_eq(one(3, t + WINDOW + 2 * SECOND, "x=1"), '1');
    script = a; // late
    cr_expect_eq(one(3, t + SECOND, "y=1"), '1');
    cr_expect_eq(one(4, t + WINDOW + 3 * SECOND, "z=1"), '1');
    script_release(b);
}

Test(script, forgets_fingerprints_and_looks_for_none_in_doubt)
{
    int64_t t = 1764000000LL * SECOND;
    struct entry e = {.sequence = 3};

    cr_expect_eq(one(1, t, "a=1"), '0');
    script_begin(script, 1);
    script->forgets = true;
    add_at(2, t + 1, "events", DELIVERY_DROP, "a=1");
    cr_assert_eq(call(), REPLY_DONE);
    cr_expect_eq(answer.dropped, 0u);
    cr_expect_eq(one(3, t + 2, "a=1"), '1'); // of 2
    struct delivery d = {.hook = SPAN("h"),
                         .stream = SPAN("events"),
                         .body = SPAN("a=1"),
                         .duplicates = DELIVERY_DROP};
    struct buf stored;
    buf_init(&stored, 1000);
    cr_assert(delivery_encode(&stored, &d) == 0);
    struct record record = {4, .received_us = t + 3, .payload = buf_span(&stored)};
    entry_make(&maker, &record, &e);
    script_begin(script, 3);
    script_add(script, &e, true);
    cr_assert_eq(call(), REPLY_DONE);
    cr_expect_eq(answer.dropped, 0u);
    buf_release(&stored);
}

Test(script, lets_fingerprints_expire_by_themselves)
{
    int64_t t = 1764000000LL * SECOND, day = 86400000;

    one(1, t, "a=1");
    one(2, t + WINDOW, "a=2");
    one(3, t + WINDOW + 1, "a=3");
    const char *keys[] = {"{t}:seen:state", "{t}:seen:1", "{t}:seen:2"};
    for (int i = 0; i < 3; i++)
        cr_expect(ttl_ms(keys[i]) > day && ttl_ms(keys[i]) <= day + 20000, "%s: %lld",
                  keys[i], (long long)ttl_ms(keys[i]));
    cr_expect_eq(number("HLEN", "{t}:seen:1"), 1);
    cr_expect_eq(number("HLEN", "{t}:seen:2"), 2);
    // Redis lets them go one by one
    redis_ask(redis, NULL, "DEL", "{t}:seen:state", NULL);
    cr_expect_eq(one(4, t + WINDOW + 2, "a=3"), '0');
    cr_expect_eq(one(5, t + WINDOW + 3, "a=3"), '1');
    redis_ask(redis, NULL, "DEL", "{t}:seen:1", NULL);
    cr_expect_eq(one(6, t + WINDOW + 4, "a=3"), '0');
    cr_expect(ttl_ms("{t}:seen:1") <= day + 20000);
}

Test(script, keeps_no_more_fingerprints_than_it_may)
{
    int64_t t = 1764000000LL * SECOND;
    char body[16];

    script->duplicates_max = 3;
    for (uint64_t i = 1; i <= 5; i++) {
        snprintf(body, sizeof body, "a=%d", (int)i);
        cr_expect_eq(one(i, t + (int64_t)i, body), '0');
        cr_expect(strcmp(answer.notice, i <= 3 ? "KEPT" : "FULL") == 0);
    }
    cr_expect_eq(number("HLEN", "{t}:seen:1"), 3);
    // The next window has room when what was seen before the last one is gone.
    cr_expect_eq(one(6, t + WINDOW + 1, "a=6"), '0');
    cr_expect_str_eq(answer.notice, "FULL");
    cr_expect_eq(one(7, t + 2 * WINDOW + 1, "a=7"), '0');
    cr_expect_str_eq(answer.notice, "KEPT");
}

// What version 0.1.0 kept there are sets, of other names.
Test(script, is_not_stopped_by_the_sets_of_the_version_before)
{
    redis_ask(redis, NULL, "SADD", "{t}:seen:a", "x", NULL);
    redis_ask(redis, NULL, "SADD", "{t}:seen:b", "y", NULL);
    cr_expect_eq(one(1, SECOND, "a=1"), '0');
    cr_expect_eq(one(2, SECOND, "a=1"), '1');
}

// --- times of last events ------------------------------------------------------------------

// last_age_us compares the time of hook h's last event with Redis's clock.
static int64_t
last_age_us(void)
{
    const struct redis_reply *reply =
        redis_ask(redis, NULL, "HGET", "{t}:last", "h", NULL);
    struct span text = redis_value(reply).text;
    struct tm wall;
    bool good = true;

    cr_assert_eq(text.len, (size_t)CLOCK_US, "%.*s", (int)text.len, text.at);
    int64_t us = clock_digits(text.at + 20, 6, &good);
    cr_assert(clock_take_wall(&text, &wall) && good);
    us += clock_utc_seconds(&wall) * SECOND;
    reply = redis_ask(redis, NULL, "TIME", NULL);
    uint64_t seconds, part;
    cr_assert(
        text_number(&seconds, redis_value(redis_reply_at(reply, 0)).text, INT64_MAX) &&
        text_number(&part, redis_value(redis_reply_at(reply, 1)).text, INT64_MAX));
    return (int64_t)(seconds * SECOND + part) - us;
}

Test(script, takes_the_time_of_a_last_event_from_redis)
{
    one(1, 1, "a=1"); // received in 1970
    cr_expect(last_age_us() >= 0 && last_age_us() < 5 * SECOND);
    one(2, 4000000000LL * SECOND, "a=1"); // and in 2096
    cr_expect(last_age_us() >= 0 && last_age_us() < 5 * SECOND);
}

// The rights that version 0.1.0 needed: TIME and PEXPIRE are not among them.
Test(script, ships_with_the_rights_of_the_version_before)
{
    const char *rules[] = {"+eval", "+evalsha", "+hmget",      "+hset",  "+xadd",
                           "+sadd", "+scard",   "+smismember", "+unlink"};

    redis_ask(redis, NULL, "ACL", "SETUSER", "default", "-@all", "+hget", "+time", "+acl",
              "+xrange", "+xlen", NULL);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        redis_ask(redis, NULL, "ACL", "SETUSER", "default", rules[i], NULL);
    redis_ask(redis, NULL, "ACL", "SETUSER", "default", "-time", "-hget", NULL);
    cr_expect_eq(one(1, SECOND, "a=1"), '0');
    cr_expect(strlen(answer.notice) > 4, "%s", answer.notice);
    cr_expect_eq(one(2, SECOND, "a=1"), '1');
    redis_ask(redis, NULL, "ACL", "SETUSER", "default", "+time", "+hget", NULL);
    cr_expect(last_age_us() >= 0 && last_age_us() < 5 * SECOND);
}

Test(script, keeps_a_fingerprint_only_of_what_is_in_the_stream)
{
    redis_ask(redis, NULL, "SET", "{t}:events", "x", NULL);
    script_begin(script, 0);
    add(1, "events", DELIVERY_DROP, "a=1");
    cr_expect_eq(call(), REPLY_STOP);
    redis_ask(redis, NULL, "DEL", "{t}:events", NULL);
    cr_expect_eq(call(), REPLY_DONE);
    cr_expect_eq(answer.dropped, 0u);
    cr_expect_eq(number("XLEN", "{t}:events"), 1);
}

// --- fields --------------------------------------------------------------------------------

// Records of many kinds, in turn: what they have in common is sent once, and each entry has its
// own fields all the same.
Test(script, gives_each_entry_its_own_fields)
{
    static const char *const hooks[] = {"h", "i"}, *const streams[] = {"events", "other"};
    static const char *const bodies[] = {"type=subscribe&n=1", "type=update&n=2", "",
                                         "x={"};
    enum { RECORDS = 60 };
    struct buf stored[RECORDS];
    const struct redis_reply *reply;

    srand(3);
    script_begin(script, 0);
    struct record records[RECORDS];
    const char *keys[RECORDS];
    for (int i = 0; i < RECORDS; i++) {
        struct delivery d = {.hook = span_of(hooks[rand() % 2]),
                             .stream = span_of(streams[rand() % 2]),
                             .body = span_of(bodies[rand() % 4]),
                             .query = rand() % 3 ? SPAN("") : SPAN("q=1"),
                             .duplicates = rand() % 2 ? DELIVERY_MARK : DELIVERY_KEEP,
                             .include_raw = rand() % 2};
        struct entry e;
        buf_init(&stored[i], 1000);
        cr_assert(delivery_encode(&stored[i], &d) == 0);
        records[i] = (struct record){.sequence = (uint64_t)i + 1,
                                     .received_us = (i + 1) * 4 * (int64_t)WINDOW,
                                     .payload = buf_span(&stored[i])};
        entry_make(&maker, &records[i], &e);
        script_add(script, &e, false);
        keys[i] = e.reason != EVENT_OK          ? "{t}:dead"
                  : span_is(d.stream, "events") ? "{t}:events"
                                                : "{t}:other";
    }
    cr_assert_eq(call(), REPLY_DONE, "%s", answer.message);
    cr_expect_eq(answer.cursor, (uint64_t)RECORDS);
    for (int i = 0; i < RECORDS; i++) {
        struct span values[ENTRY_EVENT_FIELDS];
        struct entry e;
        size_t len;
        entry_make(&maker, &records[i], &e);
        const struct entry_field *fields = entry_fields(&e, values, &len);
        reply = redis_ask(redis, NULL, "XRANGE", keys[i], "-", "+", "COUNT", "1", NULL);
        const struct redis_reply *entry = redis_reply_at(reply, 0);
        const struct redis_reply *found = redis_reply_at(entry, 1);
        cr_assert_eq(redis_value(found).len, 2 * len, "%d in %s", i, keys[i]);
        for (size_t f = 0; f < len; f++) {
            struct span name = redis_value(redis_reply_at(found, 2 * f)).text;
            struct span value = redis_value(redis_reply_at(found, 2 * f + 1)).text;
            cr_expect(span_is(name, fields[f].name));
            cr_expect(span_equal(value, values[f]), "%d %s: %.*s", i, fields[f].name,
                      (int)value.len, value.at);
        }
        char id[64];
        snprintf(id, sizeof id, "%.*s",
                 (int)redis_value(redis_reply_at(entry, 0)).text.len,
                 redis_value(redis_reply_at(entry, 0)).text.at);
        redis_ask(redis, NULL, "XDEL", keys[i], id, NULL);
        buf_release(&stored[i]);
    }
}
