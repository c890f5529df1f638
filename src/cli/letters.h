// Dead letters, of all partitions or of the commands, one at hand at a time: for the commands
// `dead ...`, and for the page of `inspect`, which shows and does the same.
#ifndef ACRELAY_CLI_LETTERS_H
#define ACRELAY_CLI_LETTERS_H

#include "base/clock.h"
#include "cli/cli.h"

// The caller sets what letters_open leaves 0.
struct letters {
    struct cli *cli;
    struct tags tags;
    bool commands; // they lie in {ac}
    bool masks, newest_first;
    bool quiet;         // no failure is printed
    const char *reason; // NULL: all
    uint64_t max;       // UINT64_MAX by letters_open
    struct buf *to;     // for letters_fn

    uint64_t found, dropped;
    struct err err; // the first failure

    // The partition and the letter at hand. The name is what a person gives: the entry id, where there
    // are several partitions after "ac.2/".
    struct redis *redis;
    const char *tag;
    char key[SCRIPT_KEY];
    char id[ENTRY_ID], ce_id[ENTRY_ID], name[CONFIG_TAG + ENTRY_ID];
    const struct redis_reply *fields; // gone with the next command on its connection
    struct buf body;                  // when its bytes lie beside the journal
};

// What is done with the letter at hand: 0 to go on, -1 with *err.
typedef int letters_fn(struct letters *l, struct err *err);

// letters_close gives the exit code, or -1 for a result of -1; also after an open that failed.
int letters_open(struct letters *l, struct cli *c, bool commands, struct err *err);
int letters_close(struct letters *l, int result);

// letters_walk goes over all letters; one at a time where `each` asks Redis something itself. A
// partition that is away stops no other. letters_walk_named goes over the command's arguments; one
// that fails stops no other. Both print what fails. letters_find looks for one by its name.
void letters_walk(struct letters *l, bool one_by_one, letters_fn *each);
void letters_walk_named(struct letters *l, letters_fn *each);
int letters_find(struct letters *l, const char *name, struct err *err);

// letters_add adds the members of a letter to a document; its bytes only if they are `shown`.
void letters_add(struct buf *to, const struct letters *l, struct span raw, bool shown);

// letters_expires writes until when it is kept; "" where that is for ever.
void letters_expires(const struct letters *l, char to[CLOCK_TEXT]);

// letters_read_raw gives the letter's bytes, from the letter or from beside the journal.
int letters_read_raw(struct letters *l, struct span *raw, struct err *err);

// letters_replay adds a delivery to its stream once more, marked with ce_replay, and removes the letter.
int letters_replay(struct letters *l, struct err *err);

// letters_drop removes a letter, and its bytes beside the journal.
int letters_drop(struct letters *l, struct err *err);

// letters_list adds `letters` to a document: the newest, masked, without their bytes. letters_act does
// something to one of them. Both are a whole command: they connect, and print nothing.
int letters_list(struct cli *c, uint64_t max, struct buf *to, struct err *err);
int letters_act(struct cli *c, const char *name, letters_fn *act, struct err *err);

#endif
