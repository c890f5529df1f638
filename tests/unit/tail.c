// The end of a segment in memory: after each write the file holds the same bytes, and what is
// still in memory is read from there.
#include "journal/internal.h"

#include "base/buf.h"
#include "journal/segment.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILE_BYTES = 4 << 20 };

static bool refuses_blocks; // as a device with larger ones does

static int no_dsync; // why it is refused: EOPNOTSUPP by some file systems

ssize_t __real_pwritev2(int fd, const struct iovec *at, int len, off_t offset, int flags);
ssize_t __wrap_pwritev2(int fd, const struct iovec *at, int len, off_t offset, int flags);
ssize_t
__wrap_pwritev2(int fd, const struct iovec *at, int len, off_t offset, int flags)
{
    if (no_dsync || (refuses_blocks && fcntl(fd, F_GETFL) & O_DIRECT)) {
        errno = no_dsync ? no_dsync : EINVAL;
        return -1;
    }
    return __real_pwritev2(fd, at, len, offset, flags);
}

static struct tail tail;
static struct segment_header header = {.first = 1, .salt = 77};
static char expected[FILE_BYTES];
static size_t used;
static int fd, reader;

static void
begin(void)
{
    char path[] = "/var/tmp/acrelay-tail-XXXXXX";

    fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    reader = open(path, O_RDONLY);
    cr_assert_geq(reader, 0);
    unlink(path);
    cr_assert_eq(pwrite(fd, expected, sizeof expected, 0), (ssize_t)sizeof expected);
    header.crc = segment_header_crc(&header);
    memcpy(expected, &header, SEGMENT_HEADER);
    cr_assert_eq(pwrite(fd, &header, SEGMENT_HEADER, 0), SEGMENT_HEADER);
    used = SEGMENT_HEADER;
    pthread_mutex_init(&tail.lock, NULL);
    tail_begin(&tail, fd, &header, true);
}

static void
end(void)
{
    free(tail.memory);
    close(fd);
    close(reader);
}

static void
write_more(size_t len)
{
    struct err err = {0};

    for (size_t i = 0; i < len; i++)
        expected[used + i] = (char)(used + i * 31 + i / 251);
    cr_assert_eq(tail_write(&tail, fd, span_make(expected + used, len), &err), 0, "%s",
                 err.text);
    used += len;
}

static void
expect_file(void)
{
    static char found[FILE_BYTES];

    cr_assert_eq(pread(reader, found, sizeof found, 0), (ssize_t)sizeof found);
    cr_assert_eq(memcmp(found, expected, sizeof found), 0);
}

static bool
is_read(uint64_t offset, size_t len)
{
    static char found[FILE_BYTES];

    if (!tail_read(&tail, header.salt, offset, found, len))
        return false;
    cr_assert_eq(memcmp(found, expected + offset, len), 0);
    return true;
}

TestSuite(tail, .init = begin, .fini = end, .timeout = 100);

Test(tail, holds_what_the_file_holds_whatever_is_written)
{
    for (size_t len = 8; used + len < 200000; len = len * 5 / 4 + 8) {
        size_t from = used;
        write_more(len);
        expect_file();
        cr_assert(is_read(from, len));
        cr_assert(is_read(0, used));
        cr_assert_not(is_read(from, len + 1), "beyond what was written");
    }
}

Test(tail, lets_go_of_the_oldest_and_of_the_memory_of_a_large_write)
{
    for (int i = 0; i < 40; i++)
        write_more(40000);
    cr_assert_not(is_read(0, 64));
    cr_assert(is_read(used - (1 << 19), 1 << 19));
    write_more(2 << 20);
    cr_assert(is_read(used - (2 << 20), 2 << 20));
    write_more(800);
    cr_assert(is_read(used - 800, 800));
    cr_assert_leq(tail.cap, 1 << 20);
    expect_file();
}

Test(tail, is_of_one_segment)
{
    char found[SEGMENT_HEADER];

    cr_assert(tail_read(&tail, 77, 0, found, sizeof found));
    cr_assert_not(tail_read(&tail, 78, 0, found, sizeof found));
    write_more(9000);
    header.salt = 78;
    tail_begin(&tail, fd, &header, true);
    cr_assert_not(tail_read(&tail, 77, 0, found, sizeof found));
    cr_assert(tail_read(&tail, 78, 0, found, sizeof found));
}

Test(tail, writes_through_the_page_cache_where_blocks_are_refused)
{
    write_more(1000);
    refuses_blocks = true;
    write_more(1000);
    write_more(100000);
    expect_file();
    cr_assert(is_read(64, 102000));
}

Test(tail, writes_and_syncs_in_two_steps_where_one_is_refused)
{
    // EPERM: by a filter of system calls that is older than this one
    static const int refusals[] = {EOPNOTSUPP, ENOSYS, EPERM};

    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        no_dsync = refusals[i];
        write_more(1000);
        write_more(100000);
        expect_file();
    }
}
