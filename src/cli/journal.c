// journal: what the journal holds, and the way out after a move.
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "event/delivery.h"
#include "journal/cursor.h"
#include "relay/relay.h"

#include <getopt.h>
#include <stdio.h>

struct tally {
    uint64_t records, bytes, gaps, missing;
};

static void
print_record(const struct cli *c, const struct record *rec)
{
    char time[CLOCK_TEXT];
    struct delivery d = {.hook = SPAN("?")};

    clock_format_us(time, rec->received_us);
    if (delivery_decode(&d, rec->payload, NULL) < 0)
        d.hook = SPAN("?");
    printf(c->json ? "{\"sequence\":%llu,\"received\":\"%s\",\"hook\":\"%.*s\","
                     "\"body_bytes\":%zu}\n"
                   : "%llu  %s  %.*s  %zu bytes\n",
           (unsigned long long)rec->sequence, time, (int)d.hook.len, d.hook.at,
           d.body.len);
}

static int
walk(const struct cli *c, struct cursor *cursor, bool print, struct tally *t,
     struct err *err)
{
    struct record rec;

    for (;;) {
        enum cursor_result result = cursor_next(cursor, &rec, err);
        if (result == CURSOR_ERROR)
            return -1;
        if (result == CURSOR_END)
            return 0;
        if (result == CURSOR_RECORD) {
            t->records++;
            t->bytes += rec.payload.len;
            if (print)
                print_record(c, &rec);
            continue;
        }
        t->gaps++;
        t->missing += rec.sequence - rec.gap_first + 1;
        fprintf(stderr, "gap: %llu to %llu, %s\n", (unsigned long long)rec.gap_first,
                (unsigned long long)rec.sequence, rec.gap_reason);
    }
}

static int
read_journal(struct cli *c, uint64_t from, bool print)
{
    struct err err = {0};
    struct tally t = {0};
    char size[32];
    struct cursor *cursor =
        cursor_open_reader(c->config->state_dir, from ? from - 1 : 0, &err);

    if (!cursor)
        return cli_fail(&err);
    int result = walk(c, cursor, print, &t, &err);
    cursor_close(cursor);
    if (result < 0)
        return cli_fail(&err);
    text_bytes(size, sizeof size, t.bytes);
    if (!print)
        printf("%llu records, %s, %llu gaps with %llu records missing\n",
               (unsigned long long)t.records, size, (unsigned long long)t.gaps,
               (unsigned long long)t.missing);
    return t.gaps ? EXIT_CODE_CHANGES : EXIT_CODE_OK;
}

static int
claim(struct cli *c)
{
    struct err err = {0};
    struct buf password;
    uint64_t at;

    buf_init(&password, 4096);
    if (c->config->redis_password_file &&
        file_read_secret(c->config->redis_password_file, 1, &password, &err) < 0)
        return cli_fail(&err);
    struct cursor *cursor = cursor_open_reader(c->config->state_dir, 0, &err);
    if (!cursor)
        return cli_fail(&err);
    struct redis_options redis = {.host = c->config->redis_host,
                                  .port = c->config->redis_port,
                                  .path = c->config->redis_path,
                                  .database = c->config->redis_database,
                                  .user = c->config->redis_user,
                                  .password = buf_span(&password)};
    int result = relay_claim(&redis, c->config->redis_namespace,
                             cursor_journal_id(cursor), c->config->state_dir, &at, &err);
    cursor_close(cursor);
    buf_release(&password);
    if (result < 0)
        return cli_fail(&err);
    printf("the cursor is ours and stands at %llu; the receiver goes on from there\n",
           (unsigned long long)at);
    return EXIT_CODE_OK;
}

int
cli_journal(struct cli *c)
{
    static const struct option options[] = {{"from", required_argument, NULL, 'f'},
                                            {NULL, 0, NULL, 0}};
    uint64_t from = 0;

    for (int o; (o = getopt_long(c->argc, c->argv, "f:", options, NULL)) != -1;)
        if (o != 'f' || !text_number(&from, span_of(optarg), INT64_MAX))
            return cli_usage("journal dump takes --from SEQUENCE");
    const char *what = optind < c->argc ? c->argv[optind] : "";
    if (strcmp(what, "dump") == 0)
        return read_journal(c, from, true);
    if (strcmp(what, "verify") == 0)
        return read_journal(c, from, false);
    if (strcmp(what, "claim") == 0)
        return claim(c);
    return cli_usage("journal takes dump, verify or claim");
}
