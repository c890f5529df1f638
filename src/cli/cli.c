#include "cli/cli.h"

#include "base/file.h"
#include "base/nearest.h"
#include "edge/post.h"

#include <stdio.h>
#include <unistd.h>

int
cli_fail(const struct err *err)
{
    fflush(stdout);
    fprintf(stderr, "acrelay: %s\n", err->text);
    return err->exit ? (int)err->exit : EXIT_CODE_FAILURE;
}

// Prints the lines that are no warnings, or all.
static void
print_problems(struct span text, bool warnings)
{
    while (text.len > 0) {
        struct span line = span_cut(&text, '\n');
        char copy[1024];
        snprintf(copy, sizeof copy, "%.*s", (int)line.len, line.at);
        if (warnings || !strstr(copy, ": warning: "))
            fprintf(stderr, "%s\n", copy);
    }
}

struct config *
cli_config(const char *file, bool warnings)
{
    struct buf problems;

    buf_init(&problems, 1 << 20);
    struct config *config = config_read(file, &problems);
    print_problems(buf_span(&problems), warnings);
    buf_release(&problems);
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

int
cli_redis_options(struct redis_options *o, const struct config *c, struct buf *password,
                  struct err *err)
{
    buf_init(password, 4096);
    if (c->redis_password_file &&
        file_read_secret(c->redis_password_file, 1, password, err) < 0)
        return -1;
    *o = (struct redis_options){.host = c->redis_host,
                                .port = c->redis_port,
                                .path = c->redis_path,
                                .database = c->redis_database,
                                .user = c->redis_user,
                                .password = buf_span(password)};
    return 0;
}

struct redis *
cli_redis(const struct config *c, struct err *err)
{
    struct redis_options options;
    struct buf password;
    struct redis *r = NULL;

    if (cli_redis_options(&options, c, &password, err) == 0) {
        r = redis_open(&options, err);
        if (!r)
            err->exit = EXIT_CODE_UNAVAILABLE;
    }
    buf_release(&password);
    return r;
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
    return true;
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

int
cli_get(const struct config_address *a, const char *path, struct buf *page,
        struct err *err)
{
    struct post_target to = {.path = a->path, .host = a->host, .port = a->port};

    if (!a->path && to.host.s_addr == 0)
        to.host.s_addr = htonl(INADDR_LOOPBACK);
    int fd = post_open(&to, err);
    if (fd < 0)
        return -1;
    int code = post_get(fd, path, page, err);
    close(fd);
    return code;
}
