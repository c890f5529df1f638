// What the relay trims, and what it keeps in mind for that.
#include "relay_scene.h"

TestSuite(relay_trim, .init = set_up, .fini = tear_down, .timeout = 100);

// shows says whether the stream has figures.
static bool
shows(const char *stream)
{
    char series[100];
    struct buf text;

    snprintf(series, sizeof series, "acrelay_stream_length_entries{stream=\"%s\"}",
             stream);
    buf_init(&text, 1 << 20);
    cr_assert(metric_write(&text) == 0);
    bool found = strstr(buf_text(&text), series);
    buf_release(&text);
    return found;
}

static void
trim_to(uint64_t entries, int64_t age_us, const char *times)
{
    config.redis_retain_entries = entries;
    config.redis_retain_age_us = age_us;
    set_times(times);
}

Test(relay_trim, trims_the_streams_that_a_reload_names)
{
    trim_to(100, 0, "trim=20");
    relay_up();
    for (int i = 0; i < 500; i++)
        post_to("other", DELIVERY_KEEP, "event 1");
    until(s.cursor == 500);
    configure("events other", "");
    reload();
    until(shows("other") && length("other") < 200);
}

Test(relay_trim, keeps_few_entries_of_the_test_hook)
{
    trim_to(1000000, 0, "trim=20");
    relay_up();
    for (int i = 0; i < CONFIG_TEST_ENTRIES + 500; i++)
        post_to(CONFIG_TEST_HOOK, DELIVERY_KEEP, "event 1");
    until(s.cursor == CONFIG_TEST_ENTRIES + 500);
    until(length(CONFIG_TEST_HOOK) < CONFIG_TEST_ENTRIES + 200);
    cr_expect_geq(length(CONFIG_TEST_HOOK), CONFIG_TEST_ENTRIES);
}

Test(relay_trim, trims_more_than_one_call_can)
{
    struct span args[] = {
        SPAN("EVAL"),
        SPAN("for i = 1, 35000 do redis.call('XADD', KEYS[1], '*', 'a', "
             "'b') end"),
        SPAN("1"), SPAN("{t}:events")};
    struct err err;

    trim_to(1000, 0, "trim=3600000");
    cr_assert(redis_command(look, args, 4, &err));
    relay_up();
    until(length("events") > 0 && length("events") < 1200);
}

Test(relay_trim, counts_what_was_trimmed_before_a_group_read_it)
{
    trim_to(100, 0, "trim=20");
    command("XGROUP CREATE {t}:events slow 0 MKSTREAM");
    post(1, 1000);
    relay_up();
    // Whole nodes of 100 entries are dropped, so up to 99 more than asked stay.
    until(s.cursor == 1000 && length("events") >= 100 && length("events") < 200);
    post(1001, 1500);
    until(s.cursor == 1500 && counted(RELAY_TRIMMED) > 1000 && length("events") < 200);
    // A trim whose figures are of all 1500 is the last one: none finds more to drop.
    until(length("events") == (uint64_t)redis_value(ask("XLEN {t}:events")).number &&
          counted(RELAY_TRIMMED) + length("events") == 1500);
    uint64_t left = length("events");
    cr_expect_eq(counted(RELAY_TRIMMED), 1500 - left);
    cr_expect_eq(counted(RELAY_TRIMMED_UNREAD), 1500 - left);
    // What a group has read is not missed.
    ask("XREADGROUP GROUP slow me COUNT 1000 STREAMS {t}:events >");
    post(1501, 1502);
    until(s.cursor == 1502 && lag("events") == 2);
    cr_expect_eq(counted(RELAY_TRIMMED_UNREAD), 1500 - left);
}

Test(relay_trim, knows_what_is_unread_when_an_entry_ahead_was_deleted)
{
    trim_to(1000, 0, "trim=20");
    command("XGROUP CREATE {t}:events slow 0 MKSTREAM");
    for (int i = 1; i <= 500; i++)
        command("XADD {t}:events * a b");
    ask("XREADGROUP GROUP slow me COUNT 50 STREAMS {t}:events >");
    command("XADD {t}:events 9000000000000-1 a b");
    command("XDEL {t}:events 9000000000000-1");
    relay_up();
    until(lag("events") == 451);
    config.redis_retain_entries = 100;
    reload();
    until(length("events") < 200);
    cr_expect_eq(counted(RELAY_TRIMMED_UNREAD),
                 counted(RELAY_TRIMMED) - 50 + 1); // the deleted one
}

Test(relay_trim, takes_all_for_unread_where_redis_does_not_know)
{
    trim_to(1000, 0, "trim=20");
    for (int i = 1; i <= 50; i++)
        command("XADD {t}:events * a b");
    command("XADD {t}:events 9000000000000-1 a b");
    command("XADD {t}:events 9000000000000-2 a b");
    command("XGROUP CREATE {t}:events middle 9000000000000-1");
    relay_up();
    until(lag("events") == 52);
    ask("XREADGROUP GROUP middle me COUNT 50 STREAMS {t}:events >");
    until(lag("events") == 0);
    command("ACL SETUSER default -xinfo|groups");
    until(lag("events") == 52);
    cr_expect_eq(counted(RELAY_TRIMMED_UNREAD), 0);
}

// add_old adds an entry that is so many hours old by Redis's clock; `tell` says it.
static void
add_old(const char *stream, int hours)
{
    char text[128];
    uint64_t seconds;

    cr_assert(text_number(&seconds, redis_value(redis_reply_at(ask("TIME"), 0)).text,
                          INT64_MAX));
    snprintf(text, sizeof text, "XADD {t}:%s %llu-* a b", stream,
             (unsigned long long)(seconds - (uint64_t)hours * 3600) * 1000);
    command(text);
}

Test(relay_trim, keeps_no_entry_that_is_too_old)
{
    trim_to(0, 7 * DAY_US, "trim=20");
    for (int day = 60; day >= 0; day--)
        add_old("events", day * 24);
    relay_up();
    until(length("events") == 7 || length("events") == 8);
    cr_expect_eq(counted(RELAY_TRIMMED), 61 - length("events"));
}

Test(relay_trim, trims_very_many_old_entries_in_bounded_calls)
{
    struct span args[] = {
        SPAN("EVAL"),
        SPAN("for i = 1, 35050 do redis.call('XADD', KEYS[1], i .. '-1', 'a', 'b') end"),
        SPAN("1"), SPAN("{t}:events")};
    struct err err;

    trim_to(0, 2 * HOUR_US, "trim=3600000");
    cr_assert(redis_command(look, args, 4, &err));
    add_old("events", 1);
    relay_up();
    until(length("events") == 1);
    cr_expect_eq(counted(RELAY_TRIMMED), 35050u);
}

Test(relay_trim, trims_streams_that_no_hook_names_any_more_until_they_are_empty)
{
    trim_to(0, 7 * DAY_US, "trim=20");
    configure("events gone", "");
    relay_up();
    until(shows("gone"));
    relay_stop(relay);
    // the file changed, and the receiver started anew: Redis remembers
    for (int i = 0; i < 30; i++)
        add_old("gone", 60 * 24);
    configure("events", "");
    relay_up();
    until(counted(RELAY_TRIMMED) == 30);
    // a reload is enough, and makes it look at once
    add_old("gone", 1);
    reload();
    until(length("gone") == 1);
    cr_expect_eq(redis_value(ask("SISMEMBER {t}:streams gone")).number, 1);
    command("XTRIM {t}:gone MAXLEN 0");
    reload();
    until(length("gone") == 0 && // and its figure is true
          redis_value(ask("SISMEMBER {t}:streams gone")).number == 0);
    cr_expect_eq(redis_value(ask("SISMEMBER {t}:streams events")).number, 1);
}

Test(relay_trim, trims_streams_that_only_records_name)
{
    trim_to(0, 0, "trim=20");
    configure("events gone", "");
    relay_up();
    until(shows("gone"));
    configure("events", "");
    reload();
    post_to("gone", DELIVERY_MARK, "event 1");
    post_to("never", DELIVERY_MARK, "event 1");
    until(length("gone") == 1 && length("never") == 1);
    cr_expect_eq(redis_value(ask("SISMEMBER {t}:streams never")).number, 1);
    command("SADD {t}:streams x{t}:cursor ../.. CURSOR");
    struct entry again = {.reason = EVENT_OK, .delivery = {.stream = SPAN("again")}};
    struct err err;
    cr_assert(relay_replay(look, "t", &again, &err) == 0);
    cr_expect_eq(redis_value(ask("SISMEMBER {t}:streams again")).number, 1);
    command("SREM {t}:streams again");
    configure("events gone", ""); // and back
    reload();
    post_to("gone", DELIVERY_MARK, "event 2");
    post_to("never", DELIVERY_MARK, "event 2");
    until(length("gone") == 2 && length("never") == 2);
    cr_expect(!shows("CURSOR") && !shows("../..") && !shows("x{t}:cursor"));
}

// The receiver that is stopped then will never name it again.
Test(relay_trim, remembers_a_stream_that_only_the_last_batch_named)
{
    trim_to(0, 0, "trim=3600000");
    relay_up();
    until(s.state == RELAY_SHIPPING);
    post_to("never", DELIVERY_MARK, "event 1");
    until(s.cursor == 1);
    relay_down();
    cr_expect_eq(redis_value(ask("SISMEMBER {t}:streams never")).number, 1);
}

Test(relay_trim, keeps_dead_letters_by_their_own_bound)
{
    trim_to(0, 7 * DAY_US, "trim=20");
    config.redis_retain_dead_us = 90 * DAY_US;
    for (int i = 0; i < 3; i++)
        add_old("dead", 91 * 24);
    for (int i = 0; i < 5; i++)
        add_old("dead", 60 * 24);
    relay_up();
    until(length("dead") == 5);
    cr_expect_eq(counted(RELAY_DEAD_TRIMMED), 3u);
}

Test(relay_trim, forgets_last_events_of_hooks_that_left_the_file)
{
    trim_to(0, 0, "trim=20 trim-exact=20 hook-listed=0");
    configure("events", "h i");
    command("SADD {t}:seen:a x"); // of version 0.1.0, without an expiry
    command("HSET {t}:last h 1 i 2 hh 3 gone 4");
    relay_up();
    until(redis_value(ask("HKEYS {t}:last")).len == 2);
    cr_expect_eq(redis_value(ask("HEXISTS {t}:last i")).number, 1);
    configure("events", "h");
    reload();
    until(redis_value(ask("HKEYS {t}:last")).len == 1);
    cr_expect_eq(redis_value(ask("EXISTS {t}:seen:a")).number, 0);
}

// Its file may be another one, and its hooks silent for long.
Test(relay_trim, keeps_last_events_of_hooks_that_another_receiver_lists)
{
    trim_to(0, 0, "trim=20 trim-exact=20 hook-listed=86400000");
    configure("events", "h");
    command("HSET {t}:last h 1 other 2 unknown 3 gone 4");
    command("HSET {t}:last:listed other 99999999999 gone 1");
    relay_up();
    until(redis_value(ask("HEXISTS {t}:last gone")).number == 0);
    cr_expect_eq(redis_value(ask("HKEYS {t}:last")).len, 3);
    until(redis_value(ask("HKEYS {t}:last:listed")).len == 3); // "unknown" is from now on
}
