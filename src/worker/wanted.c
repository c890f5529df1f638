#include "worker/wanted.h"

#include "base/clock.h"

enum { URL_MAX = 4096 };

static bool
sleep_for(int64_t ms, void *context)
{
    (void)context;
    clock_sleep_ms(ms);
    return true;
}

struct ac_client *
wanted_account(const struct config *c, const struct ac_client_options *callbacks,
               struct err *err)
{
    struct ac_client_options options = *callbacks;

    if (!c->account_api_url || !c->account_api_token_file) {
        err_exit(err, EXIT_CODE_CONFIG,
                 "%s: account.api_url and account.api_token_file are "
                 "needed: both are on ActiveCampaign's page Settings, "
                 "Developer",
                 c->file);
        return NULL;
    }
    if (!options.wait)
        options.wait = sleep_for;
    options.api_url = c->account_api_url;
    options.token_file = c->account_api_token_file;
    options.rate = c->worker_api_rate;
    options.public_url = c->public_url;
    options.previous_urls = c->previous_public_urls.at;
    options.previous_urls_len = c->previous_public_urls.len;
    return ac_client_open(&options, err);
}

static void
add_words(struct hook_words *to, const struct config_list *from)
{
    for (size_t i = 0; i < from->len; i++)
        hook_words_add(to, span_of(from->at[i]));
}

static void
add_hook(struct hooks *wanted, const struct config *c, const struct secrets *s,
         const struct config_hook *from, size_t list)
{
    struct hook *hook = hooks_add(wanted);
    struct buf url;

    buf_init(&url, URL_MAX);
    secrets_url(s, 0, c->public_url, span_of(from->name), &url);
    hook->name = memory_copy(span_of(from->name));
    hook->label = memory_copy(span_of(from->label));
    hook->url = memory_copy(buf_span(&url));
    add_words(&hook->events, &from->events);
    add_words(&hook->sources, &from->sources);
    for (size_t i = 0; i < s->len; i++) {
        char token[SECRET_TOKEN_TEXT];
        secrets_token(s, i, span_of(from->name), token);
        hook_words_add(&hook->tokens, span_of(token));
    }
    hook->list = from->lists.at[list];
    hook->adopt = list == 0 ? from->adopt : 0;
    buf_release(&url);
}

void
wanted_make(struct hooks *wanted, const struct config *c, const struct secrets *s)
{
    for (size_t i = 0; i < c->hooks_len; i++)
        for (size_t list = 0; list < c->hooks[i].lists.len; list++)
            add_hook(wanted, c, s, &c->hooks[i], list);
}
