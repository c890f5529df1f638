// Options may stand anywhere, as `--name value` or `--name=value`; `--` ends them. They are
// not abbreviated: a script written today must mean the same when an option is added. A
// command is one word, or two where its first names a group.
#include "program/options.h"

#include "base/text.h"

#include <assert.h>
#include <stdio.h>

const char *const options_log_forms[] = {"auto", "text", "journal", "json", NULL};

static const struct option options_common[] = {
    OPTION_IS_TEXT("config", "FILE",
                   "configuration; default $ACRELAY_CONFIG or /etc/acrelay/acrelay.yaml"),
    OPTION_IS_TEXT("account", "NAME", "configuration /etc/acrelay/NAME.yaml"),
    OPTION_IS_FLAG("json", "print JSON"),
    {"log", "FORM", "format of log lines on stderr: auto, text, journal or json",
     OPTION_TEXT, options_log_forms},
    OPTION_IS_FLAG("verbose", "log details as well"),
    OPTION_IS_FLAG("help", "print this and exit"),
    OPTION_IS_FLAG("version", "print the version and exit"),
    {0},
};

static const struct span none;

// --- the tables -------------------------------------------------------------------------

static const struct subcommand *
command_at(const struct program *p, size_t n)
{
    for (const struct subcommand *const *table = p->commands; table && *table; table++)
        for (const struct subcommand *c = *table; c->name; c++)
            if (n-- == 0)
                return c;
    return NULL;
}

// "journal" of "journal ls"; *second is "ls", NULL if there is none.
static struct span
first_word(const char *name, const char **second)
{
    struct span rest = span_of(name), first = span_cut(&rest, ' ');

    *second = rest.len ? rest.at : NULL;
    return first;
}

static const struct option *
find_in(const struct option *table, struct span name, struct nearest *near)
{
    for (; table && table->name; table++) {
        if (span_is(name, table->name))
            return table;
        if (near)
            nearest_try(near, span_of(table->name));
    }
    return NULL;
}

// Before the command is known (NULL) any command's option of this name is found. `near` may be
// NULL.
static const struct option *
find_option(const struct program *p, const struct subcommand *c, struct span name,
            struct nearest *near)
{
    const struct option *found = find_in(options_common, name, near);
    const struct subcommand *any;

    if (!found)
        found = find_in(p->options, name, near);
    if (!found && c)
        return find_in(c->options, name, near);
    for (size_t i = 0; !found && (any = command_at(p, i)); i++)
        found = find_in(any->options, name, near);
    return found;
}

// -c, -v, -h and -V stand for the options that people type most.
static struct span
option_name(const char *word)
{
    static const char letters[] = "cvhV";
    static const char *const names[] = {"config", "verbose", "help", "version"};
    const char *at = word[0] == '-' && word[1] && !word[2] ? strchr(letters, word[1]) : 0;

    if (at)
        return span_of(names[at - letters]);
    return word[0] == '-' && word[1] == '-' ? span_of(word + 2) : none;
}

static bool
is_option(const char *word)
{
    return word[0] == '-' && word[1];
}

// The option that takes the word after this one as its value; NULL if none does.
static const struct option *
option_before_value(const struct program *p, const char *word)
{
    const struct option *found = find_option(p, NULL, option_name(word), NULL);

    return found && found->kind >= OPTION_TEXT ? found : NULL;
}

// --- which command ----------------------------------------------------------------------

// The words of the command in argv.
struct place {
    int first, second; // argc for none
    struct span group; // the first word, where it names one
    char name[128];    // both; "" when the second of a group is missing
};

static int
next_word(const struct program *p, int argc, const char *const *argv, int from)
{
    for (int i = from; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (!is_option(argv[i]))
            return i;
        if (option_before_value(p, argv[i]))
            i++;
    }
    return argc;
}

static bool
is_group(const struct program *p, struct span word)
{
    const struct subcommand *c;
    const char *second;

    for (size_t i = 0; (c = command_at(p, i)); i++)
        if (span_equal(first_word(c->name, &second), word) && second)
            return true;
    return false;
}

static void
find_place(struct place *at, const struct program *p, int argc, const char *const *argv,
           int from)
{
    *at = (struct place){.first = argc, .second = argc};
    if (p->commands)
        at->first = next_word(p, argc, argv, from);
    if (at->first == argc)
        return;
    if (is_group(p, span_of(argv[at->first]))) {
        at->group = span_of(argv[at->first]);
        at->second = next_word(p, argc, argv, at->first + 1);
    }
    if (!at->group.len)
        snprintf(at->name, sizeof at->name, "%s", argv[at->first]);
    else if (at->second < argc)
        snprintf(at->name, sizeof at->name, "%s %s", argv[at->first], argv[at->second]);
}

static const struct subcommand *
find_command(const struct program *p, const struct place *at, struct nearest *near)
{
    const struct subcommand *c;
    const char *second;

    for (size_t i = 0; (c = command_at(p, i)); i++) {
        if (strcmp(at->name, c->name) == 0)
            return c;
        nearest_try(near,
                    at->group.len ? span_of(c->name) : first_word(c->name, &second));
    }
    return NULL;
}

// --- help -------------------------------------------------------------------------------

static const char EXIT_CODES[] =
    "Exit codes: 0 ok, 1 failure, 2 changes pending or damage found, 64 usage,\n"
    "69 service unavailable, 71 port in use, 73 directory not writable, 75 lock held,\n"
    "77 permission, 78 configuration.\n";

static void
write_row(FILE *to, const char *dashes, const char *name, const char *value,
          const char *sentence)
{
    char whole[96];

    snprintf(whole, sizeof whole, "%s%s%s%s", dashes, name, value && *value ? " " : "",
             value ? value : "");
    fprintf(to, "  %-26s %s\n", whole, sentence);
}

static void
write_options(FILE *to, const char *title, const struct option *table)
{
    if (table && table->name)
        fprintf(to, "\n%s\n", title);
    for (; table && table->name; table++)
        write_row(to, "--", table->name, table->value, table->sentence);
}

static void
write_commands(FILE *to, const struct program *p, struct span group)
{
    const struct subcommand *c;
    const char *second;

    fputs("\nCommands:\n", to);
    for (size_t i = 0; (c = command_at(p, i)); i++)
        if (!group.len || span_equal(first_word(c->name, &second), group))
            write_row(to, "", c->name, c->arguments, c->sentence);
    fprintf(to, "\n`%s help COMMAND` describes a command.\n", p->name);
}

static void
write_help(FILE *to, const struct program *p, const struct subcommand *c,
           struct span group)
{
    if (c) {
        fprintf(to, "Usage: %s %s [OPTION]...%s%s\n\n%s: %s.\n", p->name, c->name,
                *c->arguments ? " " : "", c->arguments, c->name, c->sentence);
        for (const char *const *w = c->words; w && *w; w++)
            fprintf(to, "%s%s%s", w == c->words ? "It takes: " : " ", *w,
                    w[1] ? "" : "\n");
        write_options(to, "Options of this command:", c->options);
    } else {
        fprintf(to, "Usage: %s%s [OPTION]...\n%s\n", p->name,
                p->commands ? " COMMAND" : "", p->sentence);
        if (p->commands)
            write_commands(to, p, group);
    }
    write_options(
        to, c || p->commands ? "Options of every command:" : "Options:", options_common);
    write_options(to, "Options of this program:", p->options);
    fprintf(to, "\n%s%s%s", p->more ? p->more : "", p->more ? "\n" : "", EXIT_CODES);
}

// --- completion -------------------------------------------------------------------------

static void
offer_words(FILE *to, const char *const *words)
{
    for (; words && *words; words++)
        fprintf(to, "%s\t\n", *words);
}

static void
offer_options(FILE *to, const struct option *table)
{
    for (; table && table->name; table++)
        fprintf(to, "--%s\t%s\n", table->name, table->sentence);
}

// The first words of commands, a group once; or the second words of one group.
static void
offer_commands(FILE *to, const struct program *p, struct span group)
{
    struct span before = none;
    const struct subcommand *c;
    const char *second;

    for (size_t i = 0; (c = command_at(p, i)); i++) {
        struct span word = first_word(c->name, &second);
        if (group.len && span_equal(word, group))
            fprintf(to, "%s\t%s\n", second, c->sentence);
        if (!group.len && !span_equal(word, before))
            fprintf(to, "%.*s\t%s\n", (int)word.len, word.at,
                    second ? "more commands" : c->sentence);
        before = word;
    }
}

static void
write_completions(FILE *to, const struct program *p, const char *const *words,
                  int words_len)
{
    int last = words_len - 1;
    struct nearest unused = nearest_start(none);
    struct place at;

    bool help = last > 0 && strcmp(words[0], "help") == 0;
    find_place(&at, p, last, words, help);
    const struct subcommand *c = find_command(p, &at, &unused);
    const struct option *before =
        last > 0 ? option_before_value(p, words[last - 1]) : NULL;
    if (before) {
        offer_words(to, before->words);
    } else if (words[last][0] == '-') {
        offer_options(to, c ? c->options : NULL);
        offer_options(to, p->options);
        offer_options(to, options_common);
    } else if (c) {
        offer_words(to, c->words);
    } else if (!at.name[0]) {
        offer_commands(to, p, at.group);
    }
}

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
end_output(FILE *to, int code)
{
    return fflush(to) == 0 && !ferror(to) ? code : EXIT_CODE_FAILURE;
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
        snprintf(what, sizeof what, "--%s requires a number, not", option->name);
        return refuse(o, what, "", span_of(value), none);
    }
    for (const char *const *w = option->words; w && *w; w++) {
        if (strcmp(*w, value) == 0)
            return -1;
        nearest_try(&near, span_of(*w));
    }
    snprintf(what, sizeof what, "--%s does not accept", option->name);
    return option->words ? refuse(o, what, "", span_of(value), near.word) : -1;
}

static int
read_option(struct options *o, int argc, char **argv, int *i)
{
    struct span value = option_name(argv[*i]);
    bool joined = span_find(value, '=') < value.len;
    struct span name = span_cut(&value, '=');
    struct nearest near = nearest_start(name);
    const struct option *option = find_option(o->program, o->command, name, &near);
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
    return end_output(stdout, EXIT_CODE_OK);
}

// `acrelay help send` is `acrelay send --help`.
static bool
asks_for_help(int argc, char **argv, int from)
{
    for (int i = from; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (span_is(option_name(argv[i]), "help"))
            return true;
    return from > 1;
}

int
options_parse(struct options *o, const struct program *p, int argc, char **argv)
{
    const char *const *words = (const char *const *)(void *)argv;
    int from = argc > 1 && strcmp(argv[1], "help") == 0 ? 2 : 1;
    struct place at;

    *o = (struct options){.program = p};
    if (argc > 2 && strcmp(argv[1], "--complete") == 0) {
        write_completions(stdout, p, words + 2, argc - 2);
        return end_output(stdout, EXIT_CODE_OK);
    }
    find_place(&at, p, argc, words, from);
    struct nearest near = nearest_start(span_of(at.name));
    o->command = find_command(p, &at, &near);
    if (!o->command && at.name[0])
        return refuse(o, "unknown command", "", near.asked, near.word);
    if (asks_for_help(argc, argv, from)) {
        write_help(stdout, p, o->command, at.group);
        return end_output(stdout, EXIT_CODE_OK);
    }
    int code = read_words(o, argc, argv, &at);
    if (code >= 0)
        return code;
    if (options_has(o, "version"))
        return print_version(o);
    if (p->commands && !o->command) {
        write_help(stderr, p, NULL, at.group);
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

    assert(find_option(o->program, o->command, span_of(name), NULL));
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
