// What the commands of `acrelay` share. A command is a row of the table at the end of its file:
// one function of the struct cli, which reads what it needs from the options, prints to stdout,
// and returns the exit code.
#ifndef ACRELAY_CLI_CLI_H
#define ACRELAY_CLI_CLI_H

#include "config/config.h"
#include "edge/post.h"
#include "program/options.h"
#include "program/output.h"

struct cli {
    const struct options *options;
    const char *file;      // configuration
    struct config *config; // read before the command runs; NULL where it needs none
    bool quiet;            // what takes a while is not said (it was)
};

extern const struct command cli_check_commands[], cli_doctor_commands[],
    cli_token_commands[], cli_send_commands[], cli_tail_commands[], cli_status_commands[],
    cli_reload_commands[], cli_journal_commands[], cli_rescue_commands[],
    cli_dead_commands[];

// cli_fail prints "acrelay: <text>" to stderr and gives the exit code.
int cli_fail(const struct err *err);

// cli_config reads the configuration and tells its mistakes (and warnings, when asked for)
// on stderr; NULL when there are mistakes.
struct config *cli_config(const char *file, bool warnings);

// cli_hook finds a hook of the configuration; NULL with *err, which names the nearest.
const struct config_hook *cli_hook(const struct cli *c, const char *name,
                                   struct err *err);

// cli_ask_failed says whether a reply is missing or an error; then *err says so, with the exit code
// that Redis's words mean.
bool cli_ask_failed(const struct redis_reply *reply, struct err *err);

// cli_redis connects as the configuration says, 5 s for each step, and says so when it takes a
// while; NULL with *err.
struct redis *cli_redis(const struct cli *c, struct err *err);

// cli_directory is --directory, else receiver.state_dir (reading the configuration if that
// is not done yet; NULL when it has mistakes).
const char *cli_directory(struct cli *c);

// cli_add_entry adds the members of an entry of a stream (fields: name, value, name, value ...)
// to the JSON document, its id first; `data` as the JSON that it is, and `raw`, if not empty, in
// place of that field. cli_field finds a field's value, empty when it is not there.
void cli_add_entry(struct span id, const struct redis_reply *fields, struct span raw);
struct span cli_field(const struct redis_reply *fields, const char *name);

#endif
