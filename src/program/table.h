// The tables of a program (program/options.h), as the parser, the help and the shells' completion
// read them. Internal to the folder.
#ifndef ACRELAY_PROGRAM_TABLE_H
#define ACRELAY_PROGRAM_TABLE_H

#include "base/text.h"
#include "program/options.h"

#include <stdio.h>

bool table_is_option(const char *word);

// table_option_name is the word without its dashes; none for an argument. -c, -v, -h and -V stand
// for the options that people type most.
struct span table_option_name(const char *word);

// table_option finds an option: of the command, or of any command before it is known (NULL).
// `near` may be NULL.
const struct option *table_option(const struct program *p, const struct subcommand *c,
                                  struct span name, struct nearest *near);

// The words of the command in argv.
struct table_place {
    int first, second;                // argc for none
    struct span group;                // the first word, where it names one
    char name[128];                   // both; "" when the second of a group is missing
    const struct subcommand *command; // of that name, or NULL
    struct nearest near;              // the nearest name then
};

// table_place finds the command and its words from argv[from] on.
void table_place(struct table_place *at, const struct program *p, int argc,
                 const char *const *argv, int from);

// table_write_help describes a command, or without one (NULL) the program, or one group of its
// commands.
void table_write_help(FILE *to, const struct program *p, const struct subcommand *c,
                      struct span group);

// table_write_completions offers what the last word can be, a line each: word, tab, sentence.
void table_write_completions(FILE *to, const struct program *p, const char *const *words,
                             int words_len);

#endif
