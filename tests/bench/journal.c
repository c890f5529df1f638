// How many appends a second the journal makes durable, and what one costs: N threads append
// records of 800 bytes and wait for each, as the receiver's workers do.
//
//     build/bench/journal [threads] [seconds] [directory]
#include "base/clock.h"
#include "journal/journal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { THREADS_MAX = 512, RECORD = 800 };

static struct journal *journal;
static atomic_bool over;
static atomic_ulong refused;

static void *
append_on(void *arg)
{
    char payload[RECORD];
    struct err err;

    memset(payload, 'x', sizeof payload);
    while (!atomic_load(&over))
        if (journal_append(journal, span_make(payload, sizeof payload), 4000, NULL, NULL,
                           &err) < 0)
            atomic_fetch_add(&refused, 1);
    return arg;
}

static int64_t
cpu_us(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * INT64_C(1000000) +
           use.ru_utime.tv_usec + use.ru_stime.tv_usec;
}

static void
publish_for(int64_t seconds)
{
    struct journal_status status;

    for (int64_t i = 0; i < seconds * 10; i++) {
        clock_sleep_ms(100);
        journal_read_status(journal, &status);
        journal_publish(journal, status.last, clock_boot_us());
    }
}

static void
measure(int threads, int64_t seconds)
{
    pthread_t all[THREADS_MAX];
    struct journal_status before, after;

    for (int i = 0; i < threads; i++)
        if (pthread_create(&all[i], NULL, append_on, NULL) != 0)
            exit(1);
    publish_for(1); // warm: spares are there, buffers have grown
    int64_t start = clock_mono_us(), cpu = cpu_us();
    journal_read_status(journal, &before);
    publish_for(seconds);
    journal_read_status(journal, &after);
    double took = (double)(clock_mono_us() - start) / 1e6;
    cpu = cpu_us() - cpu;
    atomic_store(&over, true);
    for (int i = 0; i < threads; i++)
        pthread_join(all[i], NULL);
    double records = (double)(after.records - before.records);
    double commits = (double)(after.commits - before.commits);
    printf("%3d threads  %8.0f acks/s  %6.2f us CPU each  %5.1f records/commit  "
           "%6.0f us/sync  %lu refused\n",
           threads, records / took, (double)cpu / records, records / commits,
           (double)(after.commit_us - before.commit_us) / commits, refused);
}

int
main(int argc, char **argv)
{
    char directory[] = "/var/tmp/acrelay-bench-XXXXXX", command[128];
    int threads = argc > 1 ? atoi(argv[1]) : 64;
    int seconds = argc > 2 ? atoi(argv[2]) : 3;
    struct journal_options options = {.directory =
                                          argc > 3 ? argv[3] : mkdtemp(directory),
                                      .keep_bytes_max = 64 << 20,
                                      .keep_us = 1000000};
    struct err err;

    if (threads < 1 || threads > THREADS_MAX)
        return 64;
    journal = journal_open(&options, &err);
    if (!journal) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    measure(threads, seconds);
    journal_close(journal);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return argc > 3 || system(command) == 0 ? 0 : 1;
}
