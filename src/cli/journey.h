// A journey walks over a journal's records for one of the journal commands, within --from
// and --to where the command has them.
#ifndef ACRELAY_CLI_JOURNEY_H
#define ACRELAY_CLI_JOURNEY_H

#include "cli/cli.h"
#include "journal/cursor.h"

// Options that several of these commands have.
#define OPTION_DIRECTORY                                                                 \
    OPTION_IS_FILE("directory", "DIR",                                                   \
                   "the journal's directory; default receiver.state_dir")
#define OPTIONS_RANGE                                                                    \
    OPTION_DIRECTORY, OPTION_IS_NUMBER("from", "first sequence number"),                 \
        OPTION_IS_NUMBER("to", "last sequence number")

struct journey;
typedef int journey_fn(struct journey *j, const struct record *record, struct err *err);

struct journey {
    struct cli *cli;
    int (*begin)(struct journey *j, struct err *err); // the id is known; may be NULL
    journey_fn *on_record, *on_gap;                   // may be NULL; -1 ends it
    void *context;

    char id[JOURNAL_ID_TEXT];
    uint64_t records, bytes, first, last, gaps, missing;
    int64_t first_us, last_us;
};

// journey_make walks to the end; -1 with *err. Without --from it begins at what is kept.
int journey_make(struct journey *j, struct err *err);

// journey_make_in walks over what can be read of one segment's file; `begin` is not called.
int journey_make_in(struct journey *j, const char *segment, struct err *err);

// journey_print_gap is an on_gap that prints it.
journey_fn journey_print_gap;

// journey_add_delivery adds the members that describe a record to the JSON document.
void journey_add_delivery(const struct record *record, bool raw);

#endif
