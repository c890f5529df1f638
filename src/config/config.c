// What is told of a configuration from its table: changes that need a restart, the example
// file, the manual's list and that of `check --print settings`.
#include "config/config.h"

#include "config/table.h"

#include <stdio.h>
#include <stdlib.h>

const char *
config_default_path(void)
{
    const char *path = getenv("ACRELAY_CONFIG");

    return path && *path ? path : "/etc/acrelay/acrelay.yaml";
}

static bool
same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool
same_addresses(const struct config *a, const struct config *b)
{
    if (a->listen.len != b->listen.len)
        return false;
    for (size_t i = 0; i < a->listen.len; i++)
        if (!same_text(a->listen.at[i].text, b->listen.at[i].text))
            return false;
    return true;
}

// Settings that need a restart are of few kinds; each is compared as what it is.
static bool
same_setting(const struct setting *s, const struct config *a, const struct config *b)
{
    const char *x = (const char *)a + s->offset, *y = (const char *)b + s->offset;

    if (s->kind == &kind_addresses)
        return same_addresses(a, b);
    if (s->kind == &kind_address)
        return same_text(*(char *const *)(const void *)x,
                         *(char *const *)(const void *)y);
    if (s->kind == &kind_int)
        return memcmp(x, y, sizeof(int)) == 0;
    if (s->kind == &kind_leader)
        return memcmp(x, y, sizeof(bool)) == 0;
    if (s->kind == &kind_size || s->kind == &kind_count || s->kind == &kind_duration_us ||
        s->kind == &kind_duration_ms)
        return memcmp(x, y, 8) == 0;
    return same_text(*(char *const *)(const void *)x, *(char *const *)(const void *)y);
}

size_t
config_changes_needing_restart(const struct config *now, const struct config *next,
                               struct buf *names)
{
    size_t changes = 0;

    for (const struct setting *s = config_settings; s->path; s++)
        if (s->restart && !same_setting(s, now, next))
            buf_add_format(names, "%s%s", changes++ ? ", " : "", s->path);
    return changes;
}

// --- documents ---------------------------------------------------------------------------------

static void
write_sentence(struct buf *to, int indent, const struct setting *s)
{
    buf_add_format(to, "%*s# %s\n", indent, "", s->sentence);
    buf_add_format(to, "%*s# Expected: %s.", indent, "", s->kind->expected);
    if (s->preset)
        buf_add_format(to, " Default: %s.", s->preset);
    buf_add_text(to, "\n");
}

// Required settings are live lines; the rest is commented out, with its default or an example.
static void
write_line(struct buf *to, int indent, const char *name, const struct setting *s)
{
    const char *value = s->example ? s->example : s->preset ? s->preset : "[]";

    write_sentence(to, indent, s);
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

int
config_write_example(struct buf *to)
{
    const char *before = "";
    int indent;

    buf_add_text(
        to, "# acrelay: example configuration, made from the table of settings.\n"
            "# A setting that is commented out shows its default, or an example where it "
            "has none.\n"
            "# ${NAME} and ${NAME:-text} in a value are taken from the environment.\n");
    for (const struct setting *s = config_settings; s->path; s++) {
        const char *name = open_sections(to, before, s->path, &indent);
        write_line(to, indent, name, s);
        before = s->path;
    }
    buf_add_text(to, "\nhooks:\n  -\n");
    for (const struct setting *s = hook_settings; s->path; s++)
        write_line(to, 4, s->path, s);
    return to->full ? -1 : 0;
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
        snprintf(expected, sizeof expected, "Expected: %s.", s->kind->expected);
        buf_add_format(to, ".It Ic %s%s\n", prefix, s->path);
        write_mdoc(to, span_of(s->sentence));
        write_mdoc(to, span_of(expected));
        if (s->preset)
            buf_add_format(to, "Default: %s.\n", s->preset);
        if (s->required)
            buf_add_text(to, "Required.\n");
        if (s->restart)
            buf_add_text(to, "A change needs a restart.\n");
    }
}

int
config_write_manual(struct buf *to)
{
    buf_add_text(to, ".Bl -tag -width Ds\n");
    write_manual_table(to, config_settings, "");
    write_manual_table(to, hook_settings, "hooks[].");
    return buf_add_text(to, ".El\n");
}

int
config_write_help(struct buf *to)
{
    for (const struct setting *s = config_settings; s->path; s++)
        buf_add_format(to, "  %-28s %s\n", s->path, s->sentence);
    for (const struct setting *s = hook_settings; s->path; s++)
        buf_add_format(to, "  hooks[].%-20s %s\n", s->path, s->sentence);
    return to->full ? -1 : 0;
}
