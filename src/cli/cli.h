// What the commands of `acrelay` share.
#ifndef ACRELAY_CLI_CLI_H
#define ACRELAY_CLI_CLI_H

#include "config/config.h"
#include "config/secret.h"
#include "edge/redis.h"

struct cli {
    const char *file;      // configuration
    struct config *config; // read before the command runs
    bool json;
    int argc; // of the command, its name first
    char **argv;
};

// A command returns the exit code. What it cannot do it tells on stderr.
int cli_token(struct cli *c);
int cli_send(struct cli *c);
int cli_tail(struct cli *c);
int cli_dead(struct cli *c);
int cli_journal(struct cli *c);

// cli_fail prints "acrelay: <text>" and gives the exit code.
int cli_fail(const struct err *err);
int cli_usage(const char *what);

// cli_redis connects as the configuration says; NULL with *err.
struct redis *cli_redis(const struct config *c, struct err *err);

// cli_fields prints an entry's fields (name, value, name, value ...) as one JSON object.
void cli_fields(const struct redis_reply *fields);
// cli_field finds a field's value, empty when it is not there.
struct span cli_field(const struct redis_reply *fields, const char *name);

#endif
