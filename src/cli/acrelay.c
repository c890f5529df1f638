// acrelay: the command line. It reads the options and the configuration, and hands over to
// the command's own file.
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "base/programs.h"
#include "cli/cli.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct {
    const char *name;
    int (*run)(struct cli *c);
    bool needs_config;
} commands[] = {
    {"check", cli_check, false}, // tells the file's mistakes itself
    {"doctor", cli_doctor, false},
    {"token", cli_token, true},
    {"send", cli_send, false}, // reads it only where it is needed
    {"tail", cli_tail, true},
    {"status", cli_status, true},
    {"reload", cli_reload, true},
    {"journal ls", cli_journal_ls, false},
    {"journal dump", cli_journal_dump, false},
    {"journal verify", cli_journal_verify, false},
    {"journal replay", cli_journal_replay, true},
    {"journal salvage", cli_journal_salvage, false},
    {"journal claim", cli_journal_claim, true},
    {"dead list", cli_dead_list, true},
    {"dead show", cli_dead_show, true},
    {"dead replay", cli_dead_replay, true},
    {"dead drop", cli_dead_drop, true},
    {"completion", cli_completion, false},
};

int
cli_completion(struct cli *c)
{
    struct buf text;

    buf_init(&text, 1 << 20);
    int code = EXIT_CODE_OK;
    if (completion_write(&text, c->options->arguments[0]) < 0) {
        fprintf(stderr, "acrelay: completions are there for bash, zsh and fish\n");
        code = EXIT_CODE_USAGE;
    }
    fwrite(text.at, 1, text.len, stdout);
    buf_release(&text);
    return code;
}

static bool
wants_color(const struct cli *c)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return !c->json && isatty(STDOUT_FILENO) && !(no && *no) &&
           !(term && strcmp(term, "dumb") == 0);
}

// What was not printed whole is a failure, whatever was done.
static int
end_output(int code)
{
    bool good = fflush(stdout) == 0 && !ferror(stdout);

    if (good || (code != EXIT_CODE_OK && code != EXIT_CODE_CHANGES))
        return code;
    fprintf(stderr, "acrelay: cannot write what was to be printed\n");
    return EXIT_CODE_FAILURE;
}

static int
run(struct cli *c)
{
    size_t i = 0;

    while (!options_is(c->options, commands[i].name))
        i++;
    // Warnings are for `check`; here only what stops us is told.
    if (commands[i].needs_config && !(c->config = cli_config(c->file, false)))
        return EXIT_CODE_CONFIG;
    int code = end_output(commands[i].run(c));
    config_release(c->config);
    return code;
}

int
main(int argc, char **argv)
{
    struct options options;

    // No core dump ever holds a delivery or a secret.
    process_prepare();
    // A name server that does not answer: once 2 s instead of twice 5 (resolv.conf(5)).
    setenv("RES_OPTIONS", "timeout:2 attempts:1", 0);
    int code = options_parse(&options, &program_acrelay, argc, argv);
    if (code >= 0)
        return code;
    struct cli c = {.options = &options,
                    .file = options_text(&options, "config", config_default_path()),
                    .json = options_has(&options, "json")};
    c.color = wants_color(&c);
    return run(&c);
}
