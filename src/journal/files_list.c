// What is in a journal's directory. Only what the segments' own headers say is believed; a
// name must be the one that its header makes.
#include "journal/files.h"

#include "base/clock.h"
#include "journal/bad.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int
by_first(const void *a, const void *b)
{
    const struct segment_header *x = &((const struct segment *)a)->header;
    const struct segment_header *y = &((const struct segment *)b)->header;

    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return x->life < y->life ? -1 : x->life > y->life;
}

static bool
ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);

    return n >= e && strcmp(name + n - e, end) == 0;
}

// A block, or what should tell where it is, is broken: trying again does not help.
static bool
is_damage(int error)
{
    return error == EIO || error == EUCLEAN || error == EBADMSG || error == ENODATA;
}

// read_header reads the header of an open file. 1, 0 when it is no segment of ours and *why
// says so, -1 when that cannot be told now (*err).
static int
read_header(int fd, struct segment *s, const char **why, struct err *err)
{
    struct err reason = {0};
    struct stat st;

    *why = "is not a segment of ours";
    if (fstat(fd, &st) < 0)
        return err_errno(err, "cannot stat a segment");
    if (!S_ISREG(st.st_mode))
        return 0;
    if (segment_read_header(fd, &s->header, &reason) == 0) {
        s->bytes = s->end = (uint64_t)st.st_size;
        s->since_us = clock_boot_us(); // the file's time is the word of a wall clock
        return 1;
    }
    if (reason.kind == ERR_INPUT)
        return 0;
    *why = "cannot be read";
    return is_damage(reason.error) ? 0 : err_set(err, ERR_AGAIN, "%s", reason.text);
}

// read_one reads a segment's header, as read_header does. A file that cannot be opened (whose
// owner is another, or too many are open) is no damage and must not pass for a foreign one.
static int
read_one(int dir, const char *name, struct segment *s, const char **why, struct err *err)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    *why = "is not a segment of ours";
    if (fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENXIO))
        return 0;
    if (fd < 0)
        return err_errno(err, "cannot open segment %s", name);
    int result = read_header(fd, s, why, err);
    close(fd);
    if (result < 0)
        return err_context(err, "segment %s", name);
    if (result == 0)
        return 0;
    segment_name(s->name, &s->header);
    return strcmp(s->name, name) == 0;
}

// note_lost: the name still says where the segment began, the size how many it may have held.
static void
note_lost(int dir, const char *name, struct files_list *list)
{
    struct stat st;
    uint64_t first;
    uint32_t life;

    if (sscanf(name, "%16" SCNx64 "-%8" SCNx32 ".wal", &first, &life) != 2 ||
        first == 0 || first > UINT64_MAX / 2 ||
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return;
    uint64_t last = segment_last_possible(first, (uint64_t)st.st_size);
    if (last >= first && list->lost < last)
        list->lost = last;
}

static int
take_segment(int dir, const char *name, bool aside, struct files_list *list,
             uint64_t *foreign, struct err *err)
{
    struct segment s;
    const char *why;
    int good = read_one(dir, name, &s, &why, err);

    if (good < 0)
        return -1;
    if (good == 0 && !aside)
        (*foreign)++;
    if (good == 0 && aside) {
        note_lost(dir, name, list);
        bad_set_aside(dir, name, why, foreign);
    }
    if (good == 0)
        return 0;
    list->at = memory_grow(list->at, (list->len + 1) * sizeof *list->at);
    list->at[list->len++] = s;
    return 0;
}

static int
take_entry(int dir, const char *name, bool aside, struct files_list *list,
           uint64_t *foreign, struct err *err)
{
    struct stat st;

    if (ends_with(name, ".wal"))
        return take_segment(dir, name, aside, list, foreign, err);
    if (strcmp(name, FILES_SPARE) == 0 &&
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        list->spare_bytes = (uint64_t)st.st_size;
    return 0;
}

int
files_list_read(int dir, bool aside, struct files_list *list, uint64_t *foreign,
                struct err *err)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    int result = 0;

    *list = (struct files_list){0};
    if (!d) {
        if (fd >= 0)
            close(fd);
        return err_errno(err, "cannot list the journal's directory");
    }
    for (struct dirent *e; result == 0 && (e = readdir(d));)
        result = take_entry(dir, e->d_name, aside, list, foreign, err);
    closedir(d);
    if (result < 0)
        files_list_release(list);
    else if (list->len)
        qsort(list->at, list->len, sizeof *list->at, by_first);
    return result;
}

void
files_list_release(struct files_list *list)
{
    free(list->at);
    *list = (struct files_list){0};
}
