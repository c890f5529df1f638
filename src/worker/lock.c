// The files are opened each time, so that a token that was replaced, or a directory that the
// service manager made anew, is the one that others see too.
#include "worker/lock.h"

#include "base/file.h"
#include "base/text.h"
#include "edge/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNIT_DIRECTORY "/run/acrelay-worker"

// Of the file itself, whatever link or relative path leads to it.
static void
make_name(char *to, size_t size, const char *file)
{
    char real[PATH_MAX], hex[17];
    unsigned char digest[DIGEST_BYTES];

    digest_of(span_of(realpath(file, real) ? real : file), digest);
    text_hex(hex, sizeof hex, digest, 8);
    snprintf(to, size, "%s.lock", hex);
}

static int
not_private(struct err *err, const char *path)
{
    return err_exit(
        err, EXIT_CODE_DIRECTORY,
        "%s: the leader's lock would not be ours alone there (owner, mode 700 "
        "or 755, no link). Under a unit: RuntimeDirectory=acrelay-worker",
        path);
}

static bool
is_private(const struct stat *st, mode_t others)
{
    return (st->st_uid == geteuid() || st->st_uid == 0 || geteuid() == 0) &&
           (st->st_mode & others) == 0;
}

// The lock file, made where it is not there; for root in the unit's directory it is the unit's.
static int
open_file(const struct lock *l, struct err *err)
{
    struct stat directory, st;
    int at = open(l->directory,
                  O_RDONLY | O_DIRECTORY | O_CLOEXEC | (l->is_own ? O_NOFOLLOW : 0)),
        fd = -1;

    if (at < 0 || fstat(at, &directory) < 0)
        err_errno(err, "%s: cannot open the directory of the leader's lock",
                  l->directory);
    else if (!is_private(&directory, 022) || (l->is_own && directory.st_uid != geteuid()))
        not_private(err, l->directory);
    else if ((fd = openat(at, l->name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)) <
             0)
        err_errno(err, "%s/%s: cannot open the leader's lock", l->directory, l->name);
    if (at >= 0)
        close(at);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !is_private(&st, 077)) {
        close(fd);
        return not_private(err, l->directory);
    }
    if (geteuid() == 0 && st.st_uid == 0 && directory.st_uid != 0 &&
        fchown(fd, directory.st_uid, directory.st_gid) < 0)
        return fd; // the unit cannot open it then, and says so
    return fd;
}

static void
find_directory(struct lock *l)
{
    const char *given = getenv("RUNTIME_DIRECTORY");

    if (!given || !*given)
        given = getenv("STATE_DIRECTORY");
    if (given && *given) {
        snprintf(l->directory, sizeof l->directory, "%.*s", (int)strcspn(given, ":"),
                 given);
        return;
    }
    if (geteuid() == 0)
        (void)mkdir(UNIT_DIRECTORY, 0700); // the unit makes it its own when it starts
    if (access(UNIT_DIRECTORY, W_OK | X_OK) == 0)
        snprintf(l->directory, sizeof l->directory, "%s", UNIT_DIRECTORY);
}

// Where neither a directory was given nor a token is in a file: another user could only keep
// us out by making this first, and would be named.
static void
find_own(struct lock *l)
{
    snprintf(l->directory, sizeof l->directory, "/tmp/acrelay-worker-%u",
             (unsigned)geteuid());
    (void)mkdir(l->directory, 0700);
    l->is_own = true;
}

int
lock_init(struct lock *l, const struct config *c, struct err *err)
{
    *l = (struct lock){.fds = {-1, -1}};
    find_directory(l);
    if (c->account_api_token_file && access(c->account_api_token_file, R_OK) == 0)
        snprintf(l->token, sizeof l->token, "%s", c->account_api_token_file);
    if (!l->directory[0] && !l->token[0])
        find_own(l);
    make_name(l->name, sizeof l->name, c->file);
    int fd = l->directory[0] ? open_file(l, err) : -1;
    if (l->directory[0] && fd < 0) {
        if (err)
            err->exit = EXIT_CODE_DIRECTORY;
        return -1;
    }
    if (fd >= 0)
        close(fd);
    return 0;
}

// false: another one has it. What cannot be locked at all keeps nobody out.
static bool
take(int fd)
{
    return fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

bool
lock_take(struct lock *l)
{
    lock_leave(l);
    if (l->directory[0])
        l->fds[0] = open_file(l, NULL);
    if (l->token[0])
        l->fds[1] = open(l->token, O_RDONLY | O_CLOEXEC);
    if ((l->fds[0] >= 0 || l->fds[1] >= 0) && take(l->fds[0]) && take(l->fds[1]))
        return true;
    lock_leave(l);
    return false;
}

void
lock_leave(struct lock *l)
{
    for (int i = 0; i < 2; i++) {
        if (l->fds[i] >= 0)
            close(l->fds[i]);
        l->fds[i] = -1;
    }
}
