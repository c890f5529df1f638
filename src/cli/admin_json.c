// What our programs say of themselves, on their admin listeners, and receivers in Redis too; and the
// command that has one of them read configuration and secrets again.
#include "cli/cli.h"

#include "base/clock.h"
#include "base/text.h"
#include "edge/admin.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

enum { PAGE_MAX = 1 << 16, WAIT_MS = 60000, POLL_MS = 20 };

static void
take_text(char *to, size_t size, const cJSON *in, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(in, name);

    text_escape(to, size, span_of(cJSON_IsString(item) ? item->valuestring : ""));
}

static uint64_t
number_of(const cJSON *in, const char *name)
{
    double n = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(in, name));

    return n > 0 && n < 1e15 ? (uint64_t)n : 0; // NaN where there is none
}

// Posts to what never was a hook stand under hook="-".
static double
sum_left(const struct buf *page)
{
    struct span rest = buf_span(page);
    double left = 0;

    while (rest.len > 0) {
        char line[256];
        struct span text = span_cut(&rest, '\n');
        snprintf(line, sizeof line, "%.*s", (int)text.len, text.at);
        if (span_starts(text, SPAN("acrelay_requests_total{hook=\"")) &&
            strstr(line, "code=\"404\"} ") && !strstr(line, "hook=\"-\""))
            left += strtod(strrchr(line, ' ') + 1, NULL);
    }
    return left;
}

// An installation is known by its state_dir, as its file has it: that is the same text wherever the file
// is seen from, by whatever path, and no two receivers of a machine have one. Our own file may have been
// changed, or be too broken to show it.
static void
take_installation(struct admin_state *to, const cJSON *in, const struct config *ours)
{
    char here[sizeof to->state_dir], file[sizeof to->file];
    char *real = realpath(ours->file, NULL);

    take_text(to->file, sizeof to->file, in, "file");
    take_text(to->state_dir, sizeof to->state_dir, in, "state_dir");
    text_escape(here, sizeof here, span_of(ours->state_dir));
    text_escape(file, sizeof file, span_of(real ? real : ours->file));
    to->has_state_dir = strcmp(to->state_dir, here) == 0;
    to->is_other = to->state_dir[0] && !to->has_state_dir && strcmp(to->file, file) != 0;
    free(real);
}

static void
take_answer(struct admin_state *to, const cJSON *root, int code)
{
    const cJSON *details = cJSON_GetObjectItemCaseSensitive(root, "details");
    const cJSON *reload = cJSON_GetObjectItemCaseSensitive(root, "reload");

    to->code = code;
    take_text(to->journal, sizeof to->journal, details, "journal");
    take_text(to->journal_advice, sizeof to->journal_advice, details, "journal_advice");
    take_text(to->redis, sizeof to->redis, details, "redis");
    take_text(to->activecampaign, sizeof to->activecampaign, details, "activecampaign");
    take_text(to->reload, sizeof to->reload, reload, "message");
    to->reloads_done = number_of(reload, "done");
    to->reload_ok = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reload, "ok"));
    to->last_good = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reload, "last_good"));
}

// The status, or -1; *root is NULL where no JSON came.
static int
fetch_json(const struct socket_address *admin, const char *installation, bool posts,
           const char *path, cJSON **root, struct err *err)
{
    struct buf page;

    buf_init(&page, PAGE_MAX);
    int code = admin_fetch(admin, installation, posts, path, &page, err);
    *root = code < 0 ? NULL : cJSON_ParseWithLength(page.at, page.len);
    buf_release(&page);
    return code;
}

static void
fetch(struct admin_state *to, const struct socket_address *admin,
      const struct config *ours)
{
    struct err err = {0};
    cJSON *root;

    *to = (struct admin_state){.reload_ok = true};
    int code = fetch_json(admin, ours->installation, false, "/readyz", &root, &err);
    if (code >= 0 && !cJSON_GetObjectItemCaseSensitive(root, "ready"))
        err_set(&err, ERR_INPUT, "another program answers there, not acrelay");
    else if (code >= 0)
        take_answer(to, root, code);
    take_installation(to, cJSON_GetObjectItemCaseSensitive(root, "installation"), ours);
    text_escape(to->reason, sizeof to->reason, span_of(err.text));
    cJSON_Delete(root);
}

static void
fetch_all(struct admin_state *to, const char *program, const struct socket_address *admin,
          const struct config *ours)
{
    output_wait("asking the %s (%s)", program, admin->text);
    buf_release(&to->metrics);
    fetch(to, admin, ours);
    if (to->code)
        admin_fetch_metrics(&to->metrics, admin, ours->installation);
    to->left_posts = sum_left(&to->metrics);
    output_wait_end();
}

void
admin_json_fetch(struct cli *c)
{
    const struct config *of = c->config;

    fetch_all(&c->receiver, "receiver", &of->receiver_admin, of);
    fetch_all(&c->worker, "worker", &of->worker_admin, of);
}

void
admin_json_report_other(struct report *r, const char *what, const char *program,
                        const struct admin_state *state)
{
    if (state->is_other)
        report_warning(
            r, what,
            "if that is another installation, give each an address of its own "
            "(receiver.admin, worker.admin); if not, give both files one state_dir",
            "%s runs with %s, where state_dir is %s, not %s", program, state->file,
            state->state_dir, r->cli->config->state_dir);
}

bool
admin_json_is_404(const struct config *c, const char *path)
{
    return admin_takes(&c->receiver_admin, c->installation, &c->listen, path) == 0;
}

bool
admin_json_receiver(struct receiver *r, struct span json, int64_t now_s)
{
    cJSON *root = json.len < PAGE_MAX ? cJSON_ParseWithLength(json.at, json.len) : NULL;
    bool ok = cJSON_IsObject(root);

    r->heard_s = now_s - (int64_t)number_of(root, "heard");
    r->heard_s = r->heard_s > 0 ? r->heard_s : 0;
    r->waiting = number_of(root, "waiting");
    r->oldest_s = number_of(root, "oldest_seconds");
    take_text(r->name, sizeof r->name, root, "instance");
    take_text(r->journal, sizeof r->journal, root, "journal");
    if (!r->name[0])
        text_escape(r->name, sizeof r->name, span_to(span_of(r->owner), 8));
    cJSON_Delete(root);
    return ok;
}

// --- reload -----------------------------------------------------------------------------

// Asks for it, waits until it is done, and gives the state with its result.
static int
reload(struct admin_state *state, const struct socket_address *admin,
       const struct config *ours, struct err *err)
{
    int64_t wait_ms = times_ms("reload_wait", WAIT_MS), end = clock_mono_ms() + wait_ms;
    cJSON *root;

    fetch(state, admin, ours);
    if (state->is_other)
        return err_set(err, ERR_INPUT,
                       "not reloaded: it runs with %s, where state_dir is %s, not %s. If "
                       "it is the one that you mean, name its file with --config; if it "
                       "is another installation's, give each an address of its own",
                       state->file, state->state_dir, ours->state_dir);
    int code = fetch_json(admin, ours->installation, true, "/reload", &root, err);
    uint64_t number = number_of(root, "reload");

    cJSON_Delete(root);
    if (code < 0)
        return -1;
    if (number == 0)
        return err_set(
            err, ERR_AGAIN,
            "the program there does not support reload (%d): is it an older acrelay?",
            code);
    for (;;) {
        fetch(state, admin, ours);
        if (!state->code)
            return err_set(err, ERR_AGAIN, "it exited meanwhile: %s", state->reason);
        if (state->reloads_done >= number)
            return 0;
        if (clock_mono_ms() >= end)
            return err_set(err, ERR_AGAIN,
                           "it has not reloaded within %lld s: see its log",
                           (long long)wait_ms / 1000);
        clock_sleep_ms(POLL_MS);
    }
}

static int
run_reload(void *cli, struct err *err)
{
    struct cli *c = cli;
    bool worker = options_has(c->options, "worker");
    const char *program = worker ? "acrelay-worker" : "acrelayd";
    struct admin_state state;

    if (cli_read_config(c, true, err) < 0)
        return -1;
    if (!c->is_last_good) // else its mistakes were printed
        problems_print(&c->problems, PROBLEMS_STDERR);
    const struct socket_address *admin =
        worker ? &c->config->worker_admin : &c->config->receiver_admin;
    output_wait("%s reloads", program);
    int result = reload(&state, admin, c->config, err);
    output_wait_end();
    if (result < 0) {
        err_context(err, "%s on %s", program, admin->text);
        err->exit = EXIT_CODE_UNAVAILABLE;
        return -1;
    }
    output_text("program", span_of(program));
    output_flag("done", state.reload_ok);
    output_text("text", span_of(state.reload));
    output_say("%s: %s\n", program, state.reload);
    if (state.reload_ok)
        return EXIT_CODE_OK;
    return err_exit(err, EXIT_CODE_CONFIG,
                    "the reload was refused; %s keeps its configuration", program);
}

const struct subcommand cli_reload_commands[] = {
    {"reload", "", "make acrelayd read its configuration and secrets again", 0, 0,
     OPTIONS(OPTION_IS_FLAG("worker", "reload acrelay-worker instead of acrelayd")),
     run_reload, false, NULL},
    {0},
};
