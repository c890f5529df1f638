// Which command a command line names, before its options are read. Internal to the floor:
// options.c reads the rest.
#ifndef ACRELAY_BASE_COMMAND_H
#define ACRELAY_BASE_COMMAND_H

#include "base/nearest.h"
#include "base/options.h"

// command_choose sets o->command, and *first and *second to the places of its words, which
// are no arguments. Returns -1 to go on, or the exit code (help was printed, or the command
// is not known).
int command_choose(struct options *o, int argc, char **argv, int *first, int *second);

bool command_asks_for_help(int argc, char **argv);
int command_print_help(const struct options *o, struct span group);

// command_refuse says "<what> <dashes><word>" and the nearest word, if it has one; returns
// EXIT_CODE_USAGE.
int command_refuse(const struct options *o, const char *what, struct span word,
                   struct span nearest, const char *dashes);

// command_find_option finds an option in a table ended by a name of NULL (NULL is fine).
const struct option *command_find_option(const struct option *table, struct span name,
                                         struct nearest *near);

// command_long_name gives what -c, -v or -h stands for, the options people type most; else
// the empty span.
struct span command_long_name(struct span word);

// command_first_word gives "journal" of "journal ls".
static inline struct span
command_first_word(const char *name)
{
    struct span rest = span_of(name);

    return span_cut(&rest, ' ');
}

#endif
