// What a program prints. On stdout it is lines for people, in colour on a terminal, or with
// --json one JSON document after the other for programs, each built member by member and
// printed as a line. On stderr it is what the program waits for and how far it is. One thread
// prints.
#ifndef ACRELAY_PROGRAM_OUTPUT_H
#define ACRELAY_PROGRAM_OUTPUT_H

#include "base/err.h"
#include "program/document.h"

#include <stdio.h>

// Set by program_start, read by everybody; the document is the one that is printed next.
extern struct output {
    const char *program;
    bool json;
    bool color; // stdout is a terminal that wants it ($NO_COLOR, $TERM); never with JSON
    struct buf document;
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

// The members of the document that is printed next (program/document.h).
#define output_text(name, value) document_text(&output.document, name, value)
#define output_number(name, value) output_json(name, "%llu", (unsigned long long)(value))
#define output_flag(name, value) document_flag(&output.document, name, value)
#define output_json(...) document_json(&output.document, __VA_ARGS__)
#define output_open(name, bracket) document_open(&output.document, name, bracket)
#define output_close(bracket) document_close(&output.document, bracket)

// output_line closes the document and writes its line; the next member starts a new one. output_say
// does so with --json, and prints its sentence for people otherwise.
void output_line(FILE *to);
void output_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

// output_wait says on stderr what is asked or waited for from here on, in place of what was
// before: on a terminal in a line that is rewritten and wiped, else in one line after 1.5 s.
// output_count adds how far it is; total 0: not known. output_wait_end: nothing is waited for
// any more. output_wipe wipes the line before something else is printed; the wait continues.
void output_wait(const char *format, ...) __attribute__((format(printf, 1, 2)));
void output_count(uint64_t done, uint64_t total);
#define output_wait_end() output_wait("%s", "")
void output_wipe(void);

// output_fail prints "<program>: <text>" to stderr and gives the exit code.
int output_fail(const struct err *err);

// output_is_unread: stdout is a pipe that its reader has closed, as `head` does when it has enough.
bool output_is_unread(void);

// program_run runs the command, prints its error, writes out what was printed, and gives the exit
// code: what could not be printed whole is a failure, whatever was done, unless nobody reads it.
struct options;
int program_run(const struct options *o, void *context);

#endif
