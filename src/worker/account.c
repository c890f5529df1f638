#include "worker/account.h"

#include "base/file.h"
#include "base/text.h"
#include "edge/rest.h"
#include "hook/hook_json.h"
#include "worker/wanted.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

// The page size is AC's greatest.
enum { PAGE = 100, ATTEMPTS = 5, PATIENCE_MS = 90000 };

struct account {
    const struct config *config;
    struct rest *rest;
    struct account_callbacks callbacks;
    char said[300];
};

struct account *
account_open(const struct config *c, const struct account_callbacks *cb, struct err *err)
{
    struct buf token;

    if (!c->account_api_url || !c->account_api_token_file) {
        err_exit(err, EXIT_CODE_CONFIG,
                 "%s: account.api_url and account.api_token_file are "
                 "needed: both are on ActiveCampaign's page Settings, "
                 "Developer",
                 c->file);
        return NULL;
    }
    buf_init(&token, 4096);
    if (file_read_secret(c->account_api_token_file, ACCOUNT_TOKEN_LEAST, &token, err) <
        0) {
        buf_wipe(&token);
        err_context(err, "account.api_token_file");
        if (err && err->exit != EXIT_CODE_PERMISSION)
            err->exit = EXIT_CODE_CONFIG;
        return NULL;
    }
    struct rest_options options = {.base = c->account_api_url,
                                   .token = buf_span(&token),
                                   .rate = c->worker_api_rate,
                                   .timeout_ms =
                                       cb->once ? ACCOUNT_ONCE_MS : ACCOUNT_TIMEOUT_MS,
                                   .attempts = cb->once ? 1 : ATTEMPTS,
                                   .patience_ms = PATIENCE_MS,
                                   .total_ms = cb->once ? ACCOUNT_ONCE_MS : 0,
                                   .wait = cb->wait,
                                   .may_write = cb->may_write,
                                   .note = cb->note,
                                   .report = cb->report,
                                   .is_stopping = cb->is_stopping,
                                   .context = cb->context};
    struct account *a = memory_get(sizeof *a);
    *a =
        (struct account){.config = c, .rest = rest_open(&options, err), .callbacks = *cb};
    buf_wipe(&token);
    if (a->rest)
        return a;
    free(a);
    return NULL;
}

void
account_close(struct account *a)
{
    if (!a)
        return;
    rest_close(a->rest);
    free(a);
}

void
account_follow(struct account *a, const struct account *before)
{
    rest_follow(a->rest, before->rest);
}

int64_t
account_held_ms(const struct account *a)
{
    return rest_held_ms(a->rest);
}

void
account_wait_text(char *to, size_t size, const struct rest_wait *w)
{
    char after[40], count[40] = "";

    text_duration(after, sizeof after, w->ms);
    if (w->attempt)
        snprintf(count, sizeof count, " (%d of %d)", w->attempt, w->attempts);
    if (w->slow)
        snprintf(to, size, "ActiveCampaign is slow to answer; waiting up to %s more",
                 after);
    else if (w->status)
        snprintf(to, size, "ActiveCampaign answers %d; trying again in %s%s", w->status,
                 after, count);
    else
        snprintf(to, size, "ActiveCampaign: %s; trying again in %s%s", w->error, after,
                 count);
}

bool
account_wait(struct account *a, int64_t ms)
{
    return a->callbacks.wait(ms, a->callbacks.context);
}

// --- what an answer means ------------------------------------------------------------------

static int
tell(struct err *err, enum err_kind kind, enum exit_code exit, const char *text)
{
    err_set(err, kind, "%s", text);
    if (err)
        err->exit = exit;
    return -1;
}

// What is gone answers 404, or 403 with the same words.
static bool
says_absent(struct account *a, const struct rest_answer *answer)
{
    hook_json_explain(a->said, sizeof a->said, answer->body);
    return strstr(a->said, "No Result found") != NULL;
}

static bool
is_gone(struct account *a, const struct rest_answer *answer)
{
    bool absent = says_absent(a, answer);

    return answer->status == 404 || (answer->status == 403 && absent);
}

// An answer in other words than ActiveCampaign's says nothing of the token, or of a hook. Its own
// 400, 404 and 422 may be text; 200 is of /users/me.
static bool
is_from_outside(const struct rest_answer *answer)
{
    int status = answer->status;
    bool is_refusal =
        status >= 401 && status < 500 && status != 404 && status != 422 && status != 429;

    return (status == 200 || is_refusal) && !hook_json_is_own(answer->body);
}

static int
tell_outside(struct account *a, const struct rest_answer *answer, struct err *err)
{
    hook_json_explain(a->said, sizeof a->said, answer->body);
    return err_exit(
        err, EXIT_CODE_UNAVAILABLE,
        "something in front of ActiveCampaign answers %d with %s: a challenge "
        "page or a firewall? It says nothing of the API token. Try later or "
        "from another address, and check account.api_url",
        answer->status,
        a->said[0]         ? a->said
        : answer->body.len ? "JSON that is not ActiveCampaign's"
                           : "nothing");
}

static int
tell_busy(const struct rest_answer *answer, const char *said, struct err *err)
{
    char later[40] = "later";

    if (answer->retry_after_ms)
        text_duration(later, sizeof later, answer->retry_after_ms);
    err_set(err, ERR_AGAIN, "ActiveCampaign answers %d (%s): it is busy, try again %s%s",
            answer->status, said, answer->retry_after_ms ? "in " : "", later);
    if (err)
        err->exit = EXIT_CODE_UNAVAILABLE;
    return -1;
}

static int
tell_status(struct account *a, const struct rest_answer *answer, struct err *err)
{
    int status = answer->status;

    if (is_from_outside(answer))
        return tell_outside(a, answer, err);
    bool absent = says_absent(a, answer); // a list, say, that a hook is to be on
    const char *said = a->said[0] ? a->said : "nothing more";
    // call() has asked: the token is good.
    if (status == 401 || (status == 403 && !absent))
        return tell(
            err, ERR_FATAL, EXIT_CODE_PERMISSION,
            "ActiveCampaign knows the API token, but its user may not manage "
            "webhooks: give the user's group that permission (Settings, Users and "
            "Groups)");
    if (status == 429 || status >= 500)
        return tell_busy(answer, said, err);
    if (status >= 300 && status < 400)
        return err_exit(err, EXIT_CODE_CONFIG,
                        "account.api_url answers with a redirect (%d), which is not "
                        "followed: use the URL of Settings, Developer",
                        status);
    if (status == 404 && !absent)
        return err_exit(
            err, EXIT_CODE_CONFIG,
            "there is no ActiveCampaign API at account.api_url (404): use the "
            "URL of Settings, Developer");
    return err_exit(err, EXIT_CODE_CONFIG, "ActiveCampaign answers %d: %s", status, said);
}

// Only what /users/me answers says whether a token is good.
static int
check_token(struct account *a, struct err *err)
{
    struct rest_answer me;

    if (rest_call(a->rest, "GET", "/api/3/users/me", SPAN(""), &me, err) < 0)
        return -1;
    if (is_from_outside(&me))
        return tell_outside(a, &me, err);
    if (me.status == 200)
        return 0;
    if (me.status == 401 || me.status == 403)
        return tell(
            err, ERR_FATAL, EXIT_CODE_PERMISSION,
            "ActiveCampaign refuses the API token: put the key of Settings, Developer "
            "into account.api_token_file, and check that account.api_url is of the same "
            "account");
    err_set(err, ERR_AGAIN,
            "ActiveCampaign refuses a request, and does not say whether the API token is "
            "good (%d): try later",
            me.status);
    if (err)
        err->exit = EXIT_CODE_UNAVAILABLE;
    return -1;
}

// call makes a request. 403 comes now and then for a good token too, so a refusal (nothing was
// done then) is believed the second time.
static int
call(struct account *a, const char *method, const char *path, struct span body,
     struct rest_answer *answer, struct err *err)
{
    if (rest_call(a->rest, method, path, body, answer, err) < 0)
        return -1;
    if ((answer->status != 401 && answer->status != 403) || is_gone(a, answer))
        return 0;
    if (strcmp(method, "POST") == 0 && is_from_outside(answer))
        return 0; // who answers so may have passed it on
    if (check_token(a, err) < 0)
        return -1;
    return rest_call(a->rest, method, path, body, answer, err);
}

static int
ask(struct account *a, const char *path, struct span *body, struct err *err)
{
    struct rest_answer answer;

    if (call(a, "GET", path, SPAN(""), &answer, err) < 0)
        return -1;
    if (answer.status != 200)
        return tell_status(a, &answer, err);
    *body = answer.body;
    return 0;
}

// An answer that is not what was asked for: another site, or one cut short.
static int
not_understood(struct err *err)
{
    err_context(err, "account.api_url");
    if (err) {
        err->kind = ERR_AGAIN;
        err->exit = EXIT_CODE_CONFIG;
    }
    return -1;
}

// --- reading -------------------------------------------------------------------------------

static void
name_ours(struct account *a, struct hook *found, size_t len)
{
    struct wanted_bases bases;
    char name[HOOK_NAME];

    wanted_bases(&bases, a->config);
    for (size_t i = 0; i < len; i++)
        if (hook_name_in(name, found[i].url, bases.at, bases.len))
            found[i].name = memory_copy(span_of(name));
}

int
account_page(struct account *a, size_t offset, struct hooks *page, uint64_t *total,
             size_t *count, struct err *err)
{
    struct span body = {0};
    char path[96];

    snprintf(path, sizeof path, "/api/3/webhooks?limit=%d&offset=%zu", PAGE, offset);
    if (ask(a, path, &body, err) < 0)
        return -1;
    if (hook_json_read_page(page, total, count, body, err) < 0)
        return not_understood(err);
    if (*count > PAGE) // what was put in beside does not move the next offset
        *count = PAGE;
    name_ours(a, page->at, page->len);
    return 0;
}

// What is no answer to this question, a list say, leaves it open.
enum account_there
account_get(struct account *a, uint64_t id, struct hook *to, struct err *err)
{
    struct rest_answer answer;
    char path[64];

    snprintf(path, sizeof path, "/api/3/webhooks/%" PRIu64, id);
    if (call(a, "GET", path, SPAN(""), &answer, err) < 0)
        return ACCOUNT_ERROR;
    if (is_gone(a, &answer) && strstr(a->said, "HTML") == NULL)
        return ACCOUNT_ABSENT;
    if (answer.status == 429 || answer.status >= 500)
        return tell_status(a, &answer, err);
    if (answer.status != 200)
        return ACCOUNT_UNCLEAR;
    if (hook_json_read_one(to, answer.body, err) < 0) {
        hook_json_explain(a->said, sizeof a->said, answer.body);
        return strstr(a->said, "HTML") ? not_understood(err) : ACCOUNT_UNCLEAR;
    }
    if (to->id != id) {
        hook_release(to);
        return ACCOUNT_UNCLEAR;
    }
    name_ours(a, to, 1);
    return ACCOUNT_THERE;
}

int
account_events(struct account *a, struct hook_words *events, struct err *err)
{
    struct span body = {0};

    if (ask(a, "/api/3/webhook/events", &body, err) < 0)
        return -1;
    return hook_json_read_events(events, body, err) < 0 ? not_understood(err) : 0;
}

// --- changing ------------------------------------------------------------------------------

static bool
is_done(const struct rest_answer *answer)
{
    return answer->status >= 200 && answer->status < 300;
}

static int
unclear(struct err *err, const char *what)
{
    return tell(err, ERR_AGAIN, EXIT_CODE_UNAVAILABLE, what);
}

static int
send_hook(struct account *a, const char *method, const char *path,
          const struct hook *wanted, struct rest_answer *answer, struct err *err)
{
    struct buf body;

    buf_init(&body, 1 << 20);
    hook_json_write(&body, wanted);
    int result = call(a, method, path, buf_span(&body), answer, err);
    buf_release(&body);
    return result;
}

// A 2xx without a readable body is told by the list that follows.
static void
read_answer(struct account_answer *to, struct span body)
{
    struct hook now = {0};

    if (hook_json_read_one(&now, body, NULL) == 0)
        *to = (struct account_answer){.id = now.id, .digest = hook_digest(&now)};
    hook_release(&now);
}

int
account_create(struct account *a, const struct hook *wanted, struct account_answer *to,
               struct err *err)
{
    struct rest_answer answer;

    *to = (struct account_answer){0};
    int result = send_hook(a, "POST", "/api/3/webhooks", wanted, &answer, err);
    // 503 is the rate limit: nothing was done.
    to->unclear = answer.maybe_done || (answer.status >= 500 && answer.status != 503);
    if (result < 0)
        return -1;
    if (answer.status >= 500)
        return unclear(err, "ActiveCampaign failed while creating a webhook");
    if (!is_done(&answer))
        return tell_status(a, &answer, err);
    read_answer(to, answer.body);
    return 0;
}

int
account_change(struct account *a, uint64_t id, const struct hook *wanted,
               struct account_answer *to, struct err *err)
{
    struct rest_answer answer;
    char path[64];

    *to = (struct account_answer){0};
    snprintf(path, sizeof path, "/api/3/webhooks/%" PRIu64, id);
    if (send_hook(a, "PUT", path, wanted, &answer, err) < 0)
        return -1;
    if (is_gone(a, &answer))
        return tell(err, ERR_AGAIN, EXIT_CODE_CHANGES,
                    "the webhook was removed by someone else meanwhile");
    if (!is_done(&answer))
        return tell_status(a, &answer, err);
    read_answer(to, answer.body);
    return 0;
}

int
account_remove(struct account *a, uint64_t id, struct err *err)
{
    struct rest_answer answer;
    char path[64];

    snprintf(path, sizeof path, "/api/3/webhooks/%" PRIu64, id);
    if (call(a, "DELETE", path, SPAN(""), &answer, err) < 0)
        return -1;
    if (is_done(&answer) || is_gone(a, &answer))
        return 0;
    return tell_status(a, &answer, err);
}
