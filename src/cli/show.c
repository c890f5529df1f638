#include "cli/show.h"

#include "base/clock.h"
#include "base/text.h"
#include "relay/relay.h"

#include <stdio.h>
#include <stdlib.h>

enum { FIND_MS = 3000, ASIDE_MAX = 64 << 20 };

// --- the journal ------------------------------------------------------------------------------

static void
read_journal(struct show *s)
{
    char id[JOURNAL_ID_TEXT];

    s->cursor = cursor_open_reader(s->directory, s->sequence - 1, id, &s->journal_err);
    if (!s->cursor)
        return;
    if (strncmp(id, s->ce_id, strlen(id)) != 0) {
        err_set(&s->journal_err, ERR_INPUT, "%s holds another journal", s->directory);
        return;
    }
    enum cursor_result result = cursor_next(s->cursor, &s->record, &s->journal_err);
    if (result == CURSOR_RECORD && s->record.sequence == s->sequence &&
        delivery_decode(&s->delivery, s->record.payload, &s->journal_err) == 0)
        s->from = "journal";
    else if (result == CURSOR_GAP)
        err_set(&s->journal_err, ERR_INPUT, "the journal no longer has it: %s",
                s->record.gap_reason);
    else if (result != CURSOR_ERROR && !s->journal_err.text[0])
        err_set(&s->journal_err, ERR_INPUT, "the journal does not have it");
}

// --- its entry --------------------------------------------------------------------------------

// Reads the entry at its place; false when there is none, or another's.
static bool
read_entry(struct show *s)
{
    struct redis *r = tags_redis(s->tags, s->place.tag, &s->err);
    const struct redis_reply *reply =
        r ? cli_ask(r, &s->err, "XRANGE", s->place.key, s->entry, s->entry) : NULL;

    s->fields = redis_reply_at(redis_reply_at(reply, 0), 1);
    if (!span_is(cli_field(s->fields, "ce_id"), s->ce_id))
        s->fields = NULL;
    return s->fields != NULL;
}

// Whether this can be the id of an entry.
static bool
is_entry(struct span id)
{
    struct span sequence = id, ms = span_cut(&sequence, '-');
    uint64_t n;

    return id.len < ENTRY_ID && text_number(&n, ms, UINT64_MAX) &&
           text_number(&n, sequence, UINT64_MAX);
}

static bool
is_at(struct show *s, const char *key, const char *entry)
{
    if (!is_entry(span_of(entry)))
        return false;
    snprintf(s->entry, sizeof s->entry, "%s", entry);
    for (size_t n = 0; tags_place(s->tags, n, &s->place); n++)
        if (strcmp(s->place.key, key) == 0)
            return read_entry(s);
    return false;
}

static bool
read_id_ms(const struct redis_reply *reply, int64_t *ms)
{
    struct span id = redis_value(redis_reply_at(redis_reply_at(reply, 0), 0)).text;

    *ms = id.len ? strtoll(id.at, NULL, 10) : 0;
    return id.len > 0;
}

// The entry's sequence against ours: less, equal or greater; one of another journal says nothing,
// and its time of receipt is all there is.
static int
compare(const struct show *s, const struct redis_reply *fields)
{
    struct span id = cli_field(fields, "ce_id"), ours = span_of(s->ce_id);
    size_t dash = JOURNAL_ID_TEXT;
    int64_t us;

    if (id.len == ours.len && memcmp(id.at, ours.at, dash) == 0)
        return memcmp(id.at + dash, ours.at + dash, id.len - dash);
    if (s->from && clock_parse(&us, cli_field(fields, "ce_recordedtime")))
        return us < s->record.received_us ? -1 : 1;
    return -1;
}

// Takes the entry of our ce_id from among the first ones, a batch and a page at least, of this range.
static bool
take_among(struct show *s, struct redis *r, const char *range, const char *from,
           const char *to)
{
    char after[ENTRY_ID + 1];
    size_t len = 1;

    for (size_t n = 0; n < SCRIPT_RECORDS_MAX + CLI_PAGE_LEN && len > 0; n += len) {
        const struct redis_reply *page = cli_ask(r, &s->err, range, s->place.key,
                                                 n ? after : from, to, "COUNT", CLI_PAGE);
        len = redis_value(page).len;
        for (size_t i = 0; i < len; i++)
            if (span_is(cli_field(cli_entry(page, i, s->entry), "ce_id"), s->ce_id))
                return true;
        snprintf(after, sizeof after, "(%s", s->entry);
    }
    return false;
}

// A journal's entries stand in a stream by their sequence, so halving the time finds one among
// any number. A replay stands elsewhere: it is looked for among the newest.
static bool
search(struct show *s, int64_t end_ms)
{
    struct redis *r = tags_redis(s->tags, s->place.tag, &s->err);
    int64_t low, high, middle;
    char from[24];

    if (!r ||
        !read_id_ms(cli_ask(r, &s->err, "XRANGE", s->place.key, "-", "+", "COUNT", "1"),
                    &low) ||
        !read_id_ms(
            cli_ask(r, &s->err, "XREVRANGE", s->place.key, "+", "-", "COUNT", "1"),
            &high))
        return false;
    while (low < high && clock_mono_ms() < end_ms) {
        middle = low + (high - low) / 2;
        snprintf(from, sizeof from, "%lld", (long long)middle);
        const struct redis_reply *reply =
            cli_ask(r, &s->err, "XRANGE", s->place.key, from, "+", "COUNT", "1");
        if (!reply)
            return false;
        if (compare(s, redis_reply_at(redis_reply_at(reply, 0), 1)) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    // It may be in the millisecond before, after a lower one of its batch.
    snprintf(from, sizeof from, "%lld", (long long)(low > 0 ? low - 1 : 0));
    return take_among(s, r, "XRANGE", from, "+") ||
           take_among(s, r, "XREVRANGE", "+", "-");
}

// Of the cursors of its journal, one for each partition, how many are at it or after it, and how
// many are before it.
static void
count_cursors(struct show *s, size_t *after, size_t *before)
{
    char name[16 + JOURNAL_ID_TEXT], key[SCRIPT_KEY];
    uint64_t at;

    snprintf(name, sizeof name, "cursor:%.*s", JOURNAL_ID_TEXT - 1, s->ce_id);
    for (s->place.tag = 0; s->place.tag < s->tags->configured; s->place.tag++) {
        struct redis *r = tags_redis(s->tags, s->place.tag, &s->err);
        script_key(key, s->tags->at[s->place.tag], span_of(name));
        const struct redis_reply *reply =
            r ? redis_ask(r, &(struct err){0}, "HGET", key, "sequence", NULL) : NULL;
        if (text_number(&at, redis_value(reply).text, UINT64_MAX))
            ++*(at < s->sequence ? before : after);
    }
}

static const char *
why_nowhere(struct show *s)
{
    size_t after = 0, before = 0;

    count_cursors(s, &after, &before);
    if (after > 0 && before == 0)
        return "it is in no stream: dropped as a duplicate, or trimmed";
    if (before > 0 && after == 0)
        return "it is in no stream yet: it is still to be published";
    return "it is in no stream: dropped as a duplicate, trimmed, or not published yet";
}

static bool
is_anywhere(struct show *s)
{
    int64_t end_ms = clock_mono_ms() + FIND_MS;

    for (size_t n = 0; tags_place(s->tags, n, &s->place); n++) {
        if (search(s, end_ms))
            return true;
        if (clock_mono_ms() < end_ms)
            continue;
        if (!s->err.text[0])
            err_set(&s->err, ERR_INPUT, "it was not found in time");
        break;
    }
    s->place.is_dead = false;
    if (!s->err.text[0])
        err_set(&s->err, ERR_INPUT, "%s", why_nowhere(s));
    return false;
}

// --- its groups -------------------------------------------------------------------------------

static void
take_group(struct show *s, struct show_group *g, const struct redis_reply *group)
{
    struct span name = cli_field(group, "name"),
                last = cli_field(group, "last-delivered-id");

    *g = (struct show_group){0};
    snprintf(g->name, sizeof g->name, "%.*s", (int)name.len, name.at);
    snprintf(g->last, sizeof g->last, "%.*s", (int)last.len, last.at);
    g->read = !cli_is_before(g->last, s->entry);
}

// What a group has read and not acknowledged.
static void
take_pending(struct show_group *g, const struct redis_reply *pending)
{
    const struct redis_reply *row = redis_reply_at(pending, 0);
    struct span consumer = redis_value(redis_reply_at(row, 1)).text;

    g->state = !pending ? SHOW_UNKNOWN : row ? SHOW_HELD : SHOW_FREE;
    snprintf(g->consumer, sizeof g->consumer, "%.*s", (int)consumer.len, consumer.at);
    g->idle_ms = redis_value(redis_reply_at(row, 2)).number;
    g->deliveries = redis_value(redis_reply_at(row, 3)).number;
}

// All are asked at once, since the next reply takes the place of the one with their names.
static void
read_groups(struct show *s)
{
    struct redis *r = tags_redis(s->tags, s->place.tag, &s->err);
    const struct redis_reply *all =
        r ? cli_ask(r, &s->err, "XINFO", "GROUPS", s->place.key) : NULL;
    size_t len = redis_value(all).len;

    s->groups_len = len < SHOW_GROUPS_MAX ? len : SHOW_GROUPS_MAX;
    s->groups = memory_get((s->groups_len + 1) * sizeof *s->groups);
    for (size_t i = 0; i < s->groups_len; i++) {
        const struct redis_reply *group = redis_reply_at(all, i);
        struct span entry = span_of(s->entry), args[] = {SPAN("XPENDING"),
                                                         span_of(s->place.key),
                                                         cli_field(group, "name"),
                                                         entry,
                                                         entry,
                                                         SPAN("1")};
        take_group(s, &s->groups[i], group);
        (void)redis_send(r, args, 6, NULL, &s->err); // a failure is the reply's too
    }
    for (size_t i = 0; i < s->groups_len; i++)
        take_pending(&s->groups[i],
                     r->dead ? NULL : cli_reply(redis_receive(r, &s->err), &s->err));
}

// --- all of it --------------------------------------------------------------------------------

// Without a journal here, the entry's own.
static void
use_entry(struct show *s)
{
    struct span source = cli_field(s->fields, "ce_source");
    struct delivery *d = &s->delivery;

    *d = (struct delivery){.hook = s->place.is_dead ? cli_field(s->fields, "hook")
                                                    : span_after_last(source, '/'),
                           .query = cli_field(s->fields, "query"),
                           .body = cli_field(s->fields, "raw")};
    if (s->place.is_dead)
        d->type = cli_field(s->fields, "content-type");
    if (d->body.len > 0)
        s->from = s->place.is_dead ? "dead letter" : "stream";
    else if (span_is(cli_field(s->fields, "reason"), "redis") &&
             aside_read(s->directory, span_of(s->ce_id), &s->aside, &s->journal_err) > 0)
        s->from = "file in bad/";
    if (s->aside.len > 0)
        d->body = buf_span(&s->aside);
}

static bool
take_id(struct show *s, const char *id)
{
    const size_t dash = JOURNAL_ID_TEXT - 1;

    if (strlen(id) != EVENT_ID_TEXT || strspn(id, "0123456789abcdef") != dash ||
        id[dash] != '-' || !entry_sequence(&s->sequence, span_of(id + dash + 1)))
        return false;
    memcpy(s->ce_id, id, sizeof s->ce_id);
    return s->sequence > 0;
}

// To be released whatever the result.
static int
find(struct show *s, const char *ce_id, const char *key, const char *entry,
     struct err *err)
{
    buf_init(&s->aside, ASIDE_MAX);
    if (!take_id(s, ce_id))
        return err_exit(err, EXIT_CODE_USAGE,
                        "a ce_id is 32 hexadecimal digits, a dash, and 20 digits");
    read_journal(s);
    if (is_at(s, key, entry) || is_anywhere(s)) {
        read_groups(s);
        read_entry(s);
    }
    if (!s->from && s->fields)
        use_entry(s);
    if (s->from || s->fields)
        return 0;
    err_set(err, ERR_INPUT, "%s; and %s", s->err.text, s->journal_err.text);
    err->exit = s->err.exit ? s->err.exit : EXIT_CODE_FAILURE;
    return -1;
}

static void
release(struct show *s)
{
    cursor_close(s->cursor);
    buf_release(&s->aside);
    free(s->groups);
}

int
show_document(struct show *s, const struct tags *tags, const char *ce_id, const char *key,
              const char *entry, struct buf *to, struct err *err)
{
    struct tags own = *tags;

    memset(own.redis, 0, sizeof own.redis);
    s->tags = &own;
    int result = find(s, ce_id ? ce_id : "", key ? key : "", entry ? entry : "", err);
    if (result == 0)
        show_add(to, s);
    release(s);
    tags_close(&own);
    return result;
}

// --- the command ------------------------------------------------------------------------------

// What is found is shown also where Redis, or a part of it, is away; the exit code says that.
static int
run_show(void *cli, struct err *err)
{
    struct cli *c = cli;
    struct tags tags;
    struct show s = {.tags = &tags,
                     .directory = cli_directory(c, err),
                     .reveals = !options_has(c->options, "mask")};

    (void)tags_open(&tags, c, err); // it is asked again, and what fails is said
    output_wait("asking Redis (%s)", c->config->redis_url.text);
    int result = find(&s, c->options->arguments[0], "", "", err);
    output_wait_end();
    if (result == 0 && output.json) {
        show_add(&output.document, &s);
        output_line(stdout);
    } else if (result == 0) {
        show_print(&s);
    }
    bool asked = s.fields || s.err.exit == EXIT_CODE_FAILURE;
    if (result == 0 && !asked)
        result = output_fail(&s.err);
    release(&s);
    tags_close(&tags);
    return result;
}

const struct subcommand cli_show_commands[] = {
    {"show", "<ce_id>", "show one delivery: its bytes, its event, and who has read it", 1,
     1, OPTIONS(OPTION_MASK, OPTION_DIRECTORY), run_show, true, NULL},
    {0},
};
