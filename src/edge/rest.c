#include "edge/rest.h"

#include "base/clock.h"
#include "base/text.h"
#include "edge/http_client.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    BACKOFF_MIN_MS = 1000,
    BACKOFF_MAX_MS = 30000,
    FIRST_PATIENCE_MS = 8000, // until there was any answer: a wrong host is reported soon
    REPORT_MS = 1500,         // longer waits are reported
    SLOW_MS = 900,            // libcurl asks once a second
    RESET_MAX_MS = 60000,     // of a RateLimit-Reset
    HEADER_MAX = 64,
};

struct rest {
    struct rest_options options;
    char *base;
    struct buf token;
    struct http_client client;
    struct err err; // why there was no answer
    struct rate_limit rate;
    struct buf answer;
    // of the answer under way
    char retry_after[HEADER_MAX], date[HEADER_MAX], remaining[HEADER_MAX],
        reset[HEADER_MAX];
    int64_t start_ms; // of the request under way
    int64_t opened_ms;
    int64_t backoff_ms; // the first of a call
    int64_t trouble_ms; // since when no call succeeded, 0: the last one did
    bool answered;      // ever
    bool slow;          // reported, until an answer comes in time
};

// --- how long to wait --------------------------------------------------------------------

enum { DATE_MAX = 64 };

// The zone is always GMT. strptime reads the names in any case, as the C locale has them.
static bool
read_date(int64_t *seconds, struct span s)
{
    static const char *const forms[] = {
        "%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"};
    char text[DATE_MAX];

    if (s.len >= sizeof text)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)s.len, s.at);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);
        if (!end || *end)
            continue;
        *seconds = timegm(&tm);
        return true;
    }
    return false;
}

static int64_t
bound(int64_t ms)
{
    return ms < 0 ? 0 : ms > REST_RETRY_AFTER_MAX_MS ? REST_RETRY_AFTER_MAX_MS : ms;
}

// Seconds with an optional fraction, digits below a millisecond dropped; -1 for anything else.
static int64_t
read_seconds(struct span s)
{
    struct span fraction = s, whole = span_cut(&fraction, '.');
    int64_t ms = 0, unit = 1000;

    if (whole.len == 0)
        return -1;
    for (; whole.len && isdigit((unsigned char)*whole.at); whole = span_from(whole, 1))
        ms = bound(ms * 10 + (*whole.at - '0') * 1000);
    for (; fraction.len && isdigit((unsigned char)*fraction.at);
         fraction = span_from(fraction, 1))
        ms += (*fraction.at - '0') * (unit /= 10);
    return whole.len || fraction.len ? -1 : bound(ms);
}

int64_t
rest_retry_after_ms(struct span value, struct span date)
{
    int64_t then, now, longest = -1;

    value = span_trim(value);
    if (read_date(&then, value))
        return read_date(&now, span_trim(date)) ? bound((then - now) * 1000) : -1;
    while (value.len) {
        int64_t ms = read_seconds(span_trim(span_cut(&value, ',')));
        if (ms > longest)
            longest = ms;
    }
    return longest;
}

// --- headers -------------------------------------------------------------------------------

static void
take_header(struct span line, void *rest)
{
    struct rest *r = rest;
    struct span value = span_cut(&line, '\n');
    value = span_cut(&value, '\r');
    struct span key = span_trim(span_cut(&value, ':'));
    value = span_trim(value);
    const struct {
        const char *name;
        char *value;
    } known[] = {
        {"Retry-After", r->retry_after},       {"Date", r->date},
        {"RateLimit-Remaining", r->remaining}, {"X-RateLimit-Remaining", r->remaining},
        {"RateLimit-Reset", r->reset},         {"X-RateLimit-Reset", r->reset}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (span_is_nocase(key, known[i].name))
            snprintf(known[i].value, HEADER_MAX, "%.*s", (int)value.len, value.at);
}

static bool
watch_request(void *rest)
{
    struct rest *r = rest;
    int64_t elapsed_ms = clock_mono_ms() - r->start_ms;

    if (elapsed_ms >= SLOW_MS && !r->slow && r->options.report) {
        struct rest_wait wait = {.slow = true, .ms = r->options.timeout_ms - elapsed_ms};
        r->options.report(&wait, r->options.context);
        r->slow = true;
    }
    return r->options.is_stopping && r->options.is_stopping(r->options.context);
}

struct rest *
rest_open(const struct rest_options *options)
{
    struct rest *r = memory_get(sizeof *r);

    *r = (struct rest){.options = *options,
                       .base = memory_copy(span_of(options->base)),
                       .opened_ms = clock_mono_ms(),
                       .backoff_ms = times_ms("api-backoff", BACKOFF_MIN_MS)};
    buf_init(&r->answer, HTTP_ANSWER_MAX);
    rate_limit_init(&r->rate, options->rate, times_ms("api-second", 1000) * 1000);
    buf_init(&r->token, options->token.len + 1);
    buf_add(&r->token, options->token);
    return r;
}

void
rest_close(struct rest *r)
{
    if (!r)
        return;
    http_client_close(&r->client);
    buf_wipe(&r->token);
    buf_release(&r->answer);
    free(r->base);
    free(r);
}

void
rest_follow(struct rest *r, const struct rest *before)
{
    rate_limit_follow(&r->rate, &before->rate);
    r->answered = before->answered;
    r->trouble_ms = before->trouble_ms;
}

int64_t
rest_held_ms(const struct rest *r)
{
    return (rate_limit_wait(&r->rate, clock_mono_us()) + 999) / 1000;
}

// --- one try -------------------------------------------------------------------------------

// What one request may take; 0: nothing is left of total_ms.
static int64_t
time_left(const struct rest *r)
{
    int64_t left = r->opened_ms + r->options.total_ms - clock_mono_ms();

    if (r->options.total_ms == 0 || left > r->options.timeout_ms)
        return r->options.timeout_ms;
    return left > 0 ? left : 0;
}

// An answer is whole, or it is none: a status without its body says too little.
static void
try_once(struct rest *r, const char *method, const char *path, const char *line,
         bool once, struct span body, struct rest_answer *a)
{
    int64_t left_ms = time_left(r);
    struct buf url;

    buf_clear(&r->answer);
    r->retry_after[0] = r->date[0] = r->remaining[0] = r->reset[0] = '\0';
    r->start_ms = clock_mono_ms();
    buf_init(&url, 8192);
    buf_add_format(&url, "%s%s", r->base, path);
    struct http_call call = {.url = buf_text(&url),
                             .method = method,
                             .body = body,
                             .type = SPAN("application/json"),
                             .token = buf_span(&r->token),
                             .line = line,
                             .once = once,
                             .timeout_ms = left_ms > 0 ? left_ms : 1,
                             .header = take_header,
                             .stop = watch_request,
                             .context = r};
    rate_limit_take(&r->rate, clock_mono_us());
    int status = http_client_call(&r->client, &call, &r->answer, &r->err);
    rate_limit_end(&r->rate, clock_mono_us());
    buf_release(&url);
    if (clock_mono_ms() - r->start_ms < SLOW_MS)
        r->slow = false;
    enum http_outcome outcome = r->client.outcome;
    *a = (struct rest_answer){.status = status < 0 ? 0 : status,
                              .maybe_done =
                                  outcome == HTTP_UNCLEAR || outcome == HTTP_STOPPED,
                              .body = buf_span(&r->answer)};
    if (r->options.count)
        r->options.count(a->status, r->options.context);
}

// --- tries ---------------------------------------------------------------------------------

static bool
is_failure(const struct rest_answer *a)
{
    return a->status == 0 || a->status == 429 || a->status >= 500;
}

void
rest_hold(struct rest *r, int64_t ms)
{
    rate_limit_hold(&r->rate, clock_mono_us() + ms * 1000);
}

// What the answer's headers say: of a failure how long to wait, else whether the rate is used up,
// which holds the lane.
static void
read_limits(struct rest *r, struct rest_answer *a)
{
    int64_t now = clock_mono_us();
    struct span remaining = span_of(r->remaining);

    if (is_failure(a)) {
        int64_t ms = rest_retry_after_ms(span_of(r->retry_after), span_of(r->date));
        a->retry_after_ms = ms > 0 ? ms : 0;
    } else if (span_is(span_trim(span_cut(&remaining, ',')), "0")) {
        // AC does not say when there will be more: half a turn is given to the others.
        int64_t ms = rest_retry_after_ms(span_of(r->reset), SPAN(""));
        int64_t us = ms > 0 && ms <= RESET_MAX_MS
                         ? ms * 1000
                         : r->rate.interval_us + r->rate.interval_us / 2;
        rate_limit_hold(&r->rate, now + us);
    }
}

static bool
wants_retry(const struct rest *r, const char *method, const struct rest_answer *a)
{
    if (r->client.outcome == HTTP_HOPELESS)
        return false;
    if (a->status == 429)
        return true;
    if (strcmp(method, "POST") == 0)
        return a->status == 0 && !a->maybe_done;
    return is_failure(a);
}

// May attempt number `next` be made after ms?
static bool
has_patience(struct rest *r, const struct rest_answer *a, int next, int64_t ms)
{
    int64_t patience = r->answered ? r->options.patience_ms : FIRST_PATIENCE_MS,
            now = clock_mono_ms();

    if (r->options.total_ms && now + ms > r->opened_ms + r->options.total_ms)
        return false;
    if (next > r->options.attempts && (a->status != 429 || r->options.attempts == 1))
        return false;
    return now + ms - r->trouble_ms <= patience;
}

static bool
wait_for_turn(struct rest *r, bool reported)
{
    for (;;) {
        int64_t ms = rest_held_ms(r);
        if (ms == 0)
            return true;
        if (ms >= REPORT_MS && !reported && r->options.report) {
            struct rest_wait wait = {.error = "the rate limit is used up", .ms = ms};
            r->options.report(&wait, r->options.context);
        }
        reported = true;
        if (!r->options.wait(ms, r->options.context))
            return false;
    }
}

static int
give_up(const struct rest *r, struct err *err)
{
    err_set(err, ERR_AGAIN, "%s does not answer: %s", r->base, r->err.text);
    if (err)
        err->exit = EXIT_CODE_UNAVAILABLE;
    return -1;
}

static int
stopped(const struct rest *r, struct err *err)
{
    return err_set(err, ERR_AGAIN, "stopped while waiting for %s", r->base);
}

static void
hold_and_report(struct rest *r, const struct rest_answer *a, int next, int64_t ms)
{
    struct rest_wait wait = {.status = a->status,
                             .error = a->status ? NULL : r->err.text,
                             .ms = ms,
                             .attempt = a->status == 429 ? 0 : next,
                             .attempts = r->options.attempts};

    rate_limit_hold(&r->rate, clock_mono_us() + ms * 1000);
    bool is_short = clock_mono_ms() + ms - r->trouble_ms < REPORT_MS;
    if (r->options.report && !is_short)
        r->options.report(&wait, r->options.context);
}

int
rest_call(struct rest *r, const char *method, const char *path, struct span body,
          struct rest_answer *a, struct err *err)
{
    int64_t step_ms = 0;

    *a = (struct rest_answer){0};
    for (int next = 2;; next++) {
        if (!wait_for_turn(r, next > 2))
            return stopped(r, err);
        if (r->options.may_write && strcmp(method, "GET") != 0 &&
            !r->options.may_write(r->options.context))
            return err_set(err, ERR_FATAL, "another worker is the leader now");
        try_once(r, method, path, NULL, false, body, a);
        if (r->client.outcome == HTTP_STOPPED)
            return stopped(r, err);
        read_limits(r, a);
        rest_hold(r, a->retry_after_ms);
        r->answered = r->answered || a->status;
        r->trouble_ms = !is_failure(a) ? 0 : r->trouble_ms ? r->trouble_ms : r->start_ms;
        int64_t ms = backoff_ms(&step_ms, r->backoff_ms, BACKOFF_MAX_MS);
        if (a->retry_after_ms)
            ms = a->retry_after_ms;
        if (!wants_retry(r, method, a) || !has_patience(r, a, next, ms))
            return a->status ? 0 : give_up(r, err);
        hold_and_report(r, a, next, ms);
    }
}

int
rest_try(struct rest *r, const char *method, const char *path, const char *line,
         struct span body, struct rest_answer *a, struct err *err)
{
    *a = (struct rest_answer){.stopped = !wait_for_turn(r, false)};
    if (a->stopped)
        return stopped(r, err);
    try_once(r, method, path, line, true, body, a);
    a->stopped = r->client.outcome == HTTP_STOPPED;
    if (a->stopped)
        return stopped(r, err);
    read_limits(r, a);
    r->answered = r->answered || a->status;
    return a->status ? 0 : give_up(r, err);
}

bool
rest_is_json(struct span body)
{
    struct span text = rest_body(body);
    bool quoted = false;
    int64_t depth = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted)
            depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    }
    return text.len > 0 && (text.at[0] == '{' || text.at[0] == '[') && depth == 0 &&
           !quoted;
}
