// tail and dead: what stands in Redis.
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "relay/relay.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

struct redis *
cli_redis(const struct config *c, struct err *err)
{
    struct buf password;

    buf_init(&password, 4096);
    if (c->redis_password_file &&
        file_read_secret(c->redis_password_file, 1, &password, err) < 0)
        return NULL;
    struct redis_options options = {.host = c->redis_host,
                                    .port = c->redis_port,
                                    .path = c->redis_path,
                                    .database = c->redis_database,
                                    .user = c->redis_user,
                                    .password = buf_span(&password)};
    struct redis *r = redis_open(&options, err);
    buf_release(&password);
    if (!r && err->exit < EXIT_CODE_USAGE)
        err->exit = EXIT_CODE_UNAVAILABLE;
    return r;
}

static void
print_string(struct span s)
{
    putchar('"');
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            printf("\\u%04x", c); // bytes as Latin-1: exact, whatever they are
        else
            putchar(c);
    }
    putchar('"');
}

static void
print_value(struct span name, struct span value)
{
    // `data` is JSON already.
    if (span_is(name, "data") && value.len > 0)
        fwrite(value.at, 1, value.len, stdout);
    else
        print_string(value);
}

void
cli_fields(const struct redis_reply *fields)
{
    putchar('{');
    for (size_t i = 0; i + 1 < redis_reply_len(fields); i += 2) {
        struct span name = redis_reply_text(redis_reply_at(fields, i));
        if (i)
            putchar(',');
        print_string(name);
        putchar(':');
        print_value(name, redis_reply_text(redis_reply_at(fields, i + 1)));
    }
    puts("}");
}

struct span
cli_field(const struct redis_reply *fields, const char *name)
{
    for (size_t i = 0; i + 1 < redis_reply_len(fields); i += 2)
        if (span_is(redis_reply_text(redis_reply_at(fields, i)), name))
            return redis_reply_text(redis_reply_at(fields, i + 1));
    return (struct span){"", 0};
}

static void
print_columns(const struct redis_reply *fields, const char *const *names)
{
    for (; *names; names++) {
        char text[200];
        text_escape(text, sizeof text, cli_field(fields, *names));
        printf("%s%s", text, names[1] ? "  " : "\n");
    }
}

static void
print_event(const struct cli *c, const struct redis_reply *fields)
{
    static const char *const names[] = {"ce_time", "ce_type", "ce_subject", "data", NULL};

    if (c->json)
        cli_fields(fields);
    else
        print_columns(fields, names);
    fflush(stdout);
}

int
cli_tail(struct cli *c)
{
    static const struct option options[] = {{"from", required_argument, NULL, 'f'},
                                            {"stream", required_argument, NULL, 's'},
                                            {"count", required_argument, NULL, 'n'},
                                            {NULL, 0, NULL, 0}};
    char key[SCRIPT_KEY], last[64] = "$";
    const char *stream = c->config->hooks[0].stream;
    uint64_t count = UINT64_MAX, shown = 0;
    struct err err = {0};

    for (int o; (o = getopt_long(c->argc, c->argv, "f:s:n:", options, NULL)) != -1;) {
        if (o == 'f')
            snprintf(last, sizeof last, "%s", optarg);
        else if (o == 's')
            stream = optarg;
        else if (o != 'n' || !text_number(&count, span_of(optarg), INT64_MAX))
            return cli_usage("tail takes --from, --stream and --count");
    }
    script_key(key, c->config->redis_namespace, span_of(stream));
    struct redis *r = cli_redis(c->config, &err);
    while (r && shown < count) {
        const struct redis_reply *reply =
            redis_ask(r, &err, "XREAD", "COUNT", "100", "BLOCK", "1000", "STREAMS", key,
                      last, NULL);
        if (!reply)
            break;
        if (redis_reply_kind(reply) == REDIS_ERROR) {
            struct span text = redis_reply_text(reply);
            err_set(&err, ERR_INPUT, "Redis: %.*s", (int)text.len, text.at);
            break;
        }
        const struct redis_reply *found =
            redis_reply_at(redis_reply_at(reply, 0), 1); // of the one stream
        for (size_t i = 0; i < redis_reply_len(found) && shown < count; i++, shown++) {
            const struct redis_reply *entry = redis_reply_at(found, i);
            struct span id = redis_reply_text(redis_reply_at(entry, 0));
            snprintf(last, sizeof last, "%.*s", (int)id.len, id.at);
            print_event(c, redis_reply_at(entry, 1));
        }
    }
    redis_close(r);
    return shown < count ? cli_fail(&err) : EXIT_CODE_OK;
}

// --- dead letters --------------------------------------------------------------------------

static int
dead_list(struct cli *c, struct redis *r, const char *key)
{
    static const char *const names[] = {"ce_recordedtime", "hook", "reason", "detail",
                                        NULL};
    char from[64] = "-";
    struct err err = {0};
    size_t len;

    do {
        const struct redis_reply *reply =
            redis_ask(r, &err, "XRANGE", key, from, "+", "COUNT", "100", NULL);
        if (!reply)
            return cli_fail(&err);
        len = redis_reply_len(reply);
        for (size_t i = 0; i < len; i++) {
            const struct redis_reply *entry = redis_reply_at(reply, i);
            struct span id = redis_reply_text(redis_reply_at(entry, 0));
            snprintf(from, sizeof from, "(%.*s", (int)id.len, id.at);
            if (c->json) {
                cli_fields(redis_reply_at(entry, 1));
                continue;
            }
            printf("%.*s  ", (int)id.len, id.at);
            print_columns(redis_reply_at(entry, 1), names);
        }
    } while (len == 100);
    return EXIT_CODE_OK;
}

static const struct redis_reply *
dead_find(struct redis *r, const char *key, const char *id, struct err *err)
{
    const struct redis_reply *reply = redis_ask(r, err, "XRANGE", key, id, id, NULL);

    if (!reply)
        return NULL;
    if (redis_reply_len(reply) != 1) {
        err_set(err, ERR_INPUT, "there is no dead letter %s; see: acrelay dead list", id);
        return NULL;
    }
    return redis_reply_at(redis_reply_at(reply, 0), 1);
}

// The delivery as it was stored, with the stream and settings its hook has now.
static int
encode_again(const struct config *c, const struct redis_reply *fields, struct buf *stored,
             struct record *record, struct err *err)
{
    const struct config_hook *hook = config_find_hook(c, cli_field(fields, "hook"));
    struct span id = cli_field(fields, "ce_id");
    struct delivery d = {.hook = cli_field(fields, "hook"),
                         .type = cli_field(fields, "content-type"),
                         .query = cli_field(fields, "query"),
                         .body = cli_field(fields, "raw")};

    if (!hook)
        return err_set(err, ERR_INPUT, "its hook is not in the configuration any more");
    d.stream = span_of(hook->stream);
    d.include_raw = hook->include_raw;
    if (id.len != EVENT_ID_TEXT || !entry_sequence(&record->sequence, span_from(id, 33)))
        return err_set(err, ERR_INPUT, "it has no usable ce_id");
    delivery_encode(stored, &d);
    record->payload = buf_span(stored);
    return 0;
}

static int
dead_replay(struct cli *c, struct redis *r, const char *key, const char *id)
{
    struct err err = {0};
    struct record record = {0};
    struct buf stored;
    struct entry e;
    char journal_id[33] = "";
    int result = -1;
    const struct redis_reply *fields = dead_find(r, key, id, &err);

    if (!fields)
        return cli_fail(&err);
    buf_init(&stored, 20 << 20);
    snprintf(journal_id, sizeof journal_id, "%.32s", cli_field(fields, "ce_id").at);
    struct entry_maker *maker = entry_maker_open(c->config->account_name, journal_id);
    if (encode_again(c->config, fields, &stored, &record, &err) == 0) {
        entry_make(maker, &record, &e);
        if (e.reason != EVENT_GOOD)
            err_set(&err, ERR_INPUT, "it still cannot be read: %s",
                    event_reason_name(e.reason));
        else
            result = relay_replay(r, c->config->redis_namespace, &e, &err);
    }
    entry_maker_close(maker);
    buf_release(&stored);
    if (result < 0)
        return cli_fail(&err);
    if (!redis_ask(r, &err, "XDEL", key, id, NULL))
        return cli_fail(&err);
    printf("%s stands in its stream now, with ce_replay\n", id);
    return EXIT_CODE_OK;
}

static int
dead_drop(struct redis *r, const char *key, const char *id)
{
    struct err err = {0};
    const struct redis_reply *reply = redis_ask(r, &err, "XDEL", key, id, NULL);

    if (!reply)
        return cli_fail(&err);
    if (redis_reply_number(reply) != 1) {
        err_set(&err, ERR_INPUT, "there is no dead letter %s; see: acrelay dead list",
                id);
        return cli_fail(&err);
    }
    printf("%s dropped\n", id);
    return EXIT_CODE_OK;
}

int
cli_dead(struct cli *c)
{
    const char *what = c->argc > 1 ? c->argv[1] : "list";
    const char *id = c->argc > 2 ? c->argv[2] : NULL;
    char key[SCRIPT_KEY];
    struct err err = {0};
    int code;

    if (strcmp(what, "list") != 0 && !id)
        return cli_usage("dead takes list, or show, replay or drop with an id");
    script_key(key, c->config->redis_namespace, SPAN("dead"));
    struct redis *r = cli_redis(c->config, &err);
    if (!r)
        return cli_fail(&err);
    if (strcmp(what, "list") == 0) {
        code = dead_list(c, r, key);
    } else if (strcmp(what, "replay") == 0) {
        code = dead_replay(c, r, key, id);
    } else if (strcmp(what, "drop") == 0) {
        code = dead_drop(r, key, id);
    } else if (strcmp(what, "show") == 0) {
        const struct redis_reply *fields = dead_find(r, key, id, &err);
        code = fields ? EXIT_CODE_OK : cli_fail(&err);
        if (fields)
            cli_fields(fields);
    } else {
        code = cli_usage("dead takes list, or show, replay or drop with an id");
    }
    redis_close(r);
    return code;
}
