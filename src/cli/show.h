// Showing: colours where they are wanted, bytes from outside escaped, entries as lines for
// people or as JSON for programs.
#ifndef ACRELAY_CLI_SHOW_H
#define ACRELAY_CLI_SHOW_H

#include "cli/cli.h"

// show_color gives the escape sequence that starts a colour, "" without a terminal;
// show_plain ends it.
enum show_color { SHOW_GOOD, SHOW_WARNING, SHOW_BAD, SHOW_FAINT, SHOW_STRONG };
const char *show_color(const struct cli *c, enum show_color color);
const char *show_plain(const struct cli *c);

// show_add_member appends `"name":"value",` to a JSON object under construction; a value
// that is not UTF-8 becomes "<name>_base64" with its bytes in base64 (RFC 4648 section 4).
void show_add_member(struct buf *to, const char *name, struct span value);

// show_end ends the object: the last comma becomes the brace, and the line is printed.
void show_end(struct buf *object);

// show_text prints bytes escaped, cut at `width` columns (0: not cut).
void show_text(struct span s, size_t width);

// show_fields prints an entry (name, value, name, value ...) as a JSON line, its id first;
// `data` is put in as the JSON it is, and `raw`, if not empty, in place of that field.
void show_fields(struct span id, const struct redis_reply *fields, struct span raw);
// show_add_fields makes and fills *object, to which the caller adds, ends it (show_end) and
// releases it.
void show_add_fields(struct buf *object, struct span id, const struct redis_reply *fields,
                     struct span raw);

// show_field finds a field's value, empty when it is not there.
struct span show_field(const struct redis_reply *fields, const char *name);

// A show_progress says on stderr how far something is: once a second on a terminal, else once
// after 1.5 s.
struct show_progress {
    const char *what;
    int64_t start_ms, said_ms;
    bool shown;
};
void show_progress(struct show_progress *p, uint64_t done, uint64_t total);
void show_progress_end(struct show_progress *p); // wipes the line

#endif
