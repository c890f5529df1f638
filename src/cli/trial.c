#include "cli/setup.h"

#include "base/clock.h"
#include "base/text.h"
#include "event/samples.h"

#include <stdio.h>
#include <sys/random.h>

enum { POST_MS = 10000, AGAIN_MS = 1000, SHIPPED_MS = 15000, LOOK_MS = 100, NONCE = 12 };

struct trial {
    const struct cli *cli;
    struct buf url; // a password
    struct buf body;
    char nonce[2 * NONCE + 1]; // in the query, by which the entry is known
    struct tags tags;
    char ends[TAGS_MAX][ENTRY_ID];      // of each partition, before it was posted
    char key[SCRIPT_KEY], id[ENTRY_ID]; // of the partition at hand, and of the entry
};

// What is wrong with the answer; NULL: it is the receiver's.
static const char *
explain(int status, const char *why)
{
    if (status == 200)
        return NULL;
    if (status < 0 && (strcasestr(why, "ssl") || strcasestr(why, "certificate")))
        return "there is no certificate that is trusted: the ACME server must reach this "
               "machine on port 443 (DNS, firewall); `journalctl -u acrelay-https` shows "
               "its reasons";
    if (status < 0)
        return "check DNS, the firewall and the proxy";
    if (status == 404)
        return "it leads to another machine, or the proxy does not pass /hook/ on as it "
               "is";
    return "see the proxy's log, and acrelay doctor";
}

// Until an answer comes that waiting does not change.
static int
post(struct trial *t, int64_t patience_ms, struct err *err)
{
    const char *public_url = t->cli->config->public_url;
    int64_t until = clock_mono_ms() + patience_ms;
    struct http_call call = {.url = buf_text(&t->url),
                             .method = "POST",
                             .body = buf_span(&t->body),
                             .type = SPAN("application/x-www-form-urlencoded"),
                             .timeout_ms = POST_MS};
    const char *advice;
    int status;

    output_wait("posting a sample to %s", public_url);
    for (;;) {
        struct err why = {0};
        status = http_client_once(&call, NULL, &why);
        advice = explain(status, why.text);
        bool may_change = status < 0 || status == 502 || status == 503 || status == 504;
        if (!advice)
            return 0;
        if (!may_change || clock_mono_ms() > until)
            return status < 0 ? err_exit(err, EXIT_CODE_UNAVAILABLE, "%s: %s; %s",
                                         public_url, why.text, advice)
                              : err_exit(err, EXIT_CODE_UNAVAILABLE, "%s answers %d: %s",
                                         public_url, status, advice);
        output_wait("waiting for a certificate and an answer of %s", public_url);
        clock_sleep_ms(AGAIN_MS);
    }
}

static struct redis *
enter(struct trial *t, size_t i, struct err *err)
{
    script_key(t->key, t->tags.at[i], SPAN(CONFIG_TEST_HOOK));
    return tags_redis(&t->tags, i, err);
}

static int
find_ends(struct trial *t, struct err *err)
{
    for (size_t i = 0; i < t->tags.configured; i++) {
        struct redis *r = enter(t, i, err);
        if (!r || cli_end(r, t->key, t->ends[i], err) < 0)
            return -1;
    }
    return 0;
}

// 1, 0 when it is not in this partition yet, -1. A page, and the next one with the next call.
static int
find_in(struct trial *t, size_t tag, struct err *err)
{
    struct redis *r = enter(t, tag, err);
    char after[ENTRY_ID + 1];

    snprintf(after, sizeof after, "(%s", t->ends[tag]);
    const struct redis_reply *all =
        r ? cli_ask(r, err, "XRANGE", t->key, after, "+", "COUNT", CLI_PAGE) : NULL;
    for (size_t i = 0; i < redis_value(all).len; i++)
        if (span_is(cli_field(cli_entry(all, i, t->id), "query"), t->nonce))
            return 1;
        else
            memcpy(t->ends[tag], t->id, ENTRY_ID);
    return all ? 0 : -1;
}

static int
find_entry(struct trial *t, struct err *err)
{
    output_wait("looking for it in %s", CONFIG_TEST_HOOK);
    for (int64_t until = clock_mono_ms() + times_ms("trial-shipped", SHIPPED_MS);
         clock_mono_ms() < until;) {
        for (size_t i = 0; i < t->tags.configured; i++) {
            int found = find_in(t, i, err);
            if (found != 0)
                return found < 0 ? -1 : 0;
        }
        clock_sleep_ms(LOOK_MS);
    }
    return err_exit(err, EXIT_CODE_UNAVAILABLE,
                    "%s answered 200, but the sample is not in %s: either the name leads "
                    "to another machine, or the relay does not publish (acrelay status)",
                    t->cli->config->public_url, t->key);
}

static int
make_post(struct trial *t, struct err *err)
{
    unsigned char bytes[NONCE];
    struct sample sample = {.body = {"", 0}};

    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return err_errno(err, "getrandom");
    struct secrets *secrets = secrets_load(t->cli->config, err);
    if (!secrets)
        return -1;
    text_hex(t->nonce, sizeof t->nonce, bytes, sizeof bytes);
    secrets_url(secrets, 0, t->cli->config->public_url, SPAN(CONFIG_TEST_HOOK), &t->url);
    buf_add_format(&t->url, "?%s", t->nonce);
    secrets_release(secrets);
    samples_find(&sample, SPAN("subscribe"));
    samples_vary(&t->body, &sample, (uint64_t)clock_now_us());
    return 0;
}

int
trial_run(const struct cli *c, int64_t patience_ms, struct err *err)
{
    struct trial t = {.cli = c};

    buf_init(&t.url, 4096);
    buf_init(&t.body, 1 << 16);
    int result = tags_open(&t.tags, c, err) == 0 && make_post(&t, err) == 0 &&
                         find_ends(&t, err) == 0 && post(&t, patience_ms, err) == 0
                     ? find_entry(&t, err)
                     : -1;
    output_wait_end();
    if (result == 0)
        setup_show("ok", "path", "a sample posted to %s is entry %s of %s",
                   c->config->public_url, t.id, t.key);
    tags_close(&t.tags);
    buf_wipe(&t.url);
    buf_release(&t.body);
    return result;
}
