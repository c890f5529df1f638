// A Redis that refuses what the relay asks or sends, and a disk that does.
#include "relay_scene.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_bool is_disk_bad;
static atomic_int failed_reads;

ssize_t pread_of_a_bad_disk(int fd, void *to, size_t len, off_t at) __asm__("pread");
ssize_t
pread_of_a_bad_disk(int fd, void *to, size_t len, off_t at)
{
    if (!is_disk_bad || at == 0) // the header
        return syscall(SYS_pread64, fd, to, len, at);
    failed_reads++;
    errno = EIO;
    return -1;
}

static int
connections(void)
{
    struct span info = redis_value(ask("INFO stats")).text;
    const char *name = "total_connections_received:";
    const char *found = memmem(info.at, info.len, name, strlen(name));

    cr_assert(found);
    return atoi(found + strlen(name));
}

TestSuite(relay_refused, .init = set_up, .fini = tear_down, .timeout = 100);

Test(relay_refused, waits_out_of_memory_and_read_only_and_without_replicas)
{
    static const char *const faults[][3] = {
        {"CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM"},
        {"CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0",
         "NOREPLICAS"},
        {"REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "READONLY"},
    };

    relay_up();
    post(1, 1);
    until(s.cursor == 1);
    for (int i = 0; i < 3; i++) {
        command(faults[i][0]);
        post(i * 10 + 2, i * 10 + 11);
        until(s.state == RELAY_CONNECTING &&
              strstr(s.message, i < 2 ? faults[i][2] : ""));
        command(faults[i][1]);
        until(s.state == RELAY_SHIPPING && s.cursor == (uint64_t)i * 10 + 11);
    }
    stream_is("events", 1, 31);
}

Test(relay_refused, stops_with_an_alarm_at_a_block_that_cannot_be_read)
{
    post(1, 3);
    relay_down();
    is_disk_bad = true;
    relay_up();
    until(s.state == RELAY_STOPPED && s.up && strstr(s.message, "cannot be read"));
    is_disk_bad = false;
    until(s.cursor == 3);
    stream_is("events", 1, 3);
}

// Redis is not at fault: the connection stays, and the disk is tried again as slowly as after any
// alarm, for that is what the waits of a minute leave.
Test(relay_refused, keeps_its_connection_while_the_journal_cannot_be_read)
{
    set_times("relay-backoff=60000 relay-backoff-max=60000");
    post(1, 3);
    relay_down();
    int before = connections();
    is_disk_bad = true;
    relay_up();
    until(s.state == RELAY_STOPPED && s.up && failed_reads > 5);
    is_disk_bad = false;
    until(s.state == RELAY_SHIPPING && s.cursor == 3);
    cr_expect_eq(connections(), before + 1);
    stream_is("events", 1, 3);
}

Test(relay_refused, stops_with_an_alarm_on_a_wrong_type_and_goes_on_when_it_is_gone)
{
    relay_up();
    post(1, 3);
    until(s.cursor == 3);
    command("SET {t}:other text");
    post_to("other", DELIVERY_MARK, "event 1");
    post(4, 5);
    until(s.state == RELAY_STOPPED && strstr(s.message, "WRONGTYPE") &&
          strstr(s.message, "{t}:other"));
    command("DEL {t}:other");
    until(s.cursor == 6);
    stream_is("events", 1, 5);
    stream_is("other", 1, 1);
}

Test(relay_refused, refuses_a_redis_that_may_evict_the_cursor)
{
    command("CONFIG SET maxmemory-policy allkeys-lru");
    relay_up();
    post(1, 1);
    until(s.state == RELAY_STOPPED && strstr(s.message, "may evict"));
    cr_expect_eq(redis_value(ask("XLEN {t}:events")).number, 0);
    command("CONFIG SET maxmemory-policy noeviction");
    until(s.cursor == 1);
}

Test(relay_refused, needs_its_password_and_its_rights)
{
    command("ACL SETUSER acrelay on >secret ~{t}:* +evalsha +eval +hmget +hset +xadd");
    relay_up_as("acrelay", "wrong");
    post(1, 2);
    // It answers: the alert is that the relay has stopped, not that Redis is down.
    until(s.state == RELAY_STOPPED && strstr(s.message, "WRONGPASS") && s.up);
    command("ACL SETUSER acrelay >wrong");
    until(s.state == RELAY_STOPPED && strstr(s.message, "script"));
    cr_expect_eq(redis_value(ask("XLEN {t}:events")).number, 0);
    command("ACL SETUSER acrelay +@all -@dangerous");
    until(s.cursor == 2);
    stream_is("events", 1, 2);
}

Test(relay_refused, stops_for_any_right_that_is_missing_and_makes_no_dead_letters)
{
    static const char *const rights[][2] = {
        {"-evalsha", "+evalsha"},
        {"-hset", "+hset"},
        {"-xadd", "+xadd"},
        {"-hmget", "+hmget"},
        {"-time", "+time"},
        {"-zadd", "+zadd"},
        {"resetkeys ~{t}:dead ~{t}:cursor:* ~{t}:seen:* ~{t}:last", "~{t}:events"},
        {"resetkeys ~{t}:dead ~{t}:events ~{t}:seen:* ~{t}:last", "~{t}:cursor:*"},
    };
    uint64_t posted = 0;
    char text[128];

    command("ACL SETUSER acrelay on >secret ~{t}:* +@all -@dangerous");
    relay_up_as("acrelay", "secret");
    for (size_t i = 0; i < sizeof rights / sizeof *rights; i++) {
        snprintf(text, sizeof text, "ACL SETUSER acrelay %s", rights[i][0]);
        command(text);
        post((int)posted + 1, (int)posted + 2);
        posted += 2;
        until(s.state == RELAY_STOPPED || s.cursor == posted); // where it is not needed
        snprintf(text, sizeof text, "ACL SETUSER acrelay %s", rights[i][1]);
        command(text);
        until(s.state == RELAY_SHIPPING && s.cursor == posted);
    }
    cr_expect_eq(counted(RELAY_DEAD_LETTERS), 0u);
    stream_is("events", 1, (int)posted);
}

Test(relay_refused, makes_a_dead_letter_of_a_record_that_is_refused_alone)
{
    relay_up();
    post(1, 3);
    until(s.cursor == 3);
    command("XADD {t}:full 18446744073709551615-18446744073709551615 a b");
    post(4, 5);
    post_to("full", DELIVERY_MARK, "event 6");
    post(6, 8);
    until(s.cursor == 9);
    stream_is("events", 1, 8);
    cr_expect_eq(redis_value(ask("XLEN {t}:dead")).number, 1);
    field_is("dead", 0, "reason", "redis");
    field_is("dead", 0, "raw", "event 6");
}

Test(relay_refused, makes_a_dead_letter_of_what_is_no_event)
{
    relay_up();
    post_to("events", DELIVERY_MARK, "");
    post(1, 1);
    until(s.cursor == 2 && counted(RELAY_DEAD_LETTERS) == 1);
    field_is("dead", 0, "reason", "empty");
    field_is("dead", 0, "hook", "h");
    stream_is("events", 1, 1);
}
