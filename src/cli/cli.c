#include "cli/cli.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "relay/relay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { REDIS_MS = 5000, LAST_GOOD_MAX = (1 << 20) + PATH_MAX + 100 };

// --- configuration ----------------------------------------------------------------------

// Its first line, a comment, ends with the path of the file it is a copy of (receiver/reload.c).
static struct config *
read_last_good(const char *path, const char *file)
{
    struct problems problems = {0};
    struct config *c = NULL;
    struct buf text;

    buf_init(&text, LAST_GOOD_MAX);
    bool is_copy = file_read(path, &text, NULL) == 0;
    struct span rest = buf_span(&text), line = span_cut(&rest, '\n');
    is_copy &= span_starts(line, SPAN("# acrelay last good configuration 1 "));
    for (int words = 0; words < 8; words++)
        span_cut(&line, ' ');
    if (is_copy && span_is(line, file))
        c = config_parse(file, buf_span(&text), &problems);
    free(problems.at);
    buf_release(&text);
    return c;
}

void
cli_load_config(struct cli *c, bool or_last_good)
{
    const char *given = getenv("STATE_DIRECTORY");
    char suffix[CONFIG_SUFFIX];

    if (!c->config)
        c->config = config_read(c->file, NULL, &c->problems);
    if (c->config || !or_last_good)
        return;
    if (given && *given)
        snprintf(c->last_good, sizeof c->last_good, "%.*s/last-good.yaml",
                 (int)strcspn(given, ":"), given);
    else
        snprintf(c->last_good, sizeof c->last_good, "/var/lib/acrelay%s/last-good.yaml",
                 config_suffix(c->file, suffix));
    c->config = read_last_good(c->last_good, c->file);
    c->is_last_good = c->config != NULL;
}

const char *
cli_file_advice(const struct cli *c)
{
    int error = access(c->file, R_OK) < 0 ? errno : 0;

    return error == ENOENT   ? "run acrelay init"
           : error == EACCES ? "run this as root"
                             : "fix the file";
}

// Warnings are for `check` and `reload`: here only what stops us is printed.
int
cli_read_config(struct cli *c, bool or_last_good, struct err *err)
{
    if (c->config)
        return 0;
    cli_load_config(c, or_last_good);
    problems_print(&c->problems, PROBLEMS_STDERR_ERRORS);
    if (c->is_last_good)
        fprintf(stderr, "acrelay: continuing with the last good configuration, %s\n",
                c->last_good);
    if (c->config)
        return 0;
    if (!or_last_good || access(c->file, F_OK) < 0) // without it nothing runs yet
        return err_exit(err, EXIT_CODE_CONFIG,
                        "this command needs a valid configuration: %s",
                        cli_file_advice(c));
    bool hidden = access(c->last_good, R_OK) < 0 && errno == EACCES;
    return err_exit(
        err, EXIT_CODE_CONFIG,
        "this command needs a valid configuration: %s. Running programs keep the "
        "configuration that they have; acrelay status and their logs show "
        "how they are. There is no last good configuration of it%s (%s; "
        "STATE_DIRECTORY names "
        "another directory)",
        cli_file_advice(c), hidden ? " that this user may read: run this as root" : "",
        c->last_good);
}

const char *
cli_directory(struct cli *c, struct err *err)
{
    const char *given = options_text(c->options, "directory", NULL);

    if (given || cli_read_config(c, false, err) == 0)
        return given ? given : c->config->state_dir;
    err_exit(
        err, EXIT_CODE_CONFIG,
        "the configuration is invalid: fix it, or name the journal with --directory");
    return NULL;
}

int
cli_fail_unknown(struct err *err, enum exit_code code, const struct nearest *near,
                 const char *what, const char *where)
{
    bool has_near = near->word.len > 0;

    return err_exit(err, code, "there is no %s %.*s in %s%s%.*s%s", what,
                    (int)near->asked.len, near->asked.at, where,
                    has_near ? "; did you mean " : "", (int)near->word.len,
                    has_near ? near->word.at : "", has_near ? "?" : "");
}

// --- Redis ------------------------------------------------------------------------------

int64_t
cli_redis_us(struct redis *r)
{
    return redis_time_us(redis_ask(r, &(struct err){0}, "TIME", NULL));
}

const struct redis_reply *
cli_reply(const struct redis_reply *reply, struct err *err)
{
    if (!reply) {
        err->exit = EXIT_CODE_UNAVAILABLE;
        return NULL;
    }
    if (redis_check(reply, err))
        return reply;
    const struct relay_advice *known = relay_advice(err->text);
    if (known->in[0])
        err->exit = known->code;
    return NULL;
}

struct redis *
cli_redis(const struct cli *c, const char *tag, struct err *err)
{
    const struct config *config = c->config;
    bool has_secret = config->redis_password_file || config->redis_url_file ||
                      config->redis_sentinel_password_file || config->redis_tls_key_file;

    // Anyone who is the receiver's user could name any file of root's in that copy.
    if (c->is_last_good && has_secret && geteuid() == 0) {
        err_exit(
            err, EXIT_CODE_CONFIG,
            "not asked: the file is invalid, and the last good configuration does not "
            "decide where root sends a password: fix the file, or run this as the "
            "receiver's user");
        return NULL;
    }
    struct err why = {0}; // also set for a host that was passed over
    struct redis *r =
        config_redis(config, tag, NULL, times_ms("cli_redis", REDIS_MS), &why);

    if (r) {
        r->reply_bytes_max = CLI_REPLY_BYTES;
        return r;
    }
    if (why.exit == EXIT_CODE_UNAVAILABLE)
        why.exit = relay_advice(why.text)->code;
    *err = why;
    err_context(err, "%s", config->redis_url.text);
    return NULL;
}

void
cli_advise(struct err *err)
{
    const struct err cause = *err;
    const struct relay_advice *known = relay_advice(cause.text);

    if (known->in[0])
        err_exit(err, cause.exit, "%s; %s", cause.text, known->advice);
}

// --- posting ----------------------------------------------------------------------------

enum { POST_MS = 30000 };

int
poster_find(struct poster *p, struct cli *c, struct err *err)
{
    if (cli_read_config(c, false, err) < 0)
        return -1;
    p->to = &c->config->listen.at[0];
    p->place = span_of(p->to->text);
    p->secrets = secrets_load(c->config, err);
    return p->secrets ? 0 : -1;
}

int
poster_post(struct poster *p, const struct delivery *d, struct err *err)
{
    struct buf url;

    buf_init(&url, 4096 + d->query.len);
    if (p->url)
        buf_add_text(&url, p->url);
    else
        secrets_url(p->secrets, 0, "", d->hook, &url);
    if (d->query.len)
        buf_add_format(&url, "?%.*s", (int)d->query.len, d->query.at);
    struct http_call call = {.to = p->to,
                             .url = buf_text(&url),
                             .method = "POST",
                             .body = d->body,
                             .type = d->type,
                             .encoding = d->encoding,
                             .timeout_ms = POST_MS};
    int code = http_client_call(&p->client, &call, NULL, err);
    buf_release(&url);
    if (code >= 0)
        return code;
    return err_exit(err, EXIT_CODE_UNAVAILABLE, "the receiver at %.*s: %s%s",
                    (int)p->place.len, p->place.at, err->text,
                    p->client.outcome == HTTP_NOT_SENT ? "; start acrelayd" : "");
}

void
poster_release(struct poster *p)
{
    secrets_release(p->secrets);
    http_client_close(&p->client);
}

// --- what check and doctor found --------------------------------------------------------

void
report_add(struct report *r, enum report_level level, enum exit_code code,
           const char *what, const char *advice, const char *format, ...)
{
    static const enum output_color colors[] = {OUTPUT_OK, OUTPUT_WARNING, OUTPUT_BAD};
    static const char *const words[] = {"ok", "warning", "error"};
    char raw[1024], text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(text, sizeof text, span_of(raw));
    if (level > r->worst_level || !r->worst[0]) {
        memcpy(r->worst, text, sizeof text);
        r->worst_advice = advice;
    }
    r->worst_level = level > r->worst_level ? level : r->worst_level;
    r->errors += level == REPORT_ERROR;
    r->warnings += level == REPORT_WARNING;
    if (level == REPORT_ERROR && r->code == EXIT_CODE_OK)
        r->code = code;
    if (r->is_silent)
        return;
    output_wipe();
    output_text("result", span_of(words[level]));
    output_text("what", span_of(what));
    output_text("text", span_of(text));
    if (advice)
        output_text("do", span_of(advice));
    output_say("%s%-8s%s %-14s %s\n", output_color(colors[level]), words[level],
               output_color(OUTPUT_PLAIN), what, text);
    if (advice && !output.json)
        printf("%-23s -> %s\n", "", advice);
    fflush(stdout); // what comes next may take a while
}
