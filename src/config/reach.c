#include "config/reach.h"

#include "base/file.h"
#include "config/secret.h"

#include <string.h>
#include <unistd.h>

enum { PATIENCE_S = 5 };

int
config_redis_options(struct redis_options *o, const struct config *c,
                     struct buf *password, struct err *err)
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
config_redis(const struct config *c, struct err *err)
{
    struct redis_options options;
    struct buf password;
    struct redis *r = NULL;

    if (config_redis_options(&options, c, &password, err) == 0) {
        r = redis_open(&options, err);
        if (!r)
            err->exit = EXIT_CODE_UNAVAILABLE;
    }
    secret_wipe(&password);
    return r;
}

struct post_target
config_target(const struct socket_address *a)
{
    return (struct post_target){.path = a->path, .at = a->at};
}

typedef int exchange_fn(int fd, const char *path, struct buf *page, struct err *err);

static int
exchange(exchange_fn *with, const struct socket_address *a, const char *path,
         struct buf *page, struct err *err)
{
    struct post_target to = config_target(a);

    to.patience_s = PATIENCE_S;
    int fd = post_open(&to, err);
    if (fd < 0)
        return -1;
    int code = with(fd, path, page, err);
    close(fd);
    return code;
}

int
config_get(const struct socket_address *a, const char *path, struct buf *page,
           struct err *err)
{
    return exchange(post_get, a, path, page, err);
}

int
config_ask(const struct socket_address *a, const char *path, struct buf *page,
           struct err *err)
{
    return exchange(post_ask, a, path, page, err);
}

bool
config_runs(const struct socket_address *admin)
{
    struct buf page;
    struct err err;

    buf_init(&page, 1 << 16);
    bool runs = config_get(admin, "/version", &page, &err) == 200 &&
                strstr(buf_text(&page), "\"version\"");
    buf_release(&page);
    return runs;
}

int
config_takes(const struct config *c, const char *path)
{
    int takes = -1;
    struct buf page;
    struct err err;

    if (!config_runs(&c->receiver_admin))
        return -1;
    buf_init(&page, 1 << 16);
    for (size_t i = 0; i < c->listen_len && takes < 0; i++) {
        int code = config_get(&c->listen[i], path, &page, &err);
        takes = code == 405 ? 1 : code == 404 ? 0 : -1;
    }
    buf_release(&page);
    return takes;
}
