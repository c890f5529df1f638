// The operations are ActiveCampaign's PUT requests, as commands name them: one table. Pure.
#ifndef ACRELAY_COMMAND_OPERATION_H
#define ACRELAY_COMMAND_OPERATION_H

#include "base/err.h"
#include "base/span.h"

enum { OPERATION_SUBJECT_MAX = 256, OPERATION_ID_MAX = 64, OPERATION_QUERY_MAX = 256 };

struct operation {
    const char *id;       // "Contact_updateContact", ActiveCampaign's operationId
    const char *path;     // below /api/3/: "contacts/{id}"
    const char *envelope; // the member that a body must have, an object; NULL: any object
    const char *summary;  // for people
    const char *query;    // the parameter that it takes: "reorder"; NULL: none
    const char *header;   // the header that it takes: "validateOnly"; NULL: none
    bool is_bulk;         // it moves many: nothing else of its service runs beside it
    const char *refused;  // why it is no command; NULL: it is one
};

extern const struct operation operations[]; // ended by id NULL

// operation_find finds one by its operationId; NULL: there is none.
const struct operation *operation_find(struct span id);

// operation_match finds the one whose path fits a subject like "contacts/66": ids are 1 to
// OPERATION_ID_MAX letters, digits, '.', '_', '~' and '-', without "..", so that nothing in
// a subject needs an escape in a URL. NULL: there is none.
const struct operation *operation_match(struct span subject);

// operation_is_allowed says whether a word of an allow-list names it: by the first segment of
// its path, or by its operationId.
bool operation_is_allowed(const struct operation *o, const char *word);

// operation_check_query says whether a query like "reorder=1" is one that the operation takes:
// -1 with *err, a sentence for the sender.
int operation_check_query(const struct operation *o, struct span query, struct err *err);

#endif
