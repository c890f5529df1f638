// Text is what may be shown or stored of bytes: escaped, hexadecimal, base64url, numbers.
// All pure. Writers that take `char *to, size_t size` end with a NUL and never write more
// than size bytes; each returns the length written without the NUL.
#ifndef ACRELAY_BASE_TEXT_H
#define ACRELAY_BASE_TEXT_H

#include "base/span.h"

#include <stdint.h>

// The ending of a noun that is counted: "1 hook", "2 hooks".
#define PLURAL(count) ((count) == 1 ? "" : "s")

// text_escape writes s so that it may stand in one log line: printable ASCII and valid
// UTF-8 that is printable as they are, everything else (control bytes, line breaks, broken
// UTF-8, format controls) as \xHH; a backslash stays. Cut at size with "...".
size_t text_escape(char *to, size_t size, struct span s);

// text_is_printable says whether a code point may be shown: no control (C0, C1), no line
// separator, no format control (bidirectional, zero-width, tag).
bool text_is_printable(uint32_t code);

// text_quote writes s as text_escape does, and so that it may stand between the quotes of a
// JSON string.
size_t text_quote(char *to, size_t size, struct span s);

// text_hex writes 2 lower-case digits a byte.
size_t text_hex(char *to, size_t size, const void *bytes, size_t len);

// text_unhex reads exactly len bytes from 2 * len digits; false when s is anything else.
bool text_unhex(void *bytes, size_t len, struct span s);

// text_base64 writes RFC 4648 section 4 with padding, or for `url` section 5 without.
size_t text_base64(char *to, size_t size, const void *bytes, size_t len, bool url);

// text_number reads a plain decimal (digits only, no sign, no leading blank) up to max.
bool text_number(uint64_t *number, struct span s, uint64_t max);

// text_digits writes the last `digits` decimal digits of value, with leading zeros and
// without a NUL, and returns the place after them.
char *text_digits(char *to, uint64_t value, int digits);

// text_utf8 says how many bytes the UTF-8 sequence at the start of s has (RFC 3629: no
// surrogates, no overlong forms, at most U+10FFFF), or 0 when there is none. Sets *code.
size_t text_utf8(struct span s, uint32_t *code);

// text_put_utf8 writes a code point, at most 4 bytes, without a NUL, and returns the place
// after it.
char *text_put_utf8(char *to, uint32_t code);

// text_is_utf8 says whether all of s is valid UTF-8.
bool text_is_utf8(struct span s);

// text_bytes writes a size for people: "512 B", "1.5 MiB". text_duration writes a span of
// time given in milliseconds: "250 ms", "1.5 s", "3 min", "2 h", "7 d".
size_t text_bytes(char *to, size_t size, uint64_t bytes);
size_t text_duration(char *to, size_t size, int64_t ms);

// The nearest word to one that was not found, for "did you mean".
struct nearest {
    struct span asked, word; // word: empty when none is near
    size_t distance;         // in single-byte edits
};

// nearest_start looks for words near to `asked`: about a third of it may be wrong (two
// swapped letters are two edits). nearest_try offers a word, which is borrowed.
struct nearest nearest_start(struct span asked);
void nearest_try(struct nearest *n, struct span word);

#endif
