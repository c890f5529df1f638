// The lease of worker.leader: redis, against a real redis-server.
#include "redis_server.h"
#include "worker/worker.h"

enum { LEASE_MS = 1500 };

static struct redis_server server;
static struct redis *redis;
static struct config config;
static struct worker_redis of_worker;
static struct leader *leader;

static void
set_up(void)
{
    static char account[] = "acme", namespace[] = "t";
    struct err err;

    setenv("ACRELAY_TEST_TIMES", "lease=1500", 1);
    redis_server_start(&server);
    redis = redis_server_open(&server);
    config = (struct config){.redis_url = redis_server_options(&server).url,
                             .redis_namespace = namespace,
                             .account_name = account,
                             .worker_leader_redis = true};
    of_worker = (struct worker_redis){.config = &config};
    cr_assert(leader = leader_open(&of_worker, &err));
}

static void
tear_down(void)
{
    leader_close(leader);
    worker_redis_close(&of_worker);
    redis_close(redis);
    redis_server_stop(&server);
}

TestSuite(leader, .init = set_up, .fini = tear_down, .timeout = 100);

static void
set_lease(const char *holder)
{
    redis_ask(redis, NULL, "SET", "{t}:leader", holder, "PX", "100000", NULL);
}

Test(leader, renews_its_lease_within_a_term)
{
    cr_assert(leader_take(leader, 0));
    cr_expect(leader_may_write(leader));
    unsigned term = leader_term(leader);
    for (int64_t end = clock_boot_ms() + LEASE_MS * 6 / 5; clock_boot_ms() < end;) {
        clock_sleep_ms(10);
        cr_expect(leader_may_write(leader));
    }
    cr_expect_eq(leader_term(leader), term);
    cr_expect(!leader_has_changed(leader));
}

Test(leader, does_not_write_once_another_one_led_in_this_round)
{
    cr_assert(leader_take(leader, 0));
    unsigned term = leader_term(leader);
    set_lease("another");
    while (leader_may_write(leader))
        clock_sleep_ms(10);
    redis_ask(redis, NULL, "DEL", "{t}:leader", NULL);
    cr_expect(!leader_may_write(leader));
    cr_assert(leader_take(leader, 10000));
    cr_expect(leader_may_write(leader));
    cr_expect_neq(leader_term(leader), term);
}

// The lease is taken, and the answer does not arrive: the next one says that it is ours.
Test(leader, begins_a_term_where_the_answer_to_taking_it_was_lost)
{
    cr_assert(leader_take(leader, 0));
    unsigned term = leader_term(leader);
    set_lease("another");
    while (!leader_has_changed(leader)) // Redis is away: nobody asks, and it runs out
        clock_sleep_ms(10);
    set_lease(leader_self(leader));
    cr_assert(leader_take(leader, 10000));
    cr_expect_neq(leader_term(leader), term);
}
