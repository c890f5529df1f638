// What every program of ours does first, before it holds a secret.
#ifndef ACRELAY_BASE_PROCESS_H
#define ACRELAY_BASE_PROCESS_H

// process_prepare: files are for us only, no core dump ever holds a delivery or a secret (a
// limit does not keep one from a pipe, core(5); a process that is not dumpable has none, and
// no debugger of its user's), and broken pipes are told by writes. Of the descriptors 0 to 2 those
// that are closed are taken, so that no file or socket gets what is meant for them; reading and
// writing there still fails.
void process_prepare(void);

#endif
