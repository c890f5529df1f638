// reload: asks the receiver (or the worker) to read configuration and secrets again, waits, and
// says what became of it. The answer is to this request and no other: see edge/reloads.h.
#include "base/clock.h"
#include "cli/admin_json.h"
#include "cli/cli.h"

#include <stdio.h>

enum { WAIT_MS = 60000, POLL_MS = 20 };

// 0 when it is done, and *state says with what result.
static int
wait_done(uint64_t number, const struct socket_address *admin, struct admin_state *state,
          struct err *err)
{
    int64_t end = clock_mono_ms() + times_ms("reload_wait", WAIT_MS);

    for (;;) {
        admin_json_fetch(state, admin);
        if (state->code && state->reloads_done >= number)
            return 0;
        if (!state->code)
            return err_exit(err, EXIT_CODE_UNAVAILABLE, "it went away meanwhile: %s",
                            state->reason);
        if (clock_mono_ms() >= end)
            return err_exit(err, EXIT_CODE_UNAVAILABLE,
                            "it was asked to reload, and has not done so within %lld s: "
                            "its log says what it does",
                            (long long)times_ms("reload_wait", WAIT_MS) / 1000);
        clock_sleep_ms(POLL_MS);
    }
}

static void
print_result(const char *program, const struct admin_state *state)
{
    if (!output.json) {
        printf("%s: %s\n", program, state->reload);
        return;
    }
    output_text("program", span_of(program));
    output_json("done", "%s", state->reload_ok ? "true" : "false");
    output_text("text", span_of(state->reload));
    output_print_line();
}

static int
run_reload(void *cli)
{
    struct cli *c = cli;
    bool worker = options_has(c->options, "worker");
    const char *program = worker ? "acrelay-worker" : "acrelayd";
    const struct socket_address *admin =
        worker ? &c->config->worker_admin : &c->config->receiver_admin;
    struct admin_state state = {.reload_ok = false};
    struct err err = {0};
    uint64_t number;

    output_wait("%s reloads", program);
    int result = admin_json_reload(&number, admin, &err);
    if (result == 0)
        result = wait_done(number, admin, &state, &err);
    output_wait_end();
    if (result < 0) {
        err_context(&err, "%s on %s", program, admin->text);
        err.exit = EXIT_CODE_UNAVAILABLE;
        return cli_fail(&err);
    }
    print_result(program, &state);
    if (state.reload_ok)
        return EXIT_CODE_OK;
    err_exit(&err, EXIT_CODE_CONFIG,
             "the reload was refused; %s goes on with what it had", program);
    return cli_fail(&err);
}

// --- the command line -------------------------------------------------------------------

static const struct option reload_options[] = {
    OPTION_IS_FLAG("worker", "acrelay-worker instead of acrelayd"),
    OPTION_END,
};

const struct command cli_reload_commands[] = {
    {"reload", "",
     "have acrelayd read configuration and secrets again, and say whether it did", 0, 0,
     reload_options, run_reload, true, NULL},
    {0},
};
