// A tree is the pairs of a form put where their keys say (NORMAL-FORM.md R4, R5): containers
// keep their children in order of first appearance; what collides goes to rest, in order.
#ifndef ACRELAY_EVENT_TREE_H
#define ACRELAY_EVENT_TREE_H

#include "event/form.h"

struct node {
    struct span key;
    struct span value; // of a leaf
    bool is_leaf;
    bool key_is_plain, value_is_plain; // as in struct form_pair
    bool appended;                     // its key came from `[]`
    bool all_appended;                 // of a container: every child's key came from `[]`
    struct node *next;                 // sibling
    struct node *first, *last;
    size_t len;     // children
    uint64_t met;   // a bit for each child's key: a bit not set is a key not there
    uint64_t index; // the key that the next `[]` opens
    struct node *same_bucket; // in the tree's table of large containers
    struct node *parent;
};

struct tree {
    struct node root;
    const struct form_pair **rest;
    size_t rest_len, rest_cap;
    struct node **table; // children of containers with many of them, by parent and key
    size_t table_size, table_used;
    uint64_t seed;
    struct arena *arena;
    struct node *near; // what the key of the last pair names up to its last '['; or NULL
};

// tree_init makes an empty tree; `seed` is random, so that nobody can send keys that all
// fall into one bucket.
void tree_init(struct tree *t, struct arena *arena, uint64_t seed);
void tree_release(struct tree *t);

// tree_fill puts a form's pairs into an emptied tree. Nodes live in the arena.
void tree_fill(struct tree *t, const struct form *form);

// tree_child finds a child by key, NULL when there is none; tree_leaf its value when it is a
// leaf (then true).
struct node *tree_child(const struct tree *t, const struct node *parent, struct span key);
bool tree_leaf(const struct tree *t, const struct node *parent, struct span key,
               struct span *value);

// tree_is_index says whether a key is a plain non-negative integer (no leading zero).
bool tree_is_index(struct span key, uint64_t *index);

#endif
