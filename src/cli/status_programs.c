// How a fact is said, and what the programs say of themselves on their admin listeners.
#include "cli/status.h"

#include "base/text.h"
#include "edge/admin.h"

#include <stdio.h>

// --- saying ---------------------------------------------------------------------------

void
status_part(struct status *s, const char *name, bool ok, const char *text)
{
    char member[32];

    document_text(s->to, name, span_of(text));
    snprintf(member, sizeof member, "%s_ok", name);
    document_flag(s->to, member, ok);
    if (s->prints)
        printf("%s%-10s%s %s%s%s\n", output_color(OUTPUT_STRONG), name,
               output_color(OUTPUT_PLAIN), output_color(ok ? OUTPUT_OK : OUTPUT_BAD),
               text, output_color(OUTPUT_PLAIN));
}

void
status_figure(struct status *s, const char *member, const char *label,
              enum status_unit unit, double value)
{
    char text[32];

    if (unit == STATUS_BYTES)
        text_bytes(text, sizeof text, value > 0 ? (uint64_t)value : 0);
    else if (unit == STATUS_SECONDS)
        text_duration(text, sizeof text, (int64_t)(value * 1000));
    else
        snprintf(text, sizeof text, "%.0f", value);
    document_json(s->to, member, "%.15g", value);
    status_line(s, OUTPUT_PLAIN, label, "%s", text);
}

void
status_line(const struct status *s, enum output_color color, const char *label,
            const char *format, ...)
{
    va_list args;

    if (!s->prints)
        return;
    printf("  %-30s %s", label, output_color(color));
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    puts(output_color(OUTPUT_PLAIN));
}

// --- the programs ---------------------------------------------------------------------

// by_cursor: until Redis says what is published, all records in the journal may wait, or none.
static const struct {
    const char *member, *label;
    enum status_unit unit;
    bool by_cursor;
    const char *metric;
} figures[] = {
    {"requests", "requests", STATUS_COUNT, false, "acrelay_requests_total"},
    {"refused", "answered with 503 since start", STATUS_COUNT, false,
     "acrelay_journal_refused_total"},
    {"deliveries_refused", "refused and lost since start", STATUS_COUNT, false,
     "acrelay_deliveries_refused_total"},
    {"entries", "entries confirmed since start", STATUS_COUNT, false,
     "acrelay_relay_entries_total"},
    {"waiting", "waiting to be published", STATUS_COUNT, true,
     "acrelay_journal_unpublished_records"},
    {"waiting_seconds", "oldest waiting for", STATUS_SECONDS, true,
     "acrelay_journal_oldest_unpublished_age_seconds"},
    {"dead_letters", "dead letters since start", STATUS_COUNT, false,
     "acrelay_dead_letters_total"},
    {"journal_bytes", "journal on disk", STATUS_BYTES, false, "acrelay_journal_bytes"},
    {"journal_free_bytes", "room left for records", STATUS_BYTES, false,
     "acrelay_journal_free_bytes"},
};

static void
show_figures(struct status *s, const struct admin_state *r)
{
    const struct buf *page = &r->metrics;
    double value;

    bool known = admin_sum_metric(page, "acrelay_relay_cursor_known") > 0;
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        if (!known && figures[i].by_cursor)
            document_number(s->to, figures[i].member, false, 0);
        else if (admin_find_metric(page, figures[i].metric, &value) ||
                 figures[i].unit != STATUS_SECONDS)
            status_figure(s, figures[i].member, figures[i].label, figures[i].unit, value);
    status_figure(s, "repeats", "duplicates marked or dropped", STATUS_COUNT,
                  admin_sum_metric(page, "acrelay_relay_repeats_marked_total") +
                      admin_sum_metric(page, "acrelay_relay_repeats_dropped_total"));
    if (r->left_posts > 0)
        status_figure(s, "left_posts", "404 for hooks not in the file", STATUS_COUNT,
                      r->left_posts);
    if (known)
        return;
    value = admin_sum_metric(page, "acrelay_journal_unpublished_records");
    document_json(s->to, "waiting_at_most", "%.15g", value);
    status_line(s, OUTPUT_PLAIN, "waiting to be published", "at most %.0f", value);
}

// What doctor finds of it, and what became of its last reload. `member` is of the latter.
static bool
show_program(struct status *s, const char *name, const struct admin_state *state,
             void (*examine)(struct report *r), const char *good, const char *member)
{
    struct report r = {.cli = s->cli, .is_silent = true};

    admin_json_report_other(&r, name, "it", state);
    examine(&r);
    bool ok = state->code == 200 && !state->activecampaign[0] && r.errors == 0;
    status_part(s, name, ok, r.errors + r.warnings ? r.worst : good);
    if (r.errors + r.warnings && r.worst_advice) {
        char advice[32];
        snprintf(advice, sizeof advice, "%s_do", name);
        document_text(s->to, advice, span_of(r.worst_advice));
        if (s->prints)
            printf("  -> %s\n", r.worst_advice);
    }
    if (state->reload_ok && !state->last_good)
        return ok;
    document_text(s->to, member, span_of(state->reload));
    if (s->prints)
        printf("  %s%s%s%s\n", output_color(OUTPUT_BAD),
               state->last_good ? "" : "refused the last reload: ", state->reload,
               output_color(OUTPUT_PLAIN));
    return ok;
}

bool
status_programs(struct status *s)
{
    const struct config *c = s->cli->config;
    struct admin_state *receiver = &s->cli->receiver, *worker = &s->cli->worker;

    bool ok = show_program(s, "receiver", receiver, doctor_receiver,
                           "accepts and publishes deliveries", "reload");
    if (receiver->code)
        show_figures(s, receiver);
    if (worker->code || (c->account_api_url && c->account_api_token_file))
        ok &= show_program(s, "worker", worker, doctor_worker,
                           "keeps the webhooks in sync", "worker_reload");
    return ok;
}
