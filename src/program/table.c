// Finding commands and options in a program's tables, and printing the tables: as the help, and as
// what a shell offers.
#include "program/table.h"

static const struct span none;

const char *const options_log_forms[] = {"auto", "text", "journal", "json", NULL};

static const struct option options_common[] = {
    OPTION_IS_TEXT("config", "FILE",
                   "default $ACRELAY_CONFIG, else /etc/acrelay/acrelay.yaml"),
    OPTION_IS_TEXT("account", "NAME", "short for --config /etc/acrelay/NAME.yaml"),
    OPTION_IS_FLAG("json", "print JSON"),
    {"log", "FORMAT", "format of log lines on stderr: auto, text, journal or json",
     OPTION_TEXT, options_log_forms},
    OPTION_IS_FLAG("verbose", "log details as well"),
    OPTION_IS_FLAG("help", "print this and exit"),
    OPTION_IS_FLAG("version", "print the version and exit"),
    {0},
};

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

const struct option *
table_option(const struct program *p, const struct subcommand *c, struct span name,
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

struct span
table_option_name(const char *word)
{
    static const char letters[] = "cvhV";
    static const char *const names[] = {"config", "verbose", "help", "version"};
    const char *at = word[0] == '-' && word[1] && !word[2] ? strchr(letters, word[1]) : 0;

    if (at)
        return span_of(names[at - letters]);
    return word[0] == '-' && word[1] == '-' ? span_of(word + 2) : none;
}

bool
table_is_option(const char *word)
{
    return word[0] == '-' && word[1];
}

// The option that takes the word after this one as its value; NULL if none does.
static const struct option *
option_before_value(const struct program *p, const char *word)
{
    const struct option *found = table_option(p, NULL, table_option_name(word), NULL);

    return found && found->kind >= OPTION_TEXT ? found : NULL;
}

// --- which command ----------------------------------------------------------------------

static int
next_word(const struct program *p, int argc, const char *const *argv, int from)
{
    for (int i = from; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (!table_is_option(argv[i]))
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
find_words(struct table_place *at, const struct program *p, int argc,
           const char *const *argv, int from)
{
    *at = (struct table_place){.first = argc, .second = argc};
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

void
table_place(struct table_place *at, const struct program *p, int argc,
            const char *const *argv, int from)
{
    const struct subcommand *c;
    const char *second;

    find_words(at, p, argc, argv, from);
    at->near = nearest_start(span_of(at->name));
    for (size_t i = 0; !at->command && (c = command_at(p, i)); i++) {
        if (strcmp(at->name, c->name) == 0)
            at->command = c;
        nearest_try(&at->near,
                    at->group.len ? span_of(c->name) : first_word(c->name, &second));
    }
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

    const char *space = value && *value && !(*dashes && *value == '[') ? " " : "";
    snprintf(whole, sizeof whole, "%s%s%s%s", dashes, name, space, value ? value : "");
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

void
table_write_help(FILE *to, const struct program *p, const struct subcommand *c,
                 struct span group)
{
    if (c) {
        fprintf(to, "Usage: %s %s [OPTION]...%s%s\n\n%s: %s.\n", p->name, c->name,
                *c->arguments ? " " : "", c->arguments, c->name, c->sentence);
        for (const char *const *w = c->words; w && *w; w++)
            fprintf(to, "%s%s%s", w == c->words ? "Possible arguments: " : " ", *w,
                    w[1] ? "" : "\n");
        write_options(to, "Options of this command:", c->options);
    } else {
        fprintf(to, "Usage: %s%s [OPTION]...\n%s\n", p->name,
                p->commands ? " COMMAND" : "", p->sentence);
        if (p->commands)
            write_commands(to, p, group);
    }
    write_options(to, "Options:", p->options);
    write_options(to, c || p->commands ? "Options of every command:" : "Common options:",
                  options_common);
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

void
table_write_completions(FILE *to, const struct program *p, const char *const *words,
                        int words_len)
{
    int last = words_len - 1;
    struct table_place at;

    bool help = last > 0 && strcmp(words[0], "help") == 0;
    table_place(&at, p, last, words, help);
    const struct subcommand *c = at.command;
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
