#include "config/expand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
is_name(struct span s)
{
    bool good = s.len > 0 && s.len < 256 && !(s.at[0] >= '0' && s.at[0] <= '9');

    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        good = good && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '_');
    }
    return good;
}

// As in a shell, ":-" also stands in for an empty value.
static const char *
add_variable(struct span inside, struct buf *to)
{
    char name[256];
    struct span rest = inside, word = span_cut(&rest, ':');
    bool has_default = word.len < inside.len;

    if (!is_name(word) || (has_default && !span_starts(rest, SPAN("-"))))
        return "not a variable: ${NAME} and ${NAME:-text} are";
    if (memmem(rest.at, rest.len, "${", 2))
        return "a variable in the default of another: a default is plain text";
    snprintf(name, sizeof name, "%.*s", (int)word.len, word.at);
    const char *value = getenv(name);
    if (has_default && (!value || !*value))
        buf_add(to, span_from(rest, 1));
    else if (value)
        buf_add_text(to, value);
    else
        return "a variable that is not set in the environment; ${NAME:-text} gives it a "
               "default";
    return NULL;
}

const char *
expand_value(const char *text, struct buf *to)
{
    struct span rest = span_of(text);

    while (rest.len > 0) {
        if (span_starts(rest, SPAN("$${"))) {
            buf_add_text(to, "${");
            rest = span_from(rest, 3);
        } else if (span_starts(rest, SPAN("${"))) {
            size_t end = span_find(rest, '}');
            if (end == rest.len)
                return "a variable without its }";
            const char *wrong = add_variable(span_make(rest.at + 2, end - 2), to);
            if (wrong)
                return wrong;
            rest = span_from(rest, end + 1);
        } else {
            buf_add_byte(to, rest.at[0]);
            rest = span_from(rest, 1);
        }
    }
    return to->full ? "too long with its variables" : NULL;
}
