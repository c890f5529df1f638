// A writer puts nodes of a tree into a buf as JSON: keys, values, and containers as they were
// sent (NORMAL-FORM.md R4). What a known path means beyond that is said in normal.c.
#ifndef ACRELAY_EVENT_WRITER_H
#define ACRELAY_EVENT_WRITER_H

#include "event/tree.h"

// What a writer changed beyond recognition: written last, as `_relay` (R5).
struct extras {
    struct span tags; // contact.tags where joining does not give it back
    bool has_tags;
    const struct node *updated_values;
};

struct writer {
    struct buf *to; // looked at once, at the end: it may be full
    const struct tree *tree;
    struct extras extras;
};

typedef void write_node(struct writer *w, const struct node *n);

// What writes what stands under a key; NULL: the key means nothing there.
typedef write_node *known_writer(struct span key);

// Before each item of a list, and before each member of an object: a comma if it is not the
// first, and the member's key.
void writer_separate(struct writer *w, bool *first);
void writer_key(struct writer *w, struct span key, bool *first);
void writer_key_of(struct writer *w, const struct node *n, bool *first);

// writer_leaf writes a leaf's value, writer_plain any node as it was sent, writer_member a
// member of an object as it was sent.
void writer_leaf(struct writer *w, const struct node *n);
void writer_plain(struct writer *w, const struct node *n);
void writer_member(struct writer *w, const struct node *n, bool *first);

// writer_object writes each child with what `known` (which may be NULL) says, those it does
// not know with `other`. A leaf or an array is written with `other` itself.
void writer_object(struct writer *w, const struct node *n, known_writer *known,
                   write_node *other);

// writer_array writes the children without their keys, as a JSON array.
void writer_array(struct writer *w, const struct node *n, write_node *value);

#endif
