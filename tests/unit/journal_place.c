// Where a journal may be: what would make a 200 a promise on sand is refused.
#include "base/clock.h"
#include "journal/internal.h"
#include "journal/verify.h"
#include "directory.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static bool is_statx_refused, has_no_size;

int __real_statx(int dir, const char *path, int flags, unsigned mask, struct statx *to);
int __wrap_statx(int dir, const char *path, int flags, unsigned mask, struct statx *to);
int
__wrap_statx(int dir, const char *path, int flags, unsigned mask, struct statx *to)
{
    if (!is_statx_refused)
        return __real_statx(dir, path, flags, mask, to);
    errno = EPERM;
    return -1;
}

int __real_fstatvfs(int fd, struct statvfs *to);
int __wrap_fstatvfs(int fd, struct statvfs *to);
int
__wrap_fstatvfs(int fd, struct statvfs *to)
{
    int result = __real_fstatvfs(fd, to);

    if (has_no_size)
        to->f_blocks = 0;
    return result;
}

TestSuite(journal_place, .init = make_directory, .fini = remove_directory,
          .timeout = 100);

static struct journal *
try_open(bool force, struct err *err)
{
    struct journal_options o = {.directory = directory,
                                .segment_bytes = 1 << 16,
                                .keep_us = 3600 * INT64_C(1000000),
                                .keep_bytes_max = 1 << 30,
                                .bytes_max = 1 << 30,
                                .force = force};

    return journal_open(&o, err);
}

static void
expect_memory_is_refused(const char *type)
{
    struct err err = {0};

    if (unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", directory, type, 0, "mode=0700") < 0)
        cr_skip_test("mounting a file system needs root");
    cr_assert_null(try_open(false, &err));
    cr_assert_eq(err.exit, EXIT_CODE_DIRECTORY);
    cr_assert_not_null(strstr(err.text, "--force"), "%s", err.text);
    struct journal *j = try_open(true, &err);
    cr_assert_not_null(j, "%s", err.text);
    journal_close(j);
    cr_assert_eq(umount(directory), 0);
}

Test(journal_place, tmpfs_is_refused_unless_forced)
{
    expect_memory_is_refused("tmpfs");
}

Test(journal_place, ramfs_is_refused_unless_forced)
{
    expect_memory_is_refused("ramfs");
}

static void
expect_refusal(enum exit_code code)
{
    struct err err = {0};

    cr_assert_null(try_open(false, &err));
    cr_assert_eq(err.exit, code, "%s", err.text);
}

static void
expect_opens(void)
{
    struct err err = {0};
    struct journal *j = try_open(false, &err);

    cr_assert_not_null(j, "%s", err.text);
    journal_close(j);
}

Test(journal_place, a_directory_that_others_can_write_is_refused)
{
    static const mode_t modes[] = {0777, 0770, 0702, 01777};

    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        cr_assert_eq(chmod(directory, modes[i]), 0);
        expect_refusal(EXIT_CODE_PERMISSION);
    }
    cr_assert_eq(chmod(directory, 0755), 0); // a warning
    expect_opens();
    struct err err = {0};
    cr_assert_eq(chmod(directory, 0777), 0);
    struct journal *j = try_open(true, &err);
    cr_assert_not_null(j, "%s", err.text);
    journal_close(j);
}

Test(journal_place, a_directory_of_another_user_is_refused)
{
    if (geteuid() != 0)
        cr_skip_test("giving a directory away needs root");
    cr_assert_eq(chown(directory, 65534, 65534), 0);
    expect_refusal(EXIT_CODE_PERMISSION);
}

Test(journal_place, a_lock_that_is_a_link_leaves_alone_what_it_leads_to)
{
    char victim[128], lock[128], text[32] = "";

    snprintf(victim, sizeof victim, "%s/victim", directory);
    snprintf(lock, sizeof lock, "%s/lock", directory);
    FILE *file = fopen(victim, "w");
    cr_assert(fputs("a dear text", file) > 0 && fclose(file) == 0);
    cr_assert_eq(symlink(victim, lock), 0);
    expect_refusal(EXIT_CODE_DIRECTORY);
    cr_assert_eq(unlink(lock), 0);
    cr_assert_eq(link(victim, lock), 0);
    expect_opens(); // as after a backup that links files
    int fd = open(victim, O_RDONLY);
    cr_assert_eq(read(fd, text, sizeof text - 1), 11);
    cr_assert_str_eq(text, "a dear text");
    close(fd);
    cr_assert_eq(unlink(lock), 0);
    cr_assert_eq(mkfifo(lock, 0600), 0);
    expect_refusal(EXIT_CODE_DIRECTORY);
    cr_assert_not(journal_is_held(directory));
}

Test(journal_place, a_lock_can_be_opened_by_its_owner_only)
{
    char lock[128];
    struct stat st;

    snprintf(lock, sizeof lock, "%s/lock", directory);
    close(open(lock, O_WRONLY | O_CREAT, 0666));
    cr_assert_eq(chmod(lock, 0666), 0);
    expect_opens();
    cr_assert_eq(stat(lock, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600u);
}

// --- files that somebody else removes or cuts short ------------------------------------------

static uint64_t
append(struct journal *j)
{
    static char text[20000] = "a delivery";
    struct err err = {0};
    uint64_t sequence = 0;

    cr_assert_eq(
        journal_append(j, span_make(text, sizeof text), 5000, NULL, &sequence, &err), 0,
        "%s", err.text);
    return sequence;
}

// Reads all there is: how many are missing, and the *last record.
static uint64_t
read_all(struct journal *j, uint64_t *last)
{
    struct cursor *c = cursor_open(j, 0);
    struct record rec;
    struct err err = {0};
    enum cursor_result r;
    uint64_t missing = 0;

    while ((r = cursor_next(c, &rec, &err)) > 0) {
        if (r == CURSOR_GAP)
            missing += rec.sequence - rec.gap_first + 1;
        else
            *last = rec.sequence;
    }
    cr_assert_eq(r, CURSOR_END, "%s", err.text);
    cursor_close(c);
    return missing;
}

static void
run(const char *what)
{
    char command[256];

    snprintf(command, sizeof command, "cd %s && %s", directory, what);
    cr_assert_eq(system(command), 0);
}

// A record that is acknowledged after the active segment was touched is there after a restart.
static void
expect_what_follows_is_kept(const char *touch)
{
    struct err err = {0};
    struct journal *j = try_open(false, &err);
    uint64_t last = 0;

    append(j);
    run(touch);
    uint64_t after = append(j);
    read_all(j, &last);
    cr_assert_eq(last, after);
    journal_close(j);
    j = try_open(false, &err);
    read_all(j, &last);
    cr_assert_eq(last, after);
    cr_assert_gt(append(j), after);
    journal_close(j);
}

Test(journal_place, nothing_is_acknowledged_into_a_segment_that_was_removed)
{
    expect_what_follows_is_kept("rm *.wal");
}

Test(journal_place, nothing_is_acknowledged_into_a_segment_that_was_cut_short)
{
    expect_what_follows_is_kept("truncate -s 0 *.wal");
}

// An old filter of system calls refuses it, and says nothing about the file.
Test(journal_place, a_segment_that_cannot_be_asked_about_is_not_taken_for_removed)
{
    struct journal_status status;
    struct err err = {0};
    struct journal *j = try_open(false, &err);

    is_statx_refused = true;
    for (int i = 0; i < 3; i++)
        append(j);
    journal_read_status(j, &status);
    cr_assert_eq(status.segments, 1);
    journal_close(j);
}

Test(journal_place, a_file_system_that_gives_no_size_sets_no_bound)
{
    struct journal_options o = {.directory = directory};
    struct journal_status status;
    struct err err = {0};

    has_no_size = true;
    struct journal *j = journal_open(&o, &err);
    cr_assert_not_null(j, "%s", err.text);
    append(j);
    append(j);
    journal_read_status(j, &status);
    cr_assert_eq(status.segments, 1);
    journal_close(j);
}

// The newest segment always stays: it must not shut out all others for ever.
Test(journal_place, a_record_larger_than_the_bounds_leaves_room_for_the_next)
{
    static char large[4 << 16];
    struct journal_options o = {
        .directory = directory, .segment_bytes = 1 << 16, .bytes_max = 3 << 16};
    struct err err = {0};
    uint64_t last;
    struct journal *j = journal_open(&o, &err);

    cr_assert_not_null(j, "%s", err.text);
    cr_assert_eq(
        journal_append(j, span_make(large, sizeof large), 5000, NULL, &last, &err), 0,
        "%s", err.text);
    journal_publish(j, last, clock_boot_us());
    append(j);
    journal_close(j);
}

// The oldest segment, which is to become the spare, was removed by somebody else.
Test(journal_place, a_removed_segment_does_not_stand_in_the_way_of_a_spare)
{
    struct journal_status status = {0};
    struct journal_options o = {
        .directory = directory, .segment_bytes = 1 << 16, .bytes_max = 4 << 16};
    struct err err = {0};
    struct journal *j = journal_open(&o, &err);
    uint64_t last = 0;

    cr_assert_not_null(j, "%s", err.text);
    while (status.segments < 4) {
        last = append(j);
        journal_read_status(j, &status);
    }
    cr_assert_eq(status.spares, 0);
    run("rm $(ls *.wal | head -n 1)");
    journal_publish(j, last, 0);
    while (!status.spares)
        journal_read_status(j, &status);
    journal_close(j);
}

Test(journal_place, a_removed_segment_is_a_gap_and_stops_nothing)
{
    struct err err = {0};
    struct journal *j = try_open(false, &err);
    uint64_t last = 0;

    for (int i = 0; i < 12; i++) // three in a segment
        append(j);
    run("rm 0000000000000004-*.wal");
    cr_assert_eq(read_all(j, &last), 3u);
    cr_assert_eq(last, 12u);
    journal_close(j);
}

static struct journal *
open_again(void)
{
    struct err err = {0};
    struct journal *j = try_open(false, &err);

    cr_assert_not_null(j, "%s", err.text);
    return j;
}

// Numbers are ids: a consumer that has seen one takes what comes under it again for seen.
static void
expect_no_number_again(const char *touch)
{
    uint64_t last = 0, seen;

    for (int i = 0; i < 2; i++) {
        struct journal *j = open_again();
        last = append(j);
        journal_close(j);
    }
    run(touch);
    for (int i = 0; i < 2; i++) { // no delivery in the first run
        struct journal *j = open_again();
        uint64_t missing = read_all(j, &seen);
        cr_assert_eq(seen, 1u);
        cr_assert(missing > 0 && missing < 1 << 20, "%ju", (uintmax_t)missing);
        if (i > 0)
            cr_assert_gt(append(j), last);
        journal_close(j);
    }
}

Test(journal_place, the_newest_segment_was_removed_while_nobody_ran)
{
    expect_no_number_again("rm 0000000000000002-*.wal");
}

Test(journal_place, the_newest_segment_has_no_header_any_more)
{
    expect_no_number_again(
        "printf x | dd status=none conv=notrunc of=$(ls 0000000000000002-*.wal)");
}

Test(journal_place, a_sparse_file_held_no_more_records_than_a_segment)
{
    expect_no_number_again("truncate -s 1T 0000000000000002-*.wal && printf x | dd "
                           "status=none conv=notrunc of=$(ls 0000000000000002-*.wal)");
}

Test(journal_place, what_is_said_of_the_newest_segment_may_be_old)
{
    uint64_t last = 0;
    struct journal *j = open_again();

    for (int i = 0; i < 4; i++) // three in a segment
        last = append(j);
    journal_close(j);
    run("ln -sfn 0000000000000002-00000000.wal newest"); // there is none
    j = open_again();
    cr_assert_eq(append(j), last + 1);
    journal_close(j);
}

// --- bad/ -----------------------------------------------------------------------------------

#define SEGMENT_FILE "0000000000000001-00000000.wal"
static int dir, segment;

static void
open_bad_place(void)
{
    make_directory();
    dir = open(directory, O_RDONLY | O_DIRECTORY);
    segment = openat(dir, SEGMENT_FILE, O_RDWR | O_CREAT, 0600);
    cr_assert_eq(write(segment, "some damaged bytes", 18), 18);
}

static bool
is_there(const char *name)
{
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

TestSuite(journal_bad, .init = open_bad_place, .fini = remove_directory, .timeout = 100);

Test(journal_bad, keeps_a_copy_once_and_only_whole)
{
    struct err err = {0};

    cr_assert_eq(bad_copy(dir, segment, SEGMENT_FILE, 5, 12, &err), 1, "%s", err.text);
    cr_assert_eq(bad_copy(dir, segment, SEGMENT_FILE, 5, 12, &err), 0);
    cr_assert(is_there("bad/" SEGMENT_FILE ".5"));
    int unreadable = open(directory, O_RDONLY | O_DIRECTORY); // EISDIR
    cr_assert_eq(bad_copy(dir, unreadable, SEGMENT_FILE, 6, 12, &err), -1);
    cr_assert_not(is_there("bad/" SEGMENT_FILE ".6"));
    close(unreadable);
}

Test(journal_bad, is_bounded_in_bytes_and_files)
{
    struct err err = {0};
    char name[64];

    cr_assert_eq(bad_copy(dir, segment, SEGMENT_FILE, 5, 12, &err), 1, "%s", err.text);
    int copy = openat(dir, "bad/" SEGMENT_FILE ".5", O_WRONLY);
    cr_assert_eq(ftruncate(copy, BAD_BYTES_MAX), 0);
    cr_assert_eq(bad_copy(dir, segment, SEGMENT_FILE, 6, 12, &err), -1);
    cr_assert_eq(ftruncate(copy, 0), 0);
    for (int i = 0; i < BAD_FILES_MAX - 1; i++) {
        snprintf(name, sizeof name, "bad/" SEGMENT_FILE ".1%04x", (unsigned)i);
        close(openat(dir, name, O_WRONLY | O_CREAT, 0600));
    }
    cr_assert_eq(bad_copy(dir, segment, SEGMENT_FILE, 6, 12, &err), -1);
    close(copy);
}

Test(journal_bad, lets_go_after_its_time_of_what_is_ours)
{
    uint64_t count = 0;
    struct err err = {0};
    int64_t now_us = clock_now_us(), day_us = INT64_C(86400) * 1000000;

    cr_assert_eq(bad_copy(dir, segment, SEGMENT_FILE, 5, 12, &err), 1, "%s", err.text);
    bad_set_aside(dir, SEGMENT_FILE, "is not a segment of ours", &count);
    cr_assert_eq(count, 1u);
    cr_assert_not(is_there(SEGMENT_FILE));
    close(openat(dir, "bad/a-note-of-mine", O_WRONLY | O_CREAT, 0600));
    bad_clean(dir, now_us + (BAD_KEEP_DAYS - 1) * day_us);
    cr_assert(is_there("bad/" SEGMENT_FILE ".5"));
    bad_clean(dir, now_us + (BAD_KEEP_DAYS + 1) * day_us);
    cr_assert_not(is_there("bad/" SEGMENT_FILE ".5"));
    cr_assert(is_there("bad/a-note-of-mine"));
    char command[128];
    snprintf(command, sizeof command, "test $(ls %s/bad | wc -l) = 1", directory);
    cr_assert_eq(system(command), 0);
}
