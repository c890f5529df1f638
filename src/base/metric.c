// One list of series, those of a name side by side; it only grows, under one lock that is
// held for making and for walking, never for changing a value. Values are doubles: exact
// for counts up to 2^53, and seconds need no second kind. C17 has no atomic addition of
// doubles, so it is a compare-and-swap loop.
//
// Labels are formatted once, when a series is made: {hook="contacts",code="200"}.
#include "base/metric.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>

enum { LABELS_MAX = 512, UPDATES_MAX = 16 };

static const char *const kind_names[] = {"counter", "gauge", "histogram"};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct metric *first;

static pthread_mutex_t updates_lock = PTHREAD_MUTEX_INITIALIZER; // taken before `lock`
static struct {
    void (*call)(void *); // NULL: free
    void *context;
} updates[UPDATES_MAX];

// --- making -----------------------------------------------------------------------------

static void
add_label_value(struct buf *to, const char *value)
{
    for (; *value; value++) {
        if (*value == '\n')
            buf_add_text(to, "\\n");
        else if (*value == '"' || *value == '\\')
            buf_add_format(to, "\\%c", *value);
        else
            buf_add_byte(to, *value);
    }
}

static char *
format_labels(va_list pairs)
{
    struct buf text;
    const char *name;

    buf_init(&text, LABELS_MAX);
    while ((name = va_arg(pairs, const char *))) {
        const char *value = va_arg(pairs, const char *);
        assert(value);
        buf_add_format(&text, "%s%s=\"", text.len ? "," : "", name);
        add_label_value(&text, value);
        buf_add_byte(&text, '"');
    }
    assert(!text.full);
    char *labels = memory_copy(buf_span(&text));
    buf_release(&text);
    return labels;
}

// With the lock: gives the series of the same name and labels, or links this one in, after
// those of its name or at the end.
static struct metric *
find_or_link(struct metric *m)
{
    struct metric **end = NULL, **at = &first;

    for (; *at; at = &(*at)->next) {
        if (strcmp((*at)->name, m->name) != 0)
            continue;
        if (strcmp((*at)->labels, m->labels) == 0)
            return *at;
        end = &(*at)->next;
    }
    end = end ? end : at;
    m->next = *end;
    return *end = m;
}

void
metric_show(struct metric *metrics, size_t len)
{
    pthread_mutex_lock(&lock);
    for (struct metric *m = metrics; m < metrics + len; m++) {
        const struct metric *shown = find_or_link(m);
        assert(m->bounds_len < METRIC_BUCKETS_MAX && shown == m);
    }
    pthread_mutex_unlock(&lock);
}

struct metric *
metric_find(enum metric_kind kind, const char *name, const char *help, ...)
{
    struct metric *fresh = memory_get(sizeof *fresh);
    va_list pairs;

    va_start(pairs, help);
    char *labels = format_labels(pairs);
    va_end(pairs);
    *fresh = (struct metric){.kind = kind, .name = name, .help = help, .labels = labels};
    pthread_mutex_lock(&lock);
    struct metric *m = find_or_link(fresh);
    pthread_mutex_unlock(&lock);
    assert(m->kind == kind);
    if (m != fresh) {
        free(labels);
        free(fresh);
    }
    return m;
}

// --- changing ---------------------------------------------------------------------------

void
metric_add(struct metric *m, double amount)
{
    double old = atomic_load_explicit(&m->value, memory_order_relaxed);

    while (!atomic_compare_exchange_weak_explicit(
        &m->value, &old, old + amount, memory_order_relaxed, memory_order_relaxed))
        continue;
}

void
metric_observe(struct metric *m, double value)
{
    size_t i = 0;

    assert(m->kind == METRIC_HISTOGRAM);
    while (i < m->bounds_len && value > m->bounds[i])
        i++;
    atomic_fetch_add_explicit(&m->buckets[i], 1, memory_order_relaxed);
    metric_add(m, value);
}

// --- writing ----------------------------------------------------------------------------

void
metric_before_write(void (*update)(void *context), void *context)
{
    size_t i = 0;

    pthread_mutex_lock(&updates_lock);
    while (i < UPDATES_MAX && updates[i].call)
        i++;
    assert(i < UPDATES_MAX);
    updates[i].call = update;
    updates[i].context = context;
    pthread_mutex_unlock(&updates_lock);
}

void
metric_forget(const void *context)
{
    pthread_mutex_lock(&updates_lock);
    for (size_t i = 0; i < UPDATES_MAX; i++)
        if (updates[i].context == context)
            updates[i].call = NULL;
    pthread_mutex_unlock(&updates_lock);
}

// Fifteen digits give 0.1 for 0.1 and every count below 10^15 exactly.
static void
add_number(struct buf *to, double value)
{
    if (isinf(value))
        buf_add_text(to, value < 0 ? "-Inf" : "+Inf");
    else
        buf_add_format(to, "%.15g", value);
}

static void
write_line(struct buf *to, const struct metric *m, const char *suffix, double value)
{
    buf_add_format(to, "%s%s", m->name, suffix);
    if (m->labels[0])
        buf_add_format(to, "{%s}", m->labels);
    buf_add_byte(to, ' ');
    add_number(to, value);
    buf_add_byte(to, '\n');
}

static void
write_bucket(struct buf *to, const struct metric *m, double bound, uint64_t count)
{
    buf_add_format(to, "%s_bucket{%s%sle=\"", m->name, m->labels,
                   m->labels[0] ? "," : "");
    add_number(to, bound);
    buf_add_format(to, "\"} %llu\n", (unsigned long long)count);
}

// The count is the sum of the buckets just read, so that the two always agree.
static void
write_histogram(struct buf *to, const struct metric *m)
{
    uint64_t count = 0;

    for (size_t i = 0; i <= m->bounds_len; i++) {
        count += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
        write_bucket(to, m, i < m->bounds_len ? m->bounds[i] : INFINITY, count);
    }
    write_line(to, m, "_sum", metric_read(m));
    write_line(to, m, "_count", (double)count);
}

static void
write_series(struct buf *to, const struct metric *m, bool is_first)
{
    if (is_first)
        buf_add_format(to, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
                       kind_names[m->kind]);
    if (m->kind == METRIC_HISTOGRAM)
        write_histogram(to, m);
    else
        write_line(to, m, "", metric_read(m));
}

int
metric_write(struct buf *to)
{
    const char *name = "";

    pthread_mutex_lock(&updates_lock);
    for (size_t i = 0; i < UPDATES_MAX; i++)
        if (updates[i].call)
            updates[i].call(updates[i].context);
    pthread_mutex_unlock(&updates_lock);
    pthread_mutex_lock(&lock);
    for (const struct metric *m = first; m; m = m->next) {
        if (isnan(metric_read(m)))
            continue;
        write_series(to, m, strcmp(m->name, name) != 0);
        name = m->name;
    }
    pthread_mutex_unlock(&lock);
    return to->full ? -1 : 0;
}
