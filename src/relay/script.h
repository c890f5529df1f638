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
                           const char *owner, int64_t window_us, uint64_t repeats_max);
void script_close(struct script *s); // NULL is fine
void script_set_repeats_max(struct script *s, uint64_t repeats_max);

// script_begin starts a batch whose first record follows `prev`. forgets: no fingerprint that
// was added before counts any more, because receipts before and after are of different clocks.
void script_begin(struct script *s, uint64_t prev, bool forgets);

// script_add appends an entry; its bytes are copied. At most SCRIPT_RECORDS_MAX per batch.
// in_doubt: its receipt says nothing about duplicates; it is none, and is not remembered.
void script_add(struct script *s, const struct entry *e, bool in_doubt);
size_t script_records(const struct script *s);

// script_stream is the name of the batch's i-th stream, NULL behind the last.
const char *script_stream(const struct script *s, size_t i);

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
