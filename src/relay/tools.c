// What the relay counts, and what its partitions have in common; and what an operator's command does
// beside the thread: an entry once more, and the bytes of dead letters that are not in Redis.
#include "base/file.h"
#include "relay/internal.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <unistd.h>

struct metric relay_metrics[RELAY_METRICS] = {
    [RELAY_BATCHES] =
        METRIC(COUNTER, "acrelay_relay_batches_total", "Successful calls of the script."),
    [RELAY_ENTRIES] = METRIC(COUNTER, "acrelay_relay_entries_total",
                             "Stream entries that Redis confirmed, by its answer or, if "
                             "that was lost, by the cursor."),
    [RELAY_DUPLICATES_MARKED] =
        METRIC(COUNTER, "acrelay_relay_repeats_marked_total", "Duplicates marked."),
    [RELAY_DUPLICATES_DROPPED] =
        METRIC(COUNTER, "acrelay_relay_repeats_dropped_total", "Duplicates dropped."),
    [RELAY_DUPLICATES_PAUSED] =
        METRIC(GAUGE, "acrelay_duplicates_paused",
               "Whether duplicates.max is reached and duplicate detection is paused."),
    [RELAY_DEAD_LETTERS] =
        METRIC(COUNTER, "acrelay_dead_letters_total", "Dead letters written."),
    [RELAY_DEAD_TRIMMED] = METRIC(COUNTER, "acrelay_dead_letters_trimmed_total",
                                  "Dead letters that were trimmed before being dropped."),
    [RELAY_GAPS] = METRIC(COUNTER, "acrelay_relay_gaps_total", "Gaps reported."),
    [RELAY_REWINDS] = METRIC(COUNTER, "acrelay_relay_rewinds_total",
                             "How often Redis had lost entries."),
    [RELAY_TRIMMED] =
        METRIC(COUNTER, "acrelay_stream_trimmed_total", "Stream entries trimmed."),
    [RELAY_TRIMMED_UNREAD] =
        METRIC(COUNTER, "acrelay_stream_trimmed_unread_total",
               "Stream entries that were trimmed before a group had read them."),
    [RELAY_CLOCK_HELD] = METRIC_WITH(
        GAUGE, "acrelay_clock_held",
        "Whether a clock stepped and deletion by age is suspended.", "clock=\"redis\""),
    [RELAY_CLOCK_STEP] = METRIC_WITH(
        GAUGE, "acrelay_clock_step_seconds",
        "By how much a clock stepped while deletion is suspended.", "clock=\"redis\""),
    [RELAY_REDIS_UP] = METRIC(
        GAUGE, "acrelay_redis_up",
        "Whether Redis answered when it was asked last (every 5 s; one that hangs is "
        "given up after 3 more, at most 8); 1 too while its answers stop the relay."),
    [RELAY_IS_SHIPPING] =
        METRIC(GAUGE, "acrelay_relay_shipping", "Whether records are being published."),
    [RELAY_CURSOR_KNOWN] =
        METRIC(GAUGE, "acrelay_relay_cursor_known",
               "Whether the cursor in Redis has been read since the start."),
    [RELAY_LAGGING] = METRIC(
        GAUGE, "acrelay_relay_lagging_partitions",
        "Partitions that are behind the others and read the journal by themselves."),
    [RELAY_UNCONFIRMED] =
        METRIC(COUNTER, "acrelay_relay_unconfirmed_total",
               "How often replicas or the append-only file did not have in time what was "
               "published (redis.confirm)."),
    [RELAY_UNPUBLISHED] = METRIC(
        GAUGE, "acrelay_journal_unpublished_records",
        "Records that are not yet published; all records while the cursor is not known."),
    [RELAY_OLDEST_AGE] =
        METRIC(GAUGE, "acrelay_journal_oldest_unpublished_age_seconds",
               "Age of the oldest record that is not yet published, or 0; while the "
               "cursor is not known, only records since the start count."),
};

// --- what the partitions have in common ---------------------------------------------------

enum { UNREAD_PATH = PATH_MAX + 16 };

static const char *
unread_path(const struct relay *r, char to[UNREAD_PATH])
{
    snprintf(to, UNREAD_PATH, "%s/cursor-unread", r->directory);
    return to;
}

// Those that are over have nothing to lose, but are heard, as long as they run: Redis may lose what
// they have published.
void
relay_publish(struct relay *r)
{
    uint64_t safe = UINT64_MAX;
    int64_t heard_us = INT64_MAX;
    char path[UNREAD_PATH];

    for (size_t i = 0; i < r->len; i++) {
        const struct partition *p = r->partitions[i];
        if (p->is_empty)
            continue;
        if (!p->status.known)
            return;
        if (!partition_is_over(p))
            safe = MIN(safe, p->safe);
        heard_us = MIN(heard_us, p->heard_us);
    }
    journal_publish(r->journal, safe, heard_us);
    if (!r->unread_from)
        return;
    for (size_t i = 0; i < r->len; i++)
        if (r->partitions[i]->status.state != RELAY_SHIPPING)
            return;               // one that has stopped for a copy was known before
    unlink(unread_path(r, path)); // one that stays only makes the next start more careful
    r->unread_from = 0;
}

void
relay_read_unread(struct relay *r)
{
    char path[UNREAD_PATH];
    struct buf text;

    buf_init(&text, 128);
    if (file_read(unread_path(r, path), &text, NULL) < 0)
        buf_clear(&text); // mostly there is none
    struct span rest = buf_span(&text), id = span_cut(&rest, ' '),
                number = span_cut(&rest, '\n');
    if (span_is(id, journal_id(r->journal)) &&
        !text_number(&r->unread_from, number, UINT64_MAX))
        r->unread_from = 1;
    buf_release(&text);
}

void
relay_mark_unread(struct relay *r, uint64_t first)
{
    static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
    char path[UNREAD_PATH], text[128];
    struct err err;

    pthread_mutex_lock(&writing);
    if (!relay_has_unread(r, first)) {
        snprintf(text, sizeof text, "%s %llu\n", journal_id(r->journal),
                 (unsigned long long)first);
        if (file_replace(unread_path(r, path), span_of(text), &err) < 0)
            log_warn("relay: %s; if this journal is an older copy, do not restart before "
                     "Redis is reached",
                     err.text);
        pthread_mutex_lock(&r->lock);
        r->unread_from = first;
        pthread_mutex_unlock(&r->lock);
    }
    pthread_mutex_unlock(&writing);
}

void
relay_mark_start(struct relay *r)
{
    struct journal_status status;
    bool known = *r->damage == '\0';

    journal_read_status(r->journal, &status);
    uint64_t last = status.last; // that was given out: those up to a cursor are reserved
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->len; i++) {
        known = known && r->partitions[i]->status.known;
        last = MAX(last, r->partitions[i]->status.cursor);
    }
    pthread_mutex_unlock(&r->lock);
    if (!known)
        relay_mark_unread(r, last + 1);
}

bool
relay_has_unread(struct relay *r, uint64_t last)
{
    pthread_mutex_lock(&r->lock);
    bool has = r->unread_from && r->unread_from <= last;
    pthread_mutex_unlock(&r->lock);
    return has;
}

void
relay_show_worst(struct relay *r)
{
    bool paused = false, held = false;
    double step_s = 0;

    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->len; i++) {
        const struct partition *p = r->partitions[i];
        paused = paused || p->duplicates_paused;
        held = held || p->clock_held;
        step_s = p->clock_step_s != 0 ? p->clock_step_s : step_s;
    }
    pthread_mutex_unlock(&r->lock);
    metric_set(&relay_metrics[RELAY_DUPLICATES_PAUSED], paused);
    metric_set(&relay_metrics[RELAY_CLOCK_HELD], held);
    metric_set(&relay_metrics[RELAY_CLOCK_STEP], step_s);
}

// Of a partition that comes to a server of its own too. One that is used and could not be read (ends is
// 0) is still what it was.
static void
show_certificate(const struct partition *p, const char *whose, bool used, int64_t ends)
{
    if (used && ends == 0)
        return;
    const char *label = p->relay->len > 1 ? "partition" : NULL; // NULL ends the labels

    metric_set(metric_find(METRIC_GAUGE,
                           "acrelay_redis_certificate_expiry_timestamp_seconds",
                           "When a certificate of the TLS connection to Redis expires: "
                           "the server's and its authorities', or ours.",
                           "certificate", whose, label, p->script.namespace, NULL),
               used ? (double)ends : NAN);
}

void
relay_show_certificates(const struct partition *p)
{
    const char *client = p->settings->config->redis_tls_cert_file;
    struct tls_state state = {.ends = 0};
    bool is_tls = redis_tls_state(p->redis, &state);

    show_certificate(p, "server", is_tls, state.ends);
    show_certificate(p, "client", is_tls && client, client ? tls_file_ends(client) : 0);
}

void
settings_release(struct relay_settings *s)
{
    if (!s || atomic_fetch_sub(&s->holders, 1) > 1)
        return;
    config_release(s->config);
    redis_secrets_wipe(&s->secrets);
    free(s);
}

// --- an entry once more --------------------------------------------------------------------

int
relay_owner(const struct layout *l, uint64_t sequence, const struct entry *e)
{
    char of_hook[8 + DELIVERY_NAME_MAX];

    if (e->reason == EVENT_OK)
        return layout_owner(l, sequence, e->event.subject);
    snprintf(of_hook, sizeof of_hook, "hook/%.*s", (int)e->delivery.hook.len,
             e->delivery.hook.at);
    return layout_owner(l, sequence, span_of(of_hook));
}

int
relay_replay(struct redis *r, const char *tag, const struct entry *e, struct err *err)
{
    bool event = e->reason == EVENT_OK;
    char key[SCRIPT_KEY], now[CLOCK_TEXT];
    struct span values[ENTRY_EVENT_FIELDS], args[3 + 2 * ENTRY_EVENT_FIELDS + 2];
    size_t len, n = 0;
    const struct entry_field *fields = entry_fields(e, values, &len);

    script_key(key, tag, event ? e->delivery.stream : SPAN("dead"));
    clock_format_us(now, clock_now_us());
    args[n++] = SPAN("XADD");
    args[n++] = span_of(key);
    args[n++] = SPAN("*");
    for (size_t i = 0; i < len; i++) {
        args[n++] = span_of(fields[i].name);
        args[n++] = values[i];
    }
    args[n++] = SPAN("ce_replay");
    args[n++] = span_of(now);
    if (!redis_check(redis_command(r, args, n, err), err))
        return -1;
    // So that it is trimmed, if no hook names it any more. No right to do so is no failure.
    script_key(key, tag, SPAN("streams"));
    if (event)
        (void)redis_command(
            r, (struct span[]){SPAN("SADD"), span_of(key), e->delivery.stream}, 3, err);
    return 0;
}

// --- bytes beside the journal ------------------------------------------------------------------

static const char suffix[] = ".body"; // of "<ce_id>.body"

// A ce_id comes from Redis, and becomes part of a path: digits and a dash only.
static bool
read_id(struct span id, uint64_t *sequence)
{
    const size_t dash = JOURNAL_ID_TEXT - 1;

    return id.len == EVENT_ID_TEXT && id.at[dash] == '-' &&
           strspn(id.at, "0123456789abcdef") == dash &&
           entry_sequence(sequence, span_from(id, dash + 1));
}

static bool
make_path(char to[PATH_MAX], const char *directory, struct span id)
{
    uint64_t sequence;

    return read_id(id, &sequence) && snprintf(to, PATH_MAX, "%s/bad/%.*s%s", directory,
                                              (int)id.len, id.at, suffix) < PATH_MAX;
}

// sweep removes the files of this journal with a sequence before the given one. Returns how many
// are left, and adds up their *bytes.
static uint64_t
sweep(const char *directory, struct span journal_id, uint64_t before, uint64_t *bytes)
{
    char path[PATH_MAX];
    DIR *d = snprintf(path, sizeof path, "%s/bad", directory) < PATH_MAX ? opendir(path)
                                                                         : NULL;
    struct stat st;
    uint64_t sequence, files = 0;

    for (struct dirent *e; d && (e = readdir(d));) {
        struct span name = span_of(e->d_name), id = span_to(name, EVENT_ID_TEXT);
        if (!read_id(id, &sequence) || !span_is(span_from(name, id.len), suffix) ||
            fstatat(dirfd(d), e->d_name, &st, 0) < 0)
            continue;
        if (span_starts(id, journal_id) && sequence < before) {
            unlinkat(dirfd(d), e->d_name, 0);
            continue;
        }
        files++;
        *bytes += (uint64_t)st.st_size;
    }
    if (d)
        closedir(d);
    return files;
}

static int
make_bad(const char *directory, struct err *err)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/bad", directory) >= PATH_MAX)
        return err_set(err, ERR_INPUT, "%s: path too long", directory);
    if (mkdir(path, 0700) == 0)
        return file_sync_parent(path, err);
    return errno == EEXIST ? 0 : err_errno(err, "cannot make %s", path);
}

int
aside_keep(const char *directory, struct span id, struct span bytes, struct err *err)
{
    char path[PATH_MAX];
    uint64_t used = bytes.len;

    if (!make_path(path, directory, id))
        return err_set(err, ERR_INPUT, "this ce_id cannot be a file name");
    uint64_t files = sweep(directory, SPAN(""), 0, &used);
    if (access(path, F_OK) < 0 && (files >= ASIDE_FILES_MAX || used > ASIDE_BYTES_MAX))
        return 0;
    if (make_bad(directory, err) < 0 || file_replace(path, bytes, err) < 0)
        return -1;
    return 1;
}

int
aside_read(const char *directory, struct span id, struct buf *to, struct err *err)
{
    char path[PATH_MAX];

    if (!make_path(path, directory, id) || (access(path, F_OK) < 0 && errno == ENOENT))
        return 0;
    return file_read(path, to, err) < 0 ? -1 : 1;
}

void
aside_remove(const char *directory, struct span id)
{
    char path[PATH_MAX];

    if (make_path(path, directory, id))
        unlink(path); // mostly there is none; one that stays is swept later
}

bool
aside_sweep(const char *directory, const char *journal_id, uint64_t before)
{
    uint64_t bytes = 0;

    return sweep(directory, span_of(journal_id), before, &bytes) > 0;
}
