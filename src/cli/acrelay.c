// acrelay: the command line. It reads the options and the configuration, and hands over to
// the command's own file.
#include "base/file.h"
#include "base/log.h"
#include "cli/cli.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const print_words[] = {"example", "settings", "manual", NULL};
static const char *const reason_words[] = {"empty",     "nul",      "pairs", "json",
                                           "multipart", "encoding", "size",  "redis",
                                           "gap",       NULL};
static const char *const shell_words[] = {"bash", "zsh", "fish", NULL};

static const struct option doctor_options[] = {
    OPTION_IS_FLAG("offline", "ask neither ActiveCampaign nor public_url"),
    OPTION_END,
};

static const struct option check_options[] = {
    OPTION_IS_FLAG("offline",
                   "only the file and the secrets: no Redis, no ports, no directory"),
    {"print", "WHAT", "print example, settings or manual instead", OPTION_WORD,
     print_words},
    OPTION_END,
};

static const struct option reload_options[] = {
    OPTION_IS_FLAG("worker", "acrelay-worker instead of acrelayd"),
    OPTION_END,
};

static const struct option token_options[] = {
    OPTION_IS_FLAG("all", "one URL for each secret, newest first"),
    OPTION_END,
};

static const struct option send_options[] = {
    OPTION_IS_TEXT("hook", "NAME", "which hook; else the first that asks for the type"),
    OPTION_IS_TEXT("url", "URL",
                   "post there instead of the receiver's listen address (http only)"),
    OPTION_IS_FILE("file", "FILE", "post the bytes of this file (- for standard input)"),
    OPTION_IS_TEXT("content-type", "TYPE", "else application/x-www-form-urlencoded"),
    OPTION_IS_NUMBER("count",
                     "how many, in turns over the types; 1 of each unless given"),
    OPTION_IS_NUMBER("rate", "how many a second at most"),
    OPTION_IS_FLAG("list", "list the types there are samples of"),
    OPTION_END,
};

static const struct option tail_options[] = {
    OPTION_IS_TEXT("from", "ID",
                   "start behind this entry id, 0 for the oldest; else only new ones"),
    OPTION_IS_TEXT("group", "NAME",
                   "read as a consumer group (made at 0), acknowledging what is shown"),
    OPTION_IS_TEXT("stream", "NAME", "which stream; events unless given"),
    OPTION_IS_TEXT("type", "TYPE", "only events of this type, for example subscribe"),
    OPTION_IS_TEXT("hook", "NAME", "only events of this hook"),
    OPTION_IS_NUMBER("count", "end after so many"),
    OPTION_IS_FLAG("data", "show the normal form too"),
    OPTION_END,
};

#define DIRECTORY "the journal's directory; default receiver.state_dir"

static const struct option journal_options[] = {
    OPTION_IS_FILE("directory", "DIR", DIRECTORY),
    OPTION_END,
};

#define RANGE                                                                            \
    OPTION_IS_FILE("directory", "DIR", DIRECTORY),                                       \
        OPTION_IS_NUMBER("from", "first sequence number"),                               \
        OPTION_IS_NUMBER("to", "last sequence number")

static const struct option dump_options[] = {
    RANGE,
    OPTION_IS_FLAG("raw", "show the bodies (personal data)"),
    OPTION_END,
};

static const struct option replay_options[] = {
    RANGE,
    OPTION_IS_FLAG("yes", "really do it; else only say what would be done"),
    OPTION_END,
};

static const struct option salvage_options[] = {
    RANGE,
    OPTION_IS_FILE("segment", "FILE",
                   "only this segment's file, also one that was set aside in bad/"),
    OPTION_IS_FILE("to-file", "FILE", "where the deliveries go, a JSON line each"),
    OPTION_IS_FLAG("post", "post them to the receiver instead, each as a new delivery"),
    OPTION_END,
};

static const struct option claim_options[] = {
    OPTION_IS_FILE("directory", "DIR", DIRECTORY),
    OPTION_IS_FLAG("yes", "really do it; else only say what would be done"),
    OPTION_END,
};

static const struct option dead_options[] = {
    {"reason", "WORD", "only those with this reason", OPTION_WORD, reason_words},
    OPTION_IS_NUMBER("count", "at most so many"),
    OPTION_END,
};

static const struct option dead_drop_options[] = {
    {"reason", "WORD", "all with this reason", OPTION_WORD, reason_words},
    OPTION_IS_FLAG("all", "all of them"),
    OPTION_END,
};

static const struct command cli_commands[] = {
    {"check", "", "check configuration, secrets, Redis, directory and ports", 0, 0,
     check_options, cli_check, false, NULL},
    {"doctor", "", "examine the whole installation, and say what to do", 0, 0,
     doctor_options, cli_doctor, false, NULL},
    {"token", "<hook>", "print a hook's URL, which is a password", 1, 1, token_options,
     cli_token, true, NULL},
    {"send", "[<type>...|all]", "post realistic samples to the receiver", 0, 64,
     send_options, cli_send, false, NULL},
    {"tail", "", "show events as they reach the stream", 0, 0, tail_options, cli_tail,
     true, NULL},
    {"status", "", "show everything in one screen", 0, 0, NULL, cli_status, true, NULL},
    {"reload", "",
     "have acrelayd read configuration and secrets again, and say whether it did", 0, 0,
     reload_options, cli_reload, true, NULL},
    {"journal ls", "", "list what is in the journal", 0, 0, journal_options,
     cli_journal_ls, false, NULL},
    {"journal dump", "", "show the deliveries in the journal", 0, 0, dump_options,
     cli_journal_dump, false, NULL},
    {"journal verify", "", "read everything and report damage", 0, 0, journal_options,
     cli_journal_verify, false, NULL},
    {"journal replay", "", "add deliveries to their streams once more", 0, 0,
     replay_options, cli_journal_replay, true, NULL},
    {"journal salvage", "", "save every readable delivery to a file, or post it", 0, 0,
     salvage_options, cli_journal_salvage, false, NULL},
    {"journal claim", "", "make this the only place that ships this journal", 0, 0,
     claim_options, cli_journal_claim, true, NULL},
    {"dead list", "", "list the dead letters", 0, 0, dead_options, cli_dead_list, true,
     NULL},
    {"dead show", "<entry id>", "show one dead letter with its bytes", 1, 1, NULL,
     cli_dead_show, true, NULL},
    {"dead replay", "<entry id>...", "send dead letters through again", 1, 1000, NULL,
     cli_dead_replay, true, NULL},
    {"dead drop", "[<entry id>...]", "delete dead letters", 0, 1000, dead_drop_options,
     cli_dead_drop, true, NULL},
    {"completion", "<shell>", "print completions for bash, zsh or fish", 1, 1, NULL,
     cli_completion, false, shell_words},
    {0},
};

static const struct program program = {
    .name = "acrelay",
    .sentence = "Checks, tries and looks after an acrelay installation.",
    .commands = cli_commands,
};

// Each shell asks the program itself what may stand there.
int
cli_completion(void *cli)
{
    static const char bash[] =
        "_acrelay() {\n"
        "    local IFS=$'\\n' cur=\"${COMP_WORDS[COMP_CWORD]}\"\n"
        "    COMPREPLY=($(compgen -W \"$(\"${COMP_WORDS[0]}\" --complete \\\n"
        "        \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null | cut -f 1)\" -- "
        "\"$cur\"))\n"
        "}\n"
        "complete -o default -F _acrelay acrelayd acrelay-worker acrelay\n";
    static const char zsh[] = "#compdef acrelayd acrelay-worker acrelay\n"
                              "local -a found\n"
                              "found=(\"${(@f)$(\"${words[1]}\" --complete "
                              "\"${(@)words[2,CURRENT]}\" 2>/dev/null)}\")\n"
                              "if [[ -n \"$found\" ]]; then compadd -- "
                              "\"${(@)found%%$'\\t'*}\"; else _files; fi\n";
    static const char fish[] =
        "for program in acrelayd acrelay-worker acrelay\n"
        "    complete -c $program -a \"($program --complete (commandline -opc)[2..] "
        "(commandline -ct))\"\n"
        "end\n";
    struct cli *c = cli;
    const char *shell = c->options->arguments[0];
    const char *text = strcmp(shell, "bash") == 0   ? bash
                       : strcmp(shell, "zsh") == 0  ? zsh
                       : strcmp(shell, "fish") == 0 ? fish
                                                    : NULL;

    if (text)
        fputs(text, stdout);
    else
        fprintf(stderr, "acrelay: completions are there for bash, zsh and fish\n");
    return text ? EXIT_CODE_OK : EXIT_CODE_USAGE;
}

static int
run(struct cli *c)
{
    const struct command *command = c->options->command;

    // Warnings are for `check`; here only what stops us is told.
    if (command->needs_config && !(c->config = cli_config(c->file, false)))
        return EXIT_CODE_CONFIG;
    int code = output_end(command->run(c));
    config_release(c->config);
    return code;
}

int
main(int argc, char **argv)
{
    struct options options;

    // A name server that does not answer: once 2 s instead of twice 5 (resolv.conf(5)).
    setenv("RES_OPTIONS", "timeout:2 attempts:1", 0);
    int code = program_start(&options, &program, argc, argv);
    if (code >= 0)
        return code;
    struct cli c = {.options = &options,
                    .file = options_text(&options, "config", config_default_path())};
    return run(&c);
}
