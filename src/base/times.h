// Times of ours that no setting changes, but that tests shorten: the environment variable
// ACRELAY_TEST_TIMES holds "name=milliseconds" pairs, separated by blanks. Each module asks
// for its own when it starts; times.c lists nothing, so that a time stands where it is used.
#ifndef ACRELAY_BASE_TIMES_H
#define ACRELAY_BASE_TIMES_H

#include <stdint.h>

// times_ms gives the milliseconds of this name, or else_ms when the environment has none.
int64_t times_ms(const char *name, int64_t else_ms);

#endif
