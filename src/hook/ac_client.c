#include "hook/ac_client.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "hook/hook_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DELIVERIES_GO_ON "Deliveries go on meanwhile; webhooks are not kept in sync"

enum { ATTEMPTS = 5, PATIENCE_MS = 90000 };
// PAGE is AC's greatest page. A list that shifts while it is read is read again.
enum { PAGE = 100, PAGE_DEFAULT = 20, PAGES_MAX = 500, ROWS_MAX = 10000, READS_MAX = 6 };

struct ac_client *
ac_client_open(const struct ac_client_options *options, struct err *err)
{
    struct ac_client *a = NULL;
    struct buf token;

    buf_init(&token, 4096);
    if (file_read_secret(options->token_file, AC_CLIENT_TOKEN_MIN, &token, err) < 0) {
        err_context(err, "account.api_token_file");
        if (err->exit != EXIT_CODE_PERMISSION)
            err->exit = EXIT_CODE_CONFIG;
    } else {
        struct rest_options rest = options->rest;
        rest.token = buf_span(&token);
        rest.timeout_ms = options->once ? AC_CLIENT_ONCE_MS
                                        : times_ms("api-timeout", AC_CLIENT_TIMEOUT_MS);
        rest.attempts = options->once ? 1 : ATTEMPTS;
        rest.patience_ms = PATIENCE_MS;
        rest.total_ms = options->once ? AC_CLIENT_ONCE_MS : 0;
        a = memory_get(sizeof *a);
        *a = (struct ac_client){.options = *options, .rest = rest_open(&rest)};
    }
    buf_wipe(&token);
    return a;
}

void
ac_client_close(struct ac_client *a)
{
    if (!a)
        return;
    rest_close(a->rest);
    free(a);
}

void
ac_client_wait_text(char *to, size_t size, const struct rest_wait *w)
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

// --- what an answer means ------------------------------------------------------------------

static bool
says_absent(struct ac_client *a, const struct rest_answer *answer)
{
    hook_json_explain(a->message, sizeof a->message, answer->body);
    return strstr(a->message, "No Result found") != NULL;
}

// What is gone answers 404, or 403 with the same message. A proxy's page, text or nothing does not
// say so.
static bool
is_gone(struct ac_client *a, const struct rest_answer *answer)
{
    bool own = hook_json_explain(a->message, sizeof a->message, answer->body),
         absent = strstr(a->message, "No Result found");

    return (answer->status == 404 && (own || absent)) ||
           (answer->status == 403 && absent);
}

// An answer that does not look like AC's says nothing about the token, or a hook. AC's own 400, 404
// and 422 may be text; 200 is of /users/me.
static bool
is_from_outside(struct ac_client *a, const struct rest_answer *answer)
{
    int status = answer->status;
    bool is_refusal =
        status >= 401 && status < 500 && status != 404 && status != 422 && status != 429;

    return (status == 200 || is_refusal) &&
           !hook_json_explain(a->message, sizeof a->message, answer->body);
}

// After is_from_outside.
static int
fail_outside(struct ac_client *a, const struct rest_answer *answer, struct err *err)
{
    return err_exit(err, EXIT_CODE_UNAVAILABLE,
                    "something in front of ActiveCampaign answers %d with %s: a "
                    "challenge page or a firewall? This does not concern the API token. "
                    "Try later or from another address, and check account.api_url",
                    answer->status,
                    a->message[0]      ? a->message
                    : answer->body.len ? "JSON that is not ActiveCampaign's"
                                       : "nothing");
}

static int
fail_busy(const struct rest_answer *answer, const char *message, struct err *err)
{
    char later[40] = "later";

    if (answer->retry_after_ms)
        text_duration(later, sizeof later, answer->retry_after_ms);
    return err_write(err, ERR_AGAIN, EXIT_CODE_UNAVAILABLE,
                     "ActiveCampaign answers %d (%s): it %s, try again %s%s",
                     answer->status, message,
                     answer->status == 429 || answer->status == 503 ? "is busy" : "fails",
                     answer->retry_after_ms ? "in " : "", later);
}

static int
fail_status(struct ac_client *a, const struct rest_answer *answer, struct err *err)
{
    int status = answer->status;

    if (is_from_outside(a, answer))
        return fail_outside(a, answer, err);
    bool absent = says_absent(a, answer); // a list, say, that a hook is to be on
    const char *message = a->message[0] ? a->message : "without a reason";
    // call() has asked: the token is accepted.
    if (status == 401 || (status == 403 && !absent))
        return err_exit(
            err, EXIT_CODE_PERMISSION,
            "ActiveCampaign knows the API token (account.api_token_file), but its user "
            "may not manage webhooks: give the user's group that permission (Settings, "
            "Users and Groups). " DELIVERIES_GO_ON);
    if (status == 429 || status >= 500)
        return fail_busy(answer, message, err);
    if (status >= 300 && status < 400)
        return err_exit(err, EXIT_CODE_CONFIG,
                        "account.api_url answers with a redirect (%d), which is not "
                        "followed: use the URL of Settings, Developer",
                        status);
    if (status == 404 && !absent)
        return err_exit(
            err, EXIT_CODE_CONFIG,
            "there is no ActiveCampaign API at account.api_url, or something in front of "
            "it answers (404): use the URL of Settings, Developer");
    return err_exit(err, EXIT_CODE_CONFIG, "ActiveCampaign answers %d: %s", status,
                    message);
}

// Only what /users/me answers says whether a token is accepted.
static int
check_token(struct ac_client *a, struct err *err)
{
    struct rest_answer me;

    if (rest_call(a->rest, "GET", "/api/3/users/me", SPAN(""), &me, err) < 0)
        return -1;
    if (is_from_outside(a, &me))
        return fail_outside(a, &me, err);
    if (me.status == 200)
        return 0;
    if (me.status == 401 || me.status == 403)
        return err_exit(
            err, EXIT_CODE_PERMISSION,
            "ActiveCampaign refuses the API token: put the Key of Settings, Developer "
            "into the file that account.api_token_file names, and check that "
            "account.api_url is of the same account. Then " AC_CLIENT_RELOAD
            ". " DELIVERIES_GO_ON);
    return err_write(err, ERR_AGAIN, EXIT_CODE_UNAVAILABLE,
                     "ActiveCampaign refuses a request, and does not say whether the API "
                     "token is valid (%d): try later",
                     me.status);
}

// call makes a request. 403 comes now and then for a good token too, so a refusal (nothing was
// done then) is believed the second time.
static int
call(struct ac_client *a, const char *method, const char *path, struct span body,
     struct rest_answer *answer, struct err *err)
{
    if (rest_call(a->rest, method, path, body, answer, err) < 0)
        return -1;
    if ((answer->status != 401 && answer->status != 403) || is_gone(a, answer))
        return 0;
    if (strcmp(method, "POST") == 0 && is_from_outside(a, answer))
        return 0; // who answers so may have passed it on
    if (check_token(a, err) < 0)
        return -1;
    return rest_call(a->rest, method, path, body, answer, err);
}

static int
get(struct ac_client *a, const char *path, struct span *body, struct err *err)
{
    struct rest_answer answer;

    if (call(a, "GET", path, SPAN(""), &answer, err) < 0)
        return -1;
    if (answer.status != 200)
        return fail_status(a, &answer, err);
    *body = answer.body;
    return 0;
}

// An answer that is not what was asked for: another site, or one cut short.
static int
not_understood(struct err *err)
{
    err->kind = ERR_AGAIN;
    err->exit = EXIT_CODE_CONFIG;
    return err_context(err, "account.api_url");
}

// --- the list ------------------------------------------------------------------------------

// Ours are those with a name of ours below one of our URLs, whichever of http and https.
static void
name_ours(const struct ac_client *a, struct hook *found, size_t len)
{
    const struct ac_client_options *o = &a->options;
    struct hook_url url, base;

    for (size_t i = 0; i < len; i++) {
        bool named = hook_url_parse(&url, found[i].url) && url.name[0], ours = false;
        for (size_t k = 0; named && !ours && k <= o->previous_urls_len; k++)
            ours = hook_url_parse(&base, k ? o->previous_urls[k - 1] : o->public_url) &&
                   strcmp(url.host, base.host) == 0;
        if (ours)
            found[i].name = memory_copy(span_of(url.name));
    }
}

// A reading is one way through all pages, though they may shift meanwhile, repeat rows, and say
// a wrong total or none. Each page begins with the last row of the one before: where it does not,
// the rows have shifted, and some may have been missed though the total fits.
struct reading {
    uint64_t total; // of the last page, 0: not known
    size_t count;   // rows of the last page
    size_t rows;    // different ones
    bool moves;     // the rows shifted or the total changed
    bool twofold;   // two rows of one of our hooks differ
};

static int
read_page(struct ac_client *a, size_t offset, struct hooks *page, struct reading *r,
          struct err *err)
{
    struct span body = {0};
    char path[96];

    snprintf(path, sizeof path, "/api/3/webhooks?limit=%d&offset=%zu", PAGE, offset);
    if (get(a, path, &body, err) < 0)
        return -1;
    if (hook_json_read_page(page, &r->total, &r->count, body, err) < 0)
        return not_understood(err);
    if (r->count > PAGE) // what was inserted beyond it does not move the next offset
        r->count = PAGE;
    name_ours(a, page->at, page->len);
    return 0;
}

// Takes over the rows that are not there yet; returns how many.
static size_t
take_page(struct reading *r, struct hooks *found, struct hooks *page)
{
    size_t fresh = 0;

    for (size_t i = 0; i < page->len; i++) {
        struct hook *row = &page->at[i], *there = hooks_find(found, row->row);
        if (!there) {
            *hooks_add(found) = *row;
            *row = (struct hook){0};
            fresh++;
        } else if ((row->name || there->name) && hook_digest(row) != hook_digest(there)) {
            r->twofold = true;
        }
    }
    r->rows = found->len;
    return fresh;
}

// A page shorter than AC's default is the last one, whatever was asked for.
static bool
has_more(const struct reading *r, size_t fresh, bool to_end)
{
    bool known = r->total > 0 && r->rows <= r->total; // a total that is too small is none

    return fresh > 0 &&
           ((to_end && r->count >= PAGE_DEFAULT) || !known || r->rows < r->total);
}

static int
read_pages(struct ac_client *a, struct hooks *found, bool to_end, struct reading *r,
           struct err *err)
{
    uint64_t first_total = 0;
    size_t offset = 0, fresh = 1;

    *r = (struct reading){0};
    for (int n = 0; n == 0 || has_more(r, fresh, to_end); n++) {
        struct hooks page = {0};
        bool overlaps = r->count > 1;
        if (n == PAGES_MAX || found->len > ROWS_MAX)
            return err_write(
                err, ERR_AGAIN, EXIT_CODE_UNAVAILABLE,
                "ActiveCampaign's list of webhooks does not end: read again later");
        if (read_page(a, offset, &page, r, err) < 0) {
            hooks_release(&page);
            return -1;
        }
        if (n == 0)
            first_total = r->total;
        fresh = take_page(r, found, &page);
        r->moves = r->moves || r->total != first_total || (overlaps && fresh == page.len);
        hooks_release(&page);
        offset += r->count > 1 ? r->count - 1 : 1;
    }
    return 0;
}

static bool
is_whole(const struct reading *r)
{
    return !r->moves && !r->twofold && (r->total == 0 || r->rows == r->total);
}

// What is odd in the same way each time stays so.
static bool
is_same(const struct reading *r, const struct reading *before)
{
    return !r->moves && !before->moves && r->rows == before->rows &&
           r->total == before->total && r->twofold == before->twofold;
}

// A cut answer may be whole the next time; a wrong site stays wrong.
static bool
may_be_cut(const struct err *err)
{
    return err->kind == ERR_AGAIN && err->exit == EXIT_CODE_CONFIG;
}

int
ac_client_list(struct ac_client *a, bool again, struct hooks *found, struct err *err)
{
    struct reading now, before = {.moves = true};
    struct hooks rows = {0};
    bool done = false;
    int result = 0;

    if (!again)
        hooks_release(found);
    for (int read = 1; !done && read <= READS_MAX; read++, before = now) {
        hooks_release(&rows);
        result = read_pages(a, &rows, again, &now, err);
        done = result == 0 ? again || is_whole(&now) || is_same(&now, &before)
                           : !may_be_cut(err) || read >= READS_MAX / 2;
        now.moves = now.moves || result < 0;
    }
    (void)take_page(&now, found, &rows);
    hooks_release(&rows);
    return done ? result
                : err_write(err, ERR_AGAIN, EXIT_CODE_UNAVAILABLE,
                            "ActiveCampaign's list of webhooks changes while it is read: "
                            "read again later");
}

// --- one webhook ---------------------------------------------------------------------------

// What is no answer to this question, a list say, leaves it open.
enum ac_client_found
ac_client_get(struct ac_client *a, uint64_t id, struct hook *to, struct err *err)
{
    struct rest_answer answer;
    char path[64];

    snprintf(path, sizeof path, "/api/3/webhooks/%" PRIu64, id);
    if (call(a, "GET", path, SPAN(""), &answer, err) < 0)
        return AC_CLIENT_ERROR;
    if (is_gone(a, &answer))
        return AC_CLIENT_ABSENT;
    if (answer.status == 429 || answer.status >= 500)
        return fail_status(a, &answer, err);
    if (answer.status != 200)
        return AC_CLIENT_UNCLEAR;
    if (hook_json_read_one(to, answer.body, err) < 0) {
        hook_json_explain(a->message, sizeof a->message, answer.body);
        return strstr(a->message, "HTML") ? not_understood(err) : AC_CLIENT_UNCLEAR;
    }
    if (to->id != id) {
        hook_release(to);
        return AC_CLIENT_UNCLEAR;
    }
    name_ours(a, to, 1);
    return AC_CLIENT_THERE;
}

int
ac_client_events(struct ac_client *a, struct string_set *events, struct err *err)
{
    struct span body = {0};

    if (get(a, "/api/3/webhook/events", &body, err) < 0)
        return -1;
    return hook_json_read_events(events, body, err) < 0 ? not_understood(err) : 0;
}

static int
fail_page(struct ac_client *a, const struct rest_answer *answer, struct err *err)
{
    hook_json_explain(a->message, sizeof a->message, answer->body);
    fail_outside(a, answer, err);
    err->kind = ERR_AGAIN;
    return -1;
}

int
ac_client_write(struct ac_client *a, const struct hook *found, const struct hook *wanted,
                struct ac_client_answer *to, struct err *err)
{
    const char *method = !found ? "POST" : wanted ? "PUT" : "DELETE";
    char path[64] = "/api/3/webhooks";
    struct rest_answer answer;
    struct hook now = {0};
    struct buf body;

    *to = (struct ac_client_answer){0};
    if (found)
        snprintf(path, sizeof path, "/api/3/webhooks/%" PRIu64, found->id);
    buf_init(&body, 1 << 20);
    if (wanted)
        hook_json_write(&body, wanted);
    int result = call(a, method, path, buf_span(&body), &answer, err);
    buf_release(&body);
    // A 2xx without a body is an acceptance, a page is none. 503 is the rate limit, and nothing was
    // done, but for a page: a proxy may have passed it on, and waited in vain for the answer.
    bool foreign = rest_is_page(answer.body),
         page = foreign && answer.status >= 200 && answer.status < 300;
    to->unclear = !found && (answer.maybe_done || page ||
                             (answer.status >= 500 && (foreign || answer.status != 503)));
    if (result < 0)
        return -1;
    if (!found && answer.status >= 500)
        return err_write(
            err, ERR_AGAIN, EXIT_CODE_UNAVAILABLE,
            "ActiveCampaign answers %d to the creation of a webhook, which may "
            "have been created: the next list shows it",
            answer.status);
    if (found && is_gone(a, &answer))
        return !wanted ? 0
                       : err_write(err, ERR_AGAIN, EXIT_CODE_CHANGES,
                                   "the webhook was removed by someone else meanwhile");
    if (answer.status < 200 || answer.status >= 300)
        return fail_status(a, &answer, err);
    if (page)
        return fail_page(a, &answer, err);
    // A 2xx without a readable body: the list that follows shows what it is.
    if (wanted && hook_json_read_one(&now, answer.body, NULL) == 0)
        *to = (struct ac_client_answer){.id = now.id, .digest = hook_digest(&now)};
    hook_release(&now);
    return 0;
}
