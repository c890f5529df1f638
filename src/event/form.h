// A form is the pairs in a body of application/x-www-form-urlencoded, decoded
// (NORMAL-FORM.md R1 and R2), and the path that a key names (R3).
#ifndef ACRELAY_EVENT_FORM_H
#define ACRELAY_EVENT_FORM_H

#include "event/arena.h"

enum { FORM_SEGMENTS_MAX = 16 };

struct form_pair {
    struct span key, value; // UTF-8, without NUL
    // JSON writes every byte as it is (json_add_plain); false may also mean "not known".
    bool key_is_plain, value_is_plain;
    bool has_segments; // false: there is no '[' in the key
    // The key is that of the pair before up to its last '[' (so many bytes), then one
    // segment, which holds no '['. 0: it is not so, or not known.
    size_t near;
};

struct form {
    struct form_pair *pairs;
    size_t len, cap; // pairs is kept from form to form
};

enum form_result { FORM_GOOD, FORM_NUL, FORM_TOO_MANY };

// form_parse fills f with the pairs of body, in order; their bytes live in the arena.
// FORM_NUL: a key or value holds a NUL. FORM_TOO_MANY: more than pairs_max.
enum form_result form_parse(struct form *f, struct span body, size_t pairs_max,
                            struct arena *arena);
void form_release(struct form *f);

// The path in a key: `contact[fields][12]` is root "contact", segments "fields", "12".
struct form_path {
    struct span root;
    struct span segments[FORM_SEGMENTS_MAX];
    size_t len;
};

// form_path_parse splits a decoded key. false: the pair belongs to rest (an empty root or
// more than FORM_SEGMENTS_MAX segments). A key that does not follow the grammar is one
// literal root.
bool form_path_parse(struct form_path *path, struct span key);

#endif
