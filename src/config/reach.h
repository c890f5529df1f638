// Reaching what the configuration names: Redis, and admin listeners of our own programs.
#ifndef ACRELAY_CONFIG_REACH_H
#define ACRELAY_CONFIG_REACH_H

#include "config/config.h"
#include "edge/redis.h"

// config_redis connects as the configuration says; NULL with *err (EXIT_CODE_UNAVAILABLE).
struct redis *config_redis(const struct config *c, struct err *err);

// config_redis_options fills *o; *password must live as long as o is used, and is the
// caller's to release, whatever the result.
int config_redis_options(struct redis_options *o, const struct config *c,
                         struct buf *password, struct err *err);

// config_get fetches a page of an admin listener (address as in the configuration); the
// status code, or -1.
int config_get(const struct socket_address *a, const char *path, struct buf *page,
               struct err *err);

#endif
