// What a program prints. On stdout it is lines for people, in colour on a terminal, or with
// --json one JSON document after the other for programs, each built member by member and
// printed as a line. On stderr it is what the program waits for and how far it is. One thread
// prints.
#ifndef ACRELAY_PROGRAM_OUTPUT_H
#define ACRELAY_PROGRAM_OUTPUT_H

#include "base/err.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

// Set by program_start, read by everybody.
extern struct output {
    const char *program;
    bool json;
    bool color; // stdout is a terminal that wants it ($NO_COLOR, $TERM); never with JSON
} output;

// output_color gives the escape sequence that starts a colour, or ends it (OUTPUT_PLAIN); ""
// where colour is not wanted.
enum output_color {
    OUTPUT_PLAIN,
    OUTPUT_OK,
    OUTPUT_WARNING,
    OUTPUT_BAD,
    OUTPUT_FAINT,
    OUTPUT_STRONG
};
const char *output_color(enum output_color color);

// output_print prints bytes from outside, escaped, cut at `width` columns (0: not cut).
void output_print(struct span s, size_t width);

// A document is an object, open from its first member on. Commas come by themselves; `name` is
// NULL inside an array, and must be of our own words (or checked): it is not escaped. Whatever a
// terminal would obey is written as \u escapes, which is the same JSON.
//
// output_text adds a string; one that is not UTF-8 becomes "<name>_base64" with its bytes in
// base64 (RFC 4648 section 4). output_json adds a number, true, false, null, or a value that is
// JSON already. output_open and output_close add an array or object inside, by '[' or '{'.
void output_text(const char *name, struct span value);
#define output_number(name, value) output_json(name, "%llu", (unsigned long long)(value))
void output_json(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void output_open(const char *name, char bracket);
void output_close(char bracket);

// output_line closes the document and writes its line; the next member starts a new one.
void output_line(FILE *to);

// output_take closes the document and appends it to *to instead.
struct buf;
void output_take(struct buf *to);

// output_wait says on stderr what is asked or waited for from here on, in place of what was
// before: on a terminal in a line that is rewritten and wiped, else in one line after 1.5 s.
// output_count adds how far it is; total 0: not known. output_wait_end: nothing is waited for
// any more. output_wipe wipes the line before something else is printed; the wait goes on.
void output_wait(const char *format, ...) __attribute__((format(printf, 1, 2)));
void output_count(uint64_t done, uint64_t total);
#define output_wait_end() output_wait("%s", "")
void output_wipe(void);

// output_fail prints "<program>: <text>" to stderr and gives the exit code.
int output_fail(const struct err *err);

// program_run runs the command, prints its error, writes out what was printed, and gives the exit
// code: what could not be printed whole is a failure, whatever was done.
struct options;
int program_run(const struct options *o, void *context);

#endif
