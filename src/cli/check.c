// check: every mistake in one go, before anything is started: the file, the secrets, Redis,
// the directory, the ports. It writes nothing anywhere.
#include "cli/cli.h"

#include "base/file.h"
#include "base/text.h"
#include "edge/admin.h"
#include "journal/journal.h"
#include "hook/ac_client.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    DESCRIPTORS_BESIDE = 256, // journal, sockets, Redis, admin
    DISK_MIN = 256 << 20,
    INODES_MIN = 100,
};

// --- the file -------------------------------------------------------------------------

static void
check_file(struct report *r)
{
    struct cli *c = r->cli;
    char line[PROBLEM_LINE];

    cli_load_config(c, r->deep);
    for (const struct problem *p = c->problems.at; p < c->problems.at + c->problems.len;
         p++)
        report_add(r, p->warning ? REPORT_WARNING : REPORT_ERROR, EXIT_CODE_CONFIG,
                   "configuration", p->warning ? NULL : cli_file_advice(c), "%s",
                   problem_line(p, line));
    if (c->is_last_good)
        report_warning(r, "configuration", "fix the file, then run doctor again",
                       "the other checks use the last good configuration, %s",
                       c->last_good);
    else if (c->config)
        report_ok(r, "configuration", "%s: %zu hook%s", c->file, c->config->hooks_len,
                  PLURAL(c->config->hooks_len));
    r->is_shown = !c->config && r->deep && access(c->file, F_OK) == 0;
    if (!r->is_shown)
        return;
    c->config = config_read_shown(c->file);
    report_warning(r, "configuration", "fix the file, then run doctor again",
                   "checked is only what answers on %s and %s, as the file still shows "
                   "or by default, and this machine",
                   c->config->receiver_admin.text, c->config->worker_admin.text);
}

// --- secrets --------------------------------------------------------------------------

static void
check_secret(struct report *r, const char *what, const char *path, size_t min)
{
    struct buf secret;
    struct err err = {0};

    buf_init(&secret, 4096);
    if (file_read_secret(path, min, &secret, &err) == 0)
        report_ok(r, what, "can be read, not tried: %s%s", path,
                  geteuid() == 0 ? " (read as root)" : "");
    else
        report_error(r, err.exit == EXIT_CODE_PERMISSION ? err.exit : EXIT_CODE_CONFIG,
                     what, NULL, "%s", err.text);
    buf_wipe(&secret);
}

static void
check_secrets(struct report *r)
{
    const struct config *c = r->cli->config;

    for (size_t i = 0; i < c->secret_files.len; i++)
        check_secret(r, "secret", c->secret_files.at[i], SECRET_BYTES_MIN);
    if (c->redis_url_file)
        check_secret(r, "redis url", c->redis_url_file, 1);
    if (c->redis_password_file)
        check_secret(r, "redis password", c->redis_password_file, 1);
    if (c->account_api_token_file)
        check_secret(r, "api token", c->account_api_token_file, AC_CLIENT_TOKEN_MIN);
    if (!c->account_api_token_file || !c->account_api_url)
        report_warning(r, "worker", NULL,
                       "account.api_url and account.api_token_file are not both set: "
                       "acrelay-worker requires them");
}

// --- directory ------------------------------------------------------------------------

static void
check_filesystem(struct report *r)
{
    const char *path = r->cli->config->state_dir;
    enum filesystem kind = filesystem_of(path);

    if (kind != FILESYSTEM_LOCAL)
        report_add(r, filesystem_is_refused(kind) ? REPORT_ERROR : REPORT_WARNING,
                   EXIT_CODE_DIRECTORY, "state_dir", NULL, "%s %s", path,
                   filesystem_problem(kind));
}

// Root may do everything, which says nothing of the receiver's user.
static void
check_owner(struct report *r, const struct stat *st)
{
    const char *path = r->cli->config->state_dir;
    struct passwd *owner = geteuid() == 0 ? getpwuid(st->st_uid) : NULL;
    bool in_use = r->cli->receiver.code && journal_is_held(path);

    if (st->st_mode & 022)
        report_error(
            r, EXIT_CODE_PERMISSION, "state_dir", "run chmod 700 on it",
            "%s: other users can write to it (mode %04o), so acrelayd refuses it", path,
            st->st_mode & 07777);
    else if (geteuid() != 0 || in_use)
        report_ok(r, "state_dir", "%s%s", path,
                  in_use ? ": in use by the running receiver" : "");
    else if ((st->st_mode & S_IRWXU) != S_IRWXU)
        report_error(r, EXIT_CODE_DIRECTORY, "state_dir", "run chmod 700 on it",
                     "%s: its owner may not read and write it (mode %03o)", path,
                     st->st_mode & 0777);
    else
        report_ok(r, "state_dir",
                  "%s: its owner, %s, can read and write it (checked as root)", path,
                  owner ? owner->pw_name : "a systemd dynamic user");
}

// acrelayd makes the directory itself, but none above it.
static void
check_parent(struct report *r)
{
    const char *path = r->cli->config->state_dir;
    char copy[PATH_MAX];

    snprintf(copy, sizeof copy, "%s", path);
    const char *parent = dirname(copy);
    int result = faccessat(AT_FDCWD, parent, W_OK | X_OK, AT_EACCESS);
    if (result == 0)
        report_ok(r, "state_dir", "%s will be created%s", path,
                  geteuid() == 0 ? " (checked as root)" : "");
    else
        report_error(r, EXIT_CODE_DIRECTORY, "state_dir",
                     errno == ENOENT
                         ? "create it, or correct receiver.state_dir; a disk that is to "
                           "be mounted there may be missing"
                         : "create state_dir as root and give it to the receiver's user",
                     "%s cannot be created in %s: %s", path, parent, strerror(errno));
}

static void
check_directory(struct report *r)
{
    const char *path = r->cli->config->state_dir;
    struct stat st;

    check_filesystem(r);
    bool is_there = stat(path, &st) == 0;
    if (!is_there && errno == ENOENT)
        check_parent(r);
    else if (!is_there || !S_ISDIR(st.st_mode))
        report_error(r, EXIT_CODE_DIRECTORY, "state_dir",
                     !is_there && errno == EACCES
                         ? "run this as root, or as the user that acrelayd runs as"
                         : "move what is there out of the way, or correct "
                           "receiver.state_dir",
                     "%s: %s", path, strerror(is_there ? ENOTDIR : errno));
    else if (faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS) == 0)
        check_owner(r, &st);
    else if (errno == EACCES && st.st_uid != geteuid() && st.st_uid != 0)
        report_warning(
            r, "state_dir", "run check as that user or as root",
            "%s belongs to user %u, and the receiver must run as that user; not checked",
            path, (unsigned)st.st_uid);
    else
        report_error(r, EXIT_CODE_DIRECTORY, "state_dir",
                     "give it to the receiver's user; on a read-only file system, see "
                     "dmesg and mount it again",
                     "%s: %s; acrelayd must be able to write there", path,
                     strerror(errno));
}

// What the journal may still take, against what there is.
static void
check_disk(struct report *r)
{
    const struct config *c = r->cli->config;
    const char *path = c->state_dir;
    struct statvfs st;
    char copy[PATH_MAX], free_text[32], max_text[32];

    snprintf(copy, sizeof copy, "%s", path);
    if (statvfs(path, &st) < 0 && statvfs(dirname(copy), &st) < 0)
        return; // reported with state_dir
    uint64_t left = st.f_bavail * st.f_frsize, max = c->journal_max;
    uint64_t half = st.f_blocks * st.f_frsize / 2;
    if (max == 0)
        max = half < JOURNAL_BYTES_MAX ? half : JOURNAL_BYTES_MAX;
    double used = admin_sum_metric(&r->cli->receiver.metrics, "acrelay_journal_bytes");
    r->disk_is_full = left < JOURNAL_SEGMENT;
    text_bytes(free_text, sizeof free_text, left);
    text_bytes(max_text, sizeof max_text, max);
    if (left < DISK_MIN)
        report_error(
            r, EXIT_CODE_DIRECTORY, "disk",
            "delete or move other files on that file system (df -h, du -x), "
            "enlarge it, or give state_dir one of its own; never delete files in "
            "state_dir",
            "%s below %s: %s free%s; deliveries that cannot be stored are answered "
            "with 503",
            r->disk_is_full ? "no space left (ENOSPC)" : "little space left", path,
            free_text, r->disk_is_full ? ", and a segment takes 16 MiB" : "");
    else if ((double)left < ((double)max - used) / 2)
        report_warning(r, "disk", "free some space, or lower journal.max",
                       "%s free below %s, but the journal may use up to %s in total",
                       free_text, path, max_text);
    else
        report_ok(r, "disk", "%s free below %s; the journal uses at most %s", free_text,
                  path, max_text);
    if (st.f_favail > 0 && st.f_favail < INODES_MIN)
        report_error(r, EXIT_CODE_DIRECTORY, "disk", "delete other files there",
                     "only %llu inodes are free", (unsigned long long)st.f_favail);
}

// --- descriptors ----------------------------------------------------------------------

// The limit of this process; under systemd the unit's counts.
static void
check_descriptors(struct report *r)
{
    struct rlimit limit;
    rlim_t needed = (rlim_t)r->cli->config->threads + DESCRIPTORS_BESIDE;

    if (r->cli->receiver.code || getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
        limit.rlim_max >= needed)
        return;
    report_warning(r, "descriptors",
                   "raise the limit (ulimit -Hn; LimitNOFILE= of the unit), or lower "
                   "receiver.threads",
                   "a process started here may open %llu files, but %d threads and the "
                   "journal need %llu",
                   (unsigned long long)limit.rlim_max, r->cli->config->threads,
                   (unsigned long long)needed);
}

// --- the running programs, Redis --------------------------------------------------------

static void
ask_programs(struct report *r)
{
    admin_json_fetch(r->cli);
}

static const struct check checks[] = {
    {"reading the configuration", check_file, false},
    {"reading the other configurations", check_others, false},
    {"reading the secrets", check_secrets, false},
    // from here on not offline
    {"asking the running programs", ask_programs, true},
    {"asking Redis", check_redis, false},
    {"checking state_dir", check_directory, false},
    {"checking the disk", check_disk, true},
    {"checking the addresses", check_addresses, false},
    {"checking the limit of descriptors", check_descriptors, false},
};

static void
run_checks(struct report *r, const struct check *rows, size_t len)
{
    for (size_t i = 0; i < len && (i == 0 || r->cli->config); i++) {
        if (r->is_shown && !rows[i].by_shown)
            continue;
        output_wait("%s", rows[i].asks);
        rows[i].run(r);
        output_wait_end();
    }
}

int
report_run(struct report *r, bool offline, const struct check *more, size_t len)
{
    run_checks(r, checks, offline ? 3 : sizeof checks / sizeof *checks);
    if (r->cli->config)
        run_checks(r, more, len);
    if (!output.json)
        printf("%zu error%s, %zu warning%s\n", r->errors, PLURAL(r->errors), r->warnings,
               PLURAL(r->warnings));
    return (int)r->code;
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

static int
run_check(void *cli, struct err *err)
{
    struct cli *c = cli;
    struct report r = {.cli = c};

    (void)err;
    if (options_has(c->options, "print"))
        return print_document(options_text(c->options, "print", "settings"));
    return report_run(&r, options_has(c->options, "offline"), NULL, 0);
}

static const char *const print_words[] = {"example", "settings", "manual", NULL};
const struct subcommand cli_check_commands[] = {
    {"check", "", "check the configuration, secrets, Redis, directory and ports", 0, 0,
     OPTIONS(OPTION_IS_FLAG("offline", "check only the file and the secrets"),
             {"print", "WHAT", "print instead: example (all settings), settings, manual",
              OPTION_TEXT, print_words}),
     run_check, false, NULL},
    {0},
};
