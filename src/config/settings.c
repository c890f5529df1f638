// The table of settings, from which come the reader, the example file, the manual's list and that
// of `check --print settings`; the rules over more than one setting, and over a reload.
#include "config/value.h"

#include <stddef.h>
#include <stdio.h>

#define AT(field) offsetof(struct config, field)
#define DAY_US 86400e6
#define WORD "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

const struct setting config_settings[] = {
    {"account.name", AT(account_name), &value_name,
     "Name of the ActiveCampaign account; appears in ce_source.", .example = "acme",
     .required = true, .restart = true},
    {"account.api_url", AT(account_api_url), &value_api_url,
     "API URL from ActiveCampaign's developer settings page. Required by the worker.",
     .example = "https://acme.api-us1.com"},
    {"account.api_token_file", AT(account_api_token_file), &value_file,
     "File with the API token; a relative path is resolved in $CREDENTIALS_DIRECTORY, or "
     "else in the directory of this file. Only the worker opens it.",
     .example = "api-token"},
    {"account.time_zone", AT(account_time_zone), &value_zone,
     "Time zone of times from ActiveCampaign that have no offset.",
     .example = "America/Chicago", .restart = true},
    {"public_url", AT(public_url), &value_public_url,
     "URL at which ActiveCampaign reaches the proxy in front of the receiver.",
     .example = "https://hooks.acme.example", .required = true},
    {"previous_public_urls", AT(previous_public_urls), &value_public_urls,
     .sentence = "Earlier values of public_url; webhooks there belong to acrelay too."},
    {"secret_files", AT(secret_files), &value_files,
     "Files with the secrets from which hook tokens are derived, newest first; all are "
     "accepted.",
     .example = "[hook-secret]", .required = true},
    {"admin_hosts", AT(admin_hosts), &value_hosts,
     "Host names that the admin listeners answer to, besides IP addresses and localhost.",
     .example = "[receiver]"},
    {"redis.url", AT(redis_url), &value_redis_url,
     "redis://HOST:PORT/DATABASE, or unix:///PATH?db=DATABASE.",
     .fallback = "redis://127.0.0.1:6379/0", .restart = true},
    {"redis.user", AT(redis_user), &value_name, "Redis ACL user; requires password_file.",
     .example = "acrelay", .restart = true},
    {"redis.password_file", AT(redis_password_file), &value_file,
     "File with the Redis password.", .example = "redis-password", .restart = true},
    {"redis.namespace", AT(redis_namespace), &value_namespace,
     "Hash tag of all Redis keys, as in {ac}:events.", .fallback = "ac", .restart = true},
    {"redis.retain.age", AT(redis_retain_age_us), &value_duration_us,
     "Stream entries older than this are trimmed (by the clock of Redis, to the hour).",
     .fallback = "7d", .min = 60e6, .max = 3650 * DAY_US},
    {"redis.retain.entries", AT(redis_retain_entries), &value_count,
     "Each stream is trimmed to this many entries.", .fallback = "1000000", .min = 1000,
     .max = 1e12},
    {"redis.retain.dead", AT(redis_retain_dead_us), &value_duration_us,
     "Dead letters older than this are trimmed, and an alarm reports it.",
     .fallback = "90d", .min = 60e6, .max = 3650 * DAY_US},
    {"receiver.listen", AT(listen), &value_addresses,
     "Addresses on which posts are received: IPv4, IPv6 or unix sockets (unix:/path).",
     .fallback = "[127.0.0.1:8080]", .restart = true},
    {"receiver.admin", AT(receiver_admin), &value_address,
     "Address of the receiver's health checks and metrics; must not be public.",
     .fallback = "127.0.0.1:9180", .restart = true},
    {"receiver.state_dir", AT(state_dir), &value_path,
     "Directory of the journal, on a local disk; for /etc/acrelay/NAME.yaml the default "
     "is "
     "/var/lib/acrelay-NAME.",
     .fallback = "/var/lib/acrelay", .restart = true},
    {"receiver.instance", AT(instance), &value_name,
     "Name of this installation: with state_dir it owns the cursor in Redis, so that a "
     "copied state_dir publishes nothing elsewhere. The default is the machine id, or "
     "the host name where there is none. A change needs acrelay journal claim.",
     .example = "receiver-0", .restart = true},
    {"receiver.body_max", AT(body_max), &value_size,
     "Larger bodies are answered with 413.", .fallback = "1MiB", .min = 1024,
     .max = 16777216},
    {"receiver.threads", AT(threads), &value_int,
     "Number of connections served at the same time.", .fallback = "128", .min = 4,
     .max = 1024, .restart = true},
    {"receiver.request_timeout", AT(request_timeout_ms), &value_duration_ms,
     "A request that is not complete within this time is answered with 408.",
     .fallback = "10s", .min = 100e3, .max = 300e6, .restart = true},
    {"receiver.ack_timeout", AT(ack_timeout_ms), &value_duration_ms,
     "A delivery that is not durable within this time is answered with 503.",
     .fallback = "4s", .min = 100e3, .max = 60e6},
    {"journal.keep", AT(journal_keep_us), &value_duration_us,
     "Published records are kept this long, so that they can be sent again if Redis "
     "loses data.",
     .fallback = "24h", .max = 3650 * DAY_US, .restart = true},
    {"journal.keep_max", AT(journal_keep_max), &value_size,
     "Published records are kept up to this total size.", .fallback = "1GiB", .max = 1e15,
     .restart = true},
    {"journal.max", AT(journal_max), &value_size,
     "Maximum size of the journal; by default 8GiB or half of the file system, whichever "
     "is smaller.",
     .example = "8GiB", .min = 50331648, .max = 1e15, .restart = true},
    {"journal.lock_wait", AT(journal_lock_wait_ms), &value_duration_ms,
     "How long a starting receiver waits for the previous one to release the journal.",
     .fallback = "30s", .max = 3600e6},
    {"duplicates.window", AT(duplicates_window_us), &value_duration_us,
     "How long deliveries are remembered to detect duplicates.", .fallback = "1h",
     .min = 1e6, .max = 30 * DAY_US, .restart = true},
    {"duplicates.max", AT(duplicates_max), &value_count,
     "How many deliveries are remembered; beyond this, duplicate detection pauses.",
     .fallback = "1000000", .max = 1e9},
    {"worker.admin", AT(worker_admin), &value_address,
     "Address of the worker's health checks and metrics.", .fallback = "127.0.0.1:9181",
     .restart = true},
    {"worker.interval", AT(worker_interval_ms), &value_duration_ms,
     "How often the webhooks at ActiveCampaign are checked.", .fallback = "5m",
     .min = 1e6, .max = DAY_US},
    {"worker.api_rate", AT(worker_api_rate), &value_rate,
     "Maximum API requests per second; ActiveCampaign allows 5 for the whole account.",
     .fallback = "4", .min = 0.01, .max = 5},
    {"worker.prune", AT(worker_prune), &value_bool,
     "Remove acrelay's webhooks that are no longer in this file.", .fallback = "false"},
    {"worker.leader", AT(worker_leader_redis), &value_leader,
     "How several workers elect a leader: local (a file lock) or redis (a lease).",
     .fallback = "local", .restart = true},
    {0}};

#undef AT
#define AT(field) offsetof(struct config_hook, field)

const struct setting hook_settings[] = {
    {"name", AT(name), &value_hook_name, "Name of the hook, used in its URL.",
     .example = "contacts", .required = true},
    {"label", AT(label), &value_label,
     "Name shown at ActiveCampaign; the default is \"acrelay\" and the name.",
     .example = "My Hook"},
    {"events", AT(events), &value_events, "Event types that trigger the hook.",
     .example = "[subscribe, unsubscribe, sent]", .required = true},
    {"sources", AT(sources), &value_sources, "Sources of events that trigger the hook.",
     .fallback = "[public, admin, api, system]"},
    {"list", AT(lists), &value_lists, "Id of a list, several ids, or 0 for all lists.",
     .fallback = "0"},
    {"stream", AT(stream), &value_stream,
     "Stream to which the events are added, as in {ac}:events.", .fallback = "events"},
    {"duplicates", AT(duplicates), &value_duplicates,
     "What to do with duplicates: mark, drop or keep them.", .fallback = "mark"},
    {"include_raw", AT(include_raw), &value_bool,
     "Also add the body as received to the entry.", .fallback = "false"},
    {"expect_every", AT(expect_every_us), &value_duration_us,
     "Report the hook if it has been silent for longer than this.", .example = "1d",
     .min = 1e6, .max = 3650 * DAY_US},
    {"repair", AT(repair), &value_bool,
     "Recreate the webhook if it has been silent for longer than expect_every.",
     .fallback = "false"},
    {"adopt", AT(adopt), &value_count,
     "Id of an existing webhook at ActiveCampaign that apply turns into this one.",
     .min = 1, .max = 1e18},
    {0}};

// --- what fits together ---------------------------------------------------------------------------

// At the place of a setting, or at the start of the file where it is not set.
static void
report(struct reading *r, enum problem_kind kind, const char *path, const char *value,
       const char *text)
{
    struct place at = {1, 1};

    for (size_t i = 0; config_settings[i].path; i++)
        if (strcmp(config_settings[i].path, path) == 0 && r->places[i].line)
            at = r->places[i];
    problem_add(r, kind, at, "%s: %s%s", path, value, text);
}

static void
check_partners(struct reading *r, const struct config *c)
{
    if (c->redis_user && !c->redis_password_file)
        report(r, ERROR, "redis.user", "", "a user also requires redis.password_file");
    if (c->account_api_token_file && !c->account_api_url)
        report(r, ERROR, "account.api_token_file", "",
               "a token also requires account.api_url");
    if (c->account_api_url && !c->account_api_token_file)
        report(r, ERROR, "account.api_url", "",
               "the API also requires account.api_token_file");
    if (c->journal_max && c->journal_keep_max > c->journal_max)
        report(r, ERROR, "journal.keep_max", "",
               "more than journal.max, the maximum size of the journal");
}

static void
check_pair(struct reading *r, const char *path, const struct socket_address *a,
           const struct socket_address *b)
{
    if (strcmp(a->text, b->text) == 0)
        report(r, ERROR, path, a->text, " is used twice, here or by another setting");
}

static void
check_admin(struct reading *r, const char *path, const struct socket_address *a)
{
    if (!a->path && !sockets_is_private(&a->at))
        report(r, WARNING, path, a->text,
               " can be reached from elsewhere: anyone who can connect reads hook names "
               "and metrics; use a loopback or private address");
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
report_hook(struct reading *r, const struct config_hook *hook, const char *text)
{
    problem_add(r, ERROR, hook->at, "hook %s: %s", hook->name, text);
}

static void
check_hook(struct reading *r, const struct config *c, const struct config_hook *hook)
{
    if (hook->repair && hook->expect_every_us == 0)
        report_hook(r, hook, "repair also requires expect_every");
    if (hook->adopt && hook->lists.len > 1)
        report_hook(
            r, hook,
            "adopt names a single webhook at ActiveCampaign, but list has several ids");
    for (const struct config_hook *h = c->hooks; hook->adopt && h < hook; h++)
        if (h->adopt == hook->adopt)
            report_hook(r, hook, "another hook already adopts that id");
}

void
settings_check(struct reading *r)
{
    const struct config *c = r->config;

    check_partners(r, c);
    check_addresses(r, c);
    if (c->streams.len > CONFIG_STREAMS_MAX)
        report_hook(r, &c->hooks[c->hooks_len - 1],
                    "more than 62 different streams: let hooks share streams; consumers "
                    "can distinguish them by ce_source");
    for (size_t i = 0; i < c->hooks_len; i++)
        check_hook(r, c, &c->hooks[i]);
}

// --- which changes need a restart ----------------------------------------------------------------

static bool
same_setting(const struct setting *s, const struct config *a, const struct config *b)
{
    const struct value_field *field = s->type->field;
    const char *x = (const char *)a + s->offset, *y = (const char *)b + s->offset;
    const char *const *text = (const void *)x, *const *other = (const void *)y;

    if (field->same)
        return field->same(x, y);
    if (!field->is_text)
        return memcmp(x, y, field->size) == 0;
    return *text == *other || (*text && *other && strcmp(*text, *other) == 0);
}

static bool
is_in(const struct setting *s, const char *const *sections)
{
    for (; sections && *sections; sections++)
        if (strncmp(s->path, *sections, strlen(*sections)) == 0)
            return true;
    return !sections;
}

int
config_check_reload(const struct config *now, const struct config *next,
                    const char *const *sections, struct err *err)
{
    struct buf names;

    buf_init(&names, 4000);
    for (const struct setting *s = config_settings; s->path; s++)
        if (s->restart && is_in(s, sections) && !same_setting(s, now, next))
            buf_add_format(&names, "%s%s", names.len ? ", " : "", s->path);
    int result =
        names.len == 0
            ? 0
            : err_set(err, ERR_INPUT, "a change of %s needs a restart", buf_text(&names));
    buf_release(&names);
    return result;
}

// --- documents ---------------------------------------------------------------------------------

// Required settings are live lines; the rest is commented out, with its default or an example.
static void
write_line(struct buf *to, int indent, const char *name, const struct setting *s)
{
    const char *value = s->example ? s->example : s->fallback ? s->fallback : "[]";

    buf_add_format(to, "%*s# %s\n", indent, "", s->sentence);
    buf_add_format(to, "%*s# Expected: %s.%s%s%s\n", indent, "", s->type->expected,
                   s->fallback ? " Default: " : "", s->fallback ? s->fallback : "",
                   s->fallback ? "." : "");
    buf_add_format(to, "%*s%s%s: %s\n", indent, "", s->required ? "" : "#", name, value);
}

// Opens the sections of a path that differ from the one before and returns its last name.
static const char *
open_sections(struct buf *to, const char *before, const char *path, int *indent)
{
    const char *name = path, *dot;

    *indent = 0;
    while ((dot = strchr(name, '.'))) {
        size_t len = (size_t)(dot + 1 - path);
        if (strncmp(before, path, len) != 0)
            buf_add_format(to, "%s%*s%.*s:\n", *indent ? "" : "\n", *indent, "",
                           (int)(dot - name), name);
        *indent += 2;
        name = dot + 1;
    }
    if (*indent == 0)
        buf_add_text(to, "\n");
    return name;
}

static void
write_example(struct buf *to)
{
    const char *before = "";
    int indent;

    buf_add_text(
        to,
        "# acrelay: example configuration, generated from the table of settings.\n"
        "# A setting that is commented out shows its default, or an example if it "
        "has none.\n"
        "# ${NAME} and ${NAME:-text} in a value are replaced from the environment.\n");
    for (const struct setting *s = config_settings; s->path; s++) {
        const char *name = open_sections(to, before, s->path, &indent);
        write_line(to, indent, name, s);
        before = s->path;
    }
    buf_add_text(to, "\nhooks:\n  -\n");
    for (const struct setting *s = hook_settings; s->path; s++)
        write_line(to, 4, s->path, s);
}

static const char *
find_value(const struct config_line *lines, const char *path)
{
    while (lines->path && strcmp(lines->path, path) != 0)
        lines++;
    return lines->path ? lines->value : NULL;
}

// Quoted where YAML could take it for anything but a plain word.
static void
write_value(struct buf *to, const char *value)
{
    size_t len = strlen(value), plain = strspn(value, WORD "/:.-");
    const char *quote = len && plain == len && value[len - 1] != ':' ? "" : "'";

    buf_add_text(to, quote);
    for (const char *c = value; *c; c++) {
        buf_add_byte(to, *c);
        if (*quote && *c == '\'')
            buf_add_byte(to, *c);
    }
    buf_add_text(to, quote);
}

void
config_write_lines(const struct config_line *lines, struct buf *to)
{
    const char *before = "";
    int indent;

    for (const struct setting *s = config_settings; s->path; s++) {
        const char *value = find_value(lines, s->path);
        bool is_list = s->type->field->item_size > 0;
        if (!value)
            continue;
        const char *name = open_sections(to, before, s->path, &indent);
        buf_add_format(to, "%*s# %s\n%*s%s: %s", indent, "", s->sentence, indent, "",
                       name, is_list ? "[" : "");
        write_value(to, value);
        buf_add_text(to, is_list ? "]\n" : "\n");
        before = s->path;
    }
}

// Text in mdoc: a sentence begins a line, a line has at most 78 bytes and does not begin with
// what would be a macro.
static void
write_mdoc(struct buf *to, struct span text)
{
    size_t column = 0;

    while (text.len > 0) {
        struct span word = span_cut(&text, ' ');
        if (column > 0 && column + 1 + word.len > 78)
            column = 0, buf_add_byte(to, '\n');
        else if (column > 0)
            column++, buf_add_byte(to, ' ');
        if (column == 0 && (span_starts(word, SPAN(".")) || span_starts(word, SPAN("'"))))
            buf_add_text(to, "\\&");
        buf_add(to, word);
        column += word.len;
        if (word.len > 0 && word.at[word.len - 1] == '.' && !span_is(word, "..."))
            column = 0, buf_add_byte(to, '\n');
    }
    if (column > 0)
        buf_add_byte(to, '\n');
}

static void
write_manual_table(struct buf *to, const struct setting *table, const char *prefix)
{
    for (const struct setting *s = table; s->path; s++) {
        char expected[512];
        snprintf(expected, sizeof expected, "Expected: %s.", s->type->expected);
        buf_add_format(to, ".It Ic %s%s\n", prefix, s->path);
        write_mdoc(to, span_of(s->sentence));
        write_mdoc(to, span_of(expected));
        if (s->fallback)
            buf_add_format(to, "Default: %s.\n", s->fallback);
        if (s->required)
            buf_add_text(to, "Required.\n");
        if (s->restart)
            buf_add_text(to, "A change needs a restart.\n");
    }
}

static void
write_manual(struct buf *to)
{
    buf_add_text(to, ".Bl -tag -width Ds\n");
    write_manual_table(to, config_settings, "");
    write_manual_table(to, hook_settings, "hooks[].");
    buf_add_text(to, ".El\n");
}

static void
write_help(struct buf *to)
{
    for (const struct setting *s = config_settings; s->path; s++)
        buf_add_format(to, "  %-28s %s\n", s->path, s->sentence);
    for (const struct setting *s = hook_settings; s->path; s++)
        buf_add_format(to, "  hooks[].%-20s %s\n", s->path, s->sentence);
}

int
config_write(enum config_document document, struct buf *to)
{
    static void (*const writers[])(struct buf *) = {
        [CONFIG_EXAMPLE] = write_example,
        [CONFIG_MANUAL] = write_manual,
        [CONFIG_HELP] = write_help,
    };

    writers[document](to);
    return to->full ? -1 : 0;
}
