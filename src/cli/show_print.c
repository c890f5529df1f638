// What is shown of one delivery, as JSON and for people.
#include "cli/show.h"

#include "base/clock.h"
#include "base/text.h"
#include "event/form.h"
#include "event/json.h"
#include "event/mask.h"

#include <stdio.h>
#include <stdlib.h>

enum { MASKED_MAX = 64 << 20 };

// --- what both show ---------------------------------------------------------------------------

// What is masked lives in a buf of its own; `why` says why there is none.
struct part {
    struct buf text;
    bool shown;
    const char *why;
};

static struct part
part_of(bool shown, const char *why)
{
    struct part p = {.shown = shown, .why = shown ? "" : why};

    buf_init(&p.text, MASKED_MAX);
    return p;
}

static struct part
body_of(const struct show *s)
{
    bool small = s->delivery.body.len <= SHOW_BODY_MAX;
    struct part p =
        part_of(s->from && small,
                small ? s->journal_err.text
                      : "larger than 256 KiB: acrelay journal dump --raw shows it");

    if (p.shown)
        mask_body(&p.text, &s->delivery, s->reveals);
    return p;
}

static struct part
event_of(const struct show *s)
{
    struct span data = cli_field(s->fields, "data");
    bool small = data.len <= SHOW_BODY_MAX;
    struct part p = part_of(data.len > 0 && small,
                            !small ? "larger than 256 KiB: acrelay tail shows it"
                            : s->place.is_dead ? "it could not become an event"
                            : s->fields        ? "its data is not a JSON object"
                                               : s->err.text);

    if (p.shown && !mask_object(&p.text, data, s->reveals))
        p.shown = false, p.why = "its data is not a JSON object";
    return p;
}

static bool
is_form(const struct delivery *d)
{
    enum event_body as = event_body_of(d);

    return as == EVENT_BODY_FORM || (as == EVENT_BODY_EITHER && !json_is_object(d->body));
}

// The pairs of a form, which stays one when it is masked. How many there are.
static size_t
each_pair(struct span form,
          void each(struct buf *to, struct span name, struct span value), struct buf *to)
{
    char *memory = memory_get(form.len + 1);
    size_t n = 0;

    while (form.len > 0) {
        struct span value = span_cut(&form, '&'), name = span_cut(&value, '=');
        if (name.len + value.len == 0 || n++ >= SHOW_PAIRS_MAX)
            continue;
        name = form_decode(memory, name);
        each(to, name, form_decode(memory + name.len, value));
    }
    free(memory);
    return n;
}

// The fields of the entry but for its bodies, which stand elsewhere.
static void
each_field(const struct show *s,
           void each(struct buf *to, const char *name, struct span value), struct buf *to)
{
    for (size_t i = 0; i + 1 < redis_value(s->fields).len; i += 2) {
        struct span name = redis_value(redis_reply_at(s->fields, i)).text;
        struct span value = redis_value(redis_reply_at(s->fields, i + 1)).text;
        char text[64];
        struct buf masked;
        if (span_is(name, "data") || span_is(name, "raw") || span_is(name, "query"))
            continue;
        text_quote(text, sizeof text, name);
        buf_init(&masked, MASKED_MAX);
        cli_mask_field(&masked, s->fields, name, value, s->reveals);
        each(to, text, buf_span(&masked));
        buf_release(&masked);
    }
}

static int64_t
received_us(const struct show *s)
{
    int64_t us = s->record.received_us;

    return us || clock_parse(&us, cli_field(s->fields, "ce_recordedtime")) ? us : 0;
}

static int64_t
stream_us(const struct show *s)
{
    return s->fields ? strtoll(s->entry, NULL, 10) * 1000 : 0;
}

static bool
is_in_journal(const struct show *s)
{
    return s->from && strcmp(s->from, "journal") == 0;
}

// --- JSON -------------------------------------------------------------------------------------

static bool
is_plain(struct span s)
{
    char *text = memory_get(4 * s.len + 4);
    bool plain = span_equal(s, span_make(text, text_escape(text, 4 * s.len + 4, s)));

    free(text);
    return plain;
}

static void
add_pair(struct buf *to, struct span name, struct span value)
{
    document_open(to, NULL, '[');
    document_shown(to, NULL, name);
    document_shown(to, NULL, value);
    document_close(to, '[');
}

static void
add_raw(struct buf *to, const struct show *s, struct part *body)
{
    const struct delivery *d = &s->delivery;
    struct span shown = buf_span(&body->text);
    struct buf query;

    buf_init(&query, MASKED_MAX);
    mask_form(&query, d->query, s->reveals);
    document_open(to, "raw", '{');
    document_word(to, "from", s->from);
    document_shown(to, "why", span_of(body->why));
    document_number(to, "bytes", s->from != NULL, (int64_t)d->body.len);
    cli_add_masked(to, "content_type", d->type, s->reveals);
    cli_add_masked(to, "encoding", d->encoding, s->reveals);
    document_shown(to, "query", buf_span(&query));
    if (body->shown)
        document_shown(to, "body", shown);
    else
        document_word(to, "body", NULL);
    document_flag(to, "exact",
                  body->shown && span_equal(shown, d->body) && is_plain(d->body));
    document_close(to, '{');
    buf_release(&query);
}

static void
add_form(struct buf *to, const struct show *s, struct part *body)
{
    size_t len = 0;

    if (body->shown && is_form(&s->delivery)) {
        document_open(to, "form", '[');
        len = each_pair(buf_span(&body->text), add_pair, to);
        document_close(to, '[');
    } else {
        document_word(to, "form", NULL);
    }
    document_number(to, "form_pairs", true, (int64_t)len);
}

static void
add_event(struct buf *to, const struct show *s)
{
    struct part event = event_of(s);

    document_value(to, "event", event.shown ? buf_span(&event.text) : SPAN("null"));
    document_shown(to, "event_why", span_of(event.why));
    buf_release(&event.text);
}

static void
add_entry(struct buf *to, const struct show *s)
{
    if (s->fields) {
        document_open(to, "entry", '{');
        document_shown(to, "key", span_of(s->place.key));
        document_shown(to, "id", span_of(s->entry));
        document_open(to, "fields", '{');
        each_field(s, document_shown, to);
        document_close(to, '{');
        document_close(to, '{');
    } else {
        document_word(to, "entry", NULL);
    }
    document_shown(to, "entry_why", span_of(s->fields ? "" : s->err.text));
}

static void
add_group(struct buf *to, const struct show_group *g)
{
    bool held = g->state == SHOW_HELD;

    document_open(to, NULL, '{');
    document_shown(to, "name", span_of(g->name));
    document_shown(to, "last", span_of(g->last));
    document_flag(to, "read", g->read);
    if (g->read && g->state == SHOW_UNKNOWN)
        document_word(to, "acknowledged", NULL);
    else
        document_flag(to, "acknowledged", g->read && !held);
    document_word(to, "consumer", held ? g->consumer : NULL);
    document_number(to, "deliveries", held, g->deliveries);
    document_number(to, "idle_ms", held, g->idle_ms);
    document_close(to, '{');
}

static void
add_journey(struct buf *to, const struct show *s)
{
    int64_t received = received_us(s);

    document_open(to, "journey", '{');
    document_time(to, "received", received);
    document_word(to, "received_from",
                  is_in_journal(s) ? "journal"
                  : received       ? "entry"
                                   : NULL);
    document_value(to, "durable",
                   is_in_journal(s) || s->fields ? SPAN("true") : SPAN("null"));
    document_time(to, "stream", stream_us(s));
    if (s->place.is_dead && s->fields)
        document_shown(to, "reason", cli_field(s->fields, "reason"));
    else
        document_word(to, "reason", NULL);
    document_open(to, "groups", '[');
    for (size_t i = 0; s->fields && i < s->groups_len; i++)
        add_group(to, &s->groups[i]);
    document_close(to, '[');
    document_close(to, '{');
}

void
show_add(struct buf *to, const struct show *s)
{
    struct part body = body_of(s);

    document_shown(to, "ce_id", span_of(s->ce_id));
    document_number(to, "sequence", true, (int64_t)s->sequence);
    document_flag(to, "masked", !s->reveals);
    cli_add_masked(to, "hook", s->delivery.hook, s->reveals);
    cli_add_masked(to, "type", span_after_last(cli_field(s->fields, "ce_type"), '.'),
                   s->reveals);
    add_raw(to, s, &body);
    add_form(to, s, &body);
    add_event(to, s);
    add_entry(to, s);
    add_journey(to, s);
    buf_release(&body.text);
}

// --- for people -------------------------------------------------------------------------------

static void
print_name(const char *name)
{
    printf("%s%-13s%s", output_color(OUTPUT_STRONG), name, output_color(OUTPUT_PLAIN));
}

static void
print_line(const char *name, struct span text)
{
    print_name(name);
    output_print(text, 0);
    putchar('\n');
}

static void
print_masked(const char *name, struct span value, bool reveals)
{
    struct buf masked;

    buf_init(&masked, MASKED_MAX);
    mask_value(&masked, span_of(name), value, reveals);
    print_line(name, buf_span(&masked));
    buf_release(&masked);
}

static void
print_pair(struct buf *unused, struct span name, struct span value)
{
    (void)unused;
    fputs("  ", stdout);
    output_print(name, 0);
    fputs(": ", stdout);
    output_print(value, 0);
    putchar('\n');
}

static void
print_field(struct buf *unused, const char *name, struct span value)
{
    print_pair(unused, span_of(name), value);
}

static void
print_journey(const struct show *s)
{
    char time[CLOCK_TEXT], after[40];
    int64_t received = received_us(s), stream = stream_us(s);

    clock_format_us(time, received);
    print_name("received");
    printf("%s%s\n", received ? time : "not known",
           is_in_journal(s) ? ""
           : received       ? ", as its entry says"
                            : "");
    print_name("durable");
    puts(is_in_journal(s) ? "yes, in the journal of this machine"
         : s->fields      ? "yes, it is in Redis"
                          : "not known");
    print_name(s->place.is_dead && s->fields ? "dead letter" : "stream");
    if (!s->fields) {
        printf("%s\n", s->err.text);
        return;
    }
    text_duration(after, sizeof after,
                  received && stream > received ? (stream - received) / 1000 : 0);
    output_print(span_of(s->place.key), 0);
    printf(" %s", s->entry);
    if (received)
        printf(", %s after it was received", after);
    if (span_is(cli_field(s->fields, "ce_repeat"), "1"))
        fputs(", a duplicate of an earlier delivery", stdout);
    putchar('\n');
}

static void
print_group(const struct show_group *g)
{
    char idle[40];

    print_name("group");
    output_print(span_of(g->name), 0);
    text_duration(idle, sizeof idle, g->idle_ms);
    if (!g->read) {
        puts(": not read yet");
    } else if (g->state == SHOW_HELD) {
        fputs(": read, not acknowledged; with ", stdout);
        output_print(span_of(g->consumer), 0);
        printf(" for %s, delivered %lld time%s\n", idle, (long long)g->deliveries,
               PLURAL(g->deliveries));
    } else {
        puts(g->state == SHOW_FREE ? ": read and acknowledged"
                                   : ": read; whether acknowledged is not known");
    }
}

static void
print_body(const struct show *s)
{
    struct part body = body_of(s);
    char size[32];

    text_bytes(size, sizeof size, s->delivery.body.len);
    if (!body.shown) {
        print_line("body", span_of(body.why));
    } else {
        print_masked("content type", s->delivery.type, s->reveals);
        print_name("body");
        printf("%s, from the %s\n  ", size, s->from);
        output_print(buf_span(&body.text), 0);
        putchar('\n');
        if (is_form(&s->delivery)) {
            print_line("form", span_of("decoded"));
            size_t len = each_pair(buf_span(&body.text), print_pair, NULL);
            if (len > SHOW_PAIRS_MAX)
                printf("  and %zu more pairs\n", len - SHOW_PAIRS_MAX);
        }
    }
    buf_release(&body.text);
}

void
show_print(const struct show *s)
{
    struct part event = event_of(s);

    print_line("ce_id", span_of(s->ce_id));
    print_masked("hook", s->delivery.hook, s->reveals);
    print_journey(s);
    for (size_t i = 0; s->fields && i < s->groups_len; i++)
        print_group(&s->groups[i]);
    print_body(s);
    if (s->fields) { // else the reason is printed already
        print_line("event", event.shown ? buf_span(&event.text) : span_of(event.why));
        print_line("entry", span_of("the other fields"));
        each_field(s, print_field, NULL);
    }
    buf_release(&event.text);
}
