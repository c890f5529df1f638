#include "edge/head.h"

// "Name: value" has one NUL behind the name, where the colon was; "Name : value" has more.
static bool
has_blank_before_colon(const struct http_header *h)
{
    const char *end = h->name.at + h->name.len;

    return h->value.at > end + 1 && end[1] == '\0';
}

// Behind a value stand the NULs of its line's end, and then, behind the last header, the end of
// the line that is empty.
static bool
is_followed_by_empty_line(const struct http_header *last)
{
    const char *at = last->value.at + last->value.len;

    for (int i = 0; i < 2 && *at == '\0'; i++)
        at++;
    return *at == '\r' || *at == '\n';
}

bool
head_is_whole(const struct http_header *headers, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (has_blank_before_colon(&headers[i]))
            return false;
    return len == 0 || is_followed_by_empty_line(&headers[len - 1]);
}
