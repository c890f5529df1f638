// doctor: the whole installation, part by part, as it runs; each finding says what it means and
// what to do. It starts with what `check` checks, and writes nothing anywhere: what it tries at
// Redis is refused before it does anything, and what it posts to public_url has no good token.
#include "cli/cli.h"

#include "base/text.h"
#include "edge/admin.h"
#include "relay/relay.h"
#include "worker/worker.h"

#include <stdio.h>
#include <sys/timex.h>

#define ON_DISK "free room on the disk: see `disk`"
#define UNKNOWN "not known until Redis says what is published, at most "

enum { PROBE_MS = 5000, LOST_SHOWN = 5 };
static const double LAG_S = 60, UNCONFIRMED_S = 5; // compared with a metric

// No metric is of both programs.
static double
metric(const struct report *r, const char *name)
{
    return admin_sum_metric(&r->cli->receiver.metrics, name) +
           admin_sum_metric(&r->cli->worker.metrics, name);
}

static void
examine_clock(struct report *r)
{
    struct timex now = {.modes = 0};

    if (adjtimex(&now) != TIME_ERROR && !(now.status & STA_UNSYNC))
        report_ok(r, "clock", "the system clock is synchronized");
    else
        report_warning(r, "clock",
                       "run systemd-timesyncd or chrony: receipt times use this clock",
                       "the system clock is not synchronized");
}

// --- the running programs -------------------------------------------------------------------

// Whether deliveries are taken now. While they reach Redis, published ones make room for others.
static void
examine_journal(struct report *r)
{
    const struct admin_state *a = &r->cli->receiver;
    double room = metric(r, "acrelay_journal_free_bytes"), segment = JOURNAL_SEGMENT;
    bool ships = metric(r, "acrelay_relay_shipping") > 0, low = room < segment;
    bool lost =
        a->code == 503 || (low && (!ships || room < (double)r->cli->config->body_max));
    enum report_level level = lost ? REPORT_ERROR : low ? REPORT_WARNING : REPORT_OK;
    char left[32], used[32];

    text_bytes(left, sizeof left, (uint64_t)room);
    text_bytes(used, sizeof used, (uint64_t)metric(r, "acrelay_journal_bytes"));
    report_add(
        r, level, EXIT_CODE_UNAVAILABLE, "journal",
        level == REPORT_OK     ? NULL
        : r->disk_is_full      ? ON_DISK
        : a->journal_advice[0] ? a->journal_advice
                               : "bring Redis back, or raise journal.max and restart",
        "deliveries %s%s%s; journal on disk: %s, room left for records: %s",
        a->code == 503 ? "cannot be stored and are answered with 503"
        : lost ? "can be stored, but unless Redis takes some, 503 is the answer soon"
        : low  ? "are being stored; without Redis they would soon be answered with 503"
               : "are being stored",
        a->journal[0] ? ": " : "", a->journal, used, left);
}

// In the receiver's own words: what this command sees of Redis may be something else.
static void
examine_relay(struct report *r)
{
    const char *words = r->cli->receiver.redis;
    double waiting = metric(r, "acrelay_journal_unpublished_records");
    double age = metric(r, "acrelay_journal_oldest_unpublished_age_seconds");
    bool up = metric(r, "acrelay_redis_up") > 0;
    bool confirms = r->cli->config->redis_confirm != CONFIG_CONFIRM_MEMORY;
    bool known = metric(r, "acrelay_relay_cursor_known") > 0;
    char text[32], waits[160];

    text_duration(text, sizeof text, (int64_t)(age * 1000));
    int len = snprintf(waits, sizeof waits, "%s%.0f", known ? "" : UNKNOWN, waiting);
    if (known || age > 0)
        snprintf(waits + len, sizeof waits - (size_t)len, ", the oldest%s for %s",
                 known ? "" : " since the start", text);
    if (metric(r, "acrelay_relay_shipping") == 0)
        report_error(r, EXIT_CODE_UNAVAILABLE, "relay", relay_advice(words)->advice,
                     "%s (%s); waiting in the journal: %s",
                     up ? "the relay has stopped" : "deliveries are not reaching Redis",
                     words[0] ? words : "Redis has not answered yet", waits);
    else if (age > (waiting > 0 ? LAG_S : UNCONFIRMED_S) && (waiting == 0 || confirms))
        report_warning(r, "relay",
                       "check the replicas of Redis, or its append-only file, or change "
                       "redis.confirm: see \"redis.confirm\" in OPERATING.md",
                       "deliveries are published, but not confirmed as redis.confirm "
                       "says: the journal keeps them; the oldest for %s, not yet "
                       "published: %.0f",
                       text, waiting);
    else if (age > LAG_S)
        report_warning(r, "relay",
                       "it will catch up unless Redis is too slow: check again",
                       "deliveries that wait: %s", waits);
    else
        report_ok(r, "relay", "deliveries are being published; waiting: %.0f", waiting);
}

void
doctor_receiver(struct report *r)
{
    if (r->cli->receiver.code == 0) {
        report_error(r, EXIT_CODE_UNAVAILABLE, "receiver",
                     "see systemctl status acrelayd; with the socket unit posts wait "
                     "until it is running, without it they are lost",
                     "acrelayd does not answer on %s: %s",
                     r->cli->config->receiver_admin.text, r->cli->receiver.reason);
        return;
    }
    examine_journal(r);
    examine_relay(r);
}

void
doctor_worker(struct report *r)
{
    const struct config *c = r->cli->config;
    const struct admin_state *w = &r->cli->worker;

    if (!c->account_api_url)
        return;
    if (w->code == 0)
        report_warning(r, "worker",
                       "see systemctl status acrelay-worker; until it is running, a "
                       "webhook that ActiveCampaign disables goes unnoticed",
                       "acrelay-worker does not answer on %s: %s", c->worker_admin.text,
                       w->reason);
    else if (strstr(w->activecampaign, "first round"))
        report_warning(r, "worker", "check again in a minute", "%s", w->activecampaign);
    else if (w->code != 200 || w->activecampaign[0])
        report_error(r, EXIT_CODE_UNAVAILABLE, "worker",
                     "until a round succeeds, disabled webhooks go unnoticed", "%s",
                     w->activecampaign[0] ? w->activecampaign : "its last round failed");
    else if (metric(r, "acrelay_worker_leader") == 0)
        report_warning(
            r, "worker", "check the worker that is the leader",
            "on standby: another worker is the leader, or the leader is unknown");
    else
        report_ok(r, "worker", "its last round found the webhooks in sync");
    if (w->code)
        report_ok(r, "api rate", "at most %g requests a second", c->worker_api_rate);
}

// --- what the running programs have loaded --------------------------------------------------

static void
examine_reload(struct report *r, const char *program, const struct admin_state *state)
{
    admin_json_report_other(r, "settings", program, state);
    if (state->last_good)
        report_error(r, EXIT_CODE_CONFIG, "settings",
                     "fix the file; it is then loaded automatically", "%s: %s", program,
                     state->reload);
    else if (!state->reload_ok)
        report_error(r, EXIT_CODE_CONFIG, "settings",
                     "fix it and reload again, or restart if a setting requires it",
                     "%s refused the last reload and kept its configuration: %s", program,
                     state->reload);
}

// Whether the receiver takes posts to the URLs that the file gives.
static void
examine_urls(struct report *r)
{
    const struct config *c = r->cli->config;
    struct secrets *s = secrets_load(c, &(struct err){0});
    bool refused = false;

    for (size_t i = 0; s && !refused && i < c->hooks_len; i++) {
        struct buf path;
        buf_init(&path, 4096);
        secrets_url(s, 0, "", span_of(c->hooks[i].name), &path);
        refused = admin_json_is_404(c, buf_text(&path));
        buf_wipe(&path);
        if (refused) // the others have the same cause
            report_error(r, EXIT_CODE_CONFIG, "settings",
                         "run acrelay reload; under systemd, a new secret needs a "
                         "restart of acrelayd",
                         "the receiver answers 404 to the URL of hook %s with the first "
                         "secret: it has not loaded one of them",
                         c->hooks[i].name);
    }
    secrets_release(s);
}

static void
examine_settings(struct report *r)
{
    examine_reload(r, "the receiver", &r->cli->receiver);
    examine_reload(r, "the worker", &r->cli->worker);
    if (!r->cli->is_last_good && !r->is_shown)
        examine_urls(r);
}

// --- counters -------------------------------------------------------------------------------

// What is held or paused until somebody acts, and counters that should be low since the start.
// What ends with a colon is a number, which follows; the others are 0 or 1.
static const struct {
    const char *metric;
    double max;
    enum report_level level;
    const char *what, *means, *advice;
} counters[] = {
    {"acrelay_clock_held{clock=\"wall\"}", 0, REPORT_WARNING, "receiver",
     "the system clock stepped: nothing is removed from the journal by age",
     "see \"The clock stepped\" in OPERATING.md"},
    {"acrelay_clock_held{clock=\"redis\"}", 0, REPORT_WARNING, "receiver",
     "Redis's clock stepped: no entry is trimmed by age",
     "see \"Redis's clock stepped\" in OPERATING.md"},
    {"acrelay_duplicates_paused", 0, REPORT_WARNING, "receiver",
     "duplicates.max has been reached: new duplicates are not detected",
     "raise duplicates.max, or shorten duplicates.window"},
    {"acrelay_journal_refused_total", 0, REPORT_ERROR, "since start",
     "deliveries answered with 503, which may be lost:",
     "see \"503s seen\" in OPERATING.md"},
    {"acrelay_deliveries_refused_total", 0, REPORT_ERROR, "since start",
     "deliveries refused as too large or malformed, or cut short, which are lost:",
     "see \"Deliveries are refused\" in OPERATING.md"},
    {"acrelay_journal_sync_errors_total", 0, REPORT_ERROR, "since start",
     "failed writes or syncs of the journal:", NULL},
    {"acrelay_journal_damaged_total", 0, REPORT_ERROR, "since start",
     "damaged ranges of the journal:",
     "run acrelay journal verify and acrelay dead list --reason gap"},
    {"acrelay_stream_trimmed_unread_total", 0, REPORT_ERROR, "since start",
     "entries trimmed before a consumer group had read them:",
     "start the consumers, delete unused groups, or raise redis.retain"},
    {"acrelay_dead_letters_trimmed_total", 0, REPORT_ERROR, "since start",
     "dead letters trimmed before anyone handled them:",
     "check acrelay dead list more often, or raise redis.retain.dead"},
    {"acrelay_commands_dead_trimmed_total", 0, REPORT_ERROR, "since start",
     "dead letters of commands trimmed before anyone handled them:",
     "check acrelay dead list --commands more often, or raise commands.retain.dead"},
    {"acrelay_journal_unconfirmed_removals_total", 0, REPORT_ERROR, "since start",
     "segments removed to make room while Redis did not confirm what it has:",
     "see \"The journal or the disk is full\" in OPERATING.md"},
    {"acrelay_hook_silent", 0, REPORT_ERROR, "hooks",
     "hooks silent for longer than expect_every:",
     "acrelay status names them; acrelay-worker recreate HOOK re-creates a webhook"},
    {"acrelay_commands_stopped", 0, REPORT_ERROR, "commands",
     "nothing gets through to ActiveCampaign: all commands wait, and none is lost",
     "see \"Commands wait\" in OPERATING.md"},
    {"acrelay_commands_held", 0, REPORT_ERROR, "commands",
     "services whose commands wait, because Redis refuses what the worker writes:",
     "see \"Commands wait\" in OPERATING.md, and the worker's log"},
    {"acrelay_commands_paused", 0, REPORT_WARNING, "commands",
     "ActiveCampaign asked for a pause of all commands",
     "check again in a minute; if it stays, lower commands.rate"},
    {"acrelay_api_throttles_total", 10, REPORT_WARNING, "api rate",
     "requests that ActiveCampaign throttled:",
     "lower worker.api_rate, or find out what else uses the account's API: "
     "ActiveCampaign allows 5 requests a second in total"},
};

static void
examine_counters(struct report *r)
{
    // A full disk makes writes fail, too.
    const char *on_sync =
        r->disk_is_full ? ON_DISK : "check the health of the disk (dmesg, smartctl)";
    double left = r->cli->receiver.left_posts;

    if (left > 0)
        report_error(
            r, EXIT_CODE_FAILURE, "hooks",
            "see \"A hook was removed from the file\" in OPERATING.md",
            "posts for hooks removed from the file, answered with 404 and lost: %.0f",
            left);
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        double n = metric(r, counters[i].metric);
        const char *means = counters[i].means;
        bool is_number = means[strlen(means) - 1] == ':';
        if (n > counters[i].max)
            report_add(r, counters[i].level, EXIT_CODE_FAILURE, counters[i].what,
                       counters[i].advice ? counters[i].advice : on_sync,
                       is_number ? "%s %.0f" : "%s", means, n);
    }
}

// --- ActiveCampaign -------------------------------------------------------------------------

static void
report_plan(struct report *r, const struct plan *plan)
{
    size_t refused = plan->count[STEP_REFUSE];

    if (plan->writes + refused > 0)
        report_error(r, EXIT_CODE_CHANGES, "hooks",
                     refused
                         ? "acrelay-worker plan shows them, and marks with ! what needs "
                           "your decision; apply makes the others"
                         : "acrelay-worker plan shows them, apply makes them",
                     "changes needed to bring the webhooks in sync with the file: %zu",
                     plan->writes + refused);
    else
        report_ok(r, "hooks", "webhooks that match the file: %zu%s",
                  plan->ok + plan->count[STEP_KEEP],
                  plan->count[STEP_KEEP]
                      ? "; some in the form in which ActiveCampaign stores them"
                      : "");
}

// Our webhooks whose URL the running receiver answers with 404: AC posts there all the same.
static void
report_lost(struct report *r, const struct hooks *found)
{
    const struct config *c = r->cli->config;
    size_t lost = 0;

    for (size_t i = 0; r->cli->receiver.code && i < found->len; i++) {
        const struct hook *h = &found->at[i];
        const char *path = h->name ? strstr(h->url, "/hook/") : NULL;
        if (!path || !admin_json_is_404(c, path) || ++lost > LOST_SHOWN)
            continue;
        report_error(r, EXIT_CODE_FAILURE, "hooks",
                     config_find_hook(c, span_of(h->name))
                         ? "run acrelay reload, then acrelay-worker apply moves it to "
                           "the URL with the first secret"
                         : "put it back into the file, or remove the webhook: with "
                           "worker.prune, or by hand at ActiveCampaign",
                     "webhook %llu (%s) still posts to a URL that the receiver answers "
                     "with 404: all of its events are lost",
                     (unsigned long long)h->id, h->name);
    }
    if (lost > LOST_SHOWN)
        report_error(r, EXIT_CODE_FAILURE, "hooks", NULL,
                     "further webhooks that post to URLs answered with 404: %zu",
                     lost - LOST_SHOWN);
}

// A webhook of others with our path and our token is ours under another address: it posts too.
static void
report_alike(struct report *r, const struct hooks *wanted, const struct hooks *found)
{
    for (size_t i = 0; i < found->len; i++) {
        bool certain;
        const struct hook *like = plan_alike(wanted, &found->at[i], &certain);
        if (like)
            report_add(
                r, certain ? REPORT_ERROR : REPORT_WARNING, EXIT_CODE_FAILURE, "hooks",
                "add its address to previous_public_urls, so that the worker moves it, "
                "or remove it",
                certain
                    ? "webhook %llu has the path and token of hook %s at an address "
                      "other than public_url: events arrive twice or at another server"
                    : "webhook %llu at another address has the name that the worker "
                      "gives to hook %s: does it belong to acrelay?",
                (unsigned long long)found->at[i].id, like->name);
    }
}

static int
compare_account(struct report *r, struct worker *w, struct err *err)
{
    if (worker_load(w, &(struct ac_client_options){.once = true}, err) < 0)
        return -1;
    if (r->redis_usable)
        worker_load_known(w); // what AC stores differently
    struct apply a = {.w = w, .prune = w->config->worker_prune};
    int result = apply_plan(&a, false, err);
    if (result == 0) {
        report_ok(r, "activecampaign", "%s accepts the token; webhooks: %zu",
                  w->config->account_api_url, a.found.len);
        report_plan(r, &a.plan);
        report_lost(r, &a.found);
        report_alike(r, &w->wanted, &a.found);
    }
    apply_release(&a);
    return result;
}

static void
examine_account(struct report *r)
{
    struct cli *c = r->cli;
    struct worker w = {
        .options = c->options, .file = c->file, .config = c->config, .known.quiet = true};
    struct err err = {0};

    if (c->is_last_good) // root would send the token where the receiver's user says
        return;
    if (c->config->account_api_url && c->config->account_api_token_file)
        w.secrets = secrets_load(c->config, &err);
    if (!w.secrets)
        return; // reported by check
    if (compare_account(r, &w, &err) < 0) {
        // A refusal says by itself what to do.
        report_error(r, err.exit ? err.exit : EXIT_CODE_FAILURE, "activecampaign",
                     err.exit == EXIT_CODE_PERMISSION
                         ? "then run acrelay doctor again, which asks ActiveCampaign"
                         : "deliveries are not affected, but the webhooks cannot be "
                           "managed",
                     "%s", err.text);
    }
    w.config = NULL; // ours
    worker_unload(&w);
}

// --- public_url -----------------------------------------------------------------------------

// Posts to hooks that are not there; those to hooks of ours do not count.
static double
strangers(const struct config *c)
{
    struct buf page;

    admin_fetch_metrics(&page, &c->receiver_admin, c->installation);
    double n = admin_sum_metric(&page, "acrelay_requests_total{hook=\"-\",code=\"404\"}");
    buf_release(&page);
    return n;
}

// A post to a hook that is not there: the receiver answers 404, and counts it.
static void
examine_public_url(struct report *r)
{
    const struct config *c = r->cli->config;
    const char *end = strrchr(c->public_url, '.');
    char url[2048];
    struct err err = {0};

    snprintf(url, sizeof url,
             "%s/hook/acrelay-doctor/0000000000000000000000000000000000000000000",
             c->public_url);
    double before = r->cli->receiver.code ? strangers(c) : 0;
    struct http_call call = {.url = url,
                             .method = "POST",
                             .body = SPAN("type=doctor"),
                             .timeout_ms = PROBE_MS};
    int status = http_client_once(&call, NULL, &err);
    bool came = r->cli->receiver.code && strangers(c) > before;
    if (status < 0)
        report_error(r, EXIT_CODE_UNAVAILABLE, "public_url",
                     end && strcmp(end, ".example") == 0
                         ? "this is an example's URL: set public_url, or run acrelay "
                           "doctor --offline"
                         : "check DNS, firewall, certificate and proxy; from inside a "
                           "network that cannot reach its own address this may be normal",
                     "%s: %s", c->public_url, err.text);
    else if (status != 404)
        report_error(
            r, EXIT_CODE_FAILURE, "public_url",
            status >= 300 && status < 400
                ? "make the proxy forward /hook/ instead of redirecting: a redirected "
                  "post from ActiveCampaign is lost"
            : status == 410
                ? "never answer 410: ActiveCampaign then disables the webhook for good"
                : "another server answers there: make the proxy forward /hook/ to "
                  "receiver.listen; see deploy/proxy",
            "%s answers %d instead of 404", c->public_url, status);
    else if (!came)
        report_warning(r, "public_url",
                       "make the proxy forward /hook/ to receiver.listen, unless the "
                       "receiver runs on another machine",
                       "%s answers 404, but this receiver has not seen the request",
                       c->public_url);
    else
        report_ok(r, "public_url", "%s reaches this receiver", c->public_url);
}

// --- the command ----------------------------------------------------------------------------

static const struct check checks[] = {
    {"examining the receiver", doctor_receiver, true},
    {"examining the worker", doctor_worker, true},
    {"examining what they have loaded", examine_settings, true},
    {"examining the counters", examine_counters, true},
    {"checking the clock", examine_clock, true},
    // from here on not offline, and by a file that is valid
    {"asking ActiveCampaign", examine_account, false},
    {"posting to public_url", examine_public_url, false},
};

static int
run_doctor(void *cli, struct err *err)
{
    struct cli *c = cli;
    struct report r = {.cli = c, .deep = true};

    (void)err;
    return report_run(&r, false, checks, options_has(c->options, "offline") ? 5 : 7);
}

const struct subcommand cli_doctor_commands[] = {
    {"doctor", "", "examine the whole installation, and say what to do", 0, 0,
     OPTIONS(OPTION_IS_FLAG("offline", "contact neither ActiveCampaign nor public_url")),
     run_doctor, false, NULL},
    {0},
};
