// AC sends what belongs together in a row, and the form sees it (same_prefix): the
// container of the last pair is kept, so that `contact[last_name]` after
// `contact[first_name]` is not searched again.
//
// Small containers are searched along their list; from MANY children on, they are found in
// one hash table for the whole tree, so that ten thousand siblings cost no more each than
// ten. The table is emptied by size, not freed.
#include "event/form.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

enum { MANY = 12, TABLE_MIN = 256, INDEX_TEXT = 24, SEGMENTS_MAX = 16 };

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

    t->table_size = old_size ? old_size * 2 : TABLE_MIN;
    t->table = memory_get(t->table_size * sizeof *t->table);
    memset(t->table, 0, t->table_size * sizeof *t->table);
    for (size_t i = 0; i < old_size; i++)
        for (struct node *n = old[i], *next; n; n = next) {
            next = n->same_bucket;
            table_add(t, n);
        }
    free(old);
}

// remember puts a container's last child into the table; all of them when it just became
// large.
static void
remember(struct tree *t, struct node *parent)
{
    struct node *n = parent->len == MANY ? parent->first : parent->last;

    for (; n; n = n->next) {
        if (t->table_used >= t->table_size)
            table_grow(t);
        t->table_used++;
        table_add(t, n);
    }
}

static struct node *
find_in_table(const struct tree *t, const struct node *parent, struct span key)
{
    struct node *n = t->table[hash(t, parent, key) & (t->table_size - 1)];

    while (n && (n->parent != parent || !span_equal(n->key, key)))
        n = n->same_bucket;
    return n;
}

// Names of fields differ in length or last byte: most are not compared further.
static bool
is_key(const struct node *n, struct span key)
{
    return n->key.len == key.len && n->key.at[key.len - 1] == key.at[key.len - 1] &&
           memcmp(n->key.at, key.at, key.len) == 0;
}

static inline struct node *
find(const struct tree *t, const struct node *parent, struct span key)
{
    struct node *n = parent->first;

    if (parent->len >= MANY)
        return find_in_table(t, parent, key);
    while (n && !is_key(n, key))
        n = n->next;
    return n;
}

struct node *
tree_child(const struct tree *t, const struct node *parent, struct span key)
{
    return find(t, parent, key);
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
add_child(struct tree *t, struct node *parent, struct span key, bool appended,
          bool key_is_plain)
{
    struct node *n = arena_get(t->arena, sizeof *n);
    uint64_t index;

    *n = (struct node){
        .key = key, .all_appended = true, .key_is_plain = key_is_plain, .parent = parent};
    *(parent->last ? &parent->last->next : &parent->first) = n;
    parent->last = n;
    parent->all_appended = parent->all_appended && appended;
    if (tree_is_index(key, &index) && index >= parent->index)
        parent->index = index + 1;
    if (++parent->len >= MANY)
        remember(t, parent);
    return n;
}

static struct span
next_key(struct tree *t, const struct node *parent)
{
    char *text = arena_get(t->arena, INDEX_TEXT);
    int len = snprintf(text, INDEX_TEXT, "%llu", (unsigned long long)parent->index);

    return span_make(text, (size_t)len);
}

// `[]` after the greatest index there is (PHP's, 2^63 - 1) opens nothing.
static struct node *
append(struct tree *t, struct node *parent, bool *made)
{
    if (parent->index > INT64_MAX)
        return NULL;
    *made = true;
    struct span key = next_key(t, parent);
    return add_child(t, parent, key, true, true);
}

// step goes from a container to the child a segment names, making it when it is not there.
// NULL: there can be none.
static struct node *
step(struct tree *t, struct node *parent, struct span segment, bool is_plain, bool *made)
{
    if (segment.len == 0) // a root is never empty: parse_path
        return append(t, parent, made);
    struct node *n = *made ? NULL : find(t, parent, segment);
    if (n)
        return n;
    *made = true;
    return add_child(t, parent, segment, false, is_plain);
}

// --- paths (R3) ---------------------------------------------------------------------------

// The path in a key: `contact[fields][12]` is root "contact", segments "fields", "12".
struct path {
    struct span root;
    struct span segments[SEGMENTS_MAX];
    size_t len;
};

// The segment that opens at key[at] == '[' ends at the first ']' that another '[' or the end
// follows. Returns its end, or 0 when there is none.
static size_t
segment_end(struct span key, size_t at)
{
    for (size_t i = at + 1; i < key.len; i++)
        if (key.at[i] == ']' && (i + 1 == key.len || key.at[i + 1] == '['))
            return i;
    return 0;
}

// Splits a decoded key. false: the pair belongs to rest (an empty root or more than
// SEGMENTS_MAX segments). A key that does not follow the grammar is one literal root.
static bool
parse_path(struct path *path, struct span key)
{
    size_t at = span_find(key, '[');
    bool too_deep = false;

    path->root = span_to(key, at);
    path->len = 0;
    while (at < key.len) {
        size_t end = segment_end(key, at);
        if (end == 0) {
            path->root = key;
            path->len = 0;
            return true;
        }
        if (path->len < SEGMENTS_MAX)
            path->segments[path->len++] = span_make(key.at + at + 1, end - at - 1);
        else
            too_deep = true;
        at = end + 1;
    }
    return path->root.len > 0 && !too_deep;
}

static bool
set_leaf(struct node *n, const struct form_pair *pair)
{
    n->is_leaf = true;
    n->value = pair->value;
    n->value_is_plain = pair->value_is_plain;
    return true;
}

// put_beside_last puts a pair into the container of the last one. false: its place is taken.
static bool
put_beside_last(struct tree *t, const struct form_pair *pair)
{
    struct span segment =
        span_from(span_to(pair->key, pair->key.len - 1), pair->same_prefix);
    bool made = false;
    struct node *n = step(t, t->last, segment, pair->key_is_plain, &made);

    return made && set_leaf(n, pair);
}

// The container that a pair's key names up to its last '['. NULL: `[]` stands before it
// (the same bytes mean another container next time), or that bracket is a byte of the
// last segment.
static struct node *
container_of(const struct path *path, const struct node *leaf)
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
    struct path path;
    bool made = false;

    if (!parse_path(&path, pair->key) || span_is(path.root, "_relay"))
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
        t->last = container_of(&path, n);
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
    if (pair->same_prefix > 0 && t->last && put_beside_last(t, pair))
        return true;
    t->last = NULL;
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
    t->last = NULL;
    t->rest_len = 0;
    if (t->table_used > 0)
        memset(t->table, 0, t->table_size * sizeof *t->table);
    t->table_used = 0;
    for (size_t i = 0; i < form->len; i++)
        if (!put(t, &form->pairs[i]))
            add_rest(t, &form->pairs[i]);
}
