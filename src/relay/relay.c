// The thread: attach, ship until something is said against it, wait, attach again. Every
// doubt ends in a new connection and a look at the cursor, which is the only truth about
// what has been shipped.
#include "relay/inside.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "config/config.h"

#include <assert.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
    IDLE_MS = 1000,
    FIRST_MS = 500,
    PASSWORD_MAX = 4096,
    HOOKS_BYTES = CONFIG_HOOKS_MAX * (DELIVERY_NAME_MAX + 1),
};

static bool
is_stopping(struct relay *r)
{
    pthread_mutex_lock(&r->lock);
    bool stopping = r->stopping;
    pthread_mutex_unlock(&r->lock);
    return stopping;
}

// rest waits, unless the relay is stopped or reloaded meanwhile.
static void
rest(struct relay *r, int64_t ms)
{
    int64_t until = clock_mono_us() + ms * 1000;
    struct timespec at = {until / 1000000, (long)(until % 1000000) * 1000};

    pthread_mutex_lock(&r->lock);
    while (!r->stopping && !r->reloaded)
        if (pthread_cond_timedwait(&r->bell, &r->lock, &at) != 0)
            break;
    pthread_mutex_unlock(&r->lock);
}

// A random part of the wait keeps many relays from coming back all at once.
static void
back_off(struct relay *r)
{
    const struct relay_options *o = &r->options;

    rest(r, backoff_ms(&r->wait_ms, o->wait_least_ms, o->wait_most_ms));
}

void
relay_complain(struct relay *r, enum relay_state state, bool alarm, const char *format,
               ...)
{
    char raw[256], words[sizeof r->said];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(words, sizeof words, span_of(raw));
    pthread_mutex_lock(&r->lock);
    r->status.state = state;
    memcpy(r->status.words, words, sizeof words);
    pthread_mutex_unlock(&r->lock);
    if (!r->gone_ms)
        r->gone_ms = clock_mono_ms();
    if (strcmp(r->said, words) == 0)
        return;
    memcpy(r->said, words, sizeof words);
    log_write(alarm ? LOG_LEVEL_ALARM : LOG_LEVEL_WARN, "relay: %s", raw);
}

void
relay_count_word(struct relay *r, struct span words)
{
    char word[REPLY_WORD];
    size_t i = 0;

    reply_word(word, words);
    pthread_mutex_lock(&r->lock);
    struct relay_class *classes = r->status.classes;
    while (i < RELAY_CLASSES_MAX - 1 && *classes[i].word &&
           strcmp(classes[i].word, word) != 0)
        i++;
    if (i < RELAY_CLASSES_MAX - 1) {
        memcpy(classes[i].word, word, sizeof word);
        classes[i].count++;
    }
    pthread_mutex_unlock(&r->lock);
}

static void
tell_back(struct relay *r)
{
    r->wait_ms = 0;
    if (r->gone_ms)
        log_info("relay: stream is back after %lld ms, %llu had waited",
                 (long long)(clock_mono_ms() - r->gone_ms),
                 (unsigned long long)r->waiting);
    r->gone_ms = 0;
    r->said[0] = '\0';
    pthread_mutex_lock(&r->lock);
    r->status.state = RELAY_SHIPPING;
    r->status.words[0] = '\0';
    r->status.up = true;
    r->status.cursor = r->cursor;
    r->status.known = true;
    pthread_mutex_unlock(&r->lock);
}

static void
take_reload(struct relay *r)
{
    pthread_mutex_lock(&r->lock);
    if (r->reloaded) {
        r->reloaded = false;
        r->options.repeats_max = r->next.repeats_max;
        r->options.retain_age_us = r->next.retain_age_us;
        r->options.retain_dead_us = r->next.retain_dead_us;
        r->options.retain_entries = r->next.retain_entries;
        buf_clear(&r->password);
        buf_add(&r->password, buf_span(&r->next_password));
        r->options.redis.password = buf_span(&r->password);
        relay_replace_streams(r, r->next_streams, r->next_streams_len);
        buf_clear(&r->hooks);
        buf_add(&r->hooks, buf_span(&r->next_hooks));
        r->exact_ms = r->trimmed_ms = 0;
        r->script.duplicates_max = r->options.repeats_max;
    }
    pthread_mutex_unlock(&r->lock);
}

static void
trim_if_due(struct relay *r)
{
    int64_t now = clock_mono_ms();

    if (r->trimmed_ms && now - r->trimmed_ms < r->options.trim_ms)
        return;
    r->trimmed_ms = now;
    relay_trim(r);
}

// Also while records come, so that a change of role or policy is seen then too.
static enum reply
poll_if_due(struct relay *r)
{
    if (clock_mono_ms() - r->polled_ms < r->options.poll_ms)
        return REPLY_DONE;
    return relay_poll(r);
}

static int64_t
min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// A server that has ended is noticed here, before the next poll.
static enum reply
wait_for_records(struct relay *r)
{
    const struct relay_options *o = &r->options;

    cursor_wait(r->reader, min_of(IDLE_MS, min_of(o->trim_ms, o->poll_ms)));
    return redis_peer_closed(r->redis) ? REPLY_UNKNOWN : REPLY_DONE;
}

// ship_on ships until the answer asks for something else than going on.
static enum reply
ship_on(struct relay *r)
{
    enum reply reply = REPLY_DONE;

    while (reply == REPLY_DONE && !is_stopping(r)) {
        bool idle = false;
        take_reload(r);
        relay_limit_wait(r);
        trim_if_due(r);
        reply = poll_if_due(r);
        if (reply == REPLY_DONE)
            reply = relay_ship(r, &idle);
        if (reply == REPLY_DONE && r->gone_ms)
            tell_back(r);
        if (reply == REPLY_DONE && idle)
            reply = wait_for_records(r);
    }
    return reply;
}

// act waits as the reply asks, and says whether the connection may be kept.
static bool
act(struct relay *r, enum reply reply)
{
    switch (reply) {
    case REPLY_DONE:
    case REPLY_AT:
        return true;
    case REPLY_WAIT:
        back_off(r);
        return true;
    case REPLY_REFUSED:
        rest(r, r->suspect.wait_ms);
        return !r->suspect.by_cut;
    case REPLY_STOP:
    case REPLY_FENCED:
        rest(r, r->options.stop_wait_ms);
        return false;
    case REPLY_NOSCRIPT: // twice in a row: somebody flushes scripts
    case REPLY_ELSEWHERE:
    case REPLY_MOVED:
    case REPLY_UNKNOWN:
        break;
    }
    back_off(r);
    return false;
}

static enum reply
attach(struct relay *r)
{
    enum reply reply = relay_attach(r);

    pthread_mutex_lock(&r->lock);
    r->attempted = true;
    pthread_cond_broadcast(&r->bell);
    pthread_mutex_unlock(&r->lock);
    return reply;
}

static void *
run(void *relay)
{
    struct relay *r = relay;

    while (!is_stopping(r)) {
        enum reply reply = REPLY_DONE;
        take_reload(r);
        if (!r->redis)
            reply = attach(r);
        bool attached = reply == REPLY_DONE;
        // A change of state is told when a batch or a quiet moment proves it.
        if (attached && !r->gone_ms)
            tell_back(r);
        if (attached)
            reply = ship_on(r);
        // What did not tell all that attaching asks is asked again, from the beginning.
        if (!act(r, reply) || !attached)
            relay_detach(r);
    }
    relay_detach(r);
    return NULL;
}

static char *
copy_or_null(const char *text)
{
    return text ? memory_copy(span_of(text)) : NULL;
}

static void
set_default(int64_t *value, int64_t to)
{
    if (*value == 0)
        *value = to;
}

static void
set_defaults(struct relay_options *o)
{
    set_default(&o->wait_least_ms, 50);
    set_default(&o->wait_most_ms, 2000);
    set_default(&o->stop_wait_ms, 5000);
    set_default(&o->refused_wait_ms, times_ms("refused-wait", 4000));
    set_default(&o->trim_ms, times_ms("trim", 10000));
    set_default(&o->poll_ms, times_ms("cursor-check", 5000));
    if (o->refused_times == 0)
        o->refused_times = 5;
}

static_assert(RELAY_STREAMS_MAX >= CONFIG_STREAMS_MAX + 2, "dead letters, and an end");

// The names of the streams that are trimmed, dead letters first.
static size_t
copy_streams(char to[RELAY_STREAMS_MAX][RELAY_NAME], const struct relay_options *o)
{
    size_t len = 0;

    snprintf(to[len++], RELAY_NAME, "dead");
    for (size_t i = 0; o->streams && o->streams[i] && len < RELAY_STREAMS_MAX - 1; i++)
        snprintf(to[len++], RELAY_NAME, "%s", o->streams[i]);
    return len;
}

static void
copy_hooks(struct buf *to, const struct relay_options *o)
{
    buf_clear(to);
    for (size_t i = 0; o->hooks && o->hooks[i]; i++)
        buf_add(to, span_make(o->hooks[i], strlen(o->hooks[i]) + 1));
}

static void
take_options(struct relay *r, const struct relay_options *o)
{
    r->options = *o;
    set_defaults(&r->options);
    r->options.redis.host = r->host = copy_or_null(o->redis.host);
    r->options.redis.path = r->path = copy_or_null(o->redis.path);
    r->options.redis.user = r->user = copy_or_null(o->redis.user);
    buf_add(&r->password, o->redis.password);
    r->options.redis.password = buf_span(&r->password);
    r->options.namespace = r->namespace = memory_copy(span_of(o->namespace));
    r->options.account = r->account = memory_copy(span_of(o->account));
    r->options.directory = r->directory = memory_copy(span_of(o->directory));
    relay_owner(r->owner, o->directory);
    r->streams_len = copy_streams(r->streams, o);
    copy_hooks(&r->hooks, o);
}

static void
wipe(struct buf *secret)
{
    if (secret->at)
        explicit_bzero(secret->at, secret->cap);
    buf_release(secret);
}

static void
release(struct relay *r)
{
    redis_close(r->redis);
    cursor_close(r->reader);
    entry_maker_close(r->maker);
    script_release(&r->script);
    buf_release(&r->last_payload);
    buf_release(&r->held_payload);
    buf_release(&r->hooks);
    buf_release(&r->next_hooks);
    wipe(&r->password);
    wipe(&r->next_password);
    pthread_cond_destroy(&r->bell);
    pthread_mutex_destroy(&r->lock);
    char *texts[] = {r->host, r->path, r->user, r->namespace, r->account, r->directory};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    free(r);
}

// await_first waits for the first attempt to read the cursor, but not for long: posts wait in
// the kernel meanwhile.
static void
await_first(struct relay *r)
{
    int64_t until_us = clock_mono_us() + times_ms("first-cursor", FIRST_MS) * 1000;
    struct timespec at = {until_us / 1000000, (long)(until_us % 1000000) * 1000};

    pthread_mutex_lock(&r->lock);
    while (!r->attempted)
        if (pthread_cond_timedwait(&r->bell, &r->lock, &at) != 0)
            break;
    pthread_mutex_unlock(&r->lock);
}

struct relay *
relay_start(const struct relay_options *options, struct journal *j, struct err *err)
{
    struct relay *r = memory_get(sizeof *r);
    pthread_condattr_t monotonic;
    struct journal_status status;

    memset(r, 0, sizeof *r);
    r->journal = j;
    journal_read_status(j, &status);
    r->has_past = status.last > 0;
    r->started_us = clock_boot_us();
    r->fd = -1;
    buf_init(&r->password, PASSWORD_MAX);
    buf_init(&r->next_password, PASSWORD_MAX);
    buf_init(&r->hooks, HOOKS_BYTES);
    buf_init(&r->next_hooks, HOOKS_BYTES);
    take_options(r, options);
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&r->bell, &monotonic);
    pthread_condattr_destroy(&monotonic);
    buf_init(&r->last_payload, JOURNAL_RECORD_MAX);
    buf_init(&r->held_payload, JOURNAL_RECORD_MAX);
    r->records_max = SCRIPT_RECORDS_MAX;
    r->reader = cursor_open(j, 0);
    r->maker = entry_maker_open(r->account, journal_id(j));
    script_init(&r->script, r->namespace, journal_id(j), r->owner,
                options->repeats_window_us, options->repeats_max);
    r->redis_clock = (struct clock_watch){
        .settle_us = times_ms("clock-settle", CLOCK_SETTLE_MS) * 1000};
    if (thread_start(&r->thread, "relay", run, r, err) < 0) {
        release(r);
        return NULL;
    }
    await_first(r);
    return r;
}

void
relay_stop(struct relay *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    if (r->fd >= 0)
        shutdown(r->fd, SHUT_RDWR); // a blocked read ends; the cursor tells what was done
    pthread_cond_broadcast(&r->bell);
    pthread_mutex_unlock(&r->lock);
    cursor_wake(r->reader);
    pthread_join(r->thread, NULL);
    release(r);
}

void
relay_reload(struct relay *r, const struct relay_options *options)
{
    pthread_mutex_lock(&r->lock);
    r->next = *options;
    buf_clear(&r->next_password);
    buf_add(&r->next_password, options->redis.password);
    r->next_streams_len = copy_streams(r->next_streams, options);
    copy_hooks(&r->next_hooks, options);
    r->reloaded = true;
    pthread_cond_broadcast(&r->bell);
    pthread_mutex_unlock(&r->lock);
    cursor_wake(r->reader);
}

void
relay_read_status(struct relay *r, struct relay_status *status)
{
    pthread_mutex_lock(&r->lock);
    *status = r->status;
    pthread_mutex_unlock(&r->lock);
}
