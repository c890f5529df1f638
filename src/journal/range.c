#include "journal/range.h"

struct range
range_cover(struct range a, struct range b)
{
    if (a.first == 0 || b.first == 0)
        return a.first ? a : b;
    return (struct range){a.first < b.first ? a.first : b.first,
                          a.last > b.last ? a.last : b.last};
}

void
range_trim(struct range *r, struct range off)
{
    if (r->first >= off.first && r->first <= off.last)
        r->first = off.last + 1;
    if (r->last >= off.first && r->last <= off.last)
        r->last = off.first - 1;
}

void
range_trim_skipped(struct range *r, const struct files_list *list)
{
    for (size_t i = 0; i < list->len && r->first <= r->last; i++) {
        const struct segment_header *h = &list->at[i].header;
        if (h->skipped_count)
            range_trim(r, (struct range){h->skipped, h->skipped + h->skipped_count - 1});
    }
}
