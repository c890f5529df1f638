#include "worker/worker.h"

#include "base/file.h"

#include <stdlib.h>

// --- what is loaded ------------------------------------------------------------------------

static struct config *
read_config(const struct worker *w, struct err *err)
{
    struct problems problems = {0};
    struct config *c = config_read(w->file, NULL, &problems);

    problems_print(&problems, strcmp(w->options->command->name, "run") == 0
                                  ? PROBLEMS_LOG
                                  : PROBLEMS_STDERR);
    free(problems.at);
    if (!c)
        err_exit(err, EXIT_CODE_CONFIG, "%s cannot be used as it is", w->file);
    return c;
}

static void
add_set(struct string_set *to, const struct config_list *from)
{
    for (size_t i = 0; i < from->len; i++)
        string_set_add(to, span_of(from->at[i]));
}

// With the URL under the newest secret and the tokens of all.
static void
add_wanted(struct worker *w, const struct config_hook *from, size_t list)
{
    struct hook *hook = hooks_add(&w->wanted);
    struct span name = span_of(from->name);
    struct buf url;

    buf_init(&url, 4096);
    secrets_url(w->secrets, 0, w->config->public_url, name, &url);
    hook->name = memory_copy(name);
    hook->label = memory_copy(span_of(from->label));
    hook->url = memory_copy(buf_span(&url));
    add_set(&hook->events, &from->events);
    add_set(&hook->sources, &from->sources);
    for (size_t i = 0; i < w->secrets->len; i++) {
        char token[SECRET_TOKEN_TEXT];
        secrets_token(w->secrets, i, name, token);
        string_set_add(&hook->tokens, span_of(token));
    }
    hook->list = from->lists.at[list];
    hook->adopt = list == 0 ? from->adopt : 0;
    hook->digest = hook_digest(hook);
    buf_release(&url);
}

// A leader's lease must be kept while calls wait for their turn.
static bool
wait(int64_t ms, void *worker)
{
    int64_t end = clock_mono_ms() + ms;

    for (int64_t left; (left = end - clock_mono_ms()) > 0;) {
        clock_sleep_ms(left < 1000 ? left : 1000);
        leader_tick(((struct worker *)worker)->leader);
    }
    return true;
}

static struct ac_client *
open_client(struct worker *w, struct ac_client_options options, struct err *err)
{
    const struct config *c = w->config;

    if (!c->account_api_url || !c->account_api_token_file) {
        err_exit(err, EXIT_CODE_CONFIG,
                 "%s: account.api_url and account.api_token_file are required: both are "
                 "on ActiveCampaign's page Settings, Developer",
                 c->file);
        return NULL;
    }
    if (!options.rest.wait) {
        options.rest.wait = wait;
        options.rest.context = w;
    }
    options.rest.base = c->account_api_url;
    options.rest.rate = c->worker_api_rate;
    options.token_file = c->account_api_token_file;
    options.public_url = c->public_url;
    options.previous_urls = c->previous_public_urls.at;
    options.previous_urls_len = c->previous_public_urls.len;
    return ac_client_open(&options, err);
}

int
worker_load(struct worker *w, const struct ac_client_options *callbacks, struct err *err)
{
    if (!w->config)
        w->config = read_config(w, err);
    if (w->config && !w->secrets)
        w->secrets = secrets_load(w->config, err);
    if (!w->config || !w->secrets)
        return -1;
    for (size_t i = 0; i < w->config->hooks_len; i++)
        for (size_t list = 0; list < w->config->hooks[i].lists.len; list++)
            add_wanted(w, &w->config->hooks[i], list);
    w->redis = (struct worker_redis){.config = w->config, .quiet = true};
    w->client = open_client(w, *callbacks, err);
    return w->client ? 0 : -1;
}

void
worker_load_known(struct worker *w)
{
    const struct config *c = w->config;

    for (size_t i = 0; i < c->hooks_len && !w->known.loaded; i++) {
        leader_tick(w->leader); // a slow Redis must not cost the lease
        const char *name = c->hooks[i].name;
        const struct redis_reply *reply =
            worker_redis_ask(&w->redis, "HGET", "hooks", name, NULL);
        if (!reply)
            return; // another time
        known_read(&w->known, name, redis_value(reply).text);
    }
    w->known.loaded = true;
}

void
worker_unload(struct worker *w)
{
    leader_close(w->leader);
    worker_redis_close(&w->redis);
    ac_client_close(w->client);
    hooks_release(&w->wanted);
    known_forget(&w->known, false);
    secrets_release(w->secrets);
    config_release(w->config);
    *w = (struct worker){.options = w->options, .file = w->file};
}

void
worker_replace(struct worker *w, const struct worker *fresh)
{
    worker_redis_close(&w->redis);
    struct worker old = *w;
    rest_follow(fresh->client->rest, old.client->rest);
    *w = *fresh;
    w->known = old.known;
    known_forget(&w->known, true);
    w->leader = old.leader;
    w->redis = old.redis;
    w->redis.config = w->config;
    old.known = (struct known){0};
    old.leader = NULL;
    worker_unload(&old);
}

// --- the files it was loaded from ----------------------------------------------------------

uint64_t
files_secrets(const struct config *c)
{
    uint64_t all = 0;

    for (size_t i = 0; i < c->secret_files.len; i++)
        all = all * 31 + file_stamp(c->secret_files.at[i]);
    if (c->account_api_token_file)
        all = all * 31 + file_stamp(c->account_api_token_file);
    return all;
}

void
files_check(struct files *f, uint64_t config, uint64_t secrets, int64_t now_ms)
{
    if (config != f->config || secrets != f->secrets)
        f->changed_ms = now_ms;
    f->config = config;
    f->secrets = secrets;
    int64_t left = f->changed_ms + f->still_ms - now_ms;
    f->still_in_ms = left > 0 ? left : 0;
    f->want_reload = config != 0 && config != f->loaded && f->still_in_ms == 0;
    f->may_remove = config == f->loaded && !f->announce && f->still_in_ms == 0 &&
                    now_ms >= f->announced_ms + 2 * f->still_ms;
}

void
files_loaded(struct files *f, bool asked)
{
    f->loaded = f->config;
    f->announce = !asked;
    f->announced_ms = -2 * f->still_ms;
}

void
files_announced(struct files *f, int64_t now_ms)
{
    if (f->announce)
        f->announced_ms = now_ms;
    f->announce = false;
}
