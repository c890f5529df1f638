// A view is the segments there are: the journal's own list, under its lock until the view is
// closed, or what the directory of another process has. Internal to the floor.
#ifndef ACRELAY_JOURNAL_VIEW_H
#define ACRELAY_JOURNAL_VIEW_H

#include "journal/inside.h"

struct view {
    struct files_list list;
    struct journal *journal; // NULL: of another process
};

// view_open takes the lock of `j`, or reads the directory when j is NULL.
int view_open(struct view *v, struct journal *j, int dir, struct err *err);
void view_close(struct view *v);

// view_pick gives the place of the first segment that can hold `wanted`; of those that start
// at one sequence the first.
size_t view_pick(const struct view *v, uint64_t wanted);

// view_find finds a segment by name, NULL when it is not there.
const struct segment *view_find(const struct view *v, const char *name);

#endif
