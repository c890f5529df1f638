#include "worker/worker.h"

#include "base/log.h"

#include <stdlib.h>

static struct config *
read_config(const struct worker *w, struct err *err)
{
    struct problems problems = {0};
    struct config *c = config_read(w->file, NULL, &problems);

    problems_print(&problems,
                   options_is(w->options, "run") ? PROBLEMS_LOG : PROBLEMS_STDERR);
    free(problems.at);
    if (!c)
        err_exit(err, EXIT_CODE_CONFIG, "%s cannot be used as it is", w->file);
    return c;
}

int
worker_load(struct worker *w, const struct ac_client_options *cb, struct err *err)
{
    if (!w->config)
        w->config = read_config(w, err);
    if (!w->config)
        return -1;
    if (!w->secrets)
        w->secrets = secrets_load(w->config, err);
    if (!w->secrets)
        return -1;
    wanted_make(&w->wanted, w->config, w->secrets);
    w->account = wanted_account(w->config, cb, err);
    return w->account ? 0 : -1;
}

struct apply
worker_apply(struct worker *w)
{
    return (struct apply){.account = w->account,
                          .config = w->config,
                          .wanted = &w->wanted,
                          .known = &w->known,
                          .store = w->store,
                          .prune = w->config->worker_prune};
}

void
worker_unload(struct worker *w)
{
    leader_close(w->leader);
    store_close(w->store);
    ac_client_close(w->account);
    hooks_release(&w->wanted);
    known_release(&w->known);
    secrets_release(w->secrets);
    config_release(w->config);
    w->leader = NULL;
    w->store = NULL;
    w->account = NULL;
    w->secrets = NULL;
    w->config = NULL;
}

static bool
has(const struct hook_words *words, const char *word)
{
    for (size_t i = 0; i < words->len; i++)
        if (strcmp(words->at[i], word) == 0)
            return true;
    return false;
}

static void
warn_of(const struct worker *w, const struct hook_words *known)
{
    struct hook_words said = {0};

    for (size_t i = 0; i < w->wanted.len; i++)
        for (size_t k = 0; k < w->wanted.at[i].events.len; k++) {
            const char *event = w->wanted.at[i].events.at[k];
            if (!has(known, event) && !has(&said, event))
                log_warn(
                    "worker: event %s is not in ActiveCampaign's own list (which is not "
                    "complete); asking for it anyway",
                    event);
            hook_words_add(&said, span_of(event));
        }
    hook_words_release(&said);
}

void
worker_warn_events(struct worker *w)
{
    struct hook_words known = {0};
    struct err err = {0};

    if (ac_client_events(w->account, &known, &err) == 0)
        warn_of(w, &known);
    hook_words_release(&known);
}
