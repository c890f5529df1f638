#include "base/span.h"

static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool
span_is_nocase(struct span s, const char *text)
{
    if (s.len != strlen(text))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (lower(s.at[i]) != lower(text[i]))
            return false;
    return true;
}

struct span
span_cut(struct span *rest, char byte)
{
    size_t at = span_find(*rest, byte);
    struct span head = span_to(*rest, at);

    *rest = span_from(*rest, at + 1);
    return head;
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct span
span_trim(struct span s)
{
    while (s.len > 0 && is_blank(s.at[0]))
        s = span_from(s, 1);
    while (s.len > 0 && is_blank(s.at[s.len - 1]))
        s.len--;
    return s;
}
