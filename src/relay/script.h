// The script appends a batch of entries to their streams and moves the cursor, in one
// atomic step that Redis saves, replicates and loses as a whole. This is where "exactly
// once and in order" is made (DESIGN.md section 6; reliability.md 4.2 has the proof).
#ifndef ACRELAY_RELAY_SCRIPT_H
#define ACRELAY_RELAY_SCRIPT_H

#include "edge/redis.h"
#include "relay/entry.h"
#include "relay/reply.h"

enum {
    SCRIPT_RECORDS_MAX = 256,
    SCRIPT_BYTES_MAX =
        1 << 20, // of stored payload in a batch; a larger record goes alone
    SCRIPT_NAMESPACE_MAX = 32,
    SCRIPT_KEY = 2 + SCRIPT_NAMESPACE_MAX + 1 + 80, // "{ns}:" and the rest, with its NUL
    SCRIPT_OWNER = 33,                              // 32 hex digits and a NUL
};

// script_key writes "{namespace}:name"; script_cursor_key the cursor's of a journal.
void script_key(char to[SCRIPT_KEY], const char *namespace, struct span name);
void script_cursor_key(char to[SCRIPT_KEY], const char *namespace,
                       const char *journal_id);

// A script holds one batch under construction. It belongs to one thread.
struct script;
struct script *script_open(const char *namespace, const char *journal_id,
                           const char *owner, uint64_t repeats_max);
void script_close(struct script *s); // NULL is fine
void script_set_repeats_max(struct script *s, uint64_t repeats_max);

// What happens to the two sets of fingerprints before the first record of a batch: the function of receipt times that script_wipe_of gives, so that
// sending again after a rollback does the same.
enum script_wipe { SCRIPT_WIPE_NONE, SCRIPT_WIPE_CURRENT, SCRIPT_WIPE_BOTH };

// script_epoch is the number of the window a receipt time lies in; the sets swap roles with
// it. -1 is the epoch of nothing.
int64_t script_epoch(int64_t received_us, int64_t window_us);
enum script_wipe script_wipe_of(int64_t epoch_before, int64_t epoch);

// script_begin starts a batch whose first record follows `prev`; all its records lie in
// `epoch`, so that the current set is that of its parity.
void script_begin(struct script *s, uint64_t prev, int64_t epoch, enum script_wipe wipe);

// script_add appends an entry; its bytes are copied. At most SCRIPT_RECORDS_MAX per batch.
void script_add(struct script *s, const struct entry *e);
size_t script_records(const struct script *s);

// script_send sends the batch; check belongs to its last record, "" when it has none. by_text sends
// EVAL instead of EVALSHA: after NOSCRIPT. -1: the connection is dead.
int script_send(struct script *s, struct redis *r, const char *check, bool by_text,
                struct err *err);

// script_wrong_key asks Redis which key of the last batch is not of its type, after WRONGTYPE;
// NULL when none is, or Redis does not say.
const char *script_wrong_key(const struct script *s, struct redis *r);

struct script_answer {
    enum reply reply;
    struct span words;  // the word or the error as Redis gave it
    bool has_cursor;    // cursor below is set
    uint64_t cursor;    // where the cursor stands now
    uint64_t marked;    // repeats marked
    uint64_t dropped;   // repeats dropped
    struct span notice; // empty, "KEPT" or "FULL" (fingerprints), or an error of Redis
};

// script_read understands a reply; spans of *a are valid as long as the reply.
void script_read(const struct redis_reply *reply, struct script_answer *a);

// script_text is the Lua text, for tests and for those who want to read it.
extern const char script_text[];

#endif
