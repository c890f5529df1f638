// Applying: list, plan, write, and again until a list shows that there is nothing to do. So
// nothing that is lost or unclear on the way (an answer, the process itself) needs a special
// case: the next list shows what became of it.
#ifndef ACRELAY_WORKER_APPLY_H
#define ACRELAY_WORKER_APPLY_H

#include "hook/plan.h"
#include "worker/known.h"

struct apply_done; // a write that was accepted and that no list has shown yet

struct apply {
    struct ac_client *client;
    const struct config *config; // its receiver is asked, where it runs here
    const struct hooks *wanted;
    struct known *known;
    struct worker_redis *redis; // where what is known is kept; may be NULL
    bool prune;
    // called after each step, with steps done and in all; may be NULL
    void (*progress)(size_t done, size_t all, void *context);
    // called for each hook that is not accepted or not created; apply_run needs it
    void (*refused)(const char *text, void *context);
    // called when a list has shown what apply_recreate created; may be NULL
    void (*recreated)(const char *name, void *context);
    void *context;
    // results
    struct hooks found; // as the last list had it; apply_release frees it
    struct plan plan;   // of `found`
    bool listed; // whether the last list succeeded; else `found` is not all, and no plan
    size_t created, changed, removed; // and shown so by a list
    struct apply_done *done;
    size_t unconfirmed; // accepted by AC, and not shown by a list
};

// apply_plan lists and plans, and writes nothing.
int apply_plan(struct apply *a, struct err *err);

// apply_run makes it so. A URL that the receiver here would answer with 404, because it has not
// loaded that hook or secret yet, is not written: AC would go on to post to it and lose all. A
// hook that AC does not accept does not keep the others from being created or changed, but
// nothing is removed then; -1 with the first such error at the end. ERR_AGAIN: later may work.
// What is created is missing in two lists. A hook that AC accepted and shows nowhere is not
// created a second time.
int apply_run(struct apply *a, struct err *err);

// apply_recreate creates the hooks of this name again, confirms them by a list, only then
// deletes the old ones, and has that shown by a list too. Refused with EXIT_CODE_CHANGES while
// apply has something to do for that name: an old one that is on another list, say, would be left.
int apply_recreate(struct apply *a, const char *name, struct err *err);

void apply_release(struct apply *a);

#endif
