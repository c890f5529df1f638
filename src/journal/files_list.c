// What is in a journal's directory. Only what the segments' own headers say is believed; a
// name must be the one that its header makes.
#include "journal/files.h"

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

// read_one reads a segment's header. 1, 0 when it is not a segment of ours, -1 when that
// cannot be told now (*err): an I/O error must not pass for a foreign file.
static int
read_one(int dir, const char *name, struct segment *s, struct err *err)
{
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0 && (errno == ENOENT || errno == ELOOP))
        return 0;
    if (fd < 0)
        return err_errno(err, "cannot open segment %s", name);
    struct err why = {.kind = ERR_NONE};
    int result = fstat(fd, &st) < 0 ? err_errno(&why, "cannot stat segment %s", name)
                                    : segment_read_header(fd, &s->header, &why);
    close(fd);
    if (result < 0 && why.kind != ERR_INPUT && err)
        *err = why;
    if (result < 0)
        return why.kind == ERR_INPUT ? 0 : -1;
    segment_name(s->name, &s->header);
    s->bytes = s->end = (uint64_t)st.st_size;
    s->changed_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
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
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_size < SEGMENT_HEADER)
        return;
    uint64_t most = (uint64_t)(st.st_size - SEGMENT_HEADER) / SEGMENT_RECORD_LEAST;
    if (most > 0 && first < UINT64_MAX / 2 && list->lost < first + most - 1)
        list->lost = first + most - 1;
}

static int
take_segment(int dir, const char *name, bool aside, struct files_list *list,
             uint64_t *count, struct err *err)
{
    struct segment s;
    int good = read_one(dir, name, &s, err);

    if (good < 0)
        return -1;
    if (good == 0) {
        if (aside) {
            note_lost(dir, name, list);
            files_set_aside(dir, name, "is not a segment of ours", count);
        }
        return 0;
    }
    list->at = memory_grow(list->at, (list->len + 1) * sizeof *list->at);
    list->at[list->len++] = s;
    return 0;
}

static int
take_entry(int dir, const char *name, bool aside, struct files_list *list,
           uint64_t *count, struct err *err)
{
    struct stat st;

    if (ends_with(name, ".wal"))
        return take_segment(dir, name, aside, list, count, err);
    if (strcmp(name, FILES_SPARE) == 0 &&
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        list->spare_bytes = (uint64_t)st.st_size;
    return 0;
}

int
files_list_read(int dir, bool aside, struct files_list *list, uint64_t *set_aside_count,
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
        result = take_entry(dir, e->d_name, aside, list, set_aside_count, err);
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
