#include "config/config.h"

#include "base/file.h"
#include "base/text.h"
#include "config/value.h"
#include "edge/digest.h"
#include "edge/redis.h"

#include <errno.h>
#include <stdio.h>
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

void
secrets_url(const struct secrets *s, size_t i, const char *base, struct span hook,
            struct buf *to)
{
    char token[SECRET_TOKEN_TEXT];

    secrets_token(s, i, hook, token);
    buf_add_format(to, "%s/hook/%.*s/%s", base, (int)hook.len, hook.at, token);
}

// --- Redis --------------------------------------------------------------------------------------

// Decodes %XX in place, within the bytes that `text` borrows, and ends them with a NUL: there is room
// for it, since ':' or '@' stands behind them. Nothing may be borrowed, and stays as it is.
static int
decode_percent(struct span *text)
{
    char *bytes = (char *)(uintptr_t)text->at, *to = bytes;

    if (text->len == 0)
        return 0;
    for (size_t i = 0; i < text->len; i++, to++) {
        *to = bytes[i];
        if (bytes[i] != '%')
            continue;
        if (!text_unhex(to, 1, span_to(span_from(*text, i + 1), 2)) || !*to)
            return -1;
        i += 2;
    }
    *to = '\0';
    text->len = (size_t)(to - bytes);
    return 0;
}

// Nothing of the URL is shown.
static int
refuse_url(const char *file, const char *why, struct err *err)
{
    err_exit(err, EXIT_CODE_CONFIG, "%s does not hold a URL that can be used: it is %s",
             file, why);
    return -1;
}

static int
read_url_file(struct redis_options *o, const struct config *c, struct buf *secret,
              struct err *err)
{
    const char *file = c->redis_url_file;
    struct span user = {0};

    if (file_read_secret(file, 1, secret, err) < 0)
        return -1;
    const char *error = redis_url_read(&o->url, buf_span(secret), &user, &o->password);
    if (error)
        return refuse_url(file, error, err);
    o->url.text = c->redis_url.text;
    if (user.len + o->password.len > 0 && c->redis_password_file)
        return refuse_url(
            file,
            "a URL with a user or password beside redis.password_file: only "
            "one of them can be used",
            err);
    if (user.len > 0 && o->password.len == 0)
        return refuse_url(file, "a URL with a user but no password", err);
    if (decode_percent(&user) < 0 || decode_percent(&o->password) < 0)
        return refuse_url(
            file,
            "a URL whose user or password has a '%' that is not followed by two "
            "hexadecimal digits: write '%' itself as %25",
            err);
    if (user.len > 0)
        o->user = user.at;
    return 0;
}

static int
read_password(struct span *password, const char *file, struct buf *secret,
              struct err *err)
{
    if (file_read_secret(file, 1, secret, err) < 0)
        return -1;
    *password = buf_span(secret);
    return 0;
}

// A secret of Redis that cannot be used is a mistake in the configuration, or its mode is.
static int
explain_redis(const char *setting, struct err *err)
{
    if (err->exit != EXIT_CODE_PERMISSION)
        err->exit = EXIT_CODE_CONFIG;
    return err_context(err, "%s", setting);
}

static bool
has_tls_files(const struct tls_files *t)
{
    return t->ca_file || t->cert_file || t->key_file || t->server_name;
}

int
config_redis_options(struct redis_options *o, const struct config *c,
                     struct redis_secrets *secrets, struct err *err)
{
    const char *password = c->redis_password_file,
               *sentinel = c->redis_sentinel_password_file;

    buf_init(&secrets->url, SECRET_BYTES_MAX);
    buf_init(&secrets->password, SECRET_BYTES_MAX);
    buf_init(&secrets->sentinel, SECRET_BYTES_MAX);
    *o = (struct redis_options){.url = c->redis_url,
                                .tls = {c->redis_tls_ca_file, c->redis_tls_cert_file,
                                        c->redis_tls_key_file, c->redis_tls_server_name},
                                .user = c->redis_user,
                                .sentinel_user = c->redis_sentinel_user};
    if (c->redis_url_file && read_url_file(o, c, &secrets->url, err) < 0)
        return explain_redis("redis.url_file", err);
    if (password && read_password(&o->password, password, &secrets->password, err) < 0)
        return explain_redis("redis.password_file", err);
    if (sentinel &&
        read_password(&o->sentinel_password, sentinel, &secrets->sentinel, err) < 0)
        return explain_redis("redis.sentinel.password_file", err);
    if (has_tls_files(&o->tls) && !o->url.tls)
        return err_exit(
            err, EXIT_CODE_CONFIG,
            "redis.tls is set, but the URL in redis.url_file does not use TLS: "
            "write rediss:// there, or remove redis.tls");
    return 0;
}

void
redis_secrets_wipe(struct redis_secrets *s)
{
    buf_wipe(&s->url);
    buf_wipe(&s->password);
    buf_wipe(&s->sentinel);
}

struct redis *
config_redis(const struct config *c, const char *tag, struct redis_find *find,
             int64_t wait_ms, struct err *err)
{
    struct redis_options options;
    struct redis_find once = {.first = 0};
    struct redis_secrets secrets;
    struct redis *r = NULL;
    char key[CONFIG_TAG + sizeof "{}:account"];

    if (config_redis_options(&options, c, &secrets, err) == 0) {
        snprintf(key, sizeof key, "{%s}:account", tag ? tag : c->redis_namespace);
        options.key = key;
        options.connect_ms = options.command_ms = wait_ms;
        r = redis_find(find ? find : &once, &options, err);
        if (!r && err->exit == EXIT_CODE_FAILURE)
            err->exit = EXIT_CODE_UNAVAILABLE;
    }
    redis_secrets_wipe(&secrets);
    return r;
}
