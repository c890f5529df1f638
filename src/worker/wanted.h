// The hooks that the configuration wants at AC: one for each hook and list.
#ifndef ACRELAY_WORKER_WANTED_H
#define ACRELAY_WORKER_WANTED_H

#include "config/config.h"
#include "hook/ac_client.h"

// wanted_account opens the account of this configuration, which must live as long; `callbacks`
// has those and `once`; without `wait` it sleeps.
struct ac_client *wanted_account(const struct config *c,
                                 const struct ac_client_options *callbacks,
                                 struct err *err);

// wanted_make fills *wanted, with URLs under the newest secret and the tokens of all.
void wanted_make(struct hooks *wanted, const struct config *c, const struct secrets *s);

#endif
