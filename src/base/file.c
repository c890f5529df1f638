#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
read_all(int fd, const char *path, struct buf *to, struct err *err)
{
    for (;;) {
        char piece[4096];
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "%s: cannot read", path);
        if (n == 0)
            return 0;
        if (buf_add(to, span_make(piece, (size_t)n)) < 0)
            return err_set(err, ERR_INPUT, "%s: larger than %zu bytes", path, to->max);
    }
}

static int
open_to_read(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    return fd < 0 ? err_errno(err, "%s: cannot open", path) : fd;
}

int
file_read(const char *path, struct buf *to, struct err *err)
{
    int fd = open_to_read(path, err);

    if (fd < 0)
        return -1;
    int result = read_all(fd, path, to, err);
    close(fd);
    return result;
}

int
file_beside(char *to, size_t size, const char *path, const char *name, struct err *err)
{
    const char *slash = strrchr(path, '/');
    size_t keep = name[0] == '/' || !slash ? 0 : (size_t)(slash - path + 1);
    int len = snprintf(to, size, "%.*s%s", (int)keep, path, name);

    if (len < 0 || (size_t)len >= size)
        return err_set(err, ERR_INPUT, "%s: path too long", name);
    return 0;
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
    int result = fsync(fd);
    int saved = errno;
    close(fd);
    errno = saved;
    return result < 0 ? err_errno(err, "%s: cannot sync its directory", path) : 0;
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
        unlink(fresh); // what is left of it is of no use; the first error is the one told
        return -1;
    }
    return file_sync_parent(path, err);
}
