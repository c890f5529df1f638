// check: every mistake in one go, before anything is started: the file, the secrets, Redis,
// the directory, the ports. It writes nothing anywhere.
#include "base/file.h"
#include "base/filesystem.h"
#include "base/programs.h"
#include "cli/findings.h"
#include "config/reach.h"
#include "event/event.h"
#include "journal/inspect.h"
#include "worker/account.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// --- the file -------------------------------------------------------------------------

static void
check_file(struct findings *f)
{
    struct cli *c = f->cli;
    struct buf problems;

    buf_init(&problems, 1 << 20);
    c->config = config_read(c->file, &problems);
    struct span rest = buf_span(&problems);
    while (rest.len > 0) {
        bool warning;
        struct span line = config_next_problem(&rest, &warning);
        findings_tell(f, warning ? WARNING : WRONG, EXIT_CODE_CONFIG, "configuration",
                      NULL, "%.*s", (int)line.len, line.at);
    }
    buf_release(&problems);
    if (c->config)
        findings_tell(f, GOOD, EXIT_CODE_OK, "configuration", NULL, "%s: %zu hook%s",
                      c->file, c->config->hooks_len,
                      c->config->hooks_len == 1 ? "" : "s");
}

static void
check_zone(struct findings *f)
{
    const char *zone = f->cli->config->account_time_zone;
    struct err err = {0};

    if (zone && event_zone_set(zone, &err) < 0)
        findings_tell(f, WRONG, EXIT_CODE_CONFIG, "time zone", NULL, "%s", err.text);
}

// --- secrets --------------------------------------------------------------------------

static void
check_secret(struct findings *f, const char *what, const char *path, size_t least)
{
    struct buf secret;
    struct err err = {0};

    buf_init(&secret, 4096);
    if (file_read_secret(path, least, &secret, &err) < 0) {
        bool mode = err.exit == EXIT_CODE_PERMISSION;
        findings_tell(f, WRONG, mode ? EXIT_CODE_PERMISSION : EXIT_CODE_CONFIG, what,
                      NULL, "%s", err.text);
    } else {
        findings_tell(f, GOOD, EXIT_CODE_OK, what, NULL, "%s", path);
    }
    secret_wipe(&secret);
}

static void
check_secrets(struct findings *f)
{
    const struct config *c = f->cli->config;

    for (size_t i = 0; i < c->secret_files.len; i++)
        check_secret(f, "secret", c->secret_files.at[i], SECRET_BYTES_LEAST);
    if (c->redis_password_file)
        check_secret(f, "redis password", c->redis_password_file, 1);
    if (c->account_api_token_file)
        check_secret(f, "api token", c->account_api_token_file, ACCOUNT_TOKEN_LEAST);
    if (!c->account_api_token_file || !c->account_api_url)
        findings_tell(
            f, WARNING, EXIT_CODE_OK, "worker", NULL,
            "account.api_url and api_token_file are not both set: acrelay-worker needs "
            "them");
}

// --- Redis ----------------------------------------------------------------------------

// The value of "name:value" in INFO.
static struct span
info_value(struct span text, const char *name)
{
    while (text.len > 0) {
        struct span line = span_cut(&text, '\n');
        struct span value = line;
        if (span_equal(span_cut(&value, ':'), span_of(name)))
            return span_to(value, span_find(value, '\r'));
    }
    return (struct span){"", 0};
}

static void
check_info(struct findings *f, struct span info)
{
    const char *url = f->cli->config->redis_url;
    struct span version = info_value(info, "redis_version");
    struct span policy = info_value(info, "maxmemory_policy");
    struct span role = info_value(info, "role");

    findings_tell(f, GOOD, EXIT_CODE_OK, "redis", NULL, "%s: version %.*s", url,
                  (int)version.len, version.at);
    if (version.len && (version.at[0] < '5' && span_find(version, '.') == 1))
        findings_tell(f, WRONG, EXIT_CODE_UNAVAILABLE, "redis", NULL,
                      "streams need Redis 5 or later");
    if (span_starts(policy, SPAN("allkeys-")))
        findings_tell(
            f, WRONG, EXIT_CODE_CONFIG, "redis", NULL,
            "maxmemory-policy is %.*s: Redis would drop streams; set noeviction",
            (int)policy.len, policy.at);
    if (role.len && !span_is(role, "master"))
        findings_tell(f, WRONG, EXIT_CODE_UNAVAILABLE, "redis", NULL,
                      "this is a replica; the relay writes to the master only");
    if (span_is(info_value(info, "aof_enabled"), "0"))
        findings_tell(
            f, WARNING, EXIT_CODE_OK, "redis", NULL,
            "appendonly is off: after a crash of Redis the journal sends again what is "
            "kept, consumers see new entry ids");
}

static void
check_redis(struct findings *f)
{
    struct err err = {0};
    struct redis *r = config_redis(f->cli->config, &err);
    const struct redis_reply *reply = r ? redis_ask(r, &err, "INFO", NULL) : NULL;

    if (!reply)
        findings_tell(f, WRONG, EXIT_CODE_UNAVAILABLE, "redis", NULL, "%s: %s",
                      f->cli->config->redis_url, err.text);
    else if (redis_reply_kind(reply) == REDIS_ERROR) // a user without the right to ask
        findings_tell(f, GOOD, EXIT_CODE_OK, "redis", NULL, "%s answers",
                      f->cli->config->redis_url);
    else
        check_info(f, redis_reply_text(reply));
    redis_close(r);
}

// --- directory and ports --------------------------------------------------------------

static void
check_directory(struct findings *f)
{
    const char *path = f->cli->config->state_dir;
    enum filesystem kind = filesystem_of(path);
    bool refused = filesystem_is_refused(kind);
    char parent[PATH_MAX];

    if (kind != FILESYSTEM_LOCAL)
        findings_tell(f, refused ? WRONG : WARNING,
                      refused ? EXIT_CODE_DIRECTORY : EXIT_CODE_OK, "state_dir", NULL,
                      "%s %s", path, filesystem_problem(kind));
    if (refused)
        return;
    if (faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS) == 0) {
        findings_tell(f, GOOD, EXIT_CODE_OK, "state_dir", NULL, "%s", path);
        return;
    }
    int reason = errno;
    snprintf(parent, sizeof parent, "%s", path);
    const char *above = dirname(parent);
    if (reason == ENOENT && faccessat(AT_FDCWD, above, W_OK | X_OK, AT_EACCESS) == 0)
        findings_tell(f, GOOD, EXIT_CODE_OK, "state_dir", NULL, "%s will be made", path);
    else
        findings_tell(f, WRONG, EXIT_CODE_DIRECTORY, "state_dir", NULL,
                      "%s: %s; acrelayd must be able to "
                      "write there",
                      path, strerror(reason));
}

static int
try_bind(const struct socket_address *a)
{
    int fd = sockets_bind(a);

    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static void
check_address(struct findings *f, const char *what, const struct socket_address *a,
              bool running, bool ours)
{
    if (a->path)
        return; // a socket's path is replaced at start
    int reason = try_bind(a);
    if (reason == 0)
        findings_tell(f, GOOD, EXIT_CODE_OK, what, NULL, "%s is free", a->text);
    else if (reason == EADDRINUSE && running && !ours)
        findings_tell(f, WRONG, EXIT_CODE_PORT, what, NULL,
                      "%s is held by an acrelay with another state_dir", a->text);
    else if (reason == EADDRINUSE && running)
        findings_tell(f, GOOD, EXIT_CODE_OK, what, NULL,
                      "%s is held by the running acrelay", a->text);
    else
        findings_tell(f, WRONG, reason == EACCES ? EXIT_CODE_PERMISSION : EXIT_CODE_PORT,
                      what, NULL, "%s: %s", a->text, strerror(reason));
}

static void
check_addresses(struct findings *f)
{
    const struct config *c = f->cli->config;
    bool receiver = config_runs(&c->receiver_admin);
    bool ours = receiver && journal_is_held(c->state_dir);

    for (size_t i = 0; i < c->listen_len; i++)
        check_address(f, "listen", &c->listen[i], receiver, ours);
    check_address(f, "admin", &c->receiver_admin, receiver, ours);
    check_address(f, "worker admin", &c->worker_admin, config_runs(&c->worker_admin),
                  true);
}

// --- the command ----------------------------------------------------------------------

static int
print_document(const char *what)
{
    struct buf text;

    buf_init(&text, 1 << 20);
    if (strcmp(what, "example") == 0)
        config_write_example(&text);
    else if (strcmp(what, "manual") == 0)
        config_write_manual(&text);
    else
        config_write_help(&text);
    fwrite(text.at, 1, text.len, stdout);
    buf_release(&text);
    return EXIT_CODE_OK;
}

void
check_all(struct findings *f, bool offline)
{
    check_file(f);
    if (!f->cli->config)
        return;
    check_zone(f);
    check_secrets(f);
    if (offline)
        return;
    check_redis(f);
    check_directory(f);
    check_addresses(f);
}

int
cli_check(struct cli *c)
{
    struct findings f = {.cli = c};

    if (options_has(c->options, "print"))
        return print_document(options_text(c->options, "print", "settings"));
    check_all(&f, options_has(c->options, "offline"));
    return findings_end(&f);
}
