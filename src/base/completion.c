// Completions for three shells, each its simplest form: bash a function per program with a
// case over the words before, zsh the same through bash's compatibility, fish its own
// declarative lines. Names and words come from our own tables, so none needs quoting; only
// fish shows the sentences, in single quotes.
#include "base/programs.h"

#include "base/command.h"

#include <stdio.h>

static const struct program *const programs[] = {&program_acrelayd, &program_worker,
                                                 &program_acrelay};
enum { PROGRAMS = sizeof programs / sizeof *programs };

static void
add_options(struct buf *to, const struct option *table)
{
    for (; table && table->name; table++)
        buf_add_format(to, " --%s", table->name);
}

static const char *
second_word(const char *name)
{
    const char *space = strchr(name, ' ');

    return space ? space + 1 : NULL;
}

// Whether this row is the first of its group, so that a group is named once.
static bool
is_first(const struct program *p, const struct command *c)
{
    return c == p->commands ||
           !span_equal(command_first_word(c->name), command_first_word((c - 1)->name));
}

// --- bash and zsh ---------------------------------------------------------------------

static void
bash_words(struct buf *to, const struct program *p)
{
    for (const struct command *c = p->commands; c && c->name; c++) {
        struct span word = command_first_word(c->name);
        if (is_first(p, c))
            buf_add_format(to, " %.*s", (int)word.len, word.at);
    }
}

// The words behind a group's name: "journal) words='ls dump'".
static void
bash_groups(struct buf *to, const struct program *p)
{
    for (const struct command *c = p->commands; c && c->name; c++) {
        struct span word = command_first_word(c->name);
        if (!second_word(c->name) || !is_first(p, c))
            continue;
        buf_add_format(to, "    %.*s) words=\"", (int)word.len, word.at);
        for (const struct command *g = c;
             g->name && span_equal(command_first_word(g->name), word); g++)
            buf_add_format(to, "%s%s", g == c ? "" : " ", second_word(g->name));
        buf_add_text(to, "\" ;;\n");
    }
}

static void
bash_commands(struct buf *to, const struct program *p)
{
    for (const struct command *c = p->commands; c && c->name; c++) {
        buf_add_format(to, "    '%s'%s) words=\"$words", c->name,
                       second_word(c->name) ? "" : "*");
        add_options(to, c->options);
        for (const char *const *w = c->words; w && *w; w++)
            buf_add_format(to, " %s", *w);
        buf_add_text(to, "\" ;;\n");
    }
}

static void
bash_values_of(struct buf *to, const struct option *table)
{
    for (; table && table->name; table++) {
        if (table->kind == OPTION_FLAG)
            continue;
        buf_add_format(to, "    --%s) values=1", table->name);
        for (const char *const *w = table->words; w && *w; w++)
            buf_add_format(to, "%s%s", w == table->words ? " words=\"" : " ", *w);
        buf_add_format(to, "%s%s ;;\n", table->words ? "\"" : "",
                       table->kind == OPTION_FILE ? " files=1" : "");
    }
}

static void
bash_program(struct buf *to, const struct program *p)
{
    char name[32];
    size_t n = 0;

    for (const char *c = p->name; *c && n + 1 < sizeof name; c++)
        name[n++] = *c == '-' ? '_' : *c;
    name[n] = '\0';
    buf_add_format(
        to, "_complete_%s() {\n    local words= values= files= first= second= i\n", name);
    buf_add_text(to,
                 "    local cur=\"${COMP_WORDS[COMP_CWORD]}\"\n"
                 "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                 "        case \"${COMP_WORDS[i]}\" in -*) continue ;; esac\n"
                 "        if [ -z \"$first\" ]; then first=\"${COMP_WORDS[i]}\"\n"
                 "        elif [ -z \"$second\" ]; then second=\"${COMP_WORDS[i]}\"; fi\n"
                 "    done\n"
                 "    case \"${COMP_WORDS[COMP_CWORD-1]}\" in\n");
    bash_values_of(to, options_common);
    bash_values_of(to, p->options);
    for (const struct command *c = p->commands; c && c->name; c++)
        bash_values_of(to, c->options);
    buf_add_text(to,
                 "    esac\n    if [ -z \"$values\" ]; then\n    case \"$first\" in\n");
    buf_add_text(to, "    '') words=\"");
    bash_words(to, p);
    buf_add_text(to, "\" ;;\n");
    bash_groups(to, p);
    buf_add_text(to, "    esac\n    case \"$first${second:+ $second}\" in\n");
    bash_commands(to, p);
    buf_add_text(to, "    esac\n    words=\"$words");
    add_options(to, options_common);
    add_options(to, p->options);
    buf_add_format(to,
                   "\"\n    fi\n"
                   "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                   "    if [ -n \"$files\" ]; then "
                   "COMPREPLY+=($(compgen -f -- \"$cur\")); fi\n"
                   "}\ncomplete -F _complete_%s %s\n",
                   name, p->name);
}

// --- fish -----------------------------------------------------------------------------

static void
fish_sentence(struct buf *to, const char *sentence)
{
    buf_add_text(to, " -d '");
    for (const char *s = sentence; *s; s++)
        buf_add_format(to, *s == '\'' ? "\\%c" : "%c", *s);
    buf_add_text(to, "'\n");
}

static void
fish_options(struct buf *to, const struct program *p, const char *condition,
             const struct option *table)
{
    for (; table && table->name; table++) {
        buf_add_format(to, "complete -c %s%s -l %s%s", p->name, condition, table->name,
                       table->kind == OPTION_FLAG   ? ""
                       : table->kind == OPTION_FILE ? " -rF"
                                                    : " -x");
        for (const char *const *w = table->words; w && *w; w++)
            buf_add_format(to, "%s%s", w == table->words ? " -a '" : " ", *w);
        buf_add_text(to, table->words ? "'" : "");
        fish_sentence(to, table->sentence);
    }
}

static void
fish_command(struct buf *to, const struct program *p, const struct command *c)
{
    char condition[160];
    const char *second = second_word(c->name);
    struct span word = command_first_word(c->name);

    if (is_first(p, c)) {
        buf_add_format(to, "complete -c %s -f -n __fish_use_subcommand -a %.*s", p->name,
                       (int)word.len, word.at);
        fish_sentence(to, second ? "more commands" : c->sentence);
    }
    if (second) {
        buf_add_format(to,
                       "complete -c %s -f -n '__fish_seen_subcommand_from %.*s' -a %s",
                       p->name, (int)word.len, word.at, second);
        fish_sentence(to, c->sentence);
    }
    // Both words, for `replay` and `list` belong to more than one group.
    snprintf(condition, sizeof condition, " -n '__fish_seen_subcommand_from %.*s%s%s'",
             (int)word.len, word.at, second ? "; and __fish_seen_subcommand_from " : "",
             second ? second : "");
    fish_options(to, p, condition, c->options);
    for (const char *const *w = c->words; w && *w; w++)
        buf_add_format(to, "complete -c %s -f%s -a %s\n", p->name, condition, *w);
}

static void
fish_program(struct buf *to, const struct program *p)
{
    fish_options(to, p, "", options_common);
    fish_options(to, p, "", p->options);
    for (const struct command *c = p->commands; c && c->name; c++)
        fish_command(to, p, c);
}

int
completion_write(struct buf *to, const char *shell)
{
    bool fish = strcmp(shell, "fish") == 0, zsh = strcmp(shell, "zsh") == 0;

    if (!fish && !zsh && strcmp(shell, "bash") != 0)
        return -1;
    if (zsh)
        buf_add_text(to, "#compdef acrelayd acrelay-worker acrelay\n"
                         "autoload -U +X bashcompinit && bashcompinit\n");
    for (size_t i = 0; i < PROGRAMS; i++) {
        if (fish)
            fish_program(to, programs[i]);
        else
            bash_program(to, programs[i]);
    }
    return to->full ? -1 : 0;
}
