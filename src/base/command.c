// A command is one word, or two where its first names a group. Options may stand before and
// between the words; whether one takes a value, the tables of all commands say.
#include "base/command.h"

#include "base/err.h"
#include "base/text.h"

#include <stdio.h>

const struct option *
command_find_option(const struct option *table, struct span name, struct nearest *near)
{
    for (; table && table->name; table++) {
        if (span_is(name, table->name))
            return table;
        nearest_try(near, span_of(table->name));
    }
    return NULL;
}

// Shows a word of the command line, which may hold anything.
static const char *
shown(char *to, size_t size, struct span word)
{
    text_escape(to, size, word);
    return to;
}

int
command_refuse(const struct options *o, const char *what, struct span word,
               struct span nearest, const char *dashes)
{
    char text[128];

    fprintf(stderr, "%s: %s %s%s", o->program->name, what, dashes,
            shown(text, sizeof text, word));
    if (nearest.len)
        fprintf(stderr, "; did you mean %s%.*s?\n", dashes, (int)nearest.len, nearest.at);
    else
        fprintf(stderr, "; see %s %s%s--help\n", o->program->name,
                o->command ? o->command->name : "", o->command ? " " : "");
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

int
command_print_help(const struct options *o, struct span group)
{
    struct buf text;

    buf_init(&text, 1 << 20);
    options_write_help(&text, o->program, o->command, group);
    return print(&text);
}

static bool
is_group(const struct program *p, struct span word)
{
    for (const struct command *c = p->commands; c && c->name; c++)
        if (strchr(c->name, ' ') && span_equal(command_first_word(c->name), word))
            return true;
    return false;
}

static const struct command *
find_command(const struct program *p, struct span name, struct nearest *near)
{
    bool one_word = span_find(name, ' ') == name.len;

    for (const struct command *c = p->commands; c && c->name; c++) {
        if (span_is(name, c->name))
            return c;
        nearest_try(near, one_word ? command_first_word(c->name) : span_of(c->name));
    }
    return NULL;
}

static bool
takes_value(const struct program *p, struct span name)
{
    struct nearest unused = nearest_start(name);
    const struct option *found = command_find_option(options_common, name, &unused);

    if (!found)
        found = command_find_option(p->options, name, &unused);
    for (const struct command *c = p->commands; !found && c && c->name; c++)
        found = command_find_option(c->options, name, &unused);
    return found && found->kind != OPTION_FLAG;
}

struct span
command_long_name(struct span word)
{
    static const char *const names[] = {"config", "verbose", "help"};

    for (size_t i = 0; word.len == 2 && i < 3; i++)
        if (word.at[1] == names[i][0])
            return span_of(names[i]);
    return (struct span){0};
}

// The place of the next word that is no option; an option's value is skipped as the table of
// any command says.
static int
next_word(const struct program *p, int argc, char **argv, int from)
{
    for (int i = from; i < argc; i++) {
        struct span word = span_of(argv[i]);
        if (span_is(word, "--"))
            return argc;
        if (word.len < 2 || word.at[0] != '-')
            return i;
        word = command_long_name(word).len ? command_long_name(word) : span_from(word, 2);
        if (span_find(word, '=') == word.len && takes_value(p, word))
            i++;
    }
    return argc;
}

bool
command_asks_for_help(int argc, char **argv)
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
    return command_refuse(o, "unknown command", name, near.word, "");
}

int
command_choose(struct options *o, int argc, char **argv, int *first, int *second)
{
    const struct program *p = o->program;
    struct span group = {0};
    bool help = command_asks_for_help(argc, argv);

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
        return command_print_help(o, group);
    return -1;
}
