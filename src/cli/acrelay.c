// acrelay: the command line. It reads the options and the configuration, and hands over to
// the command's own file.
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

// Each shell asks the program itself what may stand there. In the order of shell_words.
static const char *const shell_words[] = {"bash", "zsh", "fish", NULL};
static const char *const shell_scripts[] = {
    "_acrelay() {\n"
    "    local IFS=$'\\n' cur=\"${COMP_WORDS[COMP_CWORD]}\"\n"
    "    COMPREPLY=($(compgen -W \"$(\"${COMP_WORDS[0]}\" --complete \\\n"
    "        \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null | cut -f 1)\" -- \"$cur\"))\n"
    "}\n"
    "complete -o default -F _acrelay acrelayd acrelay-worker acrelay\n",
    "#compdef acrelayd acrelay-worker acrelay\n"
    "local -a found\n"
    "found=(\"${(@f)$(\"${words[1]}\" --complete \"${(@)words[2,CURRENT]}\" "
    "2>/dev/null)}\")\n"
    "if [[ -n \"$found\" ]]; then compadd -- \"${(@)found%%$'\\t'*}\"; else _files; fi\n",
    "for program in acrelayd acrelay-worker acrelay\n"
    "    complete -c $program -a \"($program --complete (commandline -opc)[2..] "
    "(commandline -ct))\"\n"
    "end\n"};

static int
run_completion(void *cli, struct err *err)
{
    const char *shell = ((struct cli *)cli)->options->arguments[0];

    for (size_t i = 0; shell_words[i]; i++)
        if (strcmp(shell, shell_words[i]) == 0) {
            fputs(shell_scripts[i], stdout);
            return EXIT_CODE_OK;
        }
    return err_exit(err, EXIT_CODE_USAGE,
                    "completions are available for bash, zsh and fish");
}

static const struct subcommand completion_commands[] = {
    {"completion", "<shell>", "print the completion script for bash, zsh or fish", 1, 1,
     NULL, run_completion, false, shell_words},
    {0},
};

static const struct subcommand *const tables[] = {
    cli_init_commands,    cli_setup_commands,   cli_check_commands,  cli_doctor_commands,
    cli_send_commands,    cli_tail_commands,    cli_show_commands,   cli_status_commands,
    cli_reload_commands,  cli_journal_commands, cli_repair_commands, cli_dead_commands,
    cli_inspect_commands, cli_put_commands,     completion_commands, NULL};

static const struct program program = {
    .name = "acrelay",
    .sentence = "Checks, tests and operates an acrelay installation.",
    .commands = tables,
};

int
main(int argc, char **argv)
{
    struct options options;
    struct err err;

    // A name server that does not answer: once 2 s instead of twice 5 (resolv.conf(5)).
    setenv("RES_OPTIONS", "timeout:2 attempts:1", 0);
    int code = program_start(&options, &program, argc, argv);
    if (code >= 0)
        return code;
    struct cli c = {.options = &options, .file = program_config(&options)};
    if (options.command->needs_config && cli_read_config(&c, false, &err) < 0)
        return output_fail(&err);
    code = program_run(&options, &c);
    config_release(c.config);
    free(c.problems.at);
    buf_release(&c.receiver.metrics);
    buf_release(&c.worker.metrics);
    return code;
}
