// Whatever writes a value writes a comma after it; what ends the container takes the place of
// the last one. Known paths are functions from key to writer: comparisons with constants cost
// next to nothing, a table cost a tenth of an event.
#include "event/form.h"
#include "event/json.h"

struct writer {
    struct buf *to; // checked once, at the end: it may be full
    const struct tree *tree;
    // What was changed beyond recognition: written last, as `_relay` (R5).
    const struct node *updated_values, *tags;
};

typedef void write_node(struct writer *w, const struct node *n);

// What writes the value of a key; NULL: the key means nothing there.
typedef write_node *known_writer(struct span key);

// --- as sent (R4) -------------------------------------------------------------------------

static void
add(struct writer *w, char c)
{
    buf_add_byte(w->to, c);
}

static void
drop_comma(struct writer *w)
{
    if (!w->to->full && w->to->at[w->to->len - 1] == ',')
        w->to->len--;
}

static void
end(struct writer *w, char bracket)
{
    drop_comma(w);
    buf_add(w->to, span_make((char[]){bracket, ','}, 2));
}

static void
add_text(struct writer *w, struct span text, char after)
{
    json_add_string(w->to, text, false, after);
}

static void
write_leaf(struct writer *w, const struct node *n)
{
    json_add_string(w->to, n->value, n->value_is_plain, ',');
}

static write_node write_as_sent;

// A member of an object. One question for room instead of four where it is a plain leaf:
// this is where most bytes of an event pass.
static void
write_member(struct writer *w, const struct node *n, write_node *value)
{
    bool plain =
        value == write_as_sent && n->is_leaf && n->key_is_plain && n->value_is_plain;
    char *at = plain ? buf_room(w->to, n->key.len + n->value.len + 6) : NULL;

    if (at) {
        w->to->len +=
            (size_t)(json_put_plain(json_put_plain(at, n->key, ':'), n->value, ',') - at);
        return;
    }
    json_add_string(w->to, n->key, n->key_is_plain, ':');
    value(w, n);
}

static void
write_members(struct writer *w, const struct node *n, known_writer *known,
              write_node *other)
{
    for (const struct node *c = n->first; c; c = c->next) {
        write_node *value = known ? known(c->key) : NULL;
        write_member(w, c, value ? value : other);
    }
}

static void
write_object(struct writer *w, const struct node *n, known_writer *known,
             write_node *other)
{
    add(w, '{');
    write_members(w, n, known, other);
    end(w, '}');
}

static void
write_array(struct writer *w, const struct node *n, write_node *value)
{
    add(w, '[');
    for (const struct node *c = n->first; c; c = c->next)
        value(w, c);
    end(w, ']');
}

static void
write_as_sent(struct writer *w, const struct node *n)
{
    if (n->is_leaf)
        write_leaf(w, n);
    else if (n->all_appended)
        write_array(w, n, write_as_sent);
    else
        write_object(w, n, NULL, write_as_sent);
}

// --- lists and custom fields (R6) ---------------------------------------------------------

// A list is written as one only where the keys can be found again: from their order, or from
// an `index` that each item gains.

// The keys are 0..n-1 in order, so that their order alone tells them.
static bool
is_counted(const struct node *n)
{
    uint64_t want = 0, index;

    for (const struct node *c = n->first; c; c = c->next, want++)
        if (!tree_is_index(c->key, &index) || index != want)
            return false;
    return true;
}

static bool
has_only_leaves(const struct node *n)
{
    for (const struct node *c = n->first; c; c = c->next)
        if (!c->is_leaf)
            return false;
    return true;
}

// A scalar, or scalars under 0..n-1.
static bool
is_scalars(const struct node *n)
{
    return n->is_leaf || (is_counted(n) && has_only_leaves(n));
}

// An item that is its value alone; a custom field (no `scalar`) may have several.
static bool
is_value(const struct node *n, const char *scalar)
{
    return scalar ? n->is_leaf : is_scalars(n);
}

// `index` may be added to each item. One with a member `index` of its own could not be
// distinguished from one that gained it, and an array has no members.
static bool
can_gain_index(const struct tree *t, const struct node *n, const char *scalar)
{
    for (const struct node *c = n->first; c; c = c->next)
        if (!is_value(c, scalar) && (c->all_appended || tree_child(t, c, SPAN("index"))))
            return false;
    return true;
}

// One object of a list. A value stands under `scalar`; with NULL it is a custom field, known
// by its id or label. "value", and a value, are written with `value`.
static void
write_item(struct writer *w, const struct node *n, const char *scalar, bool index,
           write_node *value)
{
    bool is_alone = is_value(n, scalar);
    uint64_t id;

    add(w, '{');
    if (is_alone && !scalar) {
        add_text(w, tree_is_index(n->key, &id) ? SPAN("id") : SPAN("key"), ':');
        add_text(w, n->key, ',');
        scalar = "value";
        index = false;
    }
    if (is_alone) {
        add_text(w, span_of(scalar), ':');
        value(w, n);
    }
    for (const struct node *c = is_alone ? NULL : n->first; c; c = c->next)
        write_member(w, c, span_is(c->key, "value") ? value : write_as_sent);
    if (index) {
        add_text(w, SPAN("index"), ':');
        add_text(w, n->key, ',');
    }
    end(w, '}');
}

static void
write_items(struct writer *w, const struct node *n, const char *scalar, write_node *value)
{
    bool index = !is_counted(n);

    if (n->is_leaf || !can_gain_index(w->tree, n, scalar)) {
        write_as_sent(w, n);
        return;
    }
    add(w, '[');
    for (const struct node *c = n->first; c; c = c->next)
        write_item(w, c, scalar, index, value);
    end(w, ']');
}

// The parts of s as an array: joined again with `by` they are the same.
static void
write_split(struct writer *w, struct span s, struct span by)
{
    const char *at;

    add(w, '[');
    while ((at = memmem(s.at, s.len, by.at, by.len))) {
        size_t len = (size_t)(at - s.at);
        add_text(w, span_to(s, len), ',');
        s = span_from(s, len + by.len);
    }
    add_text(w, s, ',');
    end(w, ']');
}

// The value of a custom field: `||a||b||` is a choice of several; else an array, or as sent.
static void
write_field_value(struct writer *w, const struct node *n)
{
    struct span s = n->value;
    bool is_choice = s.len >= 4 && memcmp(s.at, "||", 2) == 0 &&
                     memcmp(s.at + s.len - 2, "||", 2) == 0;

    if (is_choice && s.len > 4)
        write_split(w, span_make(s.at + 2, s.len - 4), SPAN("||"));
    else if (is_choice || span_is(s, "||"))
        buf_add_text(w->to, "[],");
    else if (n->is_leaf)
        write_leaf(w, n);
    else if (n->all_appended || is_counted(n))
        write_array(w, n, write_field_value);
    else
        write_object(w, n, NULL, write_field_value);
}

static void
write_contact_fields(struct writer *w, const struct node *n)
{
    if (n->is_leaf || n->all_appended)
        write_field_value(w, n);
    else
        write_object(w, n, NULL, write_field_value);
}

static void
write_record_fields(struct writer *w, const struct node *n)
{
    write_items(w, n, NULL, write_field_value);
}

// --- known paths (R6, R7) -----------------------------------------------------------------

// list[id]=3, list[name]=..: one list, and these are its members.
static bool
is_one_object(const struct node *n)
{
    uint64_t index;

    for (const struct node *c = n->first; c; c = c->next)
        if (c->is_leaf && !tree_is_index(c->key, &index))
            return true;
    return false;
}

static void
write_list(struct writer *w, const struct node *n)
{
    if (!n->is_leaf && !is_one_object(n)) {
        write_items(w, n, "id", write_as_sent);
        return;
    }
    add(w, '[');
    if (!n->is_leaf)
        write_as_sent(w, n);
    else if (n->value.len > 0 && !span_is(n->value, "0"))
        write_item(w, n, "id", false, write_as_sent);
    end(w, ']');
}

static void
write_leaves(struct writer *w, const struct node *n)
{
    if (n->is_leaf)
        write_leaf(w, n);
    for (const struct node *c = n->first; c; c = c->next)
        write_leaves(w, c);
}

// All leaves of a node as one array; of an empty scalar, none.
static void
write_flat(struct writer *w, const struct node *n)
{
    add(w, '[');
    if (!n->is_leaf || n->value.len > 0)
        write_leaves(w, n);
    end(w, ']');
}

static void
write_scalars(struct writer *w, const struct node *n)
{
    (is_scalars(n) ? write_flat : write_as_sent)(w, n);
}

static void
write_note(struct writer *w, const struct node *n)
{
    if (n->is_leaf)
        write_item(w, n, "text", false, write_as_sent);
    else
        write_as_sent(w, n);
}

static void
write_updated_fields(struct writer *w, const struct node *n)
{
    if (is_scalars(n) || !has_only_leaves(n)) {
        write_scalars(w, n);
        return;
    }
    w->updated_values = n;
    add(w, '[');
    for (const struct node *c = n->first; c; c = c->next)
        add_text(w, c->key, ',');
    end(w, ']');
}

// A comma that no space follows: then commas alone separate.
static bool
has_bare_comma(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] == ',' && (i + 1 == s.len || s.at[i + 1] != ' '))
            return true;
    return false;
}

static void
write_tags(struct writer *w, const struct node *n)
{
    bool bare_comma = n->is_leaf && has_bare_comma(n->value);

    if (bare_comma || !is_scalars(n))
        w->tags = n;
    if (n->is_leaf && n->value.len > 0)
        write_split(w, n->value, bare_comma ? SPAN(",") : SPAN(", "));
    else
        write_flat(w, n);
}

// A date of all zeros is none.
static void
write_date(struct writer *w, const struct node *n)
{
    bool is_zero = n->is_leaf && span_starts(n->value, SPAN("0000-00-00"));

    for (size_t i = 0; is_zero && i < n->value.len; i++)
        is_zero = memchr("0-: T+Z.", n->value.at[i], 8);
    if (is_zero)
        buf_add_text(w->to, "null,");
    else
        write_as_sent(w, n);
}

static write_node *
known_in_contact(struct span key)
{
    return span_is(key, "tags")     ? write_tags
           : span_is(key, "fields") ? write_contact_fields
                                    : NULL;
}

static write_node *
known_in_deal(struct span key)
{
    return span_is(key, "fields")        ? write_record_fields
           : span_is(key, "create_date") ? write_date
                                         : NULL;
}

static write_node *
known_in_account(struct span key)
{
    return span_is(key, "fields")              ? write_record_fields
           : span_is(key, "created_timestamp") ? write_date
           : span_is(key, "updated_timestamp") ? write_date
                                               : NULL;
}

static write_node *
known_in_task(struct span key)
{
    bool is_date = span_is(key, "duedate") || span_is(key, "dueDate") ||
                   span_is(key, "edate") || span_is(key, "donedate");

    return is_date ? write_date : NULL;
}

static void
write_known(struct writer *w, const struct node *n)
{
    known_writer *known = span_is(n->key, "contact")   ? known_in_contact
                          : span_is(n->key, "deal")    ? known_in_deal
                          : span_is(n->key, "account") ? known_in_account
                                                       : known_in_task;

    if (n->is_leaf || n->all_appended)
        write_as_sent(w, n);
    else
        write_object(w, n, known, write_as_sent);
}

static write_node *
known_root(struct span key)
{
    return span_is(key, "list")                   ? write_list
           : span_is(key, "note")                 ? write_note
           : span_is(key, "updated_fields")       ? write_updated_fields
           : span_is(key, "active_subscriptions") ? write_scalars
           : span_is(key, "contact")              ? write_known
           : span_is(key, "deal")                 ? write_known
           : span_is(key, "account")              ? write_known
           : span_is(key, "task")                 ? write_known
           : span_is(key, "date_time")            ? write_date
                                                  : NULL;
}

// --- what is ours (R5) ----------------------------------------------------------------------

static void
write_relay(struct writer *w)
{
    const struct tree *t = w->tree;

    buf_add_text(w->to, "\"_relay\":{");
    if (t->rest_len > 0) {
        buf_add_text(w->to, "\"rest\":[");
        for (size_t i = 0; i < t->rest_len; i++) {
            add(w, '[');
            add_text(w, t->rest[i]->key, ',');
            add_text(w, t->rest[i]->value, ',');
            end(w, ']');
        }
        end(w, ']');
    }
    if (w->updated_values) {
        add_text(w, SPAN("updated_values"), ':');
        write_as_sent(w, w->updated_values);
    }
    if (w->tags)
        write_member(w, w->tags, write_as_sent); // its own key is the name
    end(w, '}');
}

void
normal_write(struct buf *to, const struct tree *t)
{
    struct writer w = {.to = to, .tree = t};

    add(&w, '{');
    write_members(&w, &t->root, known_root, write_as_sent);
    if (!tree_child(t, &t->root, SPAN("list")))
        buf_add_text(to, "\"list\":[],");
    if (t->rest_len || w.updated_values || w.tags)
        write_relay(&w);
    drop_comma(&w);
    add(&w, '}');
}
