// A delivery is one post as it came: which hook, when, and its bytes, not yet understood.
// This is what a journal record holds. All spans are borrowed.
//
// Format of a stored delivery, version 1 (little endian, no padding):
//
//     u8  version          1
//     u8  flags            bit 0: include_raw; bits 1-2: enum delivery_duplicates;
//                          bit 3: structured (a version without it takes the record for damaged)
//     u8  hook_len         1 to 63
//     u8  stream_len       1 to 63
//     u16 type_len         at most DELIVERY_TYPE_MAX
//     u16 encoding_len     at most DELIVERY_TYPE_MAX
//     u16 query_len        at most DELIVERY_QUERY_MAX
//     u32 body_len
//     hook, stream, content type, content encoding, query, body: the bytes, in this order
//
// Stream, duplicates, include_raw and structured stand in it as they were at receipt, so that a
// record sent again after a change of the configuration is the same entry.
// To change the format: add a version, keep decoding this one, and say so in the CHANGELOG;
// readers know the newest version and the one before.
#ifndef ACRELAY_EVENT_DELIVERY_H
#define ACRELAY_EVENT_DELIVERY_H

#include "base/buf.h"
#include "base/err.h"

enum { DELIVERY_TYPE_MAX = 255, DELIVERY_QUERY_MAX = 1024, DELIVERY_NAME_MAX = 63 };

// What is done with a delivery whose fingerprint was seen before: `duplicates:` of a hook.
enum delivery_duplicates { DELIVERY_MARK, DELIVERY_DROP, DELIVERY_KEEP };

struct delivery {
    struct span hook;
    struct span stream;   // name without namespace: "events"
    struct span type;     // Content-Type as received, empty when there was none
    struct span encoding; // Content-Encoding, likewise
    struct span query;    // what stood after '?', without it
    struct span body;
    enum delivery_duplicates duplicates;
    bool include_raw;
    bool structured; // `format: structured`
};

// delivery_encode appends the stored form to *to. -1 when *to is full. Lengths beyond the
// limits above are a mistake of ours (assert): the gate has checked them.
int delivery_encode(struct buf *to, const struct delivery *d);

// delivery_decode reads a stored form; spans point into `stored`. ERR_INPUT for anything
// that delivery_encode cannot have written.
int delivery_decode(struct delivery *d, struct span stored, struct err *err);

#endif
