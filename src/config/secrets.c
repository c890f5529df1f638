#include "config/config.h"

#include "base/file.h"
#include "base/text.h"
#include "edge/digest.h"
#include "edge/redis.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { SECRET_BYTES_MAX = 4096 };

// What the operator can do about a secret that cannot be used.
static void
explain_secret(const char *path, struct err *err)
{
    enum exit_code code =
        err->exit == EXIT_CODE_PERMISSION ? err->exit : EXIT_CODE_CONFIG;

    if (strncmp(path, "env:", 4) != 0 && access(path, F_OK) < 0 && errno == ENOENT)
        err_exit(err, code,
                 "%s does not exist; create it with `head -c 32 /dev/urandom | base64` "
                 "and mode 600; under systemd it also needs LoadCredential=",
                 path);
    err->exit = code;
    err_context(err, "secret_files");
}

struct secrets *
secrets_load(const struct config *c, struct err *err)
{
    struct secrets *s = memory_get(sizeof *s);

    s->len = 0;
    for (; s->len < c->secret_files.len; s->len++) {
        struct buf *b = &s->at[s->len];
        buf_init(b, SECRET_BYTES_MAX);
        if (file_read_secret(c->secret_files.at[s->len], SECRET_BYTES_MIN, b, err) < 0) {
            explain_secret(c->secret_files.at[s->len], err);
            s->len++;
            secrets_release(s);
            return NULL;
        }
    }
    return s;
}

void
secrets_release(struct secrets *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->len; i++)
        buf_wipe(&s->at[i]);
    free(s);
}

void
secrets_token(const struct secrets *s, size_t i, struct span hook,
              char token[SECRET_TOKEN_TEXT])
{
    unsigned char mac[DIGEST_BYTES];
    struct buf message;

    buf_init(&message, 1024);
    buf_add_text(&message, "acrelay hook v1\n");
    buf_add(&message, hook);
    digest_hmac(buf_span(&s->at[i]), buf_span(&message), mac);
    text_base64(token, SECRET_TOKEN_TEXT, mac, sizeof mac, true);
    buf_release(&message);
}

int
secrets_url(const struct secrets *s, size_t i, const char *base, struct span hook,
            struct buf *to)
{
    char token[SECRET_TOKEN_TEXT];

    secrets_token(s, i, hook, token);
    buf_add_format(to, "%s/hook/%.*s/%s", base, (int)hook.len, hook.at, token);
    return to->full ? -1 : 0;
}

// --- Redis --------------------------------------------------------------------------------------

int
config_redis_options(struct redis_options *o, const struct config *c,
                     struct buf *password, struct err *err)
{
    buf_init(password, 4096);
    if (c->redis_password_file &&
        file_read_secret(c->redis_password_file, 1, password, err) < 0)
        return -1;
    *o = (struct redis_options){.host = c->redis_url.host,
                                .port = c->redis_url.port,
                                .path = c->redis_url.path,
                                .database = c->redis_url.database,
                                .user = c->redis_user,
                                .password = buf_span(password)};
    return 0;
}

struct redis *
config_redis(const struct config *c, int64_t wait_ms, struct err *err)
{
    struct redis_options options;
    struct buf password;
    struct redis *r = NULL;

    if (config_redis_options(&options, c, &password, err) == 0) {
        options.connect_ms = options.command_ms = wait_ms;
        r = redis_open(&options, err);
        if (!r)
            err->exit = EXIT_CODE_UNAVAILABLE;
    } else {
        err_context(err, "redis.password_file");
        if (err->exit != EXIT_CODE_PERMISSION)
            err->exit = EXIT_CODE_CONFIG;
    }
    buf_wipe(&password);
    return r;
}
