// When a change of the configuration counts, and when it may remove hooks.
#include "base/file.h"
#include "worker/worker.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct files f;

// Seen each second from `from` on, the last time at `to`.
static void
see(uint64_t config, int64_t from, int64_t to)
{
    for (int64_t s = from; s <= to; s++)
        files_check(&f, config, 9, s * 1000);
}

// At `s`, when nothing changes any more.
static struct files
at(int64_t s)
{
    struct files now = f;

    files_check(&now, f.config, f.secrets, s * 1000);
    return now;
}

static bool
wants(int64_t s)
{
    return at(s).want_reload;
}

static bool
removes(int64_t s)
{
    return at(s).may_remove;
}

static void
start(void)
{
    f = (struct files){.still_ms = 5000};
    files_check(&f, 1, 9, 0);
    files_loaded(&f, true);
}

Test(files, a_change_counts_when_it_stood_still, .init = start)
{
    see(1, 0, 9);
    cr_assert_not(wants(9));
    see(2, 10, 10);
    see(3, 11, 15);
    cr_assert_not(wants(15));
    see(3, 16, 16);
    cr_assert(wants(16));
}

Test(files, a_writer_that_goes_on_puts_it_off, .init = start)
{
    for (int s = 1; s < 100; s++) {
        see((uint64_t)s + 1, s, s);
        cr_assert_not(wants(s));
    }
}

Test(files, one_that_vanishes_and_comes_back_is_no_change, .init = start)
{
    see(0, 1, 20);
    cr_assert_not(wants(20));
    cr_assert_not(removes(20));
    see(1, 21, 26);
    cr_assert_not(wants(26));
    cr_assert(removes(26));
}

Test(files, a_secret_in_motion_puts_it_off, .init = start)
{
    see(2, 1, 5);
    files_check(&f, 2, 8, 6000);
    cr_assert_not(wants(10));
    cr_assert(wants(11));
    files_loaded(&f, false);
    files_check(&f, 2, 7, 12000);
    cr_assert_not(wants(30), "a secret alone is no reason");
}

Test(files, the_first_round_after_a_change_removes_nothing, .init = start)
{
    see(2, 1, 6);
    files_loaded(&f, false);
    cr_assert_not(removes(7));
    files_announced(&f, 7000);
    cr_assert_not(removes(16), "a writer may pause");
    cr_assert(removes(17));
}

Test(files, a_file_in_motion_removes_nothing_although_it_was_announced, .init = start)
{
    see(2, 1, 6);
    files_loaded(&f, false);
    files_announced(&f, 7000);
    see(3, 18, 18);
    cr_assert_not(removes(18));
    see(3, 19, 23);
    cr_assert_not(removes(23), "it is not what is loaded");
}

Test(files, what_an_operator_asks_for_is_removed_when_it_stands_still, .init = start)
{
    see(2, 10, 10);
    files_loaded(&f, true);
    cr_assert_not(removes(10), "he may ask in the middle of a copy");
    cr_assert_eq(at(10).still_in_ms, 5000);
    see(2, 11, 15);
    cr_assert(removes(15));
}

Test(files, a_start_removes_nothing_before_the_file_stood_still, .init = start)
{
    see(1, 0, 4);
    cr_assert_not(removes(4));
    see(1, 5, 5);
    cr_assert(removes(5));
}

Test(files, a_stamp_tells_size_time_mode_and_inode)
{
    char path[] = "/var/tmp/acrelay-files-XXXXXX", other[64];
    int fd = mkstemp(path);

    uint64_t first = file_stamp(path);
    cr_assert_neq(first, 0);
    cr_assert_eq(file_stamp(path), first);
    cr_assert_eq(write(fd, "x", 1), 1);
    uint64_t second = file_stamp(path);
    cr_assert_neq(second, first);
    struct timespec times[2] = {{1, 0}, {1, 0}};
    cr_assert_eq(futimens(fd, times), 0);
    uint64_t third = file_stamp(path);
    cr_assert_neq(third, second);
    cr_assert_eq(fchmod(fd, 0640), 0);
    cr_assert_neq(file_stamp(path), third);
    snprintf(other, sizeof other, "%s.new", path);
    cr_assert_eq(rename(path, other), 0);
    cr_assert_eq(file_stamp(path), 0);
    close(fd);
    unlink(other);
}
