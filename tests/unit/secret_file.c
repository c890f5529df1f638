// Secrets as editors, shells, Windows and Kubernetes leave them.
#include "base/file.h"

#include <criterion/criterion.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/acrelay-unit-XXXXXX";
static char path[64];
static struct buf found;
static struct err err;

static void
make_directory(void)
{
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/secret", directory);
    buf_init(&found, 100);
}

static void
remove_directory(void)
{
    unlink(path);
    rmdir(directory);
    buf_release(&found);
}

TestSuite(secret_file, .init = make_directory, .fini = remove_directory);

static int
read_bytes(struct span bytes)
{
    buf_clear(&found);
    err = (struct err){0};
    cr_assert_eq(file_replace(path, bytes, &err), 0);
    return file_read_secret(path, 1, &found, &err);
}

Test(secret_file, drops_what_editors_put_around_it)
{
    static const char *const texts[] = {"pass word",         "pass word\n",
                                        "pass word\n\n",     "pass word\r\n",
                                        "pass word\r\n\r\n", "\xef\xbb\xbfpass word\r\n"};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        cr_expect_eq(read_bytes(span_of(texts[i])), 0, "%zu: %s", i, err.text);
        cr_expect(span_is(buf_span(&found), "pass word"), "%zu", i);
    }
    cr_expect_eq(read_bytes(SPAN(" p@ss:w/rd#%&?=+ \xc3\xa9\xe2\x82\xac\"' \n")), 0);
    cr_expect(span_is(buf_span(&found), " p@ss:w/rd#%&?=+ \xc3\xa9\xe2\x82\xac\"' "));
}

Test(secret_file, refuses_what_cannot_be_meant)
{
    static const struct {
        struct span bytes;
        const char *what;
    } cases[] = {{SPAN("one\ntwo\n"), "more than one line"},
                 {SPAN("one\rtwo"), "more than one line"},
                 {SPAN("\none"), "more than one line"},
                 {SPAN("a\tb"), "byte 2 is a control byte"},
                 {SPAN("ab\x1b[0m"), "byte 3 is a control byte"},
                 {SPAN("ab\177"), "byte 3 is a control byte"},
                 {SPAN("\xff\xfe"
                       "a\0b\0"),
                  "UTF-16"},
                 {SPAN("\r\n"), "0 bytes"},
                 {SPAN("\xef\xbb\xbf\n"), "0 bytes"},
                 {SPAN(""), "0 bytes"}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_expect_eq(read_bytes(cases[i].bytes), -1, "%zu", i);
        cr_expect_eq(err.kind, ERR_INPUT, "%zu", i);
        cr_expect_not_null(strstr(err.text, cases[i].what), "%zu: %s", i, err.text);
    }
}

Test(secret_file, says_what_an_empty_one_of_systemd_means)
{
    cr_assert_eq(setenv("CREDENTIALS_DIRECTORY", directory, 1), 0);
    cr_expect_eq(read_bytes(SPAN("\n")), -1);
    cr_expect_not_null(strstr(err.text, "LoadCredential="));
    cr_assert_eq(setenv("CREDENTIALS_DIRECTORY", "/tmp/acrelay", 1), 0);
    cr_expect_eq(read_bytes(SPAN("\n")), -1);
    cr_expect_null(strstr(err.text, "LoadCredential="));
}

Test(secret_file, has_a_least_length_and_a_greatest)
{
    char big[102];

    memset(big, 'a', sizeof big);
    cr_expect_eq(read_bytes(SPAN("12345\n")), 0);
    buf_clear(&found);
    cr_expect_eq(file_read_secret(path, 6, &found, &err), -1);
    cr_expect_eq(read_bytes(span_make(big, 100)), 0);
    cr_expect_eq(found.len, 100);
    cr_expect_eq(read_bytes(span_make(big, 101)), -1);
    cr_expect_not_null(strstr(err.text, "larger than 100 bytes"));
}

static int
read_mode(mode_t mode, uid_t user, gid_t group)
{
    cr_assert_eq(read_bytes(SPAN("12345")), 0);
    buf_clear(&found);
    cr_assert_eq(chown(path, user, group), 0);
    cr_assert_eq(chmod(path, mode), 0);
    return file_read_secret(path, 1, &found, &err);
}

static void
expect_mode(mode_t mode, uid_t user, gid_t group, bool good)
{
    cr_expect_eq(read_mode(mode, user, group), good ? 0 : -1, "%04o %d:%d", mode,
                 (int)user, (int)group);
    if (!good)
        cr_expect_eq(err.exit, EXIT_CODE_PERMISSION);
}

Test(secret_file, is_ours_or_roots_and_read_by_nobody_else)
{
    uid_t me = geteuid();
    gid_t group = getegid();

    expect_mode(0600, me, group, true);
    expect_mode(0400, me, group, true);
    expect_mode(0604, me, group, false);
    expect_mode(0444, me, group, false);
    expect_mode(0602, me, group, false);
    expect_mode(0620, me, group, false);
    expect_mode(0660, me, group, false);
    cr_expect_eq(read_mode(0640, me, group), me == 0 ? 0 : -1, "a user's own is 600");
    setenv("CREDENTIALS_DIRECTORY", directory, 1);
    expect_mode(0440, me, group, true);
}

// As Kubernetes mounts it with fsGroup: root's, 0440, the group one of the process's own.
Test(secret_file, may_be_roots_and_read_by_a_group_of_ours)
{
    gid_t groups[] = {4242};

    if (geteuid() != 0)
        cr_skip_test("needs root");
    cr_assert_eq(setgroups(1, groups), 0);
    expect_mode(0440, 0, 4242, true);
    expect_mode(0640, 0, 4242, true);
    expect_mode(0440, 0, 4243, false);
    expect_mode(0660, 0, 4242, false);
    expect_mode(0444, 0, 4242, false);
    expect_mode(0440, 4244, 4242, false);
    expect_mode(0600, 4244, 4242, false);
}

Test(secret_file, may_be_a_variable_of_the_environment)
{
    setenv("ACRELAY_TEST_SECRET", "from the environment\n", 1);
    cr_assert_eq(file_read_secret("env:ACRELAY_TEST_SECRET", 5, &found, &err), 0);
    cr_expect(span_is(buf_span(&found), "from the environment"));
    cr_expect_eq(file_read_secret("env:ACRELAY_TEST_NONE", 1, &found, &err), -1);
    cr_expect_not_null(strstr(err.text, "ACRELAY_TEST_NONE: this variable is not set"));
    setenv("ACRELAY_TEST_SECRET", "", 1);
    buf_clear(&found);
    cr_expect_eq(file_read_secret("env:ACRELAY_TEST_SECRET", 1, &found, &err), -1);
}

Test(secret_file, is_no_pipe_that_nobody_writes)
{
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_expect_eq(file_read_secret(path, 1, &found, &err), -1);
    cr_expect_eq(err.exit, EXIT_CODE_PERMISSION);
}
