// What the table of settings is written as: the example file, the manual's list and that of
// `check --print settings`.
#include "config/value.h"

#include <stdio.h>

#define WORD "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

// Required settings are live lines; the rest is commented out, with its default or an example.
static void
write_line(struct buf *to, int indent, const char *name, const struct setting *s)
{
    const char *value = s->example ? s->example : s->fallback ? s->fallback : "[]";

    buf_add_format(to, "%*s# %s\n", indent, "", s->sentence);
    buf_add_format(to, "%*s# Expected: %s.%s%s%s\n", indent, "", s->type->expected,
                   s->fallback ? " Default: " : "", s->fallback ? s->fallback : "",
                   s->fallback ? "." : "");
    buf_add_format(to, "%*s%s%s: %s\n", indent, "", s->required ? "" : "#", name, value);
}

// Opens the sections of a path that differ from the one before and returns its last name.
static const char *
open_sections(struct buf *to, const char *before, const char *path, int *indent)
{
    const char *name = path, *dot;

    *indent = 0;
    while ((dot = strchr(name, '.'))) {
        size_t len = (size_t)(dot + 1 - path);
        if (strncmp(before, path, len) != 0)
            buf_add_format(to, "%s%*s%.*s:\n", *indent ? "" : "\n", *indent, "",
                           (int)(dot - name), name);
        *indent += 2;
        name = dot + 1;
    }
    if (*indent == 0)
        buf_add_text(to, "\n");
    return name;
}

// The services as a whole are commented out.
static void
write_services(struct buf *to)
{
    struct buf lines;

    buf_init(&lines, 1 << 16);
    buf_add_text(&lines, "services:\n  -\n");
    for (const struct setting *s = service_settings; s->path; s++)
        write_line(&lines, 4, s->path, s);
    buf_add_text(to, "  # Services that may send commands.\n");
    for (struct span rest = buf_span(&lines); rest.len;) {
        struct span line = span_cut(&rest, '\n');
        buf_add_format(to, "  #%.*s\n", (int)line.len, line.at);
    }
    buf_release(&lines);
}

static void
write_example(struct buf *to)
{
    const char *before = "";
    int indent;

    buf_add_text(
        to,
        "# acrelay: example configuration, generated from the table of settings.\n"
        "# A setting that is commented out shows its default, or an example if it "
        "has none.\n"
        "# ${NAME} and ${NAME:-text} in a value are replaced from the environment.\n");
    for (const struct setting *s = config_settings; s->path; s++) {
        const char *name = open_sections(to, before, s->path, &indent);
        write_line(to, indent, name, s);
        before = s->path;
    }
    write_services(to); // the section `commands` is the last one
    buf_add_text(to, "\nhooks:\n  -\n");
    for (const struct setting *s = hook_settings; s->path; s++)
        write_line(to, 4, s->path, s);
}

static const char *
find_value(const struct config_line *lines, const char *path)
{
    while (lines->path && strcmp(lines->path, path) != 0)
        lines++;
    return lines->path ? lines->value : NULL;
}

// Quoted where YAML could take it for anything but a plain word.
static void
write_value(struct buf *to, const char *value)
{
    size_t len = strlen(value), plain = strspn(value, WORD "/:.-");
    const char *quote = len && plain == len && value[len - 1] != ':' ? "" : "'";

    buf_add_text(to, quote);
    for (const char *c = value; *c; c++) {
        buf_add_byte(to, *c);
        if (*quote && *c == '\'')
            buf_add_byte(to, *c);
    }
    buf_add_text(to, quote);
}

void
config_write_lines(const struct config_line *lines, struct buf *to)
{
    const char *before = "";
    int indent;

    for (const struct setting *s = config_settings; s->path; s++) {
        const char *value = find_value(lines, s->path);
        bool is_list = s->type->field->item_size > 0;
        if (!value)
            continue;
        const char *name = open_sections(to, before, s->path, &indent);
        buf_add_format(to, "%*s# %s\n%*s%s: %s", indent, "", s->sentence, indent, "",
                       name, is_list ? "[" : "");
        write_value(to, value);
        buf_add_text(to, is_list ? "]\n" : "\n");
        before = s->path;
    }
}

// Text in mdoc: a sentence begins a line, a line has at most 78 bytes and does not begin with
// what would be a macro.
static void
write_mdoc(struct buf *to, struct span text)
{
    size_t column = 0;

    while (text.len > 0) {
        struct span word = span_cut(&text, ' ');
        if (column > 0 && column + 1 + word.len > 78)
            column = 0, buf_add_byte(to, '\n');
        else if (column > 0)
            column++, buf_add_byte(to, ' ');
        if (column == 0 && (span_starts(word, SPAN(".")) || span_starts(word, SPAN("'"))))
            buf_add_text(to, "\\&");
        buf_add(to, word);
        column += word.len;
        if (word.len > 0 && word.at[word.len - 1] == '.' && !span_is(word, "..."))
            column = 0, buf_add_byte(to, '\n');
    }
    if (column > 0)
        buf_add_byte(to, '\n');
}

static void
write_manual_table(struct buf *to, const struct setting *table, const char *prefix)
{
    for (const struct setting *s = table; s->path; s++) {
        char expected[512];
        snprintf(expected, sizeof expected, "Expected: %s.", s->type->expected);
        buf_add_format(to, ".It Ic %s%s\n", prefix, s->path);
        write_mdoc(to, span_of(s->sentence));
        write_mdoc(to, span_of(expected));
        if (s->fallback)
            buf_add_format(to, "Default: %s.\n", s->fallback);
        if (s->required)
            buf_add_text(to, "Required.\n");
        if (s->restart)
            buf_add_text(to, "A change needs a restart.\n");
    }
}

static void
write_manual(struct buf *to)
{
    buf_add_text(to, ".Bl -tag -width Ds\n");
    write_manual_table(to, config_settings, "");
    write_manual_table(to, service_settings, "commands.services[].");
    write_manual_table(to, hook_settings, "hooks[].");
    buf_add_text(to, ".El\n");
}

static void
write_help(struct buf *to)
{
    for (const struct setting *s = config_settings; s->path; s++)
        buf_add_format(to, "  %-28s %s\n", s->path, s->sentence);
    for (const struct setting *s = service_settings; s->path; s++)
        buf_add_format(to, "  commands.services[].%-8s %s\n", s->path, s->sentence);
    for (const struct setting *s = hook_settings; s->path; s++)
        buf_add_format(to, "  hooks[].%-20s %s\n", s->path, s->sentence);
}

int
config_write(enum config_document document, struct buf *to)
{
    static void (*const writers[])(struct buf *) = {
        [CONFIG_EXAMPLE] = write_example,
        [CONFIG_MANUAL] = write_manual,
        [CONFIG_HELP] = write_help,
    };

    writers[document](to);
    return to->full ? -1 : 0;
}
