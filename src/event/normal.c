// Known paths are functions from key to writer (comparisons with constants, which cost next to
// nothing, where a table cost a tenth of an event), one level for the root and one for what stands
// in `contact`, `deal`, `account` and `task`; everything else is written as it is. What a
// writer changes beyond recognition it notes in struct extras, written last as `_relay`.
#include "event/normal.h"

#include "event/fields.h"
#include "event/json.h"

// --- the known roots (R6, R7) -------------------------------------------------------------

// list[id]=3, list[name]=..: one list, told by its members.
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
    bool first = true,
         nothing = n->is_leaf && (n->value.len == 0 || span_is(n->value, "0"));

    if (!n->is_leaf && !is_one_object(n) && !items_can_gain_index(w->tree, n)) {
        writer_plain(w, n);
        return;
    }
    buf_add_byte(w->to, '[');
    if (nothing) {
        // no list
    } else if (n->is_leaf) {
        items_write(w, n, "id", false, writer_plain);
    } else if (is_one_object(n)) {
        writer_plain(w, n);
    } else {
        bool counted = items_are_counted(n);
        for (const struct node *c = n->first; c; c = c->next) {
            writer_separate(w, &first);
            items_write(w, c, "id", !counted, writer_plain);
        }
    }
    buf_add_byte(w->to, ']');
}

static void
write_note(struct writer *w, const struct node *n)
{
    if (n->is_leaf)
        items_write(w, n, "text", false, writer_plain);
    else
        writer_plain(w, n);
}

static void
write_updated_fields(struct writer *w, const struct node *n)
{
    bool first = true;

    buf_add_byte(w->to, '[');
    if (n->is_leaf) {
        writer_leaf(w, n);
    } else {
        bool names = items_are_counted(n) && items_are_leaves(n);
        for (const struct node *c = n->first; c; c = c->next) {
            writer_separate(w, &first);
            json_add_string(w->to, names ? c->value : c->key);
        }
        if (!names)
            w->extras.updated_values = n;
    }
    buf_add_byte(w->to, ']');
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
write_tag_text(struct writer *w, struct span s)
{
    bool first = true, bare = has_bare_comma(s);
    size_t skip = bare ? 1 : 2;

    if (bare)
        w->extras.tags = s;
    w->extras.has_tags = bare;
    while (s.len > 0 || !first) {
        size_t comma = span_find(s, ',');
        writer_separate(w, &first);
        json_add_string(w->to, span_to(s, comma));
        if (comma == s.len)
            break;
        s = span_from(s, comma + skip);
    }
}

static void
write_leaves(struct writer *w, const struct node *n, bool *first)
{
    if (n->is_leaf) {
        writer_separate(w, first);
        writer_leaf(w, n);
    }
    for (const struct node *c = n->first; c; c = c->next)
        write_leaves(w, c, first);
}

static void
write_tags(struct writer *w, const struct node *n)
{
    bool first = true;

    buf_add_byte(w->to, '[');
    if (n->is_leaf)
        write_tag_text(w, n->value);
    else
        write_leaves(w, n, &first);
    buf_add_byte(w->to, ']');
}

static bool
is_zero_date(struct span s)
{
    if (!span_starts(s, SPAN("0000-00-00")))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!memchr("0-: T+Z.", s.at[i], 8))
            return false;
    return true;
}

static void
write_date(struct writer *w, const struct node *n)
{
    if (n->is_leaf && is_zero_date(n->value))
        buf_add_text(w->to, "null");
    else
        writer_plain(w, n);
}

static write_node *
known_in_contact(struct span key)
{
    if (span_is(key, "tags"))
        return write_tags;
    if (span_is(key, "fields"))
        return fields_write_contact;
    return NULL;
}

static void
write_contact(struct writer *w, const struct node *n)
{
    writer_object(w, n, known_in_contact, writer_plain);
}

static write_node *
known_in_deal(struct span key)
{
    if (span_is(key, "fields"))
        return fields_write_record;
    if (span_is(key, "create_date"))
        return write_date;
    return NULL;
}

static void
write_deal(struct writer *w, const struct node *n)
{
    writer_object(w, n, known_in_deal, writer_plain);
}

static write_node *
known_in_account(struct span key)
{
    if (span_is(key, "fields"))
        return fields_write_record;
    if (span_is(key, "created_timestamp"))
        return write_date;
    if (span_is(key, "updated_timestamp"))
        return write_date;
    return NULL;
}

static void
write_account(struct writer *w, const struct node *n)
{
    writer_object(w, n, known_in_account, writer_plain);
}

static write_node *
known_in_task(struct span key)
{
    if (span_is(key, "duedate"))
        return write_date;
    if (span_is(key, "dueDate"))
        return write_date;
    if (span_is(key, "edate"))
        return write_date;
    if (span_is(key, "donedate"))
        return write_date;
    return NULL;
}

static void
write_task(struct writer *w, const struct node *n)
{
    writer_object(w, n, known_in_task, writer_plain);
}

static write_node *
known_root(struct span key)
{
    if (span_is(key, "list"))
        return write_list;
    if (span_is(key, "note"))
        return write_note;
    if (span_is(key, "updated_fields"))
        return write_updated_fields;
    if (span_is(key, "active_subscriptions"))
        return items_write_values;
    if (span_is(key, "contact"))
        return write_contact;
    if (span_is(key, "deal"))
        return write_deal;
    if (span_is(key, "account"))
        return write_account;
    if (span_is(key, "task"))
        return write_task;
    if (span_is(key, "date_time"))
        return write_date;
    return NULL;
}

// --- what is ours (R5) ----------------------------------------------------------------------

static void
write_rest(struct writer *w)
{
    bool first = true;

    buf_add_byte(w->to, '[');
    for (size_t i = 0; i < w->tree->rest_len; i++) {
        const struct form_pair *p = w->tree->rest[i];
        writer_separate(w, &first);
        buf_add_byte(w->to, '[');
        json_add_string(w->to, p->key);
        buf_add_byte(w->to, ',');
        json_add_string(w->to, p->value);
        buf_add_byte(w->to, ']');
    }
    buf_add_byte(w->to, ']');
}

static void
write_relay(struct writer *w)
{
    bool first = true;

    buf_add_byte(w->to, '{');
    if (w->tree->rest_len) {
        writer_key(w, SPAN("rest"), &first);
        write_rest(w);
    }
    if (w->extras.updated_values) {
        struct node values = *w->extras.updated_values;
        values.all_appended = false; // keys are what this is for
        writer_key(w, SPAN("updated_values"), &first);
        writer_plain(w, &values);
    }
    if (w->extras.has_tags) {
        writer_key(w, SPAN("tags"), &first);
        json_add_string(w->to, w->extras.tags);
    }
    buf_add_byte(w->to, '}');
}

void
normal_write(struct buf *to, const struct tree *t)
{
    struct writer w = {.to = to, .tree = t};

    writer_object(&w, &t->root, known_root, writer_plain);
    to->len -= !to->full; // the closing brace, for what is ours
    bool first = t->root.len == 0;
    if (!tree_child(t, &t->root, SPAN("list"))) {
        buf_add(to, first ? SPAN("\"list\":[]") : SPAN(",\"list\":[]"));
        first = false;
    }
    if (t->rest_len || w.extras.updated_values || w.extras.has_tags) {
        writer_key(&w, SPAN("_relay"), &first);
        write_relay(&w);
    }
    buf_add_byte(to, '}');
}
