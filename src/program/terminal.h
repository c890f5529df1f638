// Questions to a person at a terminal: asked on stderr, answered on stdin.
#ifndef ACRELAY_PROGRAM_TERMINAL_H
#define ACRELAY_PROGRAM_TERMINAL_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

// terminal_is_there: somebody can be asked.
bool terminal_is_there(void);

// terminal_read asks, and reads one line into an empty buf, all of whose room is taken at once, so
// that no copy is left behind. Without echo it is not shown; a signal that ends the program first
// sets the terminal right. EXIT_CODE_USAGE when the input ends, or the line is longer than the buf.
int terminal_read(const char *question, struct buf *to, bool echo, struct err *err);

// terminal_confirm asks what is answered with yes or no; anything else is no.
bool terminal_confirm(const char *question);

#endif
