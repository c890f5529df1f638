// A directory of a test's own: make_directory or make_directory_in_memory is the .init of a
// TestSuite, remove_directory its .fini.
#ifndef ACRELAY_TESTS_DIRECTORY_H
#define ACRELAY_TESTS_DIRECTORY_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char directory[64];

static inline void
make_directory(void)
{
    snprintf(directory, sizeof directory, "/var/tmp/acrelay-unit-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
}

// Where there is such a place: thousands of syncs take long on a disk.
static inline void
make_directory_in_memory(void)
{
    if (access("/dev/shm", W_OK) != 0) {
        make_directory();
        return;
    }
    snprintf(directory, sizeof directory, "/dev/shm/acrelay-unit-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
}

static inline void
remove_directory(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

#endif
