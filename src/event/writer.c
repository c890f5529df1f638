// A leaf that the form found plain is copied; only others are looked at for escapes.
#include "event/writer.h"

#include "event/json.h"

void
writer_separate(struct writer *w, bool *first)
{
    if (!*first)
        buf_add_byte(w->to, ',');
    *first = false;
}

void
writer_key(struct writer *w, struct span key, bool *first)
{
    writer_separate(w, first);
    json_add_string(w->to, key);
    buf_add_byte(w->to, ':');
}

// One question for room instead of five: this is where most bytes of an event pass.
void
writer_key_of(struct writer *w, const struct node *n, bool *first)
{
    char *at = n->key_is_plain ? buf_room(w->to, n->key.len + 4) : NULL, *start = at;

    if (!at) {
        writer_key(w, n->key, first);
        return;
    }
    if (!*first)
        *at++ = ',';
    *first = false;
    *at++ = '"';
    memcpy(at, n->key.at, n->key.len);
    at += n->key.len;
    *at++ = '"';
    *at++ = ':';
    w->to->len += (size_t)(at - start);
}

void
writer_leaf(struct writer *w, const struct node *n)
{
    if (n->value_is_plain)
        json_add_plain(w->to, n->value);
    else
        json_add_string(w->to, n->value);
}

void
writer_array(struct writer *w, const struct node *n, write_node *value)
{
    bool first = true;

    buf_add_byte(w->to, '[');
    for (const struct node *c = n->first; c; c = c->next) {
        writer_separate(w, &first);
        value(w, c);
    }
    buf_add_byte(w->to, ']');
}

void
writer_plain(struct writer *w, const struct node *n)
{
    bool first = true;

    if (n->is_leaf) {
        writer_leaf(w, n);
        return;
    }
    if (n->all_appended) {
        writer_array(w, n, writer_plain);
        return;
    }
    buf_add_byte(w->to, '{');
    for (const struct node *c = n->first; c; c = c->next) {
        writer_key_of(w, c, &first);
        writer_plain(w, c);
    }
    buf_add_byte(w->to, '}');
}

static write_node *
find_known(const struct known *known, struct span key, write_node *other)
{
    for (; known->write; known++)
        if (span_equal(key, known->key))
            return known->write;
    return other;
}

void
writer_object(struct writer *w, const struct node *n, const struct known *known,
              write_node *other)
{
    bool first = true;

    if (n->is_leaf || n->all_appended) {
        other(w, n);
        return;
    }
    buf_add_byte(w->to, '{');
    for (const struct node *c = n->first; c; c = c->next) {
        writer_key_of(w, c, &first);
        find_known(known, c->key, other)(w, c);
    }
    buf_add_byte(w->to, '}');
}
