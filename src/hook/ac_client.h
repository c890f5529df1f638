// An AC client is ActiveCampaign's (AC) webhooks, over its API. One thread. Errors are sentences
// that say what to do, with the exit code of the program:
//   EXIT_CODE_PERMISSION   the token is refused, or has no right to manage webhooks
//   EXIT_CODE_CONFIG       the base URL is not AC's API, or AC does not accept a hook
//   EXIT_CODE_UNAVAILABLE  no answer, or only "later" (ERR_AGAIN)
//
// A write is ERR_AGAIN too when it may have been carried out or the hook is gone: the caller
// lists and plans again, and never repeats a POST on its own.
#ifndef ACRELAY_HOOK_AC_CLIENT_H
#define ACRELAY_HOOK_AC_CLIENT_H

#include "edge/rest.h"
#include "hook/hook.h"

enum {
    AC_CLIENT_TIMEOUT_MS = 10000, // of one request
    AC_CLIENT_ONCE_MS = 5000,
    AC_CLIENT_TOKEN_MIN = 8, // bytes
};

// What a token that was replaced needs.
#define AC_CLIENT_RELOAD                                                                 \
    "reload acrelay-worker; under systemd, which copies the file, restart it"

struct ac_client_options {
    // base, rate, the callbacks and their context; the rest is set here. `wait` is needed.
    struct rest_options rest;
    const char *token_file;
    const char *public_url; // hooks below it, or below a previous one, are ours
    char *const *previous_urls;
    size_t previous_urls_len;
    bool once; // one try of each request, and AC_CLIENT_ONCE_MS for all of them together
};

struct ac_client {
    struct ac_client_options options; // its texts are borrowed
    struct rest *rest;
    char message[300]; // what the last answer that was examined says, escaped
};

// ac_client_open reads the token; the first call connects. NULL with *err set.
struct ac_client *ac_client_open(const struct ac_client_options *options,
                                 struct err *err);
void ac_client_close(struct ac_client *a); // NULL is fine

// ac_client_wait_text says what is waited for: "ActiveCampaign answers 502; trying again in 8 s
// (2 of 5)".
void ac_client_wait_text(char *to, size_t size, const struct rest_wait *wait);

// ac_client_list reads all pages until they agree; `name` is set for hooks of ours. With -1
// *found has what could be read, for people: it is not all. `again` reads to the very end,
// whatever total says, and adds to *found what it lacks.
int ac_client_list(struct ac_client *a, bool again, struct hooks *found, struct err *err);

// ac_client_get reads one webhook into an empty hook.
enum ac_client_found {
    AC_CLIENT_ERROR = -1,
    AC_CLIENT_ABSENT,
    AC_CLIENT_THERE,
    AC_CLIENT_UNCLEAR
};
enum ac_client_found ac_client_get(struct ac_client *a, uint64_t id, struct hook *to,
                                   struct err *err);

// What the answer to a write says there is now: its id and hook_digest, 0 where it does not say.
struct ac_client_answer {
    uint64_t id, digest;
    bool unclear; // of a creation that failed: it may have been done
};
// ac_client_write makes `wanted` of `found`: creates it when `found` is NULL, deletes `found` when
// `wanted` is NULL, else puts the whole of `wanted` on it; ERR_AGAIN with EXIT_CODE_CHANGES when
// it is gone.
int ac_client_write(struct ac_client *a, const struct hook *found,
                    const struct hook *wanted, struct ac_client_answer *answer,
                    struct err *err);

// ac_client_events reads AC's own list of event types, which is known to be incomplete.
int ac_client_events(struct ac_client *a, struct string_set *events, struct err *err);

#endif
