// The table of settings, from which come the reader and the documents (documents.c); the rules over
// more than one setting, and over a reload.
#include "base/text.h"
#include "config/value.h"

// memory, aof, or replicas=N.
static const char *
read_confirm(const struct value *v)
{
    struct span text = span_of(v->text), name = span_cut(&text, '=');
    uint64_t replicas = 0;

    if (strcmp(v->text, "aof") == 0)
        *(int *)v->field = CONFIG_CONFIRM_AOF;
    else if (strcmp(v->text, "memory") == 0)
        *(int *)v->field = CONFIG_CONFIRM_MEMORY;
    else if (!span_is(name, "replicas") || !text_number(&replicas, text, 100) ||
             replicas == 0)
        return "not one of the choices";
    else
        *(int *)v->field = (int)replicas;
    return NULL;
}

static const struct value_field confirm_field = {.size = sizeof(int)};
static const struct value_type value_confirm = {"memory, aof or replicas=N (1 to 100)",
                                                read_confirm, .field = &confirm_field};

#define AT(field) offsetof(struct config, field)
#define DAY_US 86400e6

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
     "The Redis server, its sentinels, or the nodes of a Redis Cluster; rediss:// and "
     "rediss+ use TLS.",
     .fallback = "redis://127.0.0.1:6379/0", .restart = true},
    {"redis.url_file", AT(redis_url_file), &value_file,
     "File with the URL, instead of redis.url, if it contains a user and password, as "
     "those of hosted services do.",
     .example = "redis-url", .restart = true},
    {"redis.user", AT(redis_user), &value_name, "Redis ACL user; requires password_file.",
     .example = "acrelay", .restart = true},
    {"redis.password_file", AT(redis_password_file), &value_file,
     "File with the Redis password.", .example = "redis-password", .restart = true},
    {"redis.sentinel.user", AT(redis_sentinel_user), &value_name,
     "ACL user at the sentinels; requires sentinel.password_file.", .example = "acrelay",
     .restart = true},
    {"redis.sentinel.password_file", AT(redis_sentinel_password_file), &value_file,
     "File with the password of the sentinels, which never get redis.password_file.",
     .example = "sentinel-password", .restart = true},
    {"redis.tls.ca_file", AT(redis_tls_ca_file), &value_pem,
     "File with the certificate authorities (PEM) that sign the server's certificate, "
     "instead of those of the system.",
     .example = "/etc/acrelay/redis-ca.pem", .restart = true},
    {"redis.tls.cert_file", AT(redis_tls_cert_file), &value_pem,
     "Client certificate (PEM), if the server requires one.",
     .example = "redis-client.pem", .restart = true},
    {"redis.tls.key_file", AT(redis_tls_key_file), &value_pem,
     "Private key (PEM) of cert_file.", .example = "redis-client.key", .restart = true},
    {"redis.tls.server_name", AT(redis_tls_server_name), &value_host,
     "Name that must be in the server's certificate, if it is not the URL's host.",
     .example = "redis.acme.example", .restart = true},
    {"redis.namespace", AT(redis_namespace), &value_namespace,
     "Hash tag of all Redis keys, as in {ac}:events.", .fallback = "ac", .restart = true},
    {"redis.partitions", AT(redis_partitions), &value_int,
     "Spread events by subject over this many partitions, each with keys of its own, as "
     "in "
     "{ac.0}:events; 1 is {ac}:events. May be changed at any time, in both directions.",
     .fallback = "1", .min = 1, .max = CONFIG_PARTITIONS_MAX, .restart = true},
    {"redis.confirm", AT(redis_confirm), &value_confirm,
     "When the journal may remove a record: once it is in the memory of Redis, of this "
     "many replicas, or in the append-only file (Redis 7.2 and Valkey).",
     .fallback = "memory", .restart = true},
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
     "Deliveries with larger bodies are answered with 413, and lost.", .fallback = "1MiB",
     .min = 1024, .max = 16777216},
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
     .fallback = "1000000", .min = 1, .max = 1e9},
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
    {"commands.rate", AT(commands_rate), &value_rate,
     "API requests per second that commands of services may use, out of worker.api_rate.",
     .fallback = "3", .min = 0.01, .max = 5},
    {"commands.max", AT(commands_max), &value_count,
     "How many commands of a service may wait; beyond this, the newest are refused.",
     .fallback = "100000", .min = 1, .max = 1000000},
    {"commands.retain.age", AT(commands_retain_age_us), &value_duration_us,
     "Results older than this are trimmed.", .fallback = "7d", .min = 60e6,
     .max = 3650 * DAY_US},
    {"commands.retain.entries", AT(commands_retain_entries), &value_count,
     "The results of each service are trimmed to this many, and so are the dead commands "
     "of all.",
     .fallback = "100000", .min = 1000, .max = 1e9},
    {"commands.retain.dead", AT(commands_retain_dead_us), &value_duration_us,
     "Dead commands older than this are trimmed.", .fallback = "90d", .min = 60e6,
     .max = 3650 * DAY_US},
    {0}};

#undef AT
#define AT(field) offsetof(struct config_service, field)

const struct setting service_settings[] = {
    {"name", AT(name), &value_service_name,
     "Name of the service: its commands are in {ac}:commands:NAME, its results in "
     "{ac}:results:NAME.",
     .example = "crm", .required = true},
    {"allow", AT(allow), &value_operations,
     "What it may update: first segments of paths, or operations (`acrelay put --list` "
     "shows both).",
     .example = "[contacts, fieldValues, Deal_updateStage]"},
    {"weight", AT(weight), &value_int,
     "Its share of the rate while other services have commands waiting too.",
     .fallback = "1", .min = 1, .max = 100},
    {0}};

#undef AT
#define AT(field) offsetof(struct config_hook, field)

const struct setting hook_settings[] = {
    {"name", AT(name), &value_hook_name, "Name of the hook, used in its URL.",
     .example = "contacts", .required = true},
    {"label", AT(label), &value_label,
     "Name shown at ActiveCampaign (default: acrelay NAME).", .example = "My Hook"},
    {"events", AT(events), &value_events, "Event types that trigger the hook.",
     .example = "[subscribe, unsubscribe, sent]", .required = true},
    {"sources", AT(sources), &value_sources, "Sources of events that trigger the hook.",
     .fallback = "[public, admin, api, system]"},
    {"list", AT(lists), &value_lists, "Id of a list, several ids, or 0 for all lists.",
     .fallback = "0"},
    {"stream", AT(stream), &value_stream,
     "Stream to which the events are added, as in {ac}:events.", .fallback = "events"},
    {"format", AT(format), &value_format,
     "CloudEvents mode of the entries of that stream: binary (a field for each "
     "attribute) or "
     "structured (the event as one JSON document). All hooks of a stream need the same.",
     .fallback = "binary"},
    {"duplicates", AT(duplicates), &value_duplicates,
     "What to do with duplicates: mark them (ce_repeat is 1), drop them, or keep them "
     "unmarked.",
     .fallback = "mark"},
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
     .example = "12", .min = 1, .max = 1e18},
    {0}};

// --- what fits together ---------------------------------------------------------------------------

// Where a setting stands; line 0: it is not set.
static struct place
place_of(const struct reading *r, const char *path)
{
    size_t i = 0;

    while (strcmp(config_settings[i].path, path) != 0)
        i++;
    return r->places[i];
}

// At the place of a setting, or at the start of the file where it is not set.
static void
report(struct reading *r, enum problem_kind kind, const char *path, const char *value,
       const char *text)
{
    struct place at = place_of(r, path);

    if (!at.line)
        at = (struct place){1, 1};
    problem_add(r, kind, at, "%s: %s%s", path, value, text);
}

static void
check_redis_url(struct reading *r, struct config *c)
{
    static const char *const tls[] = {"redis.tls.ca_file", "redis.tls.cert_file",
                                      "redis.tls.key_file", "redis.tls.server_name"};
    static char in_file[] = "redis.url_file's URL";

    if (c->redis_url_file && place_of(r, "redis.url").line)
        report(r, ERROR, "redis.url_file", "",
               "redis.url is set too; keep one of the two");
    if (c->redis_url_file)
        c->redis_url = (struct redis_url){.text = in_file};
    for (size_t i = 0; i < sizeof tls / sizeof *tls; i++)
        if (!c->redis_url_file && !c->redis_url.tls && place_of(r, tls[i]).line)
            report(r, ERROR, tls[i], "",
                   "redis.url does not use TLS: write rediss:// there");
    if (!c->redis_tls_cert_file != !c->redis_tls_key_file)
        report(r, ERROR, c->redis_tls_cert_file ? tls[1] : tls[2], "",
               "cert_file and key_file require each other");
}

static void
check_partners(struct reading *r, const struct config *c)
{
    if (c->redis_user && !c->redis_password_file)
        report(r, ERROR, "redis.user", "", "a user also requires redis.password_file");
    if (c->redis_sentinel_user && !c->redis_sentinel_password_file)
        report(r, ERROR, "redis.sentinel.user", "",
               "a user also requires redis.sentinel.password_file");
    if (c->redis_sentinel_password_file && !c->redis_url_file &&
        c->redis_url.kind != REDIS_SENTINEL)
        report(r, ERROR, "redis.sentinel.password_file", "",
               "redis.url has no sentinels: redis+sentinel://HOST:PORT,HOST:PORT/MASTER");
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
    for (const struct config_hook *h = c->hooks; h < hook; h++)
        if (h->format != hook->format && strcmp(h->stream, hook->stream) == 0) {
            report_hook(r, hook,
                        "format differs from that of another hook of its stream");
            break;
        }
    for (const struct config_hook *h = c->hooks; hook->adopt && h < hook; h++)
        if (h->adopt == hook->adopt)
            report_hook(r, hook, "another hook already adopts that id");
}

// The rate is limited, and not refused: api_rate may be lowered alone.
static void
check_commands(struct reading *r, struct config *c)
{
    if (c->commands_rate > c->worker_api_rate) {
        if (place_of(r, "commands.rate").line)
            report(r, WARNING, "commands.rate", "",
                   "more than worker.api_rate, which limits all requests together");
        c->commands_rate = c->worker_api_rate;
    }
    for (size_t i = 0; i < c->services_len; i++)
        if (c->services[i].allow.len == 0)
            problem_add(r, WARNING, c->services[i].at,
                        "service %s: allow is not set, so all its commands are refused",
                        c->services[i].name);
}

void
settings_check(struct reading *r)
{
    struct config *c = r->config;

    check_redis_url(r, c);
    check_partners(r, c);
    check_commands(r, c);
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
