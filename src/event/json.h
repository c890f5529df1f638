// JSON text: writing strings (NORMAL-FORM.md R9), and checking and compacting a body that is
// JSON already (R8). Ours and not a library's, because numbers, repeated keys and order must
// come through as they were sent.
#ifndef ACRELAY_EVENT_JSON_H
#define ACRELAY_EVENT_JSON_H

#include "base/buf.h"

enum { JSON_DEPTH_MAX = 32, JSON_MEMBERS_MAX = 10000 };

// json_add_string appends s (valid UTF-8) with its quotes. Escaped are '"', '\\', bytes
// below 0x20, U+2028 and U+2029, nothing else.
void json_add_string(struct buf *to, struct span s);

// json_add_plain appends a string of which is known that nothing in it is escaped.
void json_add_plain(struct buf *to, struct span s);

// json_compact appends the object in `body` without insignificant white space. Returns NULL,
// or what is wrong with it (a constant sentence): not valid JSON, no object, too deep, too
// many members, not UTF-8, a \u0000.
const char *json_compact(struct buf *to, struct span body);

// json_find_string finds the first top-level member `key` of a compact object; when it is a
// string, *value is its raw text between the quotes (escapes not decoded).
bool json_find_string(struct span object, const char *key, struct span *value);

#endif
