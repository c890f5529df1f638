// A command is one entry of a service's stream, decoded and judged: what the worker is to PUT (acrelay-commands(7)). Pure.
#ifndef ACRELAY_COMMAND_COMMAND_H
#define ACRELAY_COMMAND_COMMAND_H

#include "base/buf.h"
#include "command/operation.h"
#include "edge/digest.h"

#include <stdint.h>

#define COMMAND_TYPE "com.activecampaign.command."
#define COMMAND_RESULT_TYPE "com.activecampaign.result."

enum {
    COMMAND_ID_MAX = 128,
    COMMAND_BODY_MAX = 1 << 20,
    COMMAND_DETAIL_MAX = 1000,    // bytes of a result's `detail`
    COMMAND_ANSWER_MAX = 1 << 20, // of a result's `data`
    COMMAND_ATTEMPTS_MAX = 10,
};

// The fields of an entry that mean something, in this order; others are passed over.
enum command_field {
    COMMAND_SPECVERSION,
    COMMAND_SOURCE,
    COMMAND_ID,
    COMMAND_TYPE_FIELD,
    COMMAND_SUBJECT,
    COMMAND_CONTENT_TYPE,
    COMMAND_PRIORITY,
    COMMAND_NOT_AFTER,
    COMMAND_QUERY,
    COMMAND_REPLACE,
    COMMAND_VALIDATE_ONLY,
    COMMAND_DATA,
    COMMAND_FIELDS
};
extern const char *const command_fields[COMMAND_FIELDS]; // "ce_specversion", ...

enum command_priority { COMMAND_HIGH, COMMAND_NORMAL, COMMAND_LOW, COMMAND_PRIORITIES };
enum command_outcome {
    COMMAND_OK,
    COMMAND_FAILED,
    COMMAND_REFUSED,
    COMMAND_SUPERSEDED,
    COMMAND_EXPIRED,
    COMMAND_OUTCOMES
};
extern const char *const command_priorities[COMMAND_PRIORITIES + 1]; // "high", ..., NULL
extern const char *const command_outcomes[COMMAND_OUTCOMES];         // "ok", ...

struct command {
    const struct operation *operation; // NULL: there is none of that name
    struct span id, subject, query;    // borrowed from the entry
    enum command_priority priority;
    int64_t not_after_us; // 0: none
    bool replace, validate_only;
    struct buf body; // compact; command_release frees it
    // Of everything that decides what is done: the same id with another digest is another
    // command.
    unsigned char digest[DIGEST_BYTES];
};

// command_read decodes the fields of an entry (absent ones empty) and judges them; `allow` is
// the service's allow-list, NULL-ended (NULL: everything is allowed). -1 with *err (ERR_INPUT):
// it is refused, and the text is the sentence for the sender. Operation, id and subject
// are set as far as they can be read then too, cut where they are too long. Priority,
// not_after and body are those of a command that is not refused.
int command_read(struct command *c, const struct span fields[COMMAND_FIELDS],
                 char *const *allow, struct err *err);
void command_release(struct command *c);

// command_path appends the path of the request: "/api/3/dealStages/4?reorder=1".
void command_path(const struct command *c, struct buf *to);

// What an answer to a PUT means for the command.
enum command_verdict {
    COMMAND_DONE,  // ok
    COMMAND_FINAL, // ActiveCampaign's no
    // 401 or 403, or another no that is not JSON: final once /users/me answers with this token
    COMMAND_IN_DOUBT,
    COMMAND_BUSY, // 429 or 503: not its fault
    COMMAND_AGAIN // an attempt is used up
};

// command_judge judges a status (0: no answer came) and the body. A 2xx, 401 or 403 that is neither
// JSON nor empty is not ActiveCampaign's.
enum command_verdict command_judge(int status, struct span body);

// command_answer makes `data` and `detail` of a result from an answer: JSON goes to *data, other
// text to detail, cut. *data borrows from body.
void command_answer(int status, struct span body, struct span *data,
                    char detail[COMMAND_DETAIL_MAX]);

#endif
