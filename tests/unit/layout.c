// Which partition a record is in, and the file that remembers it.
#include "base/file.h"
#include "directory.h"
#include "relay/layout.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const char id[] = "0123456789abcdef0123456789abcdef",
                  other[] = "ffffffffffffffffffffffffffffffff";

static struct layout
changes(size_t len, const struct layout_range *at)
{
    struct layout l = {.len = len};

    memcpy(l.at, at, len * sizeof *at);
    return l;
}

#define CHANGES(...)                                                                     \
    changes(sizeof((struct layout_range[]){__VA_ARGS__}) / sizeof(struct layout_range),  \
            (struct layout_range[]){__VA_ARGS__})

Test(layout, gives_a_record_to_the_partition_of_its_time)
{
    struct layout l = CHANGES({1, 1}, {101, 4}, {201, 2}, {301, 1});
    struct span subject = SPAN("contact/66");
    int of_four = config_partition_of(subject, 4),
        of_two = config_partition_of(subject, 2);

    cr_expect_eq(layout_owner(&l, 1, subject), 0);
    cr_expect_eq(layout_owner(&l, 100, subject), 0);
    cr_expect_eq(layout_owner(&l, 101, subject), of_four + 1);
    cr_expect_eq(layout_owner(&l, 200, subject), of_four + 1);
    cr_expect_eq(layout_owner(&l, 201, subject), of_two + 1);
    cr_expect_eq(layout_owner(&l, 301, subject), 0);
    cr_expect_eq(layout_owner(&l, UINT64_MAX, subject), 0);
}

Test(layout, knows_what_a_tag_can_own)
{
    struct layout l = CHANGES({1, 1}, {101, 4}, {201, 2}, {301, 1});
    uint64_t first, last;

    cr_assert(layout_find(&l, 0, &first, &last));
    cr_expect(first == 1 && last == UINT64_MAX);
    cr_assert(layout_find(&l, 1, &first, &last));
    cr_expect(first == 101 && last == 300);
    cr_assert(layout_find(&l, 4, &first, &last));
    cr_expect(first == 101 && last == 200);
    cr_expect_not(layout_find(&l, 5, &first, &last));

    first = 50, last = 150;
    cr_assert(layout_cut(&l, 4, &first, &last));
    cr_expect(first == 101 && last == 150);
    first = 50, last = 150;
    cr_assert(layout_cut(&l, 0, &first, &last));
    cr_expect(first == 50 && last == 100);
    first = 110, last = 290;
    cr_expect_not(layout_cut(&l, 0, &first, &last));
}

// Every record has one owner, whatever the changes.
Test(layout, has_one_owner_for_each_record)
{
    struct layout l = CHANGES({1, 3}, {40, 64}, {80, 1}, {120, 2});

    for (uint64_t sequence = 1; sequence < 160; sequence++) {
        char subject[32];
        snprintf(subject, sizeof subject, "deal/%d", (int)sequence * 7);
        int owner = layout_owner(&l, sequence, span_of(subject)), owners = 0;
        for (int tag = 0; tag < LAYOUT_TAGS_MAX; tag++) {
            uint64_t first = sequence, last = sequence;
            owners += tag == owner && layout_cut(&l, tag, &first, &last);
        }
        cr_expect_eq(owners, 1, "record %d", (int)sequence);
    }
}

Test(layout, switches_at_the_next_record_and_back)
{
    struct layout l = CHANGES({1, 1});
    struct err err;

    cr_assert_eq(layout_switch(&l, 101, 1, &err), 0);
    cr_expect_eq(l.len, 1);
    cr_assert_eq(layout_switch(&l, 101, 4, &err), 0);
    cr_expect(l.len == 2 && l.at[1].first == 101 && l.at[1].partitions == 4);
    cr_assert_eq(layout_switch(&l, 101, 2, &err), 0); // no record came in between
    cr_expect(l.len == 2 && l.at[1].first == 101 && l.at[1].partitions == 2);
    cr_assert_eq(layout_switch(&l, 101, 1, &err), 0);
    cr_expect(l.len == 1 && l.at[0].partitions == 1);
    for (int i = 1; i < LAYOUT_RANGES_MAX; i++)
        cr_assert_eq(layout_switch(&l, 200 + (uint64_t)i, i % 2 ? 2 : 1, &err), 0);
    cr_expect_eq(layout_switch(&l, 500, 64, &err), -1);
    cr_expect_eq(l.len, LAYOUT_RANGES_MAX);
}

Test(layout, forgets_what_is_neither_kept_nor_anywhere)
{
    bool empty[LAYOUT_TAGS_MAX] = {false};
    struct layout l = CHANGES({1, 1}, {101, 2}, {201, 4});

    cr_expect_not(layout_forget(&l, 150, empty), "streams of {ac} have entries");
    empty[0] = true;
    cr_expect_not(layout_forget(&l, 100, empty), "record 100 is kept");
    cr_expect(layout_forget(&l, 101, empty));
    cr_expect(l.len == 2 && l.at[0].first == 1 && l.at[0].partitions == 2);
    empty[0] = false;
    cr_expect(layout_forget(&l, 300, empty), "4 partitions have what 2 had");
    cr_expect(l.len == 1 && l.at[0].first == 1 && l.at[0].partitions == 4);
    cr_expect_not(layout_forget(&l, 1000, empty), "the last one stays");
}

TestSuite(layout_file, .init = make_directory, .fini = remove_directory);

Test(layout_file, keeps_what_is_written)
{
    struct layout l = CHANGES({7, 1}, {101, 64}, {UINT64_MAX - 1, 2}), read;
    struct err err;

    cr_assert_eq(layout_read(&read, directory, id, &err), 0);
    cr_assert_eq(layout_write(&l, directory, id, &err), 0, "%s", err.text);
    cr_assert_eq(layout_read(&read, directory, id, &err), 1, "%s", err.text);
    cr_expect_eq(read.len, l.len);
    for (size_t i = 0; i < l.len; i++) {
        cr_expect_eq(read.at[i].first, l.at[i].first);
        cr_expect_eq(read.at[i].partitions, l.at[i].partitions);
    }
    cr_expect_eq(layout_read(&read, directory, other, &err), -1);
}

// A write that was torn leaves the old file or the new; one that is damaged by anything else, cut
// anywhere or with a changed byte, is not believed.
Test(layout_file, is_not_believed_where_it_is_damaged)
{
    struct layout l = CHANGES({1, 1}, {101, 4}, {201, 2}), read;
    char path[400], text[400];
    struct buf whole;
    struct err err;

    snprintf(path, sizeof path, "%s/partitions", directory);
    cr_assert_eq(layout_write(&l, directory, id, &err), 0);
    buf_init(&whole, sizeof text);
    cr_assert_eq(file_read(path, &whole, &err), 0);
    size_t len = whole.len;
    memcpy(text, buf_span(&whole).at, len);
    for (size_t cut = 0; cut < len; cut++) {
        cr_assert_eq(file_replace(path, span_make(text, cut), &err), 0);
        cr_expect_eq(layout_read(&read, directory, id, &err), -1, "cut at %zu", cut);
        cr_expect(strstr(err.text, "partitions is damaged"));
    }
    for (size_t i = 0; i < len; i++) {
        text[i] ^= 1;
        cr_assert_eq(file_replace(path, span_make(text, len), &err), 0);
        cr_expect_eq(layout_read(&read, directory, id, &err), -1, "byte %zu", i);
        text[i] ^= 1;
    }
    buf_release(&whole);
}
