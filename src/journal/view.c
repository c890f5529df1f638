#include "journal/view.h"

int
view_open(struct view *v, struct journal *j, int dir, struct err *err)
{
    uint64_t aside = 0;

    *v = (struct view){.journal = j};
    if (!j)
        return files_list_read(dir, false, &v->list, &aside, err);
    pthread_mutex_lock(&j->lock);
    v->list.at = j->segments;
    v->list.len = j->segments_len;
    return 0;
}

void
view_close(struct view *v)
{
    if (v->journal)
        pthread_mutex_unlock(&v->journal->lock);
    else
        files_list_release(&v->list);
}

size_t
view_pick(const struct view *v, uint64_t wanted)
{
    const struct files_list *list = &v->list;
    size_t i = 0;

    while (i + 1 < list->len && list->at[i + 1].header.first <= wanted)
        i++;
    while (i > 0 && list->at[i - 1].header.first == list->at[i].header.first)
        i--;
    return i;
}

const struct segment *
view_find(const struct view *v, const char *name)
{
    for (size_t i = v->list.len; i-- > 0;)
        if (strcmp(v->list.at[i].name, name) == 0)
            return &v->list.at[i];
    return NULL;
}
