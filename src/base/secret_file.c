// A secret is text of one line. What editors and shells put around it (a byte order mark, line
// ends) is dropped, since nobody means it; another control byte is a mistake that would show
// only as a wrong password.
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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

// A secret that Kubernetes mounts is root's, with a group of the process: it cannot be changed
// to mode 600.
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
                        "%s: others can write this secret (mode %04o): chmod 600 %s",
                        path, (unsigned)(st.st_mode & 07777), path);
    bool shared = st.st_uid == 0 && is_our_group(st.st_gid);
    if (st.st_mode & (shared ? 007 : 077))
        return err_exit(err, EXIT_CODE_PERMISSION,
                        "%s: others can read this secret (mode %04o): chmod 600 %s", path,
                        (unsigned)(st.st_mode & 07777), path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return err_exit(err, EXIT_CODE_PERMISSION,
                        "%s: this secret belongs to user %u, not to us (%u) or root",
                        path, (unsigned)st.st_uid, (unsigned)geteuid());
    return 0;
}

// Into the room that `to` has at once: growing would leave copies behind.
static int
read_bytes(int fd, const char *path, struct buf *to, struct err *err)
{
    size_t room = to->max - to->len;
    char *at = buf_room(to, room), more;

    for (;;) {
        ssize_t n = room > 0 ? read(fd, at, room) : read(fd, &more, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "%s: cannot read", path);
        if (n == 0)
            return 0;
        if (room == 0)
            return err_set(err, ERR_INPUT, "%s: larger than %zu bytes", path, to->max);
        at += n;
        room -= (size_t)n;
        to->len += (size_t)n;
    }
}

static int
read_file(const char *path, struct buf *to, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0) {
        err_errno(err, "%s: cannot open", path);
        if (err && (err->error == EACCES || err->error == EPERM))
            err->exit = EXIT_CODE_PERMISSION;
        return -1;
    }
    int result = check_mode(fd, path, err);
    if (result == 0)
        result = read_bytes(fd, path, to, err);
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
strip(struct buf *b, size_t start)
{
    static const char mark[] = "\xef\xbb\xbf";

    if (span_starts(span_from(buf_span(b), start), SPAN("\xef\xbb\xbf"))) {
        memmove(b->at + start, b->at + start + strlen(mark),
                b->len - start - strlen(mark));
        b->len -= strlen(mark);
    }
    while (b->len > start && (b->at[b->len - 1] == '\n' || b->at[b->len - 1] == '\r'))
        b->len--;
}

static int
check_bytes(const char *path, struct span s, struct err *err)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c == '\n' || c == '\r')
            return err_set(err, ERR_INPUT, "%s: more than one line: a secret is one",
                           path);
        if (c < 0x20 || c == 0x7f)
            return err_set(err, ERR_INPUT,
                           "%s: byte %zu is a control byte%s: a secret is text of one "
                           "line, like what `head -c 32 /dev/urandom | base64` prints",
                           path, i + 1, c == 0 ? " (NUL; is the file UTF-16?)" : "");
    }
    return 0;
}

int
file_read_secret(const char *path, size_t least, struct buf *to, struct err *err)
{
    size_t start = to->len;
    bool variable = strncmp(path, "env:", 4) == 0;

    if ((variable ? read_variable(path + 4, to, err) : read_file(path, to, err)) < 0)
        return -1;
    strip(to, start);
    struct span found = span_from(buf_span(to), start);
    if (check_bytes(path, found, err) < 0)
        return -1;
    if (found.len < least)
        return err_set(err, ERR_INPUT,
                       "%s: a secret of %zu bytes; at least %zu are needed", path,
                       found.len, least);
    return 0;
}
