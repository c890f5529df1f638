// The script appends a batch of entries to their streams and moves the cursor, in one
// atomic step that Redis saves, replicates and loses as a whole. This is where "exactly
// once and in order" is made (script.lua; tests/model/cursor.py visits every state).
#ifndef ACRELAY_RELAY_SCRIPT_H
#define ACRELAY_RELAY_SCRIPT_H

#include "edge/redis.h"
#include "relay/entry.h"

#include <stdio.h>

// What a reply of Redis means for the relay, by its first word (tests/unit/reply.c has a row
// for each, as Redis 7.0 words it). Named by what the relay does; in every case but REPLY_DONE the
// journal simply waits.
enum reply {
    REPLY_DONE,      // OK: continue after the cursor it gives
    REPLY_AT,        // nothing written: the cursor is not where we thought, but there
    REPLY_FENCED,    // nothing written: the cursor is another's
    REPLY_NOSCRIPT,  // nothing executed: send the text of the script
    REPLY_WAIT,      // nothing executed: wait and try again
    REPLY_ELSEWHERE, // perhaps not the master any more: wait and connect again
    REPLY_MOVED,     // nothing executed: connect to the address it names
    REPLY_STOP,      // an operator must act: alarm, and try again slowly
    REPLY_DISK,      // none: our disk fails. As REPLY_STOP, but the connection stays
    REPLY_REFUSED,   // this record was refused, those before it are in
    REPLY_UNKNOWN,   // executed or not: connect again and read the cursor
};

// reply_of reads an error reply, or the word in a script's answer; inside says which: an
// ERR from within the script is about one record, one from outside can be anything. word (or NULL)
// gets the first word, for counting by class: at most 31 bytes, and "other" for anything that is
// not upper-case letters.
enum { REPLY_WORD = 32 };
enum reply reply_of(struct span text, bool inside, char word[REPLY_WORD]);

enum {
    SCRIPT_RECORDS_MAX = 256,
    SCRIPT_BYTES_MAX =
        1 << 20, // of stored payload in a batch; a larger record goes alone
    SCRIPT_NAMESPACE_MAX = 32 + 3,                  // that of a partition is {ac.63}
    SCRIPT_KEY = 2 + SCRIPT_NAMESPACE_MAX + 1 + 80, // "{tag}:" and the rest, with its NUL
    SCRIPT_OWNER = 33,                              // 32 hex digits and a NUL
    SCRIPT_KEYS_FIXED = 6, // cursor, dead letters, fingerprints (3), last events
};

// script_key writes "{namespace}:name", and gives it.
static inline struct span
script_key(char to[SCRIPT_KEY], const char *namespace, struct span name)
{
    snprintf(to, SCRIPT_KEY, "{%s}:%.*s", namespace, (int)name.len, name.at);
    return span_of(to);
}

// A script holds one batch under construction. It belongs to one thread; who has it may read the
// fields up to records_len, set duplicates_max at any time, and forgets after script_begin.
struct script {
    char keys[SCRIPT_KEYS_FIXED + SCRIPT_RECORDS_MAX][SCRIPT_KEY]; // cursor, .., streams
    size_t keys_len;
    uint64_t duplicates_max; // fingerprints that are kept at most
    size_t records_len;

    char namespace[SCRIPT_NAMESPACE_MAX + 1];
    char owner[SCRIPT_OWNER];
    struct buf text;
    char sha[41];
    char id[JOURNAL_ID_TEXT + 1]; // with its dash
    int64_t window_us;
    char prev[ENTRY_SEQUENCE], end[ENTRY_SEQUENCE]; // end "": the last record's
    uint64_t last;                                  // record that was added
    int64_t oldest_us, newest_us; // receipts of those that can be duplicates
    // No fingerprint that was added before counts any more: its receipt is of another clock.
    bool forgets;
    char hooks[SCRIPT_RECORDS_MAX][DELIVERY_NAME_MAX + 1]; // of the batch, each once
    size_t hooks_len;
    struct redis_args fingerprints, receipts, kind, records, call; // in wire form
    struct {
        size_t at, len; // its description in `records`
    } kinds[SCRIPT_RECORDS_MAX];
    size_t kinds_len, kind_last;
};

void script_init(struct script *s, const char *namespace, const char *journal_id,
                 const char *owner, int64_t window_us, uint64_t duplicates_max);
void script_release(struct script *s);

// script_begin starts a batch whose first record follows `prev`.
void script_begin(struct script *s, uint64_t prev);

// script_add appends an entry; its bytes are copied. At most SCRIPT_RECORDS_MAX per batch.
// in_doubt: its receipt says nothing about duplicates; it is none, and is not remembered.
void script_add(struct script *s, const struct entry *e, bool in_doubt);

// script_pass says, once all is added, that the records up to `sequence` are done with this batch:
// the cursor moves there, past what another partition owns, even if no record was added.
void script_pass(struct script *s, uint64_t sequence);

struct script_answer {
    enum reply reply;
    char word[REPLY_WORD];    // the first word, as reply_of gives it
    char message[256];        // the word or the error as Redis gave it
    bool has_cursor;          // cursor below is set
    uint64_t cursor;          // where the cursor stands now
    uint64_t marked, dropped; // duplicates
    char notice[256];         // "", "KEPT" or "FULL" (fingerprints), or an error of Redis
    char wrong_key[SCRIPT_KEY]; // after WRONGTYPE: the key, where Redis says so
};

// script_call sends the batch and reads the answer, with the script's text where Redis does not
// have it; check belongs to the batch's last record, "" when it has none. -1: the connection is
// dead, and whether the batch is in is not known.
int script_call(struct script *s, struct redis *r, const char *check,
                struct script_answer *a, struct err *err);

#endif
