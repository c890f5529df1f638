// acrelay-worker: makes the webhooks at ActiveCampaign as the file says.
#include "base/log.h"
#include "base/text.h"
#include "program/output.h"
#include "worker/worker.h"

#include <stdio.h>

enum { QUIET_MS = 1500, LEAD_WAIT_MS = 20000, LEAD_SILENT_MS = 1000 };

// --- callbacks -----------------------------------------------------------------------------

static bool
may_write(void *worker)
{
    return leader_may_write(((struct worker *)worker)->leader);
}

// A leader's lease must be kept while many calls are made that only read.
static void
keep_lease(int status, void *worker)
{
    (void)status;
    leader_tick(((struct worker *)worker)->leader);
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

// --- apply and recreate -------------------------------------------------------------------

static int
lead(struct worker *w, struct err *err)
{
    bool by_redis = w->config->worker_leader_redis;
    int64_t wait_ms = times_ms("lead-wait", LEAD_WAIT_MS);

    w->redis.quiet = !by_redis;
    w->leader = leader_open(&w->redis, err);
    if (!w->leader)
        return -1;
    bool leads = leader_take(w->leader, LEAD_SILENT_MS);
    if (leader_refused(w->leader))
        return err_exit(err, EXIT_CODE_CONFIG, "%s", leader_refused(w->leader));
    if (!leads && (!by_redis || w->redis.redis))
        fprintf(stderr,
                "acrelay-worker: another acrelay-worker writes; waiting up to %d s\n",
                (int)(wait_ms / 1000));
    leads = leads || leader_take(w->leader, wait_ms);
    worker_load_known(w); // what those before wrote
    if (leads)
        return 0;
    if (by_redis && !w->redis.redis)
        return err_exit(err, EXIT_CODE_UNAVAILABLE,
                        "worker.leader is redis, but Redis does not answer: without it "
                        "no worker can become the leader");
    return err_exit(err, EXIT_CODE_LOCK,
                    "another acrelay-worker is the leader and applies the file: send it "
                    "SIGHUP, or stop it");
}

static void
show_applied(const struct apply *a, bool done)
{
    output_number("created", a->created);
    output_number("changed", a->changed);
    output_number("removed", a->removed);
    output_number("left", a->plan.count[STEP_LEAVE]);
    output_number("kept", a->plan.count[STEP_KEEP]);
    output_number("unconfirmed", a->unconfirmed);
    document_number(&output.document, "found", a->listed, (int64_t)a->found.len);
    output_flag("done", done);
    if (output.json) {
        output_line(stdout);
        return;
    }
    printf("%zu created, %zu changed, %zu removed; ", a->created, a->changed, a->removed);
    if (a->plan.count[STEP_LEAVE])
        printf("%zu not in the file, left as they are; ", a->plan.count[STEP_LEAVE]);
    if (a->listed)
        printf("%zu webhook%s in the account, ", a->found.len, PLURAL(a->found.len));
    printf("%s as %s\n", done ? "all" : "NOT all",
           a->plan.count[STEP_KEEP] ? "ActiveCampaign stores what the file says"
                                    : "the file says");
    if (a->unconfirmed)
        printf("%zu change%s accepted, but not shown by any list yet: run apply again\n",
               a->unconfirmed, PLURAL(a->unconfirmed));
}

static int
apply(void *worker, struct err *err)
{
    struct worker *w = worker;

    if (lead(w, err) < 0)
        return -1;
    struct apply a = {.w = w, .prune = w->config->worker_prune};
    output_wait("changes done");
    int result = apply_run(&a, err);
    output_wait_end();
    for (struct span rest = buf_span(&a.refused), line; rest.len;) {
        line = span_cut(&rest, '\n');
        log_error("worker: %.*s", (int)line.len, line.at);
    }
    show_applied(&a, result == 0);
    apply_release(&a);
    return result < 0 ? -1 : EXIT_CODE_OK;
}

static int
recreate(void *worker, struct err *err)
{
    struct worker *w = worker;
    const char *name = w->options->arguments[0];

    if (!config_find_hook(w->config, span_of(name)))
        return err_exit(err, EXIT_CODE_FAILURE, "there is no hook %s in %s", name,
                        w->file);
    if (lead(w, err) < 0)
        return -1;
    struct apply a = {.w = w, .prune = w->config->worker_prune};
    int result = apply_recreate(&a, name, err);
    apply_release(&a);
    if (result < 0)
        return -1;
    output_text("hook", span_of(name));
    output_number("created", a.created);
    output_number("removed", a.removed);
    output_say("%s: %zu created, %zu old removed\n", name, a.created, a.removed);
    return EXIT_CODE_OK;
}

// --- secrets -------------------------------------------------------------------------------

// The secret under whose token a hook's URL stands; their number for none.
static size_t
secret_of(const struct secrets *s, const struct hook *hook)
{
    char ours[SECRET_TOKEN_TEXT];
    struct hook_url url;

    for (size_t i = 0; hook_url_parse(&url, hook->url) && i < s->len; i++) {
        secrets_token(s, i, span_of(hook->name), ours);
        if (strcmp(ours, url.token) == 0)
            return i;
    }
    return s->len;
}

static void
show_uses(const struct config *c, const size_t *uses, size_t len)
{
    output_open("secrets", '[');
    for (size_t i = 0; i < len; i++) {
        output_open(NULL, '{');
        output_number("number", i + 1);
        output_number("hooks", uses[i]);
        output_close('{');
        if (output.json)
            continue;
        output_print(span_of(c->secret_files.at[i]), 299);
        if (uses[i] == 0 && i > 0)
            printf(
                ": no longer used by any webhook at ActiveCampaign; you can remove it\n");
        else
            printf(": %zu hook%s%s\n", uses[i], PLURAL(uses[i]),
                   i == 0 ? " (newest)" : "");
    }
    output_close('[');
    output_number("unknown", uses[len]);
    if (output.json)
        output_line(stdout);
    else if (uses[len])
        printf("%zu webhook%s with none of these secrets: posts get 404; run apply\n",
               uses[len], PLURAL(uses[len]));
}

static int
show_secrets(void *worker, struct err *err)
{
    struct worker *w = worker;
    struct hooks found = {0};
    size_t uses[CONFIG_LIST_MAX + 1] = {0};

    if (ac_client_list(w->client, false, &found, err) < 0)
        return -1;
    for (size_t i = 0; i < found.len; i++)
        if (found.at[i].name)
            uses[secret_of(w->secrets, &found.at[i])]++;
    show_uses(w->config, uses, w->secrets->len);
    hooks_release(&found);
    return EXIT_CODE_OK;
}

// --- main ----------------------------------------------------------------------------------

static const struct subcommand commands[] = {
    {"apply", "", "make the webhooks at ActiveCampaign match the file", 0, 0, NULL, apply,
     true, NULL},
    {"recreate", "<hook>", "create a webhook again, then delete the old one", 1, 1, NULL,
     recreate, true, NULL},
    {"secrets", "", "show which secrets the URLs at ActiveCampaign still use", 0, 0, NULL,
     show_secrets, true, NULL},
    {0},
};

static const struct subcommand *const tables[] = {worker_show_commands, commands,
                                                  worker_run_commands, NULL};

static const struct program program = {
    .name = "acrelay-worker",
    .sentence = "Keeps the webhooks at ActiveCampaign in sync with a configuration file.",
    .commands = tables,
};

int
main(int argc, char **argv)
{
    struct options options;
    int code = program_start(&options, &program, argc, argv);

    if (code >= 0)
        return code;
    struct worker w = {.options = &options, .file = program_config(&options)};
    struct ac_client_options callbacks = {
        .rest = {.may_write = may_write, .count = keep_lease, .report = report_wait}};
    struct err err = {0};
    bool loads = options.command->needs_config; // `run` loads by itself
    code = loads && worker_load(&w, &callbacks, &err) < 0 ? output_fail(&err)
                                                          : program_run(&options, &w);
    worker_unload(&w);
    return code;
}
