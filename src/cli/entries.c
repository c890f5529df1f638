// Entries of streams, for people and for programs.
#include "base/text.h"
#include "cli/cli.h"
#include "event/json.h"
#include "event/mask.h"

#include <stdio.h>

enum { MASKED_MAX = 128 << 20 };

// --- entries ----------------------------------------------------------------------------

const struct redis_reply *
cli_entry(const struct redis_reply *entries, size_t i, char id[ENTRY_ID])
{
    const struct redis_reply *entry = redis_reply_at(entries, i);
    struct span text = redis_value(redis_reply_at(entry, 0)).text;

    snprintf(id, ENTRY_ID, "%.*s", (int)text.len, text.at);
    return redis_reply_at(entry, 1);
}

int
cli_end(struct redis *r, const char *key, char id[ENTRY_ID], struct err *err)
{
    const struct redis_reply *newest =
        cli_ask(r, err, "XREVRANGE", key, "+", "-", "COUNT", "1");

    if (!cli_entry(newest, 0, id))
        snprintf(id, ENTRY_ID, "0");
    return newest ? 0 : -1;
}

// --- fields -----------------------------------------------------------------------------

static struct span
find_field(const struct redis_reply *fields, const char *name)
{
    return redis_value(redis_member(fields, name)).text;
}

// Ids are ours, and look like a phone number to a search for one.
static bool
is_id(struct span name)
{
    static const char *const ids[] = {"ce_id",   "ce_sequence",     "ce_fingerprint",
                                      "ce_time", "ce_recordedtime", "ce_replay"};
    size_t i = 0;

    while (i < sizeof ids / sizeof *ids && !span_is(name, ids[i]))
        i++;
    return i < sizeof ids / sizeof *ids;
}

void
cli_mask_field(struct buf *to, const struct redis_reply *fields, struct span name,
               struct span value, bool reveals)
{
    struct delivery d = {.type = find_field(fields, "content-type"), .body = value};

    if (is_id(name))
        buf_add(to, value);
    else if (span_is(name, "query"))
        mask_form(to, value, reveals);
    else if (span_is(name, "raw"))
        mask_body(to, &d, reveals);
    else
        mask_value(to, name, value, reveals);
}

// As --mask shows it, in *memory; without `masks` as it is.
static struct span
shown(struct buf *memory, const struct redis_reply *fields, struct span name,
      struct span value, bool masks)
{
    buf_clear(memory);
    if (masks)
        cli_mask_field(memory, fields, name, value, false);
    return masks ? buf_span(memory) : value;
}

void
cli_print_field(const struct redis_reply *fields, const char *name, struct span value,
                size_t width, bool masks)
{
    struct buf memory;

    buf_init(&memory, MASKED_MAX);
    output_print(shown(&memory, fields, span_of(name), value, masks), width);
    buf_release(&memory);
}

// `data` is JSON by contract; what somebody else put there goes out as a string. What is masked is
// for people to see, and so are its bytes.
static void
add_field(struct buf *to, struct span name, struct span value, bool masks)
{
    struct buf data;
    char text[64];

    buf_init(&data, value.len);
    text_escape(text, sizeof text, name);
    if (span_is(name, "data") && json_compact(&data, value) == NULL)
        document_value(to, "data", buf_span(&data));
    else if (!strpbrk(text, "\"\\"))
        (masks ? document_shown : document_text)(to, text, value);
    buf_release(&data);
}

void
cli_add_entry(struct buf *to, struct span id, const struct redis_reply *fields,
              const struct span *raw, bool masks)
{
    struct buf memory;

    buf_init(&memory, MASKED_MAX);
    document_text(to, "id", id);
    for (size_t i = 0; i + 1 < redis_value(fields).len; i += 2) {
        struct span value = redis_value(redis_reply_at(fields, i + 1)).text;
        struct span name = redis_value(redis_reply_at(fields, i)).text;
        bool is_raw = span_is(name, "raw");
        if (is_raw && raw)
            value = *raw;
        if (!is_raw || !raw || raw->len > 0)
            add_field(to, name, shown(&memory, fields, name, value, masks), masks);
    }
    buf_release(&memory);
}

void
cli_add_masked(struct buf *to, const char *name, struct span value, bool reveals)
{
    struct buf masked;

    buf_init(&masked, MASKED_MAX);
    mask_value(&masked, span_of(name), value, reveals);
    document_shown(to, name, buf_span(&masked));
    buf_release(&masked);
}

// What stands between the quotes of a string.
static struct span
unquote(struct span s)
{
    return s.len > 1 && s.at[0] == '"' ? span_make(s.at + 1, s.len - 2) : s;
}

// An attribute of a structured event; nothing is escaped in those that acrelay writes.
static struct span
find_attribute(struct span event, const char *attribute)
{
    struct span name, value;

    while (json_next(&event, &name, &value))
        if (span_is(unquote(name), attribute))
            return unquote(value);
    return (struct span){"", 0};
}

struct span
cli_field(const struct redis_reply *fields, const char *name)
{
    struct span value = find_field(fields, name);
    bool inside = value.len == 0 && strncmp(name, "ce_", 3) == 0 &&
                  span_is(find_field(fields, "content-type"), ENTRY_STRUCTURED_TYPE);
    struct span event = inside ? find_field(fields, "data") : value;

    // What somebody else put there may be anything.
    return inside && json_is_object(event) ? find_attribute(event, name + 3) : value;
}

bool
cli_is_before(const char *a, const char *b)
{
    unsigned long long a_ms = 0, a_n = 0, b_ms = 0, b_n = 0;

    sscanf(a, "%llu-%llu", &a_ms, &a_n);
    sscanf(b, "%llu-%llu", &b_ms, &b_n);
    return a_ms < b_ms || (a_ms == b_ms && a_n < b_n);
}

struct span
cli_type(struct span type)
{
    struct span prefix = SPAN("com.activecampaign.");

    return span_starts(type, prefix) ? span_from(type, prefix.len) : type;
}

// --- for people -------------------------------------------------------------------------

static void
print_cell(enum output_color color, struct span s, int width)
{
    char text[128];

    size_t len = text_escape(text, sizeof text, s);
    printf("%s%-*s%s  ", output_color(color), len < sizeof text ? width : 0, text,
           output_color(OUTPUT_PLAIN));
}

static void
print_label(bool given, const char *label)
{
    if (given)
        printf("  %s%s%s", output_color(OUTPUT_WARNING), label,
               output_color(OUTPUT_PLAIN));
}

// A field on a line of its own.
static void
print_below(const struct redis_reply *fields, const char *name, bool masks)
{
    fputs("\n    ", stdout);
    cli_print_field(fields, name, cli_field(fields, name), 0, masks);
}

// Receipt in local hours would differ from machine to machine: UTC as in the stream.
void
cli_print_event(const struct redis_reply *fields, bool with_data, bool masks)
{
    print_cell(OUTPUT_FAINT, span_to(cli_field(fields, "ce_recordedtime"), 19), 19);
    print_cell(OUTPUT_STRONG, cli_type(cli_field(fields, "ce_type")), 22);
    print_cell(OUTPUT_PLAIN, cli_field(fields, "ce_subject"), 14);
    output_print(cli_field(fields, "ce_source"), 80);
    print_label(span_is(cli_field(fields, "ce_repeat"), "1"), "repeat");
    print_label(cli_field(fields, "ce_replay").len > 0, "replay");
    if (with_data)
        print_below(fields, "data", masks);
    putchar('\n');
}

void
cli_print_result(struct span id, const struct redis_reply *fields, bool with_data,
                 bool masks)
{
    struct span type = cli_field(fields, "ce_type"), prefix = SPAN("result.");
    bool ok = span_is(cli_field(fields, "outcome"), "ok");

    if (output.json) {
        cli_add_entry(&output.document, id, fields, NULL, masks);
        output_line(stdout);
        return;
    }
    type = cli_type(type);
    type = span_starts(type, prefix) ? span_from(type, prefix.len) : type;
    print_cell(OUTPUT_FAINT, span_to(cli_field(fields, "ce_time"), 19), 19);
    print_cell(ok ? OUTPUT_OK : OUTPUT_BAD, cli_field(fields, "outcome"), 10);
    print_cell(OUTPUT_PLAIN, cli_field(fields, "status"), 3);
    print_cell(OUTPUT_STRONG, type, 24);
    print_cell(OUTPUT_PLAIN, cli_field(fields, "ce_subject"), 14);
    output_print(cli_field(fields, "ce_id"), 80);
    print_label(span_is(cli_field(fields, "repeat"), "1"), "repeat");
    if (cli_field(fields, "detail").len)
        print_below(fields, "detail", masks);
    if (with_data && cli_field(fields, "data").len)
        print_below(fields, "data", masks);
    putchar('\n');
}
