// bad/ keeps what was set aside, within bounds.
#include "journal/internal.h"

#include <dirent.h>
#include <sys/stat.h>

static const char bad_name[] = "bad";

// Opens bad/ of `dir`, and makes it if it is not there. -1 with errno.
static int
open_bad(int dir)
{
    if (mkdirat(dir, bad_name, 0700) < 0 && errno != EEXIST)
        return -1;
    return openat(dir, bad_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

// A file that was set aside before is never overwritten: the clock may show a time again.
static int
move_to(int dir, int bad, const char *name, char *to, size_t size)
{
    uint64_t now_us = (uint64_t)clock_now_us();

    for (int i = 0; i < 100; i++) {
        snprintf(to, size, "%s.%" PRIx64, name, now_us + (uint64_t)i);
        if (rename_new(dir, name, bad, to) == 0)
            return 0;
        if (errno != EEXIST)
            return -1;
    }
    return -1;
}

void
bad_set_aside(int dir, const char *name, const char *why, uint64_t *count)
{
    char to[300];
    int bad = open_bad(dir);

    (*count)++;
    if (bad < 0 || move_to(dir, bad, name, to, sizeof to) < 0)
        log_alarm(
            "journal: file %s %s, is left out, and cannot be quarantined: %s. See \"The "
            "journal is damaged\" in OPERATING.md",
            name, why, strerror(errno));
    else
        log_alarm(
            "journal: file %s %s: quarantined as %s/%s for %d days. See \"The journal is "
            "damaged\" in OPERATING.md",
            name, why, bad_name, to, BAD_KEEP_DAYS);
    if (bad >= 0)
        close(bad);
}

// Ours are <16 hex digits>-<8 hex digits>.wal.<hex digits>; others put there is theirs.
static bool
is_ours(const char *name)
{
    int end = 0;

    sscanf(name, "%*16[0-9a-f]-%*8[0-9a-f].wal.%*16[0-9a-f]%n", &end);
    return end > 0 && name[end] == '\0';
}

// The time of a file is that of its last change: renaming it sets it, and nobody can set it back.
struct bad_files
bad_clean(int dir, int64_t now_us)
{
    int64_t before_s = now_us / 1000000 - (int64_t)BAD_KEEP_DAYS * 86400;
    int fd = openat(dir, bad_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct bad_files left = {0};
    struct stat st;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return left;
    }
    for (struct dirent *e; (e = readdir(d));) {
        const char *name = e->d_name;
        if (!is_ours(name) || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(st.st_mode)) {
            left.others += name[0] != '.' && !strstr(name, ".body");
            continue;
        }
        if ((int64_t)st.st_ctim.tv_sec < before_s) {
            if (unlinkat(fd, name, 0) == 0)
                log_warn("journal: %s/%s was quarantined more than %d days ago: removed",
                         bad_name, name, BAD_KEEP_DAYS);
            continue;
        }
        left.ours++;
        left.bytes += (uint64_t)st.st_size;
    }
    closedir(d);
    return left;
}

static int
copy_range(int from, int to, uint64_t at, uint64_t end, struct err *err)
{
    char piece[16384];

    while (at < end) {
        size_t len = end - at < sizeof piece ? (size_t)(end - at) : sizeof piece;
        ssize_t n = pread(from, piece, len, (off_t)at);
        if (n <= 0)
            return n < 0 ? err_errno(err, "the bytes are not kept: cannot read them") : 0;
        errno = ENOSPC; // if the write is short
        if (write(to, piece, (size_t)n) != n)
            return err_errno(err, "the bytes are not kept: cannot write to bad/");
        at += (uint64_t)n;
    }
    return 0;
}

int
bad_copy(int dir, int fd, const char *name, uint64_t from, uint64_t to, struct err *err)
{
    struct bad_files kept = bad_clean(dir, 0);
    char file[300];
    int result, out = -1, bad = open_bad(dir);

    if (bad < 0)
        return err_errno(err, "the bytes are not kept: cannot open bad/");
    snprintf(file, sizeof file, "%s.%" PRIx64, name, from);
    if (kept.ours >= BAD_FILES_MAX || kept.bytes + (to - from) > BAD_BYTES_MAX)
        result = err_set(err, ERR_AGAIN, "bad/ is full, so the bytes are not kept");
    else if ((out = openat(bad, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
        result =
            errno == EEXIST
                ? 0
                : err_errno(err, "the bytes are not kept: cannot create bad/%s", file);
    else
        result = copy_range(fd, out, from, to, err) < 0 ? -1 : 1;
    if (out >= 0)
        close(out);
    if (out >= 0 && result < 0)
        unlinkat(bad, file, 0); // a part would pass for the whole
    close(bad);
    return result;
}
