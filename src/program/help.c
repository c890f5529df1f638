// The options that every program has, and what --help and --complete print, from the same
// tables that parsing reads.
#include "program/options.h"

#include <stdio.h>

const char *const options_log_forms[] = {"auto", "text", "journal", "json", NULL};

const struct option options_common[] = {
    OPTION_IS_FILE("config", "FILE",
                   "configuration; default $ACRELAY_CONFIG or /etc/acrelay/acrelay.yaml"),
    OPTION_IS_FLAG("json", "print JSON, for programs"),
    {"log", "FORM", "how lines on stderr look: auto, text, journal or json", OPTION_WORD,
     options_log_forms},
    OPTION_IS_FLAG("verbose", "log details too"),
    OPTION_IS_FLAG("help", "print this and exit"),
    OPTION_IS_FLAG("version", "print the version and exit"),
    OPTION_END,
};

const struct command *
options_command(const struct program *p, size_t n)
{
    for (const struct command *const *table = p->commands; table && *table; table++)
        for (const struct command *c = *table; c->name; c++)
            if (n-- == 0)
                return c;
    return NULL;
}

struct span
options_first_word(const char *name)
{
    struct span rest = span_of(name);

    return span_cut(&rest, ' ');
}

const char *
options_second_word(const char *name)
{
    const char *space = strchr(name, ' ');

    return space ? space + 1 : NULL;
}

enum { NAME_WIDTH = 26 };

static const char EXIT_CODES[] =
    "Exit codes: 0 ok, 1 failure, 2 changes pending or damage found, 64 usage,\n"
    "69 service unavailable, 71 port in use, 73 directory not writable, 75 lock held,\n"
    "77 permission, 78 configuration.\n";

static void
write_row(struct buf *to, const char *dashes, const char *name, const char *value,
          const char *sentence)
{
    char whole[96];

    snprintf(whole, sizeof whole, "%s%s%s%s", dashes, name, value && *value ? " " : "",
             value ? value : "");
    buf_add_format(to, "  %-*s %s\n", NAME_WIDTH, whole, sentence);
}

static void
write_options(struct buf *to, const char *title, const struct option *table)
{
    if (!table || !table->name)
        return;
    buf_add_format(to, "\n%s\n", title);
    for (; table->name; table++)
        write_row(to, "--", table->name, table->value, table->sentence);
}

static void
write_commands(struct buf *to, const struct program *p, struct span group)
{
    const struct command *c;

    buf_add_text(to, "\nCommands:\n");
    for (size_t i = 0; (c = options_command(p, i)); i++)
        if (!group.len || span_equal(options_first_word(c->name), group))
            write_row(to, "", c->name, c->arguments, c->sentence);
}

static void
write_command(struct buf *to, const struct program *p, const struct command *c)
{
    buf_add_format(to, "Usage: %s %s [OPTION]...%s%s\n\n%s: %s.\n", p->name, c->name,
                   *c->arguments ? " " : "", c->arguments, c->name, c->sentence);
    for (const char *const *w = c->words; w && *w; w++)
        buf_add_format(to, "%s%s%s", w == c->words ? "It takes: " : " ", *w,
                       w[1] ? "" : "\n");
    write_options(to, "Options of this command:", c->options);
}

int
options_write_help(struct buf *to, const struct program *p, const struct command *c,
                   struct span group)
{
    if (c) {
        write_command(to, p, c);
    } else {
        buf_add_format(to, "Usage: %s%s [OPTION]...\n%s\n", p->name,
                       p->commands ? " COMMAND" : "", p->sentence);
        if (p->commands)
            write_commands(to, p, group);
        if (p->commands)
            buf_add_format(to, "\n`%s COMMAND --help` says more about one.\n", p->name);
    }
    write_options(
        to, c || p->commands ? "Options of every command:" : "Options:", options_common);
    write_options(to, "Options of this program:", p->options);
    buf_add_format(to, "\n%s%s", p->more ? p->more : "", p->more ? "\n" : "");
    return buf_add_text(to, EXIT_CODES);
}

// --- completion -------------------------------------------------------------------------

// The command line as far as it is typed.
struct typed {
    const struct program *p;
    const struct command *command;
    struct span first;            // word of a command
    const struct option *waiting; // the option before, which takes a value
};

static const struct option *
find(const struct option *table, struct span name)
{
    while (table && table->name && !span_is(name, table->name))
        table++;
    return table && table->name ? table : NULL;
}

static const struct option *
find_anywhere(const struct program *p, struct span name)
{
    const struct option *found = find(options_common, name);
    const struct command *c;

    if (!found)
        found = find(p->options, name);
    for (size_t i = 0; !found && (c = options_command(p, i)); i++)
        found = find(c->options, name);
    return found;
}

static void
take_word(struct typed *t, const char *word)
{
    const struct command *c;
    char name[128];

    if (t->command || !t->p->commands)
        return;
    snprintf(name, sizeof name, "%.*s%s%s", (int)t->first.len, t->first.at,
             t->first.len ? " " : "", word);
    for (size_t i = 0; (c = options_command(t->p, i)); i++)
        if (strcmp(c->name, name) == 0)
            t->command = c;
    if (!t->first.len)
        t->first = span_of(word);
}

static void
take(struct typed *t, const char *word)
{
    const struct option *option = NULL;

    if (t->waiting) {
        t->waiting = NULL;
        return;
    }
    if (word[0] == '-' && word[1] == '-')
        option = find_anywhere(t->p, span_of(word + 2));
    if (option && option->kind != OPTION_FLAG)
        t->waiting = option;
    else if (word[0] != '-')
        take_word(t, word);
}

static void
offer(struct buf *to, const char *dashes, struct span word, const char *sentence)
{
    buf_add_format(to, "%s%.*s\t%s\n", dashes, (int)word.len, word.at, sentence);
}

static void
offer_words(struct buf *to, const char *const *words)
{
    for (; words && *words; words++)
        offer(to, "", span_of(*words), "");
}

static void
offer_options(struct buf *to, const struct option *table)
{
    for (; table && table->name; table++)
        offer(to, "--", span_of(table->name), table->sentence);
}

// The first words of commands, a group once; or the second words of one group.
static void
offer_commands(struct buf *to, const struct typed *t)
{
    struct span before = {"", 0};
    const struct command *c;

    for (size_t i = 0; (c = options_command(t->p, i)); i++) {
        struct span word = options_first_word(c->name);
        const char *second = options_second_word(c->name);
        if (t->first.len && second && span_equal(word, t->first))
            offer(to, "", span_of(second), c->sentence);
        if (!t->first.len && !span_equal(word, before))
            offer(to, "", word, second ? "more commands" : c->sentence);
        before = word;
    }
}

int
options_write_completions(struct buf *to, const struct program *p,
                          const char *const *words, int words_len)
{
    struct typed t = {.p = p};

    for (int i = 0; i + 1 < words_len; i++)
        take(&t, words[i]);
    if (t.waiting) {
        offer_words(to, t.waiting->words);
        return to->full ? -1 : 0;
    }
    if (words_len > 0 && words[words_len - 1][0] == '-') {
        offer_options(to, t.command ? t.command->options : NULL);
        offer_options(to, p->options);
        offer_options(to, options_common);
    } else if (t.command) {
        offer_words(to, t.command->words);
    } else {
        offer_commands(to, &t);
    }
    return to->full ? -1 : 0;
}
