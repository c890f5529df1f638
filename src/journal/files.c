// A new segment appears under its name only when its header is synced: it is written as
// `new` (or is a spare, all zeros), synced, renamed, and the directory synced. A crash in
// between leaves a `new` that the next start overwrites, or a spare.
#include "journal/files.h"

#include "base/clock.h"
#include "base/file.h"
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

static const char fill_name[] = "fill", new_name[] = "new";

// The failed call's reason, with the exit code of a directory.
static int
refuse_directory(struct err *err, const char *what, const char *path)
{
    err_errno(err, "state_dir %s: %s", path, what);
    if (err)
        err->exit = EXIT_CODE_DIRECTORY;
    return -1;
}

// The entry of the directory is synced, whoever made it: an acknowledged record must not
// vanish with it. The directory above may be closed to us; then the whole file system is.
static int
sync_entry(int dir, const char *path, struct err *err)
{
    int above = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = above < 0 ? -1 : fsync(above);

    if (above >= 0)
        close(above);
    if (result < 0 && syncfs(dir) < 0)
        return refuse_directory(err, "cannot sync its entry", path);
    return 0;
}

// Who can write there can replace what was acknowledged, or hold the lock.
static int
check_owner(int dir, const char *path, struct err *err)
{
    struct stat st;

    if (fstat(dir, &st) < 0)
        return refuse_directory(err, "cannot stat it", path);
    if (st.st_mode & 022)
        return err_exit(
            err, EXIT_CODE_PERMISSION,
            "state_dir %s: others can write into it (mode %04o): chmod 700 it, "
            "name a directory below it, or --force",
            path, (unsigned)(st.st_mode & 07777));
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return err_exit(
            err, EXIT_CODE_PERMISSION,
            "state_dir %s belongs to user %u, not to us (%u) or root: start as "
            "that user, chown it, or --force",
            path, (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & 077)
        log_warn("journal: others can enter %s, which holds deliveries: chmod 700 it",
                 path);
    return 0;
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
    struct err owner;
    if (check_owner(dir, path, &owner) < 0) {
        if (!force)
            return err_exit(err, owner.exit, "%s", owner.text);
        log_warn("journal: %s", owner.text);
    }
    return sync_entry(dir, path, err);
}

int
files_open(const char *path, bool make, bool force, struct err *err)
{
    if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
        return refuse_directory(err, "cannot make it", path);
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

// The lock is ours alone: who can open it can hold it. A link is not followed: what it leads
// to is not ours to write.
static int
open_lock(int dir, const char *path, struct err *err)
{
    int fd =
        openat(dir, "lock",
               O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
    struct stat st;

    if (fd < 0)
        return refuse_directory(err, "cannot open its lock", path);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        (void)fchmod(fd, 0600); // it may have been copied with another mode
        return fd;
    }
    close(fd);
    return err_exit(err, EXIT_CODE_DIRECTORY,
                    "state_dir %s: its lock is no regular file: remove it", path);
}

// The pid is for people. A file with a second name may be somebody's: it is left as it is.
static void
write_pid(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || st.st_nlink != 1 || ftruncate(fd, 0) < 0 ||
        dprintf(fd, "%d\n", (int)getpid()) < 0)
        log_warn("journal: cannot write our pid into the lock");
}

int
files_lock(int dir, const char *path, int64_t wait_ms, struct err *err)
{
    int64_t start = clock_mono_ms();
    bool said = false;
    int fd = open_lock(dir, path, err);

    if (fd < 0)
        return -1;
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
    write_pid(fd);
    return fd;
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
files_open_spare(int dir)
{
    return openat(dir, FILES_SPARE, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
}

// Whether a descriptor is of what the name `spare` still leads to.
static bool
is_the_spare(int dir, int fd)
{
    struct stat open, named;

    return fstat(fd, &open) == 0 &&
           fstatat(dir, FILES_SPARE, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           open.st_ino == named.st_ino && open.st_dev == named.st_dev;
}

int
files_create(int dir, const struct segment_header *h, int spare, char *name,
             bool *from_spare, struct err *err)
{
    const char *source = FILES_SPARE;
    int fd = spare;

    if (fd >= 0 && !is_the_spare(dir, fd)) {
        close(fd);
        fd = -1;
    }
    if (fd < 0)
        fd = files_open_spare(dir);
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
    if (result == 0)
        return fd;
    close(fd);
    unlinkat(dir, fill_name, 0); // what is there of it only takes room
    return -1;
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
        log_warn("journal: cannot sync the journal's directory: %s", strerror(errno));
    return 0;
}
