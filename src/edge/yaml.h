// YAML as a tree of our own: scalars, lists and maps, each with its place in the text. It
// is the part of YAML 1.1 that a configuration needs: one document, no anchors, aliases or
// tags. Every scalar is text; what it means is the reader's business.
#ifndef ACRELAY_EDGE_YAML_H
#define ACRELAY_EDGE_YAML_H

#include "base/span.h"

enum {
    YAML_BYTES_MAX = 1 << 20,
    YAML_DEPTH_MAX = 16,
    YAML_NODES_MAX = 100000,
    YAML_PAIRS_MAX = 256, // in one map
};

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_pair;

struct yaml_node {
    enum yaml_kind kind;
    int line, column;         // of its first character, counted from 1
    char *text;               // YAML_SCALAR: UTF-8 without NUL bytes, NUL-terminated
    struct yaml_node **items; // YAML_LIST
    struct yaml_pair *pairs;  // YAML_MAP, in the order of the text
    size_t len;               // of items or pairs
    bool cut; // more of it may have stood after a fault (`part` of yaml_parse)
};

// A key is always a scalar. `first` is the earlier key of the same map that reads the
// same, NULL when there is none: the tree keeps both, and the reader reports it.
struct yaml_pair {
    struct yaml_node *key, *value;
    const struct yaml_node *first;
};

// What is wrong with a text that is not YAML, or more than we take. line is 0 when it
// concerns the file as a whole. The text is escaped.
struct yaml_fault {
    int line, column;
    char text[256];
};

// yaml_parse reads a document; an empty one is an empty map. NULL with *fault set. With `part`
// it reads as far as the text can be read, and what was open there is `cut`.
struct yaml_node *yaml_parse(struct span text, bool part, struct yaml_fault *fault);

void yaml_release(struct yaml_node *root); // NULL is fine

#endif
