// What INFO says against using this server.
#include "cli/cli.h"

#include "base/text.h"

#include <stdio.h>

struct span
check_info_value(struct span text, const char *name)
{
    while (text.len > 0) {
        struct span line = span_cut(&text, '\n');
        struct span value = line;
        if (span_equal(span_cut(&value, ':'), span_of(name)))
            return span_to(value, span_find(value, '\r'));
    }
    return (struct span){"", 0};
}

static bool
info_is(struct span info, const char *name, const char *value)
{
    return span_is(check_info_value(info, name), value);
}

static void
check_version(struct report *r, struct span info, char to[CHECK_VERSION])
{
    struct span version = check_info_value(info, "redis_version");
    struct span valkey = check_info_value(info, "valkey_version");
    struct span shown = valkey.len ? valkey : version;
    char text[40], oldest[40];

    text_escape(oldest, sizeof oldest, version); // Valkey says which Redis it is like
    text_escape(text, sizeof text, shown);
    if (shown.len)
        snprintf(to, CHECK_VERSION, "%sversion %s", valkey.len ? "Valkey " : "", text);
    if (version.len == 0)
        report_warning(
            r, "redis",
            "acrelay is tested with Redis 7.0 and 8.0, and with Valkey 8.0 and 8.1",
            "INFO does not contain its version");
    else if (strverscmp(oldest, "6.2") < 0) // XTRIM MINID
        report_error(r, EXIT_CODE_UNAVAILABLE, "redis",
                     "install Redis 6.2 or later; the oldest tested is 7.0",
                     "%s: version %s, but acrelay needs Redis 6.2 (XTRIM MINID)",
                     r->cli->config->redis_url.text, text);
}

static void
check_persistence(struct report *r, struct span info)
{
    if (info_is(info, "aof_last_write_status", "err") ||
        info_is(info, "rdb_last_bgsave_status", "err"))
        report_error(r, EXIT_CODE_UNAVAILABLE, "redis disk",
                     "check Redis's log and disk; until then it refuses writes, and "
                     "deliveries wait in the journal",
                     "Redis could not write its last snapshot or append-only file");
    if (info_is(info, "maxmemory", "0"))
        report_warning(r, "redis memory",
                       "set maxmemory with maxmemory-policy noeviction: a full Redis "
                       "then refuses writes, and deliveries wait in the journal",
                       "maxmemory is not set: Redis grows until the kernel kills it");
    if (info_is(info, "aof_enabled", "0") && info_is(info, "connected_slaves", "0"))
        report_warning(r, "durability",
                       "set appendonly yes, or run a replica; journal.keep limits what "
                       "can be sent again",
                       "there is neither an append-only file nor a replica: a crash "
                       "loses everything since the last snapshot");
}

static void
check_policy(struct report *r, struct span info)
{
    struct span policy = check_info_value(info, "maxmemory_policy");

    if (span_starts(policy, SPAN("allkeys-")))
        report_error(r, EXIT_CODE_CONFIG, "redis", "set maxmemory-policy noeviction",
                     "maxmemory-policy is %.*s: Redis could evict streams, so the relay "
                     "does not use it",
                     (int)policy.len, policy.at);
}

static int
connected_replicas(struct span info)
{
    uint64_t replicas = 0;

    (void)text_number(&replicas, check_info_value(info, "connected_slaves"), INT_MAX);
    return (int)replicas;
}

// Whether redis.confirm can be had at all.
static void
check_confirm(struct report *r, struct span info)
{
    int confirm = r->cli->config->redis_confirm;

    if (confirm == CONFIG_CONFIRM_AOF && info_is(info, "aof_enabled", "0"))
        report_error(r, EXIT_CODE_CONFIG, "redis confirm",
                     "set appendonly yes, or change redis.confirm",
                     "redis.confirm is aof, but appendonly is off: nothing is published");
    if (connected_replicas(info) < confirm)
        report_error(r, EXIT_CODE_UNAVAILABLE, "redis confirm",
                     "bring the replicas back, or change redis.confirm",
                     "redis.confirm is replicas=%d, but %d are connected: what is "
                     "published is not confirmed, and the journal keeps it",
                     confirm, connected_replicas(info));
}

// INFO counts good replicas only where some are required. With a single one, requiring it would stop
// all writes after a failover.
static void
check_isolation(struct report *r, struct span info)
{
    if (r->redis_url.kind == REDIS_SENTINEL && connected_replicas(info) >= 2 &&
        check_info_value(info, "min_slaves_good_slaves").len == 0)
        report_warning(r, "redis sentinel",
                       "set min-replicas-to-write 1 on every server: a master that has "
                       "lost its replicas then refuses writes, and the sentinels are "
                       "asked again",
                       "min-replicas-to-write is 0: a master that is cut off from its "
                       "sentinels stays in use, also when they have chosen another");
}

void
check_info(struct report *r, struct span info, char version[CHECK_VERSION])
{
    check_version(r, info, version);
    check_policy(r, info);
    check_confirm(r, info);
    check_isolation(r, info);
    if (r->deep)
        check_persistence(r, info);
    else if (info_is(info, "aof_enabled", "0"))
        report_warning(r, "redis", "set appendonly yes in Redis",
                       "appendonly is off: after a crash of Redis the relay sends again "
                       "what the journal has, and consumers see new entry ids");
}
