// An account is AC's side: its webhooks, over its API. One thread. Errors are sentences that
// say what to do, with the exit code of the program:
//   EXIT_CODE_PERMISSION   the token is refused, or has no right to manage webhooks
//   EXIT_CODE_CONFIG       the base URL is not AC's API, or AC does not accept a hook
//   EXIT_CODE_UNAVAILABLE  no answer, or only "later" (ERR_AGAIN)
//
// A change is ERR_AGAIN too when it may have been carried out or the hook is gone: the caller
// lists anew and plans anew, and never sends a POST twice on its own.
#ifndef ACRELAY_WORKER_ACCOUNT_H
#define ACRELAY_WORKER_ACCOUNT_H

#include "config/config.h"
#include "edge/rest.h"
#include "hook/hook.h"

struct account;

struct account_callbacks { // as in rest_options
    bool (*wait)(int64_t ms, void *context);
    bool (*may_write)(void *context);
    void (*note)(int status, void *context);
    void (*report)(const struct rest_wait *wait, void *context);
    bool (*is_stopping)(void *context);
    void *context;
    bool once; // one try of each request, and ACCOUNT_ONCE_MS for all of them together
};

enum {
    ACCOUNT_TIMEOUT_MS = 10000, // of one request
    ACCOUNT_ONCE_MS = 5000,
    ACCOUNT_TOKEN_LEAST = 8, // bytes
};

// account_open reads the token and connects with the first call.
struct account *account_open(const struct config *c, const struct account_callbacks *cb,
                             struct err *err);
void account_close(struct account *a); // NULL is fine

// account_follow: as rest_follow. account_held_ms: for how long AC wants no request.
void account_follow(struct account *a, const struct account *before);
int64_t account_held_ms(const struct account *a);

// account_wait_text says what is waited for: "ActiveCampaign answers 502; trying again in 8 s
// (2 of 5)".
void account_wait_text(char *to, size_t size, const struct rest_wait *wait);

// account_list (listing.c) reads all pages until they agree; `name` is set for hooks of ours. With -1
// *found has what could be read, for people: it is not all.
int account_list(struct account *a, struct hooks *found, struct err *err);
// account_list_again reads to the very end, whatever total says, and adds what is not there.
int account_list_again(struct account *a, struct hooks *found, struct err *err);
// account_page reads one page; the next begins at offset + *count.
int account_page(struct account *a, size_t offset, struct hooks *page, uint64_t *total,
                 size_t *count, struct err *err);
// account_get reads one webhook into an empty hook.
enum account_there { ACCOUNT_ERROR = -1, ACCOUNT_ABSENT, ACCOUNT_THERE, ACCOUNT_UNCLEAR };
enum account_there account_get(struct account *a, uint64_t id, struct hook *to,
                               struct err *err);

// What the answer to a write says there is now: its id and hook_digest, 0 where it does not say.
struct account_answer {
    uint64_t id, digest;
    bool unclear; // of a creation that failed: it may have been done
};
int account_create(struct account *a, const struct hook *wanted,
                   struct account_answer *answer, struct err *err);
// account_change puts the whole of `wanted` on the hook `id`; ERR_AGAIN with EXIT_CODE_CHANGES
// when it is gone.
int account_change(struct account *a, uint64_t id, const struct hook *wanted,
                   struct account_answer *answer, struct err *err);
int account_remove(struct account *a, uint64_t id, struct err *err);

// account_events reads AC's own list of event types, which is known to be incomplete.
int account_events(struct account *a, struct hook_words *events, struct err *err);

// account_wait waits as calls do; false when the caller wants to end.
bool account_wait(struct account *a, int64_t ms);

#endif
