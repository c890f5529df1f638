// The newest deliveries of all streams, in the order they were seen. A row is kept as it is shown,
// masked and escaped, beside some of its `data` to search in, so that the window has a size that
// no delivery changes.
#include "cli/inspect.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/thread.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SECONDS = 120,     // of the chart
    CELL_MAX = 160,    // bytes of a cell as it came
    SEARCH_MAX = 1024, // of `data`
    PAGE = 50,         // entries in a reply
    POLL_MS = 200,
    RETRY_MS = 1000,
    FILL_MS = 5000,
};

enum cell { ENTRY, CE_ID, RECEIVED, TYPE, HOOK, SUBJECT, REASON, CELLS };
static const char *const cell_names[CELLS] = {"entry", "ce_id",   "received", "type",
                                              "hook",  "subject", "reason"};

struct row {
    char *cells[CELLS], *search; // one block, which begins with cells[0]
    size_t key;
    int64_t ms; // of the entry's id
    bool repeat, replay;
};

struct window {
    struct inspect *inspect;
    struct tags tags;
    bool filled[TAGS_MAX];                   // what was there already has been read
    char last[INSPECT_KEYS][COMMANDS_ENTRY]; // read of each key; "": nothing yet
    pthread_mutex_t lock;                    // for what follows
    struct row rows[INSPECT_WINDOW];         // row n is at n % INSPECT_WINDOW
    uint64_t first, next;                    // numbers
    uint32_t counts[SECONDS];
    int64_t newest_s, known_s; // the last second counted, and the first that is known
    struct err err;            // why Redis is not read; "": it is
};

// --- rows -------------------------------------------------------------------------------------

static void
read_cells(struct span cells[CELLS], bool dead, struct span entry,
           const struct redis_reply *fields)
{
    cells[ENTRY] = entry;
    cells[CE_ID] = cli_field(fields, "ce_id");
    cells[RECEIVED] = cli_field(fields, "ce_recordedtime");
    cells[TYPE] = span_after_last(cli_field(fields, "ce_type"), '.');
    cells[HOOK] = dead ? cli_field(fields, "hook")
                       : span_after_last(cli_field(fields, "ce_source"), '/');
    cells[SUBJECT] = cli_field(fields, "ce_subject");
    cells[REASON] = dead ? cli_field(fields, "reason") : SPAN("");
}

// Where a row's texts go: each masked (an id is not), escaped, and ended by a NUL.
static void
add_cell(struct buf *to, struct buf *masked, struct span s, bool mask, size_t max)
{
    char text[4 * SEARCH_MAX + 4];

    buf_clear(masked);
    if (mask)
        mask_text(masked, span_to(s, max), false);
    s = mask ? buf_span(masked) : span_to(s, max);
    buf_add(to, span_make(text, text_escape(text, sizeof text, s)));
    buf_add_byte(to, '\0');
}

static struct row
make_row(const struct window *w, size_t k, const struct redis_reply *entry)
{
    const struct redis_reply *fields = redis_reply_at(entry, 1);
    bool dead = w->inspect->keys[k].is_dead;
    struct span cells[CELLS], data = dead ? SPAN("") : cli_field(fields, "data");
    struct row row = {.key = k};
    size_t at[CELLS + 1];
    struct buf texts, masked;

    buf_init(&texts, 1 << 16);
    buf_init(&masked, 1 << 16);
    read_cells(cells, dead, redis_value(redis_reply_at(entry, 0)).text, fields);
    for (size_t i = 0; i < CELLS; i++) {
        at[i] = texts.len;
        add_cell(&texts, &masked, cells[i], i > RECEIVED, CELL_MAX);
    }
    at[CELLS] = texts.len;
    add_cell(&texts, &masked, data, false, SEARCH_MAX);
    char *memory = memory_copy(buf_span(&texts));
    for (size_t i = 0; i < CELLS; i++)
        row.cells[i] = memory + at[i];
    row.search = memory + at[CELLS];
    row.ms = strtoll(row.cells[ENTRY], NULL, 10);
    row.repeat = span_is(cli_field(fields, "ce_repeat"), "1");
    row.replay = cli_field(fields, "ce_replay").len > 0;
    buf_release(&texts);
    buf_release(&masked);
    return row;
}

static struct row *
row_at(struct window *w, uint64_t n)
{
    return &w->rows[n % INSPECT_WINDOW];
}

// With the lock. Seconds between are seconds without a delivery.
static void
advance(struct window *w, int64_t second)
{
    if (w->newest_s < second - SECONDS)
        w->newest_s = second - SECONDS;
    while (w->newest_s < second)
        w->counts[++w->newest_s % SECONDS] = 0;
}

static void
push(struct window *w, const struct row *row)
{
    pthread_mutex_lock(&w->lock);
    if (w->next - w->first == INSPECT_WINDOW)
        free(row_at(w, w->first++)->cells[0]);
    *row_at(w, w->next++) = *row;
    advance(w, row->ms / 1000);
    if (row->ms / 1000 > w->newest_s - SECONDS && row->ms >= 0)
        w->counts[row->ms / 1000 % SECONDS]++;
    pthread_mutex_unlock(&w->lock);
}

// --- reading ----------------------------------------------------------------------------------

struct filling {
    struct row *rows;
    size_t len, cap;
};

static void
add_filling(struct filling *f, const struct row *row)
{
    if (f->len == f->cap) {
        f->cap = f->cap ? 2 * f->cap : PAGE;
        f->rows = memory_grow(f->rows, f->cap * sizeof *f->rows);
    }
    f->rows[f->len++] = *row;
}

// Newest first, a page at a time, up to `max`. 1: there are older ones.
static int
fill_key(struct window *w, struct redis *r, size_t k, struct filling *f, struct err *err)
{
    const struct inspect_key *key = &w->inspect->keys[k];
    size_t max = 2 * INSPECT_WINDOW / w->inspect->keys_len + PAGE;
    char from[COMMANDS_ENTRY + 1] = "+", count_text[16];
    int64_t end_ms = clock_mono_ms() + FILL_MS;

    snprintf(count_text, sizeof count_text, "%d", PAGE);
    for (size_t n = PAGE, got = 0; n == PAGE; got += n) {
        if (got >= max || clock_mono_ms() > end_ms)
            return 1;
        const struct redis_reply *reply =
            cli_ask(r, err, "XREVRANGE", key->key, from, "-", "COUNT", count_text);
        if (!reply)
            return -1;
        n = redis_value(reply).len;
        for (size_t i = 0; i < n; i++) {
            struct row row = make_row(w, k, redis_reply_at(reply, i));
            if (!w->last[k][0])
                snprintf(w->last[k], COMMANDS_ENTRY, "%s", row.cells[ENTRY]);
            snprintf(from, sizeof from, "(%s", row.cells[ENTRY]);
            add_filling(f, &row);
        }
    }
    return 0;
}

// What is there already of one tag. Where it fails, all of it is read again.
static void
fill_tag(struct window *w, size_t tag, struct filling *f, struct err *err)
{
    const struct inspect *i = w->inspect;
    struct redis *r = tags_redis(&w->tags, tag, err);
    size_t before = f->len;
    int older = r ? 0 : -1;

    for (size_t k = 0; k < i->keys_len && older >= 0; k++) {
        if (i->keys[k].tag != tag)
            continue;
        w->last[k][0] = '\0';
        older = fill_key(w, r, k, f, err);
        if (older > 0 && f->rows[f->len - 1].ms / 1000 >= w->known_s)
            w->known_s = f->rows[f->len - 1].ms / 1000 + 1;
    }
    w->filled[tag] = older >= 0;
    while (older < 0 && f->len > before)
        free(f->rows[--f->len].cells[0]);
}

static int
compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    return x->ms != y->ms ? (x->ms > y->ms) - (x->ms < y->ms)
                          : strcmp(x->cells[ENTRY], y->cells[ENTRY]);
}

// All tags that were not read before, in one order.
static void
fill(struct window *w, struct err *err)
{
    struct filling f = {0};

    for (size_t t = 0; t < w->tags.len; t++)
        if (!w->filled[t])
            fill_tag(w, t, &f, err);
    if (f.len > 0)
        qsort(f.rows, f.len, sizeof *f.rows, compare_rows);
    for (size_t i = 0; i < f.len; i++)
        push(w, &f.rows[i]);
    free(f.rows);
}

static size_t
take_stream(struct window *w, const struct redis_reply *stream)
{
    struct span name = redis_value(redis_reply_at(stream, 0)).text;
    const struct redis_reply *entries = redis_reply_at(stream, 1);
    size_t k = 0, n = redis_value(entries).len;

    while (k < w->inspect->keys_len && !span_is(name, w->inspect->keys[k].key))
        k++;
    for (size_t i = 0; i < n && k < w->inspect->keys_len; i++) {
        struct row row = make_row(w, k, redis_reply_at(entries, i));
        snprintf(w->last[k], COMMANDS_ENTRY, "%s", row.cells[ENTRY]);
        push(w, &row);
    }
    return n;
}

// Reads what is new in the keys of one tag, which share a slot; how many there were.
static size_t
read_tag(struct window *w, size_t tag, struct err *err)
{
    const struct inspect *i = w->inspect;
    struct span args[4 + 2 * INSPECT_KEYS] = {SPAN("XREAD"), SPAN("COUNT"), SPAN("100"),
                                              SPAN("STREAMS")};
    size_t first = 0, n = 0, got = 0;
    struct redis *r = tags_redis(&w->tags, tag, err);

    while (first < i->keys_len && i->keys[first].tag != tag)
        first++;
    while (first + n < i->keys_len && i->keys[first + n].tag == tag)
        n++;
    for (size_t k = 0; k < n; k++) {
        const char *last = w->last[first + k];
        args[4 + k] = span_of(i->keys[first + k].key);
        args[4 + n + k] = span_of(last[0] ? last : "0");
    }
    const struct redis_reply *reply =
        r && n > 0 ? cli_reply(redis_command(r, args, 4 + 2 * n, err), err) : NULL;
    for (size_t k = 0; k < redis_value(reply).len; k++)
        got += take_stream(w, redis_reply_at(reply, k));
    return got;
}

static void *
run(void *window)
{
    struct window *w = window;

    for (;;) {
        struct err err = {0};
        size_t got = 0;
        fill(w, &err);
        for (size_t t = 0; t < w->tags.len; t++)
            got += w->filled[t] ? read_tag(w, t, &err) : 0;
        pthread_mutex_lock(&w->lock);
        w->err = err;
        pthread_mutex_unlock(&w->lock);
        if (got == 0)
            clock_sleep_ms(err.text[0] ? RETRY_MS : POLL_MS);
    }
    return NULL;
}

struct window *
window_start(struct inspect *i, struct err *err)
{
    struct window *w = memory_get(sizeof *w);
    pthread_t thread;

    memset(w, 0, sizeof *w);
    w->inspect = i;
    w->tags = i->tags;
    w->first = w->next = 1;
    pthread_mutex_init(&w->lock, NULL);
    return thread_start(&thread, "inspect", run, w, err) < 0 ? NULL : w;
}

// --- answers ----------------------------------------------------------------------------------

static void
add_row(const struct window *w, struct buf *to, uint64_t n, const struct row *row)
{
    document_open(to, NULL, '{');
    document_json(to, "n", "%llu", (unsigned long long)n);
    document_shown(to, "key", span_of(w->inspect->keys[row->key].key));
    for (size_t i = 0; i < CELLS; i++)
        document_word(to, cell_names[i],
                      i == REASON && !row->cells[i][0] ? NULL : row->cells[i]);
    document_flag(to, "repeat", row->repeat);
    document_flag(to, "replay", row->replay);
    document_close(to, '{');
}

static bool
has_text(const struct row *row, const char *text)
{
    return strcasestr(row->search, text) || strcasestr(row->cells[CE_ID], text) ||
           strcasestr(row->cells[ENTRY], text) || strcasestr(row->cells[SUBJECT], text);
}

int
window_list(struct inspect *i, const struct http_request *r, struct buf *to,
            struct err *err)
{
    struct window *w = i->window;
    char number[24], words[256];
    const char *given = inspect_parameter(r, "after", number, sizeof number);
    const char *text = inspect_parameter(r, "text", words, sizeof words);
    uint64_t after = 0;

    if (!given || !text || (given[0] && !text_number(&after, span_of(given), UINT64_MAX)))
        return err_set(err, ERR_INPUT, "text is too long, or after is no number"), 400;
    pthread_mutex_lock(&w->lock);
    document_open(to, NULL, '{');
    document_json(to, "first", "%llu", (unsigned long long)w->first);
    document_json(to, "last", "%llu", (unsigned long long)w->next - 1);
    document_open(to, "rows", '[');
    for (uint64_t n = w->next; n > w->first && n - 1 > after; n--)
        if (has_text(row_at(w, n - 1), text))
            add_row(w, to, n - 1, row_at(w, n - 1));
    document_close(to, '[');
    document_end(to);
    pthread_mutex_unlock(&w->lock);
    return 200;
}

void
window_add_rate(struct window *w, struct buf *to, int64_t now_s, struct err *err)
{
    pthread_mutex_lock(&w->lock);
    advance(w, now_s);
    int64_t until = w->newest_s;
    document_open(to, "rate", '{');
    document_json(to, "until", "%lld", (long long)until);
    document_open(to, "counts", '[');
    for (int64_t s = until - SECONDS + 1; s <= until; s++)
        if (s < w->known_s || until == 0)
            document_json(to, NULL, "null");
        else
            document_json(to, NULL, "%u", w->counts[s % SECONDS]);
    document_close(to, '[');
    document_close(to, '{');
    *err = w->err;
    pthread_mutex_unlock(&w->lock);
}

int
window_find(struct window *w, struct span ce_id, char entry[COMMANDS_ENTRY])
{
    int key = -1;

    pthread_mutex_lock(&w->lock);
    for (uint64_t n = w->next; n > w->first && key < 0; n--) {
        const struct row *row = row_at(w, n - 1);
        if (!span_is(ce_id, row->cells[CE_ID]))
            continue;
        snprintf(entry, COMMANDS_ENTRY, "%s", row->cells[ENTRY]);
        key = (int)row->key;
    }
    pthread_mutex_unlock(&w->lock);
    return key;
}
