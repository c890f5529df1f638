// Where one delivery is: its bytes, from the journal where that is on this machine, else from
// its entry; what became of it in its stream; and how far each group has come. Nothing is
// guessed.
#ifndef ACRELAY_CLI_SHOW_H
#define ACRELAY_CLI_SHOW_H

#include "cli/cli.h"

enum {
    SHOW_BODY_MAX = 256 << 10,
    SHOW_PAIRS_MAX = 500,
    SHOW_GROUPS_MAX = 500,
    SHOW_NAME = 128
};

// A group of consumers. It has read what is not above its `last`; of what it has read somebody
// holds what is not acknowledged.
struct show_group {
    char name[SHOW_NAME], last[ENTRY_ID], consumer[SHOW_NAME];
    bool read;
    enum { SHOW_UNKNOWN, SHOW_HELD, SHOW_FREE } state; // UNKNOWN: it may not be asked
    int64_t deliveries, idle_ms;                       // of what is held
};

struct show {
    struct tags *tags;
    const char *directory; // of the journal
    bool reveals;          // false: masked (event/mask.h)
    char ce_id[EVENT_ID_TEXT + 1];
    uint64_t sequence;

    // Its entry.
    struct tags_place place;
    char entry[ENTRY_ID];
    const struct redis_reply *fields; // gone with the next command; NULL: there is none
    struct err err;                   // why
    struct show_group *groups;
    size_t groups_len;

    // Its bytes.
    struct cursor *cursor; // holds what `record` points at
    struct record record;
    struct delivery delivery; // from the journal, or what the entry has of it
    struct buf aside;         // its body, where that lies beside the journal
    const char *from;         // where it is from; NULL: there are no bytes
    struct err journal_err;
};

// show_add adds what was found to a document: inspect/API.md has its members. show_print prints
// the same for people (show_print.c).
void show_add(struct buf *to, const struct show *s);
void show_print(const struct show *s);

// show_document looks for a delivery and adds it to a document, over connections of its own; of *s,
// directory and reveals are set. `key` and `entry` are where it may be, NULL: not known. -1 with *err:
// EXIT_CODE_USAGE for an id that is none, else it is nowhere.
int show_document(struct show *s, const struct tags *tags, const char *ce_id,
                  const char *key, const char *entry, struct buf *to, struct err *err);

#endif
