// Entries of streams, for people and for programs.
#include "base/text.h"
#include "cli/cli.h"
#include "event/json.h"
#include "event/mask.h"

#include <stdio.h>

// --- fields -----------------------------------------------------------------------------

// `data` is JSON by contract; what somebody else put there goes out as a string.
void
cli_add_entry(struct span id, const struct redis_reply *fields, struct span raw)
{
    output_text("id", id);
    for (size_t i = 0; i + 1 < redis_value(fields).len; i += 2) {
        char name[64];
        struct span value = redis_value(redis_reply_at(fields, i + 1)).text;
        struct span field = redis_value(redis_reply_at(fields, i)).text;
        text_escape(name, sizeof name, field);
        if (span_is(field, "raw") && raw.len > 0)
            value = raw;
        if (span_is(field, "data") && json_is_object(value))
            document_value(&output.document, "data", value);
        else if (!strpbrk(name, "\"\\"))
            output_text(name, value);
    }
}

void
cli_add_masked(struct buf *to, const char *name, struct span value, bool reveals)
{
    struct buf masked;

    buf_init(&masked, sizeof MASK * (value.len + 1));
    mask_value(&masked, span_of(name), value, reveals);
    document_shown(to, name, buf_span(&masked));
    buf_release(&masked);
}

static struct span
find_field(const struct redis_reply *fields, const char *name)
{
    return redis_value(redis_member(fields, name)).text;
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

// On a line of its own.
static void
print_below(struct span s)
{
    fputs("\n    ", stdout);
    output_print(s, 0);
}

// Receipt in local hours would differ from machine to machine: UTC as in the stream.
void
cli_print_event(const struct redis_reply *fields, bool with_data)
{
    print_cell(OUTPUT_FAINT, span_to(cli_field(fields, "ce_recordedtime"), 19), 19);
    print_cell(OUTPUT_STRONG, cli_type(cli_field(fields, "ce_type")), 22);
    print_cell(OUTPUT_PLAIN, cli_field(fields, "ce_subject"), 14);
    output_print(cli_field(fields, "ce_source"), 80);
    print_label(span_is(cli_field(fields, "ce_repeat"), "1"), "repeat");
    print_label(cli_field(fields, "ce_replay").len > 0, "replay");
    if (with_data)
        print_below(cli_field(fields, "data"));
    putchar('\n');
}

void
cli_print_result(struct span id, const struct redis_reply *fields, bool with_data)
{
    struct span type = cli_field(fields, "ce_type"), prefix = SPAN("result.");
    bool ok = span_is(cli_field(fields, "outcome"), "ok");

    if (output.json) {
        cli_add_entry(id, fields, SPAN(""));
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
        print_below(cli_field(fields, "detail"));
    if (with_data && cli_field(fields, "data").len)
        print_below(cli_field(fields, "data"));
    putchar('\n');
}
