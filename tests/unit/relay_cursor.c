// Whose cursor it is, and whose records stand behind it.
#include "relay_scene.h"

TestSuite(relay_cursor, .init = set_up, .fini = tear_down, .timeout = 100);

// Two records are published, and then the cursor is another owner's.
static void
publish_for_another_owner(void)
{
    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    set_cursor("owner", "somebody");
}

// claim gives the cursor that was claimed.
static uint64_t
claim(void)
{
    uint64_t cursor = UINT64_MAX;
    struct err err;

    cr_assert(
        relay_claim(look, &config, "t", journal_id(journal), directory, &cursor, &err));
    return cursor;
}

Test(relay_cursor, is_fenced_by_another_owner_until_it_is_claimed)
{
    publish_for_another_owner();
    post(3, 4);
    until(s.state == RELAY_FENCED);
    stream_is("events", 1, 2);
    cr_assert(claim() == 2);
    until(s.cursor == 4);
    stream_is("events", 1, 4);
}

// A new machine that was started more than once before somebody claimed the journal for it.
Test(relay_cursor, is_claimed_after_restarts_too)
{
    publish_for_another_owner();
    relay_down();
    for (int start = 0; start < 2; start++) {
        relay_up();
        until(s.state == RELAY_FENCED);
        post(3 + start, 3 + start);
        relay_down();
    }
    relay_up();
    cr_assert(claim() == 2);
    until(s.cursor == 4);
    stream_is("events", 1, 4);
}

// What is not kept any more waits for nobody.
Test(relay_cursor, says_how_much_waits_while_another_owner_has_it)
{
    cr_assert(journal_reserve(journal, 1000)); // as if those had come and gone
    post(1, 3);
    set_cursor("owner", "another");
    set_cursor("sequence", "00000000000000000900");
    relay_up();
    until(redis_value(ask("HVALS {t}:receivers")).len == 1);
    struct span text = redis_value(redis_reply_at(ask("HVALS {t}:receivers"), 0)).text;
    cr_expect(memmem(text.at, text.len, "\"waiting\":3,", 12), "%.*s", (int)text.len,
              text.at);
}

Test(relay_cursor, takes_no_word_of_another_owner_for_what_is_published)
{
    struct journal_status js;

    publish_for_another_owner();
    set_cursor("sequence", "00000000000000000009");
    post(3, 4);
    until(s.state == RELAY_FENCED);
    journal_read_status(journal, &js);
    cr_expect_eq(js.published, 2u);
    cr_expect_neq(js.oldest_unpublished_age_us, 0);
}

Test(relay_cursor, stops_when_a_copy_with_the_same_owner_was_faster)
{
    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    set_cursor("sequence", "00000000000000000003");
    set_cursor("check", "0123456789abcdef");
    post(3, 5);
    until(s.state == RELAY_STOPPED && strstr(s.message, "copy"));
    stream_is("events", 1, 2);
}

Test(relay_cursor, stops_when_redis_has_other_records_under_our_new_numbers)
{
    struct journal_status js;
    char text[256];

    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    relay_down();
    post(3, 9);
    set_cursor("sequence", "00000000000000000005");
    snprintf(text, sizeof text, "HDEL {t}:cursor:%s check", journal_id(journal));
    command(text);
    relay_up();
    until(s.state == RELAY_STOPPED && strstr(s.message, "copy"));
    journal_read_status(journal, &js);
    cr_expect_eq(js.published, 0u);
    stream_is("events", 1, 2);
}

Test(relay_cursor, reads_the_cursor_before_it_ships_to_a_redis_that_was_busy)
{
    char text[256];

    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    relay_down();
    set_cursor("sequence", "00000000000000000009");
    set_cursor("check", "0123456789abcdef");
    command("CONFIG SET busy-reply-threshold 10");
    snprintf(text, sizeof text,
             "redis-cli -s %s EVAL 'while true do end' 0 >/dev/null 2>&1 &",
             server.socket);
    cr_assert(system(text) == 0);
    const struct redis_reply *reply;
    do
        reply = ask("GET x");
    while (redis_value(reply).kind != REDIS_ERROR);
    relay_up();
    until(s.state == RELAY_CONNECTING && strstr(s.message, "BUSY"));
    post(3, 4);
    command("SCRIPT KILL");
    until(s.state == RELAY_STOPPED && strstr(s.message, "copy"));
    stream_is("events", 1, 2);
}

Test(relay_cursor, stops_when_the_record_at_the_cursor_is_not_ours)
{
    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    relay_stop(relay);
    set_cursor("check", "0123456789abcdef");
    relay_up();
    post(3, 3);
    until(s.state == RELAY_STOPPED && strstr(s.message, "copy"));
    stream_is("events", 1, 2);
}

// An older copy of the journal received while Redis was away: it gave away numbers that Redis has.
// A restart does not make them published.
Test(relay_cursor, stops_when_an_older_copy_received_before_it_read_the_cursor)
{
    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    relay_down();
    set_cursor("sequence", "00000000000000000009");
    set_cursor("check", "0123456789abcdef");
    kill(server.pid, SIGSTOP);
    relay_up();
    post(3, 4);
    relay_down();
    kill(server.pid, SIGCONT);
    for (int start = 0; start < 2; start++) {
        relay_up();
        until(s.state == RELAY_STOPPED && strstr(s.message, "copy"));
        post(5 + start, 5 + start);
        relay_down();
    }
    stream_is("events", 1, 2);
}

// The copy is in use at the same time, and goes on while this one has stopped.
Test(relay_cursor, stops_after_a_restart_too_when_a_copy_was_faster)
{
    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    set_cursor("sequence", "00000000000000000003");
    set_cursor("check", "0123456789abcdef");
    post(3, 5);
    until(s.state == RELAY_STOPPED && strstr(s.message, "copy"));
    set_cursor("sequence", "00000000000000000009");
    for (int start = 0; start < 2; start++) {
        relay_down();
        relay_up();
        until(s.state == RELAY_STOPPED && strstr(s.message, "copy"));
    }
    stream_is("events", 1, 2);
}

// It was another place's meanwhile. Claiming it leaves nothing to compare.
Test(relay_cursor, stops_when_a_claimed_cursor_is_among_what_came_before_it_was_read)
{
    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    relay_down();
    set_cursor("sequence", "00000000000000000005");
    set_cursor("owner", "somebody");
    relay_up();
    post(3, 9);
    until(s.state == RELAY_FENCED);
    (void)claim();
    for (int start = 0; start < 2; start++) {
        until(s.state == RELAY_STOPPED && strstr(s.message, "copy"));
        relay_down();
        relay_up();
    }
    until(s.state == RELAY_STOPPED && strstr(s.message, "copy"));
    stream_is("events", 1, 2);
}

// The same, where the cursor was read in time after all.
Test(relay_cursor, is_not_in_doubt_once_it_was_read)
{
    char path[400];

    kill(server.pid, SIGSTOP);
    relay_up();
    post(1, 2);
    kill(server.pid, SIGCONT);
    until(s.cursor == 2);
    snprintf(path, sizeof path, "%s/cursor-unread", directory);
    while (access(path, F_OK) == 0)
        clock_sleep_ms(5);
    relay_down();
    set_cursor("sequence", "00000000000000000009");
    relay_up();
    post(3, 4);
    until(s.cursor == 11);
    stream_is("events", 1, 4);
}

Test(relay_cursor, gives_no_number_away_again_when_the_journal_lost_its_tail)
{
    relay_up();
    post(1, 2);
    until(s.cursor == 2);
    relay_down();
    set_cursor("sequence", "00000000000000000009");
    relay_up();
    post(3, 4);
    until(s.cursor == 11);
    stream_is("events", 1, 4);
}
