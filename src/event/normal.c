// Known paths are a table from key to writer, one level for the root and one for what stands
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

static void
write_contact(struct writer *w, const struct node *n)
{
    static const struct known known[] = {
        {{"tags", sizeof "tags" - 1}, write_tags},
        {{"fields", sizeof "fields" - 1}, fields_write_contact},
        {{NULL, 0}, NULL}};

    writer_object(w, n, known, writer_plain);
}

static void
write_deal(struct writer *w, const struct node *n)
{
    static const struct known known[] = {
        {{"fields", sizeof "fields" - 1}, fields_write_record},
        {{"create_date", sizeof "create_date" - 1}, write_date},
        {{NULL, 0}, NULL}};

    writer_object(w, n, known, writer_plain);
}

static void
write_account(struct writer *w, const struct node *n)
{
    static const struct known known[] = {
        {{"fields", sizeof "fields" - 1}, fields_write_record},
        {{"created_timestamp", sizeof "created_timestamp" - 1}, write_date},
        {{"updated_timestamp", sizeof "updated_timestamp" - 1}, write_date},
        {{NULL, 0}, NULL}};

    writer_object(w, n, known, writer_plain);
}

static void
write_task(struct writer *w, const struct node *n)
{
    static const struct known known[] = {
        {{"duedate", sizeof "duedate" - 1}, write_date},
        {{"dueDate", sizeof "dueDate" - 1}, write_date},
        {{"edate", sizeof "edate" - 1}, write_date},
        {{"donedate", sizeof "donedate" - 1}, write_date},
        {{NULL, 0}, NULL}};

    writer_object(w, n, known, writer_plain);
}

static const struct known roots[] = {
    {{"list", sizeof "list" - 1}, write_list},
    {{"note", sizeof "note" - 1}, write_note},
    {{"updated_fields", sizeof "updated_fields" - 1}, write_updated_fields},
    {{"active_subscriptions", sizeof "active_subscriptions" - 1}, items_write_values},
    {{"contact", sizeof "contact" - 1}, write_contact},
    {{"deal", sizeof "deal" - 1}, write_deal},
    {{"account", sizeof "account" - 1}, write_account},
    {{"task", sizeof "task" - 1}, write_task},
    {{"date_time", sizeof "date_time" - 1}, write_date},
    {{NULL, 0}, NULL}};

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

    writer_object(&w, &t->root, roots, writer_plain);
    to->len -= !to->full; // the closing brace, for what is ours
    bool first = t->root.len == 0;
    if (!tree_child(t, &t->root, SPAN("list"))) {
        writer_key(&w, SPAN("list"), &first);
        buf_add_text(to, "[]");
    }
    if (t->rest_len || w.extras.updated_values || w.extras.has_tags) {
        writer_key(&w, SPAN("_relay"), &first);
        write_relay(&w);
    }
    buf_add_byte(to, '}');
}
