// An entry is what a journal record becomes in Redis: an event in its stream, or a dead
// letter. The same record gives the same entry on every machine and at any time.
#ifndef ACRELAY_RELAY_ENTRY_H
#define ACRELAY_RELAY_ENTRY_H

#include "event/event.h"
#include "journal/cursor.h"

enum {
    ENTRY_PRINT = 16,    // bytes of a fingerprint
    ENTRY_SEQUENCE = 21, // 20 digits and a NUL
    ENTRY_CHECK = 17,    // 16 hex digits and a NUL
};

struct entry {
    uint64_t sequence;
    int64_t received_us;
    char sequence_text[ENTRY_SEQUENCE];
    enum event_reason reason; // EVENT_GOOD: an event; else a dead letter
    struct delivery delivery; // all empty for a gap or a record we cannot read
    struct event event;       // for a dead letter: id source recorded detail raw query
    unsigned char print[ENTRY_PRINT];
    char print_text[2 * ENTRY_PRINT + 1];
};

// An entry_maker keeps what making needs warm; it belongs to one thread. account and
// journal_id are borrowed for its life.
struct entry_maker;
struct entry_maker *entry_maker_open(const char *account, const char *journal_id);
void entry_maker_close(struct entry_maker *m); // NULL is fine

// entry_make says what a record is to become. Spans of *e are valid until the next
// entry_make with m, and as long as the record's payload. It cannot fail: what cannot be
// read becomes a dead letter with its raw bytes.
void entry_make(struct entry_maker *m, const struct record *record, struct entry *e);

// entry_make_gap: the records first to last are lost, and why.
void entry_make_gap(struct entry_maker *m, uint64_t first, uint64_t last,
                    int64_t received_us, const char *why, struct entry *e);

// entry_make_refused: the record as a dead letter `redis`, with Redis's words.
void entry_make_refused(struct entry_maker *m, const struct record *record,
                        struct span words, struct entry *e);

// entry_leave_raw takes the raw bytes out of a dead letter of entry_make_refused; the detail says
// where they are.
void entry_leave_raw(struct entry_maker *m, struct entry *e, const char *where);

// entry_check is the cursor's `check`: the first 16 hex digits of SHA-256 over the sequence
// (20 decimal digits), the receipt time (microseconds, 20 decimal digits) and the stored
// payload of a record.
void entry_check(struct entry_maker *m, const struct record *record,
                 char to[ENTRY_CHECK]);

// entry_sequence_text writes 20 digits; entry_sequence reads them, false for anything else.
void entry_sequence_text(char to[ENTRY_SEQUENCE], uint64_t sequence);
bool entry_sequence(uint64_t *sequence, struct span text);

#endif
