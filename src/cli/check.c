// check: every mistake in one go, before anything is started: the file, the secrets, Redis,
// the directory, the ports. It writes nothing anywhere.
#include "base/file.h"
#include "cli/check_redis.h"
#include "cli/findings.h"
#include "cli/holder.h"
#include "config/config.h"
#include "event/event.h"
#include "journal/inspect.h"
#include "hook/ac_client.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DESCRIPTORS_BESIDE = 256 }; // journal, sockets, Redis, admin

// --- the file -------------------------------------------------------------------------

static void
check_file(struct findings *f)
{
    struct cli *c = f->cli;
    struct problems problems = {0};

    c->config = config_read(c->file, NULL, &problems);
    for (size_t i = 0; i < problems.len; i++) {
        const struct problem *p = &problems.at[i];
        bool last = i + 1 == problems.len && !p->warning;
        char line[PROBLEM_LINE];
        findings_tell(f, p->warning ? WARNING : WRONG, EXIT_CODE_CONFIG, "configuration",
                      last ? "mend the file; programs that run go on with what they had"
                           : NULL,
                      "%s", problem_line(p, line));
    }
    free(problems.at);
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
        findings_tell(f, GOOD, EXIT_CODE_OK, what, NULL, "%s%s", path,
                      geteuid() == 0 ? " (read as root)" : "");
    }
    buf_wipe(&secret);
}

static void
check_secrets(struct findings *f)
{
    const struct config *c = f->cli->config;

    for (size_t i = 0; i < c->secret_files.len; i++)
        check_secret(f, "secret", c->secret_files.at[i], SECRET_BYTES_MIN);
    if (c->redis_password_file)
        check_secret(f, "redis password", c->redis_password_file, 1);
    if (c->account_api_token_file)
        check_secret(f, "api token", c->account_api_token_file, AC_CLIENT_TOKEN_MIN);
    if (!c->account_api_token_file || !c->account_api_url)
        findings_tell(
            f, WARNING, EXIT_CODE_OK, "worker", NULL,
            "account.api_url and api_token_file are not both set: acrelay-worker needs "
            "them");
}

// --- directory ------------------------------------------------------------------------

static void
check_filesystem(struct findings *f)
{
    const char *path = f->cli->config->state_dir;
    enum filesystem kind = filesystem_of(path);

    if (kind != FILESYSTEM_LOCAL)
        findings_tell(f, filesystem_is_refused(kind) ? WRONG : WARNING,
                      EXIT_CODE_DIRECTORY, "state_dir", NULL, "%s %s", path,
                      filesystem_problem(kind));
}

// Root may do everything, which says nothing of the receiver's user.
static void
tell_directory(struct findings *f, const struct stat *st)
{
    const char *path = f->cli->config->state_dir;
    struct passwd *owner = geteuid() == 0 ? getpwuid(st->st_uid) : NULL;

    if (st->st_mode & 022)
        findings_tell(
            f, WRONG, EXIT_CODE_PERMISSION, "state_dir", NULL,
            "%s: others can write into it (mode %04o), acrelayd refuses it: chmod "
            "700 it",
            path, st->st_mode & 07777);
    else if (journal_is_held(path) && f->receiver.code)
        findings_tell(f, GOOD, EXIT_CODE_OK, "state_dir", NULL,
                      "%s: the running receiver has it", path);
    else if (st->st_mode & 022)
        findings_tell(f, WRONG, EXIT_CODE_PERMISSION, "state_dir", "chmod 700 it",
                      "%s: others can write into it (mode %03o), and acrelayd refuses it",
                      path, st->st_mode & 0777);
    else if (geteuid() != 0)
        findings_tell(f, GOOD, EXIT_CODE_OK, "state_dir", NULL, "%s", path);
    else if ((st->st_mode & S_IRWXU) != S_IRWXU)
        findings_tell(f, WRONG, EXIT_CODE_DIRECTORY, "state_dir", NULL,
                      "%s: its owner may not read and write there (mode %03o)", path,
                      st->st_mode & 0777);
    else
        findings_tell(f, GOOD, EXIT_CODE_OK, "state_dir", NULL,
                      "%s: the receiver must run as its owner, %s (asked as root)", path,
                      owner ? owner->pw_name : "a user of systemd's");
}

static void
check_directory(struct findings *f)
{
    const char *path = f->cli->config->state_dir;
    char parent[PATH_MAX];
    struct stat st;

    check_filesystem(f);
    if (faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS) == 0 &&
        stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            tell_directory(f, &st);
        else
            findings_tell(f, WRONG, EXIT_CODE_DIRECTORY, "state_dir", NULL,
                          "%s is no directory", path);
        return;
    }
    int reason = errno;
    snprintf(parent, sizeof parent, "%s", path);
    const char *above = dirname(parent);
    bool others = stat(path, &st) == 0 && st.st_uid != geteuid() && st.st_uid != 0;
    if (reason == EACCES && others && S_ISDIR(st.st_mode))
        findings_tell(
            f, WARNING, EXIT_CODE_OK, "state_dir", "run check as that user or as root",
            "%s belongs to user %u, as whom the receiver must run; not looked at "
            "from here",
            path, (unsigned)st.st_uid);
    else if (reason == ENOENT && faccessat(AT_FDCWD, above, W_OK | X_OK, AT_EACCESS) == 0)
        findings_tell(f, GOOD, EXIT_CODE_OK, "state_dir", NULL, "%s will be made%s", path,
                      geteuid() == 0 ? " (asked as root)" : "");
    else
        findings_tell(f, WRONG, EXIT_CODE_DIRECTORY, "state_dir", NULL,
                      "%s: %s; acrelayd must be able to "
                      "write there",
                      path, strerror(reason));
}

// --- ports ----------------------------------------------------------------------------

// An address that somebody listens on: our own program, systemd's socket unit, or another.
static void
tell_held(struct findings *f, const char *what, const struct socket_address *a,
          bool running, bool ours)
{
    struct holder holder;

    if (running && ours) {
        findings_tell(f, GOOD, EXIT_CODE_OK, what, NULL,
                      "%s is held by the running acrelay", a->text);
        return;
    }
    if (running) {
        findings_tell(f, WRONG, EXIT_CODE_PORT, what, NULL,
                      "%s is held by an acrelay with another state_dir", a->text);
        return;
    }
    bool known = holder_find(&holder, a);
    if (known && holder.is_systemd && strcmp(what, "listen") == 0)
        findings_tell(f, GOOD, EXIT_CODE_OK, what, NULL,
                      "%s is held by systemd's socket unit, where posts wait until "
                      "acrelayd runs",
                      a->text);
    else if (known && span_starts(span_of(holder.name), SPAN("acrelay")))
        findings_tell(
            f, WRONG, EXIT_CODE_PORT, what,
            "it hangs, or has another admin address: its log says more",
            "%s is held by %s (process %ld), which does not answer on its admin "
            "address",
            a->text, holder.name, (long)holder.pid);
    else if (known)
        findings_tell(f, WRONG, EXIT_CODE_PORT, what, "end it, or choose another address",
                      "%s: Address already in use, by %s (process %ld)", a->text,
                      holder.name, (long)holder.pid);
    else
        findings_tell(f, WRONG, EXIT_CODE_PORT, what,
                      "ss -ltnp shows, to root, who holds it. If it is systemd for "
                      "acrelayd.socket, that is right: posts wait there, start acrelayd",
                      "%s: Address already in use", a->text);
}

// A socket that nobody listens on any more is taken over at start.
static int
try_path(const char *path)
{
    char parent[PATH_MAX];
    struct post_target to = {.path = path, .patience_s = 1};
    int fd = post_open(&to, NULL);

    if (fd >= 0) {
        close(fd);
        return EADDRINUSE;
    }
    snprintf(parent, sizeof parent, "%s", path);
    return faccessat(AT_FDCWD, dirname(parent), W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

static int
try_address(const struct socket_address *a)
{
    if (a->path)
        return try_path(a->path);
    int fd = sockets_bind(a), reason = fd < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return reason;
}

static void
check_address(struct findings *f, const char *what, const struct socket_address *a,
              bool running, bool ours)
{
    int reason = try_address(a);

    if (reason == 0)
        findings_tell(f, GOOD, EXIT_CODE_OK, what, NULL, "%s is free", a->text);
    else if (reason == EADDRINUSE)
        tell_held(f, what, a, running, ours);
    else
        findings_tell(f, WRONG, reason == EACCES ? EXIT_CODE_PERMISSION : EXIT_CODE_PORT,
                      what, NULL, "%s: %s", a->text, strerror(reason));
}

static void
check_addresses(struct findings *f)
{
    const struct config *c = f->cli->config;
    bool runs = f->receiver.code != 0;
    bool ours = runs && journal_is_held(c->state_dir);

    for (size_t i = 0; i < c->listen.len; i++)
        check_address(f, "listen", &c->listen.at[i], runs, ours);
    check_address(f, "admin", &c->receiver_admin, runs, ours);
    check_address(f, "worker admin", &c->worker_admin, f->worker.code != 0, true);
}

// The limit of this process; under systemd the unit's counts.
static void
check_descriptors(struct findings *f)
{
    struct rlimit limit;
    rlim_t needed = (rlim_t)f->cli->config->threads + DESCRIPTORS_BESIDE;

    if (f->receiver.code || getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
        limit.rlim_max >= needed)
        return;
    findings_tell(f, WARNING, EXIT_CODE_OK, "descriptors",
                  "raise the limit (ulimit -Hn; LimitNOFILE= of the unit), or lower "
                  "receiver.threads",
                  "a process started from here may open %llu files, and %d threads with "
                  "the journal need %llu",
                  (unsigned long long)limit.rlim_max, f->cli->config->threads,
                  (unsigned long long)needed);
}

// --- the command ----------------------------------------------------------------------

static int
print_document(const char *what)
{
    struct buf text;

    buf_init(&text, 1 << 20);
    config_write(strcmp(what, "example") == 0  ? CONFIG_EXAMPLE
                 : strcmp(what, "manual") == 0 ? CONFIG_MANUAL
                                               : CONFIG_HELP,
                 &text);
    fwrite(text.at, 1, text.len, stdout);
    buf_release(&text);
    return EXIT_CODE_OK;
}

static void
ask_receiver(struct findings *f)
{
    admin_json_fetch(&f->receiver, &f->cli->config->receiver_admin);
}

static void
ask_worker(struct findings *f)
{
    admin_json_fetch(&f->worker, &f->cli->config->worker_admin);
}

// Root may connect to any socket, which says nothing of the receiver's user.
static void
check_redis_socket(struct findings *f)
{
    const char *path = f->cli->config->redis_url.path;
    bool connected = f->receiver.code && !f->receiver.redis_error[0];
    struct group *group;
    struct stat st;

    if (!path || geteuid() != 0 || connected || stat(path, &st) < 0 ||
        (st.st_mode & S_IWOTH))
        return;
    group = getgrgid(st.st_gid);
    findings_tell(
        f, WARNING, EXIT_CODE_OK, "redis user",
        "under systemd: SupplementaryGroups= of that group in a drop-in of "
        "acrelayd.service and acrelay-worker.service",
        "%s takes its owner and group %s only (mode %03o); root was let in, and "
        "whether the receiver's user is was not looked at",
        path, group ? group->gr_name : "(without a name)", st.st_mode & 0777);
}

static void
look_at_redis(struct findings *f)
{
    check_redis_socket(f);
    check_redis(f, f->deeply);
}

static const struct check checks[] = {
    {"reading the configuration", check_file},
    {"reading the time zone", check_zone},
    {"reading the secrets", check_secrets},
    // from here on not offline
    {"asking the receiver's admin address", ask_receiver},
    {"asking the worker's admin address", ask_worker},
    {"asking Redis", look_at_redis},
    {"looking at state_dir", check_directory},
    {"looking at the addresses", check_addresses},
    {"looking at the limit of descriptors", check_descriptors},
};

void
check_all(struct findings *f, bool offline)
{
    findings_run(f, checks, offline ? 3 : sizeof checks / sizeof *checks);
}

static int
run_check(void *cli)
{
    struct cli *c = cli;
    struct findings f = {.cli = c};

    if (options_has(c->options, "print"))
        return print_document(options_text(c->options, "print", "settings"));
    check_all(&f, options_has(c->options, "offline"));
    return findings_end(&f);
}

// --- the command line -------------------------------------------------------------------

static const char *const print_words[] = {"example", "settings", "manual", NULL};
static const struct option check_options[] = {
    OPTION_IS_FLAG("offline",
                   "only the file and the secrets: no Redis, no ports, no directory"),
    {"print", "WHAT", "print example, settings or manual instead", OPTION_WORD,
     print_words},
    OPTION_END,
};

const struct command cli_check_commands[] = {
    {"check", "", "check configuration, secrets, Redis, directory and ports", 0, 0,
     check_options, run_check, false, NULL},
    {0},
};
