// What the table of settings tells people: the example file, the manual's list, that of
// `check --print settings`, and which changes need a restart.
#include "config/value.h"

#include <stdio.h>

static bool
same_setting(const struct setting *s, const struct config *a, const struct config *b)
{
    const char *x = (const char *)a + s->offset, *y = (const char *)b + s->offset;
    const struct value_field *field = s->type->field;

    return field->same ? field->same(x, y) : memcmp(x, y, field->size) == 0;
}

static bool
is_in(const struct setting *s, const char *const *sections)
{
    for (; sections && *sections; sections++)
        if (strncmp(s->path, *sections, strlen(*sections)) == 0)
            return true;
    return !sections;
}

int
config_check_reload(const struct config *now, const struct config *next,
                    const char *const *sections, struct err *err)
{
    struct buf names;

    buf_init(&names, 4000);
    for (const struct setting *s = config_settings; s->path; s++)
        if (s->restart && is_in(s, sections) && !same_setting(s, now, next))
            buf_add_format(&names, "%s%s", names.len ? ", " : "", s->path);
    int result =
        names.len == 0
            ? 0
            : err_set(err, ERR_INPUT, "a change of %s needs a restart", buf_text(&names));
    buf_release(&names);
    return result;
}

// --- documents ---------------------------------------------------------------------------------

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
    buf_add_text(to, "\nhooks:\n  -\n");
    for (const struct setting *s = hook_settings; s->path; s++)
        write_line(to, 4, s->path, s);
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
    write_manual_table(to, hook_settings, "hooks[].");
    buf_add_text(to, ".El\n");
}

static void
write_help(struct buf *to)
{
    for (const struct setting *s = config_settings; s->path; s++)
        buf_add_format(to, "  %-28s %s\n", s->path, s->sentence);
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
