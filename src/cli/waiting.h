// A line on stderr for what takes a while: rewritten on a terminal, else written once after 1.5 s.
#ifndef ACRELAY_CLI_WAITING_H
#define ACRELAY_CLI_WAITING_H

// waiting_for says what is asked or waited for from here on, in place of what was before.
void waiting_for(const char *format, ...) __attribute__((format(printf, 1, 2)));

// waiting_end wipes the line: called before anything else is printed.
void waiting_end(void);

#endif
