// journal ls, dump, verify: what a journal's directory holds, read without its lock, so that
// the receiver may run meanwhile.
#include "cli/cli.h"

#include "base/clock.h"
#include "base/text.h"
#include "event/mask.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { MASKED_MAX = 128 << 20 };

// --- walking --------------------------------------------------------------------------

static bool
is_in_range(const struct journal_walk *w, const struct record *record)
{
    return record->sequence >= w->from && record->sequence <= w->to;
}

static int
take_record(const struct record *record, struct journal_walk *w, struct err *err)
{
    struct verify_total *t = &w->total;

    if (!is_in_range(w, record))
        return 0;
    t->records++;
    t->payload_bytes += record->payload.len;
    t->first = t->first ? t->first : record->sequence;
    t->last = record->sequence;
    w->first_us = w->first_us ? w->first_us : record->received_us;
    w->last_us = record->received_us;
    return w->each ? w->each(record, w->context, err) : 0;
}

static void
print_gap(uint64_t first, uint64_t last, const char *reason)
{
    output_number("gap_first", first);
    output_number("gap_last", last);
    output_text("reason", span_of(reason));
    output_say("gap: %llu to %llu, %s\n", (unsigned long long)first,
               (unsigned long long)last, reason);
}

// Without --from a walk begins at what is kept: that there was more before is no damage.
static void
take_gap(const struct record *gap, struct journal_walk *w)
{
    bool is_before_all = w->total.records == 0 && w->from == 0 &&
                         strcmp(gap->gap_reason, "no longer kept") == 0;

    if (!is_in_range(w, gap) || is_before_all)
        return;
    w->total.gaps++;
    w->total.lost += gap->sequence - gap->gap_first + 1;
    if (w->each)
        print_gap(gap->gap_first, gap->sequence, gap->gap_reason);
}

static int
read_all(struct journal_walk *w, struct cursor *cursor, struct err *err)
{
    struct record record;
    int result = 0;

    output_wait("records read");
    while (result == 0) {
        enum cursor_result next = cursor_next(cursor, &record, err);
        if (next == CURSOR_END)
            break;
        if (next == CURSOR_GAP)
            take_gap(&record, w);
        else
            result = next == CURSOR_ERROR ? -1 : take_record(&record, w, err);
        output_count(w->total.records, 0);
    }
    output_wait_end();
    return result;
}

int
journal_walk(struct journal_walk *w, struct cli *c, struct err *err)
{
    const struct options *o = c->options;
    struct cursor *cursor;

    w->from = w->each ? options_number(o, "from", 0) : 0;
    w->to = w->each ? options_number(o, "to", UINT64_MAX) : UINT64_MAX;
    if (w->segment) {
        cursor = cursor_open_file(w->segment, err);
    } else {
        const char *directory = cli_directory(c, err);
        if (!directory)
            return -1;
        if (w->from > w->to)
            return err_exit(err, EXIT_CODE_USAGE, "--from is greater than --to");
        cursor =
            cursor_open_reader(directory, w->from ? w->from - 1 : 0, w->total.id, err);
    }
    if (!cursor)
        return -1;
    int result = read_all(w, cursor, err);
    cursor_close(cursor);
    return result;
}

// --- ls -------------------------------------------------------------------------------

// For people a line, for programs an object in an open array.
static void
print_file(const char *name, const struct stat *st)
{
    char size[32], time[CLOCK_TEXT];

    text_bytes(size, sizeof size, (uint64_t)st->st_size);
    clock_format_seconds(time, (int64_t)st->st_mtime * 1000000);
    if (!output.json)
        printf("  %-28s %10s  %s\n", name, S_ISDIR(st->st_mode) ? "directory" : size,
               time);
    output_open(NULL, '{');
    output_text("name", span_of(name));
    output_number("bytes", (uint64_t)st->st_size);
    output_text("modified", span_of(time));
    output_close('{');
}

static void
print_files(const char *directory)
{
    struct dirent **entries = NULL;
    int n = scandir(directory, &entries, NULL, alphasort);

    for (int i = 0; i < n; i++) {
        char path[4096], name[512];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", directory, entries[i]->d_name);
        text_escape(name, sizeof name, span_of(entries[i]->d_name));
        if (entries[i]->d_name[0] != '.' && stat(path, &st) == 0) // it may be gone by now
            print_file(name, &st);
        free(entries[i]);
    }
    free(entries);
}

// Both lines for people, and the JSON document, which is open until the caller has added what
// else it knows.
static void
print_total(const struct verify_total *t, int64_t first_us, int64_t last_us)
{
    char bytes[32], from[CLOCK_TEXT], to[CLOCK_TEXT];

    clock_format_seconds(from, first_us);
    clock_format_seconds(to, last_us);
    if (output.json) {
        output_text("journal", span_of(t->id));
        output_number("records", t->records);
        output_number("bytes", t->payload_bytes);
        output_number("first", t->first);
        output_number("last", t->last);
        output_number("gaps", t->gaps);
        output_number("missing", t->lost);
        if (first_us) {
            output_text("received_first", span_of(from));
            output_text("received_last", span_of(to));
        }
        return;
    }
    text_bytes(bytes, sizeof bytes, t->payload_bytes);
    printf("journal %s: %llu record%s, %s", t->id, (unsigned long long)t->records,
           PLURAL(t->records), bytes);
    if (t->records)
        printf(", sequences %llu to %llu", (unsigned long long)t->first,
               (unsigned long long)t->last);
    if (first_us)
        printf(", received %s to %s", from, to);
    if (t->gaps)
        printf("; %sgaps: %llu, missing records: %llu%s", output_color(OUTPUT_BAD),
               (unsigned long long)t->gaps, (unsigned long long)t->lost,
               output_color(OUTPUT_PLAIN));
    putchar('\n');
}

static int
run_journal_ls(void *cli, struct err *err)
{
    struct cli *c = cli;
    struct journal_walk w = {.each = NULL};

    if (journal_walk(&w, c, err) < 0)
        return -1;
    print_total(&w.total, w.first_us, w.last_us);
    output_open("files", '[');
    print_files(cli_directory(c, err));
    output_close('[');
    if (output.json)
        output_line(stdout);
    return w.total.gaps ? EXIT_CODE_CHANGES : EXIT_CODE_OK;
}

// --- verify ---------------------------------------------------------------------------

static void
verify_gap(uint64_t first, uint64_t last, void *context)
{
    (void)context;
    output_wipe();
    print_gap(first, last, "damaged");
}

// A segment is shown when something is wrong with it.
static void
verify_segment(const struct verify_segment *s, void *records)
{
    bool torn = s->state == VERIFY_TORN;

    output_count(*(uint64_t *)records += s->records, 0);
    if (s->state == VERIFY_CLEAN)
        return;
    output_wipe();
    output_text("segment", span_of(s->name));
    output_text("state", span_of(torn ? "torn" : "damaged"));
    output_number("records", s->records);
    output_number("missing", s->lost);
    if (torn)
        output_say(
            "segment %s is torn: bytes that are not a record follow its last one. A "
            "write "
            "that was cut off leaves them, and was never acknowledged; so does a disk "
            "that "
            "damaged the last record\n",
            s->name);
    else
        output_say("segment %s is damaged: records: %llu, missing: %llu\n", s->name,
                   (unsigned long long)s->records, (unsigned long long)s->lost);
}

static void
print_files_beside(const struct verify_total *t)
{
    if (output.json) {
        output_number("unreadable_files", t->foreign);
        output_number("bad_files", t->bad_files);
        output_line(stdout);
        return;
    }
    if (t->foreign)
        printf("files with a segment's name and an unreadable header: %llu; their "
               "contents are not counted\n",
               (unsigned long long)t->foreign);
    if (t->bad_files)
        printf("quarantined files in bad/: %llu; journal salvage --segment recovers what "
               "is readable of a segment\n",
               (unsigned long long)t->bad_files);
}

static int
run_journal_verify(void *cli, struct err *err)
{
    struct cli *c = cli;
    uint64_t records = 0;
    struct verify_report report = {verify_gap, verify_segment, &records};
    struct verify_total total;
    const char *directory = cli_directory(c, err);

    output_wait("records read");
    if (!directory || journal_verify(directory, &report, &total, err) < 0)
        return -1;
    output_wait_end();
    print_total(&total, 0, 0);
    print_files_beside(&total);
    if (total.gaps || total.foreign)
        return EXIT_CODE_CHANGES;
    if (!output.json)
        puts("no damage found");
    return EXIT_CODE_OK;
}

// --- dump -----------------------------------------------------------------------------

// Masks what is personal in a delivery; `memory` has it then.
static void
mask_delivery(struct delivery *d, struct buf *memory)
{
    buf_init(memory, MASKED_MAX);
    mask_form(memory, d->query, false);
    size_t query_len = memory->len;
    mask_body(memory, d, false);
    d->query = span_to(buf_span(memory), query_len);
    d->body = span_from(buf_span(memory), query_len);
}

void
journal_add_delivery(const struct record *record, bool raw, bool masks)
{
    struct buf memory = {0};
    struct delivery d = {0};
    char time[CLOCK_TEXT];

    clock_format_us(time, record->received_us);
    output_number("sequence", record->sequence);
    output_text("received", span_of(time));
    if (delivery_decode(&d, record->payload, NULL) < 0) {
        output_text("unreadable", masks ? SPAN(MASK) : record->payload);
        return;
    }
    output_text("hook", d.hook);
    output_text("stream", d.stream);
    output_text("content_type", d.type);
    if (d.encoding.len)
        output_text("content_encoding", d.encoding);
    size_t bytes = d.body.len;
    if (masks)
        mask_delivery(&d, &memory);
    output_text("query", d.query);
    output_number("body_bytes", bytes);
    if (raw)
        output_text("body", d.body);
    buf_release(&memory);
}

static void
print_body(struct delivery *d, bool masks)
{
    struct buf memory = {0};

    if (masks)
        mask_delivery(d, &memory);
    fputs("    ", stdout);
    output_print(d->body, 0);
    putchar('\n');
    buf_release(&memory);
}

static void
print_delivery(const struct record *record, bool raw, bool masks)
{
    struct delivery d = {0};
    char time[CLOCK_TEXT];

    clock_format_us(time, record->received_us);
    printf("%llu  %s  ", (unsigned long long)record->sequence, time);
    if (delivery_decode(&d, record->payload, NULL) < 0) {
        printf("unreadable, %zu bytes\n", record->payload.len);
        return;
    }
    output_print(d.hook, 63);
    printf("  %zu bytes\n", d.body.len);
    if (raw)
        print_body(&d, masks);
}

static int
dump(const struct record *record, void *cli, struct err *err)
{
    const struct options *o = ((struct cli *)cli)->options;
    bool raw = options_has(o, "raw"), masks = options_has(o, "mask");

    (void)err;
    if (output.json) {
        journal_add_delivery(record, raw, masks);
        output_line(stdout);
    } else {
        print_delivery(record, raw, masks);
    }
    return 0;
}

static int
run_journal_dump(void *cli, struct err *err)
{
    struct journal_walk w = {.each = dump, .context = cli};

    if (journal_walk(&w, cli, err) < 0)
        return -1;
    return w.total.gaps ? EXIT_CODE_CHANGES : EXIT_CODE_OK;
}

// --- the command line -------------------------------------------------------------------

const struct subcommand cli_journal_commands[] = {
    {"journal ls", "", "show what the journal contains", 0, 0, OPTIONS(OPTION_DIRECTORY),
     run_journal_ls, false, NULL},
    {"journal dump", "", "show the deliveries in the journal", 0, 0,
     OPTIONS(OPTIONS_RANGE, OPTION_IS_FLAG("raw", "show the bodies (personal data)"),
             OPTION_MASK),
     run_journal_dump, false, NULL},
    {"journal verify", "", "read the whole journal and report damage", 0, 0,
     OPTIONS(OPTION_DIRECTORY), run_journal_verify, false, NULL},
    {0},
};
