// How Redis is reached: the socket's group, and for how long the certificates are valid.
#include "cli/cli.h"

#include <grp.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { DAY_S = 86400, DAYS_MIN = 14 };

// Root may connect to any socket, which says nothing of the receiver's user.
void
check_redis_socket(struct report *r)
{
    const char *path = r->cli->config->redis_url.path;
    bool connected = r->cli->receiver.code && !r->cli->receiver.redis[0];
    struct group *group;
    struct stat st;

    if (!*path || geteuid() != 0 || connected || stat(path, &st) < 0 ||
        (st.st_mode & S_IWOTH))
        return;
    group = getgrgid(st.st_gid);
    report_warning(r, "redis user",
                   "under systemd: SupplementaryGroups= of that group in a drop-in of "
                   "acrelayd.service and acrelay-worker.service",
                   "%s accepts only its owner and group %s (mode %03o); root can "
                   "connect, but whether the receiver's user can was not checked",
                   path, group ? group->gr_name : "(without a name)", st.st_mode & 0777);
}

static void
report_certificate(struct report *r, const char *which, int64_t ends, const char *tls)
{
    time_t at = (time_t)ends;
    int64_t days = (ends - time(NULL)) / DAY_S;
    struct tm tm;
    char date[16] = "";

    if (gmtime_r(&at, &tm))
        strftime(date, sizeof date, "%Y-%m-%d", &tm);
    if (days < DAYS_MIN)
        report_warning(r, "redis tls", "renew it; each new connection reads it again",
                       "%s: %s expires in %lld day%s, on %s", tls, which, (long long)days,
                       days == 1 ? "" : "s", date);
    else
        report_ok(r, "redis tls", "%s: %s is valid for %lld more days, until %s", tls,
                  which, (long long)days, date);
}

// A client certificate that has expired already was refused by the server, where it matters.
void
check_redis_tls(struct report *r, const struct redis *redis)
{
    const char *own = r->cli->config->redis_tls_cert_file;
    struct tls_state state;
    char which[TLS_NAME + 32];

    if (!redis_tls_state(redis, &state))
        return;
    snprintf(which, sizeof which, "the server's certificate (%s)", state.whose);
    report_certificate(r, which, state.ends, state.version);
    if (own && tls_file_ends(own))
        report_certificate(r, own, tls_file_ends(own), "client certificate");
}
