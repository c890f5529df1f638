// Where a journal may be: what would make a 200 a promise on sand is refused.
#include "journal/inspect.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64];

static void
make_directory(void)
{
    strcpy(directory, "/var/tmp/acrelay-place-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
}

static void
remove_directory(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(journal_place, .init = make_directory, .fini = remove_directory, .timeout = 30);

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
