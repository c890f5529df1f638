// A rest is one paced lane of requests to an HTTP API, one after the other. It belongs to one
// thread. The token goes to the host of `base` alone: redirects are not followed, other
// protocols not spoken, TLS is verified; proxies are taken from the usual environment.
#ifndef ACRELAY_EDGE_REST_H
#define ACRELAY_EDGE_REST_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

// What a request waits for, for people.
struct rest_wait {
    int status;            // that was answered; 0: none came, and `error` says why
    const char *error;     // or NULL
    int64_t ms;            // until the next try
    int attempt, attempts; // the next try is number `attempt`; 0: they are not counted
    bool slow; // a request is under way and has no answer yet; it is given up in `ms`
};

struct rest_options {
    const char *base;   // scheme://host[:port], no trailing slash; http for loopback only
    struct span token;  // for the header Api-Token; copied
    double rate;        // requests a second at most
    int64_t timeout_ms; // for one request
    int attempts; // tries of one call at most; waiting because of 429 is not counted
    int64_t patience_ms; // from the first failure in a row, over all calls
    int64_t total_ms;    // for everything since rest_open; 0: no limit
    // wait sleeps so long; false when the caller wants to end.
    bool (*wait)(int64_t ms, void *context);
    // may_write is asked right before a request that is no GET is sent; false ends the call
    // with ERR_FATAL. NULL: always.
    bool (*may_write)(void *context);
    // count counts answers by their status, 0 when there was none. May be NULL.
    void (*count)(int status, void *context);
    // report shows what is waited for, when it is more than a moment. May be NULL.
    void (*report)(const struct rest_wait *wait, void *context);
    // is_stopping is asked about once a second while a request is under way, which it ends.
    // May be NULL.
    bool (*is_stopping)(void *context);
    void *context;
};

struct rest;
struct rest *rest_open(const struct rest_options *options);
void rest_close(struct rest *r); // NULL is fine

// rest_follow has r continue with the rate limit of the one it replaces, and with a
// Retry-After that has not passed. rest_held_ms says for how long no call may be made.
void rest_follow(struct rest *r, const struct rest *before);
int64_t rest_held_ms(const struct rest *r);

struct rest_answer {
    int status;             // 0: none came
    bool stopped;           // without an answer: the caller wants to end
    bool maybe_done;        // without an answer: the request may have been carried out
    int64_t retry_after_ms; // 0: it says nothing of it
    struct span body;       // valid until the next call
};

// rest_call makes a request of `path` ("/api/3/..."). GET, PUT and DELETE are repeated with
// back-off when no answer comes or it is 429 or 5xx; POST only when it cannot have been
// carried out (429, or no connection was made). RateLimit-Remaining and RateLimit-Reset are
// obeyed, and Retry-After with 429 and 5xx: one that is longer than patience ends the call, and
// holds the lane. 0 with an answer, whatever its status; -1 (ERR_AGAIN,
// EXIT_CODE_UNAVAILABLE) when attempts or patience ended without one.
int rest_call(struct rest *r, const char *method, const char *path, struct span body,
              struct rest_answer *answer, struct err *err);

// rest_try waits for its turn and makes one attempt, whatever becomes of it; `line` is one more
// header, or NULL. Neither may_write nor attempts count, and a failure holds nothing: the
// caller decides what it means, and may have all calls wait with rest_hold. 0 with an answer, -1
// without one.
int rest_try(struct rest *r, const char *method, const char *path, const char *line,
             struct span body, struct rest_answer *answer, struct err *err);
void rest_hold(struct rest *r, int64_t ms);

// rest_body is a body without the white space before it. rest_is_json says whether it may be
// ActiveCampaign's JSON, and whole: something before ActiveCampaign may give half of it with that half's
// length. rest_is_page says whether it is something else: with a 2xx, 401 or 403 that is the answer of
// something in front of ActiveCampaign.
static inline struct span
rest_body(struct span body)
{
    while (body.len > 0 && memchr(" \t\r\n", body.at[0], 4))
        body = span_from(body, 1);
    return body;
}
bool rest_is_json(struct span body);
static inline bool
rest_is_page(struct span body)
{
    return rest_body(body).len > 0 && !rest_is_json(body);
}

// rest_retry_after_ms gives how long to wait by a Retry-After header (RFC 9110 10.2.3: whole
// seconds, or a date in one of the three forms of 5.6.7): at most REST_RETRY_AFTER_MAX_MS, 0 for a
// date that has passed, or -1 when the value cannot be used. A date counts from `date`, the Date
// header of the same answer, so that our own clock does not matter; without one it cannot be used.
// Fractions and a header that was sent twice ("6, 6": the longest) are read too. Pure.
enum { REST_RETRY_AFTER_MAX_MS = 900000 };
int64_t rest_retry_after_ms(struct span value, struct span date);

#endif
