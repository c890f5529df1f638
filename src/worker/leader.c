#include "worker/leader.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "hook/ac_client.h"
#include "worker/lock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

struct leader {
    bool by_lease;
    int64_t lease_ms; // redis: renewed after a third; no write begins in the last two
    struct store *store;
    struct lock lock; // local
    bool locked;
    char self[33]; // redis: who we are
    // On the clock that goes on in suspended machines: the lease does so too.
    int64_t until_ms; // redis: end of the lease, 0: not the leader
    int64_t asked_ms;
};

// Takes a free lease, renews ours, leaves another's alone: one step, so that none can come
// in between.
static const char script[] =
    "local o = redis.call('GET', KEYS[1]) "
    "if o == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1 end "
    "if o then return 0 end "
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1";
static const char release_script[] = "if redis.call('GET', KEYS[1]) == ARGV[1] then "
                                     "redis.call('DEL', KEYS[1]) end return 1";

static int64_t
now_ms(void)
{
    return clock_boot_us() / 1000;
}

struct leader *
leader_open(const struct config *c, struct store *store, struct err *err)
{
    struct leader *l = memory_get(sizeof *l);
    unsigned char random[16];

    static_assert(LEADER_LEASE_MS * 2 / 3 >= AC_CLIENT_TIMEOUT_MS,
                  "a request ends in time");
    *l = (struct leader){.by_lease = c->worker_leader_redis,
                         .lease_ms = times_ms("lease", LEADER_LEASE_MS),
                         .store = store};
    if (getrandom(random, sizeof random, 0) != sizeof random) {
        err_errno(err, "no random bytes");
        free(l);
        return NULL;
    }
    text_hex(l->self, sizeof l->self, random, sizeof random);
    if (l->by_lease || lock_init(&l->lock, c, err) == 0)
        return l;
    free(l);
    return NULL;
}

void
leader_use(struct leader *l, const struct config *c)
{
    if (!l->by_lease)
        (void)lock_init(&l->lock, c, NULL); // as at the start, but for the token's file
}

static bool
run_script(struct leader *l, const char *text)
{
    char key[128];

    store_key(l->store, key, sizeof key, "leader");
    char ms[24];
    snprintf(ms, sizeof ms, "%lld", (long long)l->lease_ms);
    struct span args[] = {span_of(text), SPAN("1"), span_of(key), span_of(l->self),
                          span_of(ms)};
    const struct redis_reply *reply = store_command(l->store, "EVAL", NULL, args, 5);
    return reply && redis_reply_number(reply) == 1;
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

static void
ask(struct leader *l)
{
    int64_t before = now_ms(); // the lease counts from before it was asked for
    bool was = l->until_ms > before;

    l->asked_ms = before;
    if (run_script(l, script)) {
        l->until_ms = before + l->lease_ms;
        if (!was)
            log_info("worker: this is the leader now");
    } else if (store_is_up(l->store)) {
        if (was)
            log_warn("worker: another worker is the leader now");
        l->until_ms = 0;
    }
}

bool
leader_take(struct leader *l, int64_t wait_ms)
{
    int64_t end = now_ms() + wait_ms;

    for (;;) {
        if (l->by_lease) {
            leader_tick(l);
            if (leader_is(l))
                return true;
            if (!store_is_up(l->store))
                return false; // nobody says who is the leader
        } else if (lock_take(&l->lock)) {
            return l->locked = true;
        }
        if (now_ms() >= end)
            return false;
        clock_sleep_ms(100);
        if (l->by_lease)
            l->asked_ms = 0;
    }
}

void
leader_leave(struct leader *l)
{
    if (l->locked)
        lock_leave(&l->lock);
    l->locked = false;
}

void
leader_tick(struct leader *l)
{
    if (l->by_lease && (l->asked_ms == 0 || now_ms() - l->asked_ms >= l->lease_ms / 3))
        ask(l);
}

bool
leader_is(const struct leader *l)
{
    return l->by_lease ? l->until_ms > now_ms() : l->locked;
}

bool
leader_may_write(struct leader *l)
{
    if (!l->by_lease)
        return l->locked;
    leader_tick(l);
    if (l->until_ms - now_ms() <= l->lease_ms * 2 / 3)
        ask(l);
    return l->until_ms - now_ms() > l->lease_ms * 2 / 3;
}
