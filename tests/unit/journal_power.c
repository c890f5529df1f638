// Power cuts and bit rot. A run of the journal is recorded: every write, sync and change of
// the directory. For each point of it the images are built that a power cut may leave there:
// what was synced is there; of the rest none, all, a prefix, all but one or two sectors of
// 512 bytes, or some by chance. Each image is opened: all that was acknowledged by then is
// there, nothing is invented, and nothing is called damage.
#include "base/clock.h"
#include "journal/cursor.h"
#include "directory.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SECTOR = 512, OPS = 4000, FILES = 200, FDS = 256, NUMBERS = 400, SEGMENT = 4096 };

enum kind { CREATE, WRITE, SYNC, RESIZE, RENAME, UNLINK, SYNC_DIRECTORY, ACK, PUBLISH };

struct op {
    enum kind kind;
    int file;              // CREATE, WRITE, SYNC, RESIZE
    char name[48], to[48]; // CREATE, RENAME, UNLINK
    uint64_t at, len;      // WRITE, RESIZE (at); ACK: number, sequence
    char *bytes;
};

static struct op ops[OPS];
static int ops_len, files_len;
static bool recording;
static int file_of_fd[FDS];
static char name_of_file[FILES][48]; // while recording; "" when it has none
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct op *
record(enum kind kind)
{
    cr_assert_lt(ops_len, OPS);
    ops[ops_len].kind = kind;
    return &ops[ops_len++];
}

static int
find_file(const char *name)
{
    for (int i = 0; i < files_len; i++)
        if (strcmp(name_of_file[i], name) == 0)
            return i;
    return -1;
}

static int
known_file(int fd)
{
    return recording && fd >= 0 && fd < FDS ? file_of_fd[fd] - 1 : -1;
}

// --- the recorder: the linker puts it before the system calls (Makefile, WRAP) -------------

int __real_openat(int dir, const char *name, int flags, mode_t mode);
int __wrap_openat(int dir, const char *name, int flags, ...);
int
__wrap_openat(int dir, const char *name, int flags, ...)
{
    va_list args;

    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    pthread_mutex_lock(&lock);
    int fd = __real_openat(dir, name, flags, mode);
    if (fd >= 0 && fd < FDS)
        file_of_fd[fd] = 0;
    if (recording && fd >= 0 && fd < FDS && !(flags & O_DIRECTORY)) {
        int file = find_file(name);
        if (file < 0) {
            file = files_len++;
            snprintf(name_of_file[file], sizeof name_of_file[0], "%s", name);
            struct op *op = record(CREATE);
            op->file = file;
            snprintf(op->name, sizeof op->name, "%s", name);
        } else if (flags & O_TRUNC) {
            record(RESIZE)->file = file;
        }
        file_of_fd[fd] = file + 1;
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

ssize_t __real_pwrite(int fd, const void *at, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *at, size_t len, off_t offset);
ssize_t
__wrap_pwrite(int fd, const void *at, size_t len, off_t offset)
{
    pthread_mutex_lock(&lock);
    if (known_file(fd) >= 0) {
        struct op *op = record(WRITE);
        op->file = known_file(fd);
        op->at = (uint64_t)offset;
        op->len = len;
        op->bytes = memory_get(len);
        memcpy(op->bytes, at, len);
    }
    ssize_t n = __real_pwrite(fd, at, len, offset);
    pthread_mutex_unlock(&lock);
    return n;
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int
__wrap_fdatasync(int fd)
{
    pthread_mutex_lock(&lock);
    if (known_file(fd) >= 0)
        record(SYNC)->file = known_file(fd);
    int result = __real_fdatasync(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

// Two steps: the power may go between them.
ssize_t __wrap_pwritev2(int fd, const struct iovec *at, int len, off_t offset, int flags);
ssize_t
__wrap_pwritev2(int fd, const struct iovec *at, int len, off_t offset, int flags)
{
    ssize_t n = __wrap_pwrite(fd, at->iov_base, at->iov_len, offset);

    (void)len, (void)flags;
    return n < 0 || __wrap_fdatasync(fd) == 0 ? n : -1;
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int
__wrap_fsync(int fd)
{
    struct stat of, journal;

    pthread_mutex_lock(&lock);
    if (recording && fstat(fd, &of) == 0 && stat(directory, &journal) == 0 &&
        of.st_ino == journal.st_ino) // not the directory above it
        record(SYNC_DIRECTORY);
    int result = __real_fsync(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

int __real_ftruncate(int fd, off_t size);
int __wrap_ftruncate(int fd, off_t size);
int
__wrap_ftruncate(int fd, off_t size)
{
    pthread_mutex_lock(&lock);
    if (known_file(fd) >= 0) {
        struct op *op = record(RESIZE);
        op->file = known_file(fd);
        op->at = (uint64_t)size;
    }
    int result = __real_ftruncate(fd, size);
    pthread_mutex_unlock(&lock);
    return result;
}

static void
record_rename(const char *from, const char *to)
{
    int file = find_file(from), over = find_file(to);

    if (!recording || file < 0)
        return;
    if (over >= 0)
        name_of_file[over][0] = '\0';
    snprintf(name_of_file[file], sizeof name_of_file[0], "%s", to);
    struct op *op = record(RENAME);
    snprintf(op->name, sizeof op->name, "%s", from);
    snprintf(op->to, sizeof op->to, "%s", to);
}

int __real_renameat(int a, const char *from, int b, const char *to);
int __wrap_renameat(int a, const char *from, int b, const char *to);
int
__wrap_renameat(int a, const char *from, int b, const char *to)
{
    pthread_mutex_lock(&lock);
    int result = __real_renameat(a, from, b, to);
    if (result == 0)
        record_rename(from, to);
    pthread_mutex_unlock(&lock);
    return result;
}

int __real_renameat2(int a, const char *from, int b, const char *to, unsigned flags);
int __wrap_renameat2(int a, const char *from, int b, const char *to, unsigned flags);
int
__wrap_renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
    pthread_mutex_lock(&lock);
    int result = __real_renameat2(a, from, b, to, flags);
    if (result == 0)
        record_rename(from, to);
    pthread_mutex_unlock(&lock);
    return result;
}

int __real_unlinkat(int dir, const char *name, int flags);
int __wrap_unlinkat(int dir, const char *name, int flags);
int
__wrap_unlinkat(int dir, const char *name, int flags)
{
    pthread_mutex_lock(&lock);
    int result = __real_unlinkat(dir, name, flags), file = find_file(name);
    if (recording && result == 0 && file >= 0) {
        name_of_file[file][0] = '\0';
        snprintf(record(UNLINK)->name, sizeof ops[0].name, "%s", name);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int __real_mkdirat(int dir, const char *name, mode_t mode);
int __wrap_mkdirat(int dir, const char *name, mode_t mode);
int
__wrap_mkdirat(int dir, const char *name, mode_t mode)
{
    return __real_mkdirat(dir, name, mode);
}

// --- the recorded run ---------------------------------------------------------------------

static uint64_t numbers; // given to appends so far

static struct journal *
must_open(uint64_t segments_max)
{
    struct journal_options o = {.directory = directory,
                                .segment_bytes = SEGMENT,
                                .keep_us = 3600 * INT64_C(1000000),
                                .keep_bytes_max = 1 << 20,
                                .bytes_max = segments_max * SEGMENT,
                                .force = true};
    struct err err = {0};
    struct journal *j = journal_open(&o, &err);

    cr_assert_not_null(j, "%s", err.text);
    return j;
}

// The payload of a number can be computed from it alone.
static size_t
make_payload(char *to, uint64_t number)
{
    size_t len = 100 + (size_t)(number * 379 % 1300);

    for (size_t i = 0; i < len; i++)
        to[i] = (char)(number * 31 + i * 7 + i / 256);
    memcpy(to, &number, sizeof number);
    return len;
}

static uint64_t
append_next(struct journal *j)
{
    char payload[1500];
    uint64_t sequence = 0;
    struct err err = {0};

    pthread_mutex_lock(&lock);
    uint64_t number = ++numbers;
    pthread_mutex_unlock(&lock);
    size_t len = make_payload(payload, number);
    cr_assert_eq(journal_append(j, span_make(payload, len), 9000, NULL, &sequence, &err),
                 0, "%s", err.text);
    pthread_mutex_lock(&lock);
    if (recording) {
        struct op *op = record(ACK);
        op->at = number;
        op->len = sequence;
    }
    pthread_mutex_unlock(&lock);
    return sequence;
}

static void *
append_some(void *journal)
{
    for (int i = 0; i < 4; i++)
        append_next(journal);
    return NULL;
}

static void
append_crowd(struct journal *j)
{
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, append_some, j), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void
publish(struct journal *j, uint64_t sequence)
{
    pthread_mutex_lock(&lock);
    record(PUBLISH)->len = sequence;
    pthread_mutex_unlock(&lock);
    journal_publish(j, sequence, clock_boot_us());
}

static void
run_recorded(void)
{
    recording = true;
    struct journal *j = must_open(7);
    append_crowd(j);
    journal_close(j);
    j = must_open(7);
    for (int i = 0; i < 12; i++)
        publish(j, append_next(j) - 2);
    append_crowd(j);
    journal_close(j);
    recording = false;
}

// --- images -------------------------------------------------------------------------------

struct image {
    char *bytes;
    uint64_t len, cap;
    bool named;
    char name[48];
};

static struct image images[FILES];

// Which of the sectors that are not synced are in the image: those below `prefix`, but not
// `missing` and `missing2`; or by chance.
struct choice {
    int prefix, missing, missing2;
    uint64_t chance; // seed, 0: none
    int names;       // changes of the directory that are in, of those not synced
    int seen;        // sectors met so far
};

static bool
is_in(struct choice *c)
{
    int n = c->seen++;

    if (c->chance) {
        c->chance ^= c->chance << 13;
        c->chance ^= c->chance >> 7;
        c->chance ^= c->chance << 17;
        return c->chance & 1;
    }
    return n < c->prefix && n != c->missing && n != c->missing2;
}

static void
grow(struct image *f, uint64_t len)
{
    if (len > f->cap) {
        f->bytes = memory_grow(f->bytes, len);
        f->cap = len;
    }
    if (len > f->len)
        memset(f->bytes + f->len, 0, len - f->len);
    f->len = len;
}

static void
put(struct image *f, const struct op *op, uint64_t from, uint64_t to)
{
    if (to > f->len)
        grow(f, to);
    memcpy(f->bytes + from, op->bytes + (from - op->at), to - from);
}

static void
put_sectors(struct image *f, const struct op *op, struct choice *c)
{
    for (uint64_t at = op->at; at < op->at + op->len;) {
        uint64_t end = (at / SECTOR + 1) * SECTOR;
        if (end > op->at + op->len)
            end = op->at + op->len;
        if (is_in(c))
            put(f, op, at, end);
        at = end;
    }
}

static bool
is_synced(int i, int cut)
{
    for (int k = i + 1; k < cut; k++)
        if (ops[k].kind == SYNC && ops[k].file == ops[i].file)
            return true;
    return false;
}

static void
build_content(int cut, struct choice *c)
{
    for (int i = 0; i < cut; i++) {
        struct image *f = &images[ops[i].file];
        if (ops[i].kind == RESIZE && (is_synced(i, cut) || is_in(c)))
            grow(f, ops[i].at);
        if (ops[i].kind != WRITE)
            continue;
        if (is_synced(i, cut))
            put(f, &ops[i], ops[i].at, ops[i].at + ops[i].len);
        else
            put_sectors(f, &ops[i], c);
    }
}

static struct image *
named(const char *name)
{
    for (int i = 0; i < files_len; i++)
        if (images[i].named && strcmp(images[i].name, name) == 0)
            return &images[i];
    return NULL;
}

static void
apply_name(const struct op *op)
{
    struct image *f = op->kind == CREATE ? &images[op->file] : named(op->name);
    struct image *over = op->kind == RENAME ? named(op->to) : NULL;

    if (!f)
        return;
    if (over)
        over->named = false;
    f->named = op->kind != UNLINK;
    snprintf(f->name, sizeof f->name, "%s", op->kind == RENAME ? op->to : op->name);
}

static void
build_names(int cut, const struct choice *c)
{
    int synced = 0, more = 0;

    for (int i = 0; i < cut; i++)
        if (ops[i].kind == SYNC_DIRECTORY)
            synced = i;
    for (int i = 0; i < cut; i++)
        if (ops[i].kind == CREATE || ops[i].kind == RENAME || ops[i].kind == UNLINK)
            if (i < synced || more++ < c->names)
                apply_name(&ops[i]);
}

static void
write_image(void)
{
    char path[200];

    for (int i = 0; i < files_len; i++) {
        if (!images[i].named)
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, images[i].name);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        cr_assert_geq(fd, 0);
        cr_assert_eq(write(fd, images[i].bytes, images[i].len), (ssize_t)images[i].len);
        close(fd);
    }
}

static void
clear_directory(const char *path)
{
    char inner[400];
    struct dirent **names;
    int found = scandir(path, &names, NULL, NULL);

    for (int i = 0; i < found; i++) {
        snprintf(inner, sizeof inner, "%s/%.100s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && unlink(inner) < 0) {
            clear_directory(inner);
            rmdir(inner);
        }
        free(names[i]);
    }
    if (found >= 0)
        free(names);
}

// --- what must hold -----------------------------------------------------------------------

static uint64_t acked[NUMBERS]; // number to sequence, up to the cut
static uint64_t published;

static void
note_acks(int cut)
{
    memset(acked, 0, sizeof acked);
    published = 0;
    for (int i = 0; i < cut; i++)
        if (ops[i].kind == ACK)
            acked[ops[i].at] = ops[i].len;
        else if (ops[i].kind == PUBLISH)
            published = ops[i].len;
}

static uint64_t
check_record(const struct record *rec)
{
    char payload[1500];
    uint64_t number;

    cr_assert_geq(rec->payload.len, sizeof number);
    memcpy(&number, rec->payload.at, sizeof number);
    cr_assert(number >= 1 && number <= numbers);
    size_t len = make_payload(payload, number);
    cr_assert(span_equal(rec->payload, span_make(payload, len)));
    if (acked[number])
        cr_assert_eq(acked[number], rec->sequence);
    return number;
}

static void
check_records(struct journal *j, int cut)
{
    bool seen[NUMBERS] = {false};
    struct cursor *c = cursor_open(j, 0);
    struct record rec;
    struct err err = {0};
    enum cursor_result r;
    uint64_t last = 0;

    while ((r = cursor_next(c, &rec, &err)) != CURSOR_END) {
        cr_assert_neq(r, CURSOR_ERROR, "cut %d: %s", cut, err.text);
        cr_assert_gt(rec.sequence, last);
        last = rec.sequence;
        if (r == CURSOR_GAP) {
            cr_assert_str_eq(rec.gap_reason, "no longer kept", "cut %d", cut);
            cr_assert_leq(rec.sequence, published, "cut %d", cut);
            continue;
        }
        uint64_t number = check_record(&rec);
        cr_assert(!seen[number], "cut %d: number %llu twice", cut,
                  (unsigned long long)number);
        seen[number] = true;
    }
    cursor_close(c);
    for (uint64_t i = 1; i <= numbers; i++)
        cr_assert(seen[i] || !acked[i] || acked[i] <= published,
                  "cut %d: number %llu was acknowledged and is lost", cut,
                  (unsigned long long)i);
}

// Recovers an image twice, with an append in between, so that what the first life found is
// still true in the second.
static void
check_image(int cut, struct choice c)
{
    struct journal_status status;
    uint64_t before = numbers;

    for (int i = 0; i < files_len; i++) {
        images[i].named = false;
        images[i].len = 0;
    }
    clear_directory(directory);
    build_content(cut, &c);
    build_names(cut, &c);
    write_image();
    note_acks(cut);
    for (int life = 0; life < 2; life++) {
        struct journal *j = must_open(40);
        journal_publish(j, published, clock_boot_us());
        check_records(j, cut);
        uint64_t sequence = append_next(j);
        acked[numbers] = sequence;
        check_records(j, cut);
        journal_read_status(j, &status);
        cr_assert_eq(status.damaged, 0, "cut %d", cut);
        journal_close(j);
    }
    numbers = before;
}

static int
count_sectors(int cut)
{
    struct choice none = {.missing = -1};

    for (int i = 0; i < files_len; i++)
        images[i].len = 0;
    build_content(cut, &none);
    return none.seen;
}

static int
count_names(int cut)
{
    int n = 0;

    for (int i = 0; i < cut; i++)
        if (ops[i].kind == SYNC_DIRECTORY)
            n = 0;
        else if (ops[i].kind == CREATE || ops[i].kind == RENAME || ops[i].kind == UNLINK)
            n++;
    return n;
}

static int
check_cut(int cut)
{
    int sectors = count_sectors(cut), names = count_names(cut), tried = 0;

    for (int n = 0; n <= names; n++)
        for (int prefix = 0; prefix <= sectors; prefix += n == names ? 1 : sectors + 1)
            check_image(cut, (struct choice){prefix, -1, -1, 0, n, 0}), tried++;
    for (int one = 0; one < sectors; one++)
        for (int two = one; two < sectors && (two == one || sectors <= 10); two++)
            check_image(cut, (struct choice){sectors, one, two, 0, names, 0}), tried++;
    for (uint64_t seed = 1; seed <= 3 && sectors; seed++)
        check_image(cut,
                    (struct choice){0, -1, -1, seed * 7919 + (uint64_t)cut, names, 0}),
            tried++;
    return tried;
}

TestSuite(journal_power, .init = make_directory_in_memory, .fini = remove_directory,
          .timeout = 400);

Test(journal_power, a_cut_at_any_point_loses_nothing_acknowledged_and_invents_nothing)
{
    int tried = 0;

    run_recorded();
    for (int cut = 1; cut <= ops_len; cut++)
        if (cut == ops_len || ops[cut].kind != ACK)
            tried += check_cut(cut);
    fprintf(stderr, "journal_power: %d operations, %d images\n", ops_len, tried);
    cr_assert_gt(tried, 1000);
}
