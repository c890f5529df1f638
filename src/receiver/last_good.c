// The file is one line and the text. The line can be made again from the rest, so that a torn
// file shows:
//
//     # acrelay last good configuration 1 <CRC-32C of the text> <its bytes> <the file's path>
//
// A change of the format changes the 1; other versions are not used.
#include "receiver/last_good.h"

#include "base/crc.h"
#include "base/file.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_MAX = (1 << 20) + PATH_MAX + 100 };

void
last_good_init(struct last_good *l, const char *directory, const char *file)
{
    const char *from = directory ? directory : getenv("STATE_DIRECTORY");
    size_t len = from ? strcspn(from, directory ? "" : ":") : 0;

    *l = (struct last_good){.file = file};
    if (len > 0 && len + 32 < sizeof l->path)
        snprintf(l->path, sizeof l->path, "%.*s/last-good.yaml", (int)len, from);
}

static void
add_line(const struct last_good *l, struct span text, struct buf *to)
{
    buf_add_format(to, "# acrelay last good configuration 1 %08x %zu %s\n",
                   crc_of(0, text.at, text.len), text.len, l->file);
}

static int
check_owner(int fd, struct stat *st, struct err *err)
{
    if (fstat(fd, st) < 0)
        return err_errno(err, "cannot stat it");
    if (!S_ISREG(st->st_mode) || st->st_uid != geteuid() || (st->st_mode & 077) ||
        st->st_nlink != 1)
        return err_set(err, ERR_INPUT,
                       "others could have written it (owner, mode or links)");
    return 0;
}

static int
read_all(int fd, struct buf *to, struct err *err)
{
    for (;;) {
        char *room = buf_room(to, 65536);
        ssize_t n = room ? read(fd, room, 65536) : 0;
        if (!room)
            return err_set(err, ERR_INPUT, "it is too large");
        if (n < 0)
            return err_errno(err, "cannot read it");
        if (n == 0)
            return 0;
        to->len += (size_t)n;
    }
}

static int
read_whole(const struct last_good *l, struct buf *whole, int64_t *kept_us,
           struct err *err)
{
    struct stat st;
    int fd = open(l->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return err_errno(err, "cannot open it");
    int result = check_owner(fd, &st, err);
    if (result == 0)
        result = read_all(fd, whole, err);
    close(fd);
    *kept_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
    return result;
}

// Reads it into *whole and cuts the text out.
static int
read_text(const struct last_good *l, struct buf *whole, struct span *text,
          int64_t *kept_us, struct err *err)
{
    struct buf line;

    if (!*l->path)
        return err_set(err, ERR_INPUT, "there is no directory for it");
    if (read_whole(l, whole, kept_us, err) < 0)
        return -1;
    size_t end = span_find(buf_span(whole), '\n') + 1;
    *text = span_from(buf_span(whole), end);
    buf_init(&line, TEXT_MAX);
    add_line(l, *text, &line);
    bool same = span_equal(buf_span(&line), span_to(buf_span(whole), end));
    buf_release(&line);
    return same ? 0
                : err_set(err, ERR_INPUT,
                          "it is torn, of another version, or of another file than %s",
                          l->file);
}

int
last_good_read(const struct last_good *l, struct buf *text, int64_t *kept_us,
               struct err *err)
{
    struct buf whole;
    struct span found = {0};

    buf_init(text, TEXT_MAX);
    buf_init(&whole, TEXT_MAX);
    int result = read_text(l, &whole, &found, kept_us, err);
    if (result == 0)
        buf_add(text, found);
    else
        err_context(err, "%s", *l->path ? l->path : "last good configuration");
    buf_release(&whole);
    return result;
}

void
last_good_keep(const struct last_good *l, struct span text)
{
    struct buf kept, whole;
    struct err err = {0};
    int64_t kept_us;

    if (!*l->path)
        return;
    bool same = last_good_read(l, &kept, &kept_us, &err) == 0 &&
                span_equal(buf_span(&kept), text);
    buf_release(&kept);
    if (same)
        return;
    buf_init(&whole, TEXT_MAX);
    add_line(l, text, &whole);
    buf_add(&whole, text);
    if (file_replace(l->path, buf_span(&whole), &err) < 0)
        log_warn("config: cannot keep the last good configuration: %s; while the file is "
                 "not valid this receiver could not start",
                 err.text);
    buf_release(&whole);
}
