// reload: asks the receiver (or the worker) to read configuration and secrets again, and says what
// became of it.
#include "cli/cli.h"

#include <stdio.h>

static int
run_reload(void *cli, struct err *err)
{
    struct cli *c = cli;
    bool worker = options_has(c->options, "worker");
    const char *program = worker ? "acrelay-worker" : "acrelayd";
    struct admin_state state;

    if (cli_read_config(c, true, err) < 0)
        return -1;
    const struct socket_address *admin =
        worker ? &c->config->worker_admin : &c->config->receiver_admin;
    output_wait("%s reloads", program);
    int result = admin_json_reload(&state, admin, err);
    output_wait_end();
    if (result < 0) {
        err_context(err, "%s on %s", program, admin->text);
        err->exit = EXIT_CODE_UNAVAILABLE;
        return -1;
    }
    output_text("program", span_of(program));
    output_flag("done", state.reload_ok);
    output_text("text", span_of(state.reload));
    output_say("%s: %s\n", program, state.reload);
    if (state.reload_ok)
        return EXIT_CODE_OK;
    return err_exit(err, EXIT_CODE_CONFIG,
                    "the reload was refused; %s keeps its configuration", program);
}

static const struct option reload_options[] = {
    OPTION_IS_FLAG("worker", "reload acrelay-worker instead of acrelayd"),
    {0},
};

const struct subcommand cli_reload_commands[] = {
    {"reload", "", "make acrelayd read its configuration and secrets again", 0, 0,
     reload_options, run_reload, false, NULL},
    {0},
};
