// Families in order of their making, each with its series; both are lists that only grow,
// under one lock that is held for making and for walking, never for changing a value.
// Values are doubles: exact for counts up to 2^53, and seconds need no second kind. C17 has
// no atomic addition of doubles, so it is a compare-and-swap loop.
//
// Labels are formatted once, when a series is made: {hook="contacts",code="200"}.
#include "base/metric.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

enum { LABELS_MAX = 512, UPDATES_MAX = 16 };
enum kind { COUNTER, GAUGE, HISTOGRAM };
static const char *const kind_names[] = {"counter", "gauge", "histogram"};

struct metric {
    struct metric *next;
    struct family *family;
    char *labels; // without braces; "" for none
    _Atomic double value;
    _Atomic uint64_t *buckets; // HISTOGRAM: bounds_len + 1 counts
};

struct family {
    struct family *next;
    const char *name, *help;
    enum kind kind;
    const double *bounds;
    size_t bounds_len;
    struct metric *first, **end;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct family *first_family, **end_of_families = &first_family;
static struct {
    void (*call)(void *);
    void *context;
} updates[UPDATES_MAX];
static size_t updates_len;

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

static struct family *
find_or_make_family(const char *name, const char *help, enum kind kind,
                    const double *bounds, size_t bounds_len)
{
    for (struct family *f = first_family; f; f = f->next)
        if (strcmp(f->name, name) == 0) {
            assert(f->kind == kind && f->bounds_len == bounds_len);
            return f;
        }
    struct family *f = memory_get(sizeof *f);
    *f = (struct family){.name = name,
                         .help = help,
                         .kind = kind,
                         .bounds = bounds,
                         .bounds_len = bounds_len};
    f->end = &f->first;
    *end_of_families = f;
    end_of_families = &f->next;
    return f;
}

static struct metric *
find_or_make_series(struct family *f, const char *labels)
{
    for (struct metric *m = f->first; m; m = m->next)
        if (strcmp(m->labels, labels) == 0)
            return m;
    struct metric *m = memory_get(sizeof *m);
    *m = (struct metric){.family = f, .labels = memory_copy(span_of(labels))};
    if (f->kind == HISTOGRAM) {
        m->buckets = memory_get((f->bounds_len + 1) * sizeof *m->buckets);
        for (size_t i = 0; i <= f->bounds_len; i++)
            atomic_init(&m->buckets[i], 0);
    }
    *f->end = m;
    f->end = &m->next;
    return m;
}

static struct metric *
make(const char *name, const char *help, enum kind kind, const double *bounds,
     size_t bounds_len, va_list pairs)
{
    char *labels = format_labels(pairs);

    pthread_mutex_lock(&lock);
    struct family *f = find_or_make_family(name, help, kind, bounds, bounds_len);
    struct metric *m = find_or_make_series(f, labels);
    pthread_mutex_unlock(&lock);
    free(labels);
    return m;
}

struct metric *
metric_counter(const char *name, const char *help, ...)
{
    va_list pairs;

    va_start(pairs, help);
    struct metric *m = make(name, help, COUNTER, NULL, 0, pairs);
    va_end(pairs);
    return m;
}

struct metric *
metric_gauge(const char *name, const char *help, ...)
{
    va_list pairs;

    va_start(pairs, help);
    struct metric *m = make(name, help, GAUGE, NULL, 0, pairs);
    va_end(pairs);
    return m;
}

struct metric *
metric_histogram(const char *name, const char *help, const double *bounds,
                 size_t bounds_len, ...)
{
    va_list pairs;

    va_start(pairs, bounds_len);
    struct metric *m = make(name, help, HISTOGRAM, bounds, bounds_len, pairs);
    va_end(pairs);
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
metric_set(struct metric *m, double value)
{
    atomic_store_explicit(&m->value, value, memory_order_relaxed);
}

void
metric_observe(struct metric *m, double value)
{
    const struct family *f = m->family;
    size_t i = 0;

    assert(f->kind == HISTOGRAM);
    while (i < f->bounds_len && value > f->bounds[i])
        i++;
    atomic_fetch_add_explicit(&m->buckets[i], 1, memory_order_relaxed);
    metric_add(m, value);
}

double
metric_read(const struct metric *m)
{
    return atomic_load_explicit(&m->value, memory_order_relaxed);
}

// --- writing ----------------------------------------------------------------------------

void
metric_before_write(void (*update)(void *context), void *context)
{
    pthread_mutex_lock(&lock);
    assert(updates_len < UPDATES_MAX);
    updates[updates_len].call = update;
    updates[updates_len++].context = context;
    pthread_mutex_unlock(&lock);
}

// Fifteen digits give 0.1 for 0.1 and every count below 10^15 exactly.
static void
add_number(struct buf *to, double value)
{
    if (isnan(value))
        buf_add_text(to, "NaN");
    else if (isinf(value))
        buf_add_text(to, value < 0 ? "-Inf" : "+Inf");
    else
        buf_add_format(to, "%.15g", value);
}

static void
write_line(struct buf *to, const struct metric *m, const char *suffix, double value)
{
    buf_add_format(to, "%s%s", m->family->name, suffix);
    if (m->labels[0])
        buf_add_format(to, "{%s}", m->labels);
    buf_add_byte(to, ' ');
    add_number(to, value);
    buf_add_byte(to, '\n');
}

static void
write_bucket(struct buf *to, const struct metric *m, double bound, uint64_t count)
{
    buf_add_format(to, "%s_bucket{%s%sle=\"", m->family->name, m->labels,
                   m->labels[0] ? "," : "");
    add_number(to, bound);
    buf_add_format(to, "\"} %llu\n", (unsigned long long)count);
}

// The count is the sum of the buckets just read, so that the two always agree.
static void
write_histogram(struct buf *to, const struct metric *m)
{
    const struct family *f = m->family;
    uint64_t count = 0;

    for (size_t i = 0; i <= f->bounds_len; i++) {
        count += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
        write_bucket(to, m, i < f->bounds_len ? f->bounds[i] : INFINITY, count);
    }
    write_line(to, m, "_sum", metric_read(m));
    write_line(to, m, "_count", (double)count);
}

static void
write_family(struct buf *to, const struct family *f)
{
    buf_add_format(to, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name,
                   kind_names[f->kind]);
    for (const struct metric *m = f->first; m; m = m->next) {
        if (f->kind == HISTOGRAM)
            write_histogram(to, m);
        else
            write_line(to, m, "", metric_read(m));
    }
}

int
metric_write(struct buf *to)
{
    pthread_mutex_lock(&lock);
    size_t len = updates_len;
    pthread_mutex_unlock(&lock);
    for (size_t i = 0; i < len; i++)
        updates[i].call(updates[i].context);
    pthread_mutex_lock(&lock);
    for (const struct family *f = first_family; f; f = f->next)
        write_family(to, f);
    pthread_mutex_unlock(&lock);
    return to->full ? -1 : 0;
}
