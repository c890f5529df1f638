// A line on stderr for what takes a while: rewritten on a terminal, else written once after 1.5 s.
#ifndef ACRELAY_CLI_WAITING_H
#define ACRELAY_CLI_WAITING_H

// waiting_for says what is asked or waited for from here on, in place of what was before.
void waiting_for(const char *format, ...) __attribute__((format(printf, 1, 2)));

// waiting_end wipes the line: nothing is waited for any more. waiting_wipe wipes it too, before
// something is printed, and the waiting goes on.
void waiting_end(void);
void waiting_wipe(void);

#endif
