// The journal, as a receiver and a relay use it: what was acknowledged is there, in order,
// whatever happened in between.
#include "base/clock.h"
#include "base/log.h"
#include "journal/verify.h"
#include "directory.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct journal_options
options(void)
{
    return (struct journal_options){.directory = directory,
                                    .segment_bytes = 1 << 16,
                                    .keep_us = 3600 * INT64_C(1000000),
                                    .keep_bytes_max = 1 << 30,
                                    .bytes_max = 1 << 30};
}

TestSuite(journal, .init = make_directory, .fini = remove_directory, .timeout = 60);

static struct journal *
must_open(const struct journal_options *o)
{
    struct err err = {0};
    struct journal *j = journal_open(o, &err);

    cr_assert_not_null(j, "%s", err.text);
    return j;
}

static uint64_t
must_append(struct journal *j, const char *text)
{
    struct err err = {0};
    uint64_t sequence = 0;

    cr_assert_eq(journal_append(j, span_of(text), 5000, NULL, &sequence, &err), 0, "%s",
                 err.text);
    return sequence;
}

// Each record's payload begins with its own number, so that it tells whether it is the right
// one. The rest makes it `pad` bytes longer.
static uint64_t
append_number(struct journal *j, uint64_t number, size_t pad)
{
    char text[4096];
    int n = snprintf(text, sizeof text, "%llu ", (unsigned long long)number);

    memset(text + n, 'x', pad);
    text[(size_t)n + pad] = '\0';
    return must_append(j, text);
}

// Reads everything behind `after` and returns the last sequence; *gaps counts gap records.
static uint64_t
read_numbers(struct cursor *c, uint64_t after, uint64_t *gaps)
{
    struct record rec;
    struct err err = {0};

    *gaps = 0;
    for (;;) {
        enum cursor_result r = cursor_next(c, &rec, &err);
        cr_assert_neq(r, CURSOR_ERROR, "%s", err.text);
        if (r == CURSOR_END)
            return after;
        if (r == CURSOR_GAP) {
            cr_assert_eq(rec.gap_first, after + 1);
            *gaps += rec.sequence - rec.gap_first + 1;
        } else {
            cr_assert_eq(rec.sequence, after + 1);
            cr_assert_eq(strtoull(rec.payload.at, NULL, 10), rec.sequence);
        }
        after = rec.sequence;
    }
}

Test(journal, gives_back_what_was_appended_across_segments_and_lives)
{
    struct journal_options o = options();
    uint64_t n = 0, gaps;

    for (int life = 0; life < 4; life++) {
        struct journal *j = must_open(&o);
        for (int i = 0; i < 100; i++) {
            n++;
            cr_assert_eq(append_number(j, n, 2000), n);
        }
        struct cursor *c = cursor_open(j, 0);
        cr_assert_eq(read_numbers(c, 0, &gaps), n);
        cr_assert_eq(gaps, 0);
        cursor_seek(c, n / 2);
        cr_assert_eq(read_numbers(c, n / 2, &gaps), n);
        cursor_close(c);
        journal_close(j);
    }
}

Test(journal, keeps_its_id_and_a_reader_without_lock_sees_it_live)
{
    struct journal_options o = options();
    struct err err = {0};
    char id[JOURNAL_ID_TEXT], seen[JOURNAL_ID_TEXT];
    uint64_t gaps;

    struct journal *j = must_open(&o);
    strcpy(id, journal_id(j));
    append_number(j, 1, 10);
    struct cursor *c = cursor_open_reader(directory, 0, seen, &err);
    cr_assert_not_null(c, "%s", err.text);
    cr_assert_str_eq(seen, id);
    cr_assert_eq(read_numbers(c, 0, &gaps), 1);
    append_number(j, 2, 10);
    cr_assert_eq(read_numbers(c, 1, &gaps), 2);
    cursor_close(c);
    journal_close(j);
    j = must_open(&o);
    cr_assert_str_eq(journal_id(j), id);
    journal_close(j);
}

Test(journal, belongs_to_one_process_at_a_time)
{
    struct journal_options o = options();
    struct journal *j = must_open(&o);
    struct err err = {0};

    cr_assert_null(journal_open(&o, &err));
    cr_assert_eq(err.exit, EXIT_CODE_LOCK);
    char pid[32];
    snprintf(pid, sizeof pid, "process %d", (int)getpid());
    cr_assert_not_null(strstr(err.text, pid), "%s", err.text);
    journal_close(j);
    journal_close(must_open(&o));
}

Test(journal, refuses_a_directory_that_cannot_be_made)
{
    struct journal_options o = options();
    struct err err = {0};

    o.directory = "/proc/no/such/place";
    cr_assert_null(journal_open(&o, &err));
    cr_assert_eq(err.exit, EXIT_CODE_DIRECTORY);
}

struct crowd {
    struct journal *journal;
    uint64_t sequences[200];
};

static void *
append_crowd(void *arg)
{
    struct crowd *crowd = arg;

    for (size_t i = 0; i < 200; i++)
        crowd->sequences[i] = must_append(crowd->journal, "from a crowd");
    return NULL;
}

Test(journal, gives_each_of_many_threads_its_own_sequence)
{
    enum { THREADS = 8 };
    static struct crowd crowds[THREADS];
    static bool seen[THREADS * 200 + 1];
    struct journal_options o = options();
    pthread_t threads[THREADS];
    struct journal_status status;

    struct journal *j = must_open(&o);
    for (size_t t = 0; t < THREADS; t++) {
        crowds[t].journal = j;
        cr_assert_eq(pthread_create(&threads[t], NULL, append_crowd, &crowds[t]), 0);
    }
    for (size_t t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
    for (size_t t = 0; t < THREADS; t++)
        for (size_t i = 0; i < 200; i++) {
            uint64_t s = crowds[t].sequences[i];
            cr_assert(s >= 1 && s <= THREADS * 200 && !seen[s]);
            seen[s] = true;
        }
    journal_read_status(j, &status);
    cr_assert_eq(status.last, THREADS * 200);
    cr_assert_leq(status.commits, status.records);
    journal_close(j);
}

Test(journal, has_every_acknowledged_record_after_kill_9)
{
    struct journal_options o = options();
    uint64_t *acknowledged =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t gaps;

    for (int life = 0; life < 20; life++) {
        pid_t child = fork();
        if (child == 0) {
            struct err err;
            struct journal *j = journal_open(&o, &err);
            for (;;) {
                char text[32];
                uint64_t number = *acknowledged + 1, sequence;
                snprintf(text, sizeof text, "%llu", (unsigned long long)number);
                if (journal_append(j, span_of(text), 5000, NULL, &sequence, &err) < 0)
                    _exit(1);
                *acknowledged = sequence;
            }
        }
        uint64_t wanted = *acknowledged + 20 + (uint64_t)life * 7;
        while (*(volatile uint64_t *)acknowledged < wanted)
            usleep(100);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        // The record being written when it died may be there or not: go on from what is.
        struct journal *j = must_open(&o);
        struct cursor *c = cursor_open(j, 0);
        uint64_t last = read_numbers(c, 0, &gaps);
        cr_assert_geq(last, *acknowledged);
        cr_assert_eq(gaps, 0);
        *acknowledged = last;
        cursor_close(c);
        journal_close(j);
    }
}

// The path of the n-th segment (by name), for tests that damage it.
static void
segment_path(char *path, size_t size, size_t n)
{
    struct dirent **names;
    int found = scandir(directory, &names, NULL, alphasort);
    size_t seen = 0;

    path[0] = '\0';
    for (int i = 0; i < found; i++) {
        if (strstr(names[i]->d_name, ".wal") && seen++ == n)
            snprintf(path, size, "%s/%.200s", directory, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    cr_assert(path[0]);
}

static void
flip(const char *path, off_t at)
{
    unsigned char byte;
    int fd = open(path, O_RDWR);

    cr_assert_eq(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

Test(journal, tells_damage_as_a_gap_and_delivers_the_rest)
{
    struct journal_options o = options();
    char path[300];
    uint64_t gaps;

    struct journal *j = must_open(&o);
    for (uint64_t n = 1; n <= 100; n++)
        append_number(j, n, 2000);
    journal_close(j);
    segment_path(path, sizeof path, 1);
    flip(path, 64 + 32 + 2100 * 3);
    j = must_open(&o);
    struct cursor *c = cursor_open(j, 0);
    cr_assert_eq(read_numbers(c, 0, &gaps), 100);
    cr_assert_eq(gaps, 1);
    cursor_close(c);
    journal_close(j);
}

Test(journal, moves_a_foreign_file_aside_and_goes_on)
{
    struct journal_options o = options();
    char path[128];
    uint64_t gaps;

    struct journal *j = must_open(&o);
    append_number(j, 1, 10);
    journal_close(j);
    snprintf(path, sizeof path, "%s/0000000000000001-00000007.wal", directory);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(write(fd, "not a segment", 13), 13);
    close(fd);
    j = must_open(&o);
    cr_assert_neq(access(path, F_OK), 0);
    struct cursor *c = cursor_open(j, 0);
    cr_assert_eq(read_numbers(c, 0, &gaps), 1);
    cursor_close(c);
    journal_close(j);
}

Test(journal, says_each_group_and_segment_when_asked_for_details)
{
    struct journal_options o = options();
    char name[128], log[4096] = "";
    int kept = dup(2);

    snprintf(name, sizeof name, "%s/log", directory);
    int file = open(name, O_RDWR | O_CREAT, 0600);
    dup2(file, 2);
    log_start(LOG_FORM_TEXT, LOG_LEVEL_DEBUG);
    struct journal *j = must_open(&o);
    must_append(j, "1");
    journal_close(j);
    dup2(kept, 2);
    cr_assert_gt(pread(file, log, sizeof log - 1, 0), 0);
    cr_expect_not_null(strstr(log, "segment 0000000000000001-00000000.wal is begun"));
    cr_expect_not_null(strstr(log, "records 1 to 1 are durable"), "%s", log);
    close(file);
}

static void
count_done(void *context, uint32_t ticket, bool durable)
{
    (void)ticket;
    cr_assert(durable);
    atomic_fetch_add((atomic_int *)context, 1);
}

Test(journal, calls_each_who_waits_and_knows_the_age_of_the_first_record_of_its_life)
{
    enum { BURST = 2000 };
    struct journal_options o = options();
    struct journal_status status;
    struct err err = {0};
    atomic_int done = 0;
    int64_t first_us = 0;

    struct journal *j = must_open(&o);
    for (uint32_t i = 0; i < BURST; i++) {
        cr_assert_eq(journal_append(j, SPAN("one of many"), 5000,
                                    &(struct journal_waiter){count_done, &done, i}, NULL,
                                    &err),
                     0, "%s", err.text);
        if (!first_us && atomic_load(&done) > 0)
            first_us = clock_boot_us();
    }
    while (atomic_load(&done) < BURST)
        sched_yield();
    int64_t now_us = clock_boot_us();
    journal_read_status(j, &status);
    cr_assert_geq(status.first_age_us, first_us ? now_us - first_us : 1);
    journal_close(j);
}

Test(journal, opens_beside_a_directory_that_is_named_like_a_segment)
{
    struct journal_options o = options();
    struct journal_status status;
    char path[128];

    struct journal *j = must_open(&o);
    must_append(j, "1");
    journal_close(j);
    snprintf(path, sizeof path, "%s/x.wal", directory);
    cr_assert_eq(mkdir(path, 0700), 0);
    struct err err = {0};
    struct cursor *c = cursor_open_reader(directory, 0, NULL, &err);
    cr_assert_not_null(c, "%s", err.text);
    cursor_close(c);
    j = must_open(&o);
    cr_assert_eq(must_append(j, "2"), 2);
    journal_read_status(j, &status);
    cr_assert_eq(status.damaged, 1);
    journal_close(j);
}

// A system that gives out only so many threads more; -1: as many as are wanted.
static int threads_left = -1;

typedef int create_thread(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
create_thread create_few_threads __asm__("pthread_create");
int
create_few_threads(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                   void *context)
{
    create_thread *real = (create_thread *)dlsym(RTLD_NEXT, "pthread_create");

    if (threads_left == 0)
        return EAGAIN;
    if (threads_left > 0)
        threads_left--;
    return real(thread, attr, run, context);
}

Test(journal, lets_go_of_everything_when_a_thread_is_missing)
{
    struct journal_options o = options();
    struct err err = {0};

    for (int threads = 0; threads < 2; threads++) {
        threads_left = threads;
        cr_assert_null(journal_open(&o, &err));
        cr_assert_not_null(strstr(err.text, "cannot start the thread"), "%s", err.text);
    }
    threads_left = -1;
    struct journal *j = must_open(&o);
    must_append(j, "1");
    journal_close(j);
}

// A disk that cannot read some bytes of any file, from `bad_from` to `bad_to`.
static _Atomic(off_t) bad_from, bad_to;

ssize_t pread_of_a_bad_disk(int fd, void *to, size_t len, off_t at) __asm__("pread");
ssize_t
pread_of_a_bad_disk(int fd, void *to, size_t len, off_t at)
{
    off_t from = bad_from;

    if (at >= from && at < bad_to) {
        errno = EIO;
        return -1;
    }
    if (at < from && at + (off_t)len > from)
        len = (size_t)(from - at);
    return syscall(SYS_pread64, fd, to, len, at);
}

Test(journal, opens_although_a_block_cannot_be_read)
{
    struct journal_options o = options();
    struct record rec;
    struct err err = {0};

    struct journal *j = must_open(&o);
    for (uint64_t n = 1; n <= 20; n++)
        append_number(j, n, 480);
    journal_close(j);
    bad_from = 4096;
    bad_to = 8192;
    j = must_open(&o);
    cr_assert_gt(must_append(j, "new"), 20);
    struct cursor *c = cursor_open(j, 0);
    for (uint64_t n = 1; n <= 7; n++) {
        cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_RECORD);
        cr_assert_eq(rec.sequence, n);
    }
    cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_ERROR);
    cr_assert_eq(err.kind, ERR_AGAIN);
    cr_assert_not_null(strstr(err.text, "0000000000000001-00000000.wal, byte "), "%s",
                       err.text);
    bad_to = 0;
    for (uint64_t n = 8; n <= 20; n++) {
        cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_RECORD);
        cr_assert_eq(rec.sequence, n);
    }
    cursor_close(c);
    journal_close(j);
}

Test(journal, is_verified_and_salvaged_around_a_block_that_cannot_be_read)
{
    struct journal_options o = options();
    struct verify_report nobody = {0};
    struct verify_total total;
    uint64_t records = 0, missing = 0;
    enum cursor_result result;
    struct record rec;
    struct err err = {0};
    char path[128];

    struct journal *j = must_open(&o);
    for (uint64_t n = 1; n <= 40; n++)
        append_number(j, n, 480);
    journal_close(j);
    bad_from = 4096;
    bad_to = 8192;
    cr_assert_eq(journal_verify(directory, &nobody, &total, &err), 0, "%s", err.text);
    cr_assert_eq(total.records + total.lost, 40);
    cr_assert(total.lost >= 8 && total.lost <= 10, "%llu",
              (unsigned long long)total.lost);
    cr_assert_eq(total.gaps, 1);
    snprintf(path, sizeof path, "%s/0000000000000001-00000000.wal", directory);
    struct cursor *c = cursor_open_file(path, &err);
    cr_assert(c, "%s", err.text);
    while ((result = cursor_next(c, &rec, &err)) != CURSOR_END) {
        cr_assert(result == CURSOR_RECORD || result == CURSOR_GAP, "%s", err.text);
        records += result == CURSOR_RECORD;
        missing += result == CURSOR_GAP ? rec.sequence - rec.gap_first + 1 : 0;
    }
    cursor_close(c);
    cr_assert_eq(records, total.records);
    cr_assert_eq(missing, total.lost);
}

Test(journal, sets_a_segment_aside_whose_header_cannot_be_read)
{
    struct journal_options o = options();
    struct record rec;
    struct err err = {0};

    struct journal *j = must_open(&o);
    must_append(j, "1");
    journal_close(j);
    bad_to = 4096;
    j = must_open(&o);
    bad_to = 0;
    cr_assert_gt(must_append(j, "2"), 1);
    struct cursor *c = cursor_open(j, 0);
    cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_GAP);
    cr_assert_eq(rec.gap_first, 1);
    cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_RECORD);
    cursor_close(c);
    journal_close(j);
}

// Others follow it, so that it is known where it ended: nothing after them is lost.
Test(journal, reports_no_more_lost_than_a_segment_with_a_damaged_header_can_have_held)
{
    struct journal_options o = options();
    uint64_t gaps;
    char path[128];

    struct journal *j = must_open(&o);
    for (uint64_t n = 1; n <= 60; n++) // each 2,000 bytes, of 64 KiB
        append_number(j, n, 2000);
    journal_close(j);
    snprintf(path, sizeof path, "%s/0000000000000001-00000000.wal", directory);
    int fd = open(path, O_WRONLY);
    cr_assert_eq(pwrite(fd, path, 64, 0), 64);
    close(fd);
    j = must_open(&o);
    cr_assert_eq(append_number(j, 61, 10), 61);
    struct cursor *c = cursor_open(j, 0);
    cr_assert_eq(read_numbers(c, 0, &gaps), 61);
    cr_assert(gaps > 20 && gaps < 40, "%llu", (unsigned long long)gaps);
    cursor_close(c);
    journal_close(j);
}

Test(journal, makes_room_of_published_records_only)
{
    struct journal_options o = options();
    struct journal_status status;
    struct err err = {0};
    uint64_t n = 0;

    o.bytes_max = 5 << 16;
    struct journal *j = must_open(&o);
    while (n < 1000 && journal_append(j, SPAN("0123456789abcdef0123456789abcdef"), 5000,
                                      NULL, NULL, &err) == 0)
        n++;
    char large[4000];
    memset(large, 'x', sizeof large);
    while (journal_append(j, span_make(large, sizeof large), 5000, NULL, NULL, &err) == 0)
        n++;
    cr_assert_eq(err.kind, ERR_AGAIN);
    journal_read_status(j, &status);
    cr_assert_leq(status.bytes, o.bytes_max);
    cr_assert_lt(status.bytes_free, sizeof large);
    cr_assert(status.failing && *status.advice);
    uint64_t free_before = status.bytes_free;
    journal_publish(j, n - 5, clock_boot_us());
    journal_read_status(j, &status);
    cr_assert_not(status.failing, "the next delivery has room: %s", status.reason);
    cr_assert_geq(status.bytes_free, free_before + (1 << 16),
                  "published records can give room");
    cr_assert_eq(
        journal_append(j, span_make(large, sizeof large), 5000, NULL, NULL, &err), 0,
        "%s", err.text);
    journal_close(j);
}

Test(journal, skips_to_a_sequence_and_calls_that_no_gap_of_its_own)
{
    struct journal_options o = options();

    struct journal *j = must_open(&o);
    cr_assert_eq(must_append(j, "1"), 1);
    journal_close(j);
    j = must_open(&o);
    cr_assert(journal_reserve(j, 500));
    cr_assert_eq(must_append(j, "501"), 501);
    cr_assert_not(journal_reserve(j, 600), "a number was given out");
    journal_close(j);
    j = must_open(&o);
    cr_assert_eq(must_append(j, "502"), 502);
    struct cursor *c = cursor_open(j, 0);
    struct record rec;
    struct err err = {0};
    static const uint64_t wanted[] = {1, 501, 502};
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_RECORD);
        cr_assert_eq(rec.sequence, wanted[i]);
    }
    cr_assert_eq(cursor_next(c, &rec, &err), CURSOR_END);
    cursor_close(c);
    journal_close(j);
}

// --- a small disk -------------------------------------------------------------------------

enum { DISK_MIB = 28 };

// The directory becomes a small file system that only this process sees. False where that
// is not allowed.
static bool
mount_small_disk(void)
{
    char size[32];

    snprintf(size, sizeof size, "mode=0700,size=%dm", DISK_MIB);
    return unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", directory, "tmpfs", 0, size) == 0;
}

// Appends records of 256 KiB until one is refused, and wakes the keeper beside each; how many
// there are.
static int
fill_disk(struct journal *j)
{
    static char quarter[256 << 10];
    struct err err = {0};
    int records = 0;

    while (records <= 4 * DISK_MIB &&
           journal_append(j, span_make(quarter, sizeof quarter), 5000, NULL, NULL,
                          &err) == 0) {
        journal_publish(j, 0, clock_boot_us());
        records++;
    }
    return records;
}

// What the status says once it fails, or does not, as is wished.
static void
await_failing(struct journal *j, bool wished, struct journal_status *status)
{
    do
        journal_read_status(j, status);
    while (status->failing != wished);
}

Test(journal, says_before_the_first_record_that_a_disk_is_full)
{
    static char block[4096];
    char path[128];

    if (!mount_small_disk())
        cr_skip_test("mounting a small file system needs root");
    struct journal_options o = options();
    struct journal_status status;
    o.force = true; // it is only memory
    snprintf(path, sizeof path, "%s/filler", directory);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    while (write(fd, block, sizeof block) > 0)
        continue;
    struct journal *j = must_open(&o);
    await_failing(j, true, &status);
    cr_assert(strstr(status.reason, strerror(ENOSPC)), "%s", status.reason);
    cr_assert_eq(ftruncate(fd, 0), 0);
    await_failing(j, false, &status);
    cr_assert_str_empty(status.reason);
    must_append(j, "there is room again");
    close(fd);
    journal_close(j);
    cr_assert_eq(umount(directory), 0);
}

Test(journal, says_before_the_first_record_that_its_bounds_are_reached)
{
    struct journal_options o = options();
    struct journal_status status;

    static char large[4000];

    o.bytes_max = 5 << 16;
    struct journal *j = must_open(&o);
    while (journal_append(j, span_make(large, sizeof large), 5000, NULL, NULL, NULL) == 0)
        continue;
    journal_close(j);
    j = must_open(&o);
    await_failing(j, true, &status);
    cr_assert(strstr(status.reason, "journal.max is 320 KiB"), "%s", status.reason);
    journal_publish(j, 16, clock_boot_us()); // the first segment
    await_failing(j, false, &status);
    for (; !status.spares; journal_read_status(j, &status))
        cr_assert_not(status.failing, "it becomes the spare: %s", status.reason);
    must_append(j, "in the room of published ones");
    journal_close(j);
}

Test(journal, uses_the_room_of_a_small_disk_before_it_refuses)
{
    if (!mount_small_disk())
        cr_skip_test("mounting a small file system needs root");
    struct journal_options o = options();
    o.segment_bytes = 16 << 20;
    o.force = true; // it is only memory
    struct journal *j = must_open(&o);
    int records = fill_disk(j);
    cr_assert_geq(records, 4 * (DISK_MIB - 1), "refused after %d KiB", records * 256);
    struct journal_status status;
    await_failing(j, true, &status);
    cr_assert(strstr(status.reason, strerror(ENOSPC)), "%s", status.reason);
    journal_close(j);
    cr_assert_eq(umount(directory), 0);
}
