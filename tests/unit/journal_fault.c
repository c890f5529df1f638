// Every durable step of the journal fails, is cut short, or kills the process, in turn, until
// none is left; after each, everything acknowledged is there, nothing is invented, order is
// kept, and no damage is told. The steps are wrapped by the linker (Makefile, WRAP).
#include "base/clock.h"
#include "journal/verify.h"
#include "directory.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum fault { FAULT_NONE, FAULT_FAIL, FAULT_SHORT, FAULT_DIE_BEFORE, FAULT_DIE_AFTER };

static atomic_int steps_left; // the fault strikes when it reaches 0
static _Atomic(enum fault) fault;
static int fault_errno;
static bool fault_stays; // and at every later step

enum { BEFORE = 10, DURING = 24, NUMBERS = 64, PAD = 700 };

// Shared with the child process in which the faults strike.
struct shared {
    bool fired;
    uint64_t tried;          // numbers below were handed to journal_append
    uint64_t acked[NUMBERS]; // the sequence of each acknowledged number, or 0
    uint64_t published;      // sequence
    char complaint[256];
};
static struct shared *shared;

static enum fault
strike(void)
{
    if (fault == FAULT_NONE)
        return FAULT_NONE;
    int left = atomic_fetch_sub(&steps_left, 1) - 1;
    if (left > 0 || (left < 0 && !fault_stays))
        return FAULT_NONE;
    shared->fired = true;
    if (fault == FAULT_DIE_BEFORE)
        _exit(9);
    errno = fault_errno;
    return fault;
}

static long
finish(enum fault now, long result)
{
    if (now == FAULT_DIE_AFTER)
        _exit(9);
    return result;
}

static bool
fails(enum fault now)
{
    return now == FAULT_FAIL || now == FAULT_SHORT;
}

#define WRAP(type, name, parameters, arguments)                                          \
    type __real_##name parameters;                                                       \
    type __wrap_##name parameters;                                                       \
    type __wrap_##name parameters                                                        \
    {                                                                                    \
        enum fault now = strike();                                                       \
        return fails(now) ? -1 : (type)finish(now, __real_##name arguments);             \
    }

// A process that dies takes nothing with it that is in the page cache: no disk is waited for.
// What a power cut takes is in journal_power.
#define WRAP_SYNC(name)                                                                  \
    int __wrap_##name(int fd);                                                           \
    int __wrap_##name(int fd)                                                            \
    {                                                                                    \
        (void)fd;                                                                        \
        enum fault now = strike();                                                       \
        return fails(now) ? -1 : (int)finish(now, 0);                                    \
    }

WRAP_SYNC(fdatasync)
WRAP_SYNC(fsync)
WRAP(int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, unlinkat, (int dir, const char *name, int flags), (dir, name, flags))
WRAP(int, mkdirat, (int dir, const char *name, mode_t mode), (dir, name, mode))
WRAP(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
WRAP(int, renameat2, (int a, const char *from, int b, const char *to, unsigned flags),
     (a, from, b, to, flags))

int __real_openat(int dir, const char *name, int flags, mode_t mode);
int __wrap_openat(int dir, const char *name, int flags, ...);
int
__wrap_openat(int dir, const char *name, int flags, ...)
{
    va_list args;

    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    enum fault now = strike();
    return fails(now) ? -1 : (int)finish(now, __real_openat(dir, name, flags, mode));
}

ssize_t __real_pwrite(int fd, const void *at, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *at, size_t len, off_t offset);
ssize_t
__wrap_pwrite(int fd, const void *at, size_t len, off_t offset)
{
    enum fault now = strike();

    if (now == FAULT_FAIL)
        return -1;
    if (now == FAULT_SHORT || now == FAULT_DIE_AFTER)
        len /= 2;
    return finish(now, __real_pwrite(fd, at, len, offset));
}

// Two steps: what was written may not be synced.
ssize_t __wrap_pwritev2(int fd, const struct iovec *at, int len, off_t offset, int flags);
ssize_t
__wrap_pwritev2(int fd, const struct iovec *at, int len, off_t offset, int flags)
{
    ssize_t n = __wrap_pwrite(fd, at->iov_base, at->iov_len, offset);

    (void)len, (void)flags;
    return n < 0 || __wrap_fdatasync(fd) == 0 ? n : -1;
}

// --- the scenario -----------------------------------------------------------------------

static struct journal_options
options(void)
{
    return (struct journal_options){.directory = directory,
                                    .segment_bytes = 4096,
                                    .keep_us = 3600 * INT64_C(1000000),
                                    .keep_bytes_max = 1 << 20,
                                    .bytes_max = 9 * 4096};
}

static void
make_shared(void)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(shared, MAP_FAILED);
}

// In the child nothing is asserted: it leaves its complaint for the parent.
static void
complain(const char *what, const struct err *err)
{
    if (!shared->complaint[0])
        snprintf(shared->complaint, sizeof shared->complaint, "%s: %.180s", what,
                 err->text);
}

static bool
append_next(struct journal *j, struct err *err)
{
    char text[PAD];
    uint64_t number = ++shared->tried, sequence;

    memset(text, 'x', sizeof text);
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    if (journal_append(j, span_make(text, sizeof text), 5000, NULL, &sequence, err) < 0)
        return false;
    shared->acked[number] = sequence;
    return true;
}

static struct journal *
open_despite(struct err *err)
{
    struct journal_options o = options();
    struct journal *j = NULL;

    for (int i = 0; i < 3 && !j; i++)
        j = journal_open(&o, err); // a fault that does not stay hits one of them
    return j;
}

static void
append_all(struct journal *j, struct err *err)
{
    for (int i = 0; i < DURING; i++) {
        if (!append_next(j, err) && !fault_stays)
            complain("one fault made an append fail", err);
        shared->published = shared->acked[BEFORE + i / 2];
        journal_publish(j, shared->published, clock_boot_us());
        if (fault_stays && shared->fired)
            break;
    }
}

static void
live_with_fault(enum fault what, int n)
{
    struct err err = {0};

    atomic_store(&steps_left, n);
    fault = what;
    struct journal *j = open_despite(&err);
    if (!j && !fault_stays)
        complain("one fault made three openings fail", &err);
    if (!j)
        _exit(0);
    append_all(j, &err);
    if (fault_stays) {
        fault = FAULT_NONE;
        if (!append_next(j, &err))
            complain("it does not come back when the fault is gone", &err);
    }
    journal_close(j);
    _exit(0);
}

static void
prepare(void)
{
    struct journal_options o = options();
    struct err err = {0};
    struct journal *j = journal_open(&o, &err);

    cr_assert_not_null(j, "%s", err.text);
    for (int i = 0; i < BEFORE; i++)
        cr_assert(append_next(j, &err), "%s", err.text);
    journal_close(j);
}

// --- what must hold ---------------------------------------------------------------------

// Everything the cursor gives: numbers that were tried, each once, rising with the sequence.
static void
check_records(struct cursor *c, int n)
{
    struct err err = {0};
    struct record rec;
    enum cursor_result r;
    uint64_t last = 0;
    bool seen[NUMBERS] = {false};

    while ((r = cursor_next(c, &rec, &err)) != CURSOR_END) {
        cr_assert_neq(r, CURSOR_ERROR, "step %d: %s", n, err.text);
        if (r == CURSOR_GAP) {
            cr_assert_str_eq(rec.gap_reason, "no longer kept", "step %d: %llu to %llu", n,
                             (unsigned long long)rec.gap_first,
                             (unsigned long long)rec.sequence);
            cr_assert_leq(rec.sequence, shared->published);
            continue;
        }
        uint64_t number = strtoull(rec.payload.at, NULL, 10);
        cr_assert_eq(rec.payload.len, PAD);
        cr_assert(number > last && number <= shared->tried, "step %d: number %llu", n,
                  (unsigned long long)number);
        if (shared->acked[number])
            cr_assert_eq(shared->acked[number], rec.sequence);
        last = number;
        seen[number] = true;
    }
    for (uint64_t i = 1; i <= shared->tried; i++)
        cr_assert(seen[i] || !shared->acked[i] || shared->acked[i] <= shared->published,
                  "step %d: number %llu was acknowledged and is not there", n,
                  (unsigned long long)i);
}

static void
check_everything(int n)
{
    struct journal_options o = options();
    struct journal_status status;
    struct err err = {0};

    for (int life = 0; life < 3; life++) {
        struct cursor *reader = cursor_open_reader(directory, 0, NULL, &err);
        cr_assert_not_null(reader, "step %d: %s", n, err.text);
        check_records(reader, n);
        cursor_close(reader);
        struct journal *j = journal_open(&o, &err);
        cr_assert_not_null(j, "step %d: %s", n, err.text);
        journal_publish(j, shared->published, clock_boot_us());
        struct cursor *c = cursor_open(j, 0);
        check_records(c, n);
        cr_assert(append_next(j, &err), "step %d: %s", n, err.text);
        check_records((cursor_seek(c, 0), c), n);
        cursor_close(c);
        journal_read_status(j, &status);
        cr_assert_eq(status.damaged, 0, "step %d", n);
        journal_close(j);
    }
}

// One fault at step n. False when there is no step n.
static bool
scenario(enum fault what, int n)
{
    memset(shared, 0, sizeof *shared);
    make_directory();
    prepare();
    pid_t child = fork();
    if (child == 0)
        live_with_fault(what, n);
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status), "step %d: the process crashed", n);
    cr_assert_eq(shared->complaint[0], '\0', "step %d: %s", n, shared->complaint);
    check_everything(n);
    remove_directory();
    return shared->fired;
}

static void
try_every_step(enum fault what, int error, bool stays)
{
    int n = 1;

    fault_errno = error;
    fault_stays = stays;
    while (scenario(what, n))
        n++;
    cr_assert_gt(n, 40, "only %d steps were reached", n);
}

TestSuite(journal_fault, .init = make_shared, .timeout = 200);

Test(journal_fault, every_step_may_kill_the_process_before_it)
{
    try_every_step(FAULT_DIE_BEFORE, 0, false);
}

Test(journal_fault, every_step_may_kill_the_process_after_it_or_half_way)
{
    try_every_step(FAULT_DIE_AFTER, 0, false);
}

Test(journal_fault, every_step_may_fail_once_and_no_append_is_refused)
{
    try_every_step(FAULT_FAIL, EIO, false);
}

Test(journal_fault, every_step_may_find_the_disk_full_and_no_append_is_refused)
{
    try_every_step(FAULT_FAIL, ENOSPC, false);
}

Test(journal_fault, every_write_may_be_cut_short_and_no_append_is_refused)
{
    try_every_step(FAULT_SHORT, EIO, false);
}

Test(journal_fault, the_disk_may_fail_for_a_time_from_any_step_on)
{
    try_every_step(FAULT_FAIL, EIO, true);
}

Test(journal_fault, the_disk_may_be_full_for_a_time_from_any_step_on)
{
    try_every_step(FAULT_FAIL, ENOSPC, true);
}

// With a spare in hand the keeper rests, and a fault strikes the committer alone.
static void
await_spare(struct journal *j)
{
    struct journal_status status;

    do
        journal_read_status(j, &status);
    while (!status.spares);
}

// Found by the random ledger: each poisoned segment kept a whole segment's room, and a few of
// them drove out published records that should have been kept.
Test(journal_fault, failed_syncs_do_not_use_up_the_room)
{
    struct journal_options o = options();
    struct journal_status status;
    struct err err;

    make_directory();
    o.segment_bytes = 64 << 10;
    o.bytes_max = 9 * o.segment_bytes;
    struct journal *j = journal_open(&o, &err);
    cr_assert_not_null(j);
    fault_errno = EIO;
    for (int i = 0; i < 20; i++) {
        await_spare(j);
        atomic_store(&steps_left, 2); // the write, then the sync
        fault = FAULT_FAIL;
        cr_assert(append_next(j, &err), "%s", err.text);
        fault = FAULT_NONE;
        journal_publish(j, shared->tried, clock_boot_us());
    }
    journal_read_status(j, &status);
    cr_assert_gt(status.sync_errors, 10);
    cr_assert_eq(status.first, 1);
    journal_close(j);
    remove_directory();
}

static size_t
count_segments(void)
{
    char pattern[128];
    glob_t found = {0};

    snprintf(pattern, sizeof pattern, "%s/*.wal", directory);
    (void)glob(pattern, 0, NULL, &found);
    size_t count = found.gl_pathc;
    globfree(&found);
    return count;
}

// Its name is there and the directory's sync fails: nobody would know of its room.
Test(journal_fault, a_segment_that_could_not_be_begun_is_not_left_there)
{
    struct journal_options o = options();
    struct journal_status status;
    struct err err = {0};

    make_directory();
    for (int i = 0; i < 3; i++) {
        struct journal *j = journal_open(&o, &err);
        cr_assert_not_null(j, "%s", err.text);
        await_spare(j);
        fault_errno = EIO;
        atomic_store(&steps_left, 4); // after the header, its sync and the name
        fault = FAULT_FAIL;
        cr_assert(append_next(j, &err), "%s", err.text);
        fault = FAULT_NONE;
        cr_assert_leq(atomic_load(&steps_left), 0);
        journal_read_status(j, &status);
        cr_assert_eq(count_segments(), status.segments);
        journal_close(j);
    }
    remove_directory();
}

// Redis was quick, and a segment was removed between the listing and the look into it.
Test(journal_fault, a_segment_that_goes_while_files_are_listed_is_no_foreign_file)
{
    struct verify_total total;
    struct err err = {0};

    make_directory();
    prepare();
    fault_errno = ENOENT;
    atomic_store(&steps_left, 1);
    fault = FAULT_FAIL;
    cr_assert_eq(journal_verify(directory, &(struct verify_report){0}, &total, &err), 0,
                 "%s", err.text);
    fault = FAULT_NONE;
    cr_assert_leq(atomic_load(&steps_left), 0);
    cr_assert_eq(total.foreign, 0);
    remove_directory();
}
