// Options may stand anywhere, as `--name value` or `--name=value`; `--` ends them. They are
// not abbreviated: a script written today must mean the same when an option is added. A
// command is one word, or two where its first names a group.
#include "program/options.h"

#include "base/err.h"
#include "base/log.h"
#include "base/text.h"

#include <assert.h>
#include <stdio.h>

// --- what is wrong with a command line --------------------------------------------------

static const struct span none;

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
print(struct buf *text, FILE *to, int code)
{
    bool done = fwrite(text->at, 1, text->len, to) == text->len && fflush(to) == 0;

    buf_release(text);
    return done ? code : EXIT_CODE_FAILURE;
}

static int
print_help(const struct options *o, struct span group, FILE *to, int code)
{
    struct buf text;

    buf_init(&text, 1 << 20);
    options_write_help(&text, o->program, o->command, group);
    return print(&text, to, code);
}

// --- which command -----------------------------------------------------------------------

static const struct option *
find_in(const struct option *table, struct span name, struct nearest *near)
{
    for (; table && table->name; table++) {
        if (span_is(name, table->name))
            return table;
        nearest_try(near, span_of(table->name));
    }
    return NULL;
}

// The command's own options come first, then the program's, then everybody's.
static const struct option *
find_option(const struct options *o, struct span name, struct nearest *near)
{
    const struct option *tables[] = {o->command ? o->command->options : NULL,
                                     o->program->options, options_common};
    const struct option *found = NULL;

    for (size_t i = 0; i < 3 && !found; i++)
        found = find_in(tables[i], name, near);
    return found;
}

// -c, -v and -h stand for the options that people type most.
static struct span
option_name(const char *word)
{
    static const char *const letters[] = {"config", "verbose", "help"};

    for (size_t i = 0; word[0] == '-' && word[1] && !word[2] && i < 3; i++)
        if (word[1] == letters[i][0])
            return span_of(letters[i]);
    return word[0] == '-' && word[1] == '-' ? span_of(word + 2) : none;
}

static bool
is_option(const char *word)
{
    return word[0] == '-' && word[1];
}

// Before the command is known: whether any command's option of this name takes a value.
static bool
takes_value(const struct program *p, struct span name)
{
    struct nearest unused = nearest_start(name);
    struct options o = {.program = p};
    const struct option *found = find_option(&o, name, &unused);
    const struct command *c;

    for (size_t i = 0; !found && (c = options_command(p, i)); i++)
        found = find_in(c->options, name, &unused);
    return found && found->kind != OPTION_FLAG;
}

// The place of the next word that is no option and no option's value.
static int
next_word(const struct program *p, int argc, char **argv, int from)
{
    for (int i = from; i < argc; i++) {
        struct span name = option_name(argv[i]);
        if (strcmp(argv[i], "--") == 0)
            return argc;
        if (!is_option(argv[i]))
            return i;
        if (span_find(name, '=') == name.len && takes_value(p, name))
            i++;
    }
    return argc;
}

static const struct command *
find_command(const struct program *p, struct span name, struct nearest *near)
{
    bool one_word = span_find(name, ' ') == name.len;
    const struct command *c;

    for (size_t i = 0; (c = options_command(p, i)); i++) {
        if (span_is(name, c->name))
            return c;
        nearest_try(near, one_word ? options_first_word(c->name) : span_of(c->name));
    }
    return NULL;
}

static bool
is_group(const struct program *p, struct span word)
{
    const struct command *c;

    for (size_t i = 0; (c = options_command(p, i)); i++)
        if (options_second_word(c->name) && span_equal(options_first_word(c->name), word))
            return true;
    return false;
}

// Where the words of the command stand in argv; argc for none.
struct place {
    int first, second;
    struct span group;
};

static int
choose_command(struct options *o, int argc, char **argv, struct place *at)
{
    const struct program *p = o->program;
    char name[128];

    *at = (struct place){argc, argc, none};
    if (!p->commands || (at->first = next_word(p, argc, argv, 1)) == argc)
        return -1;
    struct span word = span_of(argv[at->first]);
    if (is_group(p, word)) {
        at->group = word;
        at->second = next_word(p, argc, argv, at->first + 1);
        if (at->second == argc)
            return -1;
    }
    snprintf(name, sizeof name, "%s%s%s", argv[at->first], at->group.len ? " " : "",
             at->group.len ? argv[at->second] : "");
    struct nearest near = nearest_start(span_of(name));
    o->command = find_command(p, span_of(name), &near);
    return o->command ? -1 : refuse(o, "unknown command", "", span_of(name), near.word);
}

// --- options and arguments ---------------------------------------------------------------

static int
check_value(const struct options *o, const struct option *option, const char *value)
{
    struct nearest near = nearest_start(span_of(value));
    uint64_t number;
    char what[128];

    if (option->kind == OPTION_NUMBER &&
        !text_number(&number, span_of(value), INT64_MAX)) {
        snprintf(what, sizeof what, "--%s takes a plain number, not", option->name);
        return refuse(o, what, "", span_of(value), none);
    }
    for (const char *const *w = option->words; w && *w; w++) {
        if (strcmp(*w, value) == 0)
            return -1;
        nearest_try(&near, span_of(*w));
    }
    snprintf(what, sizeof what, "--%s does not take", option->name);
    return option->words ? refuse(o, what, "", span_of(value), near.word) : -1;
}

static int
read_option(struct options *o, int argc, char **argv, int *i)
{
    struct span value = option_name(argv[*i]);
    bool joined = span_find(value, '=') < value.len;
    struct span name = span_cut(&value, '=');
    struct nearest near = nearest_start(name);
    const struct option *option = find_option(o, name, &near);
    const char *text = joined ? value.at : NULL;

    if (!name.len && argv[*i][1] != '-')
        return refuse(o, "unknown option", "", span_of(argv[*i]), none);
    if (!option)
        return refuse(o, "unknown option", "--", name, near.word);
    if (option->kind == OPTION_FLAG && joined)
        return refuse(o, "no value is taken by", "--", name, none);
    if (option->kind != OPTION_FLAG && !joined) {
        if (*i + 1 >= argc)
            return refuse(o, "a value is required by", "--", name, none);
        text = argv[++*i];
    }
    if (o->given_len == OPTIONS_MAX)
        return refuse(o, "too many options at", "--", name, none);
    o->given[o->given_len].option = option;
    o->given[o->given_len++].value = text;
    return text ? check_value(o, option, text) : -1;
}

static int
read_words(struct options *o, int argc, char **argv, const struct place *at)
{
    bool only_arguments = false;
    int code = -1;

    o->arguments = (const char **)(void *)(argv + 1);
    for (int i = 1; i < argc && code < 0; i++) {
        bool option = !only_arguments && is_option(argv[i]);
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
    const struct command *c = o->command;
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
    return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

static void
start_log(const struct options *o)
{
    static const enum log_form forms[] = {LOG_FORM_AUTO, LOG_FORM_TEXT, LOG_FORM_JOURNAL,
                                          LOG_FORM_JSON};
    const char *form = options_text(o, "log", "auto");
    size_t i = 0;

    while (strcmp(options_log_forms[i], form) != 0)
        i++;
    log_start(forms[i], options_has(o, "verbose") ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
}

static int
print_completions(const struct program *p, int argc, char **argv)
{
    struct buf text;

    buf_init(&text, 1 << 20);
    options_write_completions(&text, p, (const char *const *)(void *)(argv + 2),
                              argc - 2);
    return print(&text, stdout, EXIT_CODE_OK);
}

static bool
asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (span_is(option_name(argv[i]), "help"))
            return true;
    return false;
}

int
options_parse(struct options *o, const struct program *p, int argc, char **argv)
{
    struct place at;

    *o = (struct options){.program = p};
    if (argc > 2 && strcmp(argv[1], "--complete") == 0)
        return print_completions(p, argc, argv);
    int code = choose_command(o, argc, argv, &at);
    if (code >= 0)
        return code;
    if (asks_for_help(argc, argv))
        return print_help(o, at.group, stdout, EXIT_CODE_OK);
    code = read_words(o, argc, argv, &at);
    if (code >= 0)
        return code;
    if (options_has(o, "version"))
        return print_version(o);
    if (p->commands && !o->command)
        return print_help(o, at.group, stderr, EXIT_CODE_USAGE);
    code = check_count(o);
    if (code < 0)
        start_log(o);
    return code;
}

// --- what was given ----------------------------------------------------------------------

static const char *
last_value(const struct options *o, const char *name, bool *given)
{
    struct nearest unused = nearest_start(span_of(name));
    const char *value = NULL;

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
options_text(const struct options *o, const char *name, const char *fallback)
{
    bool given;
    const char *value = last_value(o, name, &given);

    return given ? value : fallback;
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

bool
options_is(const struct options *o, const char *command)
{
    return o->command && strcmp(o->command->name, command) == 0;
}
