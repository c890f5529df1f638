// inspect: the command. It listens on loopback only, unless it is told to, prints the page's
// address with its token, and writes what the page polls once a second.
#include "cli/inspect.h"

#include "base/text.h"
#include "cli/status.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

static bool
is_loopback(const union address *a)
{
    if (a->any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
    return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
}

static int
listen_where(const struct options *o, struct err *err)
{
    const char *text = options_text(o, "listen", "127.0.0.1:9190");
    struct socket_address address = {.text = (char *)(uintptr_t)text};
    const char *problem = sockets_parse(&address.at, span_of(text));

    if (problem)
        return err_exit(err, EXIT_CODE_USAGE, "--listen %s: %s", text, problem);
    if (!is_loopback(&address.at) && !options_has(o, "remote"))
        return err_exit(
            err, EXIT_CODE_USAGE,
            "--listen %s is not loopback: the page and its token would cross the "
            "network unencrypted. Use an SSH tunnel (ssh -L 9190:127.0.0.1:9190 "
            "HOST), or add --remote",
            text);
    int fd = sockets_listen(&address, err);
    if (fd >= 0 || err->exit != EXIT_CODE_PORT)
        return fd;
    return err_context(err, "choose another address with --listen");
}

// The tags as they are now; those of the file where Redis does not answer.
static void
list_tags(struct inspect *i)
{
    struct err err;

    tags_open(&i->tags, i->cli, &err);
    for (size_t t = 0; t < TAGS_MAX; t++) {
        redis_close(i->tags.redis[t]);
        i->tags.redis[t] = NULL;
    }
}

// The streams of the file's hooks, and the dead letters, under each tag.
static void
list_keys(struct inspect *i)
{
    const struct config_list *streams = &i->config->streams;

    for (size_t t = 0; t < i->tags.len; t++)
        for (size_t s = 0; s <= streams->len && i->keys_len < INSPECT_KEYS; s++) {
            struct inspect_key *key = &i->keys[i->keys_len++];
            *key = (struct inspect_key){.tag = t, .is_dead = s == streams->len};
            script_key(key->key, i->tags.at[t],
                       key->is_dead ? SPAN("dead") : span_of(streams->at[s]));
        }
}

static void
print_address(const struct inspect *i, int fd)
{
    char at[SOCKETS_TEXT], url[SOCKETS_TEXT + SECRET_TOKEN_TEXT + 32];
    union address address = sockets_address(fd);

    sockets_format(&address, at);
    snprintf(url, sizeof url, "http://%s/#token=%s", at, i->token);
    output_text("address", span_of(url));
    if (output.json)
        output_line(stdout);
    else
        printf("%s\nThe page shows personal data to whoever has this address, until "
               "Ctrl-C ends "
               "it.\n",
               url);
    fflush(stdout);
}

// --- what the page polls ----------------------------------------------------------------------

enum { SLOW = 5 }; // rounds between looks at hooks and commands

static void
write_journal(struct status *s)
{
    struct err err = {0};
    const char *directory = s->cli->config->state_dir;
    struct cursor *cursor = cursor_open_reader(directory, 0, NULL, &err);

    status_part(s, "journal", cursor != NULL, cursor ? directory : err.text);
    cursor_close(cursor);
}

static void
write_head(struct status *s, struct inspect *i)
{
    const struct config *c = i->config;
    struct err err = {0};

    document_text(s->to, "account", span_of(c->account_name));
    document_text(s->to, "namespace", span_of(c->redis_namespace));
    (void)status_programs(s); // it says so
    write_journal(s);
    status_groups(s);
    status_dead(s);
    status_length(s, "commands.dead", "commands_dead", "");
    window_add_rate(i->window, s->to, s->redis_us / 1000000, &err);
    if (!s->redis || s->away)
        err = s->redis_err;
    status_part(s, "redis", !err.text[0], err.text[0] ? err.text : c->redis_url.text);
    document_number(s->to, "commands_waiting", c->services_len > 0, s->waiting);
}

static void
write_page(struct inspect *i, struct status *s, enum inspect_page page)
{
    struct buf fresh, old;

    buf_init(&fresh, INSPECT_BYTES);
    s->to = &fresh;
    if (page == INSPECT_HEAD)
        write_head(s, i);
    else
        (page == INSPECT_HOOKS ? status_hooks : status_commands)(s);
    document_end(&fresh);
    pthread_mutex_lock(&i->lock);
    old = i->pages[page];
    i->pages[page] = fresh;
    pthread_mutex_unlock(&i->lock);
    buf_release(&old);
}

// Once a second, with connections that are kept from round to round.
static void
write_pages(struct inspect *i, struct status *s, unsigned round)
{
    buf_release(&i->cli->receiver.metrics);
    buf_release(&i->cli->worker.metrics);
    admin_json_fetch(i->cli);
    output_wait_end();
    status_connect(s);
    for (int page = INSPECT_PAGES - 1; page >= 0; page--)
        if (page == INSPECT_HEAD || round % SLOW == 0)
            write_page(i, s, (enum inspect_page)page);
}

static int
serve(struct inspect *i, int fd, const sigset_t *signals, struct err *err)
{
    const struct timespec second = {.tv_sec = 1};
    struct status s = {
        .cli = i->cli, .tags = i->tags, .masks = true, .hurries = true, .results = true};
    unsigned round = 0;

    i->window = window_start(i, err);
    if (!i->window)
        return -1;
    write_pages(i, &s, round++);
    if (inspect_serve(i, &fd, err) < 0)
        return -1;
    print_address(i, fd);
    for (int signal = -1; signal != SIGTERM && signal != SIGINT;) {
        write_pages(i, &s, round++);
        signal = sigtimedwait(signals, NULL, &second);
    }
    return EXIT_CODE_OK;
}

// What the threads use lives until the process ends.
static int
run_inspect(void *cli, struct err *err)
{
    static struct inspect i = {.lock = PTHREAD_MUTEX_INITIALIZER};
    unsigned char random[32];
    sigset_t signals;

    program_block_signals(&signals);
    i.cli = cli;
    i.config = config_hold(i.cli->config);
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return err_errno(err, "getrandom");
    text_base64(i.token, sizeof i.token, random, sizeof random, true);
    if (event_zone_set(i.config->account_time_zone, err) < 0)
        return -1;
    int fd = listen_where(i.cli->options, err);
    if (fd < 0)
        return -1;
    list_tags(&i);
    list_keys(&i);
    return serve(&i, fd, &signals, err);
}

static const struct option inspect_options[] = {
    OPTION_IS_TEXT("listen", "ADDRESS", "where the page is; default 127.0.0.1:9190"),
    OPTION_IS_FLAG("remote",
                   "allow --listen on an address other than loopback (unencrypted)"),
    {0},
};

const struct subcommand cli_inspect_commands[] = {
    {"inspect", "", "show deliveries, their journey, dead letters and hooks in a browser",
     0, 0, inspect_options, run_inspect, true, NULL},
    {0},
};
