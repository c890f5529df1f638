// A span is borrowed bytes: a pointer and a length, never a terminating NUL that anyone
// may rely on. It is valid as long as what it was taken from; who keeps bytes copies them.
#ifndef ACRELAY_BASE_SPAN_H
#define ACRELAY_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct span {
    const char *at;
    size_t len;
};

// SPAN makes a constant span of a string literal.
#define SPAN(literal) ((struct span){"" literal, sizeof(literal) - 1})

// span_of borrows a NUL-terminated string; NULL gives the empty span.
static inline struct span
span_of(const char *text)
{
    return (struct span){text, text ? strlen(text) : 0};
}

static inline struct span
span_make(const void *at, size_t len)
{
    return (struct span){at, len};
}

// span_equal compares bytes. It is not constant in time: secrets use digest_equal().
static inline bool
span_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static inline bool
span_is(struct span s, const char *text)
{
    return span_equal(s, span_of(text));
}

// span_is_nocase compares ASCII letters without regard to case (HTTP header names).
static inline bool
span_is_nocase(struct span s, const char *text)
{
    return s.len == strlen(text) && (s.len == 0 || strncasecmp(s.at, text, s.len) == 0);
}

static inline bool
span_starts(struct span s, struct span prefix)
{
    return s.len >= prefix.len &&
           (prefix.len == 0 || memcmp(s.at, prefix.at, prefix.len) == 0);
}

// span_find returns the index of the first `byte` in s, or s.len when there is none.
static inline size_t
span_find(struct span s, char byte)
{
    const char *hit = s.len ? memchr(s.at, byte, s.len) : NULL;
    return hit ? (size_t)(hit - s.at) : s.len;
}

// span_from drops the first n bytes (all of them when there are fewer).
static inline struct span
span_from(struct span s, size_t n)
{
    return n < s.len ? (struct span){s.at + n, s.len - n}
                     : (struct span){s.at + s.len, 0};
}

// span_to keeps the first n bytes.
static inline struct span
span_to(struct span s, size_t n)
{
    return n < s.len ? (struct span){s.at, n} : s;
}

// span_cut splits *rest at the first `byte`: returns what stands before it and leaves what
// stands after it in *rest (empty when `byte` does not occur).
static inline struct span
span_cut(struct span *rest, char byte)
{
    size_t at = span_find(*rest, byte);
    struct span head = span_to(*rest, at);

    *rest = span_from(*rest, at + 1);
    return head;
}

// span_trim drops spaces and tabs at both ends (optional white space, RFC 9110 5.6.3).
static inline struct span
span_trim(struct span s)
{
    while (s.len > 0 && (s.at[0] == ' ' || s.at[0] == '\t'))
        s = span_from(s, 1);
    while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
        s.len--;
    return s;
}

// span_after_last is what stands after the last such byte; all of it where there is none.
static inline struct span
span_after_last(struct span s, char byte)
{
    while (span_find(s, byte) < s.len)
        s = span_from(s, span_find(s, byte) + 1);
    return s;
}

#endif
