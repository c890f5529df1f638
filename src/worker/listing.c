// Reading the whole list, page by page, though it may shift meanwhile, repeat rows, and say a
// wrong total or none.
#include "worker/account.h"

#include <stdlib.h>

// A list that shifts while it is read is read again.
enum { PAGE_DEFAULT = 20, PAGES_MAX = 500, ROWS_MAX = 10000, READS_MAX = 6 };

static int
fail(struct err *err, const char *text)
{
    err_set(err, ERR_AGAIN, "%s", text);
    err->exit = EXIT_CODE_UNAVAILABLE;
    return -1;
}

// A reading is one way through all pages. Each begins with the last row of the one before: where
// it does not, the rows have shifted, and some may have been missed though the total fits.
struct reading {
    uint64_t total; // of the last page, 0: not known
    size_t rows;    // different ones
    bool moves;     // the rows shifted or the total changed
    bool twofold;   // two rows of one of our hooks differ
};

// Takes over the rows that are not there yet; returns how many.
static size_t
take_page(struct reading *r, struct hooks *found, struct hooks *page)
{
    size_t fresh = 0;

    for (size_t i = 0; i < page->len; i++) {
        struct hook *row = &page->at[i], *there = hooks_find_row(found, row->row);
        if (!there) {
            *hooks_add(found) = *row;
            *row = (struct hook){0};
            fresh++;
        } else if ((row->name || there->name) && hook_digest(row) != hook_digest(there)) {
            r->twofold = true;
        }
    }
    r->rows = found->len;
    return fresh;
}

// A page shorter than AC's default is the last one, whatever was asked for.
static bool
has_more(const struct reading *r, size_t fresh, size_t count, bool to_end)
{
    bool known = r->total > 0 && r->rows <= r->total; // a total that is too small is none

    return fresh > 0 &&
           ((to_end && count >= PAGE_DEFAULT) || !known || r->rows < r->total);
}

static int
read_pages(struct account *a, struct hooks *found, bool to_end, struct reading *r,
           struct err *err)
{
    uint64_t first_total = 0;
    size_t offset = 0, fresh = 1, count = 0;

    *r = (struct reading){0};
    for (int n = 0; n == 0 || has_more(r, fresh, count, to_end); n++) {
        struct hooks page = {0};
        bool overlaps = count > 1;
        if (n == PAGES_MAX || found->len > ROWS_MAX)
            return fail(err, "ActiveCampaign's list of webhooks has no end");
        if (account_page(a, offset, &page, &r->total, &count, err) < 0) {
            hooks_release(&page);
            return -1;
        }
        if (n == 0)
            first_total = r->total;
        fresh = take_page(r, found, &page);
        r->moves = r->moves || r->total != first_total || (overlaps && fresh == page.len);
        hooks_release(&page);
        offset += count > 1 ? count - 1 : 1;
    }
    return 0;
}

static bool
is_whole(const struct reading *r)
{
    return !r->moves && !r->twofold && (r->total == 0 || r->rows == r->total);
}

// What is odd in the same way each time stays so.
static bool
is_same(const struct reading *r, const struct reading *before)
{
    return !r->moves && !before->moves && r->rows == before->rows &&
           r->total == before->total && r->twofold == before->twofold;
}

int
account_list(struct account *a, struct hooks *found, struct err *err)
{
    struct reading now, before = {.moves = true};

    for (int read = 0; read < READS_MAX; read++, before = now) {
        hooks_release(found);
        int result = read_pages(a, found, false, &now, err);
        if (result == 0 && (is_whole(&now) || is_same(&now, &before)))
            return 0;
        // A cut answer may be whole the next time; a wrong site stays wrong.
        if (result < 0 && (err->kind != ERR_AGAIN || err->exit != EXIT_CODE_CONFIG ||
                           read + 1 >= READS_MAX / 2))
            return -1;
        now.moves = now.moves || result < 0;
    }
    return fail(err, "ActiveCampaign's list of webhooks changes while it is read");
}

int
account_list_again(struct account *a, struct hooks *found, struct err *err)
{
    struct hooks again = {0};
    struct reading r;
    int result = -1;

    for (int read = 0; result < 0 && read < READS_MAX / 2; read++) {
        hooks_release(&again);
        result = read_pages(a, &again, true, &r, err);
        if (result < 0 && (err->kind != ERR_AGAIN || err->exit != EXIT_CODE_CONFIG))
            break;
    }
    if (result == 0)
        (void)take_page(&r, found, &again);
    hooks_release(&again);
    return result;
}
