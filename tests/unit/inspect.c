// What the command line sees of a journal, also while it is written to.
#include "journal/inspect.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { RECORDS = 12 };

static char directory[64];

static void
make_directory(void)
{
    strcpy(directory, "/tmp/acrelay-inspect-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
}

static void
remove_directory(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(inspect, .init = make_directory, .fini = remove_directory, .timeout = 60);

static struct journal *
must_open(void)
{
    struct journal_options o = {
        .directory = directory, .segment_bytes = 400, .bytes_max = 1 << 20};
    struct err err = {0};
    struct journal *j = journal_open(&o, &err);

    cr_assert_not_null(j, "%s", err.text);
    return j;
}

static void
append(struct journal *j, int records)
{
    struct err err = {0};

    for (int i = 0; i < records; i++)
        cr_assert_eq(
            journal_append(j, SPAN("thirty bytes of a payload here"), 5000, NULL, &err),
            0, "%s", err.text);
}

static void
make_journal(void)
{
    struct journal *j = must_open();

    append(j, RECORDS);
    journal_close(j);
}

// The segments seen, for tests that look at one of them.
struct seen {
    struct inspect_segment at[8];
    char paths[8][128];
    size_t len;
};

static void
keep(const struct inspect_segment *s, void *context)
{
    struct seen *seen = context;

    cr_assert_lt(seen->len, 8);
    snprintf(seen->paths[seen->len], sizeof seen->paths[0], "%s/%s", directory, s->name);
    seen->at[seen->len++] = *s;
}

static struct inspect_total
verify(struct seen *seen)
{
    struct inspect_total total;
    struct err err = {0};

    *seen = (struct seen){0};
    cr_assert_eq(journal_verify(directory, keep, seen, &total, &err), 0, "%s", err.text);
    return total;
}

static void
overwrite(const char *path, off_t at, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY);

    cr_assert_eq(pwrite(fd, bytes, len, at), (ssize_t)len);
    close(fd);
}

Test(inspect, lists_the_segments_by_their_headers)
{
    struct seen seen = {0};
    struct inspect_total total;
    struct err err = {0};

    make_journal();
    cr_assert_eq(journal_list(directory, keep, &seen, &total, &err), 0, "%s", err.text);
    cr_assert_geq(seen.len, 2);
    cr_assert_eq(seen.at[0].first, 1);
    cr_assert_eq(seen.at[0].last + 1, seen.at[1].first);
    cr_assert_eq(total.segments, seen.len);
    cr_assert_eq(total.state, INSPECT_UNREAD);
    cr_assert_eq(strlen(total.id), JOURNAL_ID_TEXT - 1);
}

Test(inspect, finds_a_journal_clean_also_while_it_is_open)
{
    struct seen seen;

    make_journal();
    struct inspect_total total = verify(&seen);
    cr_assert_eq(total.state, INSPECT_CLEAN);
    cr_assert_eq(total.records, RECORDS);
    cr_assert_eq(total.payload_bytes, RECORDS * 30);
    struct journal *j = must_open();
    append(j, 3);
    total = verify(&seen);
    cr_assert_eq(total.state, INSPECT_CLEAN);
    cr_assert_eq(total.records, RECORDS + 3);
    journal_close(j);
}

Test(inspect, tells_a_torn_tail_from_damage)
{
    struct seen seen;

    make_journal();
    verify(&seen);
    size_t last = seen.len - 1;
    // Without its seal and with its last record cut short, the newest one is torn.
    cr_assert_eq(truncate(seen.paths[last], (off_t)seen.at[last].bytes - 32 - 8), 0);
    struct inspect_total total = verify(&seen);
    cr_assert_eq(total.state, INSPECT_TORN);
    cr_assert_eq(total.lost, 0);
    overwrite(seen.paths[0], 64 + 40, "damage", 6);
    total = verify(&seen);
    cr_assert_eq(total.state, INSPECT_DAMAGED);
    cr_assert_eq(seen.at[0].state, INSPECT_DAMAGED);
    cr_assert_eq(total.lost, 1);
}

static void
count(const struct record *rec, void *context)
{
    cr_assert(span_is(rec->payload, "thirty bytes of a payload here"));
    ++*(int *)context;
}

Test(inspect, salvages_what_is_whole_in_a_damaged_segment)
{
    struct seen seen;
    struct err err = {0};
    int found = 0;

    make_journal();
    verify(&seen);
    overwrite(seen.paths[0], 64 + 40, "damage", 6);
    cr_assert_eq(journal_salvage(seen.paths[0], count, &found, &err),
                 (int64_t)seen.at[0].records - 1);
    cr_assert_eq(found, (int)seen.at[0].records - 1);
    overwrite(seen.paths[0], 0, "damage", 6);
    cr_assert_eq(journal_salvage(seen.paths[0], count, &found, &err), -1);
    cr_assert_eq(err.kind, ERR_INPUT);
}

Test(inspect, refuses_a_directory_that_holds_no_journal)
{
    struct inspect_total total;
    struct err err = {0};

    cr_assert_eq(journal_verify(directory, NULL, NULL, &total, &err), -1);
    cr_assert_eq(err.exit, EXIT_CODE_DIRECTORY);
}
