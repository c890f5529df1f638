// A list is written as one only where the keys can be found again: from their order, or from
// an `index` that each item gains.
#include "event/fields.h"

#include "event/json.h"

bool
items_are_counted(const struct node *n)
{
    uint64_t want = 0, index;

    for (const struct node *c = n->first; c; c = c->next, want++)
        if (!tree_is_index(c->key, &index) || index != want)
            return false;
    return true;
}

bool
items_are_leaves(const struct node *n)
{
    for (const struct node *c = n->first; c; c = c->next)
        if (!c->is_leaf)
            return false;
    return true;
}

void
items_write(struct writer *w, const struct node *n, const char *scalar_key, bool index,
            write_node *value)
{
    bool first = true;

    buf_add_byte(w->to, '{');
    if (n->is_leaf) {
        writer_key(w, span_of(scalar_key), &first);
        value(w, n);
    }
    for (const struct node *c = n->first; c; c = c->next) {
        if (!span_is(c->key, "value")) {
            writer_member(w, c, &first);
            continue;
        }
        writer_key_of(w, c, &first);
        value(w, c);
    }
    if (index) {
        writer_key(w, SPAN("index"), &first);
        json_add_string(w->to, n->key);
    }
    buf_add_byte(w->to, '}');
}

bool
items_can_gain_index(const struct tree *t, const struct node *n)
{
    for (const struct node *c = n->first; c; c = c->next)
        if (!c->is_leaf && (c->all_appended || tree_child(t, c, SPAN("index"))))
            return false;
    return true;
}

void
items_write_values(struct writer *w, const struct node *n)
{
    if (!n->is_leaf && items_are_counted(n) && items_are_leaves(n))
        writer_array(w, n, writer_plain);
    else
        writer_plain(w, n);
}

// `||a||b||` is a choice of several.
static bool
is_choice(struct span s)
{
    return span_is(s, "||") || (s.len >= 4 && memcmp(s.at, "||", 2) == 0 &&
                                memcmp(s.at + s.len - 2, "||", 2) == 0);
}

// The place of the first "||", or the length. (memmem costs more than all of a short text.)
static size_t
find_bars(struct span s)
{
    size_t at = span_find(s, '|');

    while (at + 1 < s.len && s.at[at + 1] != '|')
        at += 1 + span_find(span_from(s, at + 1), '|');
    return at + 1 < s.len ? at : s.len;
}

// What stands between the outer bars, split at each "||": joined again it is the same.
static void
write_choice(struct writer *w, struct span s)
{
    struct span rest = s.len > 4 ? span_make(s.at + 2, s.len - 4) : (struct span){0};
    bool first = true;

    buf_add_byte(w->to, '[');
    while (s.len > 4) {
        size_t bars = find_bars(rest);
        writer_separate(w, &first);
        json_add_string(w->to, span_to(rest, bars));
        if (bars == rest.len)
            break;
        rest = span_from(rest, bars + 2);
    }
    buf_add_byte(w->to, ']');
}

// The value of a custom field: a choice, an array, or as sent.
static void
write_field_value(struct writer *w, const struct node *n)
{
    if (n->is_leaf && is_choice(n->value))
        write_choice(w, n->value);
    else if (n->is_leaf)
        writer_leaf(w, n);
    else if (n->all_appended || items_are_counted(n))
        writer_array(w, n, write_field_value);
    else
        writer_object(w, n, NULL, write_field_value);
}

void
fields_write_contact(struct writer *w, const struct node *n)
{
    writer_object(w, n, NULL, write_field_value);
}

void
fields_write_record(struct writer *w, const struct node *n)
{
    uint64_t index;
    bool first = true;
    bool counted = !n->is_leaf && items_are_counted(n);

    if (n->is_leaf || !items_can_gain_index(w->tree, n)) {
        writer_plain(w, n);
        return;
    }
    buf_add_byte(w->to, '[');
    for (const struct node *c = n->first; c; c = c->next) {
        writer_separate(w, &first);
        if (!c->is_leaf) {
            items_write(w, c, "", !counted, write_field_value);
            continue;
        }
        bool inner = true;
        buf_add_byte(w->to, '{');
        writer_key(w, tree_is_index(c->key, &index) ? SPAN("id") : SPAN("key"), &inner);
        json_add_string(w->to, c->key);
        writer_key(w, SPAN("value"), &inner);
        write_field_value(w, c);
        buf_add_byte(w->to, '}');
    }
    buf_add_byte(w->to, ']');
}
