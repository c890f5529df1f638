// Looking at Redis, for check, doctor and status.
#ifndef ACRELAY_CLI_CHECK_REDIS_H
#define ACRELAY_CLI_CHECK_REDIS_H

#include "cli/findings.h"

// redis_is_usable asks whether it answers, and as a master. False with *err, which holds Redis's
// own words. What the user may not ask (NOPERM) is not held against it.
bool redis_is_usable(struct redis *r, struct err *err);

// check_redis looks at all that the relay needs of Redis, and writes nothing there. `deeply`
// (doctor): also at its clock, disk and memory, and the dead letters.
void check_redis(struct findings *f, bool deeply);

// check_rights looks at the rights of the user on every command and key that the relay uses.
void check_rights(struct findings *f, struct redis *r);

// redis_tell tells what is wrong in Redis's own words, with what to do about them.
void redis_tell(struct findings *f, const char *what, const char *words);

#endif
