// Options may stand anywhere, as `--name value` or `--name=value`; `--` ends them. They are
// not abbreviated: a script written today must mean the same when an option is added.
#include "base/options.h"

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

// --- finding words, and the nearest one ----------------------------------------------

struct nearest {
    struct span asked, word; // word: empty when none is near
    size_t distance;
};

// A third of the word may be wrong, and two letters swapped are two edits.
static struct nearest
nearest_start(struct span asked)
{
    return (struct nearest){asked, {0}, asked.len < 4 ? 2 : 2 + asked.len / 4};
}

static void
nearest_try(struct nearest *n, struct span word)
{
    size_t distance = text_distance(n->asked, word);

    if (distance < n->distance) {
        n->distance = distance;
        n->word = word;
    }
}

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
    const struct option *found = NULL;

    if (o->command)
        found = find_in(o->command->options, name, near);
    if (!found)
        found = find_in(o->program->options, name, near);
    return found ? found : find_in(options_common, name, near);
}

static struct span
first_word(const char *name)
{
    struct span rest = span_of(name);

    return span_cut(&rest, ' ');
}

static bool
is_group(const struct program *p, struct span word)
{
    for (const struct command *c = p->commands; c && c->name; c++)
        if (strchr(c->name, ' ') && span_equal(first_word(c->name), word))
            return true;
    return false;
}

// No word is near.
static const struct span none;

// --- telling --------------------------------------------------------------------------

// Shows a word of the command line, which may hold anything.
static const char *
shown(char *to, size_t size, struct span word)
{
    text_escape(to, size, word);
    return to;
}

static int
refuse(const struct options *o, const char *what, struct span word, struct span nearest,
       const char *dashes)
{
    char text[128];

    fprintf(stderr, "%s: %s %s%s", o->program->name, what, dashes,
            shown(text, sizeof text, word));
    if (nearest.len)
        fprintf(stderr, "; did you mean %s%.*s?\n", dashes, (int)nearest.len, nearest.at);
    else
        fprintf(stderr, "; see %s --help\n", o->program->name);
    return EXIT_CODE_USAGE;
}

static int
print(struct buf *text)
{
    int result =
        fwrite(text->at, 1, text->len, stdout) == text->len && fflush(stdout) == 0;

    buf_release(text);
    return result ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

static int
print_help(const struct options *o, struct span group)
{
    struct buf text;

    buf_init(&text, 1 << 20);
    options_write_help(&text, o->program, o->command, group);
    return print(&text);
}

// --- the command ----------------------------------------------------------------------

static const struct command *
find_command(const struct program *p, struct span name, struct nearest *near)
{
    bool one_word = span_find(name, ' ') == name.len;

    for (const struct command *c = p->commands; c && c->name; c++) {
        if (span_is(name, c->name))
            return c;
        nearest_try(near, one_word ? first_word(c->name) : span_of(c->name));
    }
    return NULL;
}

// Words that are not options, in their order; an option's value is skipped as the table of
// any command says.
static bool
takes_value(const struct program *p, struct span name)
{
    struct nearest unused = nearest_start(name);
    const struct option *found = find_in(options_common, name, &unused);

    if (!found)
        found = find_in(p->options, name, &unused);
    for (const struct command *c = p->commands; !found && c && c->name; c++)
        found = find_in(c->options, name, &unused);
    return found && found->kind != OPTION_FLAG;
}

// -c, -v and -h stand for the options people type most.
static struct span
long_name(struct span word)
{
    static const char *const names[] = {"config", "verbose", "help"};

    for (size_t i = 0; word.len == 2 && i < 3; i++)
        if (word.at[1] == names[i][0])
            return span_of(names[i]);
    return (struct span){0};
}

static int
next_word(const struct program *p, int argc, char **argv, int from)
{
    for (int i = from; i < argc; i++) {
        struct span word = span_of(argv[i]);
        if (span_is(word, "--"))
            return argc;
        if (word.len < 2 || word.at[0] != '-')
            return i;
        word = long_name(word).len ? long_name(word) : span_from(word, 2);
        if (span_find(word, '=') == word.len && takes_value(p, word))
            i++;
    }
    return argc;
}

static bool
asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static int
refuse_command(const struct options *o, struct span name)
{
    struct nearest near = nearest_start(name);

    find_command(o->program, name, &near);
    return refuse(o, "unknown command", name, near.word, "");
}

// Sets o->command, and first and second to the words' places, which are no arguments.
static int
choose_command(struct options *o, int argc, char **argv, int *first, int *second)
{
    const struct program *p = o->program;
    struct span group = {0};
    bool help = asks_for_help(argc, argv);

    *first = next_word(p, argc, argv, 1);
    *second = argc;
    if (*first < argc) {
        char name[128];
        struct nearest near = nearest_start(group);
        struct span word = span_of(argv[*first]);
        if (is_group(p, word)) {
            group = word;
            *second = next_word(p, argc, argv, *first + 1);
        }
        snprintf(name, sizeof name, "%s%s%s", argv[*first], *second < argc ? " " : "",
                 *second < argc ? argv[*second] : "");
        o->command = find_command(p, span_of(name), &near);
        if (!o->command && (!group.len || *second < argc))
            return refuse_command(o, span_of(name));
    }
    if (help)
        return print_help(o, group);
    return -1;
}

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
        return refuse(o, what, span_of(value), none, "");
    }
    if (option->kind == OPTION_WORD && !is_word_of(option->words, value, &near)) {
        snprintf(what, sizeof what, "--%s does not take", option->name);
        return refuse(o, what, span_of(value), near.word, "");
    }
    return -1;
}

static int
read_option(struct options *o, int argc, char **argv, int *i)
{
    struct span letter = long_name(span_of(argv[*i]));
    struct span value = letter.len ? letter : span_from(span_of(argv[*i]), 2);
    bool joined = span_find(value, '=') < value.len;
    struct span name = span_cut(&value, '=');
    struct nearest near = nearest_start(name);
    const struct option *option = find_option(o, name, &near);

    if (!option)
        return refuse(o, "unknown option", name, near.word, "--");
    if (option->kind == OPTION_FLAG && joined)
        return refuse(o, "no value is taken by", name, none, "--");
    if (option->kind != OPTION_FLAG && !joined && *i + 1 >= argc)
        return refuse(o, "a value is missing behind", name, none, "--");
    if (o->given_len == OPTIONS_MAX)
        return refuse(o, "too many options at", name, none, "--");
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
        } else if (word.at[1] != '-' && !long_name(word).len) {
            return refuse(o, "unknown option", word, none, "");
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
        return refuse(o, "one argument too many:", span_of(o->arguments[most]), none, "");
    if (o->arguments_len >= least)
        return -1;
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
        code = choose_command(o, argc, argv, &first, &second);
    else
        code = asks_for_help(argc, argv) ? print_help(o, (struct span){0}) : -1;
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
