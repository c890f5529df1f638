// What every program does with its standard output.
#ifndef ACRELAY_PROGRAM_OUTPUT_H
#define ACRELAY_PROGRAM_OUTPUT_H

#include <stdbool.h>

// output_has_color says whether stdout is a terminal that wants colour ($NO_COLOR, $TERM); never
// with JSON.
bool output_has_color(bool json);

// output_end writes out what was printed and gives the exit code: what could not be printed
// whole is a failure, whatever was done.
int output_end(const char *program, int code);

#endif
