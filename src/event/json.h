// JSON text: writing strings (NORMAL-FORM.md R9), and checking and compacting a body that is
// JSON already (R8). Ours and not a library's, because numbers, repeated keys and order must
// come through as they were sent.
#ifndef ACRELAY_EVENT_JSON_H
#define ACRELAY_EVENT_JSON_H

#include "base/buf.h"

enum { JSON_DEPTH_MAX = 32, JSON_MEMBERS_MAX = 10000 };

// json_add_string appends s (valid UTF-8) with its quotes, and a byte after it. Escaped are
// '"', '\\', bytes below 0x20, U+2028 and U+2029, nothing else; with `plain` it is known that
// there is none of these.
void json_add_string(struct buf *to, struct span s, bool plain, char after);

// json_put_plain writes a string of which is known that nothing in it is escaped, where there
// is room for it, and a byte after it; returns the place after that.
static inline char *
json_put_plain(char *to, struct span s, char after)
{
    to[0] = '"';
    if (s.len)
        memcpy(to + 1, s.at, s.len);
    to[s.len + 1] = '"';
    to[s.len + 2] = after;
    return to + s.len + 3;
}

// json_compact appends the object in `body` without insignificant white space. Returns NULL,
// or what is wrong with it (a constant sentence): not valid JSON, no object, too deep, too
// many members, not UTF-8, a \u0000.
const char *json_compact(struct buf *to, struct span body);

// json_is_object says whether json_compact takes it.
bool json_is_object(struct span s);

// json_token takes the next token off *rest, which at first is what json_compact takes: one of
// JSON_SIGNS, a string with its quotes, a number or a word.
#define JSON_SIGNS "{}[],: \t\r\n"
struct span json_token(struct span *rest);

// json_next takes the next member off *rest, which at first is a compact object: its name
// with quotes, and its value. false after the last one. Nested objects are passed over as
// a whole.
bool json_next(struct span *rest, struct span *name, struct span *value);

// json_unescape appends what a string (given with its quotes) means; half of a surrogate pair
// is U+FFFD.
void json_unescape(struct buf *to, struct span string);

// json_text decodes a string (given with its quotes), or takes a whole number as written,
// into to[size]; what is not ASCII becomes 0xff, a longer text is cut. false for any
// other value.
bool json_text(struct span value, char *to, size_t size, struct span *text);

#endif
