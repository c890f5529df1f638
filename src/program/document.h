// A document is JSON that is written member by member into a buf: an object, open from its first
// member on (or an array, or an object inside an array, where document_open comes first). Commas
// come by themselves. `name` is NULL inside an array, and must be of our own words (or checked):
// it is not escaped. Whatever a terminal would obey is written as \u escapes, which is the same
// JSON.
#ifndef ACRELAY_PROGRAM_DOCUMENT_H
#define ACRELAY_PROGRAM_DOCUMENT_H

#include "base/buf.h"

// document_text adds a string exactly; one that is not UTF-8 becomes "<name>_base64" with its bytes
// in base64 (RFC 4648 section 4). document_shown adds it as it is shown to people, as text_escape
// does, with \xHH for what is not printable.
void document_text(struct buf *to, const char *name, struct span value);
void document_shown(struct buf *to, const char *name, struct span value);

// What is not known is null: a text that is NULL, a time (in microseconds) of 0, a number that is
// not `known`.
void document_word(struct buf *to, const char *name, const char *word);
void document_time(struct buf *to, const char *name, int64_t us);
void document_number(struct buf *to, const char *name, bool known, int64_t value);
void document_flag(struct buf *to, const char *name, bool value);

// document_value adds a value that is JSON already; document_json makes it, as printf does.
void document_value(struct buf *to, const char *name, struct span json);
void document_json(struct buf *to, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// document_open and document_close add an array or object inside, by '[' or '{'. document_end
// closes the document itself.
void document_open(struct buf *to, const char *name, char bracket);
void document_close(struct buf *to, char bracket);
void document_end(struct buf *to);

#endif
