// An event is what a delivery means: the values of a CloudEvents 1.0 event in binary mode
// (acrelay-stream(7)), its `data` in normal form (NORMAL-FORM.md). Pure code, no I/O:
// the same delivery gives the same event on every machine.
#ifndef ACRELAY_EVENT_EVENT_H
#define ACRELAY_EVENT_EVENT_H

#include "event/delivery.h"

#include <stdint.h>

// How the JSON of a structured event begins: script.lua marks a duplicate there. After it come the
// other attributes, and `data` as an object.
#define EVENT_STRUCTURED_START "{\"specversion\":\"1.0\",\"repeat\":\"0\""

#define EVENT_SCHEMA "urn:acrelay:event:v1"

enum {
    EVENT_PAIRS_MAX = 10000,
    EVENT_DATA_MAX = 8 << 20, // bytes of `data`
    EVENT_ID_TEXT = 32 + 1 + 20,
};

// Why a delivery is a dead letter instead of an event. REDIS and GAP are set by the relay
// and stand here so that the list is in one place.
enum event_reason {
    EVENT_OK,
    EVENT_EMPTY,     // no bytes
    EVENT_NUL,       // a NUL in a key or value
    EVENT_PAIRS,     // more than EVENT_PAIRS_MAX pairs
    EVENT_JSON,      // broken JSON, or an array or scalar at the top
    EVENT_MULTIPART, // multipart/*
    EVENT_ENCODING,  // a Content-Encoding
    EVENT_SIZE,      // `data` larger than EVENT_DATA_MAX
    EVENT_REDIS,     // Redis refused the record for good
    EVENT_GAP,       // records that are lost: damaged, or no longer kept
};

// event_reason_name gives the word that stands in the dead letter: "empty", "nul", ...
const char *event_reason_name(enum event_reason reason);

// The event types known from AC: the 25 that GET /api/3/webhook/events
// shows in AC's reference, and five more from its other documents and from real deliveries. The list is incomplete by nature: a type that
// is not in it is passed on, and only warned of in the configuration.
extern const char *const event_types[]; // NULL-ended

// What the envelope needs and the body does not say.
struct event_origin {
    struct span account;     // `account.name`, for ce_source; at most 63 bytes
    struct span journal_id;  // 32 hex digits
    uint64_t sequence;       // of the record
    int64_t received_us;     // receipt
    struct span fingerprint; // 32 hex digits: SHA-256(hook NUL body), first 128 bits
};

// Every value is constant, or a span into the event_maker's buffers or into the delivery, valid
// until the next event_make with that maker.
struct event {
    struct span id;       // ce_id
    struct span source;   // ce_source
    struct span type;     // ce_type
    struct span subject;  // ce_subject, may be empty
    struct span time;     // ce_time, RFC 3339 UTC, whole seconds
    struct span recorded; // ce_recordedtime, microseconds
    struct span sequence; // ce_sequence, 20 digits
    struct span data;     // normal form, compact UTF-8 JSON
    struct span
        structured; // all but query and raw as one JSON object, where the delivery is
                    // structured; else empty
    struct span query;
    struct span raw;    // the body, or empty
    struct span detail; // for a dead letter: one sentence, else empty
};

// What a body is read as, by its types and its first byte (R8).
enum event_body {
    EVENT_BODY_FORM,
    EVENT_BODY_JSON,
    EVENT_BODY_EITHER, // JSON, and where it is none a form
    EVENT_BODY_MULTIPART,
    EVENT_BODY_ENCODED,
};
enum event_body event_body_of(const struct delivery *d);

// An event_maker keeps the memory of event_make warm: it belongs to one thread.
struct event_maker;
struct event_maker *event_maker_open(void);
void event_maker_close(struct event_maker *m); // NULL is fine

// event_make reads what delivery d means. Returns EVENT_OK with every field of *e set, or
// the reason for a dead letter with id, source, recorded, sequence, query, detail and raw
// (always the body then) set and the others empty.
enum event_reason event_make(struct event_maker *m, const struct event_origin *origin,
                             const struct delivery *d, struct event *e);

// event_zone_set names the time zone of AC's times without offset (IANA name, for example
// "America/Chicago"), "" or NULL for none. Process-wide (tzset): once, before the first thread.
// ERR_INPUT when the system does not know the zone.
int event_zone_set(const char *zone, struct err *err);

// ac_time_parse reads a time as AC writes it: "2024-02-28T07:16:48-06:00", or without an
// offset "2013-09-25 15:31:45", then in the zone (NORMAL-FORM.md R10), in microseconds
// since 1970 UTC. false when s is no time, lies outside 1970 to 9999 in UTC, or has no
// offset and no zone is set. In an hour that comes twice the earlier is meant; a time in
// a skipped hour is read with the offset in force before it.
bool ac_time_parse(int64_t *us, struct span s);

#endif
