// The files of the local lock are opened each time, so that a token that was replaced, or a
// directory that the service manager made again, is the one that others see too. It is a file of
// mode 600 in $RUNTIME_DIRECTORY or $STATE_DIRECTORY, as systemd gives them to the unit, else in
// /run/acrelay-worker, or -NAME of an account: that is the unit's, so that root finds it by hand.
// The file with the API token is locked as well: anyone who may run a worker can read it, nobody
// else can open it, and workers outside of units have it in common, whatever user they run as.
#include "worker/worker.h"

#include "base/log.h"
#include "base/text.h"
#include "edge/digest.h"
#include "edge/redis.h"
#include "relay/relay.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNIT_DIRECTORY "/run/acrelay-worker"

struct lock {
    char directory[PATH_MAX], name[32]; // "" where there is none
    const char *token;                  // a path of the configuration; NULL: none
    bool is_own;                        // the directory, made by us
    int fds[2];                         // -1: not taken
};

struct leader {
    bool by_lease;
    int64_t lease_ms; // redis: renewed after a third; no write begins in the last two
    struct worker_redis *redis;
    struct lock lock;  // local
    char self[33];     // of the lease: who we are
    unsigned term;     // how often it was taken
    unsigned round;    // the term of this round
    bool leads;        // in this round
    char refused[400]; // why it may not lead at all; "": it may
    // On the clock that goes on in suspended machines: the lease does so too.
    int64_t until_ms; // end of the lease, 0: not the leader
    int64_t asked_ms;
};

// --- local ---------------------------------------------------------------------------------

// Of the file itself, whatever link or relative path leads to it.
static void
make_name(char *to, size_t size, const char *file)
{
    char real[PATH_MAX], hex[17];
    unsigned char digest[DIGEST_BYTES];

    struct span name = span_of(realpath(file, real) ? real : file);
    digest_of(&name, 1, digest);
    text_hex(hex, sizeof hex, digest, 8);
    snprintf(to, size, "%s.lock", hex);
}

static int
not_private(struct err *err, const char *path)
{
    return err_exit(err, EXIT_CODE_DIRECTORY,
                    "%s: not a private directory for the leader's lock (owner, mode 700 "
                    "or 755, no link). Under systemd: RuntimeDirectory=acrelay-worker",
                    path);
}

static bool
is_private(const struct stat *st, mode_t others)
{
    return (st->st_uid == geteuid() || st->st_uid == 0 || geteuid() == 0) &&
           (st->st_mode & others) == 0;
}

// The lock file, made where it is not there; for root in the unit's directory it is the unit's.
static int
open_file(const struct lock *l, struct err *err)
{
    struct stat directory, st;
    int at = open(l->directory,
                  O_RDONLY | O_DIRECTORY | O_CLOEXEC | (l->is_own ? O_NOFOLLOW : 0)),
        fd = -1;

    if (at < 0 || fstat(at, &directory) < 0)
        err_errno(err, "%s: cannot open the directory of the leader's lock",
                  l->directory);
    else if (!is_private(&directory, 022) || (l->is_own && directory.st_uid != geteuid()))
        not_private(err, l->directory);
    else if ((fd = openat(at, l->name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)) <
             0)
        err_errno(err, "%s/%s: cannot open the leader's lock", l->directory, l->name);
    if (at >= 0)
        close(at);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !is_private(&st, 077)) {
        close(fd);
        return not_private(err, l->directory);
    }
    if (geteuid() == 0 && st.st_uid == 0 && directory.st_uid != 0 &&
        fchown(fd, directory.st_uid, directory.st_gid) < 0)
        return fd; // the unit cannot open it then, and reports it
    return fd;
}

static void
find_directory(struct lock *l, const char *file)
{
    const char *given = getenv("RUNTIME_DIRECTORY");
    char unit[sizeof UNIT_DIRECTORY + CONFIG_SUFFIX], suffix[CONFIG_SUFFIX];

    if (!given || !*given)
        given = getenv("STATE_DIRECTORY");
    if (given && *given) {
        snprintf(l->directory, sizeof l->directory, "%.*s", (int)strcspn(given, ":"),
                 given);
        return;
    }
    snprintf(unit, sizeof unit, UNIT_DIRECTORY "%s", config_suffix(file, suffix));
    if (geteuid() == 0)
        (void)mkdir(unit, 0700); // the unit makes it its own when it starts
    if (access(unit, W_OK | X_OK) == 0)
        snprintf(l->directory, sizeof l->directory, "%s", unit);
}

static void
find_lock(struct lock *l, const struct config *c)
{
    *l = (struct lock){.fds = {-1, -1}};
    find_directory(l, c->file);
    if (c->account_api_token_file && access(c->account_api_token_file, R_OK) == 0)
        l->token = c->account_api_token_file;
    // Where neither a directory was given nor a token is in a file: another user could only
    // keep us out by making this first, and would be named.
    l->is_own = !l->directory[0] && !l->token;
    if (l->is_own) {
        snprintf(l->directory, sizeof l->directory, "/tmp/acrelay-worker-%u",
                 (unsigned)geteuid());
        (void)mkdir(l->directory, 0700);
    }
    make_name(l->name, sizeof l->name, c->file);
}

static void
unlock(struct lock *l)
{
    for (int i = 0; i < 2; i++) {
        if (l->fds[i] >= 0)
            close(l->fds[i]);
        l->fds[i] = -1;
    }
}

static bool
has_lock(const struct lock *l)
{
    return l->fds[0] >= 0 || l->fds[1] >= 0;
}

// false: another one has it. What cannot be locked at all keeps nobody out.
static bool
take(int fd)
{
    return fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

// lock takes all of it, or nothing and returns false when another one has it.
static bool
lock(struct lock *l)
{
    if (l->directory[0])
        l->fds[0] = open_file(l, NULL);
    if (l->token)
        l->fds[1] = open(l->token, O_RDONLY | O_CLOEXEC);
    if (has_lock(l) && take(l->fds[0]) && take(l->fds[1]))
        return true;
    unlock(l);
    return false;
}

// --- the lease -----------------------------------------------------------------------------

// Renews our lease, takes a free one, leaves another's alone: one step, so that none can come
// in between. One without an end, as a copy of Redis's data may leave it, is nobody's: it gets one.
enum { LEASE_UNKNOWN = -1, LEASE_OTHERS, LEASE_RENEWED, LEASE_TAKEN };
static const char script[] =
    "local o = redis.call('GET', KEYS[1]) "
    "if o == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1 end "
    "if o then redis.pcall('PEXPIRE', KEYS[1], ARGV[2], 'NX') return 0 end "
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 2";
static const char release_script[] = "if redis.call('GET', KEYS[1]) == ARGV[1] then "
                                     "redis.call('DEL', KEYS[1]) end return 1";

struct leader *
leader_open(struct worker_redis *redis, struct err *err)
{
    struct leader *l = memory_get(sizeof *l);
    unsigned char random[16];

    static_assert(LEADER_LEASE_MS * 2 / 3 >= AC_CLIENT_TIMEOUT_MS,
                  "a request ends in time");
    *l = (struct leader){.by_lease = redis->config->worker_leader_redis,
                         .lease_ms = times_ms("lease", LEADER_LEASE_MS),
                         .redis = redis};
    if (getrandom(random, sizeof random, 0) != sizeof random) {
        err_errno(err, "no random bytes");
        free(l);
        return NULL;
    }
    text_hex(l->self, sizeof l->self, random, sizeof random);
    if (l->by_lease) {
        redis->lease = l->self;
        return l;
    }
    find_lock(&l->lock, redis->config);
    if (l->lock.directory[0] && (l->lock.fds[0] = open_file(&l->lock, err)) < 0) {
        err->exit = EXIT_CODE_DIRECTORY;
        free(l);
        return NULL;
    }
    unlock(&l->lock);
    return l;
}

static int64_t
run_script(struct leader *l, const char *text)
{
    char ms[24];

    snprintf(ms, sizeof ms, "%lld", (long long)l->lease_ms);
    const struct redis_reply *reply = worker_redis_eval(
        l->redis, "EVAL of the lease", text, "leader", l->self, ms, NULL);
    return reply ? redis_value(reply).number : LEASE_UNKNOWN;
}

void
leader_close(struct leader *l)
{
    if (!l)
        return;
    if (l->until_ms)
        (void)run_script(l, release_script); // else it runs out by itself
    leader_leave(l);
    free(l);
}

// Whose namespace it is; ours from now on where it was nobody's. Where Redis does not answer that is
// not known, and nobody is kept out: hooks can do without Redis.
static void
check_account(struct leader *l)
{
    const char *ours = l->redis->config->account_name;
    struct span account =
        redis_value(worker_redis_eval(l->redis, "GET and SET of the account",
                                      relay_account_script, "account", ours, NULL))
            .text;
    l->refused[0] = '\0';
    if (account.len > 0 && !span_is(account, ours))
        snprintf(l->refused, sizeof l->refused, RELAY_ACCOUNT_IS_OTHER ": %s",
                 l->redis->config->redis_namespace, (int)account.len, account.at, ours,
                 relay_advice(RELAY_ACCOUNT_IS_OTHER)->advice);
}

static void
ask(struct leader *l)
{
    int64_t before = clock_boot_ms(); // the lease counts from before it was asked for
    bool was = l->until_ms > before;

    l->asked_ms = before;
    check_account(l);
    int64_t lease = l->refused[0] ? LEASE_OTHERS : run_script(l, script);
    if (l->refused[0])
        l->until_ms = 0;
    else if (lease > LEASE_OTHERS) {
        l->until_ms = before + l->lease_ms;
        l->term += lease == LEASE_TAKEN || !was; // the answer to taking it may be lost
        if (!was)
            log_info("worker: this is the leader now");
    } else if (l->redis->redis) {
        if (was)
            log_warn("worker: this is not the leader any more: %s",
                     lease == LEASE_OTHERS ? "another worker is"
                                           : "Redis refuses to renew its lease");
        l->until_ms = 0;
    }
}

static bool
try_to_take(struct leader *l)
{
    if (!l->by_lease)
        return !l->refused[0] && lock(&l->lock);
    leader_tick(l);
    return l->until_ms > clock_boot_ms();
}

bool
leader_take(struct leader *l, int64_t wait_ms)
{
    int64_t end = clock_boot_ms() + wait_ms;

    if (!l->by_lease) {
        find_lock(&l->lock, l->redis->config); // the token's file may be another one now
        check_account(l);
    }
    while (!(l->leads = try_to_take(l))) {
        if (clock_boot_ms() >= end || l->refused[0] ||
            (l->by_lease && !l->redis->redis)) // nobody says who leads
            return false;
        clock_sleep_ms(100);
        l->asked_ms = 0;
    }
    l->round = l->term;
    return true;
}

bool
leader_has_changed(const struct leader *l)
{
    bool leads = l->until_ms > clock_boot_ms();

    return l->by_lease && (leads != l->leads || (leads && l->term != l->round));
}

const char *
leader_refused(const struct leader *l)
{
    return l->refused[0] ? l->refused : NULL;
}

void
leader_leave(struct leader *l)
{
    if (!l->by_lease)
        unlock(&l->lock);
}

static bool
wants_lease(const struct leader *l)
{
    return l->by_lease || l->redis->config->services_len;
}

void
leader_tick(struct leader *l)
{
    if (l && wants_lease(l) &&
        (l->asked_ms == 0 || clock_boot_ms() - l->asked_ms >= l->lease_ms / 3))
        ask(l);
}

// With enough left for a request.
static bool
has_lease(struct leader *l)
{
    return l->until_ms - clock_boot_ms() > l->lease_ms * 2 / 3;
}

bool
leader_may_command(struct leader *l)
{
    leader_tick(l);
    if (!has_lease(l) &&
        l->until_ms > clock_boot_ms()) // a standby asks in leader_tick only
        ask(l);
    return has_lease(l);
}

bool
leader_may_write(struct leader *l)
{
    if (!l->by_lease)
        return has_lock(&l->lock);
    leader_tick(l);
    if (!has_lease(l))
        ask(l);
    return has_lease(l) && l->term == l->round;
}

const char *
leader_self(const struct leader *l)
{
    return l->self;
}

unsigned
leader_term(const struct leader *l)
{
    return l->term;
}
