// A new segment appears under its name only when its header is synced: it is written as
// `new` (or is a spare, all zeros), synced, renamed, and the directory synced. A crash in
// between leaves a `new` that the next start overwrites, or a spare.
#include "journal/files.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/filesystem.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char fill_name[] = "fill", new_name[] = "new", bad_name[] = "bad";

// The failed call's reason, with the exit code of a directory.
static int
refuse_directory(struct err *err, const char *what, const char *path)
{
    err_errno(err, "state_dir %s: %s", path, what);
    if (err)
        err->exit = EXIT_CODE_DIRECTORY;
    return -1;
}

// Its entry is synced: an acknowledged record must not vanish with the directory.
static int
make_directory(const char *path, struct err *err)
{
    if (mkdir(path, 0700) == 0)
        return file_sync_parent(path, NULL) == 0
                   ? 0
                   : refuse_directory(err, "cannot sync its entry", path);
    return errno == EEXIST ? 0 : refuse_directory(err, "cannot make it", path);
}

static void
warn_of_mode(int dir, const char *path)
{
    struct stat st;

    if (fstat(dir, &st) == 0 && (st.st_mode & 077))
        log_warn("journal: others can enter %s, which holds deliveries: chmod 700 it",
                 path);
}

// Whether a journal may be written there.
static int
check_directory(int dir, const char *path, bool force, struct err *err)
{
    enum filesystem kind = filesystem_of_fd(dir);

    if (faccessat(dir, ".", R_OK | W_OK | X_OK, AT_EACCESS) < 0)
        return refuse_directory(err, "cannot write into it", path);
    if (filesystem_is_refused(kind) && !force)
        return err_exit(err, EXIT_CODE_DIRECTORY, "state_dir %s %s", path,
                        filesystem_problem(kind));
    if (kind != FILESYSTEM_LOCAL)
        log_warn("journal: state_dir %s %s", path, filesystem_problem(kind));
    warn_of_mode(dir, path);
    return 0;
}

int
files_open(const char *path, bool make, bool force, struct err *err)
{
    if (make && make_directory(path, err) < 0)
        return -1;
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return refuse_directory(err, "cannot open it", path);
    if (make && check_directory(dir, path, force, err) < 0) {
        close(dir);
        return -1;
    }
    return dir;
}

static int
holder(int fd)
{
    char text[16] = "";

    if (pread(fd, text, sizeof text - 1, 0) < 0)
        return 0;
    return atoi(text);
}

int
files_lock(int dir, const char *path, int64_t wait_ms, struct err *err)
{
    int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int64_t start = clock_mono_ms();
    bool said = false;

    if (fd < 0)
        return refuse_directory(err, "cannot open its lock", path);
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int64_t waited = clock_mono_ms() - start;
        if (waited >= wait_ms) {
            int pid = holder(fd);
            close(fd);
            return err_exit(
                err, EXIT_CODE_LOCK,
                "state_dir %s is in use by process %d: one journal belongs to "
                "one receiver; stop that one, or give this one another "
                "state_dir",
                path, pid);
        }
        if (!said && waited >= 1000)
            log_info("journal: waiting for process %d to let go of %s", holder(fd), path);
        said = said || waited >= 1000;
        clock_sleep_ms(20);
    }
    if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
        log_warn("journal: cannot write our pid into the lock");
    return fd;
}

void
files_set_aside(int dir, const char *name, const char *why, uint64_t *count)
{
    char to[300];

    (*count)++;
    mkdirat(dir, bad_name, 0700); // there already is fine; a failure shows in the rename
    snprintf(to, sizeof to, "%s/%s.%" PRIx64, bad_name, name, (uint64_t)clock_now_us());
    if (renameat(dir, name, dir, to) < 0)
        log_error("journal: %s %s and cannot be set aside: error %d", name, why, errno);
    else
        log_alarm("journal: %s %s: set aside as %s", name, why, to);
}

static int
write_header(int fd, const struct segment_header *h, struct err *err)
{
    errno = ENOSPC; // if the write is short
    if (pwrite(fd, h, SEGMENT_HEADER, 0) != SEGMENT_HEADER)
        return err_errno(err, "cannot write a segment's header");
    return fdatasync(fd) < 0 ? err_errno(err, "cannot sync a segment's header") : 0;
}

// A file that is in the way was not understood and could not be set aside: it stays.
static int
rename_new(int dir, const char *from, const char *to)
{
    if (renameat2(dir, from, dir, to, RENAME_NOREPLACE) == 0)
        return 0;
    return errno == EINVAL ? renameat(dir, from, dir, to) : -1; // file systems without it
}

static int
name_segment(int dir, const char *from, const char *name, struct err *err)
{
    if (rename_new(dir, from, name) < 0)
        return err_errno(err, "cannot name a segment");
    return fsync(dir) < 0 ? err_errno(err, "cannot sync the journal's directory") : 0;
}

// A spare that was touched and did not become a segment may carry a torn header.
static void
give_up(int dir, int fd, bool from_spare)
{
    close(fd);
    if (from_spare)
        unlinkat(dir, FILES_SPARE, 0);
}

int
files_create(int dir, const struct segment_header *h, char *name, bool *from_spare,
             struct err *err)
{
    const char *source = FILES_SPARE;
    int fd = openat(dir, FILES_SPARE, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    *from_spare = fd >= 0;
    if (fd < 0) {
        source = new_name;
        fd = openat(dir, new_name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                    0600);
    }
    if (fd < 0)
        return err_errno(err, "cannot make a segment");
    segment_name(name, h);
    if (write_header(fd, h, err) == 0 && name_segment(dir, source, name, err) == 0)
        return fd;
    give_up(dir, fd, *from_spare);
    return -1;
}

// fill_zeros overwrites all of the file, so that its blocks are allocated and written.
static int
fill_zeros(int fd, uint64_t bytes, struct err *err)
{
    static const char zeros[1 << 18];

    for (uint64_t at = 0; at < bytes;) {
        size_t piece = bytes - at < sizeof zeros ? (size_t)(bytes - at) : sizeof zeros;
        ssize_t n = pwrite(fd, zeros, piece, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "cannot fill a spare segment");
        at += (uint64_t)n;
        // Piece by piece: the commits beside it must not wait for 16 MiB.
        if (fdatasync(fd) < 0)
            return err_errno(err, "cannot sync a spare segment");
    }
    return 0;
}

int
files_make_spare(int dir, uint64_t bytes, struct err *err)
{
    int fd = openat(dir, fill_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return err_errno(err, "cannot make a spare segment");
    int result;

    // The file may have been a segment: its new name is durable before a byte of it is
    // overwritten, else a crash could leave zeros under the old name.
    if (fsync(dir) < 0 || ftruncate(fd, (off_t)bytes) < 0)
        result = err_errno(err, "cannot size a spare segment");
    else
        result = fill_zeros(fd, bytes, err);
    if (result == 0 && renameat(dir, fill_name, dir, FILES_SPARE) < 0)
        result = err_errno(err, "cannot name a spare segment");
    close(fd);
    if (result < 0)
        unlinkat(dir, fill_name, 0); // what is there of it only takes room
    return result;
}

void
files_drop_fill(int dir)
{
    unlinkat(dir, fill_name, 0); // mostly there is none
}

int
files_give_to_spare(int dir, const char *name, struct err *err)
{
    if (renameat(dir, name, dir, fill_name) < 0)
        return err_errno(err, "cannot recycle segment %s", name);
    return 0;
}

int
files_remove(int dir, const char *name, struct err *err)
{
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
        return err_errno(err, "cannot remove %s", name);
    // In order, so that no older segment comes back after a crash without a newer one. If
    // it cannot be synced both may come back, and are removed again.
    if (fsync(dir) < 0)
        log_warn("journal: cannot sync the journal's directory: error %d", errno);
    return 0;
}

static int
copy_range(int from, int to, uint64_t at, uint64_t end, struct err *err)
{
    char piece[16384];

    while (at < end) {
        size_t len = end - at < sizeof piece ? (size_t)(end - at) : sizeof piece;
        ssize_t n = pread(from, piece, len, (off_t)at);
        if (n <= 0)
            return n < 0 ? err_errno(err, "cannot read a damaged range") : 0;
        if (write(to, piece, (size_t)n) != n)
            return err_errno(err, "cannot write into bad/");
        at += (uint64_t)n;
    }
    return 0;
}

int
files_keep_bad(int dir, int fd, const char *name, uint64_t from, uint64_t to,
               struct err *err)
{
    char path[300];

    mkdirat(dir, bad_name, 0700); // there already is fine; a failure shows in the open
    snprintf(path, sizeof path, "%s/%s.%" PRIx64, bad_name, name, from);
    int out = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out < 0)
        return errno == EEXIST ? 0 : err_errno(err, "cannot make %s", path);
    int result = copy_range(fd, out, from, to, err);
    close(out);
    return result < 0 ? -1 : 1;
}
