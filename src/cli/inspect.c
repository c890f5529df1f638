// inspect: the command. It listens on loopback only, unless asked otherwise, prints the page's
// address with its token, and writes what the page polls once a second.
#include "cli/inspect.h"

#include "base/text.h"
#include "cli/status.h"

#include <stdio.h>
#include <sys/random.h>

enum { THREADS = 8, IDLE_MS = 5000, HEAD_MS = 5000, SLOW = 5 };

static int
listen_where(const struct options *o, struct err *err)
{
    const char *text = options_text(o, "listen", "127.0.0.1:9190");
    struct socket_address address = {.text = (char *)(uintptr_t)text};
    const char *problem = sockets_parse(&address.at, span_of(text));

    if (problem)
        return err_exit(err, EXIT_CODE_USAGE, "--listen %s: %s", text, problem);
    if (!sockets_is_loopback(&address.at) && !options_has(o, "remote"))
        return err_exit(
            err, EXIT_CODE_USAGE,
            "--listen %s is not loopback: the page and its token would cross the "
            "network unencrypted. Use an SSH tunnel (ssh -L 9190:127.0.0.1:9190 "
            "HOST), or add --remote",
            text);
    int fd = sockets_listen(&address, err);
    if (fd < 0 && err->exit == EXIT_CODE_PORT)
        err_context(err, "choose another address with --listen");
    return fd;
}

static void
print_address(const struct inspect *i, int fd)
{
    char at[SOCKETS_TEXT], url[SOCKETS_TEXT + SECRET_TOKEN_TEXT + 32];
    union address address = sockets_address(fd);

    sockets_format(&address, at);
    snprintf(url, sizeof url, "http://%s/#token=%s", at, i->token);
    output_text("address", span_of(url));
    output_say("%s\nThe page shows personal data to anyone with this address, until "
               "Ctrl-C ends it.\n",
               url);
    fflush(stdout);
}

// --- what the page polls ----------------------------------------------------------------------

// What `acrelay status` says, and how fast deliveries come.
static void
add_head(struct inspect *i, struct status *s)
{
    const struct config *c = s->cli->config;
    struct err err = {0}, journal_err = {0};
    struct cursor *journal = cursor_open_reader(c->state_dir, 0, NULL, &journal_err);

    document_text(s->to, "account", span_of(c->account_name));
    document_text(s->to, "namespace", span_of(c->redis_namespace));
    (void)status_programs(s); // it says so
    status_part(s, "journal", journal, journal ? c->state_dir : journal_err.text);
    status_groups(s);
    status_dead(s);
    status_commands_dead(s);
    window_add_rate(i->window, s->to, s->redis_us / 1000000, &err);
    if (!s->redis || s->away)
        err = s->redis_err;
    status_part(s, "redis", !err.text[0], err.text[0] ? err.text : c->redis_url.text);
    cursor_close(journal);
}

// Hooks, commands and their results are looked at in every fifth round.
static void
write_head(struct inspect *i, struct status *s, int round)
{
    static struct buf slow = {.max = INSPECT_BYTES}, fresh = {.max = INSPECT_BYTES};

    admin_json_fetch(i->cli);
    status_connect(s);
    if (round % SLOW == 0) {
        buf_clear(&slow);
        s->to = &slow;
        status_hooks(s);
        status_commands(s);
    }
    buf_clear(&fresh);
    s->to = &fresh;
    add_head(i, s);
    buf_add_byte(&fresh, ',');
    buf_add(&fresh, span_from(buf_span(&slow), 1)); // without its bracket
    pthread_mutex_lock(&i->lock);
    buf_clear(&i->head);
    buf_add(&i->head, buf_span(&fresh));
    pthread_mutex_unlock(&i->lock);
}

static int
serve(struct inspect *i, int fd, const sigset_t *signals, struct err *err)
{
    const struct timespec second = {.tv_sec = 1};
    const struct http_options options = {.sockets = &fd,
                                         .sockets_len = 1,
                                         .threads = THREADS,
                                         .queue = 32,
                                         .request_timeout_ms = HEAD_MS,
                                         .idle_ms = IDLE_MS,
                                         .handle = inspect_handle,
                                         .context = i};
    struct status s = {.cli = i->cli, .masks = true, .hurries = true, .results = true};

    // Those of the file where Redis does not answer.
    (void)tags_open(&s.tags, i->cli, err);
    i->tags = s.tags;
    memset(i->tags.redis, 0, sizeof i->tags.redis);
    i->window = window_start(i, err);
    if (i->window)
        write_head(i, &s, 0);
    if (!i->window || !http_start(&options, err))
        return -1;
    print_address(i, fd);
    for (int signal = -1, round = 0; signal != SIGTERM && signal != SIGINT; round++) {
        write_head(i, &s, round);
        signal = sigtimedwait(signals, NULL, &second);
    }
    redis_close(s.redis);
    tags_close(&s.tags);
    return EXIT_CODE_OK;
}

// What the threads use lives until the process ends.
static int
run_inspect(void *cli, struct err *err)
{
    static struct inspect i = {.lock = PTHREAD_MUTEX_INITIALIZER,
                               .head = {.max = INSPECT_BYTES}};
    unsigned char random[32];
    sigset_t signals;

    program_block_signals(&signals);
    i.cli = cli;
    (void)config_hold(i.cli->config); // threads use it when main has let it go
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return err_errno(err, "getrandom");
    text_base64(i.token, sizeof i.token, random, sizeof random, true);
    if (event_zone_set(i.cli->config->account_time_zone, err) < 0)
        return -1;
    int fd = listen_where(i.cli->options, err);
    return fd < 0 ? -1 : serve(&i, fd, &signals, err);
}

const struct subcommand cli_inspect_commands[] = {
    {"inspect", "",
     "show deliveries and their progress, dead letters and hooks in a browser", 0, 0,
     OPTIONS(
         OPTION_IS_TEXT("listen", "ADDRESS",
                        "address of the page (default: 127.0.0.1:9190)"),
         OPTION_IS_FLAG("remote", "allow an address that is not loopback (unencrypted)")),
     run_inspect, true, NULL},
    {0},
};
