// What the command line sees of a journal, also while it is written to.
#include "journal/verify.h"
#include "directory.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECORDS = 12 };

TestSuite(verify, .init = make_directory, .fini = remove_directory, .timeout = 60);

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
        cr_assert_eq(journal_append(j, SPAN("thirty bytes of a payload here"), 5000, NULL,
                                    NULL, &err),
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
    struct verify_segment at[8];
    char paths[8][128];
    size_t len;
    uint64_t gap_first, gap_last; // the last one told
};

static void
keep(const struct verify_segment *s, void *context)
{
    struct seen *seen = context;

    cr_assert_lt(seen->len, 8);
    snprintf(seen->paths[seen->len], sizeof seen->paths[0], "%s/%s", directory, s->name);
    seen->at[seen->len++] = *s;
}

static void
keep_gap(uint64_t first, uint64_t last, void *context)
{
    struct seen *seen = context;

    seen->gap_first = first;
    seen->gap_last = last;
}

static struct verify_total
verify(struct seen *seen)
{
    struct verify_total total;
    struct err err = {0};

    *seen = (struct seen){0};
    struct verify_report watch = {.segment = keep, .gap = keep_gap, .context = seen};
    cr_assert_eq(journal_verify(directory, &watch, &total, &err), 0, "%s", err.text);
    return total;
}

static void
overwrite(const char *path, off_t at, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY);

    cr_assert_eq(pwrite(fd, bytes, len, at), (ssize_t)len);
    close(fd);
}

Test(verify, finds_a_journal_clean_also_while_it_is_open)
{
    struct seen seen;

    make_journal();
    struct verify_total total = verify(&seen);
    cr_assert_eq(total.state, VERIFY_CLEAN);
    cr_assert_eq(total.records, RECORDS);
    cr_assert_eq(total.payload_bytes, RECORDS * 30);
    cr_assert_eq(total.first, 1);
    cr_assert_eq(total.last, RECORDS);
    cr_assert_eq(strlen(total.id), JOURNAL_ID_TEXT - 1);
    struct journal *j = must_open();
    append(j, 3);
    total = verify(&seen);
    cr_assert_eq(total.state, VERIFY_CLEAN);
    cr_assert_eq(total.records, RECORDS + 3);
    journal_close(j);
}

Test(verify, tells_a_torn_tail_from_damage)
{
    struct seen seen;

    make_journal();
    verify(&seen);
    size_t last = seen.len - 1;
    // Without its seal and with its last record cut short, the newest one is torn.
    struct stat st;
    cr_assert_eq(stat(seen.paths[last], &st), 0);
    cr_assert_eq(truncate(seen.paths[last], st.st_size - 32 - 8), 0);
    struct verify_total total = verify(&seen);
    cr_assert_eq(total.state, VERIFY_TORN);
    cr_assert_eq(total.lost, 0);
    overwrite(seen.paths[0], 64 + 40, "damage", 6);
    total = verify(&seen);
    cr_assert_eq(total.state, VERIFY_DAMAGED);
    cr_assert_eq(seen.at[0].state, VERIFY_DAMAGED);
    cr_assert_eq(total.lost, 1);
    cr_assert_eq(total.gaps, 1);
    cr_assert_eq(seen.gap_first, 1);
    cr_assert_eq(seen.gap_last, 1);
}

Test(verify, calls_nothing_torn_that_may_just_be_written)
{
    struct seen seen;

    make_journal();
    verify(&seen);
    struct journal *j = must_open();
    append(j, 1);
    verify(&seen);
    size_t last = seen.len - 1;
    overwrite(seen.paths[last], 64 + 64, "half a frame", 12);
    cr_assert_eq(verify(&seen).state, VERIFY_CLEAN);
    journal_close(j);
    cr_assert_eq(truncate(seen.paths[last], 64 + 64 + 12), 0);
    overwrite(seen.paths[last], 64 + 64, "half a frame", 12);
    cr_assert_eq(verify(&seen).state, VERIFY_TORN);
}

static void
remove_segment(uint64_t first, uint64_t last, void *path)
{
    (void)first, (void)last;
    unlink(path);
}

Test(verify, passes_over_a_segment_that_makes_room_meanwhile)
{
    struct verify_total total;
    struct seen seen;
    struct err err = {0};

    make_journal();
    verify(&seen);
    overwrite(seen.paths[0], 64 + 40, "damage", 6);
    overwrite(seen.paths[0], 64 + 2 * 64 + 40, "damage", 6);
    struct verify_report watch = {.gap = remove_segment, .context = seen.paths[0]};
    cr_assert_eq(journal_verify(directory, &watch, &total, &err), 0, "%s", err.text);
    cr_assert_eq(total.gaps, 0);
    cr_assert_eq(total.first, seen.at[1].first);
    cr_assert_eq(total.state, VERIFY_CLEAN);
}

static void *
append_large(void *journal)
{
    static char bytes[400000];
    struct err err = {0};

    memset(bytes, 'x', sizeof bytes);
    for (int i = 0; i < 400; i++)
        cr_assert_eq(journal_append(journal, span_make(bytes, sizeof bytes), 5000, NULL,
                                    NULL, &err),
                     0, "%s", err.text);
    return NULL;
}

Test(verify, finds_no_damage_in_what_is_being_written)
{
    struct journal_options o = {.directory = directory, .bytes_max = 1 << 28};
    struct err err = {0};
    struct journal *j = journal_open(&o, &err);
    pthread_t thread;

    cr_assert_not_null(j, "%s", err.text);
    append(j, 1);
    pthread_create(&thread, NULL, append_large, j);
    while (pthread_tryjoin_np(thread, NULL) != 0) {
        struct verify_total total;
        struct verify_report none = {0};
        cr_assert_eq(journal_verify(directory, &none, &total, &err), 0, "%s", err.text);
        cr_assert_eq(total.gaps, 0, "%llu missing", (unsigned long long)total.lost);
    }
    journal_close(j);
}

// What a salvage gave.
struct salvaged {
    int records, missing;
};

static struct salvaged
salvage(const char *path)
{
    struct err err = {0};
    struct cursor *c = cursor_open_file(path, &err);
    struct salvaged s = {0};
    struct record rec;
    enum cursor_result result;

    cr_assert(c, "%s", err.text);
    while ((result = cursor_next(c, &rec, &err)) != CURSOR_END) {
        cr_assert(result == CURSOR_RECORD || result == CURSOR_GAP, "%s", err.text);
        if (result == CURSOR_GAP) {
            s.missing += (int)(rec.sequence - rec.gap_first + 1);
            continue;
        }
        cr_assert(span_is(rec.payload, "thirty bytes of a payload here"));
        s.records++;
    }
    cursor_close(c);
    return s;
}

Test(verify, salvages_what_is_whole_in_a_damaged_segment)
{
    struct seen seen;
    struct err err = {0};

    make_journal();
    verify(&seen);
    overwrite(seen.paths[0], 64 + 40, "damage", 6);
    struct salvaged found = salvage(seen.paths[0]);
    cr_assert_eq(found.records, (int)seen.at[0].records - 1);
    cr_assert_eq(found.missing, 1);
    overwrite(seen.paths[0], 0, "damage", 6);
    cr_assert_null(cursor_open_file(seen.paths[0], &err));
    cr_assert_eq(err.kind, ERR_INPUT);
}

Test(verify, counts_a_file_that_is_no_segment_any_more)
{
    struct seen seen;

    make_journal();
    verify(&seen);
    overwrite(seen.paths[seen.len - 1], 0, "damage", 6);
    cr_assert_eq(verify(&seen).foreign, 1);
}

Test(verify, verifies_what_is_kept_and_calls_the_rest_no_loss)
{
    struct seen seen;

    make_journal();
    uint64_t kept = (verify(&seen), seen.at[1].first);
    cr_assert_eq(unlink(seen.paths[0]), 0);
    struct verify_total total = verify(&seen);
    cr_assert_eq(total.state, VERIFY_CLEAN);
    cr_assert_eq(total.first, kept);
}

Test(verify, refuses_a_directory_that_holds_no_journal)
{
    struct verify_total total;
    struct err err = {0};

    struct verify_report nobody = {0};

    cr_assert_eq(journal_verify(directory, &nobody, &total, &err), -1);
    cr_assert_eq(err.exit, EXIT_CODE_DIRECTORY);
}
