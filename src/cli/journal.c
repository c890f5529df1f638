// journal ls, dump, verify: what a journal's directory holds, read without its lock, so that
// the receiver may run meanwhile.
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/journey.h"
#include "event/delivery.h"
#include "journal/verify.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

// --- walking --------------------------------------------------------------------------

static bool
is_in_range(const struct options *o, const struct record *record)
{
    uint64_t from = 0, to = UINT64_MAX;

    if (!options_is(o, "journal ls")) {
        from = options_number(o, "from", 0);
        to = options_number(o, "to", UINT64_MAX);
    }
    return record->sequence >= from && record->sequence <= to;
}

// Without --from a journey begins at what is kept: that there was more before is no damage.
static bool
is_before_all(const struct journey *j, const struct record *gap)
{
    return j->records == 0 && strcmp(gap->gap_reason, "no longer kept") == 0 &&
           (options_is(j->cli->options, "journal ls") ||
            !options_has(j->cli->options, "from"));
}

static int
take(struct journey *j, const struct record *record, bool gap, struct err *err)
{
    if (gap && is_before_all(j, record))
        return 0;
    if (gap) {
        j->gaps++;
        j->missing += record->sequence - record->gap_first + 1;
        return j->on_gap ? j->on_gap(j, record, err) : 0;
    }
    j->records++;
    j->bytes += record->payload.len;
    if (!j->first)
        j->first = record->sequence;
    j->last = record->sequence;
    if (!j->first_us)
        j->first_us = record->received_us;
    j->last_us = record->received_us;
    return j->on_record ? j->on_record(j, record, err) : 0;
}

static int
take_if_in_range(struct journey *j, const struct record *record, bool gap,
                 struct err *err)
{
    return is_in_range(j->cli->options, record) ? take(j, record, gap, err) : 0;
}

static int
walk(struct journey *j, struct cursor *cursor, struct err *err)
{
    struct record record;
    int result = 0;

    output_wait("records read");
    while (result == 0) {
        enum cursor_result next = cursor_next(cursor, &record, err);
        if (next == CURSOR_ERROR)
            result = -1;
        else if (next == CURSOR_END)
            break;
        else
            result = take_if_in_range(j, &record, next == CURSOR_GAP, err);
        output_count(j->records, 0);
    }
    output_wait_end();
    return result;
}

int
journey_make(struct journey *j, struct err *err)
{
    const char *directory = cli_directory(j->cli, err);
    const struct options *o = j->cli->options;
    uint64_t from = 0;

    if (!directory)
        return -1;
    if (!options_is(o, "journal ls"))
        from = options_number(o, "from", 0);
    if (from > 0 && from > options_number(o, "to", UINT64_MAX))
        return err_exit(err, EXIT_CODE_USAGE, "--from lies after --to");
    struct cursor *cursor = cursor_open_reader(directory, from ? from - 1 : 0, err);
    if (!cursor)
        return -1;
    snprintf(j->id, sizeof j->id, "%s", cursor_journal_id(cursor));
    int result = j->begin ? j->begin(j, err) : 0;
    if (result == 0)
        result = walk(j, cursor, err);
    cursor_close(cursor);
    return result;
}

static int
take_record(const struct record *record, void *context, struct err *err)
{
    return take_if_in_range(context, record, false, err);
}

static int
take_gap(const struct record *record, void *context, struct err *err)
{
    return take_if_in_range(context, record, true, err);
}

int
journey_make_in(struct journey *j, const char *segment, struct err *err)
{
    return journal_salvage(segment, take_record, take_gap, j, err);
}

static void
print_gap(uint64_t first, uint64_t last, const char *reason)
{
    fflush(stdout);
    printf(output.json ? "{\"gap_first\":%llu,\"gap_last\":%llu,\"reason\":\"%s\"}\n"
                       : "gap: %llu to %llu, %s\n",
           (unsigned long long)first, (unsigned long long)last, reason);
}

int
journey_print_gap(struct journey *j, const struct record *record, struct err *err)
{
    (void)j;
    (void)err;
    print_gap(record->gap_first, record->sequence, record->gap_reason);
    return 0;
}

// --- ls -------------------------------------------------------------------------------

static int
is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

// For people a line, for programs an object in an open array.
static void
print_file(const char *name, const struct stat *st)
{
    char size[32], time[CLOCK_TEXT];

    text_bytes(size, sizeof size, (uint64_t)st->st_size);
    clock_format_seconds(time, (int64_t)st->st_mtime * 1000000);
    if (!output.json) {
        printf("  %-28s %10s  %s\n", name, S_ISDIR(st->st_mode) ? "directory" : size,
               time);
        return;
    }
    output_open(NULL, '{');
    output_text("name", span_of(name));
    output_number("bytes", (uint64_t)st->st_size);
    output_text("modified", span_of(time));
    output_close('{');
}

static void
print_files(const char *directory)
{
    struct dirent **entries;
    int n = scandir(directory, &entries, is_shown, alphasort);

    for (int i = 0; i < n; i++) {
        char path[4096], name[512];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", directory, entries[i]->d_name);
        text_escape(name, sizeof name, span_of(entries[i]->d_name));
        if (stat(path, &st) == 0) // it may be gone by now
            print_file(name, &st);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

static void
add_time(const char *name, int64_t us)
{
    char time[CLOCK_TEXT];

    if (us == 0)
        return;
    clock_format_seconds(time, us);
    output_text(name, span_of(time));
}

static void
print_sums_json(const struct journey *j, const struct verify_total *total,
                const char *directory)
{
    output_text("journal", span_of(j->id));
    output_number("records", j->records);
    output_number("bytes", j->bytes);
    output_number("first", j->first);
    output_number("last", j->last);
    output_number("gaps", j->gaps);
    output_number("missing", j->missing);
    add_time("received_first", j->first_us);
    add_time("received_last", j->last_us);
    if (total) {
        output_number("unreadable_files", total->foreign);
        output_number("bad_files", total->bad_files);
    }
    if (directory) {
        output_open("files", '[');
        print_files(directory);
        output_close('[');
    }
    output_print_line();
}

static void
print_times(const struct journey *j)
{
    char from[CLOCK_TEXT], to[CLOCK_TEXT];

    clock_format_seconds(from, j->first_us);
    clock_format_seconds(to, j->last_us);
    printf(", received %s to %s", from, to);
}

static void
print_sums(const struct journey *j)
{
    char bytes[32];

    text_bytes(bytes, sizeof bytes, j->bytes);
    printf("journal %s: %llu records, %s", j->id, (unsigned long long)j->records, bytes);
    if (j->records)
        printf(", sequences %llu to %llu", (unsigned long long)j->first,
               (unsigned long long)j->last);
    if (j->first_us)
        print_times(j);
    if (j->gaps)
        printf("; %s%llu gaps, %llu records missing%s", output_color(OUTPUT_BAD),
               (unsigned long long)j->gaps, (unsigned long long)j->missing,
               output_color(OUTPUT_PLAIN));
    putchar('\n');
}

static int
run_journal_ls(void *cli)
{
    struct cli *c = cli;
    struct journey j = {.cli = c};
    struct err err = {0};

    if (journey_make(&j, &err) < 0)
        return cli_fail(&err);
    if (output.json) {
        print_sums_json(&j, NULL, cli_directory(c, &err));
    } else {
        print_sums(&j);
        print_files(cli_directory(c, &err));
    }
    return j.gaps ? EXIT_CODE_CHANGES : EXIT_CODE_OK;
}

// --- verify ---------------------------------------------------------------------------

static void
verify_gap(uint64_t first, uint64_t last, void *context)
{
    (void)context;
    print_gap(first, last, "damaged");
}

// A segment is told when something is wrong with it.
static void
verify_segment(const struct verify_segment *s, void *context)
{
    struct journey *j = context;
    const char *state = s->state == VERIFY_TORN ? "torn" : "damaged";

    j->records += s->records;
    output_count(j->records, 0);
    if (s->state == VERIFY_CLEAN)
        return;
    output_wipe();
    if (output.json)
        printf("{\"segment\":\"%s\",\"state\":\"%s\",\"records\":%llu,"
               "\"missing\":%llu}\n",
               s->name, state, (unsigned long long)s->records,
               (unsigned long long)s->lost);
    else
        printf("segment %s: %s, %llu records, %llu missing%s\n", s->name, state,
               (unsigned long long)s->records, (unsigned long long)s->lost,
               s->state == VERIFY_TORN
                   ? " (its end was never acknowledged: nothing is lost)"
                   : "");
}

static int
verify(struct journey *j, struct verify_total *total, struct err *err)
{
    struct verify_report watch = {verify_gap, verify_segment, j};
    const char *directory = cli_directory(j->cli, err);

    if (!directory)
        return -1;
    output_wait("records read");
    int result = journal_verify(directory, &watch, total, err);
    output_wait_end();
    return result;
}

static void
print_verified(struct journey *j, const struct verify_total *total)
{
    memcpy(j->id, total->id, sizeof j->id);
    j->bytes = total->payload_bytes;
    j->first = total->first;
    j->last = total->last;
    j->gaps = total->gaps;
    j->missing = total->lost;
    if (output.json) {
        print_sums_json(j, total, NULL);
        return;
    }
    print_sums(j);
    if (total->foreign)
        printf("%llu more files are named like segments, and their headers cannot be "
               "read: what they held is not counted\n",
               (unsigned long long)total->foreign);
    if (total->bad_files)
        printf("bad/ holds %llu files that were set aside; what can be read of a whole "
               "segment, journal salvage --segment saves\n",
               (unsigned long long)total->bad_files);
}

static int
run_journal_verify(void *cli)
{
    struct cli *c = cli;
    struct journey j = {.cli = c};
    struct verify_total total;
    struct err err = {0};

    if (verify(&j, &total, &err) < 0)
        return cli_fail(&err);
    print_verified(&j, &total);
    return j.gaps || total.foreign ? EXIT_CODE_CHANGES : EXIT_CODE_OK;
}

// --- dump -----------------------------------------------------------------------------

void
journey_add_delivery(const struct record *record, bool raw)
{
    struct delivery d = {0};
    char time[CLOCK_TEXT];

    clock_format_us(time, record->received_us);
    output_number("sequence", record->sequence);
    output_text("received", span_of(time));
    if (delivery_decode(&d, record->payload, NULL) < 0) {
        output_text("unreadable", record->payload);
        return;
    }
    output_text("hook", d.hook);
    output_text("stream", d.stream);
    output_text("content_type", d.type);
    if (d.encoding.len)
        output_text("content_encoding", d.encoding);
    output_text("query", d.query);
    output_number("body_bytes", d.body.len);
    if (raw)
        output_text("body", d.body);
}

static int
dump(struct journey *j, const struct record *record, struct err *err)
{
    bool raw = options_has(j->cli->options, "raw");
    struct delivery d = {0};
    char time[CLOCK_TEXT];

    (void)err;
    if (output.json) {
        journey_add_delivery(record, raw);
        output_print_line();
        return 0;
    }
    clock_format_us(time, record->received_us);
    printf("%llu  %s  ", (unsigned long long)record->sequence, time);
    if (delivery_decode(&d, record->payload, NULL) < 0) {
        printf("unreadable, %zu bytes\n", record->payload.len);
        return 0;
    }
    output_print(d.hook, 63);
    printf("  %zu bytes\n", d.body.len);
    if (raw) {
        fputs("    ", stdout);
        output_print(d.body, 0);
        putchar('\n');
    }
    return 0;
}

static int
run_journal_dump(void *cli)
{
    struct cli *c = cli;
    struct journey j = {.cli = c, .on_record = dump, .on_gap = journey_print_gap};
    struct err err = {0};

    if (journey_make(&j, &err) < 0)
        return cli_fail(&err);
    return j.gaps ? EXIT_CODE_CHANGES : EXIT_CODE_OK;
}

// --- the command line -------------------------------------------------------------------

static const struct option journal_options[] = {
    OPTION_DIRECTORY,
    OPTION_END,
};

static const struct option dump_options[] = {
    OPTIONS_RANGE,
    OPTION_IS_FLAG("raw", "show the bodies (personal data)"),
    OPTION_END,
};

const struct command cli_journal_commands[] = {
    {"journal ls", "", "list what is in the journal", 0, 0, journal_options,
     run_journal_ls, false, NULL},
    {"journal dump", "", "show the deliveries in the journal", 0, 0, dump_options,
     run_journal_dump, false, NULL},
    {"journal verify", "", "read everything and report damage", 0, 0, journal_options,
     run_journal_verify, false, NULL},
    {0},
};
