// The relay between a real journal and a real redis-server: how it should be, a Redis that forgets,
// duplicates.
#include "relay_scene.h"

TestSuite(relay, .init = set_up, .fini = tear_down, .timeout = 100);

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
    cr_assert_eq(redis_value(entry).len, 30u);
    for (size_t i = 0; i < 15; i++)
        cr_expect(span_is(redis_value(redis_reply_at(entry, 2 * i)).text, names[i]), "%s",
                  names[i]);
    field_is("events", 41, "ce_sequence", "00000000000000000042");
    field_is("events", 41, "ce_repeat", "0");
    cr_expect_eq(redis_value(ask("HGETALL {t}:last")).len, 2u);
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
    cr_expect_eq(counted(RELAY_BATCHES), 5u);
    cr_expect_eq(redis_value(ask("XLEN {t}:events")).number, 5);
}

Test(relay, goes_on_after_its_own_restart)
{
    relay_up();
    post(1, 10);
    until(s.cursor == 10);
    relay_down();
    post(11, 20);
    relay_up();
    until(s.cursor == 20);
    stream_is("events", 1, 20);
}

// The configuration before a reload is released, with all its texts.
Test(relay, needs_nothing_of_the_configuration_before_a_reload)
{
    char first[] = "acme", second[] = "acme", before[] = "t", after[] = "t";

    config.account_name = first;
    config.redis_namespace = before;
    relay_up();
    post(1, 1);
    until(s.cursor == 1);
    config.account_name = second;
    config.redis_namespace = after;
    reload();
    post(2, 2);
    until(s.cursor == 2);
    memset(first, 'x', 4);
    memset(before, 'x', 1);
    post(3, 3);
    until(s.cursor == 3);
    stream_is("events", 1, 3);
    field_is("events", 2, "ce_source", "/activecampaign/acme/h");
}

Test(relay, waits_for_a_redis_that_is_away_and_fills_a_new_one)
{
    redis_server_kill(&server);
    relay_up();
    post(1, 30);
    until(s.state == RELAY_CONNECTING && *s.message);
    redis_close(look);
    redis_server_run(&server);
    look = redis_server_open(&server);
    until(s.cursor == 30);
    stream_is("events", 1, 30);
}

Test(relay, sends_again_exactly_what_a_rollback_lost)
{
    relay_up();
    post(1, 20);
    until(s.cursor == 20);
    command("SAVE");
    post(21, 50);
    until(s.cursor == 50);
    command("DEBUG RELOAD NOSAVE");
    post(51, 60);
    until(s.cursor == 60 && counted(RELAY_REWINDS) == 1);
    stream_is("events", 1, 60);
    cr_expect_eq(counted(RELAY_ENTRIES), 60u + 30u); // 30 twice
}

Test(relay, sends_all_that_is_kept_after_a_flush)
{
    relay_up();
    post(1, 20);
    until(s.cursor == 20);
    command("FLUSHALL");
    post(21, 25);
    until(s.cursor == 25 && counted(RELAY_REWINDS) == 1);
    stream_is("events", 1, 25);
}

Test(relay, sends_the_text_when_the_script_was_flushed)
{
    relay_up();
    for (int i = 0; i < 5; i++) {
        command("SCRIPT FLUSH");
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

Test(relay, tells_what_is_no_longer_kept_as_a_gap)
{
    char body[40001];
    struct journal_status js;

    keep_us = 1;
    relay_down();
    relay_up();
    memset(body, 'x', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    for (int i = 0; i < 200; i++)
        post_to("events", DELIVERY_KEEP, body);
    until(s.cursor == 200);
    int64_t limit_ms = clock_mono_ms() + 60000;
    do
        journal_read_status(journal, &js);
    while (js.first <= 1 && clock_mono_ms() < limit_ms);
    cr_assert(js.first > 1, "nothing was removed");
    command("FLUSHALL");
    post(201, 201);
    until(s.cursor == 201 && counted(RELAY_GAPS) == 1);
    journal_read_status(journal, &js);
    int64_t length = redis_value(ask("XLEN {t}:events")).number;
    cr_expect(length > 0 && length < 201, "%lld", (long long)length);
    cr_expect_eq(redis_value(ask("XLEN {t}:dead")).number, 1);
    field_is("dead", 0, "reason", "gap");
    char id[64], detail[80];
    snprintf(id, sizeof id, "%s-%020lld", journal_id(journal), 201LL - (long long)length);
    field_is("dead", 0, "ce_id", id);
    snprintf(detail, sizeof detail, "records 1 to %lld are lost: no longer kept",
             201LL - (long long)length);
    field_is("dead", 0, "detail", detail);
}

Test(relay, refills_a_redis_that_forgot_while_nothing_was_posted)
{
    relay_up();
    command("SAVE");
    post(1, 20);
    until(s.cursor == 20);
    command("FLUSHALL");
    until(s.cursor == 20 && counted(RELAY_REWINDS) == 1);
    stream_is("events", 1, 20);
    command("DEBUG RELOAD NOSAVE");
    until(s.cursor == 20 && counted(RELAY_REWINDS) == 2);
    stream_is("events", 1, 20);
}

Test(relay, sees_role_policy_and_owner_change_while_nothing_is_posted)
{
    relay_up();
    post(1, 2);
    until(s.cursor == 2 && s.state == RELAY_SHIPPING);
    command("REPLICAOF 127.0.0.1 1");
    until(s.state == RELAY_CONNECTING && strstr(s.message, "not the master"));
    command("REPLICAOF NO ONE");
    until(s.state == RELAY_SHIPPING);
    command("CONFIG SET maxmemory-policy allkeys-lru");
    until(s.state == RELAY_STOPPED && strstr(s.message, "may evict"));
    command("CONFIG SET maxmemory-policy noeviction");
    until(s.state == RELAY_SHIPPING);
    set_cursor("owner", "somebody");
    until(s.state == RELAY_FENCED);
}

Test(relay, believes_no_replica_that_hides_its_role)
{
    command("ACL SETUSER acrelay on >secret ~{t}:* +@all -@dangerous");
    relay_up_as("acrelay", "secret");
    post(1, 2);
    until(s.cursor == 2 && s.state == RELAY_SHIPPING);
    command("REPLICAOF 127.0.0.1 1");
    until(s.state == RELAY_CONNECTING && strstr(s.message, "READONLY"));
    command("REPLICAOF NO ONE");
    until(s.state == RELAY_SHIPPING && s.cursor == 2);
}

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
    cr_expect_eq(redis_value(ask("XLEN {t}:marked")).number, 4);
    cr_expect_eq(redis_value(ask("XLEN {t}:dropped")).number, 1);
    cr_expect_eq(redis_value(ask("XLEN {t}:kept")).number, 4);
    field_is("marked", 0, "ce_repeat", "0");
    field_is("marked", 1, "ce_repeat", "1");
    field_is("marked", 3, "ce_repeat", "1");
    field_is("kept", 3, "ce_repeat", "0");
    cr_expect_eq(counted(RELAY_DUPLICATES_MARKED), 3u);
    cr_expect_eq(counted(RELAY_DUPLICATES_DROPPED), 3u);
}

Test(relay, says_so_when_there_is_no_room_for_fingerprints)
{
    config.duplicates_max = 3;
    relay_up();
    post(1, 3);
    until(s.cursor == 3);
    cr_expect_not(counted(RELAY_DUPLICATES_PAUSED));
    post(4, 4);
    until(s.cursor == 4 && counted(RELAY_DUPLICATES_PAUSED));
    post(4, 4);
    until(s.cursor == 5);
    field_is("events", 4, "ce_repeat", "0");
}

Test(relay, does_not_take_a_rollback_for_repeats)
{
    relay_up();
    command("SAVE");
    post(1, 10);
    until(s.cursor == 10);
    command("DEBUG RELOAD NOSAVE");
    post(11, 11);
    until(s.cursor == 11 && counted(RELAY_REWINDS) == 1);
    stream_is("events", 1, 11);
    cr_expect_eq(counted(RELAY_DUPLICATES_MARKED), 0u);
}
