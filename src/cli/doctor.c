// doctor: the whole installation, part by part, as it runs; each finding says what it means and
// what to do. It starts with what `check` looks at, and writes nothing anywhere: what it tries
// at Redis is refused before it does anything, and what it posts to public_url has no good
// token.
#include "base/text.h"
#include "cli/findings.h"
#include "cli/outside.h"
#include "cli/redis_words.h"
#include "edge/admin_client.h"
#include "config/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/timex.h>

enum { LAG_S = 60, THROTTLES = 10, SEGMENT = 16 << 20 };
#define JOURNAL_MAX (UINT64_C(8) << 30) // unless journal.max is set

// --- disk and clock -------------------------------------------------------------------------

static void
examine_disk(struct findings *f)
{
    const struct buf *page = &f->receiver_page;
    const struct config *c = f->cli->config;
    struct statvfs st;
    char free_text[32], max_text[32];

    if (statvfs(c->state_dir, &st) < 0)
        return; // told by check
    uint64_t unit = st.f_frsize, left = st.f_bavail * unit, all = st.f_blocks * unit;
    uint64_t preset = all / 2 < JOURNAL_MAX ? all / 2 : JOURNAL_MAX;
    uint64_t max = c->journal_max ? c->journal_max : preset;
    double used = metrics_page_sum(page, "acrelay_journal_bytes"),
           grows = (double)max - used;
    text_bytes(free_text, sizeof free_text, left);
    text_bytes(max_text, sizeof max_text, max);
    if (left < 256 << 20)
        findings_tell(f, WRONG, EXIT_CODE_DIRECTORY, "disk",
                      "free space there, or give state_dir a file system of its own",
                      "%s free below %s: soon deliveries cannot be made durable and are "
                      "answered 503",
                      free_text, c->state_dir);
    else if ((double)left < grows / 2)
        findings_tell(f, WARNING, EXIT_CODE_OK, "disk",
                      "free space, or lower journal.max to what may really be used",
                      "%s free below %s, and the journal may take up to %s in all",
                      free_text, c->state_dir, max_text);
    else
        findings_tell(f, GOOD, EXIT_CODE_OK, "disk", NULL,
                      "%s free below %s, the journal takes at most %s", free_text,
                      c->state_dir, max_text);
    if (st.f_favail > 0 && st.f_favail < 100)
        findings_tell(f, WRONG, EXIT_CODE_DIRECTORY, "disk", "remove small files there",
                      "only %" PRIu64 " inodes are free", (uint64_t)st.f_favail);
}

static void
examine_clock(struct findings *f)
{
    struct timex now = {.modes = 0};

    if (adjtimex(&now) == TIME_ERROR || now.status & STA_UNSYNC)
        findings_tell(f, WARNING, EXIT_CODE_OK, "clock",
                      "run systemd-timesyncd or chrony: receipt times go by this clock",
                      "the system clock is not synchronized");
    else
        findings_tell(f, GOOD, EXIT_CODE_OK, "clock", NULL,
                      "the system clock is synchronized");
}

// --- the running programs -------------------------------------------------------------------

// Whether deliveries are taken now.
static void
examine_journal(struct findings *f)
{
    const struct buf *page = &f->receiver_page;
    double room = metrics_page_sum(page, "acrelay_journal_free_bytes");
    char text[32];

    text_bytes(text, sizeof text, room > 0 ? (uint64_t)room : 0);
    if (f->receiver.code == 503)
        findings_tell(
            f, WRONG, EXIT_CODE_UNAVAILABLE, "journal",
            room < SEGMENT
                ? "bring Redis back, or give the journal room: raise journal.max "
                  "and restart the receiver, or free space where the disk is full"
                : "the receiver's log names the cause; look at the disk (dmesg)",
            "deliveries cannot be made durable and are answered 503; room left "
            "for records: %s",
            text);
    else if (room < SEGMENT)
        findings_tell(f, WARNING, EXIT_CODE_OK, "journal",
                      "bring Redis back, or raise journal.max and restart the receiver",
                      "only %s of room is left for records; then deliveries are answered "
                      "503",
                      text);
    else
        findings_tell(f, GOOD, EXIT_CODE_OK, "journal", NULL,
                      "deliveries are made durable; room left for records: %s", text);
}

// What a running program has loaded, against the file.
static void
examine_reload(struct findings *f, const char *program, const struct admin_state *state)
{
    if (state->last_good)
        findings_tell(f, WRONG, EXIT_CODE_CONFIG, "settings",
                      "mend the file; it is taken over by itself then",
                      "%s runs with the last good configuration, because the file is not "
                      "valid: %s",
                      program, state->reload);
    else if (state->code && !state->reload_ok)
        findings_tell(f, WRONG, EXIT_CODE_CONFIG, "settings",
                      "mend it and reload again, or restart where a setting needs it",
                      "%s refused the last reload and goes on with what it had: %s",
                      program, state->reload);
}

// Whether the receiver takes posts to the URLs that the file gives.
static void
examine_urls(struct findings *f)
{
    const struct config *c = f->cli->config;
    struct err err;
    struct secrets *s = secrets_load(c, &err);
    bool refused = false;

    for (size_t i = 0; s && !refused && i < c->hooks_len; i++) {
        struct buf path;
        buf_init(&path, 4096);
        secrets_url(s, 0, "", span_of(c->hooks[i].name), &path);
        refused =
            admin_client_takes(&c->receiver_admin, &c->listen, buf_text(&path)) == 0;
        buf_wipe(&path);
        if (refused) // the others have the same cause
            findings_tell(
                f, WRONG, EXIT_CODE_CONFIG, "settings",
                "acrelay reload; restart acrelayd for a new secret under the units",
                "the receiver answers 404 to the URL of hook %s under the first "
                "secret: it has not loaded them",
                c->hooks[i].name);
    }
    secrets_release(s);
}

// In the receiver's own words: what this command sees of Redis may be something else.
static void
examine_relay(struct findings *f)
{
    const struct buf *page = &f->receiver_page;
    const char *words = f->receiver.redis_error;
    double waiting = metrics_page_sum(page, "acrelay_journal_unpublished_records");
    double age = metrics_page_sum(page, "acrelay_journal_oldest_unpublished_age_seconds");
    bool up = metrics_page_sum(page, "acrelay_redis_up") > 0;
    char text[32];

    text_duration(text, sizeof text, (int64_t)(age * 1000));
    if (metrics_page_sum(page, "acrelay_relay_shipping") == 0)
        findings_tell(f, WRONG, EXIT_CODE_UNAVAILABLE, "relay",
                      redis_words_find(words)->advice,
                      "%s (%s); %.0f deliveries wait in the journal, the oldest for %s",
                      up ? "the relay has stopped" : "deliveries do not reach Redis",
                      words[0] ? words : "it does not say why", waiting, text);
    else if (age > LAG_S)
        findings_tell(f, WARNING, EXIT_CODE_OK, "relay",
                      "it catches up by itself unless Redis is too slow: look again",
                      "%.0f deliveries wait, the oldest for %s", waiting, text);
    else
        findings_tell(f, GOOD, EXIT_CODE_OK, "relay", NULL,
                      "deliveries reach their streams; %.0f on the way", waiting);
}

// Counters that should be 0 since the start of the receiver.
static void
examine_counters(struct findings *f)
{
    static const struct {
        const char *metric, *means, *advice;
    } counters[] = {
        {"acrelay_journal_refused_total", "deliveries were answered 503 and may be lost",
         "see \"503s seen\" in OPERATING.md"},
        {"acrelay_journal_sync_errors_total", "writes or syncs of the journal failed",
         "look at the disk's health (dmesg, smartctl)"},
        {"acrelay_journal_damaged_total", "ranges of the journal were damaged",
         "acrelay journal verify, and acrelay dead list --reason gap"},
        {"acrelay_stream_trimmed_unread_total",
         "entries were trimmed before a consumer group had read them",
         "start the consumers, delete groups that nobody reads, or raise redis.retain"},
        {"acrelay_dead_letters_trimmed_total",
         "dead letters were trimmed before anybody dropped them",
         "acrelay dead list more often, or raise redis.retain.dead"},
        {"acrelay_journal_unconfirmed_removals_total",
         "segments were removed for room while Redis did not confirm what it has",
         "see \"The journal or the disk is full\" in OPERATING.md"},
    };

    if (metrics_page_left(&f->receiver_page) > 0)
        findings_tell(
            f, WRONG, EXIT_CODE_FAILURE, "hooks",
            "see \"A hook left the file and is still posted to\" in OPERATING.md",
            "%.0f posts came for hooks that left the file, and are lost (404)",
            metrics_page_left(&f->receiver_page));
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        double n = metrics_page_sum(&f->receiver_page, counters[i].metric);
        if (n > 0)
            findings_tell(f, WRONG, EXIT_CODE_FAILURE, "since start", counters[i].advice,
                          "%s: %.0f", counters[i].means, n);
    }
}

// What is held or paused until somebody acts.
static void
examine_holds(struct findings *f)
{
    static const struct {
        const char *metric, *means, *advice;
    } holds[] = {
        {"acrelay_clock_held{clock=\"wall\"}",
         "the system clock stepped: nothing is removed from the journal for its age",
         "see \"The clock stepped\" in OPERATING.md"},
        {"acrelay_clock_held{clock=\"redis\"}",
         "Redis's clock stepped: no entry is trimmed for its age",
         "see \"Redis's clock stepped\" in OPERATING.md"},
        {"acrelay_duplicates_paused",
         "duplicates.max is reached: newer repeats are not found",
         "raise duplicates.max, or shorten duplicates.window"},
    };

    for (size_t i = 0; i < sizeof holds / sizeof *holds; i++)
        if (metrics_page_sum(&f->receiver_page, holds[i].metric) > 0)
            findings_tell(f, WARNING, EXIT_CODE_OK, "receiver", holds[i].advice, "%s",
                          holds[i].means);
}

static void
examine_receiver(struct findings *f)
{
    const struct config *c = f->cli->config;

    if (f->receiver.code == 0)
        findings_tell(
            f, WRONG, EXIT_CODE_UNAVAILABLE, "receiver",
            "systemctl status acrelayd; under the socket unit posts wait until it runs, "
            "else every delivery that nobody takes is lost",
            "acrelayd does not answer on %s: %s", c->receiver_admin.text,
            f->receiver.reason);
    if (f->receiver.code == 0)
        return;
    admin_client_metrics(&f->receiver_page, &c->receiver_admin);
    examine_reload(f, "the receiver", &f->receiver);
    examine_urls(f);
    examine_journal(f);
    examine_relay(f);
    examine_holds(f);
    examine_counters(f);
}

static void
examine_hooks_page(struct findings *f)
{
    const struct buf *page = &f->worker_page;
    double silent = metrics_page_sum(page, "acrelay_hook_silent");
    double throttled = metrics_page_sum(page, "acrelay_api_throttles_total");

    if (silent > 0)
        findings_tell(f, WRONG, EXIT_CODE_FAILURE, "hooks",
                      "acrelay status names them; acrelay-worker recreate HOOK makes one "
                      "anew",
                      "%.0f hooks are silent for longer than expect_every", silent);
    if (throttled > THROTTLES)
        findings_tell(f, WARNING, EXIT_CODE_OK, "api rate",
                      "lower worker.api_rate, or find who else uses the account's API: "
                      "ActiveCampaign allows 5 requests a second to all together",
                      "ActiveCampaign said %.0f times that requests come too fast",
                      throttled);
    else
        findings_tell(f, GOOD, EXIT_CODE_OK, "api rate", NULL,
                      "at most %g requests a second, %.0f were refused as too many",
                      f->cli->config->worker_api_rate, throttled);
}

static void
examine_worker(struct findings *f)
{
    const struct config *c = f->cli->config;
    const struct admin_state *w = &f->worker;

    if (!c->account_api_url)
        return;
    if (w->code == 0) {
        findings_tell(f, WARNING, EXIT_CODE_OK, "worker",
                      "systemctl status acrelay-worker; until then nobody notices a hook "
                      "that ActiveCampaign switched off",
                      "acrelay-worker does not answer on %s: %s", c->worker_admin.text,
                      w->reason);
        return;
    }
    admin_client_metrics(&f->worker_page, &c->worker_admin);
    examine_reload(f, "the worker", w);
    if (strstr(w->activecampaign, "first round"))
        findings_tell(f, WARNING, EXIT_CODE_OK, "worker", "look again in a minute", "%s",
                      w->activecampaign);
    else if (w->code != 200 || w->activecampaign[0])
        findings_tell(f, WRONG, EXIT_CODE_UNAVAILABLE, "worker",
                      "until a round succeeds nobody notices a hook that ActiveCampaign "
                      "switched off; what stands under activecampaign below says more",
                      "%s",
                      w->activecampaign[0] ? w->activecampaign : "its last round failed");
    else if (metrics_page_sum(&f->worker_page, "acrelay_worker_leader") == 0)
        findings_tell(f, WARNING, EXIT_CODE_OK, "worker",
                      "the worker that leads says more",
                      "it stands by: another worker is the leader, or nobody can know");
    else
        findings_tell(f, GOOD, EXIT_CODE_OK, "worker", NULL,
                      "its last round found the hooks as the file says");
    examine_hooks_page(f);
}

static const struct check checks[] = {
    {"asking the receiver", examine_receiver},
    {"looking at the disk", examine_disk},
    {"looking at the clock", examine_clock},
    {"asking the worker", examine_worker},
    // from here on not offline
    {"asking ActiveCampaign", outside_account},
    {"posting to public_url", outside_public_url},
};

static int
run_doctor(void *cli)
{
    struct cli *c = cli;
    struct findings f = {.cli = c, .deeply = true};

    check_all(&f, false);
    if (c->config)
        findings_run(&f, checks, options_has(c->options, "offline") ? 4 : 6);
    return findings_end(&f);
}

// --- the command line -------------------------------------------------------------------

static const struct option doctor_options[] = {
    OPTION_IS_FLAG("offline", "ask neither ActiveCampaign nor public_url"),
    OPTION_END,
};

const struct command cli_doctor_commands[] = {
    {"doctor", "", "examine the whole installation, and say what to do", 0, 0,
     doctor_options, run_doctor, false, NULL},
    {0},
};
