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

__attribute__((format(printf, 3, 4))) static void
report(struct parsing *p, const yaml_mark_t *at, const char *format, ...)
{
    char raw[sizeof p->fault->text];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(p->fault->text, sizeof p->fault->text, span_of(raw));
    p->fault->line = (int)at->line + 1;
    p->fault->column = (int)at->column + 1;
}

static void
report_parser(struct parsing *p)
{
    const yaml_parser_t *y = &p->parser;
    const char *problem = y->problem ? y->problem : "cannot be read";

    if (y->error == YAML_MEMORY_ERROR)
        memory_none();
    const char *context = y->context ? y->context : "", *hint = "";
    if (strstr(problem, "cannot start any token"))
        hint = " (a tab cannot indent; a value with this character needs quotes)";
    else if (strstr(context, "flow") && memmem(p->text.at, p->text.len, "${", 2))
        hint = " (in { } and [ ] a value like ${NAME} needs quotes: \"${NAME}\")";
    report(p, &y->problem_mark, "not YAML: %s%s%s%s", context, *context ? ", " : "",
           problem, hint);
}

static bool
next_event(struct parsing *p, yaml_event_t *event)
{
    if (yaml_parser_parse(&p->parser, event))
        return true;
    report_parser(p);
    return false;
}

static struct yaml_node *
node_make(enum yaml_kind kind, const yaml_event_t *event)
{
    struct yaml_node *node = memory_get(sizeof *node);

    *node = (struct yaml_node){.kind = kind,
                               .line = (int)event->start_mark.line + 1,
                               .column = (int)event->start_mark.column + 1};
    return node;
}

void
yaml_release(struct yaml_node *node)
{
    if (!node)
        return;
    for (size_t i = 0; i < node->len; i++) {
        if (node->kind == YAML_LIST) {
            yaml_release(node->items[i]);
        } else {
            yaml_release(node->pairs[i].key);
            yaml_release(node->pairs[i].value);
        }
    }
    free(node->items);
    free(node->pairs);
    free(node->text);
    free(node);
}

static struct yaml_node *
scalar_of(struct parsing *p, const yaml_event_t *event)
{
    const char *value = (const char *)event->data.scalar.value;
    struct span text = {value, event->data.scalar.length};

    if (span_find(text, '\0') < text.len) {
        report(p, &event->start_mark, "a value contains a NUL byte");
        return NULL;
    }
    struct yaml_node *node = node_make(YAML_SCALAR, event);
    node->text = memory_copy(text);
    return node;
}

static void
list_add(struct yaml_node *list, struct yaml_node *item)
{
    list->items = memory_grow(list->items, (list->len + 1) * sizeof *list->items);
    list->items[list->len++] = item;
}

static void
map_add(struct yaml_node *map, struct yaml_node *key, struct yaml_node *value)
{
    struct yaml_pair pair = {key, value, NULL};

    for (size_t i = 0; i < map->len && !pair.first; i++)
        if (strcmp(map->pairs[i].key->text, key->text) == 0)
            pair.first = map->pairs[i].key;
    map->pairs = memory_grow(map->pairs, (map->len + 1) * sizeof *map->pairs);
    map->pairs[map->len++] = pair;
}

static struct yaml_node *node_of(struct parsing *p, const yaml_event_t *event, int depth);

// What there is of a list or map after which the text cannot be read: it, or NULL.
static struct yaml_node *
keep_part(struct parsing *p, struct yaml_node *node)
{
    if (p->part) {
        node->cut = p->fails = true;
        return node;
    }
    yaml_release(node);
    return NULL;
}

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

static struct yaml_node *
list_of(struct parsing *p, const yaml_event_t *start, int depth)
{
    struct yaml_node *list = node_make(YAML_LIST, start);
    bool end;

    for (;;) {
        struct yaml_node *item = next_node(p, YAML_SEQUENCE_END_EVENT, depth, &end);
        if (end)
            return list;
        if (item)
            list_add(list, item);
        if (!item || p->fails)
            return keep_part(p, list);
    }
}

static bool
check_key(struct parsing *p, const struct yaml_node *map, const struct yaml_node *key)
{
    yaml_mark_t at = {.line = (size_t)key->line - 1, .column = (size_t)key->column - 1};

    if (key->kind != YAML_SCALAR)
        report(p, &at, "a key must be a word, not a list or a map");
    else if (map->len == YAML_PAIRS_MAX)
        report(p, &at, "more than %d keys in one map", YAML_PAIRS_MAX);
    else
        return true;
    return false;
}

static struct yaml_node *
map_of(struct parsing *p, const yaml_event_t *start, int depth)
{
    struct yaml_node *map = node_make(YAML_MAP, start), *key;
    bool end;

    for (;;) {
        key = next_node(p, YAML_MAPPING_END_EVENT, depth, &end);
        if (end)
            return map;
        struct yaml_node *value = NULL;
        if (key && !p->fails && check_key(p, map, key))
            value = next_node(p, YAML_NO_EVENT, depth, &end);
        if (value)
            map_add(map, key, value);
        else
            yaml_release(key);
        if (!value || p->fails)
            return keep_part(p, map);
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
    if (has_extras(event))
        report(p, &event->start_mark,
               "anchors (&), aliases (*) and tags (!) are not supported: write the value "
               "out, or in quotes");
    else if (depth == YAML_DEPTH_MAX)
        report(p, &event->start_mark, "nested deeper than %d levels", YAML_DEPTH_MAX);
    else if (p->nodes++ == YAML_NODES_MAX)
        report(p, &event->start_mark, "more than %d values", YAML_NODES_MAX);
    else if (event->type == YAML_SCALAR_EVENT)
        return scalar_of(p, event);
    else if (event->type == YAML_SEQUENCE_START_EVENT)
        return list_of(p, event, depth + 1);
    else
        return map_of(p, event, depth + 1);
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
            report(p, &event.start_mark, "a second document: only one is allowed");
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

    *fault = (struct yaml_fault){0};
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
