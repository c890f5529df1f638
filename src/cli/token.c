// token: the one command that shows a secret, and therefore the only one that prints a whole
// hook URL.
#include "cli/cli.h"

#include <stdio.h>

static void
print_urls(const struct cli *c, const struct secrets *secrets, struct span hook)
{
    size_t n = options_has(c->options, "all") ? secrets->len : 1;
    struct buf url;

    buf_init(&url, 4096);
    for (size_t i = 0; i < n; i++) {
        buf_clear(&url);
        secrets_url(secrets, i, c->config->public_url, hook, &url);
        if (!output.json) {
            puts(buf_text(&url));
            continue;
        }
        output_text("hook", hook);
        output_text("secret_file", span_of(c->config->secret_files.at[i]));
        output_text("url", buf_span(&url));
        output_print_line();
    }
    buf_release(&url);
}

static int
run_token(void *cli)
{
    struct cli *c = cli;
    const char *name = c->options->arguments[0];
    struct err err = {0};

    if (!cli_hook(c, name, &err))
        return cli_fail(&err);
    struct secrets *secrets = secrets_load(c->config, &err);
    if (!secrets)
        return cli_fail(&err);
    print_urls(c, secrets, span_of(name));
    secrets_release(secrets);
    return EXIT_CODE_OK;
}

// --- the command line -------------------------------------------------------------------

static const struct option token_options[] = {
    OPTION_IS_FLAG("all", "one URL for each secret, newest first"),
    OPTION_END,
};

const struct command cli_token_commands[] = {
    {"token", "<hook>", "print a hook's URL, which is a password", 1, 1, token_options,
     run_token, true, NULL},
    {0},
};
