#include "cli/cli.h"

#include "base/clock.h"
#include "base/text.h"
#include "cli/redis_words.h"
#include "event/json.h"

#include <stdio.h>
#include <stdlib.h>

enum { REDIS_MS = 5000 };

int
cli_fail(const struct err *err)
{
    fflush(stdout);
    fprintf(stderr, "acrelay: %s\n", err->text);
    return err->exit ? (int)err->exit : EXIT_CODE_FAILURE;
}

struct config *
cli_config(const char *file, bool warnings)
{
    struct problems problems = {0};
    struct config *config = config_read(file, NULL, &problems);

    problems_print(&problems, warnings ? PROBLEMS_STDERR : PROBLEMS_STDERR_ERRORS);
    free(problems.at);
    if (!config)
        fprintf(stderr,
                "acrelay: this file is needed first: mend it; programs that run go on "
                "with what they had\n");
    return config;
}

const struct config_hook *
cli_hook(const struct cli *c, const char *name, struct err *err)
{
    const struct config_hook *found = config_find_hook(c->config, span_of(name));
    struct nearest near = nearest_start(span_of(name));

    if (found)
        return found;
    for (size_t i = 0; i < c->config->hooks_len; i++)
        nearest_try(&near, span_of(c->config->hooks[i].name));
    err_exit(err, EXIT_CODE_FAILURE, "there is no hook %s in %s%s%s%s", name, c->file,
             near.word.len ? "; did you mean " : "", near.word.len ? near.word.at : "",
             near.word.len ? "?" : "");
    return NULL;
}

bool
cli_ask_failed(const struct redis_reply *reply, struct err *err)
{
    struct span text = redis_reply_text(reply);

    if (!reply) {
        err->exit = EXIT_CODE_UNAVAILABLE;
        return true;
    }
    if (redis_reply_kind(reply) != REDIS_ERROR)
        return false;
    err_set(err, ERR_INPUT, "Redis says: %.*s", (int)text.len, text.at);
    const struct redis_words *known = redis_words_find(err->text);
    if (known->in[0])
        err->exit = known->code;
    return true;
}

struct redis *
cli_redis(const struct cli *c, struct err *err)
{
    if (!c->quiet)
        output_wait("asking Redis (%s)", c->config->redis_url.text);
    struct redis *r = config_redis(c->config, times_ms("cli_redis", REDIS_MS), err);
    if (!r && err->exit == EXIT_CODE_UNAVAILABLE)
        err->exit = redis_words_find(err->text)->code;
    output_wait_end();
    return r;
}

const char *
cli_directory(struct cli *c)
{
    const char *given = options_text(c->options, "directory", NULL);

    if (given)
        return given;
    if (!c->config)
        c->config = cli_config(c->file, false);
    return c->config ? c->config->state_dir : NULL;
}

// `data` is JSON by contract; what somebody else put there goes out as a string.
static bool
is_json(struct span s)
{
    struct buf unused;

    buf_init(&unused, s.len + 1);
    bool good = json_compact(&unused, s) == NULL;
    buf_release(&unused);
    return good;
}

void
cli_add_entry(struct span id, const struct redis_reply *fields, struct span raw)
{
    output_text("id", id);
    for (size_t i = 0; i + 1 < redis_reply_len(fields); i += 2) {
        char name[64];
        struct span value = redis_reply_text(redis_reply_at(fields, i + 1));
        struct span field = redis_reply_text(redis_reply_at(fields, i));
        text_escape(name, sizeof name, field);
        if (span_is(field, "raw") && raw.len > 0)
            value = raw;
        if (span_is(field, "data") && is_json(value))
            output_json("data", "%.*s", (int)value.len, value.at);
        else if (!strpbrk(name, "\"\\"))
            output_text(name, value);
    }
}

struct span
cli_field(const struct redis_reply *fields, const char *name)
{
    for (size_t i = 0; i + 1 < redis_reply_len(fields); i += 2)
        if (span_is(redis_reply_text(redis_reply_at(fields, i)), name))
            return redis_reply_text(redis_reply_at(fields, i + 1));
    return (struct span){"", 0};
}
