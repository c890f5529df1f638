// The tree is built from libyaml's events, not from its document loader: the loader follows
// aliases, and ten lines of aliases to aliases are a billion nodes. Here an alias is
// refused where it stands, and depth, nodes and pairs have ceilings, so the cost of a text
// is bounded by its length. The recursion is as deep as YAML_DEPTH_MAX.
#include "edge/yaml.h"

#include "base/buf.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

struct parsing {
    yaml_parser_t parser;
    struct span text;
    size_t nodes;
    bool part;  // keep what stands before a fault
    bool fails; // a node that was kept so was just given
    struct yaml_fault *fault;
};

static struct place
place_of(yaml_mark_t mark)
{
    return (struct place){(int)mark.line + 1, (int)mark.column + 1};
}

__attribute__((format(printf, 3, 4))) static void
report(struct parsing *p, struct place at, const char *format, ...)
{
    char raw[sizeof p->fault->text];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(p->fault->text, sizeof p->fault->text, span_of(raw));
    p->fault->at = at;
}

// Of bytes that are no text libyaml gives only the offset.
static struct place
place_of_fault(const struct parsing *p)
{
    const yaml_parser_t *y = &p->parser;
    struct span rest = span_to(p->text, y->problem_offset);
    struct place at = {1, 1};

    if (y->error != YAML_READER_ERROR)
        return place_of(y->problem_mark);
    for (; span_find(rest, '\n') < rest.len; at.line++)
        span_cut(&rest, '\n');
    at.column += (int)rest.len;
    return at;
}

static bool
next_event(struct parsing *p, yaml_event_t *event)
{
    const yaml_parser_t *y = &p->parser;

    if (yaml_parser_parse(&p->parser, event))
        return true;
    if (y->error == YAML_MEMORY_ERROR)
        memory_none();
    const char *problem = y->problem ? y->problem : "cannot be read";
    const char *context = y->context ? y->context : "", *hint = "";
    char begins[48] = "";
    if (*context && y->context_mark.line < y->problem_mark.line)
        snprintf(begins, sizeof begins, " that begins in line %zu",
                 y->context_mark.line + 1);
    if (strstr(problem, "cannot start any token"))
        hint = " (a tab cannot indent; a value with this character needs quotes)";
    else if (strstr(context, "flow") && memmem(p->text.at, p->text.len, "${", 2))
        hint = " (in { } and [ ] a value like ${NAME} needs quotes: \"${NAME}\")";
    else if (y->error == YAML_READER_ERROR)
        hint = " (the file must be text in UTF-8)";
    report(p, place_of_fault(p), "not YAML: %s%s%s%s%s", context, begins,
           *context ? ", " : "", problem, hint);
    return false;
}

static struct yaml_node *
node_make(enum yaml_kind kind, const yaml_event_t *event)
{
    struct yaml_node *node = memory_get(sizeof *node);

    *node = (struct yaml_node){.kind = kind, .at = place_of(event->start_mark)};
    return node;
}

void
yaml_release(struct yaml_node *node)
{
    if (!node)
        return;
    for (size_t i = 0; i < node->len; i++)
        yaml_release(node->items[i]);
    free(node->items);
    free(node->text);
    free(node);
}

static struct yaml_node *
scalar_of(struct parsing *p, const yaml_event_t *event)
{
    const char *value = (const char *)event->data.scalar.value;
    struct span text = {value, event->data.scalar.length};

    if (span_find(text, '\0') < text.len) {
        report(p, place_of(event->start_mark), "a value contains a NUL byte");
        return NULL;
    }
    struct yaml_node *node = node_make(YAML_SCALAR, event);
    node->text = memory_copy(text);
    return node;
}

static struct yaml_node *node_of(struct parsing *p, const yaml_event_t *event, int depth);

// Reads the next node; *end is set (and NULL returned) where `closing` stands instead.
static struct yaml_node *
next_node(struct parsing *p, yaml_event_type_t closing, int depth, bool *end)
{
    yaml_event_t event;

    *end = false;
    if (!next_event(p, &event))
        return NULL;
    *end = event.type == closing;
    struct yaml_node *node = *end ? NULL : node_of(p, &event, depth);
    yaml_event_delete(&event);
    return node;
}

// What there is of a list or map after which the text cannot be read: it, or NULL. A key without
// a value is none.
static struct yaml_node *
keep_part(struct parsing *p, struct yaml_node *node)
{
    if (!p->part) {
        yaml_release(node);
        return NULL;
    }
    if (node->kind == YAML_MAP && node->len % 2)
        yaml_release(node->items[--node->len]);
    node->cut = p->fails = true;
    return node;
}

static bool
check_key(struct parsing *p, const struct yaml_node *map, const struct yaml_node *key)
{
    if (key->kind != YAML_SCALAR)
        report(p, key->at, "a key must be a word, not a list or a map");
    else if (map->len == 2 * YAML_PAIRS_MAX)
        report(p, key->at, "more than %d keys in one map", YAML_PAIRS_MAX);
    else
        return true;
    return false;
}

// A list, or a map.
static struct yaml_node *
items_of(struct parsing *p, const yaml_event_t *start, int depth)
{
    bool is_map = start->type == YAML_MAPPING_START_EVENT, end;
    struct yaml_node *node = node_make(is_map ? YAML_MAP : YAML_LIST, start);

    for (;;) {
        struct yaml_node *item = next_node(
            p, is_map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT, depth, &end);
        if (end)
            return node;
        if (!item)
            return keep_part(p, node);
        bool is_key = is_map && node->len % 2 == 0;
        bool ok = !p->fails && (!is_key || check_key(p, node, item));
        if ((node->len & (node->len - 1)) == 0) // it doubles at powers of two
            node->items = memory_grow(node->items, (2 * node->len + 1) * sizeof item);
        node->items[node->len++] = item;
        if (!ok)
            return keep_part(p, node);
    }
}

static bool
has_extras(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor || event->data.scalar.tag;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor || event->data.sequence_start.tag;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor || event->data.mapping_start.tag;
    default:
        return event->type == YAML_ALIAS_EVENT;
    }
}

static struct yaml_node *
node_of(struct parsing *p, const yaml_event_t *event, int depth)
{
    struct place at = place_of(event->start_mark);

    if (has_extras(event))
        report(p, at,
               "anchors (&), aliases (*) and tags (!) are not supported: write the value "
               "out, or in quotes");
    else if (depth == YAML_DEPTH_MAX)
        report(p, at, "nested deeper than %d levels", YAML_DEPTH_MAX);
    else if (p->nodes++ == YAML_NODES_MAX)
        report(p, at, "more than %d values", YAML_NODES_MAX);
    else if (event->type == YAML_SCALAR_EVENT)
        return scalar_of(p, event);
    else
        return items_of(p, event, depth + 1);
    return NULL;
}

// Skips stream and document marks; what they open is closed by libyaml's own grammar.
static struct yaml_node *
document_of(struct parsing *p)
{
    struct yaml_node *root = NULL;

    for (;;) {
        yaml_event_t event;
        if (!next_event(p, &event))
            break;
        yaml_event_type_t type = event.type;
        bool mark = type == YAML_STREAM_START_EVENT ||
                    type == YAML_DOCUMENT_START_EVENT || type == YAML_DOCUMENT_END_EVENT;
        bool ok = mark;
        if (type == YAML_STREAM_END_EVENT && !root)
            root = node_make(YAML_MAP, &event);
        else if (root && !mark)
            report(p, place_of(event.start_mark),
                   "a second document: only one is allowed");
        else if (!mark)
            ok = (root = node_of(p, &event, 0)) != NULL;
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT || (p->fails && root))
            return root;
        if (!ok)
            break;
    }
    return root ? keep_part(p, root) : NULL;
}

struct yaml_node *
yaml_parse(struct span text, bool part, struct yaml_fault *fault)
{
    struct parsing p = {.text = text, .fault = fault, .part = part};

    *fault = (struct yaml_fault){.at = {1, 1}};
    if (text.len > YAML_BYTES_MAX) {
        snprintf(fault->text, sizeof fault->text, "larger than %d bytes", YAML_BYTES_MAX);
        return NULL;
    }
    if (!yaml_parser_initialize(&p.parser))
        memory_none();
    if (span_starts(text, SPAN("\xef\xbb\xbf"))) // a BOM, as editors on Windows write it
        text = span_from(text, 3);
    yaml_parser_set_encoding(&p.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(
        &p.parser, (const unsigned char *)(text.len ? text.at : ""), text.len);
    struct yaml_node *root = document_of(&p);
    yaml_parser_delete(&p.parser);
    return root;
}
