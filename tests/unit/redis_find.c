// Where MOVED sends us. Finding itself is tried with real sentinels and clusters (tests/live).
#include "edge/redis_find.h"

#include <criterion/criterion.h>
#include <string.h>

static struct redis_find find;

static bool
is_sent_to(const char *reply, const char *host, uint16_t port)
{
    find = (struct redis_find){.at = {"here", 1}};
    return redis_find_follow(&find, span_of(reply)) &&
           strcmp(find.next.name, host) == 0 && find.next.port == port;
}

static bool
is_sent_nowhere(const char *reply)
{
    find = (struct redis_find){.at = {"here", 1}};
    return !redis_find_follow(&find, span_of(reply)) && find.next.port == 0;
}

Test(redis_find, follows_moved)
{
    cr_expect(is_sent_to("MOVED 3999 10.0.0.7:6381", "10.0.0.7", 6381));
    cr_expect(is_sent_to("MOVED 1 fe80::1:7000", "fe80::1", 7000));
    cr_expect(
        is_sent_to("MOVED 1 node-3.acme.example:7000", "node-3.acme.example", 7000));
}

Test(redis_find, takes_an_empty_host_for_the_one_it_is_connected_to)
{
    cr_expect(is_sent_to("MOVED 1 :7000", "here", 7000));
}

Test(redis_find, follows_nothing_else)
{
    char name[REDIS_HOST + 100] = "MOVED 1 ";

    cr_expect(is_sent_nowhere("MOVED 1 host"));
    cr_expect(is_sent_nowhere("MOVED 1 host:0"));
    cr_expect(is_sent_nowhere("MOVED 1 host:65536"));
    cr_expect(is_sent_nowhere("MOVED 1 ?:6379"));
    cr_expect(is_sent_nowhere("MOVED"));
    cr_expect(is_sent_nowhere("ASK 1 host:6379"));
    cr_expect(is_sent_nowhere("ERR MOVED 1 host:6379"));
    memset(name + 8, 'a', REDIS_HOST);
    strcpy(name + 8 + REDIS_HOST, ":6379");
    cr_expect(is_sent_nowhere(name));
}

Test(redis_find, writes_addresses_for_people)
{
    char text[REDIS_ADDRESS];

    redis_host_text(&(struct redis_host){"::1", 7000}, text);
    cr_expect_str_eq(text, "[::1]:7000");
    redis_host_text(&(struct redis_host){"redis_1", 7000}, text);
    cr_expect_str_eq(text, "redis_1:7000");
}
