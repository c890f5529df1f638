#include "cli/cli.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "event/json.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { REDIS_MS = 5000, LAST_GOOD_MAX = (1 << 20) + PATH_MAX + 100 };

// --- configuration ----------------------------------------------------------------------

// Its first line, a comment, ends with the path of the file it is a copy of (receiver/reload.c).
static struct config *
read_last_good(const char *path, const char *file)
{
    struct problems problems = {0};
    struct config *c = NULL;
    struct buf text;

    buf_init(&text, LAST_GOOD_MAX);
    bool is_copy = file_read(path, &text, NULL) == 0;
    struct span rest = buf_span(&text), line = span_cut(&rest, '\n');
    is_copy &= span_starts(line, SPAN("# acrelay last good configuration 1 "));
    for (int words = 0; words < 8; words++)
        span_cut(&line, ' ');
    if (is_copy && span_is(line, file))
        c = config_parse(file, buf_span(&text), &problems);
    free(problems.at);
    buf_release(&text);
    return c;
}

const struct config *
cli_load_config(struct cli *c, bool or_last_good)
{
    const char *given = getenv("STATE_DIRECTORY");
    char suffix[CONFIG_SUFFIX];

    if (!c->config)
        c->config = config_read(c->file, NULL, &c->problems);
    if (c->config || !or_last_good)
        return c->config;
    if (given && *given)
        snprintf(c->last_good, sizeof c->last_good, "%.*s/last-good.yaml",
                 (int)strcspn(given, ":"), given);
    else
        snprintf(c->last_good, sizeof c->last_good, "/var/lib/acrelay%s/last-good.yaml",
                 config_suffix(c->file, suffix));
    c->config = read_last_good(c->last_good, c->file);
    c->is_last_good = c->config != NULL;
    return c->config;
}

// Warnings are for `check`: here only what stops us is printed.
const struct config *
cli_read_config(struct cli *c, bool or_last_good)
{
    if (c->config)
        return c->config;
    cli_load_config(c, or_last_good);
    problems_print(&c->problems, PROBLEMS_STDERR_ERRORS);
    if (c->is_last_good)
        fprintf(stderr, "acrelay: continuing with the last good configuration, %s\n",
                c->last_good);
    else if (!c->config)
        fprintf(stderr, "acrelay: this command needs a valid file: fix it%s%s%s\n",
                or_last_good ? "; there is no last good configuration of it (" : "",
                c->last_good,
                or_last_good ? "; STATE_DIRECTORY names another directory)" : "");
    return c->config;
}

const char *
cli_directory(struct cli *c, struct err *err)
{
    const char *given = options_text(c->options, "directory", NULL);

    if (given || cli_read_config(c, false))
        return given ? given : c->config->state_dir;
    err_exit(err, EXIT_CODE_CONFIG, "without a valid configuration, use --directory");
    return NULL;
}

// --- Redis ------------------------------------------------------------------------------

#define CONFIG EXIT_CODE_CONFIG
#define RIGHTS EXIT_CODE_PERMISSION
#define AWAY EXIT_CODE_UNAVAILABLE
#define GRANT "grant the rights that deploy/redis/acrelay.acl lists for the receiver"

// The first that fits counts. "Bring Redis back" is for a Redis that does not answer: one that
// answers an error is there.
static const struct redis_advice all[] = {
    {"redis.password_file: ", CONFIG,
     "Redis was not contacted: make that file readable, or correct redis.password_file"},
    {"redis.url_file: ", CONFIG,
     "Redis was not contacted: correct that file, or redis.url_file"},
    {"redis.tls is set", CONFIG, "Redis was not contacted"},
    {"redis.tls.ca_file: ", CONFIG, "Redis was not contacted: correct that file"},
    {"redis.tls.cert_file: ", CONFIG, "Redis was not contacted: correct that file"},
    {"redis.tls.key_file: ", CONFIG, "Redis was not contacted: correct that file"},
    {"certificate", AWAY, "until then deliveries wait in the journal"},
    {"TLS", AWAY, "until then deliveries wait in the journal"},
    {"NOAUTH", RIGHTS,
     "Redis requires a password: set redis.password_file (and redis.user)"},
    {"WRONGPASS", RIGHTS,
     "correct redis.user or the password in redis.password_file; ACL LIST shows whether "
     "the user exists and is enabled"},
    {"invalid password", RIGHTS, "correct the password in redis.password_file"},
    {"without any password configured", CONFIG,
     "this user has no password in Redis: set one there, or remove redis.password_file"},
    {"NOPERM", RIGHTS, GRANT},
    {"ACL failure", RIGHTS, GRANT},
    {"The user executing the script", RIGHTS, GRANT},
    {"DENIED", RIGHTS,
     "Redis is in protected mode and accepts only loopback connections: set a password "
     "and bind there"},
    {"max number of clients", AWAY,
     "raise maxclients in Redis, or find out what uses its connections (CLIENT LIST)"},
    {"DB index", CONFIG,
     "redis.url names a database that this Redis does not have: see its databases "
     "setting"},
    {"unknown command", CONFIG,
     "acrelay needs this command, but it was renamed or disabled (rename-command), or "
     "Redis is too old"},
    {"LOADING", AWAY, "Redis is loading its data from disk: wait"},
    {"BUSY", AWAY, "a script is keeping Redis busy: wait, or run SCRIPT KILL"},
    {"MASTERDOWN", AWAY,
     "this is a replica that has lost its master: redis.url must point to the master"},
    {"READONLY", AWAY, "this is a replica: redis.url must point to the master"},
    {"not the master", AWAY, "this is a replica: redis.url must point to the master"},
    {"OOM", AWAY,
     "Redis is out of memory: raise its maxmemory, or lower redis.retain; deliveries "
     "wait in the journal"},
    {"MISCONF", AWAY,
     "Redis cannot write to its disk and refuses writes: check its log and disk"},
    {"NOREPLICAS", AWAY,
     "too few replicas are connected for min-replicas-to-write: bring them back"},
    {"does not know a master named", CONFIG,
     "correct the name after the hosts in redis.url (SENTINEL MASTERS shows the names)"},
    {"MOVED", EXIT_CODE_OK,
     "the relay follows the redirection; write redis.url as redis+cluster:// to have the "
     "node checked that has the keys"},
    {"ASK", AWAY, "the slot of the keys is being moved to another node: wait"},
    {"TRYAGAIN", AWAY, "the slot of the keys is being moved to another node: wait"},
    {"CLUSTERDOWN", AWAY,
     "no node serves the slot of the keys: restore the Redis Cluster (CLUSTER NODES); "
     "deliveries wait in the journal"},
    {"CROSSSLOT", CONFIG,
     "all keys of a namespace must be in one slot: does a proxy rewrite keys?"},
    {"WRONGTYPE", CONFIG,
     "another program uses one of acrelay's keys: choose another redis.namespace"},
    {"may evict any key", CONFIG, "set maxmemory-policy noeviction in Redis"},
    {"belongs to account", EXIT_CODE_CONFIG,
     "choose another redis.namespace (and restart); if the account was renamed, run "
     "acrelay "
     "journal claim --namespace"},
    {"/partitions", CONFIG, "see \"Partitions\" in OPERATING.md"},
    {"redis.partitions has changed", CONFIG, "see \"Partitions\" in OPERATING.md"},
    {"redis.confirm", CONFIG, "see \"redis.confirm\" in OPERATING.md"},
    {"another place", EXIT_CODE_LOCK,
     "another machine or directory publishes this journal; if it no longer does, run "
     "acrelay journal claim"},
    {"copy of this journal", EXIT_CODE_FAILURE,
     "see \"A backup of the journal was restored\" in OPERATING.md"},
    {"no answer in time", AWAY,
     "Redis hangs: is it stopped, swapping, or waiting for its disk?"},
    {"timed out", AWAY,
     "nothing answers at that address: check redis.url, the network and firewalls"},
    {"Permission denied", RIGHTS,
     "the user must be in the group of Redis's socket: under systemd "
     "SupplementaryGroups=redis in a drop-in of acrelayd.service and "
     "acrelay-worker.service"},
    {"Address family not supported", CONFIG,
     "the unit's RestrictAddressFamilies= lacks the family: add AF_INET6 (or AF_UNIX) "
     "in a drop-in"},
    {"Protocol error, got", CONFIG, "the server at redis.url is not Redis"},
    {"not known", AWAY, "the host in redis.url has no address: check DNS"},
    {"name resolution", AWAY,
     "no name server answers for the host in redis.url: check DNS"},
    {"Connection refused", AWAY,
     "start Redis; the journal is then published automatically"},
    {"No such file", AWAY, "start Redis, or correct the path of the socket in redis.url"},
    {"cannot make a socket", EXIT_CODE_FAILURE, "raise the limit of open files"},
    {"closed the connection", AWAY,
     "Redis exited or closed this connection: see its log"},
    {"", AWAY, "check Redis's log"},
};

const struct redis_advice *
cli_redis_advice(const char *text)
{
    size_t i = 0;

    while (!strstr(text, all[i].in))
        i++;
    return &all[i];
}

int64_t
cli_redis_us(struct redis *r)
{
    uint64_t seconds = 0;
    const struct redis_reply *now = redis_ask(r, &(struct err){0}, "TIME", NULL);

    text_number(&seconds, redis_value(redis_reply_at(now, 0)).text, INT32_MAX);
    return (int64_t)seconds * 1000000;
}

const struct redis_reply *
cli_reply(const struct redis_reply *reply, struct err *err)
{
    if (!reply) {
        err->exit = EXIT_CODE_UNAVAILABLE;
        return NULL;
    }
    if (redis_check(reply, err))
        return reply;
    const struct redis_advice *known = cli_redis_advice(err->text);
    if (known->in[0])
        err->exit = known->code;
    return NULL;
}

struct redis *
cli_redis_at(const struct cli *c, const char *tag, struct err *err)
{
    const struct config *config = c->config;
    bool has_secret = config->redis_password_file || config->redis_url_file ||
                      config->redis_sentinel_password_file || config->redis_tls_key_file;

    // Anyone who is the receiver's user could name any file of root's in that copy.
    if (c->is_last_good && has_secret && geteuid() == 0) {
        err_exit(err, EXIT_CODE_CONFIG,
                 "not asked: with the last good configuration, root sends no password");
        return NULL;
    }
    struct redis *r =
        config_redis(config, tag, NULL, times_ms("cli_redis", REDIS_MS), err);

    if (!r && err->exit == EXIT_CODE_UNAVAILABLE)
        err->exit = cli_redis_advice(err->text)->code;
    if (!r)
        err_context(err, "%s", config->redis_url.text);
    return r;
}

void
cli_advise(struct err *err)
{
    const struct err cause = *err;
    const struct redis_advice *known = cli_redis_advice(cause.text);

    if (known->in[0])
        err_exit(err, cause.exit, "%s; %s", cause.text, known->advice);
}

struct redis *
cli_redis(const struct cli *c, struct err *err)
{
    struct redis *r = cli_redis_at(c, c->config->redis_namespace, err);

    if (!r)
        cli_advise(err);
    return r;
}

// --- posting ----------------------------------------------------------------------------

enum { POST_MS = 30000 };

int
poster_find(struct poster *p, struct cli *c, struct err *err)
{
    if (!cli_read_config(c, false))
        return err_exit(
            err, EXIT_CODE_CONFIG,
            "this needs a valid configuration, which has the receiver's address");
    p->to = &c->config->listen.at[0];
    p->place = span_of(p->to->text);
    p->secrets = secrets_load(c->config, err);
    return p->secrets ? 0 : -1;
}

int
poster_post(struct poster *p, const struct delivery *d, struct err *err)
{
    struct buf url;

    buf_init(&url, 4096 + d->query.len);
    if (p->url)
        buf_add_text(&url, p->url);
    else
        secrets_url(p->secrets, 0, "", d->hook, &url);
    if (d->query.len)
        buf_add_format(&url, "?%.*s", (int)d->query.len, d->query.at);
    struct http_call call = {.to = p->to,
                             .url = buf_text(&url),
                             .method = "POST",
                             .body = d->body,
                             .type = d->type,
                             .encoding = d->encoding,
                             .timeout_ms = POST_MS};
    int code = http_client_call(&p->client, &call, NULL, err);
    buf_release(&url);
    if (code >= 0)
        return code;
    return err_exit(err, EXIT_CODE_UNAVAILABLE, "the receiver at %.*s: %s%s",
                    (int)p->place.len, p->place.at, err->text,
                    p->client.outcome == HTTP_NOT_SENT ? "; start acrelayd" : "");
}

void
poster_release(struct poster *p)
{
    secrets_release(p->secrets);
    http_client_close(&p->client);
}

// --- what check and doctor found --------------------------------------------------------

void
report_add(struct report *r, enum report_level level, enum exit_code code,
           const char *what, const char *advice, const char *format, ...)
{
    static const enum output_color colors[] = {OUTPUT_OK, OUTPUT_WARNING, OUTPUT_BAD};
    static const char *const words[] = {"good", "warning", "WRONG"};
    char raw[1024], text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(text, sizeof text, span_of(raw));
    if (level > r->worst_level || !r->worst[0])
        memcpy(r->worst, text, sizeof text);
    r->worst_level = level > r->worst_level ? level : r->worst_level;
    r->errors += level == REPORT_ERROR;
    r->warnings += level == REPORT_WARNING;
    if (level == REPORT_ERROR && r->code == EXIT_CODE_OK)
        r->code = code;
    if (r->is_silent)
        return;
    output_wipe();
    if (output.json) {
        output_text("result", span_of(words[level]));
        output_text("what", span_of(what));
        output_text("text", span_of(text));
        if (advice)
            output_text("do", span_of(advice));
        output_line(stdout);
        return;
    }
    printf("%s%-8s%s %-14s %s\n", output_color(colors[level]), words[level],
           output_color(OUTPUT_PLAIN), what, text);
    if (advice)
        printf("%-23s -> %s\n", "", advice);
    fflush(stdout); // what comes next may take a while
}
