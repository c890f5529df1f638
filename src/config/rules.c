// What fits together: rules over more than one setting, checked when each value is good by
// itself.
#include "config/table.h"

static void
check_redis(struct reading *r, const struct config *c)
{
    if (c->redis_user && !c->redis_password_file)
        reading_tell(r, "redis.user", "a user needs redis.password_file too");
}

static void
check_account(struct reading *r, const struct config *c)
{
    if (c->account_api_token_file && !c->account_api_url)
        reading_tell(r, "account.api_token_file", "a token needs account.api_url too");
    if (c->account_api_url && !c->account_api_token_file)
        reading_tell(r, "account.api_url", "the API needs account.api_token_file too");
}

static void
check_journal(struct reading *r, const struct config *c)
{
    if (c->journal_max && c->journal_keep_max > c->journal_max)
        reading_tell(r, "journal.keep_max",
                     "more is to be kept than journal.max allows the journal to hold");
}

static void
check_pair(struct reading *r, const char *path, const struct socket_address *a,
           const struct socket_address *b)
{
    if (strcmp(a->text, b->text) == 0)
        reading_tell(r, path, "%s stands there twice, or in another setting", a->text);
}

static void
check_admin(struct reading *r, const char *path, const struct socket_address *a)
{
    if (!a->path && !sockets_is_private(&a->at))
        reading_warn_at(
            r, path,
            "%s can be reached from elsewhere: whoever can connect reads hook "
            "names and figures; use a loopback or private address",
            a->text);
}

static void
check_addresses(struct reading *r, const struct config *c)
{
    for (size_t i = 0; i < c->listen.len; i++) {
        for (size_t k = 0; k < i; k++)
            check_pair(r, "receiver.listen", &c->listen.at[i], &c->listen.at[k]);
        check_pair(r, "receiver.admin", &c->receiver_admin, &c->listen.at[i]);
        check_pair(r, "worker.admin", &c->worker_admin, &c->listen.at[i]);
    }
    check_pair(r, "worker.admin", &c->worker_admin, &c->receiver_admin);
    check_admin(r, "receiver.admin", &c->receiver_admin);
    check_admin(r, "worker.admin", &c->worker_admin);
}

static void
check_hook(struct reading *r, const struct config *c, const struct config_hook *hook)
{
    if (hook->repair && hook->expect_every_us == 0)
        reading_tell_hook(r, hook,
                          "repair needs expect_every too: which silence is one?");
    if (hook->adopt && hook->lists_len > 1)
        reading_tell_hook(r, hook,
                          "adopt names one hook at ActiveCampaign, list several");
    for (const struct config_hook *h = c->hooks; hook->adopt && h < hook; h++)
        if (h->adopt == hook->adopt)
            reading_tell_hook(r, hook, "another hook adopts that id already");
}

static void
check_streams(struct reading *r, const struct config *c)
{
    size_t streams = 0;

    for (size_t i = 0; i < c->hooks_len; i++)
        streams += !config_has_stream_before(c, i);
    if (streams > CONFIG_STREAMS_MAX)
        reading_tell_hook(r, &c->hooks[c->hooks_len - 1],
                          "more than 62 different streams: let hooks share some, "
                          "consumers tell them by ce_source");
}

void
rules_check(struct reading *r)
{
    const struct config *c = reading_config(r);

    check_redis(r, c);
    check_account(r, c);
    check_journal(r, c);
    check_addresses(r, c);
    check_streams(r, c);
    for (size_t i = 0; i < c->hooks_len; i++)
        check_hook(r, c, &c->hooks[i]);
}
