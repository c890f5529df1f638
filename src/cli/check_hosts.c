// How Redis is reached: the group of its socket; the sentinels or nodes that redis.url names, which of
// them answer, and whether they agree where the keys are; for how long the certificates are valid.
// The server itself is looked at by check_redis.
#include "cli/cli.h"

#include "base/clock.h"
#include "relay/relay.h"

#include <grp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOST_MS = 1000, SLOTS = 16384, DAY_S = 86400, DAYS_MIN = 14 };

// --- the socket ---------------------------------------------------------------------------

// Root may connect to any socket, which says nothing of the receiver's user.
static void
check_socket(struct report *r)
{
    const char *path = r->redis_url.path;
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

// --- sentinels or nodes -------------------------------------------------------------------

struct poll {
    struct report *report;
    struct redis_options options;
    const char *what;
    bool silent[REDIS_HOSTS_MAX]; // it did not answer, and is asked no more
    char answers[REDIS_HOSTS_MAX][REDIS_ADDRESS]; // "": none
};

static void
ask_all(struct poll *p)
{
    struct redis_host at;

    for (size_t i = 0; i < p->options.url.hosts_len; i++) {
        struct err err = {0};
        p->answers[i][0] = '\0';
        if (p->silent[i])
            continue;
        p->silent[i] = redis_find_ask(&p->options, i, &at, &err) < 0;
        if (!p->silent[i])
            redis_host_text(&at, p->answers[i]);
        else
            report_warning(p->report, p->what, relay_advice(err.text)->advice, "%s",
                           err.text);
    }
}

static size_t
count_answers(const struct poll *p, const char *answer)
{
    size_t count = 0;

    for (size_t i = 0; i < p->options.url.hosts_len; i++)
        count += strcmp(p->answers[i], answer) == 0;
    return count;
}

// What most of them say; "" when none says anything.
static const char *
find_majority(const struct poll *p)
{
    const char *most = "";

    for (size_t i = 0; i < p->options.url.hosts_len; i++)
        if (p->answers[i][0] &&
            (!*most || count_answers(p, p->answers[i]) > count_answers(p, most)))
            most = p->answers[i];
    return most;
}

// That nobody answers is an error when the server is connected to.
static void
report_poll(const struct poll *p, const char *tag)
{
    const struct redis_url *url = &p->options.url;
    const char *most = find_majority(p);
    char host[REDIS_ADDRESS];

    if (*most && url->kind == REDIS_SENTINEL)
        report_ok(p->report, p->what, "%zu of %zu say that the master %s is at %s",
                  count_answers(p, most), url->hosts_len, url->master, most);
    else if (*most)
        report_ok(p->report, p->what, "%zu of %zu say that slot %d, of {%s}, is at %s",
                  count_answers(p, most), url->hosts_len,
                  config_partition_of(span_of(tag), SLOTS), tag, most);
    for (size_t i = 0; i < url->hosts_len; i++) {
        redis_host_text(&url->hosts[i], host);
        if (p->answers[i][0] && strcmp(p->answers[i], most) != 0)
            report_warning(p->report, p->what,
                           "after a failover this passes by itself; if it stays, "
                           "compare SENTINEL MASTERS or CLUSTER NODES there with the "
                           "others",
                           "%s says that it is at %s", host, p->answers[i]);
    }
}

static void
poll_tag(struct poll *p, const char *tag)
{
    char key[CONFIG_TAG + sizeof "{}:account"];

    snprintf(key, sizeof key, "{%s}:account", tag);
    p->options.key = key;
    ask_all(p);
    report_poll(p, tag);
}

void
check_hosts(struct report *r)
{
    const struct config *c = r->cli->config;
    struct poll p = {.report = r};
    struct redis_secrets secrets = {0};
    char tag[CONFIG_TAG];
    struct err err;

    r->redis_url = c->redis_url;
    bool asks = !r->cli->is_last_good && // no password is sent by it (cli_redis)
                config_redis_options(&p.options, c, &secrets, &err) == 0;
    if (asks)
        r->redis_url = p.options.url;
    const char *user = asks ? p.options.user : c->redis_user;
    snprintf(r->redis_user, sizeof r->redis_user, "%s", user ? user : "default");
    check_socket(r);
    if (asks && p.options.url.kind != REDIS_PLAIN) {
        bool cluster = p.options.url.kind == REDIS_CLUSTER;
        p.what = cluster ? "redis cluster" : "redis sentinel";
        p.options.connect_ms = HOST_MS;
        for (int i = 0; i < (cluster ? config_partitions(c) : 1); i++)
            poll_tag(&p, config_tag(c, i, tag));
    }
    redis_secrets_wipe(&secrets);
}

// --- certificates -------------------------------------------------------------------------

static void
report_certificate(struct report *r, const char *which, int64_t ends, const char *tls)
{
    int64_t days = (ends - clock_now_us() / 1000000) / DAY_S;
    char date[CLOCK_TEXT];

    clock_format_seconds(date, ends * 1000000);
    if (days < DAYS_MIN)
        report_warning(r, "redis tls", "renew it; each new connection reads it again",
                       "%s: %s expires in %lld day%s, on %.10s", tls, which,
                       (long long)days, PLURAL(days), date);
    else
        report_ok(r, "redis tls", "%s: %s is valid for %lld more days, until %.10s", tls,
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
