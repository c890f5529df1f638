// What a text that is not valid still shows: which hooks and secrets it leaves out. Judged with
// care in both directions. A secret that was taken out because it leaked must not be accepted;
// a hook that only stands behind a mistake, or in a part that is not written yet, must not be
// answered 404. So a list counts when it is whole, stands there once, and each of its items
// could be read.
#include "config/table.h"

#include <stdlib.h>

// A text that does not end with a line's end is not written to its end: what is open there may
// go on.
static void
mark_tail(struct yaml_node *node)
{
    while (node) {
        node->cut = true;
        if (node->len == 0)
            node = NULL;
        else
            node = node->kind == YAML_LIST ? node->items[node->len - 1]
                                           : node->pairs[node->len - 1].value;
    }
}

// The value of a setting that is shown whole; NULL when it is not.
static const struct yaml_node *
find_whole(const struct yaml_node *root, const char *name)
{
    const struct yaml_node *found = NULL;

    for (size_t i = 0; i < root->len; i++) {
        const struct yaml_pair *p = &root->pairs[i];
        if (strcmp(p->key->text, name) != 0)
            continue;
        if (p->first || p->value->cut)
            return NULL;
        found = p->value;
    }
    bool empty = found && found->kind == YAML_SCALAR && !*found->text;
    return empty ? NULL : found;
}

static void
narrow_secrets(struct config *c, const struct config *shown, const struct yaml_node *list)
{
    struct config_list *l = &c->secret_files;
    size_t kept = 0;

    if (shown->secret_files.len != (list->kind == YAML_LIST ? list->len : 1))
        return;
    for (size_t i = 0; i < l->len; i++) {
        bool found = false;
        for (size_t k = 0; k < shown->secret_files.len; k++)
            found = found || strcmp(l->at[i], shown->secret_files.at[k]) == 0;
        if (found)
            l->at[kept++] = l->at[i];
        else
            free(l->at[i]);
    }
    l->len = kept;
    l->at[kept] = NULL;
}

static void
narrow_hooks(struct config *c, const struct config *shown, const struct yaml_node *list)
{
    size_t kept = 0;

    if (list->kind != YAML_LIST || shown->hooks_len != list->len)
        return;
    for (size_t i = 0; i < shown->hooks_len; i++)
        if (!shown->hooks[i].name)
            return;
    for (size_t i = 0; i < c->hooks_len; i++)
        if (config_find_hook(shown, span_of(c->hooks[i].name)))
            c->hooks[kept++] = c->hooks[i];
        else
            reading_release_hook(&c->hooks[i]);
    c->hooks_len = kept;
}

void
config_narrow(struct config *c, struct span text)
{
    struct yaml_node *root = yaml_parse_part(text);

    if (root && text.len > 0 && text.at[text.len - 1] != '\n')
        mark_tail(root);
    if (root && root->kind == YAML_MAP) {
        struct config *shown = reading_part(c->file, root);
        const struct yaml_node *secrets = find_whole(root, "secret_files");
        const struct yaml_node *hooks = find_whole(root, "hooks");
        if (secrets)
            narrow_secrets(c, shown, secrets);
        if (hooks)
            narrow_hooks(c, shown, hooks);
        config_release(shown);
    }
    yaml_release(root);
}
