// The files of a journal's directory. Only what the segments' own headers say is believed; a
// name must be the one that its header makes.
//
// A new segment appears under its name only when its header is synced: it is written as
// `new` (or is a spare, all zeros), synced, renamed, and the directory synced. A crash in
// between leaves a `new` that the next start overwrites, or a spare.
//
// The link `newest` leads to the last one that was created, so that it is missed if somebody removed
// it while no receiver ran: its numbers, which are ids, would be given again. The link is not synced,
// and one that leads to an older segment says nothing.
#include "journal/internal.h"

#include "base/file.h"
#include "base/text.h"

#include <dirent.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { FILL_PIECE = 1 << 18 };

static const char fill_name[] = "fill", new_name[] = "new", spare_name[] = "spare",
                  newest_name[] = "newest";

// --- opening ---------------------------------------------------------------------------

// The failed call's reason, with the exit code of a directory.
static int
refuse_directory(struct err *err, const char *what, const char *path)
{
    err_errno(err, "state_dir %s: %s", path, what);
    if (err)
        err->exit = EXIT_CODE_DIRECTORY;
    return -1;
}

// The path ends before the directory: where its parent is missing, or a file is in the way.
static int
refuse_path(struct err *err, const char *path)
{
    bool missing = errno == ENOENT;
    char part[PATH_MAX], *at = part;

    snprintf(part, sizeof part, "%s", path);
    if (missing)
        at = dirname(part);
    while (!missing && access(at, F_OK) < 0)
        at = dirname(part);
    return err_exit(err, EXIT_CODE_DIRECTORY,
                    "state_dir %s: %s: %s, or correct receiver.state_dir", path, at,
                    missing ? "No such file or directory: create it"
                            : "Not a directory: move this file out of the way");
}

// The entry of the directory is synced, no matter who made it: an acknowledged record must not
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
        return err_exit(err, EXIT_CODE_PERMISSION,
                        "state_dir %s: other users can write to it (mode %04o): chmod "
                        "700, use a subdirectory, or --force",
                        path, (unsigned)(st.st_mode & 07777));
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return err_exit(err, EXIT_CODE_PERMISSION,
                        "state_dir %s belongs to user %u, but this process runs as user "
                        "%u: start it as that user, chown the directory, or --force",
                        path, (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & 077)
        log_warn(
            "journal: other users can enter %s, which contains deliveries: chmod 700",
            path);
    return 0;
}

// Whether a journal may be written there.
static int
check_directory(int dir, const char *path, bool force, struct err *err)
{
    enum filesystem kind = filesystem_of(path);

    if (faccessat(dir, ".", R_OK | W_OK | X_OK, AT_EACCESS) < 0)
        return refuse_directory(err, "cannot write to it", path);
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

static int
refuse_user(struct err *err, const char *path)
{
    char owner[40] = "the user that acrelayd runs as"; // above it may be closed to us
    struct stat st;

    if (stat(path, &st) == 0)
        snprintf(owner, sizeof owner, "user %u, to whom it belongs", (unsigned)st.st_uid);
    return err_exit(
        err, EXIT_CODE_DIRECTORY,
        "state_dir %s: Permission denied for user %u: run this as root, or as "
        "%s",
        path, (unsigned)geteuid(), owner);
}

static int
open_directory(const char *path, struct err *err)
{
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return errno == ENOTDIR  ? refuse_path(err, path)
               : errno == EACCES ? refuse_user(err, path)
                                 : refuse_directory(err, "cannot open it", path);
    return dir;
}

int
dir_open(const struct journal_options *options, struct err *err)
{
    const char *path = options->directory;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return errno == ENOENT || errno == ENOTDIR
                   ? refuse_path(err, path)
                   : refuse_directory(err, "cannot create it", path);
    int dir = open_directory(path, err);
    if (dir < 0)
        return -1;
    if (check_directory(dir, path, options->force, err) == 0)
        return dir;
    close(dir);
    return -1;
}

// --- what there is --------------------------------------------------------------------

// read_one reads a segment's header. 1, 0 when it is no segment of ours and *why says so, -1 when
// that cannot be found out now (*err): a file that cannot be opened (whose owner is another, or
// too many are open) is no damage and must not pass for a foreign one.
static int
read_one(int dir, const char *name, struct segment *s, const char **why, struct err *err)
{
    struct segment_scan scan;
    struct err reason = {0};

    *why = "is not a segment of this journal";
    if (segment_scan_open(&scan, dir, name, NULL, &reason) < 0) {
        if (reason.error == ENOENT)
            *why = NULL; // it was removed since it was listed
        if (reason.kind == ERR_INPUT && reason.error)
            *why = "cannot be read";
        return reason.kind == ERR_INPUT || reason.error == ENOENT ||
                       reason.error == ELOOP || reason.error == ENXIO
                   ? 0
                   : err_set(err, ERR_AGAIN, "%s", reason.text);
    }
    *s = (struct segment){.header = scan.header,
                          .bytes = scan.end,
                          .end = scan.end,
                          .since_us = clock_boot_us()}; // the file's: by a wall clock
    segment_scan_close(&scan);
    segment_name(s->name, &s->header);
    return strcmp(s->name, name) == 0;
}

static bool
read_name(struct segment *s, const char *name)
{
    struct segment_header *h = &s->header;

    if (sscanf(name, "%16" SCNx64 "-%8" SCNx32 ".wal", &h->first, &h->generation) != 2 ||
        h->first == 0 || h->first > UINT64_MAX / 2)
        return false;
    segment_name(s->name, h);
    return true;
}

static void
add_lost(struct segment_list *list, uint64_t first, uint64_t bytes)
{
    uint64_t last = segment_last_possible(first, bytes);

    if (last < first || (first == list->lost_first && last < list->lost))
        return;
    list->lost_first = first; // names come in order: the ones before end here
    list->lost = last;
}

// count_lost: the name still says where the segment began, the size how many it may have held.
static void
count_lost(int dir, const char *name, struct segment_list *list)
{
    struct segment s;
    struct stat st;

    if (read_name(&s, name) && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(st.st_mode))
        add_lost(list, s.header.first, (uint64_t)st.st_size);
}

// check_newest counts the newest segment as lost where it is gone: also at the starts after one that
// set it aside, until there is a newer one.
static void
check_newest(int dir, struct segment_list *list)
{
    char name[SEGMENT_NAME] = "";
    struct segment s;

    if (readlinkat(dir, newest_name, name, sizeof name - 1) < 0 || !read_name(&s, name) ||
        faccessat(dir, s.name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT ||
        list->lost_first >= s.header.first ||
        (list->len > 0 && !segment_is_after(&s, &list->at[list->len - 1])))
        return;
    if (list->len > 0) // else the journal is new, and so is its id
        add_lost(list, s.header.first, SEGMENT_BYTES);
    log_alarm(
        "journal: segment %s, the newest, is not in state_dir: its records that are "
        "not in Redis are lost. Was it moved or removed, or not copied with the "
        "others? See \"The journal is damaged\" in OPERATING.md",
        s.name);
}

static int
list_segment(int dir, const char *name, bool owner, struct segment_list *list,
             struct err *err)
{
    struct segment s;
    const char *why;
    int ok = read_one(dir, name, &s, &why, err);

    if (ok > 0) {
        segment_list_insert(list, list->len, &s);
    } else if (ok == 0 && why && owner) {
        count_lost(dir, name, list);
        bad_set_aside(dir, name, why, &list->foreign);
    } else if (ok == 0 && why) {
        list->foreign++;
    }
    return ok < 0 ? -1 : 0;
}

static int
list_entry(int dir, const char *name, bool owner, struct segment_list *list,
           struct err *err)
{
    const char *dot = strrchr(name, '.');
    struct stat st;

    if (dot && strcmp(dot, ".wal") == 0)
        return list_segment(dir, name, owner, list, err);
    if (owner && strcmp(name, fill_name) == 0)
        unlinkat(dir, name, 0); // the half-made spare of a process that died
    if (owner && strcmp(name, spare_name) == 0) {
        list->spare_fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            list->spare_bytes = (uint64_t)st.st_size;
    }
    return 0;
}

int
dir_list(int dir, bool owner, struct segment_list *list, struct err *err)
{
    struct dirent **entries;
    int n = scandirat(dir, ".", &entries, NULL, alphasort); // names sort as segments do
    int result = 0;

    *list = (struct segment_list){.spare_fd = -1};
    if (n < 0)
        return err_errno(err, "cannot list the journal's directory");
    for (int i = 0; i < n; i++) {
        if (result == 0)
            result = list_entry(dir, entries[i]->d_name, owner, list, err);
        free(entries[i]);
    }
    free(entries);
    if (result == 0 && owner)
        check_newest(dir, list);
    if (result == 0)
        return 0;
    free(list->at);
    list->at = NULL;
    return -1; // a spare is the owner's to close
}

int
dir_open_reader(const char *path, struct segment_list *list, char id[JOURNAL_ID_TEXT],
                struct err *err)
{
    int dir = open_directory(path, err);
    int result = dir < 0 ? -1 : dir_list(dir, false, list, err);

    if (result == 0 && list->len == 0) {
        result =
            err_exit(err, EXIT_CODE_DIRECTORY, "%s does not contain a journal", path);
        if (err)
            err->error = ENOENT;
    }
    if (result == 0) {
        text_hex(id, JOURNAL_ID_TEXT, list->at[list->len - 1].header.id,
                 JOURNAL_ID_BYTES);
        return dir;
    }
    if (dir >= 0)
        close(dir);
    return -1;
}

// --- segments and spares --------------------------------------------------------------

static int
write_header(int fd, const struct segment_header *h, struct err *err)
{
    errno = ENOSPC; // if the write is short
    if (pwrite(fd, h, SEGMENT_HEADER, 0) != SEGMENT_HEADER)
        return err_errno(err, "cannot write a segment's header");
    return fdatasync(fd) < 0 ? err_errno(err, "cannot sync a segment's header") : 0;
}

// Whether a descriptor is of what the name `spare` still leads to.
static bool
is_the_spare(int dir, int fd)
{
    struct stat open, named;

    return fstat(fd, &open) == 0 &&
           fstatat(dir, spare_name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           open.st_ino == named.st_ino && open.st_dev == named.st_dev;
}

int
dir_create_segment(int dir, struct segment *s, int spare, bool *zeroed, struct err *err)
{
    int fd = spare;

    *zeroed = spare >= 0 && is_the_spare(dir, spare);
    if (spare >= 0 && !*zeroed)
        close(spare);
    if (!*zeroed)
        fd = openat(dir, new_name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                    0600);
    if (fd < 0)
        return err_errno(err, "cannot create a segment");
    segment_name(s->name, &s->header);
    const char *name = *zeroed ? spare_name : new_name;
    if (write_header(fd, &s->header, err) == 0) {
        // A file that is in the way was not understood and could not be set aside: it stays.
        if (rename_new(dir, name, dir, s->name) < 0) {
            err_errno(err, "cannot name a segment");
        } else {
            if (fsync(dir) == 0) {
                unlinkat(dir, newest_name, 0);
                if (symlinkat(s->name, dir, newest_name) < 0) // a removal is not noticed
                    log_debug("journal: cannot link %s: %s", newest_name,
                              strerror(errno));
                return fd;
            }
            err_errno(err, "cannot sync the journal's directory");
            name = s->name;
        }
    }
    close(fd);
    unlinkat(dir, name, 0); // a torn header, or a segment that never had a record
    return -1;
}

// fill overwrites all of the file with zeros, so that its blocks are allocated and written.
// Past the page cache where the file system allows it: such a write waits for itself. Others
// are synced piece by piece, or the commits beside them would wait for 16 MiB.
static int
fill(int fd, uint64_t bytes, struct err *err)
{
    static char zeros[FILL_PIECE] __attribute__((aligned(4096)));
    bool direct = set_direct(fd, true);

    for (uint64_t at = 0; at < bytes;) {
        size_t piece = bytes - at < sizeof zeros ? (size_t)(bytes - at) : sizeof zeros;
        ssize_t n = pwrite(fd, zeros, piece, (off_t)at);
        if (n < 0 && errno == EINVAL && direct) { // not whole blocks
            direct = set_direct(fd, false);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || (!direct && fdatasync(fd) < 0))
            return err_errno(err, "cannot fill a spare segment");
        at += (uint64_t)n;
    }
    if (direct && fdatasync(fd) < 0)
        return err_errno(err, "cannot sync a spare segment");
    set_direct(fd, false);
    return 0;
}

// make_filled makes the file `fill` of so many bytes. What is there of it when that fails only
// takes room.
static int
make_filled(int dir, uint64_t bytes, struct err *err)
{
    int fd = openat(dir, fill_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int result;

    if (fd < 0)
        return err_errno(err, "cannot create a spare segment");
    // The file may have been a segment: its new name is durable before a byte of it is
    // overwritten, else a crash could leave zeros under the old name.
    if (fsync(dir) < 0 || ftruncate(fd, (off_t)bytes) < 0)
        result = err_errno(err, "cannot size a spare segment");
    else
        result = fill(fd, bytes, err);
    if (result == 0)
        return fd;
    close(fd);
    unlinkat(dir, fill_name, 0);
    return -1;
}

int
dir_make_spare(int dir, uint64_t bytes, struct err *err)
{
    int fd = make_filled(dir, bytes, err);

    if (fd < 0 || renameat(dir, fill_name, dir, spare_name) == 0)
        return fd;
    err_errno(err, "cannot name a spare segment");
    close(fd);
    unlinkat(dir, fill_name, 0);
    return -1;
}

int
dir_check_room(int dir, struct err *err)
{
    int fd = make_filled(dir, 4096, err);

    if (fd < 0)
        return -1;
    close(fd);
    unlinkat(dir, fill_name, 0);
    return 0;
}

int
dir_remove(int dir, const char *name, bool recycle, struct err *err)
{
    if ((recycle ? renameat(dir, name, dir, fill_name) : unlinkat(dir, name, 0)) < 0 &&
        errno != ENOENT)
        return err_errno(err, "cannot %s segment %s", recycle ? "recycle" : "remove",
                         name);
    if (recycle)
        return 0;
    // In order, so that no older segment comes back after a crash without a newer one. If
    // it cannot be synced both may come back, and are removed again.
    if (fsync(dir) < 0)
        log_warn("journal: cannot sync the journal's directory: %s", strerror(errno));
    return 0;
}
