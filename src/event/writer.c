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

static char *
put_plain(char *to, struct span s)
{
    *to++ = '"';
    memcpy(to, s.at, s.len);
    to += s.len;
    *to++ = '"';
    return to;
}

// The key of a member, whose room the caller has made.
static char *
put_plain_key(char *to, const struct node *n, bool *first)
{
    if (!*first)
        *to++ = ',';
    *first = false;
    to = put_plain(to, n->key);
    *to++ = ':';
    return to;
}

void
writer_key_of(struct writer *w, const struct node *n, bool *first)
{
    char *at = n->key_is_plain ? buf_room(w->to, n->key.len + 4) : NULL;

    if (at)
        w->to->len += (size_t)(put_plain_key(at, n, first) - at);
    else
        writer_key(w, n->key, first);
}

// One question for room instead of seven: this is where most bytes of an event pass.
void
writer_member(struct writer *w, const struct node *n, bool *first)
{
    bool plain = n->is_leaf && n->key_is_plain && n->value_is_plain;
    char *at = plain ? buf_room(w->to, n->key.len + n->value.len + 6) : NULL;

    if (at) {
        w->to->len += (size_t)(put_plain(put_plain_key(at, n, first), n->value) - at);
    } else {
        writer_key_of(w, n, first);
        writer_plain(w, n);
    }
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
    for (const struct node *c = n->first; c; c = c->next)
        writer_member(w, c, &first);
    buf_add_byte(w->to, '}');
}

static void
write_child(struct writer *w, const struct node *n, write_node *write, bool *first)
{
    if (write == writer_plain) {
        writer_member(w, n, first);
    } else {
        writer_key_of(w, n, first);
        write(w, n);
    }
}

void
writer_object(struct writer *w, const struct node *n, known_writer *known,
              write_node *other)
{
    bool first = true;

    if (n->is_leaf || n->all_appended) {
        other(w, n);
        return;
    }
    buf_add_byte(w->to, '{');
    for (const struct node *c = n->first; c; c = c->next) {
        write_node *write = known ? known(c->key) : NULL;
        write_child(w, c, write ? write : other, &first);
    }
    buf_add_byte(w->to, '}');
}
