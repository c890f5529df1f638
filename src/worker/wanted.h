// The hooks that the configuration wants at AC: one for each hook and list.
#ifndef ACRELAY_WORKER_WANTED_H
#define ACRELAY_WORKER_WANTED_H

#include "config/config.h"
#include "hook/hook.h"

// The bases of URLs that are ours: public_url, then previous_public_urls. Borrowed.
struct wanted_bases {
    const char *at[CONFIG_LIST_MAX + 1];
    size_t len;
};
void wanted_bases(struct wanted_bases *bases, const struct config *c);

// wanted_make fills *wanted, with URLs under the newest secret and the tokens of all.
void wanted_make(struct hooks *wanted, const struct config *c, const struct secrets *s);

#endif
