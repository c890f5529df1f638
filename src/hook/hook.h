// A hook is a webhook as the file wants it, or as it was found at ActiveCampaign (AC). The
// parts that have no order there (events, sources) are sets.
//
// Facts about AC: "Create a webhook" in its v3 reference: name, url, events and sources are
// required, listid names one list, "0" in answers is all lists; no state is ever shown.
#ifndef ACRELAY_HOOK_HOOK_H
#define ACRELAY_HOOK_HOOK_H

#include "base/buf.h"

#include <stdint.h>

// A set of words: sorted, without repeats, owned.
struct hook_words {
    char **at;
    size_t len;
};

struct hook {
    uint64_t id; // at AC, 0: not there yet
    char *name;  // in our URLs; NULL for a hook of others
    char *label; // what AC calls its name
    char *url;   // a password: never shown as it is
    struct hook_words events, sources;
    uint64_t list;  // 0: all lists
    uint64_t adopt; // wanted hooks: the id of the hook to turn into this one, 0: none
};

// The hooks that are wanted, or that were found. Owned.
struct hooks {
    struct hook *at;
    size_t len, cap;
};

void hook_words_add(struct hook_words *words, struct span word);
void hook_words_release(struct hook_words *words);
bool hook_words_equal(const struct hook_words *a, const struct hook_words *b);

// hooks_add adds an empty hook, which the caller fills; valid until the next one is added.
struct hook *hooks_add(struct hooks *hooks);
struct hook *hooks_find(const struct hooks *hooks, uint64_t id); // NULL: not there
void hooks_release(struct hooks *hooks);
void hook_release(struct hook *hook);
void hook_copy(struct hook *to, const struct hook *from);

// hook_name_in gives the name in a URL of ours, "<base>/hook/<name>/<token>", where base is
// one of `bases` and name is one that a file can give; the empty span for every other URL.
struct span hook_name_in(const char *url, const char *const *bases, size_t bases_len);

#endif
