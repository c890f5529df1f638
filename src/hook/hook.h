// A hook is a webhook as the file wants it, or as it was found at ActiveCampaign (AC). The
// parts that have no order there (events, sources) are sets.
//
// Facts about AC: "Create a webhook" in its v3 reference: name, url, events and sources are
// required, listid names one list, "0" in answers is all lists; no state is ever shown.
#ifndef ACRELAY_HOOK_HOOK_H
#define ACRELAY_HOOK_HOOK_H

#include "base/buf.h"

#include <stdint.h>

// A set of strings: sorted, without duplicates, owned.
struct string_set {
    char **at;
    size_t len;
};

enum { HOOK_NAME = 64 };
#define HOOK_LIST_UNREADABLE UINT64_MAX

struct hook {
    uint64_t id; // at AC, 0: not there yet, or unreadable
    char *name;  // in our URLs; NULL for a hook of others
    char *label; // what AC calls its name
    char *url;   // a password: never shown as it is
    struct string_set events, sources;
    uint64_t list;            // 0: all lists
    uint64_t adopt;           // wanted: the id of the hook to turn into this one, 0: none
    uint64_t digest;          // wanted: hook_digest of it
    struct string_set tokens; // wanted: those of its name under every secret

    // found
    uint64_t row; // which row of a list it is: the id, else made of the row's bytes
    const char *unreadable; // the first field of the row that cannot be read, else NULL
    uint64_t written;       // the digest of what was last written on it, 0: nothing
    bool settled;           // it is what AC made of that
    bool stays;             // we deleted it, AC accepted that, and still shows it
    bool old;               // what is wanted is created again, and replaces it
};

// The hooks that are wanted, or that were found. Owned.
struct hooks {
    struct hook *at;
    size_t len;
};

// string_set_add gives false for a string that is there already.
bool string_set_add(struct string_set *set, struct span text);

static inline bool
hook_is_named(const struct hook *hook, const char *name)
{
    return hook->name && strcmp(hook->name, name) == 0;
}

// hooks_add adds an empty hook, which the caller fills; valid until the next one is added.
struct hook *hooks_add(struct hooks *hooks);
// hooks_find finds a row of a list, by its id for those that have one; NULL: not there.
struct hook *hooks_find(const struct hooks *hooks, uint64_t row);
void hooks_release(struct hooks *hooks);
void hook_release(struct hook *hook);

// A URL of a hook is compared in canonical form: scheme and host in lower case, without a
// default port and a dot at the host's end. AC may give a URL back in another spelling.
struct hook_url {
    bool https;
    char host[264];       // canonical, with a port that is no default
    char name[HOOK_NAME]; // of "/hook/<name>/<token>", "" when the path is another
    char token[HOOK_NAME];
    // The receiver, which compares bytes, takes this path; not one with a slash at the end, or %2D.
    bool exact;
};
// hook_copy_name copies a name that the configuration can give; false, and "", for any other: hooks
// in a URL like ours, or in Redis, that have another are not ours.
bool hook_copy_name(char to[HOOK_NAME], struct span name);
// hook_url_parse is false when this is no URL of http or https.
bool hook_url_parse(struct hook_url *to, const char *url);
// hook_is_served: posts to its URL, as it is stored, have a path that the receiver takes.
bool hook_is_served(const struct hook *hook);
// hook_differs says which parts of two hooks differ. URLs are compared in canonical form, their
// paths byte by byte; labels with HTML entities decoded: AC may give back "R&amp;D".
enum {
    DIFFERS_LABEL = 1,
    DIFFERS_URL = 2,
    DIFFERS_EVENTS = 4,
    DIFFERS_SOURCES = 8,
    DIFFERS_LIST = 16,
};
unsigned hook_differs(const struct hook *wanted, const struct hook *found);

// hook_digest is the same for hooks that have the same label, URL, events, sources and list.
uint64_t hook_digest(const struct hook *hook);

#endif
