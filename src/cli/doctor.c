// doctor: the whole installation, part by part, as it runs; each finding says what it means and
// what to do. It starts with what `check` looks at, and writes nothing anywhere: what it tries
// at Redis is refused before it does anything, and what it posts to public_url has no good
// token.
#include "base/clock.h"
#include "base/text.h"
#include "cli/findings.h"
#include "cli/outside.h"
#include "config/page.h"
#include "config/reach.h"
#include "config/secret.h"
#include "relay/script.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/timex.h>

enum { CLOCKS_APART_S = 5, LAG_S = 60, THROTTLES = 10, SEGMENT = 16 << 20 };
#define JOURNAL_MAX (UINT64_C(8) << 30) // unless journal.max is set

// --- disk and clock -------------------------------------------------------------------------

static void
examine_disk(struct findings *f, const struct buf *page)
{
    const struct config *c = f->cli->config;
    struct statvfs st;
    char free_text[32], max_text[32];

    if (statvfs(c->state_dir, &st) < 0)
        return; // told by check
    uint64_t unit = st.f_frsize, left = st.f_bavail * unit, all = st.f_blocks * unit;
    uint64_t preset = all / 2 < JOURNAL_MAX ? all / 2 : JOURNAL_MAX;
    uint64_t max = c->journal_max ? c->journal_max : preset;
    double used = page_metric(page, "acrelay_journal_bytes"), grows = (double)max - used;
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
                      "run systemd-timesyncd or chrony: receipt times, repeats and "
                      "trimming go by this clock",
                      "the system clock is not synchronized");
    else
        findings_tell(f, GOOD, EXIT_CODE_OK, "clock", NULL,
                      "the system clock is synchronized");
}

// --- Redis ----------------------------------------------------------------------------------

static void
examine_time(struct findings *f, struct redis *r)
{
    struct err err;
    const struct redis_reply *reply = redis_ask(r, &err, "TIME", NULL);
    uint64_t seconds;

    if (!reply || redis_reply_len(reply) < 1 ||
        !text_number(&seconds, redis_reply_text(redis_reply_at(reply, 0)), INT64_MAX))
        return; // a user without the right to ask
    int64_t apart = (int64_t)seconds - clock_now_us() / 1000000;
    if (apart > CLOCKS_APART_S || apart < -CLOCKS_APART_S)
        findings_tell(f, WARNING, EXIT_CODE_OK, "clock",
                      "synchronize both clocks: entry ids and redis.retain.age go by "
                      "Redis's",
                      "Redis's clock is %lld s from ours", (long long)apart);
}

// Tries a command with a wrong argument: Redis looks at rights first, and then refuses it.
static bool
is_forbidden(const struct redis_reply *reply)
{
    return reply && redis_reply_kind(reply) == REDIS_ERROR &&
           span_starts(redis_reply_text(reply), SPAN("NOPERM"));
}

static void
examine_rights(struct findings *f, struct redis *r)
{
    const struct config *c = f->cli->config;
    char key[SCRIPT_KEY];
    struct err err;
    const char *lacks = NULL;

    snprintf(key, sizeof key, "{%s}:events", c->redis_namespace);
    if (is_forbidden(
            redis_ask(r, &err, "XADD", key, "NOMKSTREAM", "none", "a", "b", NULL)))
        lacks = "XADD";
    else if (is_forbidden(redis_ask(r, &err, "XTRIM", key, "MAXLEN", "none", NULL)))
        lacks = "XTRIM";
    else if (is_forbidden(redis_ask(r, &err, "EVALSHA", "none", "1", key, NULL)))
        lacks = "EVALSHA";
    if (lacks)
        findings_tell(
            f, WRONG, EXIT_CODE_PERMISSION, "redis rights",
            "give the user what deploy/redis/acrelay.acl lists for the receiver",
            "user %s may not %s on %s", c->redis_user ? c->redis_user : "default", lacks,
            key);
    else
        findings_tell(f, GOOD, EXIT_CODE_OK, "redis rights", NULL,
                      "user %s may add, trim and run scripts on %s",
                      c->redis_user ? c->redis_user : "default", key);
}

static bool
says(struct span info, const char *line)
{
    char text[64];
    int len = snprintf(text, sizeof text, "%s\r\n", line);

    return memmem(info.at, info.len, text, (size_t)len) != NULL;
}

static void
examine_persistence(struct findings *f, struct span info)
{
    if (says(info, "aof_last_write_status:err") ||
        says(info, "rdb_last_bgsave_status:err"))
        findings_tell(f, WRONG, EXIT_CODE_UNAVAILABLE, "redis disk",
                      "look at Redis's log and disk; until then it refuses writes and "
                      "deliveries wait in the journal",
                      "Redis could not write its last file");
    if (says(info, "maxmemory:0"))
        findings_tell(f, WARNING, EXIT_CODE_OK, "redis memory",
                      "set maxmemory with maxmemory-policy noeviction: then a full Redis "
                      "refuses, and deliveries wait in the journal",
                      "maxmemory is not set: Redis grows until the kernel kills it");
    if (says(info, "aof_enabled:0") && says(info, "connected_slaves:0"))
        findings_tell(
            f, WARNING, EXIT_CODE_OK, "redis loss",
            "set appendonly yes, or run a replica; journal.keep bounds what can "
            "be sent again",
            "neither an append-only file nor a replica: a crash loses what came "
            "since the last snapshot");
}

static void
examine_dead(struct findings *f, struct redis *r)
{
    char key[SCRIPT_KEY];
    struct err err;

    script_key(key, f->cli->config->redis_namespace, SPAN("dead"));
    int64_t kept = redis_reply_number(redis_ask(r, &err, "XLEN", key, NULL));
    if (kept > 0)
        findings_tell(f, WARNING, EXIT_CODE_OK, "dead letters",
                      "acrelay dead list; after a look dead replay, or dead drop",
                      "%lld deliveries could not be read and are kept", (long long)kept);
}

static void
examine_redis(struct findings *f)
{
    struct err err = {0};
    struct redis *r = config_redis(f->cli->config, &err);

    if (!r)
        return; // told by check
    examine_time(f, r);
    examine_rights(f, r);
    examine_dead(f, r);
    const struct redis_reply *reply = redis_ask(r, &err, "INFO", NULL);
    if (reply && redis_reply_kind(reply) != REDIS_ERROR)
        examine_persistence(f, redis_reply_text(reply));
    redis_close(r);
}

// --- the running programs -------------------------------------------------------------------

// Whether deliveries are taken now.
static void
examine_journal(struct findings *f, const struct buf *page)
{
    double room = page_metric(page, "acrelay_journal_free_bytes");
    char text[32];

    text_bytes(text, sizeof text, room > 0 ? (uint64_t)room : 0);
    if (page_says_refusing(&f->cli->config->receiver_admin))
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

// What the running receiver has loaded, against the file.
static void
examine_settings(struct findings *f, const struct buf *page)
{
    const struct config *c = f->cli->config;
    struct err err;

    if (page_metric(page, "acrelay_config_last_reload_successful") == 0)
        findings_tell(
            f, WRONG, EXIT_CODE_CONFIG, "settings",
            "the receiver's log says why; mend it and reload again, or restart "
            "where a setting needs it",
            "the receiver refused the last reload and goes on with what it had");
    struct secrets *s = secrets_load(c, &err);
    for (size_t i = 0; s && i < c->hooks_len; i++) {
        struct buf path;
        buf_init(&path, 4096);
        secrets_url(s, 0, "", span_of(c->hooks[i].name), &path);
        bool refused = config_takes(c, buf_text(&path)) == 0;
        if (refused)
            findings_tell(
                f, WRONG, EXIT_CODE_CONFIG, "settings",
                "reload acrelayd; restart it for a new secret under the units",
                "the receiver answers 404 to the URL of hook %s under the first "
                "secret: it has not loaded them",
                c->hooks[i].name);
        secret_wipe(&path);
        if (refused)
            break; // the others have the same cause
    }
    secrets_release(s);
}

static void
examine_relay(struct findings *f, const struct buf *page)
{
    double waiting = page_metric(page, "acrelay_journal_unpublished_records");
    double age = page_metric(page, "acrelay_journal_oldest_unpublished_age_seconds");
    char text[32];

    text_duration(text, sizeof text, (int64_t)(age * 1000));
    if (page_metric(page, "acrelay_redis_up") == 0)
        findings_tell(f, WRONG, EXIT_CODE_UNAVAILABLE, "relay",
                      "bring Redis back; the journal is sent by itself then",
                      "Redis does not answer the receiver; %.0f deliveries wait in the "
                      "journal, the oldest for %s",
                      waiting, text);
    else if (page_metric(page, "acrelay_relay_shipping") == 0)
        findings_tell(
            f, WRONG, EXIT_CODE_UNAVAILABLE, "relay",
            "the receiver's log names Redis's answer; FENCED means another place "
            "ships this journal: see acrelay journal claim",
            "the relay has stopped; %.0f deliveries wait in the journal", waiting);
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
examine_counters(struct findings *f, const struct buf *page)
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
    };

    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        double n = page_metric(page, counters[i].metric);
        if (n > 0)
            findings_tell(f, WRONG, EXIT_CODE_FAILURE, "since start", counters[i].advice,
                          "%s: %.0f", counters[i].means, n);
    }
}

static void
examine_receiver(struct findings *f, const struct buf *page)
{
    if (page->len == 0) {
        findings_tell(
            f, WRONG, EXIT_CODE_UNAVAILABLE, "receiver",
            "systemctl status acrelayd; every delivery that nobody takes is lost",
            "acrelayd does not answer on %s", f->cli->config->receiver_admin.text);
        return;
    }
    examine_settings(f, page);
    examine_journal(f, page);
    examine_relay(f, page);
    examine_counters(f, page);
}

static void
examine_worker(struct findings *f)
{
    const struct config *c = f->cli->config;
    struct buf page;

    if (!c->account_api_url)
        return;
    page_fetch(&page, &c->worker_admin);
    if (page.len == 0)
        findings_tell(f, WARNING, EXIT_CODE_OK, "worker",
                      "systemctl status acrelay-worker; until then nobody notices a hook "
                      "that ActiveCampaign switched off",
                      "acrelay-worker does not answer on %s", c->worker_admin.text);
    else if (page_metric(&page, "acrelay_hook_silent") > 0)
        findings_tell(f, WRONG, EXIT_CODE_FAILURE, "hooks",
                      "acrelay status names them; acrelay-worker recreate HOOK makes one "
                      "anew",
                      "%.0f hooks are silent for longer than expect_every",
                      page_metric(&page, "acrelay_hook_silent"));
    else
        findings_tell(f, GOOD, EXIT_CODE_OK, "worker", NULL,
                      "it runs, and no hook is silent");
    double throttled = page_metric(&page, "acrelay_api_throttles_total");
    if (throttled > THROTTLES)
        findings_tell(f, WARNING, EXIT_CODE_OK, "api rate",
                      "lower worker.api_rate, or find who else uses the account's API: "
                      "ActiveCampaign allows 5 requests a second to all together",
                      "ActiveCampaign said %.0f times that requests come too fast",
                      throttled);
    else if (page.len > 0)
        findings_tell(f, GOOD, EXIT_CODE_OK, "api rate", NULL,
                      "at most %g requests a second, %.0f were refused as too many",
                      c->worker_api_rate, throttled);
    buf_release(&page);
}

int
cli_doctor(struct cli *c)
{
    struct findings f = {.cli = c};
    bool offline = options_has(c->options, "offline");
    struct buf page;

    check_all(&f, false);
    if (!c->config)
        return findings_end(&f);
    page_fetch(&page, &c->config->receiver_admin);
    examine_disk(&f, &page);
    examine_clock(&f);
    examine_redis(&f);
    examine_receiver(&f, &page);
    buf_release(&page);
    examine_worker(&f);
    if (!offline) {
        outside_account(&f);
        outside_public_url(&f);
    }
    return findings_end(&f);
}
