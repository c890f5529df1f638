// Applying: list, plan, write, and again until a list shows that there is nothing to do. So
// nothing that is lost or unclear on the way (an answer, the process itself) needs a special
// case: the next list tells what became of it.
#ifndef ACRELAY_WORKER_APPLY_H
#define ACRELAY_WORKER_APPLY_H

#include "hook/plan.h"
#include "worker/account.h"

struct apply {
    struct account *account;
    const struct config *config; // its receiver is asked, where it runs here
    const struct hooks *wanted;
    bool prune;
    // told after each step, with steps done and in all; may be NULL
    void (*progress)(size_t done, size_t all, void *context);
    // told of each hook that is not accepted; apply_run needs it
    void (*refused)(const char *text, void *context);
    void *context;
    // results
    struct hooks found; // as the last list had it; apply_release frees it
    bool listed;        // whether that list succeeded; else `found` is not all
    size_t created, changed, removed, left;
};

// apply_plan lists and plans, and writes nothing.
int apply_plan(struct apply *a, struct plan *plan, struct err *err);

// apply_run makes it so. A URL that the receiver here would answer with 404, because it has not
// loaded that hook or secret yet, is not written: AC would go on to post to it and lose all. A
// hook that AC does not accept does not keep the others from being created or changed, but
// nothing is removed then; -1 with the first such error at the end. ERR_AGAIN: later may work.
int apply_run(struct apply *a, struct err *err);

// apply_recreate creates the hooks of this name anew, confirms them by a list, and only then
// deletes the old ones. Refused with EXIT_CODE_CHANGES while apply has something to do for that
// name: an old one that is on another list, say, would be left.
int apply_recreate(struct apply *a, const char *name, struct err *err);

void apply_release(struct apply *a);

#endif
