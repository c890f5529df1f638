// What --help prints, from the tables of programs.h.
#include "base/command.h"

#include <stdio.h>

enum { NAME_WIDTH = 26 };

static void
write_option(struct buf *to, const struct option *o)
{
    char name[64];

    snprintf(name, sizeof name, "--%s%s%s", o->name, o->value ? " " : "",
             o->value ? o->value : "");
    buf_add_format(to, "  %-*s %s\n", NAME_WIDTH, name, o->sentence);
}

static void
write_options(struct buf *to, const char *title, const struct option *table)
{
    if (!table || !table->name)
        return;
    buf_add_format(to, "\n%s\n", title);
    for (; table->name; table++)
        write_option(to, table);
}

static void
write_commands(struct buf *to, const struct program *p, struct span group)
{
    buf_add_text(to, "\nCommands:\n");
    for (const struct command *c = p->commands; c->name; c++) {
        char name[64];
        if (group.len && !span_equal(command_first_word(c->name), group))
            continue;
        snprintf(name, sizeof name, "%s%s%s", c->name, *c->arguments ? " " : "",
                 c->arguments);
        buf_add_format(to, "  %-*s %s\n", NAME_WIDTH, name, c->sentence);
    }
}

static void
write_command(struct buf *to, const struct program *p, const struct command *c)
{
    buf_add_format(to, "Usage: %s %s [OPTION]...%s%s\n\n%s: %s.\n", p->name, c->name,
                   *c->arguments ? " " : "", c->arguments, c->name, c->sentence);
    if (c->words) {
        buf_add_text(to, "It takes:");
        for (const char *const *w = c->words; *w; w++)
            buf_add_format(to, " %s", *w);
        buf_add_text(to, "\n");
    }
    write_options(to, "Options of this command:", c->options);
}

int
options_write_help(struct buf *to, const struct program *p, const struct command *c,
                   struct span group)
{
    if (c) {
        write_command(to, p, c);
    } else if (p->commands) {
        buf_add_format(to, "Usage: %s COMMAND [OPTION]...\n%s\n", p->name, p->sentence);
        write_commands(to, p, group);
        buf_add_format(to, "\n`%s COMMAND --help` says more about one.\n", p->name);
    } else {
        buf_add_format(to, "Usage: %s [OPTION]...\n%s\n", p->name, p->sentence);
    }
    write_options(
        to, c || p->commands ? "Options of every command:" : "Options:", options_common);
    write_options(to, "Options of this program:", p->options);
    return buf_add_format(to, "\n%s", p->more);
}
