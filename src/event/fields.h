// What stands under keys of lists and custom fields, written as lists where that loses
// nothing (NORMAL-FORM.md R6). `fields_` write custom fields, `items_` lists of objects and
// of scalars; normal.c says where each is used.
#ifndef ACRELAY_EVENT_FIELDS_H
#define ACRELAY_EVENT_FIELDS_H

#include "event/writer.h"

// items_are_counted: the keys are 0..n-1 in order, so that their order alone tells them.
// items_are_leaves: no child is a container.
bool items_are_counted(const struct node *n);
bool items_are_leaves(const struct node *n);

// items_can_gain_index: `index` may be added to each item. One with a member `index` of its
// own could not be told from one that gained it, and an empty list of an array is no object:
// such containers stay as sent.
bool items_can_gain_index(const struct tree *t, const struct node *n);

// items_write writes one object of a list; a leaf stands under scalar_key. With `index` its
// key is added, for where the order alone does not tell it. What stands under "value", and a
// leaf, is written with `value`.
void items_write(struct writer *w, const struct node *n, const char *scalar_key,
                 bool index, write_node *value);

// items_write_values writes a container of scalars under 0..n-1 as an array, else as sent.
void items_write_values(struct writer *w, const struct node *n);

// fields_write_contact writes contact.fields; fields_write_record deal.fields and
// account.fields: [n][id|key|value], or [Label]=v, or [3]=v.
void fields_write_contact(struct writer *w, const struct node *n);
void fields_write_record(struct writer *w, const struct node *n);

#endif
