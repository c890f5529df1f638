// The table of settings, from which come the reader, the example file, the manual's list and that
// of `check --print settings`; and the rules over more than one setting.
#include "config/value.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define AT(field) offsetof(struct config, field)
#define DAY_US 86400e6

const struct setting config_settings[] = {
    {"account.name", AT(account_name), &value_name, NULL, "acme", 0, 0, true, true,
     "Name of the ActiveCampaign account; appears in ce_source."},
    {"account.api_url", AT(account_api_url), &value_api_url, NULL,
     "https://acme.api-us1.com", 0, 0, false, false,
     "API URL from ActiveCampaign's developer settings page. Required by the worker."},
    {"account.api_token_file", AT(account_api_token_file), &value_file, NULL, "api-token",
     0, 0, false, false,
     "File with the API token; a relative path is resolved in $CREDENTIALS_DIRECTORY, or "
     "else in the directory of this file. Only the worker opens it."},
    {"account.time_zone", AT(account_time_zone), &value_zone, NULL, "America/Chicago", 0,
     0, false, true, "Time zone of times from ActiveCampaign that have no offset."},
    {"public_url", AT(public_url), &value_public_url, NULL, "https://hooks.acme.example",
     0, 0, true, false,
     "URL at which ActiveCampaign reaches the proxy in front of the receiver."},
    {"previous_public_urls", AT(previous_public_urls), &value_public_urls, NULL, NULL, 0,
     0, false, false,
     "Earlier values of public_url; webhooks there belong to acrelay too."},
    {"secret_files", AT(secret_files), &value_files, NULL, "[hook-secret]", 0, 0, true,
     false,
     "Files with the secrets from which hook tokens are derived, newest first; all are "
     "accepted."},
    {"admin_hosts", AT(admin_hosts), &value_hosts, NULL, "[receiver]", 0, 0, false, false,
     "Host names that the admin listeners answer to, besides IP addresses and "
     "localhost."},
    {"redis.url", AT(redis_url), &value_redis_url, "redis://127.0.0.1:6379/0", NULL, 0, 0,
     false, true, "redis://HOST:PORT/DATABASE, or unix:///PATH?db=DATABASE."},
    {"redis.user", AT(redis_user), &value_name, NULL, "acrelay", 0, 0, false, true,
     "Redis ACL user; requires password_file."},
    {"redis.password_file", AT(redis_password_file), &value_file, NULL, "redis-password",
     0, 0, false, true, "File with the Redis password."},
    {"redis.namespace", AT(redis_namespace), &value_namespace, "ac", NULL, 0, 0, false,
     true, "Hash tag of all Redis keys, as in {ac}:events."},
    {"redis.retain.age", AT(redis_retain_age_us), &value_duration_us, "7d", NULL, 60e6,
     3650 * DAY_US, false, false,
     "Stream entries older than this are trimmed (by the clock of Redis, to the hour)."},
    {"redis.retain.entries", AT(redis_retain_entries), &value_count, "1000000", NULL,
     1000, 1e12, false, false, "Each stream is trimmed to this many entries."},
    {"redis.retain.dead", AT(redis_retain_dead_us), &value_duration_us, "90d", NULL, 60e6,
     3650 * DAY_US, false, false,
     "Dead letters older than this are trimmed, and an alarm reports it."},
    {"receiver.listen", AT(listen), &value_addresses, "[127.0.0.1:8080]", NULL, 0, 0,
     false, true,
     "Addresses on which posts are received: IPv4, IPv6 or unix sockets (unix:/path)."},
    {"receiver.admin", AT(receiver_admin), &value_address, "127.0.0.1:9180", NULL, 0, 0,
     false, true,
     "Address of the receiver's health checks and metrics; must not be public."},
    {"receiver.state_dir", AT(state_dir), &value_path, "/var/lib/acrelay", NULL, 0, 0,
     false, true, "Directory of the journal, on a local disk."},
    {"receiver.body_max", AT(body_max), &value_size, "1MiB", NULL, 1024, 16777216, false,
     false, "Larger bodies are answered with 413."},
    {"receiver.threads", AT(threads), &value_int, "128", NULL, 4, 1024, false, true,
     "Number of connections served at the same time."},
    {"receiver.request_timeout", AT(request_timeout_ms), &value_duration_ms, "10s", NULL,
     100e3, 300e6, false, true,
     "A request that is not complete within this time is answered with 408."},
    {"receiver.ack_timeout", AT(ack_timeout_ms), &value_duration_ms, "4s", NULL, 100e3,
     60e6, false, false,
     "A delivery that is not durable within this time is answered with 503."},
    {"journal.keep", AT(journal_keep_us), &value_duration_us, "24h", NULL, 0,
     3650 * DAY_US, false, true,
     "Published records are kept this long, so that they can be sent again if Redis "
     "loses data."},
    {"journal.keep_max", AT(journal_keep_max), &value_size, "1GiB", NULL, 0, 1e15, false,
     true, "Published records are kept up to this total size."},
    {"journal.max", AT(journal_max), &value_size, NULL, "8GiB", 50331648, 1e15, false,
     true,
     "Maximum size of the journal; by default 8GiB or half of the file system, whichever "
     "is smaller."},
    {"journal.lock_wait", AT(journal_lock_wait_ms), &value_duration_ms, "30s", NULL, 0,
     3600e6, false, false,
     "How long a starting receiver waits for the previous one to release the journal."},
    {"duplicates.window", AT(duplicates_window_us), &value_duration_us, "1h", NULL, 1e6,
     30 * DAY_US, false, true,
     "How long deliveries are remembered to detect duplicates."},
    {"duplicates.max", AT(duplicates_max), &value_count, "1000000", NULL, 0, 1e9, false,
     false,
     "How many deliveries are remembered; beyond this, duplicate detection pauses."},
    {"worker.admin", AT(worker_admin), &value_address, "127.0.0.1:9181", NULL, 0, 0,
     false, true, "Address of the worker's health checks and metrics."},
    {"worker.interval", AT(worker_interval_ms), &value_duration_ms, "5m", NULL, 1e6,
     DAY_US, false, false, "How often the webhooks at ActiveCampaign are checked."},
    {"worker.api_rate", AT(worker_api_rate), &value_rate, "4", NULL, 0.01, 5, false,
     false,
     "Maximum API requests per second; ActiveCampaign allows 5 for the whole account."},
    {"worker.prune", AT(worker_prune), &value_bool, "false", NULL, 0, 0, false, false,
     "Remove acrelay's webhooks that are no longer in this file."},
    {"worker.leader", AT(worker_leader_redis), &value_leader, "local", NULL, 0, 0, false,
     true, "How several workers elect a leader: local (a file lock) or redis (a lease)."},
    {0}};

#undef AT
#define AT(field) offsetof(struct config_hook, field)

const struct setting hook_settings[] = {
    {"name", AT(name), &value_hook_name, NULL, "contacts", 0, 0, true, false,
     "Name of the hook, used in its URL."},
    {"label", AT(label), &value_label, NULL, "My Hook", 0, 0, false, false,
     "Name shown at ActiveCampaign; the default is \"acrelay\" and the name."},
    {"events", AT(events), &value_events, NULL, "[subscribe, unsubscribe, sent]", 0, 0,
     true, false, "Event types that trigger the hook."},
    {"sources", AT(sources), &value_sources, "[public, admin, api, system]", NULL, 0, 0,
     false, false, "Sources of events that trigger the hook."},
    {"list", AT(lists), &value_lists, "0", NULL, 0, 0, false, false,
     "Id of a list, several ids, or 0 for all lists."},
    {"stream", AT(stream), &value_stream, "events", NULL, 0, 0, false, false,
     "Stream to which the events are added, as in {ac}:events."},
    {"duplicates", AT(duplicates), &value_duplicates, "mark", NULL, 0, 0, false, false,
     "What to do with duplicates: mark, drop or keep them."},
    {"include_raw", AT(include_raw), &value_bool, "false", NULL, 0, 0, false, false,
     "Also add the body as received to the entry."},
    {"expect_every", AT(expect_every_us), &value_duration_us, NULL, "1d", 1e6,
     3650 * DAY_US, false, false,
     "Report the hook if it has been silent for longer than this."},
    {"repair", AT(repair), &value_bool, "false", NULL, 0, 0, false, false,
     "Recreate the webhook if it has been silent for longer than expect_every."},
    {"adopt", AT(adopt), &value_count, NULL, NULL, 1, 1e18, false, false,
     "Id of an existing webhook at ActiveCampaign that apply turns into this one."},
    {0}};

// --- what fits together ---------------------------------------------------------------------------

// At the place of a setting, or at the start of the file where it is not set.
__attribute__((format(printf, 4, 5))) static void
report(struct reading *r, enum problem_kind kind, const char *path, const char *format,
       ...)
{
    struct place at = {1, 1};
    char text[600];
    va_list args;

    for (size_t i = 0; config_settings[i].path; i++)
        if (strcmp(config_settings[i].path, path) == 0 && r->places[i].line)
            at = r->places[i];
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    problem_add(r, kind, at, "%s: %s", path, text);
}

static void
report_hook(struct reading *r, const struct config_hook *hook, const char *text)
{
    problem_add(r, ERROR, (struct place){hook->line, hook->column}, "hook %s: %s",
                hook->name, text);
}

static void
check_redis(struct reading *r, const struct config *c)
{
    if (c->redis_user && !c->redis_password_file)
        report(r, ERROR, "redis.user", "a user needs redis.password_file too");
}

static void
check_account(struct reading *r, const struct config *c)
{
    if (c->account_api_token_file && !c->account_api_url)
        report(r, ERROR, "account.api_token_file", "a token needs account.api_url too");
    if (c->account_api_url && !c->account_api_token_file)
        report(r, ERROR, "account.api_url", "the API needs account.api_token_file too");
}

static void
check_journal(struct reading *r, const struct config *c)
{
    if (c->journal_max && c->journal_keep_max > c->journal_max)
        report(r, ERROR, "journal.keep_max",
               "more is to be kept than journal.max allows the journal to hold");
}

static void
check_pair(struct reading *r, const char *path, const struct socket_address *a,
           const struct socket_address *b)
{
    if (strcmp(a->text, b->text) == 0)
        report(r, ERROR, path, "%s is used twice, here or by another setting", a->text);
}

static void
check_admin(struct reading *r, const char *path, const struct socket_address *a)
{
    if (!a->path && !sockets_is_private(&a->at))
        report(
            r, WARNING, path,
            "%s can be reached from elsewhere: whoever can connect reads hook names and "
            "figures; use a loopback or private address",
            a->text);
}

static void
check_addresses(struct reading *r, const struct config *c)
{
    for (size_t i = 0; i < c->listen.len; i++) {
        for (size_t k = 0; k < i; k++)
            check_pair(r, "receiver.listen", &c->listen.at[i], &c->listen.at[k]);
        check_pair(r, "receiver.admin", &c->receiver_admin, &c->listen.at[i]);
        check_pair(r, "worker.admin", &c->worker_admin, &c->listen.at[i]);
    }
    check_pair(r, "worker.admin", &c->worker_admin, &c->receiver_admin);
    check_admin(r, "receiver.admin", &c->receiver_admin);
    check_admin(r, "worker.admin", &c->worker_admin);
}

static void
check_hook(struct reading *r, const struct config *c, const struct config_hook *hook)
{
    if (hook->repair && hook->expect_every_us == 0)
        report_hook(r, hook, "repair needs expect_every too");
    if (hook->adopt && hook->lists.len > 1)
        report_hook(r, hook, "adopt names one hook at ActiveCampaign, list several");
    for (const struct config_hook *h = c->hooks; hook->adopt && h < hook; h++)
        if (h->adopt == hook->adopt)
            report_hook(r, hook, "another hook adopts that id already");
}

static void
check_streams(struct reading *r, const struct config *c)
{
    if (c->streams.len > CONFIG_STREAMS_MAX)
        report_hook(r, &c->hooks[c->hooks_len - 1],
                    "more than 62 different streams: let hooks share some, "
                    "consumers tell them by ce_source");
}

void
settings_check(struct reading *r)
{
    const struct config *c = r->config;

    check_redis(r, c);
    check_account(r, c);
    check_journal(r, c);
    check_addresses(r, c);
    check_streams(r, c);
    for (size_t i = 0; i < c->hooks_len; i++)
        check_hook(r, c, &c->hooks[i]);
}
