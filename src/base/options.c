// Options may stand anywhere, as `--name value` or `--name=value`; `--` ends them. They are
// not abbreviated: a script written today must mean the same when an option is added.
#include "base/options.h"

#include "base/command.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"

#include <assert.h>
#include <stdio.h>

static const char *const log_words[] = {"auto", "text", "journal", "json", NULL};

const struct option options_common[] = {
    {"config", "FILE", "configuration; else $ACRELAY_CONFIG or /etc/acrelay/acrelay.yaml",
     OPTION_FILE, NULL},
    {"json", NULL, "print JSON, for programs", OPTION_FLAG, NULL},
    {"log", "FORM", "how lines on stderr look: auto, text, journal or json", OPTION_WORD,
     log_words},
    {"verbose", NULL, "log details too", OPTION_FLAG, NULL},
    {"help", NULL, "print this and exit", OPTION_FLAG, NULL},
    {"version", NULL, "print the version and exit", OPTION_FLAG, NULL},
    {NULL, NULL, NULL, OPTION_FLAG, NULL},
};

// --- finding ---------------------------------------------------------------------------

// The command's own options come first, then the program's, then everybody's.
static const struct option *
find_option(const struct options *o, struct span name, struct nearest *near)
{
    const struct option *found = NULL;

    if (o->command)
        found = command_find_option(o->command->options, name, near);
    if (!found)
        found = command_find_option(o->program->options, name, near);
    return found ? found : command_find_option(options_common, name, near);
}

// No word is near.
static const struct span none;

// --- options --------------------------------------------------------------------------

static bool
is_word_of(const char *const *words, const char *value, struct nearest *near)
{
    for (; *words; words++) {
        if (strcmp(*words, value) == 0)
            return true;
        nearest_try(near, span_of(*words));
    }
    return false;
}

static int
check_value(const struct options *o, const struct option *option, const char *value)
{
    uint64_t number;
    char what[128];
    struct nearest near = nearest_start(span_of(value));

    if (option->kind == OPTION_NUMBER &&
        !text_number(&number, span_of(value), INT64_MAX)) {
        snprintf(what, sizeof what, "--%s takes a plain number, not", option->name);
        return command_refuse(o, what, span_of(value), none, "");
    }
    if (option->kind == OPTION_WORD && !is_word_of(option->words, value, &near)) {
        snprintf(what, sizeof what, "--%s does not take", option->name);
        return command_refuse(o, what, span_of(value), near.word, "");
    }
    return -1;
}

static int
read_option(struct options *o, int argc, char **argv, int *i)
{
    struct span letter = command_long_name(span_of(argv[*i]));
    struct span value = letter.len ? letter : span_from(span_of(argv[*i]), 2);
    bool joined = span_find(value, '=') < value.len;
    struct span name = span_cut(&value, '=');
    struct nearest near = nearest_start(name);
    const struct option *option = find_option(o, name, &near);

    if (!option)
        return command_refuse(o, "unknown option", name, near.word, "--");
    if (option->kind == OPTION_FLAG && joined)
        return command_refuse(o, "no value is taken by", name, none, "--");
    if (option->kind != OPTION_FLAG && !joined && *i + 1 >= argc)
        return command_refuse(o, "a value is missing behind", name, none, "--");
    if (o->given_len == OPTIONS_MAX)
        return command_refuse(o, "too many options at", name, none, "--");
    const char *text = option->kind == OPTION_FLAG ? NULL
                       : joined                    ? value.at
                                                   : argv[++*i];
    o->given[o->given_len].option = option;
    o->given[o->given_len++].value = text;
    return text ? check_value(o, option, text) : -1;
}

static int
read_words(struct options *o, int argc, char **argv, int first, int second)
{
    bool only_arguments = false;

    o->arguments = (const char **)(void *)(argv + 1);
    for (int i = 1; i < argc; i++) {
        struct span word = span_of(argv[i]);
        bool is_option = !only_arguments && word.len > 1 && word.at[0] == '-';
        if (!is_option && (i == first || i == second)) {
            continue;
        } else if (!is_option) {
            o->arguments[o->arguments_len++] = argv[i];
        } else if (span_is(word, "--")) {
            only_arguments = true;
        } else if (word.at[1] != '-' && !command_long_name(word).len) {
            return command_refuse(o, "unknown option", word, none, "");
        } else {
            int code = read_option(o, argc, argv, &i);
            if (code >= 0)
                return code;
        }
    }
    return -1;
}

static int
check_count(const struct options *o)
{
    const struct command *c = o->command;
    int least = c ? c->least : 0, most = c ? c->most : 0;

    if (o->arguments_len > most)
        return command_refuse(o, "one argument too many:", span_of(o->arguments[most]),
                              none, "");
    if (o->arguments_len >= least)
        return -1;
    assert(c); // without a command nothing can be missing
    fprintf(stderr, "%s: something is missing; usage: %s %s %s\n", o->program->name,
            o->program->name, c->name, c->arguments);
    return EXIT_CODE_USAGE;
}

static int
print_version(const struct options *o)
{
    printf(options_has(o, "json") ? "{\"program\":\"%s\",\"version\":\"%s\"}\n"
                                  : "%s %s\n",
           o->program->name, ACRELAY_VERSION);
    return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

static int
refuse_no_command(const struct options *o, int argc, int first, char **argv)
{
    struct buf text;
    struct span group = span_of(first < argc ? argv[first] : NULL);

    buf_init(&text, 1 << 20);
    options_write_help(&text, o->program, NULL, group);
    fputs(buf_text(&text), stderr);
    buf_release(&text);
    return EXIT_CODE_USAGE;
}

static void
start_log(const struct options *o)
{
    const char *form = options_text(o, "log", "auto");
    enum log_form forms[] = {LOG_FORM_AUTO, LOG_FORM_TEXT, LOG_FORM_JOURNAL,
                             LOG_FORM_JSON};
    size_t i = 0;

    while (strcmp(log_words[i], form) != 0)
        i++;
    log_start(forms[i], options_has(o, "verbose") ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
}

int
options_parse(struct options *o, const struct program *p, int argc, char **argv)
{
    int first = argc, second = argc, code;

    *o = (struct options){.program = p};
    if (p->commands)
        code = command_choose(o, argc, argv, &first, &second);
    else
        code = command_asks_for_help(argc, argv) ? command_print_help(o, (struct span){0})
                                                 : -1;
    if (code < 0)
        code = read_words(o, argc, argv, first, second);
    if (code >= 0)
        return code;
    if (options_has(o, "version"))
        return print_version(o);
    if (p->commands && !o->command)
        return refuse_no_command(o, argc, first, argv);
    code = check_count(o);
    if (code < 0)
        start_log(o);
    return code;
}

// --- what was given -------------------------------------------------------------------

static const char *
last_value(const struct options *o, const char *name, bool *given)
{
    const char *value = NULL;
    struct nearest unused = nearest_start(span_of(name));

    assert(find_option(o, span_of(name), &unused));
    *given = false;
    for (size_t i = 0; i < o->given_len; i++) {
        if (strcmp(o->given[i].option->name, name) == 0) {
            *given = true;
            value = o->given[i].value;
        }
    }
    return value;
}

bool
options_has(const struct options *o, const char *name)
{
    bool given;

    last_value(o, name, &given);
    return given;
}

const char *
options_text(const struct options *o, const char *name, const char *otherwise)
{
    bool given;
    const char *value = last_value(o, name, &given);

    return given ? value : otherwise;
}

uint64_t
options_number(const struct options *o, const char *name, uint64_t otherwise)
{
    uint64_t number = otherwise;
    const char *value = options_text(o, name, NULL);

    if (value)
        text_number(&number, span_of(value), INT64_MAX); // looked at by check_value
    return number;
}

bool
options_is(const struct options *o, const char *command)
{
    return o->command && strcmp(o->command->name, command) == 0;
}
