// Hooks in AC's JSON. What AC answers has many shapes (ids and totals as strings or numbers,
// errors as objects, strings or nothing): all are read, none is trusted.
#ifndef ACRELAY_HOOK_HOOK_JSON_H
#define ACRELAY_HOOK_HOOK_JSON_H

#include "base/err.h"
#include "hook/hook.h"

// hook_json_write appends the body of a POST or PUT: {"webhook":{name,url,events,sources,
// listid}}, of sets that are not empty. The whole object, because AC does not say whether a
// PUT is partial.
void hook_json_write(struct buf *to, const struct hook *hook);

// hook_json_read_page adds the hooks of one page of GET /webhooks. *total is meta.total, 0
// when it is missing or no number; *count the rows of the page. A row that cannot be read
// whole is there too, `unreadable` says why: most are of others. ERR_INPUT when this is not such
// a page.
int hook_json_read_page(struct hooks *to, uint64_t *total, size_t *count,
                        struct span body, struct err *err);

// hook_json_read_one reads {"webhook":{...}} into an empty hook, which the caller releases.
int hook_json_read_one(struct hook *to, struct span body, struct err *err);

// hook_json_read_events reads {"webhookEvents":[...]}.
int hook_json_read_events(struct string_set *to, struct span body, struct err *err);

// hook_json_explain writes what an error answer says, for people, escaped and without the URLs
// in it, which may be passwords; "" when it says nothing. A page of HTML gives "HTML instead of
// JSON". Returns whether the body of an error, or of /users/me, may be AC's own: a JSON object,
// empty or with `message`, `errors`, `error` or `user`. A proxy or a challenge page answers
// otherwise.
bool hook_json_explain(char *to, size_t size, struct span body);

#endif
