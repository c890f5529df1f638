// Options may stand anywhere, as `--name value` or `--name=value`; `--` ends them. They are
// not abbreviated: a script written today must mean the same when an option is added. A
// command is one word, or two where its first names a group.
#include "program/options.h"

#include "base/text.h"
#include "program/table.h"

#include <assert.h>
#include <stdio.h>

static const struct span none;

// --- what is wrong with a command line --------------------------------------------------

// refuse reports "<what> <dashes><word>" with the nearest known word, if there is one.
static int
refuse(const struct options *o, const char *what, const char *dashes, struct span word,
       struct span nearest)
{
    char shown[128]; // it may hold anything

    text_escape(shown, sizeof shown, word);
    fprintf(stderr, "%s: %s %s%s", o->program->name, what, dashes, shown);
    if (nearest.len)
        fprintf(stderr, "; did you mean %s%.*s?\n", dashes, (int)nearest.len, nearest.at);
    else
        fprintf(stderr, "; see %s %s%s--help\n", o->program->name,
                o->command ? o->command->name : "", o->command ? " " : "");
    return EXIT_CODE_USAGE;
}

static int
end_output(void)
{
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

// --- options and arguments ---------------------------------------------------------------

static int
refuse_word(const struct options *o, const struct option *option, const char *value)
{
    char shown[128];

    text_escape(shown, sizeof shown, span_of(value));
    fprintf(stderr, "%s: --%s does not accept %s; expected %s", o->program->name,
            option->name, shown, option->words[0]);
    for (const char *const *w = option->words + 1; *w; w++)
        fprintf(stderr, ", %s", *w);
    fputc('\n', stderr);
    return EXIT_CODE_USAGE;
}

static int
check_value(const struct options *o, const struct option *option, const char *value)
{
    bool counts = option->kind == OPTION_COUNT;
    uint64_t number;
    char what[128];

    if (option->kind >= OPTION_NUMBER &&
        (!text_number(&number, span_of(value), INT64_MAX) || number < counts)) {
        snprintf(what, sizeof what, "--%s requires a number%s, not", option->name,
                 counts ? " of at least 1" : "");
        return refuse(o, what, "", span_of(value), none);
    }
    for (const char *const *w = option->words; w && *w; w++)
        if (strcmp(*w, value) == 0)
            return -1;
    return option->words ? refuse_word(o, option, value) : -1;
}

static int
read_option(struct options *o, int argc, char **argv, int *i)
{
    struct span value = table_option_name(argv[*i]);
    bool joined = span_find(value, '=') < value.len;
    struct span name = span_cut(&value, '=');
    struct nearest near = nearest_start(name);
    const struct option *option = table_option(o->program, o->command, name, &near);
    const char *text = joined ? value.at : NULL;

    if (!name.len && argv[*i][1] != '-')
        return refuse(o, "unknown option", "", span_of(argv[*i]), none);
    if (!option)
        return refuse(o, "unknown option", "--", name, near.word);
    if (option->kind == OPTION_FLAG && joined)
        return refuse(o, "no value is allowed for", "--", name, none);
    if (option->kind >= OPTION_TEXT && !joined) {
        if (*i + 1 >= argc)
            return refuse(o, "a value is required for", "--", name, none);
        text = argv[++*i];
    }
    if (o->given_len == OPTIONS_MAX)
        return refuse(o, "too many options at", "--", name, none);
    o->given[o->given_len].option = option;
    o->given[o->given_len++].value = text;
    return text ? check_value(o, option, text) : -1;
}

static int
read_words(struct options *o, int argc, char **argv, const struct table_place *at)
{
    bool only_arguments = false;
    int code = -1;

    o->arguments = (const char **)(void *)(argv + 1);
    for (int i = 1; i < argc && code < 0; i++) {
        bool option = !only_arguments && table_is_option(argv[i]);
        if (option && strcmp(argv[i], "--") == 0)
            only_arguments = true;
        else if (option)
            code = read_option(o, argc, argv, &i);
        else if (i != at->first && i != at->second)
            o->arguments[o->arguments_len++] = argv[i];
    }
    return code;
}

static int
check_count(const struct options *o)
{
    const struct subcommand *c = o->command;
    int min = c ? c->min : 0, max = c ? c->max : 0;

    if (o->arguments_len > max)
        return refuse(o, "unexpected argument", "", span_of(o->arguments[max]), none);
    if (o->arguments_len >= min)
        return -1;
    fprintf(stderr, "%s: missing argument; usage: %s %s %s\n", o->program->name,
            o->program->name, c->name, c->arguments);
    return EXIT_CODE_USAGE;
}

static int
print_version(const struct options *o)
{
    printf(options_has(o, "json") ? "{\"program\":\"%s\",\"version\":\"%s\"}\n"
                                  : "%s %s\n",
           o->program->name, ACRELAY_VERSION);
    return end_output();
}

// `acrelay help send` is `acrelay send --help`.
static bool
asks_for_help(int argc, char **argv, int from)
{
    for (int i = from; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (span_is(table_option_name(argv[i]), "help"))
            return true;
    return from > 1;
}

int
options_parse(struct options *o, const struct program *p, int argc, char **argv)
{
    const char *const *words = (const char *const *)(void *)argv;
    int from = argc > 1 && strcmp(argv[1], "help") == 0 ? 2 : 1;
    struct table_place at;

    *o = (struct options){.program = p};
    if (argc > 2 && strcmp(argv[1], "--complete") == 0) {
        table_write_completions(stdout, p, words + 2, argc - 2);
        return end_output();
    }
    table_place(&at, p, argc, words, from);
    o->command = at.command;
    if (!o->command && at.name[0])
        return refuse(o, "unknown command", "", at.near.asked, at.near.word);
    if (asks_for_help(argc, argv, from)) {
        table_write_help(stdout, p, o->command, at.group);
        return end_output();
    }
    int code = read_words(o, argc, argv, &at);
    if (code >= 0)
        return code;
    if (options_has(o, "version"))
        return print_version(o);
    if (p->commands && !o->command) {
        table_write_help(stderr, p, NULL, at.group);
        return EXIT_CODE_USAGE;
    }
    return check_count(o);
}

// --- what was given ----------------------------------------------------------------------

// The last one that was given, by its place in o->given; given_len if none was.
static size_t
find_given(const struct options *o, const char *name)
{
    size_t found = o->given_len;

    assert(table_option(o->program, o->command, span_of(name), NULL));
    for (size_t i = 0; i < o->given_len; i++)
        if (strcmp(o->given[i].option->name, name) == 0)
            found = i;
    return found;
}

bool
options_has(const struct options *o, const char *name)
{
    return find_given(o, name) < o->given_len;
}

const char *
options_text(const struct options *o, const char *name, const char *fallback)
{
    size_t i = find_given(o, name);

    return i < o->given_len ? o->given[i].value : fallback;
}

uint64_t
options_number(const struct options *o, const char *name, uint64_t fallback)
{
    const char *value = options_text(o, name, NULL);
    uint64_t number = fallback;

    if (value)
        text_number(&number, span_of(value), INT64_MAX); // check_value saw that it is one
    return number;
}
