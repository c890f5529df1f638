// The newest deliveries of all streams, in the order they were seen. A row is kept as it is shown,
// masked and escaped, beside some of its `data` to search in, so that the window has a size that
// no delivery changes.
#include "cli/inspect.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/thread.h"
#include "event/form.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    STREAMS_MAX = 512,
    ROWS = 2000,
    SECONDS = 120,     // of the chart
    CELL_MAX = 160,    // bytes of a cell as it came
    SEARCH_MAX = 1024, // of `data`
    POLL_MS = 200,
    RETRY_MS = 1000,
    READ_MS = 5000,
    DEAD_ROUNDS = 5, // dead letters are looked for once in so many rounds
};

// A stream that is shown.
struct stream {
    struct tags_place place;
    char last[ENTRY_ID]; // the newest that was read, or ""
};

struct row {
    char entry[ENTRY_ID];
    char *members; // of a document
    char *search;  // what a text is looked for in, behind them
};

struct window {
    struct tags tags;
    struct stream streams[STREAMS_MAX];
    size_t streams_len;
    struct row *fresh; // what this round has read
    size_t fresh_len;
    int64_t unread_s; // of what was there already, this second and older

    pthread_mutex_t lock;  // for what follows
    struct row rows[ROWS]; // row n is at n % ROWS
    uint64_t first, next;  // numbers
    struct tick {
        int64_t second;
        int64_t n;
    } ticks[SECONDS];  // a second is at second % SECONDS
    int64_t unknown_s; // the last second that is not known
    struct err err;    // why Redis is not read; "": it is
};

// --- rows -------------------------------------------------------------------------------------

static void
add_cell(struct buf *to, const char *name, struct span value)
{
    cli_add_masked(to, name, span_to(value, CELL_MAX), false);
}

static void
add_members(struct buf *to, const struct tags_place *place, struct span entry,
            const struct redis_reply *fields)
{
    struct span source = cli_field(fields, place->is_dead ? "hook" : "ce_source");

    document_text(to, "key", span_of(place->key));
    document_shown(to, "entry", entry);
    document_shown(to, "ce_id", span_to(cli_field(fields, "ce_id"), CELL_MAX));
    document_shown(to, "received",
                   span_to(cli_field(fields, "ce_recordedtime"), CELL_MAX));
    add_cell(to, "type", span_after_last(cli_field(fields, "ce_type"), '.'));
    add_cell(to, "hook", span_after_last(source, '/'));
    add_cell(to, "subject", cli_field(fields, "ce_subject"));
    if (place->is_dead)
        add_cell(to, "reason", cli_field(fields, "reason"));
    else
        document_word(to, "reason", NULL);
    document_flag(to, "repeat", span_is(cli_field(fields, "ce_repeat"), "1"));
    document_flag(to, "replay", cli_field(fields, "ce_replay").len > 0);
}

// Escaped, and not masked: it is never shown.
static void
add_search(struct buf *to, struct span entry, const struct redis_reply *fields)
{
    struct span words[] = {span_to(cli_field(fields, "ce_id"), CELL_MAX), entry,
                           span_to(cli_field(fields, "ce_subject"), CELL_MAX),
                           span_to(cli_field(fields, "data"), SEARCH_MAX)};
    char text[4 * SEARCH_MAX + 1];

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        buf_add(to, span_make(text, text_escape(text, sizeof text, words[i])));
        buf_add_byte(to, ' ');
    }
}

static struct row
make_row(const struct tags_place *place, const struct redis_reply *reply)
{
    struct span entry = redis_value(redis_reply_at(reply, 0)).text;
    const struct redis_reply *fields = redis_reply_at(reply, 1);
    struct row row;
    struct buf texts;

    buf_init(&texts, 1 << 16);
    add_members(&texts, place, entry, fields);
    buf_add_byte(&texts, '\0');
    size_t members_len = texts.len;
    add_search(&texts, entry, fields);
    row.members = memory_copy(buf_span(&texts));
    row.search = row.members + members_len;
    buf_release(&texts);
    snprintf(row.entry, sizeof row.entry, "%.*s", (int)entry.len, entry.at);
    return row;
}

static int64_t
second_of(const struct row *row)
{
    return strtoll(row->entry, NULL, 10) / 1000;
}

static int
compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    return cli_is_before(y->entry, x->entry) - cli_is_before(x->entry, y->entry);
}

// --- reading ----------------------------------------------------------------------------------

// What is new in a stream (at first: all of it), from the newest on, a page at a time. Where that
// fails, all of it is read again.
static void
read_stream(struct window *w, struct redis *r, struct stream *stream, struct err *err)
{
    size_t before = w->fresh_len, n = CLI_PAGE_LEN,
           max = before + 2 * ROWS / w->streams_len + CLI_PAGE_LEN;
    char from[ENTRY_ID + 1] = "+", to[ENTRY_ID + 1];
    int64_t end_ms = clock_mono_ms() + READ_MS;

    snprintf(to, sizeof to, stream->last[0] ? "(%s" : "-", stream->last);
    while (n == CLI_PAGE_LEN && w->fresh_len < max && clock_mono_ms() < end_ms) {
        const struct redis_reply *page =
            cli_ask(r, err, "XREVRANGE", stream->place.key, from, to, "COUNT", CLI_PAGE);
        while (!page && w->fresh_len > before)
            free(w->fresh[--w->fresh_len].members);
        if (!page)
            return;
        n = redis_value(page).len;
        for (size_t i = 0; i < n && i < CLI_PAGE_LEN; i++)
            w->fresh[w->fresh_len++] = make_row(&stream->place, redis_reply_at(page, i));
        if (n > 0)
            snprintf(from, sizeof from, "(%s", w->fresh[w->fresh_len - 1].entry);
    }
    if (w->fresh_len > before)
        memcpy(stream->last, w->fresh[before].entry, sizeof stream->last);
    if (n == CLI_PAGE_LEN && second_of(&w->fresh[w->fresh_len - 1]) > w->unread_s)
        w->unread_s = second_of(&w->fresh[w->fresh_len - 1]);
}

// Reads the streams of each tag over its connection.
static void
read_all(struct window *w, bool with_dead, struct err *err)
{
    struct redis *r = NULL;

    for (size_t i = 0; i < w->streams_len; i++) {
        const struct tags_place *place = &w->streams[i].place;
        if (i == 0 || place->tag != w->streams[i - 1].place.tag)
            r = tags_redis(&w->tags, place->tag, err);
        if (r && !r->dead && (with_dead || !place->is_dead))
            read_stream(w, r, &w->streams[i], err);
    }
}

// --- the window -------------------------------------------------------------------------------

static void
count(struct window *w, int64_t second)
{
    struct tick *t = &w->ticks[second % SECONDS];

    if (t->second < second)
        *t = (struct tick){second, 0};
    t->n += t->second == second;
}

// What this round has read, in one order; how many there were.
static size_t
push_fresh(struct window *w, const struct err *err)
{
    size_t len = w->fresh_len;

    qsort(w->fresh, len, sizeof *w->fresh, compare_rows);
    pthread_mutex_lock(&w->lock);
    w->err = *err;
    w->unknown_s = w->unread_s;
    for (size_t i = 0; i < len; i++) {
        if (w->next - w->first == ROWS)
            free(w->rows[w->first++ % ROWS].members);
        w->rows[w->next++ % ROWS] = w->fresh[i];
        count(w, second_of(&w->fresh[i]));
    }
    pthread_mutex_unlock(&w->lock);
    w->fresh_len = 0;
    return len;
}

static void *
run(void *window)
{
    struct window *w = window;

    for (unsigned round = 0;; round++) {
        struct err err = {0};
        read_all(w, round % DEAD_ROUNDS == 0, &err);
        if (push_fresh(w, &err) == 0)
            clock_sleep_ms(err.text[0] ? RETRY_MS : POLL_MS);
    }
    return NULL;
}

struct window *
window_start(const struct inspect *i, struct err *err)
{
    struct window *w = memory_get(sizeof *w);
    pthread_t thread;

    memset(w, 0, sizeof *w);
    w->tags = i->tags;
    w->first = w->next = 1;
    for (size_t n = 0; w->streams_len < STREAMS_MAX; n++) {
        struct tags_place *place = &w->streams[w->streams_len].place;
        if (!tags_place(&w->tags, n, place))
            break;
        w->streams_len += !place->is_test;
    }
    w->fresh =
        memory_get((2 * ROWS + 2 * CLI_PAGE_LEN * w->streams_len) * sizeof *w->fresh);
    pthread_mutex_init(&w->lock, NULL);
    return thread_start(&thread, "inspect", run, w, err) < 0 ? NULL : w;
}

// --- answers ----------------------------------------------------------------------------------

static void
add_row(struct buf *to, uint64_t n, const struct row *row)
{
    document_open(to, NULL, '{');
    document_number(to, "n", true, (int64_t)n);
    buf_add_byte(to, ',');
    buf_add_text(to, row->members + 1); // without its bracket
    document_close(to, '{');
}

int
window_list(struct inspect *i, const struct http_request *r, struct buf *to,
            struct err *err)
{
    struct window *w = i->window;
    char number[24], words[256];
    const char *given = form_find(r->query, "after", number, sizeof number);
    const char *text = form_find(r->query, "text", words, sizeof words);
    uint64_t after = 0;

    if (!given || !text || (given[0] && !text_number(&after, span_of(given), UINT64_MAX)))
        return err_set(err, ERR_INPUT, "text is too long, or after is not a number"), 400;
    pthread_mutex_lock(&w->lock);
    document_number(to, "first", true, (int64_t)w->first);
    document_number(to, "last", true, (int64_t)w->next - 1);
    document_open(to, "rows", '[');
    for (uint64_t n = w->next - 1; n >= w->first && n > after; n--)
        if (strcasestr(w->rows[n % ROWS].search, text))
            add_row(to, n, &w->rows[n % ROWS]);
    document_close(to, '[');
    pthread_mutex_unlock(&w->lock);
    return 200;
}

void
window_add_rate(struct window *w, struct buf *to, int64_t now_s, struct err *err)
{
    document_open(to, "rate", '{');
    document_number(to, "until", now_s > 0, now_s);
    document_open(to, "counts", '[');
    pthread_mutex_lock(&w->lock);
    for (int64_t s = now_s - SECONDS + 1; s <= now_s; s++) {
        const struct tick *t = &w->ticks[(uint64_t)s % SECONDS];
        document_number(to, NULL, s > w->unknown_s, t->second == s ? t->n : 0);
    }
    *err = w->err;
    pthread_mutex_unlock(&w->lock);
    document_close(to, '[');
    document_close(to, '{');
}
