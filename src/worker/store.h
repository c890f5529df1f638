// A store is Redis as the worker uses it: connected when needed, and said once when it is
// away and once when it is back. One thread.
#ifndef ACRELAY_WORKER_STORE_H
#define ACRELAY_WORKER_STORE_H

#include "config/config.h"

struct store;
struct store *store_open(const struct config *c);
void store_close(struct store *s); // NULL is fine
// store_hush is for a command that can do without Redis: nothing is said, and once Redis did not
// answer it is not asked again.
void store_hush(struct store *s);
// store_use takes over another configuration.
void store_use(struct store *s, const struct config *c);

bool store_is_up(const struct store *s);

// store_command sends one command; NULL when Redis is away or refuses it (said once, until it
// takes that command again). The first word is a command, the second, when `key` is not NULL, "{namespace}:<key>".
const struct redis_reply *store_command(struct store *s, const char *command,
                                        const char *key, const struct span *more,
                                        size_t more_len);

// store_last reads when a hook had its last event. 1, 0 none known, -1 Redis is away.
int store_last(struct store *s, const char *hook, int64_t *us);

// store_time reads Redis's clock. -1: Redis is away, or does not permit TIME.
int store_time(struct store *s, int64_t *us);

// store_key writes "{namespace}:<key>".
void store_key(const struct store *s, char *to, size_t size, const char *key);

#endif
