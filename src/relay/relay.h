// The relay carries the journal's records into their streams: for each partition a thread that
// takes its records in order, sends a batch per script call and moves on only as the cursor in
// Redis says. Whatever happens to Redis, the network or this process, it continues after that
// cursor; until then the journal waits. (tests/model/cursor.py visits every state of this.)
#ifndef ACRELAY_RELAY_RELAY_H
#define ACRELAY_RELAY_RELAY_H

#include "config/config.h"
#include "journal/journal.h"
#include "relay/layout.h"
#include "relay/script.h"

struct relay;

// relay_start starts the threads, which hold c. Before it returns it waits, half a second at most,
// for their first attempts to read the cursors, so that a journal that lost its tail does not
// give its numbers away again (journal_reserve). NULL with *err when the password cannot be read
// or a thread cannot be started.
struct relay *relay_start(struct config *c, struct journal *j, struct err *err);

// relay_log_waiting logs how many deliveries a stop leaves in the journal, if any.
void relay_log_waiting(struct relay *r);

// relay_stop ends the threads within a second, or two while one connects, and releases everything;
// what is not published waits in the journal, and is logged. NULL is fine.
void relay_stop(struct relay *r);

// relay_reload takes over another configuration of the same places (what needs a restart is
// equal), and the password: the next connection or batch uses them. A relay that waits after an
// alarm tries again at once. -1 when the password cannot be read: nothing has changed.
int relay_reload(struct relay *r, struct config *c, struct err *err);

enum relay_state {
    RELAY_CONNECTING, // Redis is away or cannot take more yet
    RELAY_SHIPPING,
    RELAY_STOPPED, // an operator must act: see `message`
    RELAY_FENCED,  // the cursor is another place's: `acrelay journal claim`
};

// What it counts are metrics; this is for the receiver's readiness, and for tests.
struct relay_status {
    enum relay_state state;
    bool up;           // Redis answered when it was asked last: see relay_metrics
    char message[256]; // escaped: why it does not ship; "" while it does
    uint64_t cursor;   // last sequence known to be in its stream
    bool known;        // read from Redis since the start; until then it is 0
    uint64_t waiting;  // records after it; until then all that the journal has
    int64_t age_us; // of the oldest unpublished; until then of the first since the start
    uint64_t entries; // confirmed by Redis since the start
};

// relay_read_status copies it; any thread.
void relay_read_status(struct relay *r, struct relay_status *status);

// {namespace}:account has the name of the account that the namespace belongs to. Relay and worker
// write theirs where there is none, and nothing else where it is another's. The script's key is that
// one, its argument our account, its answer whose namespace it is; the message's are namespace, its,
// ours.
extern const char relay_account_script[];
#define RELAY_ACCOUNT_IS_OTHER "redis.namespace %s belongs to account %.*s, not to %s"

// What an operator can do about an error of Redis, of hiredis or of the relay: for the log, and for
// check and doctor.
struct relay_advice {
    const char *in;      // stands in the text; "" in the last, which fits anything
    enum exit_code code; // EXIT_CODE_OK: it is no fault
    const char *advice;
};

const struct relay_advice *relay_advice(const char *text);

// --- what an operator's command does -------------------------------------------------------

// relay_claim gives this journal's cursor under a tag to this machine and directory, whoever had it,
// and forgets its check: the operator's word that no other copy of the journal ships any more. *cursor is
// where it stands, 0 where it is new. The reply is Redis's last, or its error; NULL with *err.
const struct redis_reply *relay_claim(struct redis *r, const struct config *c,
                                      const char *tag, const char *journal_id,
                                      const char *directory, uint64_t *cursor,
                                      struct err *err);

// relay_owner gives the tag that has an entry, or would have it as record `sequence`: by its subject,
// a dead letter's by its hook.
int relay_owner(const struct layout *l, uint64_t sequence, const struct entry *e);

// relay_replay adds the entry once more, with ce_replay (its time) at the end: an
// operator's act outside the cursor. -1: refused (ERR_INPUT) or the connection is dead.
int relay_replay(struct redis *r, const char *tag, const struct entry *e,
                 struct err *err);

// The bytes of dead letters that Redis does not take (too large for it, or for a proxy before
// it): a file each in bad/ of the journal's directory, synced before the letter is written and
// kept until it is dropped, replayed or trimmed. They are deliveries, so personal data.
enum { ASIDE_FILES_MAX = 1000, ASIDE_BYTES_MAX = 256 << 20 };

// aside_keep makes the bytes of this ce_id durable. 1, 0 when there are as many as may be, -1
// with *err when they cannot be written.
int aside_keep(const char *directory, struct span id, struct span bytes, struct err *err);

// aside_read appends them to *to. 1, 0 when there are none, -1 when they cannot be read.
int aside_read(const char *directory, struct span id, struct buf *to, struct err *err);

void aside_remove(const char *directory, struct span id);

// aside_sweep removes those of this journal with a sequence before the given one (0: none): their
// letters are gone. Returns whether any are left.
bool aside_sweep(const char *directory, const char *journal_id, uint64_t before);

#endif
