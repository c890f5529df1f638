// A plan is the steps from the hooks found to the hooks wanted. Pure: no I/O, no clock.
//
// What holds for every plan (and is tested over random ones):
//   - carried out, it gives exactly the hooks wanted, and those it leaves;
//   - planned again after that, there is nothing to write;
//   - hooks of others are never written, except one that `adopt` names;
//   - what AC made of a hook (`written`, `settled`) is not written again.
// A hook is ours when its URL lies below one of our bases (acrelay-worker(8)).
#ifndef ACRELAY_HOOK_PLAN_H
#define ACRELAY_HOOK_PLAN_H

#include "hook/hook.h"

enum step_kind {
    STEP_CREATE,
    STEP_CHANGE, // `found` becomes `wanted`: PUT with the whole object
    STEP_REMOVE,
    STEP_LEAVE, // ours, not wanted, and prune is off; or it cannot be read
    STEP_KEEP, // it differs, and is what AC made of what is wanted: writing again is useless
    STEP_REFUSE, // it is not created beside `found`, the operator decides
};

enum step_why {
    WHY_ABSENT,   // create: nothing like it was found
    WHY_DIFFERS,  // change: see `differs`
    WHY_ADOPTED,  // change: the file says `adopt`
    WHY_TWIN,     // remove: another hook does the same
    WHY_UNWANTED, // remove or leave: the file does not name it
    WHY_STAYS,    // leave: AC accepted its deletion and still shows it
    WHY_STORED,   // keep: see `differs`
    WHY_ALIKE, // refuse: one of others is ours by token or name, under another public_url
    WHY_UNREADABLE, // refuse or leave: ours, but its id or list cannot be read
};

// The hooks are borrowed from what was given to plan_make; NULL where there is none.
struct step {
    enum step_kind kind;
    enum step_why why;
    const struct hook *wanted, *found;
    unsigned differs;
    const struct hook *twin; // WHY_TWIN: the one that stays and does the same
};

struct plan {
    struct step *at; // creations and changes first, then removals: no event is lost
    size_t len;
    size_t writes;                 // steps that create, change or remove
    size_t ok;                     // hooks that are as wanted
    size_t count[STEP_REFUSE + 1]; // steps by kind
};

// plan_make compares. Names of `found` must be set, as ac_client_list does, for hooks of ours. Of twins
// the one whose URL is right is kept, else the newest: an older one may have been switched
// off by AC without a sign ("410 Gone" in AC's webhook page). What is `old` is never taken for
// what is wanted, which is created beside it; it is a twin when all of its name are there.
void plan_make(struct plan *plan, const struct hooks *wanted, const struct hooks *found,
               bool prune);
void plan_release(struct plan *plan);

// plan_alike gives the wanted hook that a hook of others would double: it posts to that hook's
// path with a token of ours under another public_url (*certain), or is named as we name hooks.
// NULL: none.
const struct hook *plan_alike(const struct hooks *wanted, const struct hook *found,
                              bool *certain);

#endif
