// What the kinds of values share. Internal to the floor: each file beside it holds the kinds
// of one sort (names, urls, numbers, choices, addresses).
#ifndef ACRELAY_CONFIG_KIND_H
#define ACRELAY_CONFIG_KIND_H

#include "config/table.h"

// A kind's read function; `text` has no NUL inside, and ends with one.
#define READ(name)                                                                       \
    static const char *name(struct reading *r, const struct setting *s,                  \
                            const char *text, void *field)
#define UNUSED (void)r, (void)s
#define KIND(name, expected, read, list, release)                                        \
    const struct kind name = {expected, read, list, false, release}
// A list of which none is a choice too.
#define KIND_OR_NONE(name, expected, read, release)                                      \
    const struct kind name = {expected, read, true, true, release}

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

// kind_is_made_of: 1 to `most` bytes, the first one of `first`, all of `rest`.
bool kind_is_made_of(const char *text, const char *first, const char *rest, size_t most);

// kind_set_text and kind_release_text: the field is a char *.
void kind_set_text(void *field, const char *text);
void kind_release_text(void *field);

// kind_add_text and kind_release_list: the field is a struct config_list without repeats.
const char *kind_add_text(void *field, const char *text);
void kind_release_list(void *field);

#endif
