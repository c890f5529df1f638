#include "cli/setup.h"

#include "base/clock.h"
#include "base/text.h"
#include "program/terminal.h"
#include "worker/worker.h"

#include <stdio.h>
#include <unistd.h>

enum {
    READY_MS = 60000,
    LOOK_MS = 300,
    CERTIFICATE_MS = 90000,
    PROXY_MS = 5000,
    FIRST_EVENT_S = 600
};

// --- before anything is changed -------------------------------------------------------------

static int
check_ground(struct setup *s, struct err *err)
{
    static char suffix[CONFIG_SUFFIX];
    const struct options *o = s->cli->options;

    s->account = config_suffix(s->cli->file, suffix);
    s->account += *s->account == '-';
    if (!*s->account && strcmp(s->cli->file, "/etc/acrelay/acrelay.yaml") != 0)
        return err_exit(
            err, EXIT_CODE_USAGE,
            "setup starts systemd's units, whose configuration is "
            "/etc/acrelay/acrelay.yaml (or NAME.yaml there, with --account NAME), "
            "not %s",
            s->cli->file);
    if (geteuid() != 0)
        return err_exit(err, EXIT_CODE_PERMISSION, "setup starts units: run it as root");
    if (access("/run/systemd/system", F_OK) < 0)
        return err_exit(err, EXIT_CODE_UNAVAILABLE,
                        "systemd does not run here, and setup starts its units; see the "
                        "README for containers and other ways");
    if (access(s->cli->file, F_OK) < 0)
        return err_exit(err, EXIT_CODE_CONFIG,
                        "there is no %s yet: acrelay init%s%s creates it", s->cli->file,
                        *s->account ? " --account " : "", s->account);
    if (!options_has(o, "yes") && !terminal_is_there())
        return err_exit(err, EXIT_CODE_USAGE,
                        "there is no terminal to ask at: --yes confirms everything");
    if (cli_read_config(s->cli, false, err) < 0)
        return -1;
    s->c = s->cli->config;
    return 0;
}

static int
check_parts(const struct setup *s, struct err *err)
{
    struct secrets *secrets = secrets_load(s->c, err);
    struct redis *r =
        secrets ? check_redis_open(s->cli, s->cli->config->redis_namespace, err) : NULL;

    if (secrets && !r)
        cli_advise(err);
    secrets_release(secrets);
    redis_close(r);
    if (!r)
        return -1;
    setup_show("ok", "redis", "%s answers", s->c->redis_url.text);
    return 0;
}

static bool
has_account(const struct setup *s)
{
    return s->c->account_api_url && s->c->account_api_token_file;
}

// What would be done there: -1 for a token that may not, an account that is none, and so on.
static int
open_account(const struct setup *s, struct worker *w, struct err *err)
{
    *w = (struct worker){
        .options = s->cli->options, .file = s->cli->file, .config = s->cli->config};
    output_wait("asking ActiveCampaign");
    int result = worker_load(w, &(struct ac_client_options){.once = true}, err);
    output_wait_end();
    return result;
}

static void
close_account(struct worker *w)
{
    w->config = NULL; // the command line's
    worker_unload(w);
}

static int
check_account(const struct setup *s, struct err *err)
{
    struct worker w;

    if (!has_account(s)) {
        setup_show(
            "skipped", "account",
            "account.api_url is not set: enter the hooks at ActiveCampaign by hand "
            "(acrelay token HOOK prints a URL)");
        return 0;
    }
    struct apply a = {.w = &w};
    int result = open_account(s, &w, err) < 0 ? -1 : apply_plan(&a, false, err);
    if (result == 0)
        setup_show("ok", "account", "%s accepts the API token", s->c->account_api_url);
    apply_release(&a);
    close_account(&w);
    return result;
}

// --- the steps ------------------------------------------------------------------------------

static void
unit_name(const struct setup *s, const char *program, const char *kind, char to[128])
{
    snprintf(to, 128, "%s%s%s.%s", program, *s->account ? "@" : "", s->account, kind);
}

static int
change_receiver(const struct setup *s, int (*change)(const char *unit, struct err *err),
                struct err *err)
{
    char socket[128], service[128];

    unit_name(s, "acrelayd", "socket", socket);
    unit_name(s, "acrelayd", "service", service);
    return change(socket, err) < 0 || change(service, err) < 0 ? -1 : 0;
}

static int
start_receiver(const struct setup *s, struct err *err)
{
    int64_t until = clock_mono_ms() + READY_MS;

    if (change_receiver(s, setup_start, err) < 0)
        return -1;
    admin_json_fetch(s->cli);
    while (s->cli->receiver.code != 200 && clock_mono_ms() < until) {
        clock_sleep_ms(LOOK_MS);
        admin_json_fetch(s->cli);
    }
    return s->cli->receiver.code == 200
               ? 0
               : err_exit(err, EXIT_CODE_UNAVAILABLE,
                          "the receiver is not ready: %s; see acrelay doctor",
                          s->cli->receiver.reason[0]    ? s->cli->receiver.reason
                          : s->cli->receiver.journal[0] ? s->cli->receiver.journal
                                                        : "it does not store deliveries");
}

// The worker itself, so that plan and result look as always.
static int
run_worker(const struct setup *s, const char *word, const char *option, struct err *err)
{
    char path[PATH_MAX] = "";
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 16);
    const char *words[] = {path, word, "--config", s->cli->file, option, NULL};

    path[len > 0 ? len : 0] = '\0';
    strcat(path, "-worker"); // it stands beside acrelay
    fflush(stdout);
    return setup_run(NULL, err, words);
}

static int
apply_hooks(const struct setup *s, struct err *err)
{
    char unit[128];

    if (!has_account(s))
        return 0;
    int code = run_worker(s, "plan", "--detailed-exitcode", err);
    if (code == EXIT_CODE_CHANGES &&
        !(options_has(s->cli->options, "yes") ||
          terminal_confirm("Make these changes at ActiveCampaign?")))
        return err_exit(err, EXIT_CODE_CHANGES,
                        "nothing was changed at ActiveCampaign; the receiver runs");
    bool changes = code == EXIT_CODE_CHANGES;
    if (changes)
        code = run_worker(s, "apply", NULL, err);
    if (code > 0)
        err_exit(err, (enum exit_code)code,
                 "acrelay-worker says why above; fix that, then run setup again");
    if (code != 0)
        return -1;
    setup_show(changes ? "done" : "already", "hooks",
               "the webhooks at ActiveCampaign match %s", s->cli->file);
    unit_name(s, "acrelay-worker", "service", unit);
    return setup_start(unit, err);
}

// --- the first event ------------------------------------------------------------------------

// An entry of the streams: 1, 0 when there is none yet, -1.
static int
find_event(struct tags *tags, char text[256], struct err *err)
{
    struct tags_place place;

    for (size_t n = 0; tags_place(tags, n, &place); n++) {
        char id[ENTRY_ID], shown[200];
        if (place.is_test || place.is_dead)
            continue;
        struct redis *r = tags_redis(tags, place.tag, err);
        const struct redis_reply *newest =
            r ? cli_ask(r, err, "XREVRANGE", place.key, "+", "-", "COUNT", "1") : NULL;
        const struct redis_reply *fields = cli_entry(newest, 0, id);
        if (!newest)
            return -1;
        if (!fields)
            continue;
        struct span type = cli_field(fields, "ce_type"),
                    about = cli_field(fields, "ce_subject"),
                    when = cli_field(fields, "ce_recordedtime");
        snprintf(shown, sizeof shown, "%.*s of %.*s, received %.*s", (int)type.len,
                 type.at, (int)about.len, about.at, (int)when.len, when.at);
        text_escape(text, 256, span_of(shown));
        return 1;
    }
    return 0;
}

// With the operator's yes, which is --contact: whatever is done to a contact may start automations,
// so that no other is chosen.
static int
provoke_event(const struct setup *s, struct err *err)
{
    uint64_t id = options_number(s->cli->options, "contact", 0);
    struct worker w;

    if (!id || !has_account(s))
        return 0;
    int result = open_account(s, &w, err);
    if (result == 0)
        result = contact_touch(w.client->rest, id, err);
    close_account(&w);
    if (result == 0)
        setup_show("done", "contact",
                   "the first name of contact %llu was written back unchanged",
                   (unsigned long long)id);
    return result;
}

static int
wait_event(const struct setup *s, struct err *err)
{
    uint64_t seconds = options_number(s->cli->options, "wait", FIRST_EVENT_S), waited = 0;
    int64_t start = clock_mono_ms();
    struct tags tags;
    char text[256];

    if (tags_open(&tags, s->cli, err) < 0)
        return -1;
    int found = find_event(&tags, text, err);
    bool was_there = found > 0;
    if (found == 0 && provoke_event(s, err) < 0)
        found = -1;
    output_wait("waiting for a first event: change a contact at ActiveCampaign");
    while (found == 0 && waited < seconds) {
        output_count(waited, seconds);
        clock_sleep_ms(LOOK_MS);
        found = find_event(&tags, text, err);
        waited = (uint64_t)(clock_mono_ms() - start) / 1000;
    }
    output_wait_end();
    tags_close(&tags);
    if (found > 0)
        setup_show(was_there ? "already" : "done", "event", "%s", text);
    else if (found == 0 && seconds == 0)
        setup_show("skipped", "event", "none yet; acrelay tail shows them");
    else if (found == 0)
        return err_exit(
            err, EXIT_CODE_UNAVAILABLE,
            "no event within %llu s, although every step before succeeded: acrelay "
            "tail shows events as they come, acrelay doctor what may be wrong",
            (unsigned long long)seconds);
    return found < 0 ? -1 : 0;
}

// --- and back -------------------------------------------------------------------------------

// Posts to a receiver that is gone would be lost without a trace: its webhooks go first.
static int
remove_hooks(const struct setup *s, struct err *err)
{
    struct hooks found = {0};
    struct worker w;
    size_t removed = 0;

    int result = open_account(s, &w, err);
    if (result == 0)
        result = ac_client_list(w.client, false, &found, err);
    for (size_t i = 0; result == 0 && i < found.len; i++) {
        struct ac_client_answer answer;
        if (!found.at[i].name)
            continue; // not ours
        result = ac_client_write(w.client, &found.at[i], NULL, &answer, err);
        if (result == 0) // else the worker would say that somebody else removed it
            (void)state_save(NULL, found.at[i].name, NULL, &w.redis);
        removed += result == 0;
    }
    if (removed > 0)
        setup_show("removed", "hooks", "%zu at ActiveCampaign", removed);
    hooks_release(&found);
    close_account(&w);
    return result;
}

static int
undo(struct setup *s, struct err *err)
{
    char unit[128];

    if (!options_has(s->cli->options, "yes") &&
        !terminal_confirm(
            "Remove acrelay's webhooks at ActiveCampaign, and stop its units?"))
        return err_exit(err, EXIT_CODE_CHANGES, "nothing was changed");
    // While that cannot be done, nothing is.
    if (has_account(s) && check_account(s, err) < 0)
        return -1;
    unit_name(s, "acrelay-worker", "service", unit);
    if (setup_stop(unit, err) < 0 || (has_account(s) && remove_hooks(s, err) < 0) ||
        https_stop(s, err) < 0 || change_receiver(s, setup_stop, err) < 0)
        return -1;
    setup_show("kept", "files", "%s, secrets, %s and what is in Redis", s->cli->file,
               s->c->state_dir);
    return EXIT_CODE_OK;
}

// --- the command ----------------------------------------------------------------------------

static int
run_setup(void *cli, struct err *err)
{
    struct setup s = {.cli = cli};
    bool https = !options_has(s.cli->options, "no-https");

    if (check_ground(&s, err) < 0)
        return -1;
    if (options_has(s.cli->options, "undo"))
        return undo(&s, err);
    if (check_parts(&s, err) < 0 || check_account(&s, err) < 0 ||
        (https && https_check(&s, err) < 0))
        return -1;
    if (start_receiver(&s, err) < 0 || (https && https_start(&s, err) < 0) ||
        trial_run(s.cli, times_ms("setup-path", https ? CERTIFICATE_MS : PROXY_MS), err) <
            0 ||
        apply_hooks(&s, err) < 0 || wait_event(&s, err) < 0)
        return -1;
    return EXIT_CODE_OK;
}

static const struct option setup_options[] = {
    OPTION_IS_FLAG("no-https", "use a proxy of your own in front of the receiver"),
    OPTION_IS_TEXT("acme", "URL",
                   "directory URL of an ACME server other than Let's Encrypt; is kept"),
    OPTION_IS_TEXT("acme-root", "FILE", "CA certificate of that server"),
    OPTION_IS_COUNT("contact",
                    "cause the first event: write this contact's first name back"),
    OPTION_IS_NUMBER("wait",
                     "seconds to wait for the first event (default 600; 0: do not wait)"),
    OPTION_IS_FLAG("yes", "do not ask for confirmation"),
    OPTION_IS_FLAG("undo", "remove the webhooks and stop the units; files are kept"),
    {0},
};

const struct subcommand cli_setup_commands[] = {
    {"setup", "", "start everything, from HTTPS to the first event, step by step", 0, 0,
     setup_options, run_setup, false, NULL},
    {0},
};
