#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static int
read_all(int fd, const char *path, struct buf *to, struct err *err)
{
    enum { PIECE = 4096 };

    for (;;) {
        char more;
        size_t room = to->max - to->len, ask = room < PIECE ? room : PIECE;
        ssize_t n = read(fd, ask ? buf_room(to, ask) : &more, ask ? ask : 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "%s: cannot read", path);
        if (n == 0)
            return 0;
        if (ask == 0)
            return err_set(err, ERR_INPUT, "%s: larger than %zu bytes", path, to->max);
        to->len += (size_t)n;
    }
}

int
file_read(const char *path, struct buf *to, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return err_errno(err, "%s: cannot open", path);
    int result = read_all(fd, path, to, err);
    close(fd);
    return result;
}

int
file_sync_parent(const char *path, struct err *err)
{
    char copy[PATH_MAX];

    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return err_set(err, ERR_INPUT, "%s: path too long", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "%s: cannot open its directory", path);
    int result =
        fsync(fd) < 0 ? err_errno(err, "%s: cannot sync its directory", path) : 0;
    close(fd);
    return result;
}

static int
write_all(int fd, const char *path, struct span s, struct err *err)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.at, s.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "%s: cannot write", path);
        s = span_from(s, (size_t)n);
    }
    return fsync(fd) < 0 ? err_errno(err, "%s: cannot sync", path) : 0;
}

int
file_replace(const char *path, struct span content, struct err *err)
{
    char fresh[PATH_MAX];

    if (snprintf(fresh, sizeof fresh, "%s.new", path) >= (int)sizeof fresh)
        return err_set(err, ERR_INPUT, "%s: path too long", path);
    unlink(fresh); // what a crash left; whatever else stands there is not written into
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "%s: cannot create", fresh);
    int result = write_all(fd, fresh, content, err);
    close(fd);
    if (result == 0 && rename(fresh, path) < 0)
        result = err_errno(err, "%s: cannot rename to %s", fresh, path);
    if (result < 0) {
        unlink(fresh); // what is left of it is of no use; the first error is reported
        return -1;
    }
    return file_sync_parent(path, err);
}

int
file_create(const char *path, struct span content, unsigned mode, struct err *err)
{
    char fresh[PATH_MAX];

    if (snprintf(fresh, sizeof fresh, "%s.made", path) >= (int)sizeof fresh)
        return err_set(err, ERR_INPUT, "%s: path too long", path);
    if (file_replace(fresh, content, err) < 0)
        return -1;
    int result = chmod(fresh, mode) < 0 || link(fresh, path) < 0
                     ? err_errno(err, "%s: cannot create", path)
                     : 0;
    unlink(fresh); // the file has its own name now, or none
    if (result == 0 && file_sync_parent(path, err) < 0) {
        unlink(path);
        return -1;
    }
    return result;
}

uint64_t
file_stamp(const char *path)
{
    struct stat st;
    uint64_t hash = UINT64_C(0xcbf29ce484222325); // FNV-1a, a byte at a time

    if (stat(path, &st) < 0)
        return 0;
    uint64_t values[] = {st.st_dev,
                         st.st_ino,
                         st.st_mode,
                         st.st_uid,
                         st.st_gid,
                         (uint64_t)st.st_size,
                         (uint64_t)st.st_mtim.tv_sec,
                         (uint64_t)st.st_mtim.tv_nsec,
                         (uint64_t)st.st_ctim.tv_sec,
                         (uint64_t)st.st_ctim.tv_nsec};
    for (size_t i = 0; i < sizeof values; i++)
        hash = (hash ^ ((unsigned char *)values)[i]) * UINT64_C(0x100000001b3);
    return hash | 1;
}

// --- secrets -----------------------------------------------------------------------------

// A secret is text of one line. What editors and shells put around it (a byte order mark,
// line ends) is dropped, since nobody means it; another control byte is a mistake that
// would show only as a wrong password.

// systemd's credentials directory is private to the service, but the files in it may
// carry mode 0440 with the service's own group.
static bool
is_credential(const char *path)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");

    if (!directory || !*directory)
        return false;
    size_t len = strlen(directory);
    return strncmp(path, directory, len) == 0 && path[len] == '/' &&
           !strstr(path + len, "/../");
}

static bool
is_our_group(gid_t group)
{
    gid_t groups[256];
    int len = getgroups(256, groups);

    for (int i = 0; i < len; i++)
        if (groups[i] == group)
            return true;
    return group == getegid();
}

// A secret that Kubernetes mounts is root's, with a group of the process: it cannot be
// changed to mode 600.
static int
check_mode(int fd, const char *path, struct err *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_errno(err, "%s: cannot stat", path);
    if (!S_ISREG(st.st_mode))
        return err_exit(err, EXIT_CODE_PERMISSION, "%s: a secret must be a regular file",
                        path);
    if (is_credential(path))
        return 0;
    if (st.st_mode & 022)
        return err_exit(err, EXIT_CODE_PERMISSION,
                        "%s: other users can write this secret (mode %04o): chmod 600 %s",
                        path, (unsigned)(st.st_mode & 07777), path);
    bool shared = st.st_uid == 0 && is_our_group(st.st_gid);
    if (st.st_mode & (shared ? 007 : 077))
        return err_exit(err, EXIT_CODE_PERMISSION,
                        "%s: other users can read this secret (mode %04o): chmod 600 %s",
                        path, (unsigned)(st.st_mode & 07777), path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return err_exit(err, EXIT_CODE_PERMISSION,
                        "%s: this secret belongs to user %u, not to the user of this "
                        "process (%u) or root",
                        path, (unsigned)st.st_uid, (unsigned)geteuid());
    return 0;
}

int
file_read_key(const char *path, struct buf *to, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0 && (errno == EACCES || errno == EPERM))
        return err_exit(err, EXIT_CODE_PERMISSION, "%s: cannot open: %s: " FILE_DENIED,
                        path, strerror(errno));
    if (fd < 0)
        return err_errno(err, "%s: cannot open", path);
    int result = check_mode(fd, path, err);
    if (result == 0) {
        buf_room(to, to->max - to->len); // all of it at once: growing would leave copies
        result = read_all(fd, path, to, err);
    }
    close(fd);
    return result;
}

static int
read_variable(const char *name, struct buf *to, struct err *err)
{
    const char *value = getenv(name);

    if (!value)
        return err_exit(err, EXIT_CODE_CONFIG, "env:%s: this variable is not set", name);
    if (!buf_room(to, to->max - to->len) || buf_add(to, span_of(value)) < 0)
        return err_set(err, ERR_INPUT, "env:%s: larger than %zu bytes", name, to->max);
    return 0;
}

static void
strip(struct buf *b)
{
    if (span_starts(buf_span(b), SPAN("\xef\xbb\xbf"))) {
        b->len -= 3;
        memmove(b->at, b->at + 3, b->len);
    }
    while (b->len > 0 && (b->at[b->len - 1] == '\n' || b->at[b->len - 1] == '\r'))
        b->len--;
}

static int
check_bytes(const char *path, struct span s, struct err *err)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c == '\n' || c == '\r')
            return err_set(err, ERR_INPUT,
                           "%s: more than one line: a secret is a single line", path);
        if (c < 0x20 || c == 0x7f)
            return err_set(err, ERR_INPUT,
                           "%s: byte %zu is a control byte%s: a secret is text of one "
                           "line, like what `head -c 32 /dev/urandom | base64` prints",
                           path, i + 1, c == 0 ? " (NUL; is the file UTF-16?)" : "");
    }
    return 0;
}

// The units have an empty default for the credential of each file, so that it is us who report it.
static bool
is_default_credential(const char *path, const struct buf *b)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");

    return b->len == 0 && directory && *directory &&
           span_starts(span_of(path), span_of(directory)) &&
           path[strlen(directory)] == '/';
}

int
file_read_secret(const char *path, size_t min, struct buf *to, struct err *err)
{
    int result = strncmp(path, "env:", 4) == 0 ? read_variable(path + 4, to, err)
                                               : file_read_key(path, to, err);

    if (result < 0)
        return -1;
    strip(to);
    if (check_bytes(path, buf_span(to), err) < 0)
        return -1;
    if (to->len < min)
        return err_set(err, ERR_INPUT,
                       "%s: the secret has %zu bytes; at least %zu are required%s", path,
                       to->len, min,
                       is_default_credential(path, to)
                           ? ": the file that LoadCredential= names is missing or empty"
                           : "");
    return 0;
}

// --- file systems ------------------------------------------------------------------------

// statfs(2) and linux/magic.h; some file systems keep theirs in their own sources.
static const struct {
    unsigned long type;
    enum filesystem kind;
} types[] = {
    {0x6969, FILESYSTEM_NETWORK},     // NFS
    {0x517b, FILESYSTEM_NETWORK},     // SMB
    {0xff534d42, FILESYSTEM_NETWORK}, // CIFS
    {0xfe534d42, FILESYSTEM_NETWORK}, // SMB2
    {0x01021997, FILESYSTEM_NETWORK}, // 9P
    {0x00c36400, FILESYSTEM_NETWORK}, // Ceph
    {0x65735546, FILESYSTEM_NETWORK}, // FUSE, virtiofs
    {0x5346414f, FILESYSTEM_NETWORK}, // AFS
    {0x6b414653, FILESYSTEM_NETWORK}, // AFS of the kernel
    {0x73757245, FILESYSTEM_NETWORK}, // Coda
    {0x0bd00bd0, FILESYSTEM_NETWORK}, // Lustre
    {0x786f4256, FILESYSTEM_NETWORK}, // VirtualBox shared folder
    {0x01021994, FILESYSTEM_MEMORY},  // tmpfs, devtmpfs
    {0x858458f6, FILESYSTEM_MEMORY},  // ramfs
    {0x958458f6, FILESYSTEM_MEMORY},  // hugetlbfs
    {0x794c7630, FILESYSTEM_OVERLAY}, {0x61756673, FILESYSTEM_OVERLAY}, // aufs
};

enum filesystem
filesystem_of_type(unsigned long type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == (type & 0xffffffff))
            return types[i].kind;
    return FILESYSTEM_LOCAL;
}

enum filesystem
filesystem_of(const char *path)
{
    char at[PATH_MAX];
    struct statfs fs;

    if (snprintf(at, sizeof at, "%s", path) >= (int)sizeof at)
        return FILESYSTEM_LOCAL;
    while (statfs(at, &fs) < 0) {
        if (errno != ENOENT || strcmp(at, "/") == 0 || strcmp(at, ".") == 0)
            return FILESYSTEM_LOCAL;
        const char *above = dirname(at); // shortens `at`, or is a constant
        memmove(at, above, strlen(above) + 1);
    }
    return filesystem_of_type((unsigned long)fs.f_type);
}

const char *
filesystem_problem(enum filesystem kind)
{
    static const char *const problems[] = {
        [FILESYSTEM_NETWORK] = "is on a network file system, where locks and syncs are "
                               "not reliable: use a local disk, or --force",
        [FILESYSTEM_MEMORY] =
            "is on a memory file system (tmpfs or ramfs): deliveries answered with 200 "
            "are gone at the next boot. Use a local disk, or --force",
        [FILESYSTEM_OVERLAY] = "is in a container's own layer (overlay): deliveries are "
                               "gone when the container is removed. Use a volume"};

    return problems[kind]; // NULL for FILESYSTEM_LOCAL
}
