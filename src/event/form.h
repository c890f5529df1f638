// Inside event_make: the bytes of a form become pairs, the pairs a tree, the tree JSON.
// Each step is a file (form.c, tree.c, normal.c); what lives as long as one event lives
// in an arena. One thread.
#ifndef ACRELAY_EVENT_FORM_H
#define ACRELAY_EVENT_FORM_H

#include "base/buf.h"

#include <stddef.h>

// An arena gives memory that never moves and is all taken back at once. It keeps a block, so
// that most events are made without asking malloc.
struct arena {
    struct arena_block *now;
    char *at;    // the next free byte of `now`
    size_t left; // bytes free after it
};

// arena_get returns `bytes` bytes, aligned for any object, valid until arena_reset.
void *arena_get_slow(struct arena *a, size_t bytes);

static inline void *
arena_get(struct arena *a, size_t bytes)
{
    size_t mask = _Alignof(max_align_t) - 1, taken = (bytes + mask) & ~mask;

    if (a->left < taken)
        return arena_get_slow(a, taken);
    char *at = a->at;
    a->at += taken;
    a->left -= taken;
    return at;
}

// arena_reset takes everything back.
void arena_reset(struct arena *a);
void arena_release(struct arena *a);

// --- form ----------------------------------------------------------------------------------

// A form is the pairs in a body of application/x-www-form-urlencoded, decoded
// (NORMAL-FORM.md R1 and R2).
struct form_pair {
    struct span key, value; // UTF-8, without NUL
    // JSON writes every byte as it is (json_put_plain); false may also mean "not known".
    bool key_is_plain, value_is_plain;
    bool has_segments; // false: there is no '[' in the key
    // So many bytes, up to and with the key's last '[', are those of the pair before, and
    // one segment without a '[' follows them. 0: it is not so, or not known.
    size_t same_prefix;
};

struct form {
    struct form_pair *pairs;
    size_t len, cap; // pairs is kept from form to form
};

enum form_result { FORM_OK, FORM_NUL, FORM_TOO_MANY };

// form_parse fills f with the pairs of body, in order; their bytes live in the arena.
// FORM_NUL: a key or value holds a NUL. FORM_TOO_MANY: more than pairs_max.
enum form_result form_parse(struct form *f, struct span body, size_t pairs_max,
                            struct arena *arena);
void form_release(struct form *f);

// form_decode decodes one piece: %41, and + in place of blanks; whatever bytes that gives, and
// never more than before. What is no escape stays.
struct span form_decode(char *to, struct span piece);

// form_find decodes the value of the first such key of a short form, a query, into to[size]: "" when
// it is not there, NULL when it is longer, or holds a NUL.
const char *form_find(struct span form, const char *key, char *to, size_t size);

// --- tree ----------------------------------------------------------------------------------

// A tree is the pairs of a form put where their keys say (R3 to R5): containers keep their
// children in order of first appearance; what collides goes to rest, in order.
struct node {
    struct span key;   // never empty, but for the root
    struct span value; // of a leaf
    bool is_leaf;
    bool key_is_plain, value_is_plain; // as in struct form_pair
    bool all_appended;                 // of a container: every child's key came from `[]`
    struct node *next;                 // sibling
    struct node *first, *last;
    size_t len;               // children
    uint64_t index;           // the key that the next `[]` opens
    struct node *same_bucket; // in the tree's table of large containers
    struct node *parent;
};

struct tree {
    struct arena *arena; // of the nodes
    uint64_t seed; // random, so that nobody can send keys that all fall into one bucket
    struct node root;
    const struct form_pair **rest;
    size_t rest_len, rest_cap;
    struct node **table; // children of containers with many of them, by parent and key
    size_t table_size, table_used;
    struct node *last; // what the last pair's key names up to its last '['; or NULL
};

// tree_fill puts a form's pairs into an emptied tree; of a new one, arena and seed are set.
void tree_fill(struct tree *t, const struct form *form);
void tree_release(struct tree *t);

// tree_child finds a child by key, NULL when there is none; tree_leaf its value when it is a
// leaf (then true).
struct node *tree_child(const struct tree *t, const struct node *parent, struct span key);
bool tree_leaf(const struct tree *t, const struct node *parent, struct span key,
               struct span *value);

// tree_is_index says whether a key is a plain non-negative integer (no leading zero).
bool tree_is_index(struct span key, uint64_t *index);

// --- normal form ---------------------------------------------------------------------------

// normal_write appends the JSON object that consumers find in `data` (R4 to R7). At the
// ceiling *to is `full`.
void normal_write(struct buf *to, const struct tree *t);

#endif
