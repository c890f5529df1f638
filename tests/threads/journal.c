// Many threads append while one reads, one publishes (so that segments are removed and made
// into spares), and one asks for figures. Under TSan: no race. Always: each record comes once,
// in order, with its own bytes. A program of its own, because Criterion cannot run under TSan.
// Ends with "N passed, N failed".
#include "base/clock.h"
#include "journal/cursor.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { WRITERS = 8, EACH = 400, ALL = WRITERS * EACH };

static struct journal *journal;
static struct cursor *reader;
static atomic_int failed;
static _Atomic(uint64_t) number_of[ALL + 1]; // by sequence, as appends said
static uint64_t read_of[ALL + 1];            // by sequence, as the reader found
static atomic_bool over;

static void
expect(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "not so: %s\n", what);
    atomic_fetch_add(&failed, 1);
}

static void *
write_on(void *first)
{
    uint64_t number = *(const uint64_t *)first, sequence;
    char payload[600];
    struct err err;

    for (int i = 0; i < EACH; i++, number++) {
        memset(payload, (int)number, sizeof payload);
        memcpy(payload, &number, sizeof number);
        int done = journal_append(journal, span_make(payload, 100 + number % 500), 60000,
                                  NULL, &sequence, &err);
        expect(done == 0 && sequence <= ALL, "an append is durable in a minute");
        if (done == 0 && sequence <= ALL)
            atomic_store(&number_of[sequence], number);
    }
    return NULL;
}

static void
check_record(const struct record *rec)
{
    uint64_t number = 0;

    expect(rec->payload.len >= sizeof number, "a record is whole");
    memcpy(&number, rec->payload.at, sizeof number);
    expect(rec->payload.len == 100 + number % 500, "a record has its length");
    expect((unsigned char)rec->payload.at[50] == (number & 255),
           "a record has its bytes");
    read_of[rec->sequence] = number;
}

static void *
read_on(void *arg)
{
    struct record rec;
    struct err err;

    for (uint64_t after = 0; after < ALL && failed == 0;) {
        enum cursor_result r = cursor_next(reader, &rec, &err);
        if (r == CURSOR_END)
            cursor_wait(reader, 60000);
        if (r == CURSOR_END)
            continue;
        expect(r == CURSOR_RECORD && rec.sequence == after + 1, "records come in order");
        if (r != CURSOR_RECORD)
            break;
        check_record(&rec);
        after = rec.sequence;
        journal_publish(journal, after, clock_boot_us());
    }
    return arg;
}

static void *
look_on(void *arg)
{
    struct journal_status status;

    while (!atomic_load(&over)) {
        journal_read_status(journal, &status);
        expect(status.published <= status.last, "what is published is durable");
        clock_sleep_ms(1);
    }
    return arg;
}

static void
run(void)
{
    static uint64_t first[WRITERS];
    pthread_t writers[WRITERS], reading, looking;
    int bad = pthread_create(&reading, NULL, read_on, NULL) |
              pthread_create(&looking, NULL, look_on, NULL);

    for (size_t i = 0; i < WRITERS; i++) {
        first[i] = 1 + i * EACH;
        bad |= pthread_create(&writers[i], NULL, write_on, &first[i]);
    }
    if (bad)
        exit(1);
    for (size_t i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    pthread_join(reading, NULL);
    atomic_store(&over, true);
    pthread_join(looking, NULL);
    for (uint64_t s = 1; s <= ALL; s++)
        expect(atomic_load(&number_of[s]) == read_of[s], "what was acknowledged is read");
}

static void *
append_last(void *returned)
{
    struct err err;

    expect(journal_append(journal, SPAN("the last one"), 60000, NULL, NULL, &err) == 0,
           "an append is durable in a minute");
    atomic_store_explicit((atomic_bool *)returned, true, memory_order_relaxed);
    return NULL;
}

// Who has its answer has left the journal: a receiver's threads are not joined before it closes.
static void
close_after_an_append(void)
{
    static atomic_bool returned;
    pthread_t thread;

    if (pthread_create(&thread, NULL, append_last, &returned))
        exit(1);
    while (!atomic_load_explicit(&returned, memory_order_relaxed))
        clock_sleep_ms(1);
    journal_close(journal);
    pthread_join(thread, NULL);
}

int
main(void)
{
    char directory[] = "/var/tmp/acrelay-threads-XXXXXX", command[64];
    struct journal_options options = {.directory = mkdtemp(directory),
                                      .segment_bytes = 1 << 14,
                                      .bytes_max = 1 << 18,
                                      .keep_us = 3600 * INT64_C(1000000),
                                      .keep_bytes_max = 1 << 16};
    struct err err;

    journal = journal_open(&options, &err);
    if (!journal) {
        fprintf(stderr, "%s\n0 passed, 1 failed\n", err.text);
        return 1;
    }
    reader = cursor_open(journal, 0);
    run();
    cursor_close(reader);
    close_after_an_append();
    snprintf(command, sizeof command, "rm -rf %s", directory);
    expect(system(command) == 0, "the directory can be removed");
    printf("%d passed, %d failed\n", failed == 0, failed != 0);
    return failed != 0;
}
