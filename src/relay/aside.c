#include "relay/aside.h"

#include "base/file.h"
#include "base/text.h"
#include "relay/entry.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const char suffix[] = ".body";

// A ce_id comes from Redis, and becomes part of a path: digits and a dash only.
static bool
is_id(struct span id)
{
    uint64_t sequence;

    if (id.len != EVENT_ID_TEXT || id.at[JOURNAL_ID_TEXT - 1] != '-' ||
        !entry_sequence(&sequence, span_from(id, JOURNAL_ID_TEXT)))
        return false;
    for (size_t i = 0; i < JOURNAL_ID_TEXT - 1; i++)
        if (!strchr("0123456789abcdef", id.at[i]) || !id.at[i])
            return false;
    return true;
}

bool
aside_name(char to[ASIDE_NAME], struct span id)
{
    if (!is_id(id))
        return false;
    snprintf(to, ASIDE_NAME, "%.*s%s", (int)id.len, id.at, suffix);
    return true;
}

static bool
make_path(char to[PATH_MAX], const char *directory, struct span id)
{
    char name[ASIDE_NAME];

    return aside_name(name, id) &&
           snprintf(to, PATH_MAX, "%s/bad/%s", directory, name) < PATH_MAX;
}

// The ce_id of a file of ours, empty for any other.
static struct span
id_of(const char *name)
{
    struct span s = span_of(name);

    if (s.len != EVENT_ID_TEXT + sizeof suffix - 1 ||
        strcmp(name + EVENT_ID_TEXT, suffix) != 0)
        return SPAN("");
    s = span_to(s, EVENT_ID_TEXT);
    return is_id(s) ? s : SPAN("");
}

static DIR *
open_bad(const char *directory)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s/bad", directory) < PATH_MAX ? opendir(path)
                                                                       : NULL;
}

static void
count(const char *directory, uint64_t *files, uint64_t *bytes)
{
    DIR *d = open_bad(directory);
    struct stat st;

    *files = *bytes = 0;
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        if (id_of(e->d_name).len == 0 || fstatat(dirfd(d), e->d_name, &st, 0) < 0)
            continue;
        (*files)++;
        *bytes += (uint64_t)st.st_size;
    }
    closedir(d);
}

static int
make_bad(const char *directory, struct err *err)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/bad", directory) >= PATH_MAX)
        return err_set(err, ERR_INPUT, "%s: path too long", directory);
    if (mkdir(path, 0700) == 0)
        return file_sync_parent(path, err);
    return errno == EEXIST ? 0 : err_errno(err, "cannot make %s", path);
}

int
aside_keep(const char *directory, struct span id, struct span bytes, struct err *err)
{
    char path[PATH_MAX];
    uint64_t files, used;

    if (!make_path(path, directory, id))
        return err_set(err, ERR_INPUT, "no file can have the name of this ce_id");
    count(directory, &files, &used);
    if (access(path, F_OK) < 0 &&
        (files >= ASIDE_FILES_MAX || used + bytes.len > ASIDE_BYTES_MAX))
        return 0;
    if (make_bad(directory, err) < 0 || file_replace(path, bytes, err) < 0)
        return -1;
    return 1;
}

int
aside_read(const char *directory, struct span id, struct buf *to, struct err *err)
{
    char path[PATH_MAX];

    if (!make_path(path, directory, id) || (access(path, F_OK) < 0 && errno == ENOENT))
        return 0;
    return file_read(path, to, err) < 0 ? -1 : 1;
}

void
aside_remove(const char *directory, struct span id)
{
    char path[PATH_MAX];

    if (make_path(path, directory, id))
        unlink(path); // mostly there is none; one that stays is swept later
}

void
aside_sweep(const char *directory, const char *journal_id, uint64_t before)
{
    DIR *d = open_bad(directory);
    uint64_t sequence;

    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        struct span id = id_of(e->d_name);
        if (span_starts(id, span_of(journal_id)) &&
            entry_sequence(&sequence, span_from(id, JOURNAL_ID_TEXT)) &&
            sequence < before)
            unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
}

bool
aside_holds(const char *directory)
{
    uint64_t files, bytes;

    count(directory, &files, &bytes);
    return files > 0;
}
