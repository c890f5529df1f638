#include "cli/outside.h"

#include "base/clock.h"
#include "edge/admin_client.h"
#include "edge/rest.h"
#include "hook/plan.h"
#include "worker/apply.h"
#include "worker/wanted.h"

#include <stdio.h>

enum { PROBE_MS = 5000, LOST_SHOWN = 5 };

// --- ActiveCampaign -------------------------------------------------------------------------

static bool
wait_here(int64_t ms, void *context)
{
    (void)context;
    clock_sleep_ms(ms);
    return true;
}

static void
tell_plan(struct findings *f, const struct plan *plan, size_t found)
{
    if (plan->writes + plan->refused > 0)
        findings_tell(
            f, WRONG, EXIT_CODE_CHANGES, "hooks",
            "acrelay-worker plan shows them, apply carries them out",
            "%zu changes are needed to make the webhooks as the file says, %zu of "
            "them for a person to look at",
            plan->writes + plan->refused, plan->refused);
    else
        findings_tell(
            f, GOOD, EXIT_CODE_OK, "hooks", NULL,
            "%zu webhooks at ActiveCampaign are as the file says (of %zu there)%s",
            plan->good + plan->kept, found,
            plan->kept ? "; some as ActiveCampaign stores what was written" : "");
}

// Our webhooks whose URL the running receiver answers with 404: AC posts there all the same.
static void
tell_lost(struct findings *f, const struct hooks *found)
{
    const struct config *c = f->cli->config;
    size_t lost = 0;

    for (size_t i = 0; f->receiver.code && i < found->len; i++) {
        const struct hook *h = &found->at[i];
        const char *path = h->name ? strstr(h->url, "/hook/") : NULL;
        if (!path || admin_client_takes(&c->receiver_admin, &c->listen, path) != 0 ||
            ++lost > LOST_SHOWN)
            continue;
        findings_tell(f, WRONG, EXIT_CODE_FAILURE, "hooks",
                      config_find_hook(c, span_of(h->name))
                          ? "acrelay reload, and acrelay-worker apply moves it to the "
                            "URL of the first secret"
                          : "name it in the file again, or let it go: worker.prune, or "
                            "by hand at ActiveCampaign",
                      "webhook %llu (%s) still posts to a URL that the receiver answers "
                      "with 404: each of its events is lost",
                      (unsigned long long)h->id, h->name);
    }
    if (lost > LOST_SHOWN)
        findings_tell(f, WRONG, EXIT_CODE_FAILURE, "hooks", NULL,
                      "%zu webhooks more post to URLs that are answered with 404",
                      lost - LOST_SHOWN);
}

// A webhook of others with our path and our token is ours under another address: it posts too.
static void
tell_alike(struct findings *f, const struct hooks *wanted, const struct hooks *found)
{
    for (size_t i = 0; i < found->len; i++) {
        bool certain;
        const struct hook *like = plan_alike(wanted, &found->at[i], &certain);
        if (like)
            findings_tell(f, certain ? WRONG : WARNING, EXIT_CODE_FAILURE, "hooks",
                          "add its address to previous_public_urls, and the worker moves "
                          "it; or remove it",
                          certain
                              ? "webhook %llu has the path and token of hook %s under "
                                "another address than public_url: events come twice, "
                                "or go elsewhere"
                              : "webhook %llu of another address is named as the "
                                "worker names hook %s: is it one of ours?",
                          (unsigned long long)found->at[i].id, like->name);
    }
}

// What the worker keeps in Redis of what ActiveCampaign stores in other words.
static struct store *
open_store(struct findings *f)
{
    return f->redis_usable ? store_open(f->cli->config) : NULL;
}

static int
look_at_account(struct findings *f, struct ac_client *account, const struct secrets *s,
                struct err *err)
{
    const struct config *c = f->cli->config;
    struct hooks wanted = {0};
    struct known known = {0};
    struct apply a = {.account = account,
                      .config = c,
                      .wanted = &wanted,
                      .known = &known,
                      .store = open_store(f),
                      .prune = c->worker_prune};
    struct plan plan = {0};

    wanted_make(&wanted, c, s);
    int result = apply_plan(&a, &plan, err);
    if (result == 0) {
        findings_tell(f, GOOD, EXIT_CODE_OK, "activecampaign", NULL,
                      "%s takes the token; %zu webhooks there", c->account_api_url,
                      a.found.len);
        tell_plan(f, &plan, a.found.len);
        tell_lost(f, &a.found);
        tell_alike(f, &wanted, &a.found);
        plan_release(&plan);
    }
    apply_release(&a);
    store_close(a.store);
    known_release(&known);
    hooks_release(&wanted);
    return result;
}

void
outside_account(struct findings *f)
{
    const struct config *c = f->cli->config;
    struct ac_client_options cb = {.wait = wait_here, .once = true};
    struct err err = {0};

    if (!c->account_api_url || !c->account_api_token_file)
        return; // told by check
    struct secrets *s = secrets_load(c, &err);
    if (!s)
        return; // told by check
    struct ac_client *a = wanted_account(c, &cb, &err);
    if (!a || look_at_account(f, a, s, &err) < 0)
        findings_tell(
            f, WRONG, err.exit ? err.exit : EXIT_CODE_FAILURE, "activecampaign",
            err.exit == EXIT_CODE_PERMISSION
                ? "make a new token in ActiveCampaign under Settings, Developer, "
                  "and put it into account.api_token_file"
                : "deliveries go on; the hooks cannot be looked after",
            "%s", err.text);
    ac_client_close(a);
    secrets_release(s);
}

// --- public_url -----------------------------------------------------------------------------

// Posts to hooks that are not there; those to hooks of ours do not count.
static double
strangers(const struct config *c)
{
    struct buf page;

    admin_client_metrics(&page, &c->receiver_admin);
    double n = metrics_page_sum(&page, "acrelay_requests_total{hook=\"-\",code=\"404\"}");
    buf_release(&page);
    return n;
}

// A post to a hook that is not there, with a token that is none: the receiver answers 404, and
// counts it.
void
outside_public_url(struct findings *f)
{
    const struct config *c = f->cli->config;
    char url[2048];
    struct err err = {0};

    snprintf(url, sizeof url,
             "%s/hook/acrelay-doctor/0000000000000000000000000000000000000000000",
             c->public_url);
    double before = f->receiver.code ? strangers(c) : 0;
    int status = rest_probe(url, PROBE_MS, &err);
    bool came = f->receiver.code && strangers(c) > before;
    if (status < 0)
        findings_tell(
            f, WRONG, EXIT_CODE_UNAVAILABLE, "public_url",
            "look at DNS, firewall, certificate and proxy; from inside a network "
            "that cannot reach its own address this may be no mistake",
            "%s: %s", c->public_url, err.text);
    else if (status >= 300 && status < 400)
        findings_tell(f, WRONG, EXIT_CODE_FAILURE, "public_url",
                      "have the proxy pass /hook/ on instead of redirecting: "
                      "ActiveCampaign's post is lost in a redirect",
                      "%s redirects (%d)", c->public_url, status);
    else if (status == 410)
        findings_tell(
            f, WRONG, EXIT_CODE_FAILURE, "public_url",
            "never answer 410: ActiveCampaign switches the webhook off for good",
            "%s answers 410", c->public_url);
    else if (status != 404)
        findings_tell(
            f, WRONG, EXIT_CODE_FAILURE, "public_url",
            "have the proxy pass /hook/ to receiver.listen; deploy/proxy has "
            "settings",
            "%s answers %d where 404 was expected: something else answers there",
            c->public_url, status);
    else if (!came)
        findings_tell(
            f, WARNING, EXIT_CODE_OK, "public_url",
            "have the proxy pass /hook/ to receiver.listen, unless the receiver "
            "runs on another machine",
            "%s answers 404, but this receiver has not seen the request", c->public_url);
    else
        findings_tell(f, GOOD, EXIT_CODE_OK, "public_url", NULL,
                      "%s reaches this receiver", c->public_url);
}
