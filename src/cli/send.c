// token prints the URL of a hook: the one command that shows a secret. send posts samples as
// ActiveCampaign would, to see the way from post to stream with one's own eyes. It posts one
// after another on one connection; `make bench` is for load.
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/setup.h"
#include "event/samples.h"

#include <stdio.h>
#include <stdlib.h>

enum { BODY_MAX = 64 << 20, TIMES_MAX = 100000, SAMPLES_MAX = 128, CODES = 1000 };

struct sending {
    struct cli *cli;
    struct poster poster;
    const char *hook;
    struct span type;
    struct sample samples[SAMPLES_MAX];
    size_t samples_len;
    bool vary; // samples are, a file is not

    uint64_t sent, ok;
    uint64_t codes[CODES];
    int64_t start_us;
    uint32_t times[TIMES_MAX]; // microseconds of the first answers
    size_t times_len;
};

// --- what is sent ---------------------------------------------------------------------

static int
list_samples(void)
{
    struct sample s;

    for (size_t at = 0; samples_next(&s, &at);) {
        output_text("type", s.name);
        output_say("%.*s\n", (int)s.name.len, s.name.at);
    }
    return EXIT_CODE_OK;
}

static int
add_named(struct sending *s, const char *name, struct err *err)
{
    struct nearest near = nearest_start(span_of(name));
    bool all = strcmp(name, "all") == 0;
    size_t before = s->samples_len;
    struct sample sample;

    for (size_t at = 0; s->samples_len < SAMPLES_MAX && samples_next(&sample, &at);) {
        nearest_try(&near, sample.name);
        if (all || span_is(sample.name, name))
            s->samples[s->samples_len++] = sample;
    }
    return s->samples_len > before || before == SAMPLES_MAX
               ? 0
               : cli_fail_unknown(err, EXIT_CODE_USAGE, &near, "sample", "send --list");
}

static int
choose_samples(struct sending *s, struct buf *file, struct err *err)
{
    const struct options *o = s->cli->options;
    const char *path = options_text(o, "file", NULL);

    s->vary = !path;
    if (path) {
        const char *real = strcmp(path, "-") == 0 ? "/dev/stdin" : path;
        if (file_read(real, file, err) < 0)
            return -1;
        s->samples[s->samples_len++] = (struct sample){span_of("file"), buf_span(file)};
    }
    for (int i = 0; i < o->arguments_len; i++)
        if (add_named(s, o->arguments[i], err) < 0)
            return -1;
    if (s->samples_len == 0)
        return err_exit(err, EXIT_CODE_USAGE,
                        "send requires a type (see --list), all, or --file");
    return 0;
}

// --- where to -------------------------------------------------------------------------

static bool
has_hook(const struct cli *c, const char *name, struct err *err)
{
    struct nearest near = nearest_start(span_of(name));

    if (config_find_served(c->config, near.asked))
        return true;
    for (size_t i = 0; i < c->config->hooks_len; i++)
        nearest_try(&near, span_of(c->config->hooks[i].name));
    cli_fail_unknown(err, EXIT_CODE_FAILURE, &near, "hook", c->file);
    return false;
}

static int
read_url(struct sending *s, const char *url, struct err *err)
{
    struct span scheme = SPAN("http://");
    struct span rest = span_from(span_of(url), scheme.len);
    struct span host = span_to(rest, span_find(rest, '/'));
    bool has_user = span_find(host, '@') < host.len;

    if (!span_starts(span_of(url), scheme) || host.len == 0 || host.len == rest.len ||
        has_user)
        return err_exit(err, EXIT_CODE_USAGE,
                        "--url requires http://HOST:PORT/PATH; to post over HTTPS to "
                        "public_url, use --public");
    s->poster.url = url;
    s->poster.place = host;
    return 0;
}

static int
choose_target(struct sending *s, struct err *err)
{
    const char *url = options_text(s->cli->options, "url", NULL);

    if (url)
        return read_url(s, url, err);
    if (poster_find(&s->poster, s->cli, err) < 0)
        return -1;
    s->hook = options_text(s->cli->options, "hook", NULL);
    return s->hook && !has_hook(s->cli, s->hook, err) ? -1 : 0;
}

// The first hook that asks for the type ("unsubscribe.reason" is an unsubscribe).
static const char *
hook_for(const struct config *c, struct span sample)
{
    struct span type = span_to(sample, span_find(sample, '.'));

    for (size_t i = 0; i < c->hooks_len; i++)
        for (size_t k = 0; k < c->hooks[i].events.len; k++)
            if (span_is(type, c->hooks[i].events.at[k]))
                return c->hooks[i].name;
    return c->hooks[0].name;
}

// --- sending --------------------------------------------------------------------------

static int
send_one(struct sending *s, const struct sample *sample, struct err *err)
{
    struct delivery d = {.type = s->type.len ? s->type : samples_type(sample)};
    struct buf body;

    buf_init(&body, BODY_MAX + 64);
    if (s->vary)
        samples_vary(&body, sample, (uint64_t)clock_now_us());
    else
        buf_add(&body, sample->body);
    d.body = buf_span(&body);
    if (!s->poster.url)
        d.hook = span_of(s->hook ? s->hook : hook_for(s->cli->config, sample->name));
    int64_t start = clock_mono_us();
    int code = poster_post(&s->poster, &d, err);
    buf_release(&body);
    s->sent += s->poster.client.outcome != HTTP_NOT_SENT;
    if (code < 0)
        return -1;
    s->ok += code == 200;
    s->codes[code < CODES ? code : 0]++;
    if (s->times_len < TIMES_MAX)
        s->times[s->times_len++] = (uint32_t)(clock_mono_us() - start);
    return 0;
}

static int
send_all(struct sending *s, struct err *err)
{
    const struct options *o = s->cli->options;
    uint64_t count = options_number(o, "count", s->samples_len);
    uint64_t rate = options_number(o, "rate", 0);
    int result = 0;

    s->start_us = clock_mono_us();
    output_wait("waiting for the receiver's answers");
    for (uint64_t n = 0; n < count && result == 0; n++) {
        if (rate) {
            int64_t due = s->start_us + (int64_t)(n * 1000000 / rate);
            for (int64_t left; (left = due - clock_mono_us()) > 999;)
                clock_sleep_ms(left / 1000);
        }
        output_count(n, count);
        result = send_one(s, &s->samples[n % s->samples_len], err);
    }
    output_wait_end();
    return result;
}

// --- the summary ----------------------------------------------------------------------

static int
by_time(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static double
time_at(const struct sending *s, size_t percent)
{
    size_t i = s->times_len * percent / 100;

    return s->times_len ? s->times[i < s->times_len ? i : s->times_len - 1] / 1000.0 : 0;
}

static void
print_summary(struct sending *s)
{
    double seconds = (double)(clock_mono_us() - s->start_us) / 1e6;
    char text[16];

    qsort(s->times, s->times_len, sizeof *s->times, by_time);
    output_number("sent", s->sent);
    output_number("ok", s->ok);
    output_json("seconds", "%.3f", seconds);
    output_json("p50_ms", "%.3f", time_at(s, 50));
    output_json("p99_ms", "%.3f", time_at(s, 99));
    output_open("codes", '{');
    for (size_t code = 0; code < CODES; code++) {
        snprintf(text, sizeof text, "%zu", code);
        if (s->codes[code])
            output_number(text, s->codes[code]);
    }
    output_close('{');
    if (output.json) {
        output_line(stdout);
        return;
    }
    printf("%llu sent, %s%llu answered 200%s", (unsigned long long)s->sent,
           output_color(s->ok == s->sent ? OUTPUT_OK : OUTPUT_BAD),
           (unsigned long long)s->ok, output_color(OUTPUT_PLAIN));
    for (size_t code = 0; code < CODES; code++)
        if (s->codes[code] && code != 200)
            printf(", %llu answered %zu", (unsigned long long)s->codes[code], code);
    printf(" (%.2f s, p50 %.1f ms, p99 %.1f ms)\n", seconds, time_at(s, 50),
           time_at(s, 99));
    if (s->codes[404])
        puts("404: the receiver does not know this hook or the first secret; acrelay "
             "doctor says what to do");
    if (s->codes[503])
        puts("503: they could not be stored; acrelay status shows why");
}

static int
run_send(void *cli, struct err *err)
{
    struct cli *c = cli;
    static struct sending s;
    struct buf file;

    if (options_has(c->options, "list"))
        return list_samples();
    if (options_has(c->options, "public"))
        return cli_read_config(c, false, err) < 0 ? -1 : trial_run(c, 0, err);
    s.cli = c;
    s.type = span_of(options_text(c->options, "content-type", ""));
    buf_init(&file, BODY_MAX);
    int result =
        choose_samples(&s, &file, err) < 0 || choose_target(&s, err) < 0 ? -1 : 0;
    if (result == 0)
        result = send_all(&s, err);
    if (s.sent > 0)
        print_summary(&s);
    buf_release(&file);
    poster_release(&s.poster);
    if (result < 0)
        return -1;
    return s.sent == s.ok ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

// --- token ------------------------------------------------------------------------------

static void
print_urls(const struct cli *c, const struct secrets *secrets, struct span hook)
{
    size_t n = options_has(c->options, "all") ? secrets->len : 1;
    struct buf url;

    buf_init(&url, 4096);
    for (size_t i = 0; i < n; i++) {
        buf_clear(&url);
        secrets_url(secrets, i, c->config->public_url, hook, &url);
        output_text("hook", hook);
        output_text("secret_file", span_of(c->config->secret_files.at[i]));
        output_text("url", buf_span(&url));
        output_say("%s\n", buf_text(&url));
    }
    buf_release(&url);
}

static int
run_token(void *cli, struct err *err)
{
    struct cli *c = cli;
    const char *name = c->options->arguments[0];

    if (!has_hook(c, name, err))
        return -1;
    struct secrets *secrets = secrets_load(c->config, err);
    if (!secrets)
        return -1;
    print_urls(c, secrets, span_of(name));
    secrets_release(secrets);
    return EXIT_CODE_OK;
}

// --- the command line -------------------------------------------------------------------

static const struct option send_options[] = {
    OPTION_IS_TEXT("hook", "NAME",
                   "the hook to post to (default: the first that has the type)"),
    OPTION_IS_TEXT("url", "URL",
                   "post to this URL instead of receiver.listen (http only)"),
    OPTION_IS_FLAG("public",
                   "post a sample to public_url, and find it in the test hook's stream"),
    OPTION_IS_TEXT("file", "FILE",
                   "post the contents of this file (- for standard input)"),
    OPTION_IS_TEXT("content-type", "TYPE", "its content type (default: that of a form)"),
    OPTION_IS_COUNT("count",
                    "number of posts, cycling through the types (default: one of each)"),
    OPTION_IS_COUNT("rate", "maximum number of posts per second"),
    OPTION_IS_FLAG("list", "list the event types"),
    {0},
};

const struct subcommand cli_send_commands[] = {
    {"token", "<hook>", "print a hook's URL, which is a password", 1, 1,
     OPTIONS(OPTION_IS_FLAG("all", "print one URL for each secret, newest first")),
     run_token, true, NULL},
    {"send", "[<type>...|all]", "post realistic sample events to the receiver", 0, 64,
     send_options, run_send, false, NULL},
    {0},
};
