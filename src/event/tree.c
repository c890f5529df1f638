// AC sends what belongs together behind each other, and the form tells it (near): the
// container of the last pair is kept, so that `contact[last_name]` behind
// `contact[first_name]` is not looked for again.
//
// Small containers are searched along their list; from MANY children on, they are found in
// one hash table for the whole tree, so that ten thousand siblings cost no more each than
// ten. The table is emptied by size, not freed.
#include "event/tree.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

enum { MANY = 12, TABLE_LEAST = 256, INDEX_TEXT = 24 };

void
tree_init(struct tree *t, struct arena *arena, uint64_t seed)
{
    *t = (struct tree){.arena = arena, .seed = seed};
}

void
tree_release(struct tree *t)
{
    free(t->rest);
    free(t->table);
    *t = (struct tree){0};
}

bool
tree_is_index(struct span key, uint64_t *index)
{
    if (key.len == 0 || key.len > 19 || key.at[0] > '9' ||
        (key.at[0] == '0' && key.len > 1))
        return false;
    return text_number(index, key, INT64_MAX);
}

static uint64_t
hash(const struct tree *t, const struct node *parent, struct span key)
{
    uint64_t h = t->seed ^ (uint64_t)(uintptr_t)parent ^ key.len;

    while (key.len > 0) {
        uint64_t word = 0;
        size_t n = key.len < 8 ? key.len : 8;
        memcpy(&word, key.at, n);
        // Twice, because a product takes what differs up, never down.
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
        h ^= h >> 32;
        key = span_from(key, n);
    }
    return h;
}

static void
table_add(struct tree *t, struct node *n)
{
    struct node **bucket = &t->table[hash(t, n->parent, n->key) & (t->table_size - 1)];

    n->same_bucket = *bucket;
    *bucket = n;
}

static void
table_grow(struct tree *t)
{
    struct node **old = t->table;
    size_t old_size = t->table_size;

    t->table_size = old_size ? old_size * 2 : TABLE_LEAST;
    t->table = memory_get(t->table_size * sizeof *t->table);
    memset(t->table, 0, t->table_size * sizeof *t->table);
    for (size_t i = 0; i < old_size; i++)
        for (struct node *n = old[i], *next; n; n = next) {
            next = n->same_bucket;
            table_add(t, n);
        }
    free(old);
}

static void
remember(struct tree *t, struct node *n)
{
    if (t->table_used >= t->table_size)
        table_grow(t);
    t->table_used++;
    table_add(t, n);
}

// A container's last child, or all of them when it has just become a large one.
static void
remember_last(struct tree *t, struct node *parent)
{
    if (parent->len > MANY)
        remember(t, parent->last);
    else
        for (struct node *each = parent->first; each; each = each->next)
            remember(t, each);
}

// The bit of a key in `met`: names of fields differ in length, first or last byte.
static uint64_t
met_bit(struct span key)
{
    if (key.len == 0)
        return 1;
    return UINT64_C(1) << ((key.len * 5 + (unsigned char)key.at[0] * 3 +
                            (unsigned char)key.at[key.len - 1]) &
                           63);
}

// Not inlined: small containers, nearly all there are, would save and restore registers for
// hashing that they never do.
__attribute__((noinline)) static struct node *
find_in_table(const struct tree *t, const struct node *parent, struct span key)
{
    struct node *n = t->table[hash(t, parent, key) & (t->table_size - 1)];

    while (n && (n->parent != parent || !span_equal(n->key, key)))
        n = n->same_bucket;
    return n;
}

static inline struct node *
find(const struct tree *t, const struct node *parent, struct span key, uint64_t bit)
{
    if (!(parent->met & bit))
        return NULL;
    if (parent->len >= MANY)
        return find_in_table(t, parent, key);
    for (struct node *n = parent->first; n; n = n->next)
        if (span_equal(n->key, key))
            return n;
    return NULL;
}

struct node *
tree_child(const struct tree *t, const struct node *parent, struct span key)
{
    return find(t, parent, key, met_bit(key));
}

bool
tree_leaf(const struct tree *t, const struct node *parent, struct span key,
          struct span *value)
{
    const struct node *n = parent ? tree_child(t, parent, key) : NULL;

    if (!n || !n->is_leaf)
        return false;
    *value = n->value;
    return true;
}

static inline struct node *
add_child(struct tree *t, struct node *parent, struct span key, uint64_t bit,
          bool appended, bool key_is_plain)
{
    struct node *n = arena_get(t->arena, sizeof *n);
    uint64_t index;

    *n = (struct node){.key = key,
                       .appended = appended,
                       .all_appended = true,
                       .key_is_plain = key_is_plain,
                       .parent = parent};
    *(parent->last ? &parent->last->next : &parent->first) = n;
    parent->last = n;
    parent->met |= bit;
    parent->all_appended = parent->all_appended && appended;
    if (tree_is_index(key, &index) && index >= parent->index)
        parent->index = index + 1;
    if (++parent->len >= MANY)
        remember_last(t, parent);
    return n;
}

static struct span
next_key(struct tree *t, const struct node *parent)
{
    char *text = arena_get(t->arena, INDEX_TEXT);
    int len = snprintf(text, INDEX_TEXT, "%llu", (unsigned long long)parent->index);

    return span_make(text, (size_t)len);
}

// `[]` behind the greatest index there is (PHP's, 2^63 - 1) opens nothing.
__attribute__((noinline)) static struct node *
append(struct tree *t, struct node *parent, bool *made)
{
    if (parent->index > INT64_MAX)
        return NULL;
    *made = true;
    struct span key = next_key(t, parent);
    return add_child(t, parent, key, met_bit(key), true, true);
}

// step goes from a container to the child a segment names, making it when it is not there.
// NULL: there can be none.
static struct node *
step(struct tree *t, struct node *parent, struct span segment, bool is_plain, bool *made)
{
    if (segment.len == 0) // a root is never empty: form_path_parse
        return append(t, parent, made);
    uint64_t bit = met_bit(segment);
    struct node *n = *made ? NULL : find(t, parent, segment, bit);
    if (n)
        return n;
    *made = true;
    return add_child(t, parent, segment, bit, false, is_plain);
}

static bool
set_leaf(struct node *n, const struct form_pair *pair)
{
    n->is_leaf = true;
    n->value = pair->value;
    n->value_is_plain = pair->value_is_plain;
    return true;
}

// put_near puts a pair beside the last one. false: its place is taken.
static bool
put_near(struct tree *t, const struct form_pair *pair)
{
    struct span segment =
        span_make(pair->key.at + pair->near, pair->key.len - pair->near - 1);
    bool made = false;
    struct node *n = step(t, t->near, segment, pair->key_is_plain, &made);

    return made && set_leaf(n, pair);
}

// What a pair's last segment stands in is near to the next pair, unless `[]` made it (then
// the same bytes mean another), or that segment holds the key's last '['.
static struct node *
near_of(const struct form_path *path, const struct node *leaf)
{
    const struct span *last = &path->segments[path->len - 1];

    for (size_t i = 0; i + 1 < path->len; i++)
        if (path->segments[i].len == 0)
            return NULL;
    return span_find(*last, '[') == last->len ? leaf->parent : NULL;
}

static bool
put_path(struct tree *t, const struct form_pair *pair)
{
    struct form_path path;
    bool made = false;

    if (!form_path_parse(&path, pair->key) || span_is(path.root, "_relay"))
        return false;
    struct node *n = step(t, &t->root, path.root, pair->key_is_plain, &made);
    for (size_t i = 0; i < path.len; i++) {
        if (n->is_leaf)
            return false;
        n = step(t, n, path.segments[i], pair->key_is_plain, &made);
        if (!n)
            return false; // nothing was made on the way: its container was there
    }
    if (!made)
        return false;
    if (path.len > 0)
        t->near = near_of(&path, n);
    return set_leaf(n, pair);
}

static bool
put_root(struct tree *t, const struct form_pair *pair)
{
    bool made = false;

    if (pair->key.len == 0 || span_is(pair->key, "_relay"))
        return false;
    struct node *n = step(t, &t->root, pair->key, pair->key_is_plain, &made);
    return made && set_leaf(n, pair);
}

static bool
put(struct tree *t, const struct form_pair *pair)
{
    if (pair->near > 0 && t->near && put_near(t, pair))
        return true;
    t->near = NULL;
    return pair->has_segments ? put_path(t, pair) : put_root(t, pair);
}

static void
add_rest(struct tree *t, const struct form_pair *pair)
{
    if (t->rest_len == t->rest_cap) {
        t->rest_cap = t->rest_cap ? t->rest_cap * 2 : 16;
        t->rest = memory_grow(t->rest, t->rest_cap * sizeof *t->rest);
    }
    t->rest[t->rest_len++] = pair;
}

void
tree_fill(struct tree *t, const struct form *form)
{
    t->root = (struct node){.all_appended = false};
    t->near = NULL;
    t->rest_len = 0;
    if (t->table_used > 0)
        memset(t->table, 0, t->table_size * sizeof *t->table);
    t->table_used = 0;
    for (size_t i = 0; i < form->len; i++)
        if (!put(t, &form->pairs[i]))
            add_rest(t, &form->pairs[i]);
}
