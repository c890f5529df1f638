// The file is text, so that it can be read with the journal it belongs to:
//
//     acrelay partitions 1 <journal id> <CRC-32C of the lines that follow>
//     <first sequence> <partitions>
//     ...
//
// The first line can be made again from the rest, so that a torn file shows. A change of the format
// changes the 1. It is damaged or not: nothing of a damaged one is believed, because records that
// go to another partition than before are there twice.
#include "relay/layout.h"

#include "base/crc.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

// A directory of the configuration is shorter than PATH_MAX; a path that is not is refused by the system.
enum { FILE_MAX = 4096, PATH_ROOM = PATH_MAX + 16 };

static const char file_name[] = "partitions";

// --- the file --------------------------------------------------------------------------------

static void
format(const struct layout *l, const char *journal_id, struct buf *to)
{
    char lines[FILE_MAX];
    size_t len = 0;

    for (size_t i = 0; i < l->len; i++)
        len += (size_t)snprintf(lines + len, sizeof lines - len, "%llu %d\n",
                                (unsigned long long)l->at[i].first, l->at[i].partitions);
    buf_add_format(to, "acrelay partitions 1 %s %08x\n", journal_id,
                   crc_of(0, lines, len));
    buf_add(to, span_make(lines, len));
}

// Each range begins after the one before.
static bool
parse_range(struct layout *l, struct span line)
{
    struct span first = span_cut(&line, ' ');
    uint64_t sequence, partitions;

    if (l->len == LAYOUT_RANGES_MAX || !text_number(&sequence, first, UINT64_MAX - 1) ||
        !text_number(&partitions, line, CONFIG_PARTITIONS_MAX) || partitions == 0 ||
        sequence == 0 || (l->len > 0 && sequence <= l->at[l->len - 1].first))
        return false;
    l->at[l->len++] = (struct layout_range){sequence, (int)partitions};
    return true;
}

static bool
parse(struct layout *l, const char *journal_id, struct span text)
{
    struct span rest = text;
    struct buf again;

    l->len = 0;
    span_cut(&rest, '\n');
    while (rest.len > 0)
        if (!parse_range(l, span_cut(&rest, '\n')))
            return false;
    buf_init(&again, FILE_MAX);
    format(l, journal_id, &again);
    bool same = l->len > 0 && span_equal(buf_span(&again), text);
    buf_release(&again);
    return same;
}

int
layout_read(struct layout *l, const char *directory, const char *journal_id,
            struct err *err)
{
    char path[PATH_ROOM];
    struct buf text;

    snprintf(path, sizeof path, "%s/%s", directory, file_name);
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    buf_init(&text, FILE_MAX);
    int result = file_read(path, &text, err) < 0 ? -1 : 1;
    if (result > 0 && !parse(l, journal_id, buf_span(&text)))
        result = err_set(err, ERR_INPUT,
                         "%s is damaged, or another journal's: restore it, or run "
                         "acrelay journal partitions N --yes",
                         path);
    buf_release(&text);
    return result;
}

int
layout_open(struct layout *l, const struct config *c, const char *directory,
            const char *journal_id, struct err *err)
{
    int found = layout_read(l, directory, journal_id, err);

    if (found == 0)
        *l = (struct layout){.at[0] = {1, config_partitions(c)}, .len = 1};
    return found < 0 ? -1 : 0;
}

int
layout_write(const struct layout *l, const char *directory, const char *journal_id,
             struct err *err)
{
    char path[PATH_ROOM];
    struct buf text;

    snprintf(path, sizeof path, "%s/%s", directory, file_name);
    buf_init(&text, FILE_MAX);
    format(l, journal_id, &text);
    int result = file_replace(path, buf_span(&text), err);
    buf_release(&text);
    return result;
}

// --- ranges ----------------------------------------------------------------------------------

static bool
has_tag(int partitions, int tag)
{
    return partitions == 1 ? tag == 0 : tag > 0 && tag <= partitions;
}

static uint64_t
last_of(const struct layout *l, size_t i)
{
    return i + 1 < l->len ? l->at[i + 1].first - 1 : UINT64_MAX;
}

int
layout_switch(struct layout *l, uint64_t first, int partitions, struct err *err)
{
    // What was begun and has no record is no range.
    while (l->len > 0 && l->at[l->len - 1].first >= first)
        l->len--;
    if (l->len > 0 && l->at[l->len - 1].partitions == partitions)
        return 0;
    if (l->len == LAYOUT_RANGES_MAX)
        return err_set(err, ERR_INPUT,
                       "redis.partitions has changed %d times while records or streams "
                       "of the first are still kept: set the number that it had before",
                       LAYOUT_RANGES_MAX);
    l->at[l->len++] = (struct layout_range){first, partitions};
    return 0;
}

static bool
is_needed(const struct layout *l, const bool empty[LAYOUT_TAGS_MAX])
{
    for (int tag = 0; tag < LAYOUT_TAGS_MAX; tag++) {
        bool later = false;
        for (size_t i = 1; i < l->len; i++)
            later = later || has_tag(l->at[i].partitions, tag);
        if (has_tag(l->at[0].partitions, tag) && !later && !empty[tag])
            return true;
    }
    return false;
}

bool
layout_forget(struct layout *l, uint64_t kept, const bool empty[LAYOUT_TAGS_MAX])
{
    size_t before = l->len;
    uint64_t first = l->at[0].first;

    while (l->len > 1 && last_of(l, 0) < kept && !is_needed(l, empty))
        memmove(l->at, l->at + 1, --l->len * sizeof *l->at);
    l->at[0].first = first;
    return l->len < before;
}

int
layout_owner(const struct layout *l, uint64_t sequence, struct span subject)
{
    size_t i = l->len - 1;

    while (i > 0 && l->at[i].first > sequence)
        i--;
    int partitions = l->at[i].partitions;
    return partitions == 1 ? 0 : config_partition_of(subject, partitions) + 1;
}

bool
layout_cut(const struct layout *l, int tag, uint64_t *first, uint64_t *last)
{
    uint64_t from = 0, to = 0;

    for (size_t i = 0; i < l->len; i++) {
        uint64_t begin = l->at[i].first, end = last_of(l, i);
        if (!has_tag(l->at[i].partitions, tag) || end < *first || begin > *last)
            continue;
        from = from ? from : begin > *first ? begin : *first;
        to = end < *last ? end : *last;
    }
    if (from == 0)
        return false;
    *first = from;
    *last = to;
    return true;
}

bool
layout_find(const struct layout *l, int tag, uint64_t *first, uint64_t *last)
{
    *first = 1;
    *last = UINT64_MAX;
    return layout_cut(l, tag, first, last);
}

const char *
layout_tag(const char *namespace, int tag, char to[CONFIG_TAG])
{
    if (tag == 0)
        snprintf(to, CONFIG_TAG, "%s", namespace);
    else
        snprintf(to, CONFIG_TAG, "%s.%d", namespace, tag - 1);
    return to;
}
