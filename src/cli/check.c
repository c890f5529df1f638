// check: every mistake in one go, before anything is started: the file, the secrets, Redis,
// the directory, the ports. It writes nothing anywhere.
#include "base/file.h"
#include "base/programs.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "event/event.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum finding { GOOD, WARNING, WRONG };

struct check {
    struct cli *cli;
    enum exit_code code; // of the first thing wrong
    size_t counts[3];
};

__attribute__((format(printf, 5, 6))) static void
tell(struct check *k, enum finding finding, enum exit_code code, const char *what,
     const char *format, ...)
{
    static const char *const words[] = {"good", "warning", "WRONG"};
    static const enum show_color colors[] = {SHOW_GOOD, SHOW_WARNING, SHOW_BAD};
    char text[1024];
    struct buf object;
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    k->counts[finding]++;
    if (finding == WRONG && k->code == EXIT_CODE_OK)
        k->code = code;
    if (!k->cli->json) {
        printf("%s%-8s%s %-14s %s\n", show_color(k->cli, colors[finding]), words[finding],
               show_plain(k->cli), what, text);
        return;
    }
    buf_init(&object, 8192);
    show_add_member(&object, "result", span_of(words[finding]));
    show_add_member(&object, "what", span_of(what));
    show_add_member(&object, "text", span_of(text));
    show_end(&object);
    buf_release(&object);
}

// --- the file -------------------------------------------------------------------------

static void
check_file(struct check *k)
{
    struct cli *c = k->cli;
    struct buf problems;

    buf_init(&problems, 1 << 20);
    c->config = config_read(c->file, &problems);
    struct span rest = buf_span(&problems);
    while (rest.len > 0) {
        struct span line = span_cut(&rest, '\n');
        char copy[1024];
        snprintf(copy, sizeof copy, "%.*s", (int)line.len, line.at);
        bool warning = strstr(copy, ": warning: ") != NULL;
        tell(k, warning ? WARNING : WRONG, EXIT_CODE_CONFIG, "configuration", "%s", copy);
    }
    buf_release(&problems);
    if (c->config)
        tell(k, GOOD, EXIT_CODE_OK, "configuration", "%s: %zu hook%s", c->file,
             c->config->hooks_len, c->config->hooks_len == 1 ? "" : "s");
}

static void
check_zone(struct check *k)
{
    const char *zone = k->cli->config->account_time_zone;
    struct err err = {0};

    if (zone && event_zone_set(zone, &err) < 0)
        tell(k, WRONG, EXIT_CODE_CONFIG, "time zone", "%s", err.text);
}

// --- secrets --------------------------------------------------------------------------

static void
check_secret(struct check *k, const char *what, const char *path, size_t least)
{
    struct buf secret;
    struct err err = {0};

    buf_init(&secret, 4096);
    if (file_read_secret(path, least, &secret, &err) < 0) {
        bool mode = err.exit == EXIT_CODE_PERMISSION;
        tell(k, WRONG, mode ? EXIT_CODE_PERMISSION : EXIT_CODE_CONFIG, what, "%s",
             err.text);
    } else {
        tell(k, GOOD, EXIT_CODE_OK, what, "%s", path);
    }
    if (secret.at)
        explicit_bzero(secret.at, secret.cap);
    buf_release(&secret);
}

static void
check_secrets(struct check *k)
{
    const struct config *c = k->cli->config;

    for (size_t i = 0; i < c->secret_files.len; i++)
        check_secret(k, "secret", c->secret_files.at[i], SECRET_BYTES_LEAST);
    if (c->redis_password_file)
        check_secret(k, "redis password", c->redis_password_file, 1);
    if (c->account_api_token_file)
        check_secret(k, "api token", c->account_api_token_file, 1);
    if (!c->account_api_token_file || !c->account_api_url)
        tell(k, WARNING, EXIT_CODE_OK, "worker",
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
check_info(struct check *k, struct span info)
{
    const char *url = k->cli->config->redis_url;
    struct span version = info_value(info, "redis_version");
    struct span policy = info_value(info, "maxmemory_policy");
    struct span role = info_value(info, "role");

    tell(k, GOOD, EXIT_CODE_OK, "redis", "%s: version %.*s", url, (int)version.len,
         version.at);
    if (version.len && (version.at[0] < '5' && span_find(version, '.') == 1))
        tell(k, WRONG, EXIT_CODE_UNAVAILABLE, "redis", "streams need Redis 5 or later");
    if (span_starts(policy, SPAN("allkeys-")))
        tell(k, WRONG, EXIT_CODE_CONFIG, "redis",
             "maxmemory-policy is %.*s: Redis would drop streams; set noeviction",
             (int)policy.len, policy.at);
    if (role.len && !span_is(role, "master"))
        tell(k, WRONG, EXIT_CODE_UNAVAILABLE, "redis",
             "this is a replica; the relay writes to the master only");
    if (span_is(info_value(info, "aof_enabled"), "0"))
        tell(k, WARNING, EXIT_CODE_OK, "redis",
             "appendonly is off: after a crash of Redis the journal sends again what is "
             "kept, consumers see new entry ids");
}

static void
check_redis(struct check *k)
{
    struct err err = {0};
    struct redis *r = config_redis(k->cli->config, &err);
    const struct redis_reply *reply = r ? redis_ask(r, &err, "INFO", NULL) : NULL;

    if (!reply)
        tell(k, WRONG, EXIT_CODE_UNAVAILABLE, "redis", "%s: %s",
             k->cli->config->redis_url, err.text);
    else if (redis_reply_kind(reply) == REDIS_ERROR) // a user without the right to ask
        tell(k, GOOD, EXIT_CODE_OK, "redis", "%s answers", k->cli->config->redis_url);
    else
        check_info(k, redis_reply_text(reply));
    redis_close(r);
}

// --- directory and ports --------------------------------------------------------------

static void
check_directory(struct check *k)
{
    const char *path = k->cli->config->state_dir;
    char parent[PATH_MAX];

    if (faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS) == 0) {
        tell(k, GOOD, EXIT_CODE_OK, "state_dir", "%s", path);
        return;
    }
    int reason = errno;
    snprintf(parent, sizeof parent, "%s", path);
    const char *above = dirname(parent);
    if (reason == ENOENT && faccessat(AT_FDCWD, above, W_OK | X_OK, AT_EACCESS) == 0)
        tell(k, GOOD, EXIT_CODE_OK, "state_dir", "%s will be made", path);
    else
        tell(k, WRONG, EXIT_CODE_DIRECTORY, "state_dir",
             "%s: %s; acrelayd must be able to "
             "write there",
             path, strerror(reason));
}

static int
try_bind(const struct socket_address *a)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(a->port), .sin_addr = a->host};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0)
        return errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    int reason = bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ? errno : 0;
    close(fd);
    return reason;
}

// Whether an acrelay answers on an admin address.
static bool
is_ours(const struct socket_address *admin)
{
    struct buf page;
    struct err err;

    buf_init(&page, 1 << 16);
    bool ours = config_get(admin, "/version", &page, &err) == 200 &&
                strstr(buf_text(&page), "\"version\"");
    buf_release(&page);
    return ours;
}

static void
check_address(struct check *k, const char *what, const struct socket_address *a,
              bool running)
{
    if (a->path)
        return; // a socket's path is replaced at start
    int reason = try_bind(a);
    if (reason == 0)
        tell(k, GOOD, EXIT_CODE_OK, what, "%s is free", a->text);
    else if (reason == EADDRINUSE && running)
        tell(k, GOOD, EXIT_CODE_OK, what, "%s is held by the running acrelay", a->text);
    else
        tell(k, WRONG, reason == EACCES ? EXIT_CODE_PERMISSION : EXIT_CODE_PORT, what,
             "%s: %s", a->text, strerror(reason));
}

static void
check_addresses(struct check *k)
{
    const struct config *c = k->cli->config;
    bool receiver = is_ours(&c->receiver_admin), worker = is_ours(&c->worker_admin);

    for (size_t i = 0; i < c->listen_len; i++)
        check_address(k, "listen", &c->listen[i], receiver);
    check_address(k, "admin", &c->receiver_admin, receiver);
    check_address(k, "worker admin", &c->worker_admin, worker);
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

int
cli_check(struct cli *c)
{
    struct check k = {.cli = c};

    if (options_has(c->options, "print"))
        return print_document(options_text(c->options, "print", "settings"));
    check_file(&k);
    if (c->config) {
        check_zone(&k);
        check_secrets(&k);
        if (!options_has(c->options, "offline")) {
            check_redis(&k);
            check_directory(&k);
            check_addresses(&k);
        }
    }
    if (!c->json)
        printf("%zu wrong, %zu warning%s\n", k.counts[WRONG], k.counts[WARNING],
               k.counts[WARNING] == 1 ? "" : "s");
    return (int)k.code;
}
