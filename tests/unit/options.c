// What every program has: the command line, the prelude of main, what is printed.
#include "program/options.h"
#include "program/output.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static const char *const shell_words[] = {"bash", "zsh", "fish", NULL};

static const struct option send_options[] = {
    OPTION_IS_NUMBER("count", "how many"),
    OPTION_IS_NUMBER("rate", "how many a second"),
    OPTION_IS_TEXT("file", "FILE", "post this file"),
    OPTION_IS_FLAG("list", "list the types"),
    {0},
};

static const struct option from_options[] = {
    OPTION_IS_TEXT("from", "ID", "start here"),
    {"wait", "[=TIME]", "wait for it", OPTION_MAYBE, NULL},
    {0},
};

static const struct subcommand commands[] = {
    {"status", "", "show everything", 0, 0, NULL, NULL, false, NULL},
    {"send", "[<type>...]", "post samples", 0, 64, send_options, NULL, false, NULL},
    {"tail", "", "show events", 0, 0, from_options, NULL, false, NULL},
    {"token", "<hook>", "print a URL", 1, 1, NULL, NULL, false, NULL},
    {"journal ls", "", "list what is there", 0, 0, NULL, NULL, false, NULL},
    {"journal verify", "", "read everything", 0, 0, NULL, NULL, false, NULL},
    {"journal replay", "", "add once more", 0, 0, from_options, NULL, false, NULL},
    {"dead show", "<entry id>", "show one", 1, 1, NULL, NULL, false, NULL},
    {"dead replay", "<entry id>...", "send again", 1, 9, NULL, NULL, false, NULL},
    {"completion", "<shell>", "print completions", 1, 1, NULL, NULL, false, shell_words},
    {0},
};

static const struct subcommand *const tables[] = {commands, NULL};

static const struct program program_acrelay = {
    .name = "acrelay", .sentence = "Has commands.", .commands = tables};

static const struct option own_options[] = {
    OPTION_IS_FLAG("force", "do it all the same"),
    {0},
};

static const struct program program_acrelayd = {
    .name = "acrelayd", .sentence = "Has none.", .options = own_options, .more = "More."};

// Parses the words as acrelay's command line.
static int
parse(struct options *o, const struct program *p, const char *const *words)
{
    static char copies[16][64];
    static char *argv[17];
    int argc = 0;

    for (; words[argc]; argc++) {
        snprintf(copies[argc], sizeof copies[argc], "%s", words[argc]);
        argv[argc] = copies[argc];
    }
    argv[argc] = NULL;
    return options_parse(o, p, argc, argv);
}

#define PARSE(o, p, ...) parse(o, p, (const char *const[]){"program", __VA_ARGS__, NULL})

Test(options, finds_a_command_its_arguments_and_its_options_in_any_order)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "--json", "send", "--count=12", "subscribe",
                       "--rate", "5", "open"),
                 -1);
    cr_assert_str_eq(o.command->name, "send");
    cr_assert_eq(o.arguments_len, 2);
    cr_assert_str_eq(o.arguments[0], "subscribe");
    cr_assert_str_eq(o.arguments[1], "open");
    cr_assert_eq(options_number(&o, "count", 1), 12);
    cr_assert_eq(options_number(&o, "rate", 0), 5);
    cr_assert(options_has(&o, "json"));
    cr_assert_not(options_has(&o, "list"));
    cr_assert_null(options_text(&o, "file", NULL));
}

Test(options, finds_commands_of_two_words_with_options_between_them)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "--config", "a.yaml", "dead", "--json",
                       "show", "1-2"),
                 -1);
    cr_assert_str_eq(o.command->name, "dead show");
    cr_assert_eq(o.arguments_len, 1);
    cr_assert_str_eq(o.arguments[0], "1-2");
    cr_assert_str_eq(options_text(&o, "config", ""), "a.yaml");
}

Test(options, takes_what_stands_behind_two_dashes_as_arguments)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "send", "--", "--count"), -1);
    cr_assert_eq(o.arguments_len, 1);
    cr_assert_str_eq(o.arguments[0], "--count");
}

Test(options, knows_four_letters)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "-c", "a.yaml", "tail", "-v"), -1);
    cr_assert_str_eq(o.command->name, "tail");
    cr_assert_str_eq(options_text(&o, "config", ""), "a.yaml");
    cr_assert(options_has(&o, "verbose"));
    cr_assert_eq(PARSE(&o, &program_acrelay, "-V"), 0);
    cr_assert(options_has(&o, "version"));
    cr_assert_eq(PARSE(&o, &program_acrelay, "-x"), 64);
}

Test(options, keeps_the_last_of_a_repeated_option)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "tail", "--from", "0", "--from", "7-1"), -1);
    cr_assert_str_eq(options_text(&o, "from", NULL), "7-1");
}

Test(options, takes_a_value_that_may_be_missing_from_the_same_word_only)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "tail", "--wait", "--from", "0"), -1);
    cr_assert(options_has(&o, "wait"));
    cr_assert_null(options_text(&o, "wait", NULL));
    cr_assert_eq(PARSE(&o, &program_acrelay, "tail", "--wait=30s"), -1);
    cr_assert_str_eq(options_text(&o, "wait", NULL), "30s");
    cr_assert_eq(PARSE(&o, &program_acrelay, "token", "--wait"), EXIT_CODE_USAGE);
    cr_assert_eq(PARSE(&o, &program_acrelay, "tail", "--wait", "30s"), EXIT_CODE_USAGE);
}

static void
expect_stderr(const char *text)
{
    fflush(stderr);
    cr_assert_stderr_eq_str(text);
}

Test(options, names_the_nearest_command, .init = cr_redirect_stderr)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "tial"), 64);
    expect_stderr("acrelay: unknown command tial; did you mean tail?\n");
}

Test(options, names_the_nearest_group, .init = cr_redirect_stderr)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "journl"), 64);
    expect_stderr("acrelay: unknown command journl; did you mean journal?\n");
}

Test(options, names_the_nearest_of_a_group, .init = cr_redirect_stderr)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "journal", "verfy"), 64);
    expect_stderr(
        "acrelay: unknown command journal verfy; did you mean journal verify?\n");
}

Test(options, names_the_nearest_option, .init = cr_redirect_stderr)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "send", "--cuont", "3"), 64);
    expect_stderr("acrelay: unknown option --cuont; did you mean --count?\n");
}

Test(options, escapes_what_it_shows, .init = cr_redirect_stderr)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelayd, "--x\033[2J"), 64);
    expect_stderr("acrelayd: unknown option --x\\x1b[2J; see acrelayd --help\n");
}

Test(options, refuses_a_number_that_is_none, .init = cr_redirect_stderr)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "send", "--count", "-1"), 64);
    expect_stderr(
        "acrelay: --count requires a number, not -1; see acrelay send --help\n");
}

Test(options, refuses_a_word_that_is_not_in_the_list, .init = cr_redirect_stderr)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelayd, "--log=jsno"), 64);
    expect_stderr("acrelayd: --log does not accept jsno; expected auto, text, journal, "
                  "json\n");
}

Test(options, refuses_a_missing_value_and_a_value_too_many, .init = cr_redirect_stderr)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelayd, "--config"), 64);
    cr_assert_eq(PARSE(&o, &program_acrelayd, "--force=yes"), 64);
    cr_assert_eq(PARSE(&o, &program_acrelay, "token"), 64);
    cr_assert_eq(PARSE(&o, &program_acrelay, "status", "all"), 64);
    cr_assert_eq(PARSE(&o, &program_acrelay, "journal"), 64);
}

Test(options, prints_help_of_the_program_a_group_and_a_command,
     .init = cr_redirect_stdout)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "--help"), 0);
    cr_assert_eq(PARSE(&o, &program_acrelay, "journal", "--help"), 0);
    cr_assert_eq(PARSE(&o, &program_acrelay, "send", "--help"), 0);
    cr_assert_eq(PARSE(&o, &program_acrelayd, "--help"), 0);
    cr_assert_eq(PARSE(&o, &program_acrelayd, "--version"), 0);
}

// What acrelay prints for the words, valid until the next call.
static const char *
printed(const char *const *words)
{
    static char *text;
    struct options o;
    size_t size;
    FILE *real = stdout;

    free(text);
    stdout = open_memstream(&text, &size);
    int code = parse(&o, &program_acrelay, words);
    fclose(stdout);
    stdout = real;
    cr_assert_eq(code, 0);
    return text;
}

static void
check_width(const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n");
        cr_assert_leq(len, 100, "%.*s", (int)len, text);
        text += len + (text[len] != '\0');
    }
}

Test(options, help_names_everything_in_the_tables)
{
    for (const struct subcommand *c = commands; c->name; c++) {
        char name[64];
        snprintf(name, sizeof name, "%s", c->name);
        char *second = strchr(name, ' ');
        if (second)
            *second++ = '\0';
        const char *help =
            printed((const char *const[]){"program", "--help", name, second, NULL});
        cr_assert(strstr(help, c->sentence));
        for (const struct option *option = c->options; option && option->name; option++)
            cr_assert(strstr(help, option->sentence), "%s", option->name);
        check_width(help);
    }
}

Test(options, help_is_a_command_too, .init = cr_redirect_stdout)
{
    struct options o;

    for (const char *const *name = (const char *const[]){"send", "journal", NULL}; *name;
         name++) {
        char *help =
            strdup(printed((const char *const[]){"program", "help", *name, NULL}));
        cr_assert_str_eq(printed((const char *const[]){"program", *name, "--help", NULL}),
                         help);
        free(help);
    }
    cr_assert(
        strstr(printed((const char *const[]){"program", "help", NULL}), "Commands:"));
    cr_assert_eq(PARSE(&o, &program_acrelayd, "help"), 0);
    cr_assert_eq(PARSE(&o, &program_acrelay, "help", "sned"), 64);
}

#define COMPLETE(...)                                                                    \
    printed((const char *const[]){"program", "--complete", __VA_ARGS__, NULL})

Test(options, completes_commands_groups_options_and_words)
{
    cr_assert_str_eq(COMPLETE(""), "status\tshow everything\nsend\tpost samples\n"
                                   "tail\tshow events\ntoken\tprint a URL\n"
                                   "journal\tmore commands\ndead\tmore commands\n"
                                   "completion\tprint completions\n");
    cr_assert_str_eq(COMPLETE("--json", "dead", ""),
                     "show\tshow one\nreplay\tsend again\n");
    cr_assert_str_eq(COMPLETE("completion", "f"), "bash\t\nzsh\t\nfish\t\n");
    cr_assert_str_eq(COMPLETE("send", "--log", ""),
                     "auto\t\ntext\t\njournal\t\njson\t\n");
    cr_assert_str_eq(COMPLETE("tail", "--from", ""), "", "any text");
    cr_assert_str_eq(COMPLETE("token", ""), "");
    cr_assert_str_eq(COMPLETE("help", "dead", ""),
                     "show\tshow one\nreplay\tsend again\n");
    const char *options = COMPLETE("journal", "replay", "--");
    cr_assert(strstr(options, "--from\tstart here\n") == options);
    cr_assert_not_null(strstr(options, "\n--json\t"));
    // `replay` alone would be `dead replay` too, which has no --from.
    cr_assert_null(strstr(COMPLETE("dead", "replay", "--"), "--from"));
}

Test(program, finds_the_configuration)
{
    struct options o;

    unsetenv("ACRELAY_CONFIG");
    cr_assert_eq(PARSE(&o, &program_acrelayd, "--json"), -1);
    cr_expect_str_eq(program_config(&o), "/etc/acrelay/acrelay.yaml");
    setenv("ACRELAY_CONFIG", "", 1);
    cr_expect_str_eq(program_config(&o), "/etc/acrelay/acrelay.yaml");
    setenv("ACRELAY_CONFIG", "/srv/a.yaml", 1);
    cr_expect_str_eq(program_config(&o), "/srv/a.yaml");
    cr_assert_eq(PARSE(&o, &program_acrelayd, "--config", "b.yaml"), -1);
    cr_expect_str_eq(program_config(&o), "b.yaml");
    cr_assert_eq(PARSE(&o, &program_acrelayd, "--account", "beta"), -1);
    cr_expect_str_eq(program_config(&o), "/etc/acrelay/beta.yaml");
}

#ifndef __SANITIZE_ADDRESS__
// A limit of core files alone does not stop a core_pattern that is a pipe.
Test(program, leaves_no_core_dump)
{
    char name[] = "acrelayd", *argv[] = {name, NULL};
    struct options o;
    struct rlimit core;

    cr_assert_eq(program_start(&o, &program_acrelayd, 1, argv), -1);
    cr_expect_eq(prctl(PR_GET_DUMPABLE), 0);
    cr_assert_eq(getrlimit(RLIMIT_CORE, &core), 0);
    cr_expect_eq(core.rlim_max, 0);
}
#endif

static void
expect_line(const char *wanted)
{
    char *line;
    size_t size;
    FILE *to = open_memstream(&line, &size);

    output_line(to);
    fclose(to);
    cr_assert_str_eq(line, wanted);
    free(line);
}

Test(output, json_holds_nothing_that_a_terminal_obeys)
{
    output_text("a", SPAN("\xc3\xb6\xc2\x9b"
                          "2J\xe2\x80\xae\x7f\xf3\xa0\x81\x81\n\"\\"));
    output_json("b", "{\"c\":\"%s\"}", "\xc2\x9b\xff\\n");
    expect_line("{\"a\":\"\xc3\xb6\\u009b2J\\u202e\\u007f\\udb40\\udc41\\u000a\\\"\\\\\","
                "\"b\":{\"c\":\"\\u009b\\ufffd\\n\"}}\n");
}

Test(output, json_shows_what_is_no_text_as_base64)
{
    output_text("a", SPAN("\xff"));
    output_text("b", SPAN("\xff\xfe"));
    output_text("c", span_make("\xff\0a", 3));
    expect_line("{\"a_base64\":\"/w==\",\"b_base64\":\"//4=\",\"c_base64\":\"/wBh\"}\n");
}

Test(output, json_nests_and_sets_its_commas)
{
    output_open("list", '[');
    output_text(NULL, SPAN("a"));
    output_open(NULL, '{');
    output_number("n", UINT64_MAX);
    output_close('{');
    output_open(NULL, '[');
    output_close('[');
    output_close('[');
    output_json("real", "%.1f", 1.5);
    expect_line("{\"list\":[\"a\",{\"n\":18446744073709551615},[]],\"real\":1.5}\n");
    expect_line("{}\n");
    output_json("next", "null");
    expect_line("{\"next\":null}\n");
}
