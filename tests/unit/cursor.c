// A cursor meets damage as a gap, sees only what is durable, and can be moved and woken.
#include "base/clock.h"
#include "journal/cursor.h"
#include "journal/segment.h"
#include "directory.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECORDS = 12 };

TestSuite(cursor, .init = make_directory_in_memory, .fini = remove_directory,
          .timeout = 120);

static struct journal *
must_open(void)
{
    struct journal_options o = {.directory = directory,
                                .segment_bytes = 400,
                                .keep_us = 3600 * INT64_C(1000000),
                                .keep_bytes_max = 1 << 20,
                                .bytes_max = 1 << 20,
                                .force = true};
    struct err err = {0};
    struct journal *j = journal_open(&o, &err);

    cr_assert_not_null(j, "%s", err.text);
    return j;
}

static uint64_t
append_number(struct journal *j, uint64_t number)
{
    char text[64];
    struct err err = {0};
    uint64_t sequence;

    int len = snprintf(text, sizeof text, "record %020llu", (unsigned long long)number);
    cr_assert_eq(
        journal_append(j, span_make(text, (size_t)len), 5000, NULL, &sequence, &err), 0,
        "%s", err.text);
    return sequence;
}

static void
make_journal(uint64_t records)
{
    struct journal *j = must_open();

    for (uint64_t n = 1; n <= records; n++)
        cr_assert_eq(append_number(j, n), n);
    journal_close(j);
}

// What a cursor gives from 0 to the end: bit n of *found for record n, of *told for a number
// in a gap.
struct walk {
    uint64_t found, told, last;
};

static struct walk
walk(struct cursor *c)
{
    struct walk w = {0};
    struct record rec;
    struct err err = {0};
    enum cursor_result r;

    while ((r = cursor_next(c, &rec, &err)) != CURSOR_END) {
        cr_assert_neq(r, CURSOR_ERROR, "%s", err.text);
        cr_assert_gt(rec.sequence, w.last);
        uint64_t first = r == CURSOR_GAP ? rec.gap_first : rec.sequence;
        cr_assert(first > w.last && first <= rec.sequence);
        for (uint64_t n = first; n <= rec.sequence && n < 64; n++)
            *(r == CURSOR_GAP ? &w.told : &w.found) |= UINT64_C(1) << n;
        w.last = rec.sequence;
        if (r == CURSOR_RECORD)
            cr_assert_eq(strtoull(rec.payload.at + 7, NULL, 10), rec.sequence);
    }
    return w;
}

static struct walk
walk_journal(struct journal *j)
{
    struct cursor *c = cursor_open(j, 0);
    struct walk w = walk(c);

    cursor_close(c);
    return w;
}

// A whole segment read into memory, to be damaged and put back.
struct file {
    char path[300];
    char bytes[4096];
    size_t len;
};

static size_t
read_segments(struct file *files, size_t max)
{
    struct dirent **names;
    int found = scandir(directory, &names, NULL, alphasort);
    size_t len = 0;

    for (int i = 0; i < found; i++) {
        if (strstr(names[i]->d_name, ".wal") && len < max) {
            struct file *f = &files[len++];
            snprintf(f->path, sizeof f->path, "%s/%.200s", directory, names[i]->d_name);
            int fd = open(f->path, O_RDONLY);
            f->len = (size_t)read(fd, f->bytes, sizeof f->bytes);
            close(fd);
        }
        free(names[i]);
    }
    free(names);
    return len;
}

static void
write_file(const struct file *f)
{
    int fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    cr_assert_eq(write(fd, f->bytes, f->len), (ssize_t)f->len);
    close(fd);
}

static void
restore(const struct file *files, size_t len)
{
    char command[200];

    snprintf(command, sizeof command, "%s/bad", directory);
    struct dirent **names;
    int found = scandir(command, &names, NULL, NULL);
    for (int i = 0; i < found; i++) {
        snprintf(command, sizeof command, "%s/bad/%.100s", directory, names[i]->d_name);
        unlink(command);
        free(names[i]);
    }
    if (found >= 0)
        free(names);
    for (size_t i = 0; i < len; i++)
        write_file(&files[i]);
}

static void
check_flipped(const struct file *f, size_t at)
{
    uint64_t all = ((UINT64_C(1) << RECORDS) - 1) << 1;
    struct journal *j = must_open();
    struct walk w = walk_journal(j);

    // Padding may change without harm; whatever else is missing has been told.
    cr_assert_eq((w.found | w.told) & all, all, "%s, byte %zu: found %llx, told %llx",
                 f->path, at, (unsigned long long)w.found, (unsigned long long)w.told);
    cr_assert_eq(w.found & w.told, 0);
    cr_assert_geq(__builtin_popcountll(w.found), RECORDS / 2);
    journal_close(j);
}

Test(cursor, tells_of_every_flipped_bit_that_matters_and_gives_no_wrong_payload)
{
    static struct file files[16];

    make_journal(RECORDS);
    size_t len = read_segments(files, 16);
    cr_assert_geq(len, 3);
    for (size_t i = 0; i < len; i++)
        for (size_t bit = 0; bit < files[i].len * 8; bit++) {
            struct file damaged = files[i];
            damaged.bytes[bit / 8] = (char)(damaged.bytes[bit / 8] ^ 1 << bit % 8);
            write_file(&damaged);
            check_flipped(&files[i], bit / 8);
            restore(files, len);
        }
}

static struct walk
walk_alone(void)
{
    struct err err = {0};
    struct cursor *c = cursor_open_reader(directory, 0, NULL, &err);

    cr_assert_not_null(c, "%s", err.text);
    struct walk w = walk(c);
    cursor_close(c);
    return w;
}

Test(cursor, tells_of_damage_without_a_journal_too)
{
    static struct file files[16];
    uint64_t all = ((UINT64_C(1) << RECORDS) - 1) << 1;

    make_journal(RECORDS);
    size_t len = read_segments(files, 16);
    for (size_t i = 0; i < len; i++)
        for (size_t at = 64; at < files[i].len; at += 4) {
            struct file damaged = files[i];
            damaged.bytes[at] = (char)(damaged.bytes[at] ^ 1);
            write_file(&damaged);
            struct walk w = walk_alone();
            cr_assert_eq(w.found | w.told, all, "%s, byte %zu: found %llx, told %llx",
                         files[i].path, at, (unsigned long long)w.found,
                         (unsigned long long)w.told);
            write_file(&files[i]);
        }
}

Test(cursor, names_the_real_reason_when_a_directory_cannot_be_read)
{
    struct err err = {0};

    make_journal(1);
    int next = dup(0);
    struct rlimit few = {(rlim_t)next + 1, (rlim_t)next + 1};
    close(next);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    cr_assert_null(cursor_open_reader(directory, 0, NULL, &err));
    cr_assert_not_null(strstr(err.text, "Too many open files"), "%s", err.text);
}

Test(cursor, dates_a_gap_of_which_no_record_is_left)
{
    static struct file file;
    struct record rec;
    struct err err = {0};
    int64_t before = clock_now_us();

    make_journal(3);
    read_segments(&file, 1);
    file.bytes[20] = (char)(file.bytes[20] ^ 1); // in the header
    write_file(&file);
    struct journal *j = must_open();
    struct cursor *c = cursor_open(j, 0);
    cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_GAP);
    cr_assert_str_eq(rec.gap_reason, "damaged");
    cr_assert(rec.received_us >= before && rec.received_us <= clock_now_us());
    cursor_close(c);
    journal_close(j);
}

Test(cursor, goes_on_behind_a_destroyed_newest_segment)
{
    static struct file files[16];

    make_journal(RECORDS);
    size_t len = read_segments(files, 16);
    memset(files[len - 1].bytes, 'x', files[len - 1].len);
    write_file(&files[len - 1]);
    struct journal *j = must_open();
    struct walk w = walk_journal(j);
    cr_assert_neq(w.told & UINT64_C(1) << RECORDS, 0);
    uint64_t next = append_number(j, w.last + 1);
    cr_assert_gt(next, RECORDS);
    cr_assert_eq(walk_journal(j).last, next);
    journal_close(j);
    j = must_open();
    cr_assert_eq(walk_journal(j).last, next);
    journal_close(j);
}

Test(cursor, passes_a_torn_tail_without_a_word_in_every_later_life)
{
    static struct file files[16];

    make_journal(2);
    size_t len = read_segments(files, 16);
    cr_assert_eq(len, 1);
    files[0].len -= 32 + 20; // the seal, and a piece of the second record
    write_file(&files[0]);
    for (uint64_t life = 2; life < 5; life++) {
        struct journal *j = must_open();
        cr_assert_eq(append_number(j, life), life);
        struct walk w = walk_journal(j);
        cr_assert_eq(w.last, life);
        cr_assert_eq(w.told, 0);
        journal_close(j);
    }
}

Test(cursor, moves_back_and_forward_over_segments)
{
    struct record rec;
    struct err err = {0};

    make_journal(RECORDS);
    struct journal *j = must_open();
    struct cursor *c = cursor_open(j, 0);
    for (uint64_t step = 1; step < 3 * RECORDS; step++) {
        uint64_t after = step * 7 % RECORDS;
        cursor_seek(c, after);
        cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_RECORD);
        cr_assert_eq(rec.sequence, after + 1);
    }
    cursor_seek(c, RECORDS + 100);
    cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_END);
    cursor_close(c);
    journal_close(j);
}

Test(cursor, reads_each_record_as_it_comes)
{
    struct record rec;
    struct err err = {0};
    struct journal *j = must_open();
    struct cursor *c = cursor_open(j, 0);

    cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_END);
    for (uint64_t n = 1; n <= 40; n++) {
        append_number(j, n);
        cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_RECORD);
        cr_assert_eq(rec.sequence, n);
        cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_END);
    }
    cursor_close(c);
    journal_close(j);
}

static void *
wait_long(void *cursor)
{
    cursor_wait(cursor, 60000);
    return NULL;
}

Test(cursor, is_woken_by_a_record_and_by_a_call)
{
    struct journal *j = must_open();
    struct cursor *c = cursor_open(j, 0);
    pthread_t waiter;

    cr_assert_eq(pthread_create(&waiter, NULL, wait_long, c), 0);
    append_number(j, 1);
    pthread_join(waiter, NULL);
    cursor_seek(c, 1);
    cr_assert_eq(pthread_create(&waiter, NULL, wait_long, c), 0);
    cursor_wake(c);
    pthread_join(waiter, NULL);
    cursor_close(c);
    journal_close(j);
}

Test(cursor, says_what_is_no_longer_kept)
{
    struct journal *j = must_open();
    struct record rec;
    struct err err = {0};
    static struct file files[16];

    journal_close(j);
    make_journal(RECORDS);
    read_segments(files, 16);
    unlink(files[0].path);
    j = must_open();
    struct cursor *c = cursor_open(j, 0);
    cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_GAP);
    cr_assert_eq(rec.gap_first, 1);
    cr_assert_str_eq(rec.gap_reason, "no longer kept");
    uint64_t last = rec.sequence;
    cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_RECORD);
    cr_assert_eq(rec.sequence, last + 1);
    cursor_close(c);
    journal_close(j);
}

// Writes a segment with the records from `first` to `last`, without those in `holes` (bit n
// for record n), each written when `durable` was synced.
static void
write_segment(uint64_t first, uint64_t last, uint64_t holes, uint64_t durable)
{
    struct segment_header h = {.magic = SEGMENT_MAGIC,
                               .version = SEGMENT_VERSION,
                               .id = "a journal's id",
                               .first = first,
                               .salt = first};
    static struct file f;

    h.crc = segment_header_crc(&h);
    memset(&f, 0, sizeof f);
    memcpy(f.bytes, &h, sizeof h);
    f.len = sizeof h;
    for (uint64_t n = first; n <= last; n++) {
        char *to = f.bytes + f.len;
        struct segment_frame frame = {
            .length = 27, .sequence = n, .received_us = 1, .durable = durable};
        snprintf(to + sizeof frame, 28, "record %020llu", (unsigned long long)n);
        frame.crc = segment_frame_crc(h.salt, &frame, to + sizeof frame);
        memcpy(to, &frame, sizeof frame);
        if (holes >> n & 1)
            memset(to, 0, segment_space(frame.length));
        f.len += segment_space(frame.length);
    }
    char name[SEGMENT_NAME];
    segment_name(name, &h);
    snprintf(f.path, sizeof f.path, "%s/%s", directory, name);
    write_file(&f);
}

// Records 3 and 4 were written again after a failed sync; 2 had been acknowledged.
Test(cursor, finds_what_the_next_segment_repeats_after_damage)
{
    write_segment(1, 4, 1 << 2 | 1 << 3, 2);
    write_segment(3, 5, 0, 2);
    struct err err = {0};
    struct cursor *reader = cursor_open_reader(directory, 0, NULL, &err);
    cr_assert_not_null(reader, "%s", err.text);
    struct walk w = walk(reader);
    cursor_close(reader);
    cr_assert_eq(w.found, 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5);
    cr_assert_eq(w.told, 1 << 2);
    struct journal *j = must_open();
    w = walk_journal(j);
    journal_close(j);
    cr_assert_eq(w.found, 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5);
    cr_assert_eq(w.told, 1 << 2);
}
