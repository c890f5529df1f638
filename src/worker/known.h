// What is known of hooks at AC beside what a list says just now. AC's lists may be late, lose
// rows, and show what was written in other words, so nothing is created, written again or held
// to be gone on the word of one list: where it differs from what is known here,
// GET /webhooks/{id} decides.
//
// One thread. Kept in {namespace}:hooks over restarts (state_json.h), as far as it matters then.
#ifndef ACRELAY_WORKER_KNOWN_H
#define ACRELAY_WORKER_KNOWN_H

#include "hook/ac_client.h"
#include "worker/store.h"

struct known_hook {
    uint64_t id;          // 0: the answer to its creation did not say
    char name[HOOK_NAME]; // in our URLs
    uint64_t list;        // that was asked for
    bool listed;          // a list has shown it
    bool gone;            // neither a list nor GET shows it, though it was just created
    bool lost;    // so for longer than AC may be late: once, another may be created
    bool removed; // we deleted it: not again for an hour, whatever AC shows
    bool forget;
    unsigned
        unclear; // creations in a row that failed and may have been done; its id is 0
    int64_t since_us; // the last write, by clock_boot_us
    // Digests (hook_digest) of what was written last, what was there before, what AC answered to
    // it and what AC made of it; 0: nothing, not known yet.
    uint64_t written, before, answered, stored;
    bool differs; // what AC made of it differs from what was written
};

enum {
    KNOWN_LAG_MS = 2000,     // between lists that do not show yet what was done
    KNOWN_GONE_MS = 15000,   // until an accepted one that is shown nowhere is repeated
    KNOWN_UNCLEAR_MS = 15000 // until an unclear creation is repeated
};

struct known {
    struct known_hook *at;
    size_t len, cap;
    bool loaded;
};

void known_release(struct known *k);
// known_restart is for a file that was loaded anew: what was created and never shown may be
// created again.
void known_restart(struct known *k);

// What was done, told right after AC accepted it. `before` is what the hook was then.
void known_created(struct known *k, const struct hook *wanted,
                   const struct ac_client_answer *answer);
// known_unclear is for a creation that failed and may have been done: it is repeated when lists
// have not shown it for KNOWN_UNCLEAR_MS, and each time ever later.
void known_unclear(struct known *k, const struct hook *wanted);
void known_changed(struct known *k, const struct hook *before, const struct hook *wanted,
                   const struct ac_client_answer *answer);
void known_removed(struct known *k, const struct hook *found);

// known_settle makes of a list what is there: adds what it lacks, drops what it shows too long,
// and sets `written` and `settled`. Reports once what AC stores in other words.
int known_settle(struct known *k, struct ac_client *a, const struct hooks *wanted,
                 struct hooks *found, struct err *err);

// known_missing gives a creation of this hook that AC accepted and shows nowhere, within the
// last hour; NULL: none.
const struct known_hook *known_missing(const struct known *k, const struct hook *wanted);

// known_load reads what Redis has, once; known_save writes what concerns one name. Where Redis
// is away nothing is read or written.
void known_load(struct known *k, struct store *store, const struct config *c);
void known_save(const struct known *k, struct store *store, const char *name);

// known_add is for state_json.c; the entry may be filled until the next one is added.
struct known_hook *known_add(struct known *k, uint64_t id, const char *name);

#endif
