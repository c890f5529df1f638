// Several partitions: what each publishes, and what the journal may let go of.
#include "relay_scene.h"

#include "base/file.h"

#include <sys/stat.h>

TestSuite(relay_partitions, .init = set_up, .fini = tear_down, .timeout = 100);

static const char *const tags[] = {"t.0", "t.1", "t.2", "t.3"};

static void
partitions_up(int n)
{
    config.redis_partitions = n;
    relay_up();
}

static void
post_contacts(int first, int last)
{
    char body[64];

    for (int i = first; i <= last; i++) {
        snprintf(body, sizeof body, "type=subscribe&contact[id]=%d", i);
        post_to("events", DELIVERY_MARK, body);
    }
}

static size_t
entries_of(const char *tag)
{
    char text[64];

    snprintf(text, sizeof text, "XLEN {%s}:events", tag);
    return (size_t)redis_value(ask(text)).number;
}

static size_t
entries_of_four(void)
{
    return entries_of(tags[0]) + entries_of(tags[1]) + entries_of(tags[2]) +
           entries_of(tags[3]);
}

static uint64_t
published(void)
{
    struct journal_status js;

    journal_read_status(journal, &js);
    return js.published;
}

static bool
cursor_is(const char *tag, const char *sequence)
{
    char text[128];

    snprintf(text, sizeof text, "HGET {%s}:cursor:%s sequence", tag, journal_id(journal));
    return span_is(redis_value(ask(text)).text, sequence);
}

// The way a published record is counted: all of the partitions that are there.
#define until_all(condition)                                                             \
    do {                                                                                 \
        int64_t end_ms = clock_mono_ms() + 60000;                                        \
        bool met;                                                                        \
        while (!(met = (condition)) && clock_mono_ms() < end_ms)                         \
            clock_sleep_ms(2);                                                           \
        cr_assert(met);                                                                  \
    } while (0)

Test(relay_partitions, spread_events_and_move_all_cursors)
{
    partitions_up(4);
    post_contacts(1, 40);
    until(s.cursor == 40);
    cr_expect_eq(entries_of_four(), 40);
    for (int i = 0; i < 4; i++)
        cr_expect_neq(entries_of(tags[i]), 0, "%s", tags[i]);
    cr_expect_eq(published(), 40);
}

// The one that is stopped holds the journal; the others go on.
Test(relay_partitions, let_the_journal_go_as_far_as_the_slowest)
{
    partitions_up(4);
    post_contacts(1, 20);
    until(s.cursor == 20);
    command("SET {t.3}:seen:state x");
    post_contacts(21, 40);
    until_all(entries_of(tags[0]) + entries_of(tags[1]) + entries_of(tags[2]) +
                  entries_of(tags[3]) >=
              30);
    until(s.state == RELAY_STOPPED && strncmp(s.message, "{t.3}: ", 7) == 0);
    cr_expect(published() >= 20 && published() < 40);
    command("DEL {t.3}:seen:state");
    until(s.cursor == 40 && s.state == RELAY_SHIPPING);
    until_all(published() == 40);
    cr_expect_eq(entries_of_four(), 40);
}

// Without an entry of its own a partition would have to read all again after a restart, and find
// it no longer kept.
Test(relay_partitions, move_a_cursor_past_what_others_own)
{
    partitions_up(4);
    for (int i = 0; i < 10; i++)
        post_contacts(7, 7);
    until(s.cursor == 10);
    for (int i = 0; i < 4; i++)
        cr_expect(cursor_is(tags[i], "00000000000000000010"), "%s", tags[i]);
}

// Its check would be of no record at all.
Test(relay_partitions, give_a_cursor_no_check_while_nothing_was_read)
{
    char text[128];

    relay_up();
    post_contacts(1, 10);
    until(s.cursor == 10);
    relay_down();
    partitions_up(4);
    until_all(cursor_is(tags[0], "00000000000000000010"));
    snprintf(text, sizeof text, "HGET {t.0}:cursor:%s check", journal_id(journal));
    cr_expect(span_is(redis_value(ask(text)).text, ""), "%s",
              redis_value(ask(text)).text.at);
}

Test(relay_partitions, begin_where_their_number_changed)
{
    relay_up();
    post_contacts(1, 10);
    until(s.cursor == 10);
    relay_down();
    partitions_up(4);
    until(s.cursor == 10 && s.known); // they have none, and lack nothing
    post_contacts(11, 20);
    until(s.cursor == 20);
    cr_expect_eq(entries_of("t"), 10);
    cr_expect_eq(entries_of_four(), 10);
    cr_expect_eq(counted(RELAY_REWINDS), 0);
    cr_expect_eq(counted(RELAY_GAPS), 0);
    until_all(published() == 20);
}

// Within keep the old one goes on, though its stream has nothing.
Test(relay_partitions, refill_what_was_published_before_the_change)
{
    config.journal_keep_us = HOUR_US;
    relay_up();
    post_contacts(1, 10);
    until(s.cursor == 10);
    relay_down();
    partitions_up(4);
    post_contacts(11, 20);
    until(s.cursor == 20);
    command("FLUSHALL");
    until_all(entries_of("t") == 10 && entries_of_four() == 10);
}

// An old tag ends when it has nothing any more and keep has passed; the layout remembers it for as
// long as the journal has its records.
Test(relay_partitions, end_when_nothing_is_left_of_them)
{
    struct layout l;
    struct err err;

    config.journal_keep_us = 1;
    relay_up();
    post_contacts(1, 10);
    until(s.cursor == 10);
    relay_down();
    partitions_up(2);
    post_contacts(11, 20);
    until(s.cursor == 20);
    cr_assert_eq(layout_read(&l, directory, journal_id(journal), &err), 1);
    cr_expect_eq(l.len, 2, "its stream has entries");
    command("DEL {t}:events");
    until_all(relay->partitions[0]->is_empty);
    until(s.cursor == 20 && s.state == RELAY_SHIPPING);
    cr_assert_eq(layout_read(&l, directory, journal_id(journal), &err), 1);
    cr_expect_eq(l.len, 2, "record 10 is kept");
}

Test(relay_partitions, publish_nothing_by_a_layout_that_is_damaged)
{
    char path[400];
    struct err err;

    partitions_up(2);
    post_contacts(1, 4);
    until(s.cursor == 4);
    relay_down();
    snprintf(path, sizeof path, "%s/partitions", directory);
    cr_assert_eq(file_replace(path, SPAN("acrelay partitions 1"), &err), 0);
    partitions_up(2);
    post_contacts(5, 8);
    until(s.state == RELAY_STOPPED && strstr(s.message, "partitions is damaged"));
    cr_expect_eq(entries_of(tags[0]) + entries_of(tags[1]), 4);
    cr_expect_eq(published(), 0);
}

// The journal has nothing of its first range any more, which would be forgotten, and the rest be
// written as if it were whole.
Test(relay_partitions, leave_a_damaged_layout_as_it_is)
{
    char path[400], damaged[200];
    struct buf text;

    snprintf(path, sizeof path, "%s/partitions", directory);
    snprintf(damaged, sizeof damaged, "acrelay partitions 1 %s 00000000\n1 2\n50 4\n",
             journal_id(journal));
    cr_assert_eq(file_replace(path, span_of(damaged), NULL), 0);
    journal_reserve(journal, 100);
    post_contacts(1, 1);
    partitions_up(4);
    until(s.state == RELAY_STOPPED && strstr(s.message, "partitions is damaged"));
    relay_down();
    buf_init(&text, sizeof damaged);
    cr_assert_eq(file_read(path, &text, NULL), 0);
    cr_expect(span_is(buf_span(&text), damaged), "%s", buf_text(&text));
    buf_release(&text);
}

Test(relay_partitions, publish_nothing_when_the_file_is_gone)
{
    char path[400];

    partitions_up(2);
    post_contacts(1, 4);
    until(s.cursor == 4);
    relay_down();
    snprintf(path, sizeof path, "%s/partitions", directory);
    cr_assert_eq(unlink(path), 0);
    partitions_up(2);
    until(s.state == RELAY_STOPPED && strstr(s.message, "partitions is missing"));
}

// Where the new file is written stands a directory: as a full disk, for whoever runs the tests.
static void
block_layout(void)
{
    char path[400];

    snprintf(path, sizeof path, "%s/partitions.new", directory);
    cr_assert_eq(mkdir(path, 0700), 0);
}

// What no file means is true: all records are in one place.
Test(relay_partitions, publish_in_one_place_where_the_file_cannot_be_written)
{
    block_layout();
    relay_up();
    post_contacts(1, 4);
    until(s.cursor == 4 && s.state == RELAY_SHIPPING);
    relay_down();
    relay_up();
    post_contacts(5, 8);
    until(s.cursor == 8);
    cr_expect_eq(entries_of("t"), 8);
}

Test(relay_partitions, publish_nothing_by_a_layout_that_cannot_be_written)
{
    block_layout();
    partitions_up(2);
    post_contacts(1, 4);
    until(s.state == RELAY_STOPPED && strstr(s.message, "cannot create") &&
          strstr(s.message, "free space"));
    cr_expect_eq(published(), 0);
}

// A file of before says something else than none.
Test(relay_partitions, publish_nothing_in_one_place_against_a_file)
{
    partitions_up(2);
    post_contacts(1, 4);
    until(s.cursor == 4);
    relay_down();
    block_layout();
    partitions_up(1);
    until(s.state == RELAY_STOPPED && strstr(s.message, "cannot create"));
}
