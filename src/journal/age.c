#include "journal/age.h"

#include <string.h>

enum { SPACING_MIN_US = 1000000 };

// forget drops the marks before the one that the first unpublished record needs.
static void
forget(struct age_marks *m, uint64_t published)
{
    size_t gone = 0;

    while (gone + 1 < m->len && m->at[gone + 1].first <= published + 1)
        gone++;
    m->len -= gone;
    memmove(m->at, m->at + gone, m->len * sizeof *m->at);
    if (m->len <= 1)
        m->spacing_us = SPACING_MIN_US;
}

static void
thin_out(struct age_marks *m)
{
    size_t kept = 0;

    for (size_t i = 0; i < m->len; i += 2)
        m->at[kept++] = m->at[i];
    m->len = kept;
    m->spacing_us *= 2;
}

void
age_mark(struct age_marks *m, uint64_t first, int64_t boot_us, uint64_t published)
{
    if (m->len > 0 && boot_us - m->at[m->len - 1].boot_us < m->spacing_us)
        return;
    forget(m, published);
    if (m->len == AGE_MARKS)
        thin_out(m);
    m->at[m->len++] = (struct age_mark){first, boot_us};
    if (m->spacing_us == 0)
        m->spacing_us = SPACING_MIN_US;
}

int64_t
age_find(const struct age_marks *m, uint64_t sequence)
{
    size_t i = m->len;

    while (i > 0 && m->at[i - 1].first > sequence)
        i--;
    return i > 0 ? m->at[i - 1].boot_us : 0;
}
