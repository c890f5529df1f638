// Known paths are a table from key to writer, one level for the root and one for what stands
// in `contact`, `deal`, `account` and `task`; everything else is written as it is. What a
// writer changes beyond recognition it notes in struct extras, written last as `_relay`.
#include "event/normal.h"

#include "event/json.h"

struct extras {
    struct span tags; // contact.tags where joining does not give it back
    bool has_tags;
    const struct node *updated_values;
};

struct writer {
    struct buf *to;
    const struct tree *tree;
    struct extras extras;
};

typedef void write_node(struct writer *w, const struct node *n);

struct known {
    struct span key;
    write_node *write;
};

static void
open_member(struct writer *w, struct span key, bool *first)
{
    if (!*first)
        buf_add_byte(w->to, ',');
    *first = false;
    json_add_string(w->to, key);
    buf_add_byte(w->to, ':');
}

static void
add_separator(struct writer *w, bool *first)
{
    if (!*first)
        buf_add_byte(w->to, ',');
    *first = false;
}

// --- as sent (R4) -------------------------------------------------------------------------

static void
write_plain(struct writer *w, const struct node *n)
{
    bool first = true;

    if (n->is_leaf) {
        json_add_string(w->to, n->value);
        return;
    }
    buf_add_byte(w->to, n->all_appended ? '[' : '{');
    for (const struct node *c = n->first; c; c = c->next) {
        if (n->all_appended)
            add_separator(w, &first);
        else
            open_member(w, c->key, &first);
        write_plain(w, c);
    }
    buf_add_byte(w->to, n->all_appended ? ']' : '}');
}

static void
write_object(struct writer *w, const struct node *n, const struct known *known)
{
    bool first = true;

    if (n->is_leaf || n->all_appended) {
        write_plain(w, n);
        return;
    }
    buf_add_byte(w->to, '{');
    for (const struct node *c = n->first; c; c = c->next) {
        write_node *write = write_plain;
        for (const struct known *k = known; k->write; k++)
            if (span_equal(c->key, k->key))
                write = k->write;
        open_member(w, c->key, &first);
        write(w, c);
    }
    buf_add_byte(w->to, '}');
}

// --- lists (R6) -----------------------------------------------------------------------------

// is_counted: the keys are 0..n-1 in order.
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
all_leaves(const struct node *n)
{
    for (const struct node *c = n->first; c; c = c->next)
        if (!c->is_leaf)
            return false;
    return true;
}

static void
write_values(struct writer *w, const struct node *n, write_node *write)
{
    bool first = true;

    buf_add_byte(w->to, '[');
    for (const struct node *c = n->first; c; c = c->next) {
        add_separator(w, &first);
        write(w, c);
    }
    buf_add_byte(w->to, ']');
}

// A container of scalars under 0..n-1 is an array; anything else stays as sent.
static void
write_list_of_values(struct writer *w, const struct node *n)
{
    if (!n->is_leaf && is_counted(n) && all_leaves(n))
        write_values(w, n, write_plain);
    else
        write_plain(w, n);
}

// `||a||b||` is a choice of several.
static bool
is_choice(struct span s)
{
    return span_is(s, "||") || (s.len >= 4 && memcmp(s.at, "||", 2) == 0 &&
                                memcmp(s.at + s.len - 2, "||", 2) == 0);
}

// What stands between the outer bars, split at each "||": joined again it is the same.
static void
write_choice(struct writer *w, struct span s)
{
    struct span rest = s.len > 4 ? span_make(s.at + 2, s.len - 4) : (struct span){0};
    bool first = true;

    buf_add_byte(w->to, '[');
    while (s.len > 4) {
        const char *bar = memmem(rest.at, rest.len, "||", 2);
        size_t len = bar ? (size_t)(bar - rest.at) : rest.len;
        add_separator(w, &first);
        json_add_string(w->to, span_to(rest, len));
        if (!bar)
            break;
        rest = span_from(rest, len + 2);
    }
    buf_add_byte(w->to, ']');
}

// The value of a custom field: a choice, an array, or as sent.
static void
write_field_value(struct writer *w, const struct node *n)
{
    bool first = true;

    if (n->is_leaf) {
        if (is_choice(n->value))
            write_choice(w, n->value);
        else
            json_add_string(w->to, n->value);
        return;
    }
    if (n->all_appended || is_counted(n)) {
        write_values(w, n, write_field_value);
        return;
    }
    buf_add_byte(w->to, '{');
    for (const struct node *c = n->first; c; c = c->next) {
        open_member(w, c->key, &first);
        write_field_value(w, c);
    }
    buf_add_byte(w->to, '}');
}

static void
write_contact_fields(struct writer *w, const struct node *n)
{
    bool first = true;

    if (n->is_leaf || n->all_appended) {
        write_field_value(w, n);
        return;
    }
    buf_add_byte(w->to, '{');
    for (const struct node *c = n->first; c; c = c->next) {
        open_member(w, c->key, &first);
        write_field_value(w, c);
    }
    buf_add_byte(w->to, '}');
}

// An item of a list of objects; `index` is added where the order alone does not tell it.
static void
write_item(struct writer *w, const struct node *n, const char *scalar_key, bool index,
           write_node *value)
{
    bool first = true;

    buf_add_byte(w->to, '{');
    if (n->is_leaf) {
        open_member(w, span_of(scalar_key), &first);
        value(w, n);
    }
    for (const struct node *c = n->first; c; c = c->next) {
        open_member(w, c->key, &first);
        if (span_is(c->key, "value"))
            value(w, c);
        else
            write_plain(w, c);
    }
    if (index) {
        open_member(w, SPAN("index"), &first);
        json_add_string(w->to, n->key);
    }
    buf_add_byte(w->to, '}');
}

// An item with a member `index` of its own could not be told from one that gained it, and an
// empty list of an array is no object: such containers stay as sent.
static bool
can_gain_index(const struct tree *t, const struct node *n)
{
    for (const struct node *c = n->first; c; c = c->next)
        if (!c->is_leaf && (c->all_appended || tree_child(t, c, SPAN("index"))))
            return false;
    return true;
}

// deal.fields, account.fields: [n][id|key|value], or [Label]=v, or [3]=v.
static void
write_record_fields(struct writer *w, const struct node *n)
{
    uint64_t index;
    bool first = true;
    bool counted = !n->is_leaf && is_counted(n);

    if (n->is_leaf || !can_gain_index(w->tree, n)) {
        write_plain(w, n);
        return;
    }
    buf_add_byte(w->to, '[');
    for (const struct node *c = n->first; c; c = c->next) {
        add_separator(w, &first);
        if (!c->is_leaf) {
            write_item(w, c, "", !counted, write_field_value);
            continue;
        }
        bool inner = true;
        buf_add_byte(w->to, '{');
        open_member(w, tree_is_index(c->key, &index) ? SPAN("id") : SPAN("key"), &inner);
        json_add_string(w->to, c->key);
        open_member(w, SPAN("value"), &inner);
        write_field_value(w, c);
        buf_add_byte(w->to, '}');
    }
    buf_add_byte(w->to, ']');
}

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

    if (!n->is_leaf && !is_one_object(n) && !can_gain_index(w->tree, n)) {
        write_plain(w, n);
        return;
    }
    buf_add_byte(w->to, '[');
    if (nothing) {
        // no list
    } else if (n->is_leaf) {
        write_item(w, n, "id", false, write_plain);
    } else if (is_one_object(n)) {
        write_plain(w, n);
    } else {
        bool counted = is_counted(n);
        for (const struct node *c = n->first; c; c = c->next) {
            add_separator(w, &first);
            write_item(w, c, "id", !counted, write_plain);
        }
    }
    buf_add_byte(w->to, ']');
}

static void
write_note(struct writer *w, const struct node *n)
{
    if (n->is_leaf)
        write_item(w, n, "text", false, write_plain);
    else
        write_plain(w, n);
}

static void
write_updated_fields(struct writer *w, const struct node *n)
{
    bool first = true;

    buf_add_byte(w->to, '[');
    if (n->is_leaf) {
        json_add_string(w->to, n->value);
    } else {
        bool names = is_counted(n) && all_leaves(n);
        for (const struct node *c = n->first; c; c = c->next) {
            add_separator(w, &first);
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
        add_separator(w, &first);
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
        add_separator(w, first);
        json_add_string(w->to, n->value);
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
        write_plain(w, n);
}

static void
write_contact(struct writer *w, const struct node *n)
{
    static const struct known known[] = {
        {{"tags", sizeof "tags" - 1}, write_tags},
        {{"fields", sizeof "fields" - 1}, write_contact_fields},
        {{NULL, 0}, NULL}};

    write_object(w, n, known);
}

static void
write_deal(struct writer *w, const struct node *n)
{
    static const struct known known[] = {
        {{"fields", sizeof "fields" - 1}, write_record_fields},
        {{"create_date", sizeof "create_date" - 1}, write_date},
        {{NULL, 0}, NULL}};

    write_object(w, n, known);
}

static void
write_account(struct writer *w, const struct node *n)
{
    static const struct known known[] = {
        {{"fields", sizeof "fields" - 1}, write_record_fields},
        {{"created_timestamp", sizeof "created_timestamp" - 1}, write_date},
        {{"updated_timestamp", sizeof "updated_timestamp" - 1}, write_date},
        {{NULL, 0}, NULL}};

    write_object(w, n, known);
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

    write_object(w, n, known);
}

static const struct known roots[] = {
    {{"list", sizeof "list" - 1}, write_list},
    {{"note", sizeof "note" - 1}, write_note},
    {{"updated_fields", sizeof "updated_fields" - 1}, write_updated_fields},
    {{"active_subscriptions", sizeof "active_subscriptions" - 1}, write_list_of_values},
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
        add_separator(w, &first);
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
        open_member(w, SPAN("rest"), &first);
        write_rest(w);
    }
    if (w->extras.updated_values) {
        struct node values = *w->extras.updated_values;
        values.all_appended = false; // keys are what this is for
        open_member(w, SPAN("updated_values"), &first);
        write_plain(w, &values);
    }
    if (w->extras.has_tags) {
        open_member(w, SPAN("tags"), &first);
        json_add_string(w->to, w->extras.tags);
    }
    buf_add_byte(w->to, '}');
}

void
normal_write(struct buf *to, const struct tree *t)
{
    struct writer w = {.to = to, .tree = t};

    write_object(&w, &t->root, roots);
    to->len -= !to->full; // the closing brace, for what is ours
    bool first = t->root.len == 0;
    if (!tree_child(t, &t->root, SPAN("list"))) {
        open_member(&w, SPAN("list"), &first);
        buf_add_text(to, "[]");
    }
    if (t->rest_len || w.extras.updated_values || w.extras.has_tags) {
        open_member(&w, SPAN("_relay"), &first);
        write_relay(&w);
    }
    buf_add_byte(to, '}');
}
