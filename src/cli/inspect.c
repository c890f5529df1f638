// inspect: the command. It listens on loopback only, unless it is told to, prints the page's
// address with its token, and writes what the page polls once a second.
#include "cli/inspect.h"

#include "base/text.h"

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

static int
serve(struct inspect *i, int fd, const sigset_t *signals, struct err *err)
{
    const struct timespec second = {.tv_sec = 1};

    i->window = window_start(i, err);
    if (!i->window)
        return -1;
    bool json = output.json;
    output.json = true; // what facts_write takes of `acrelay status` is a document
    facts_write(i);
    if (inspect_serve(i, &fd, err) < 0)
        return -1;
    output.json = json;
    print_address(i, fd);
    output.json = true;
    for (int signal = -1; signal != SIGTERM && signal != SIGINT;) {
        facts_write(i);
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
