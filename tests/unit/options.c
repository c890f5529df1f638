#include "base/programs.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>

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
    cr_assert(options_is(&o, "send"));
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
    cr_assert(options_is(&o, "dead show"));
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

Test(options, knows_three_letters)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "-c", "a.yaml", "tail", "-v"), -1);
    cr_assert(options_is(&o, "tail"));
    cr_assert_str_eq(options_text(&o, "config", ""), "a.yaml");
    cr_assert(options_has(&o, "verbose"));
}

Test(options, keeps_the_last_of_a_repeated_option)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelay, "tail", "--from", "0", "--from", "7-1"), -1);
    cr_assert_str_eq(options_text(&o, "from", NULL), "7-1");
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
        "acrelay: --count takes a plain number, not -1; see acrelay send --help\n");
}

Test(options, refuses_a_word_that_is_not_in_the_list, .init = cr_redirect_stderr)
{
    struct options o;

    cr_assert_eq(PARSE(&o, &program_acrelayd, "--log=jsno"), 64);
    expect_stderr("acrelayd: --log does not take jsno; did you mean json?\n");
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
    cr_assert_eq(PARSE(&o, &program_worker, "--version"), 0);
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
    struct buf help;

    buf_init(&help, 1 << 16);
    for (const struct command *c = program_acrelay.commands; c->name; c++) {
        buf_clear(&help);
        cr_assert_eq(options_write_help(&help, &program_acrelay, c, (struct span){0}), 0);
        cr_assert(strstr(buf_text(&help), c->sentence));
        for (const struct option *option = c->options; option && option->name; option++)
            cr_assert(strstr(buf_text(&help), option->sentence), "%s", option->name);
        check_width(buf_text(&help));
    }
    buf_release(&help);
}

// Runs the shell's own parser over the completions, where the shell is installed.
static int
syntax_is_good(const char *shell, const char *words)
{
    char command[256];

    snprintf(command, sizeof command, "%s", words);
    FILE *pipe = popen(command, "w");
    struct buf text;

    cr_assert(pipe);
    buf_init(&text, 1 << 20);
    cr_assert_eq(completion_write(&text, shell), 0);
    fwrite(text.at, 1, text.len, pipe);
    buf_release(&text);
    return pclose(pipe);
}

Test(completion, is_good_bash)
{
    cr_assert_eq(syntax_is_good("bash", "bash -n"), 0);
}

Test(completion, completes_commands_groups_options_and_words_in_bash)
{
    static const char probe[] =
        "\ntry() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _complete_acrelay\n"
        "        echo \"${COMPREPLY[*]}\"; }\n"
        "[ \"$(try acrelay jo)\" = journal ] || exit 1\n"
        "[ \"$(try acrelay journal ver)\" = verify ] || exit 2\n"
        "[ \"$(try acrelay send --cou)\" = --count ] || exit 3\n"
        "[ \"$(try acrelay send --log j)\" = 'journal json' ] || exit 4\n"
        "[ \"$(try acrelay completion f)\" = fish ] || exit 5\n"
        "[ \"$(try acrelay dead list --rea)\" = --reason ] || exit 6\n";
    struct buf text;
    FILE *pipe = popen("bash", "w");

    buf_init(&text, 1 << 20);
    cr_assert_eq(completion_write(&text, "bash"), 0);
    fwrite(text.at, 1, text.len, pipe);
    fwrite(probe, 1, sizeof probe - 1, pipe);
    buf_release(&text);
    cr_assert_eq(pclose(pipe), 0);
}

Test(completion, knows_three_shells)
{
    struct buf text;

    buf_init(&text, 1 << 20);
    cr_assert_eq(completion_write(&text, "zsh"), 0);
    cr_assert_eq(completion_write(&text, "fish"), 0);
    // `replay` alone would be `dead replay` too.
    cr_assert_not_null(strstr(buf_text(&text),
                              "-n '__fish_seen_subcommand_from journal; and "
                              "__fish_seen_subcommand_from replay' -l from"));
    cr_assert_not_null(
        strstr(buf_text(&text), "-n '__fish_seen_subcommand_from tail' -l from"));
    cr_assert_eq(completion_write(&text, "csh"), -1);
    buf_release(&text);
}
