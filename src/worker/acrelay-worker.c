// acrelay-worker: makes the webhooks at ActiveCampaign as the file says.
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "program/output.h"
#include "worker/worker.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { QUIET_MS = 1500, LEAD_WAIT_MS = 20000, LEAD_SILENT_MS = 1000 };

static int
fail(const struct err *err)
{
    fprintf(stderr, "acrelay-worker: %s\n", err->text);
    return err->exit ? (int)err->exit : EXIT_CODE_FAILURE;
}

// A leader's lease must be kept while calls wait for their turn.
static bool
may_write(void *worker)
{
    return leader_may_write(((struct worker *)worker)->leader);
}

static void
count_progress(size_t done, size_t all, void *context)
{
    (void)context;
    output_count(done, all);
}

static void
report_wait(const struct rest_wait *w, void *context)
{
    static int64_t quiet_ms = QUIET_MS;
    char text[300];

    (void)context;
    if (w->status == 429 && (quiet_ms -= w->ms) >= 0)
        return; // our own commands one after another, which are over at once
    ac_client_wait_text(text, sizeof text, w);
    output_wipe();
    fprintf(stderr, "acrelay-worker: %s\n", text);
}

static int
open_account(struct worker *w, struct err *err)
{
    struct ac_client_options callbacks = {
        .may_write = may_write, .report = report_wait, .context = w};

    return worker_load(w, &callbacks, err);
}

// --- commands ------------------------------------------------------------------------------

// What is known of the hooks is in Redis; without it what was once written may be written again.
static void
open_store(struct worker *w, bool hush)
{
    w->store = store_open(w->config);
    if (hush)
        store_hush(w->store);
    known_load(&w->known, w->store, w->config);
}

static int
command_plan(void *worker)
{
    struct worker *w = worker;
    struct err err = {0};
    struct plan plan;
    int code = EXIT_CODE_OK;

    open_store(w, true);
    struct apply a = worker_apply(w);

    if (apply_plan(&a, &plan, &err) < 0) {
        apply_release(&a);
        return fail(&err);
    }
    worker_warn_events(w);
    show_plan(&w->show, &plan, &a.found);
    if (plan.writes + plan.refused && options_has(w->options, "detailed-exitcode"))
        code = EXIT_CODE_CHANGES;
    plan_release(&plan);
    apply_release(&a);
    return code;
}

static void
say_refused(const char *text, void *context)
{
    (void)context;
    log_error("worker: %s", text);
}

static int
lead(struct worker *w, struct err *err)
{
    open_store(w, !w->config->worker_leader_redis);
    w->leader = leader_open(w->config, w->store, err);
    if (!w->leader)
        return -1;
    int64_t wait_ms = times_ms("lead-wait", LEAD_WAIT_MS);
    if (leader_take(w->leader, LEAD_SILENT_MS))
        return 0;
    if (!w->config->worker_leader_redis || store_is_up(w->store))
        fprintf(stderr,
                "acrelay-worker: another acrelay-worker writes; waiting up to %d s\n",
                (int)(wait_ms / 1000));
    if (leader_take(w->leader, wait_ms))
        return 0;
    if (w->config->worker_leader_redis && !store_is_up(w->store))
        return err_exit(err, EXIT_CODE_UNAVAILABLE,
                        "worker.leader is redis, and Redis does not answer: without it "
                        "nobody knows who may write to ActiveCampaign");
    return err_exit(
        err, EXIT_CODE_LOCK,
        "another acrelay-worker is the leader and applies the file by itself: "
        "send it SIGHUP, or stop it");
}

static void
show_applied(const struct show *s, const struct apply *a, bool done)
{
    char found[24] = "null", there[64] = "";

    if (a->listed) {
        snprintf(found, sizeof found, "%zu", a->found.len);
        snprintf(there, sizeof there, "%s webhooks in the account, ", found);
    }
    if (s->json)
        printf("{\"created\":%zu,\"changed\":%zu,\"removed\":%zu,\"left\":%zu,"
               "\"kept\":%zu,\"unconfirmed\":%zu,\"found\":%s,\"done\":%s}\n",
               a->created, a->changed, a->removed, a->left, a->kept, a->unconfirmed,
               found, done ? "true" : "false");
    else
        printf("%zu created, %zu changed, %zu removed, %zu of ours left alone; %s%s as "
               "%s\n",
               a->created, a->changed, a->removed, a->left, there,
               done ? "all" : "NOT all",
               a->kept ? "ActiveCampaign stores what the file says" : "the file says");
    if (a->unconfirmed && !s->json)
        printf(
            "%zu changes were accepted and no list has shown them yet: run apply again\n",
            a->unconfirmed);
}

static int
command_apply(void *worker)
{
    struct worker *w = worker;
    struct err err = {0};
    if (lead(w, &err) < 0)
        return fail(&err);
    struct apply a = worker_apply(w);
    a.progress = count_progress;
    a.refused = say_refused;
    output_wait("changes done");
    int result = apply_run(&a, &err);
    output_wait_end();
    show_applied(&w->show, &a, result == 0);
    apply_release(&a);
    return result < 0 ? fail(&err) : EXIT_CODE_OK;
}

static int
command_list(void *worker)
{
    struct worker *w = worker;
    struct err err = {0};
    struct hooks found = {0};

    int result = ac_client_list(w->account, false, &found, &err);
    if (result == 0 || found.len) // a page that cannot be read hides only its own
        show_hooks(&w->show, &found, &w->wanted);
    hooks_release(&found);
    return result < 0 ? fail(&err) : EXIT_CODE_OK;
}

static int
command_import(void *worker)
{
    struct worker *w = worker;
    struct err err = {0};
    struct hooks found = {0};
    const char *text = w->options->arguments[0];
    uint64_t id;
    int code = EXIT_CODE_OK;

    if (!text_number(&id, span_of(text), INT64_MAX) || id == 0) {
        err_exit(&err, EXIT_CODE_USAGE,
                 "\"%s\" is not an id: it is a number as in "
                 "`acrelay-worker list`",
                 text);
        return fail(&err);
    }
    if (ac_client_list(w->account, false, &found, &err) < 0)
        return fail(&err);
    const struct hook *hook = hooks_find(&found, id);
    if (!hook)
        err_exit(&err, EXIT_CODE_FAILURE,
                 "there is no webhook %s at ActiveCampaign; see "
                 "`acrelay-worker list`",
                 text);
    else if (hook->name)
        err_exit(&err, EXIT_CODE_FAILURE, "webhook %s is ours already: it is the hook %s",
                 text, hook->name);
    else
        show_import(&w->show, hook);
    if (!hook || hook->name)
        code = fail(&err);
    hooks_release(&found);
    return code;
}

static int
command_recreate(void *worker)
{
    struct worker *w = worker;
    struct err err = {0};
    const char *name = w->options->arguments[0];

    if (!config_find_hook(w->config, span_of(name))) {
        err_exit(&err, EXIT_CODE_FAILURE, "there is no hook %s in %s", name, w->file);
        return fail(&err);
    }
    if (lead(w, &err) < 0)
        return fail(&err);
    struct apply a = worker_apply(w);
    int result = apply_recreate(&a, name, &err);
    apply_release(&a);
    if (result < 0)
        return fail(&err);
    show_recreated(&w->show, name, a.created, a.removed);
    return EXIT_CODE_OK;
}

// The secret under whose token a hook's URL stands; `len` for none.
static size_t
secret_of(const struct worker *w, const struct hook *hook, size_t len)
{
    char ours[SECRET_TOKEN_TEXT];
    struct hook_url url;

    for (size_t i = 0; hook_url_parse(&url, hook->url) && i < len; i++) {
        secrets_token(w->secrets, i, span_of(hook->name), ours);
        if (strcmp(ours, url.token) == 0)
            return i;
    }
    return len;
}

static int
command_secrets(void *worker)
{
    struct worker *w = worker;
    struct err err = {0};
    struct hooks found = {0};
    size_t uses[CONFIG_LIST_MAX + 1] = {0}, len = w->secrets->len;

    if (ac_client_list(w->account, false, &found, &err) < 0)
        return fail(&err);
    for (size_t i = 0; i < found.len; i++)
        if (found.at[i].name)
            uses[secret_of(w, &found.at[i], len)]++;
    show_secrets(&w->show, w->config, uses, len, uses[len]);
    hooks_release(&found);
    return EXIT_CODE_OK;
}

static int
command_run(void *worker)
{
    return worker_run(worker);
}

// --- main ----------------------------------------------------------------------------------

static const struct option plan_options[] = {
    OPTION_IS_FLAG("detailed-exitcode",
                   "exit with 0 when there is nothing to do, 2 for changes"),
    OPTION_END,
};

static const struct command worker_commands[] = {
    {"plan", "", "show what apply would change at ActiveCampaign", 0, 0, plan_options,
     command_plan, true, NULL},
    {"apply", "", "make the webhooks at ActiveCampaign as the file says", 0, 0, NULL,
     command_apply, true, NULL},
    {"run", "", "keep them so: watch, repair, report", 0, 0, NULL, command_run, false,
     NULL},
    {"list", "", "list every webhook of the account, ours and others'", 0, 0, NULL,
     command_list, true, NULL},
    {"import", "<id>", "print the lines for the file that adopt a webhook found there", 1,
     1, NULL, command_import, true, NULL},
    {"recreate", "<hook>", "re-create a hook, then delete the old one", 1, 1, NULL,
     command_recreate, true, NULL},
    {"secrets", "", "show which secrets the URLs at ActiveCampaign still use", 0, 0, NULL,
     command_secrets, true, NULL},
    {0},
};

static const struct command *const tables[] = {worker_commands, NULL};

static const struct program program = {
    .name = "acrelay-worker",
    .sentence = "Registers, updates, watches and repairs the webhooks at ActiveCampaign.",
    .commands = tables,
};

int
main(int argc, char **argv)
{
    struct options options;
    int code = program_start(&options, &program, argc, argv);

    if (code >= 0)
        return code;
    struct worker w = {
        .options = &options,
        .file = options_text(&options, "config", config_default_path()),
        .show = {.json = output.json, .color = output.color},
    };
    struct err err = {0};
    bool opens = options.command->needs_config; // `run` opens the account itself
    code = opens && open_account(&w, &err) < 0 ? fail(&err) : options.command->run(&w);
    worker_unload(&w);
    return output_end(code);
}
