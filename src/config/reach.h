// Reaching what the configuration names: Redis, and admin listeners of our own programs.
#ifndef ACRELAY_CONFIG_REACH_H
#define ACRELAY_CONFIG_REACH_H

#include "config/config.h"
#include "edge/post.h"
#include "edge/redis.h"

// config_redis connects as the configuration says; NULL with *err (EXIT_CODE_UNAVAILABLE).
struct redis *config_redis(const struct config *c, struct err *err);

// config_redis_options fills *o; *password must live as long as o is used, and is the
// caller's to wipe (secret_wipe), whatever the result.
int config_redis_options(struct redis_options *o, const struct config *c,
                         struct buf *password, struct err *err);

// config_target is where a listener of ours is reached from here. Borrows a's path.
struct post_target config_target(const struct socket_address *a);

// config_get fetches a page of an admin listener (address as in the configuration), 5 s for each
// step; the status code, or -1. config_ask posts there instead.
int config_get(const struct socket_address *a, const char *path, struct buf *page,
               struct err *err);
int config_ask(const struct socket_address *a, const char *path, struct buf *page,
               struct err *err);

// config_runs says whether a program of ours answers on an admin address.
bool config_runs(const struct socket_address *admin);

// config_takes asks the receiver that runs here whether it takes posts to a path, which holds a
// token: 405 is its answer to another method on a good path, 404 to any other.
// 1, 0, or -1 when none runs here or it does not say.
int config_takes(const struct config *c, const char *path);

#endif
