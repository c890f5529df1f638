// What the three programs take on the command line. The tables stand together, below the
// programs, so that `acrelay completion` can cover all three.
#ifndef ACRELAY_BASE_PROGRAMS_H
#define ACRELAY_BASE_PROGRAMS_H

#include "base/options.h"

extern const struct program program_acrelayd;
extern const struct program program_worker;
extern const struct program program_acrelay;

// completion_write writes the completions of all three programs for "bash", "zsh" or
// "fish". -1 for another shell.
int completion_write(struct buf *to, const char *shell);

#endif
