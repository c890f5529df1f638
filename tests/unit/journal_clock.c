// Clocks that lie. The linker puts these clocks before the journal's (Makefile): the real ones
// plus what a test adds, so that steps, suspends and days cost nothing.
#include "base/clock.h"
#include "journal/internal.h"
#include "journal/cursor.h"
#include "directory.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define S INT64_C(1000000)
#define DAY (24 * 3600 * S)
enum { SEGMENT = 4096, RECORDS = 20 };

static atomic_llong wall_added, boot_added, wall_reads;

int64_t __real_clock_read_us(clockid_t which);
int64_t __wrap_clock_read_us(clockid_t which);
int64_t
__wrap_clock_read_us(clockid_t which)
{
    int64_t now = __real_clock_read_us(which);

    if (which == CLOCK_BOOTTIME)
        return now + atomic_load(&boot_added);
    if (which != CLOCK_REALTIME)
        return now;
    atomic_fetch_add(&wall_reads, 1);
    return now + atomic_load(&wall_added);
}

// All clocks go on.
static void
pass_time(int64_t us)
{
    atomic_fetch_add(&boot_added, us);
    atomic_fetch_add(&wall_added, us);
}

static void
step_wall(int64_t us)
{
    atomic_fetch_add(&wall_added, us);
}

static struct journal *journal;
static struct journal_status status;

static void
open_journal(void)
{
    struct journal_options o = {.directory = directory,
                                .segment_bytes = SEGMENT,
                                .keep_us = DAY,
                                .keep_bytes_max = 1 << 20,
                                .bytes_max = 1 << 20};
    struct err err = {0};

    journal = journal_open(&o, &err);
    cr_assert_not_null(journal, "%s", err.text);
}

static void
make_journal(void)
{
    make_directory();
    setenv("ACRELAY_TEST_TIMES", "journal-round=10", 1);
    open_journal();
}

static void
remove_journal(void)
{
    journal_close(journal);
    remove_directory();
}

static void
reopen(void)
{
    journal_close(journal);
    open_journal();
}

TestSuite(journal_clock, .init = make_journal, .fini = remove_journal, .timeout = 60);

static uint64_t
append(void)
{
    static char text[1000] = "a delivery";
    struct err err = {0};
    uint64_t sequence = 0;

    cr_assert_eq(journal_append(journal, span_make(text, sizeof text), 5000, NULL,
                                &sequence, &err),
                 0, "%s", err.text);
    return sequence;
}

// Several segments, all of them published.
static uint64_t
append_and_publish(void)
{
    uint64_t last = 0;

    for (int i = 0; i < RECORDS; i++)
        last = append();
    journal_publish(journal, last, clock_boot_us());
    return last;
}

static void
read_status(void)
{
    journal_read_status(journal, &status);
}

// The keeper reads the wall clock once in each of its rounds, and once for each of at most two
// log lines; nobody else does while nothing is appended. Four reads: a whole round is over.
static void
await_round(void)
{
    long long until = atomic_load(&wall_reads) + 4;

    while (atomic_load(&wall_reads) < until)
        clock_sleep_ms(5);
}

static int64_t
receipt(uint64_t sequence)
{
    struct record rec;
    struct err err = {0};
    struct cursor *c = cursor_open(journal, sequence - 1);

    cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_RECORD, "%s", err.text);
    cr_assert_eq(rec.sequence, sequence);
    cursor_close(c);
    return rec.received_us;
}

#define cr_assert_about(value, wanted)                                                   \
    cr_assert(llabs((long long)((value) - (wanted))) < 30 * S, "%lld, not about %lld",   \
              (long long)(value), (long long)(wanted))

Test(journal_clock, a_wall_clock_that_is_years_off_removes_nothing)
{
    static const int64_t steps[] = {8 * DAY, -8 * DAY, 4000 * DAY, -20000 * DAY};
    uint64_t last = append_and_publish();

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        step_wall(steps[i]);
        journal_publish(journal, last, clock_boot_us());
        await_round();
        read_status();
        cr_assert_eq(status.first, 1);
        cr_assert(status.clock_held);
        cr_assert_about(status.clock_step_us, steps[i]);
        step_wall(-steps[i]);
        await_round();
        read_status();
        cr_assert_not(status.clock_held);
        cr_assert_eq(status.clock_step_us, 0);
    }
}

Test(journal_clock, what_is_older_than_keep_goes_also_after_a_suspend)
{
    uint64_t last = append_and_publish();

    pass_time(DAY + S); // the wall clock moves in a suspend too; CLOCK_MONOTONIC does not
    journal_publish(journal, last, clock_boot_us());
    await_round();
    read_status();
    cr_assert_gt(status.first, 1);
    cr_assert_eq(status.unconfirmed, 0);
}

Test(journal_clock, a_cursor_that_was_read_long_ago_lets_nothing_go)
{
    uint64_t last = append_and_publish();

    pass_time(DAY - 5 * S);
    journal_publish(journal, last, clock_boot_us());
    pass_time(8 * S); // it was not due yet when the cursor was read
    await_round();
    read_status();
    cr_assert_eq(status.first, 1);
    journal_publish(journal, last, clock_boot_us());
    await_round();
    read_status();
    cr_assert_gt(status.first, 1);
}

Test(journal_clock, a_step_holds_until_it_is_undone)
{
    uint64_t last = append_and_publish();

    step_wall(90 * S);
    await_round();
    pass_time(9 * 60 * S); // not long enough to be believed
    await_round();
    step_wall(-90 * S);
    pass_time(DAY);
    step_wall(-90 * S); // and another one
    await_round();
    journal_publish(journal, last, clock_boot_us());
    await_round();
    read_status();
    cr_assert(status.clock_held);
    cr_assert_eq(status.first, 1);
    step_wall(90 * S);
    await_round();
    read_status();
    cr_assert_gt(status.first, 1);
}

Test(journal_clock, a_step_that_stays_for_ten_minutes_is_the_new_base)
{
    uint64_t last = append_and_publish();

    step_wall(20000 * DAY); // from 1970 to the time of NTP
    await_round();
    pass_time(DAY);
    journal_publish(journal, last, clock_boot_us());
    await_round();
    read_status();
    cr_assert_not(status.clock_held);
    cr_assert_gt(status.first, 1);
}

Test(journal_clock, records_of_an_earlier_process_are_as_old_as_the_opening)
{
    uint64_t last = append_and_publish();
    char command[256];

    journal_close(journal);
    snprintf(command, sizeof command, "touch -d '10 years ago' %s/*.wal", directory);
    cr_assert_eq(system(command), 0);
    open_journal();
    pass_time(DAY - 60 * S);
    journal_publish(journal, last, clock_boot_us());
    await_round();
    read_status();
    cr_assert_eq(status.first, 1);
    pass_time(61 * S);
    journal_publish(journal, last, clock_boot_us());
    await_round();
    read_status();
    cr_assert_gt(status.first, 1);
}

Test(journal_clock, receipts_follow_the_clock_back_also_over_a_restart)
{
    int64_t now = __real_clock_read_us(CLOCK_REALTIME);

    step_wall(10 * DAY);
    cr_assert_about(receipt(append()), now + 10 * DAY);
    step_wall(-10 * DAY);
    cr_assert_about(receipt(append()), now);
    step_wall(400 * DAY);
    cr_assert_about(receipt(append()), now + 400 * DAY);
    step_wall(-400 * DAY);
    reopen();
    cr_assert_about(receipt(append()), now);
    step_wall(-8000 * DAY);
    reopen();
    cr_assert_about(receipt(append()), now - 8000 * DAY);
}

Test(journal_clock, receipts_do_not_go_back_by_less_than_a_second)
{
    int64_t first = receipt(append());

    step_wall(-S / 2);
    cr_assert_geq(receipt(append()), first);
    step_wall(-S);
    cr_assert_lt(receipt(append()), first);
}

Test(journal_clock, the_age_of_what_waits_goes_by_no_wall_clock)
{
    static const int64_t steps[] = {10 * DAY, -10 * DAY, 8000 * DAY, -20000 * DAY};

    append();
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        pass_time(100 * S);
        step_wall(steps[i]);
        append();
        read_status();
        cr_assert_about(status.oldest_unpublished_age_us, (int64_t)(i + 1) * 100 * S);
        cr_assert_about(status.first_age_us, (int64_t)(i + 1) * 100 * S);
        await_round();
        read_status();
        cr_assert_about(status.oldest_unpublished_age_us, (int64_t)(i + 1) * 100 * S);
    }
    journal_publish(journal, 3, clock_boot_us());
    read_status();
    cr_assert_about(status.oldest_unpublished_age_us, 100 * S);
    journal_publish(journal, 5, clock_boot_us());
    read_status();
    cr_assert_eq(status.oldest_unpublished_age_us, 0);
}

// Redis lost what it had: marks of what was published are gone, but not when it was received.
Test(journal_clock, the_age_of_what_is_lost_again_is_not_that_of_the_process)
{
    for (int i = 0; i < 3; i++) {
        pass_time(i ? 100 * S : 3000 * S);
        journal_publish(journal, append(), clock_boot_us());
    }
    journal_publish(journal, 0, clock_boot_us());
    read_status();
    cr_assert_about(status.oldest_unpublished_age_us, 200 * S);
}

Test(journal_clock,
     the_age_of_what_an_earlier_process_left_is_never_less_than_the_opening)
{
    append();
    pass_time(500 * S);
    reopen();
    read_status();
    cr_assert_about(status.oldest_unpublished_age_us, 500 * S);
    step_wall(-DAY); // now it seems to come from the future
    await_round();
    pass_time(100 * S);
    read_status();
    cr_assert_about(status.oldest_unpublished_age_us, 600 * S);
    reopen();
    read_status();
    cr_assert_gt(status.oldest_unpublished_age_us, 0);
    pass_time(400 * S);
    read_status();
    cr_assert_about(status.oldest_unpublished_age_us, 400 * S);
}

Test(journal_clock, room_is_made_without_a_fresh_cursor_and_counted)
{
    uint64_t last = append_and_publish();

    pass_time(60 * S);
    while (status.first <= 1) { // more than bytes_max
        append();
        read_status();
    }
    cr_assert_gt(status.unconfirmed, 0);
    cr_assert_leq(status.first, last);
}

Test(journal_clock, a_segment_that_cannot_be_removed_is_reported_once)
{
    char command[256], log[4096] = "", name[128];
    uint64_t last = append_and_publish();

    snprintf(command, sizeof command, "chattr %ci %s/0000000000000001-00000000.wal", '+',
             directory);
    if (system(command) != 0)
        cr_skip_test("making a file immutable needs root and a file system that can");
    snprintf(name, sizeof name, "%s/log", directory);
    int kept = dup(2), file = open(name, O_RDWR | O_CREAT, 0600);
    dup2(file, 2);
    pass_time(DAY + S);
    for (int i = 0; i < 3; i++) {
        journal_publish(journal, last, clock_boot_us());
        await_round();
    }
    dup2(kept, 2);
    *strchr(command, '+') = '-';
    cr_assert_eq(system(command), 0);
    read_status();
    cr_assert_gt(pread(file, log, sizeof log - 1, 0), 0);
    char *first = strstr(log, "Operation not permitted");
    cr_assert_not_null(first, "%s", log);
    cr_assert_null(strstr(first + 1, "Operation not permitted"), "%s", log);
    close(file);
}

Test(age, is_kept_within_its_bounds_and_its_error_small)
{
    static struct age_marks m;

    cr_assert_eq(age_find(&m, 1), 0);
    for (uint64_t n = 10; n < 100000; n++) // a record each second
        age_mark(&m, n, (int64_t)n * S, 0);
    cr_assert_leq(m.len, (size_t)AGE_MARKS);
    cr_assert_eq(age_find(&m, 9), 0);
    for (uint64_t n = 10; n < 100000; n += 777) {
        int64_t since = age_find(&m, n);
        cr_assert_leq(since, (int64_t)n * S);
        cr_assert_lt((int64_t)n * S - since, 100000 * S / AGE_MARKS * 3);
    }
    age_mark(&m, 200000, 200000 * S, 199999); // all is published
    age_mark(&m, 200001, 200002 * S, 199999);
    cr_assert_eq(age_find(&m, 200000), 200000 * S);
    cr_assert_eq(age_find(&m, 200001), 200002 * S);
}
