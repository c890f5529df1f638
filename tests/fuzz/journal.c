// Property: whatever happens to the files of a journal, reading them neither crashes nor gives
// a record that was not written; sequences rise; and opening it again goes on behind all that
// was read. An input is a list of damages to a journal of three segments, five bytes each:
// file, kind, place (two bytes), value.
#include "journal/cursor.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECORDS = 100, SEGMENT = 4096, FILES = 8, DAMAGES = 12 };

static char directory[64];
static struct {
    char name[64];
    char bytes[2 * SEGMENT];
    size_t len;
} files[FILES];
static size_t files_len;

static struct span
payload_of(char *text, uint64_t sequence)
{
    int len = snprintf(text, 256, "record %llu %*s", (unsigned long long)sequence,
                       (int)(sequence * 7 % 150), "x");

    return span_make(text, (size_t)len);
}

static struct journal *
open_journal(void)
{
    struct journal_options o = {.directory = directory,
                                .segment_bytes = SEGMENT,
                                .keep_us = INT64_C(3600000000),
                                .keep_bytes_max = 1 << 20,
                                .bytes_max = 1 << 20,
                                .lock_wait_ms = 5000,
                                .force = true};
    struct err err;
    struct journal *j = journal_open(&o, &err);

    if (!j) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    return j;
}

static void
append(struct journal *j, uint64_t sequence)
{
    char text[256];
    struct err err;

    if (journal_append(j, payload_of(text, sequence), 5000, NULL, NULL, &err) < 0)
        abort();
}

static bool
is_segment(const char *name)
{
    return strlen(name) > 4 && strcmp(name + strlen(name) - 4, ".wal") == 0;
}

// Empties the directory of all but the journal's id, its segments kept in `files` first time.
static void
sweep(bool keep)
{
    DIR *d = opendir(directory);

    for (struct dirent *e; d && (e = readdir(d));) {
        if (keep && is_segment(e->d_name) && files_len < FILES) {
            int fd = openat(dirfd(d), e->d_name, O_RDONLY);
            ssize_t n = read(fd, files[files_len].bytes, sizeof files[0].bytes);
            snprintf(files[files_len].name, sizeof files[0].name, "%s", e->d_name);
            files[files_len++].len = n > 0 ? (size_t)n : 0;
            close(fd);
        }
        if (strchr(e->d_name, '.') && strcmp(e->d_name, ".") != 0 &&
            strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
    char bad[80];
    snprintf(bad, sizeof bad, "%s/bad", directory);
    d = opendir(bad);
    for (struct dirent *e; d && (e = readdir(d));)
        unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
}

static void
remove_directory(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0)
        fprintf(stderr, "cannot remove %s\n", directory);
}

static void
make(void)
{
    snprintf(directory, sizeof directory, "/dev/shm/acrelay-fuzz-XXXXXX");
    if (!mkdtemp(directory))
        abort();
    atexit(remove_directory);
    struct journal *j = open_journal();
    for (uint64_t n = 1; n <= RECORDS; n++)
        append(j, n);
    journal_close(j);
    sweep(true);
    if (files_len < 3)
        abort();
}

static void
damage(char *bytes, size_t *len, const uint8_t *how)
{
    size_t at = ((size_t)how[2] << 8 | how[3]) % (2 * SEGMENT);

    switch (how[1] % 5) {
    case 0:
        bytes[at] = (char)(bytes[at] ^ how[4]);
        break;
    case 1:
        *len = at < *len ? at : *len; // cut short
        break;
    case 2:
        memset(bytes + at, how[4] % 3, (size_t)(2 * SEGMENT) - at < 512 ? 0 : 512);
        break;
    case 3: // a piece of elsewhere
        if (at + 64 <= 2 * SEGMENT)
            memmove(bytes + at, bytes + (size_t)how[4] * 16, 64);
        break;
    default:
        *len = at > *len ? at : *len; // longer
    }
}

static void
write_damaged(const uint8_t *bytes, size_t len)
{
    static char copy[2 * SEGMENT];

    for (size_t f = 0; f < files_len; f++) {
        char path[160];
        size_t size = files[f].len;
        memcpy(copy, files[f].bytes, sizeof copy);
        for (size_t i = 0; i + 5 <= len && i < (size_t)DAMAGES * 5; i += 5)
            if (bytes[i] % files_len == f)
                damage(copy, &size, bytes + i);
        snprintf(path, sizeof path, "%s/%s", directory, files[f].name);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (fd < 0 || write(fd, copy, size) != (ssize_t)size)
            abort();
        close(fd);
    }
}

// Returns the last sequence told, as a record or as missing.
static uint64_t
read_all(struct cursor *c)
{
    uint64_t last = 0;
    struct record r;
    struct err err;
    char text[256];

    for (;;) {
        enum cursor_result result = cursor_next(c, &r, &err);
        if (result != CURSOR_RECORD && result != CURSOR_GAP)
            return last;
        if (r.sequence <= last || (result == CURSOR_GAP && r.gap_first <= last))
            abort();
        if (result == CURSOR_RECORD &&
            (r.sequence > RECORDS ||
             !span_equal(r.payload, payload_of(text, r.sequence))))
            abort();
        last = r.sequence;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct err err;

    if (!files_len)
        make();
    write_damaged(bytes, len);
    struct cursor *c = cursor_open_reader(directory, 0, NULL, &err);
    uint64_t seen = c ? read_all(c) : 0;
    cursor_close(c);
    struct journal *j = open_journal();
    uint64_t next;
    if (journal_append(j, SPAN("behind"), 5000, NULL, &next, &err) < 0 || next <= seen)
        abort();
    journal_close(j);
    sweep(false);
    return 0;
}
