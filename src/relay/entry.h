// An entry is what a journal record becomes in Redis: an event in its stream, or a dead
// letter. The same record gives the same entry on every machine and at any time.
#ifndef ACRELAY_RELAY_ENTRY_H
#define ACRELAY_RELAY_ENTRY_H

#include "base/text.h"
#include "event/event.h"
#include "journal/cursor.h"

enum {
    ENTRY_FINGERPRINT = 16, // bytes
    ENTRY_SEQUENCE = 21,    // 20 digits and a NUL
    ENTRY_CHECK = 17,       // 16 hex digits and a NUL
    ENTRY_EVENT_FIELDS = 15,
    ENTRY_STRUCTURED_FIELDS = 7,
    ENTRY_DEAD_FIELDS = 9,
};

// The content type of a structured entry, by which readers know one.
#define ENTRY_STRUCTURED_TYPE "application/cloudevents+json"

struct entry {
    uint64_t sequence;
    int64_t received_us;
    char sequence_text[ENTRY_SEQUENCE];
    enum event_reason reason; // EVENT_OK: an event; else a dead letter
    struct delivery delivery; // all empty for a gap or a record we cannot read
    struct event event;       // for a dead letter: id source recorded detail raw query
    unsigned char fingerprint[ENTRY_FINGERPRINT];
    char fingerprint_text[2 * ENTRY_FINGERPRINT + 1];
};

// The fields of an entry in their order (acrelay-stream(7)), for the script and for a replay.
struct entry_field {
    const char *name;
    enum {
        ENTRY_LUA,  // the script has the value, and it is this Lua
        ENTRY_KIND, // it is sent once for all records of a kind, and is in this variable
        ENTRY_RECORD, // it is sent with each record; Lua, if any, is a function of it
        ENTRY_RARE,   // the same, where the record has a query or a raw body at all
    } how;
    const char *lua;
};

extern const struct entry_field entry_event_fields[ENTRY_EVENT_FIELDS],
    entry_structured_fields[ENTRY_STRUCTURED_FIELDS],
    entry_dead_fields[ENTRY_DEAD_FIELDS];

// entry_fields gives the fields of this entry with their values, as spans of *e.
const struct entry_field *
entry_fields(const struct entry *e, struct span values[ENTRY_EVENT_FIELDS], size_t *len);

// An entry_maker is what entries are made with; it belongs to one thread. Its owner fills in all
// but detail, and closes events.
struct entry_maker {
    struct event_maker *events;
    struct span account, journal_id;
    char detail[640]; // of the dead letter made last
};

// entry_make makes what a record, or a gap, becomes. Spans of *e are valid until the next
// entry_make with m, and as long as the record's payload. It cannot fail: what cannot be
// read becomes a dead letter with its raw bytes.
void entry_make(struct entry_maker *m, const struct record *record, struct entry *e);

// entry_check is the cursor's `check`: the first 16 hex digits of SHA-256 over the sequence
// (20 decimal digits), the receipt time (microseconds, 20 decimal digits) and the stored
// payload of a record.
void entry_check(const struct record *record, char to[ENTRY_CHECK]);

// entry_sequence reads 20 digits, false for anything else.
static inline bool
entry_sequence(uint64_t *sequence, struct span text)
{
    return text.len == ENTRY_SEQUENCE - 1 && text_number(sequence, text, UINT64_MAX);
}

#endif
