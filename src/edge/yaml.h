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

struct place {
    int line, column; // counted from 1
};

struct yaml_node {
    enum yaml_kind kind;
    struct place at;          // of its first character
    char *text;               // YAML_SCALAR: UTF-8 without NUL bytes, NUL-terminated
    struct yaml_node **items; // YAML_LIST; YAML_MAP: each key, a scalar, before its value
    size_t len;               // of items
    bool cut; // more of it may have stood after a fault (`part` of yaml_parse)
};

// What is wrong with a text that is not YAML, or more than we take. The text is escaped.
struct yaml_fault {
    struct place at;
    char text[256];
};

// yaml_parse reads a document; an empty one is an empty map. NULL with *fault set. With `part`
// it reads as far as the text can be read, and what was open there is `cut`.
struct yaml_node *yaml_parse(struct span text, bool part, struct yaml_fault *fault);

void yaml_release(struct yaml_node *root); // NULL is fine

#endif
