// ship: a journal and a relay without a receiver, for tests and measurements of the relay.
//
//   ship DIRECTORY SOCKET|PORT [fill N | run | drain] [NAMESPACE]
//
// run (the default) appends each line of standard input as a delivery of hook "h" to the
// stream "events" and prints its sequence once it is durable; at the end of input it waits
// until all is shipped. fill N appends N made-up deliveries of about 700 bytes and ends.
// drain ships what the journal holds and prints the time it took; with SHIP_PARTITIONS=N into N
// partitions.
#include "base/clock.h"
#include "base/log.h"
#include "relay/relay.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static _Noreturn void
die(const struct err *err)
{
    fprintf(stderr, "ship: %s\n", err->text);
    exit(err->exit ? (int)err->exit : EXIT_CODE_FAILURE);
}

static uint64_t
append(struct journal *j, struct span body)
{
    struct delivery d = {.hook = SPAN("h"),
                         .stream = SPAN("events"),
                         .type = SPAN("application/x-www-form-urlencoded"),
                         .body = body};
    uint64_t sequence;
    struct buf stored;
    struct err err;

    buf_init(&stored, JOURNAL_RECORD_MAX);
    err_set(&err, ERR_INPUT, "a delivery is too large");
    if (delivery_encode(&stored, &d) < 0 ||
        journal_append(j, buf_span(&stored), 10000, NULL, &sequence, &err) < 0)
        die(&err);
    buf_release(&stored);
    return sequence;
}

static void
append_lines(struct journal *j)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;

    while ((len = getline(&line, &size, stdin)) > 0) {
        size_t body = (size_t)len - (line[len - 1] == '\n');
        printf("%llu\n", (unsigned long long)append(j, span_make(line, body)));
        fflush(stdout);
    }
    free(line);
}

struct filler {
    struct journal *journal;
    long first, last;
};

static void *
fill_part(void *part)
{
    const struct filler *f = part;
    char body[1024];

    for (long i = f->first; i < f->last; i++) {
        int len = snprintf(
            body, sizeof body,
            "type=subscribe&date_time=2026-11-24T01%%3A02%%3A03-06%%3A00&initiated_from="
            "admin"
            "&initiated_by=admin&list=0&contact%%5Bid%%5D=%ld&contact%%5Bemail%%5D="
            "someone%ld%%40example.com&contact%%5Bfirst_name%%5D=Jane&contact%%5Blast_"
            "name"
            "%%5D=Doe&contact%%5Bphone%%5D=%%2B15551234567&contact%%5Bip%%5D=127.0.0.1"
            "&contact%%5Btags%%5D=one%%2C+two&contact%%5Bfields%%5D%%5B1%%5D=Some+text+"
            "here"
            "&contact%%5Bfields%%5D%%5B2%%5D=%%7C%%7Ca%%7C%%7Cb%%7C%%7C&contact%%"
            "5Bfields%%5D"
            "%%5B3%%5D=2026-11-24&contact%%5Bcustomer_acct_id%%5D=7"
            "&contact%%5Bcustomer_acct_name%%5D=Example+Company&orgname=Example+Company"
            "&list%%5B0%%5D%%5Bid%%5D=14&list%%5B0%%5D%%5Bname%%5D=Newsletter",
            i, i);
        append(f->journal, span_make(body, (size_t)len));
    }
    return NULL;
}

// Many threads at once make groups, as requests do.
static void
fill(struct journal *j, long count)
{
    enum { THREADS = 32 };
    pthread_t threads[THREADS];
    struct filler parts[THREADS];

    for (int i = 0; i < THREADS; i++) {
        parts[i] = (struct filler){j, count * i / THREADS, count * (i + 1) / THREADS};
        if (pthread_create(&threads[i], NULL, fill_part, &parts[i]) != 0)
            exit(EXIT_CODE_FAILURE);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void
wait_until_shipped(struct journal *j)
{
    struct journal_status status;

    for (;;) {
        journal_read_status(j, &status);
        if (status.published >= status.last)
            return;
        clock_sleep_ms(1);
    }
}

static int64_t
cpu_us(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000LL +
           use.ru_utime.tv_usec + use.ru_stime.tv_usec;
}

// Short waits, unless the environment says others.
static void
set_times(void)
{
    const char *given = getenv("ACRELAY_TEST_TIMES");
    char times[1000];

    snprintf(
        times, sizeof times,
        "%s relay-stop-wait=200 refused-wait=50 redis-connect=1000 redis-command=1000",
        given ? given : "");
    setenv("ACRELAY_TEST_TIMES", times, 1);
}

static void
ship(struct journal *j, char *directory, char *to, char *namespace, bool drain)
{
    bool tcp = to[0] != '/';
    char account[] = "acme", password[] = "env:SHIP_PASSWORD";
    char events[] = "events", *streams[] = {events, NULL};
    struct config c = {.holders = 1,
                       .account_name = account,
                       .redis_namespace = namespace,
                       .redis_user = getenv("SHIP_USER"),
                       .redis_password_file = getenv("SHIP_PASSWORD") ? password : NULL,
                       .redis_tls_ca_file = getenv("SHIP_CA_FILE"),
                       .redis_retain_entries = 10000000,
                       .state_dir = directory,
                       .duplicates_window_us = 3600000000,
                       .duplicates_max = 1000000,
                       .streams = {streams, 1}};
    const char *partitions = getenv("SHIP_PARTITIONS");
    struct journal_status status;
    struct err err;

    c.redis_partitions = partitions ? atoi(partitions) : 1;
    struct layout all = {.at[0] = {1, config_partitions(&c)}, .len = 1};
    if (partitions && layout_write(&all, directory, journal_id(j), &err) < 0)
        die(&err);
    c.redis_url.tls = tcp && c.redis_tls_ca_file;
    c.redis_url.hosts_len = tcp;
    c.redis_url.hosts[0] = (struct redis_host){"127.0.0.1", (uint16_t)atoi(to)};
    if (!tcp)
        snprintf(c.redis_url.path, REDIS_PATH, "%s", to);
    set_times();
    int64_t started = clock_mono_us(), cpu = cpu_us();
    struct relay *r = relay_start(&c, j, &err);
    if (!r)
        die(&err);
    if (!drain)
        append_lines(j);
    wait_until_shipped(j);
    journal_read_status(j, &status);
    if (drain)
        printf("%llu records, %.3f s, %.3f s CPU\n", (unsigned long long)status.last,
               (double)(clock_mono_us() - started) / 1e6, (double)(cpu_us() - cpu) / 1e6);
    relay_stop(r);
}

int
main(int argc, char **argv)
{
    char account[] = "ac";
    const char *what = argc > 3 ? argv[3] : "run";
    bool filling = strcmp(what, "fill") == 0;
    struct journal_options o = {.keep_us = 3600000000,
                                .keep_bytes_max = 1 << 30,
                                .lock_wait_ms = 10000,
                                .force = true};
    struct err err;

    if (argc < 3) {
        fprintf(stderr, "usage: ship DIRECTORY SOCKET|PORT [fill N | run | drain]\n");
        return EXIT_CODE_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    o.directory = argv[1];
    struct journal *j = journal_open(&o, &err);
    if (!j)
        die(&err);
    if (filling)
        fill(j, argc > 4 ? atol(argv[4]) : 1000);
    else
        ship(j, argv[1], argv[2], argc > 4 ? argv[4] : account,
             strcmp(what, "drain") == 0);
    journal_close(j);
    return 0;
}
