// token and send: a hook's URL, and posts to it.
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli.h"
#include "edge/post.h"
#include "event/samples.h"

#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

int
cli_token(struct cli *c)
{
    struct err err = {0};
    struct buf url;

    if (c->argc != 2)
        return cli_usage("token takes the name of a hook");
    if (!config_find_hook(c->config, span_of(c->argv[1]))) {
        err_exit(&err, EXIT_CODE_FAILURE, "there is no hook %s in %s", c->argv[1],
                 c->file);
        return cli_fail(&err);
    }
    struct secrets *secrets = secrets_load(c->config, &err);
    if (!secrets)
        return cli_fail(&err);
    buf_init(&url, 2000);
    secrets_url(secrets, 0, c->config->public_url, span_of(c->argv[1]), &url);
    puts(buf_text(&url));
    buf_release(&url);
    secrets_release(secrets);
    return EXIT_CODE_OK;
}

struct sending {
    struct post_target to;
    struct buf path;
    int fd;
    uint64_t sent, good;
};

static int
send_one(struct sending *s, const struct sample *sample, struct err *err)
{
    struct buf body;
    bool closed = true;

    if (s->fd < 0)
        s->fd = post_open(&s->to, err);
    if (s->fd < 0)
        return -1;
    buf_init(&body, 1 << 20);
    samples_vary(&body, sample, (uint64_t)clock_now_us());
    int code =
        post_send(s->fd, buf_span(&s->path), SPAN("application/x-www-form-urlencoded"),
                  buf_span(&body), &closed, err);
    buf_release(&body);
    s->sent++;
    s->good += code == 200;
    if (closed) {
        close(s->fd);
        s->fd = -1;
    }
    return code < 0 ? -1 : 0;
}

static int
send_all(struct sending *s, const char *type, uint64_t count, struct err *err)
{
    struct sample sample;
    bool all = strcmp(type, "all") == 0;

    if (!all && !samples_find(&sample, span_of(type)))
        return err_exit(err, EXIT_CODE_USAGE, "there is no sample of %s", type);
    int64_t said = clock_mono_ms();
    for (uint64_t n = 0; n < count; n++) {
        if (!all && send_one(s, &sample, err) < 0)
            return -1;
        for (size_t at = 0; all && samples_next(&sample, &at);)
            if (send_one(s, &sample, err) < 0)
                return -1;
        if (clock_mono_ms() - said > 1000) {
            fprintf(stderr, "%llu of %llu\n", (unsigned long long)n + 1,
                    (unsigned long long)count);
            said = clock_mono_ms();
        }
    }
    return 0;
}

static void
set_target(struct sending *s, const struct config *c, const struct secrets *secrets,
           const char *hook)
{
    const struct config_address *a = &c->listen[0];

    s->to = (struct post_target){.path = a->path, .host = a->host, .port = a->port};
    if (!a->path && a->host.s_addr == 0)
        s->to.host.s_addr = htonl(INADDR_LOOPBACK);
    buf_init(&s->path, 1000);
    secrets_url(secrets, 0, "", span_of(hook), &s->path);
}

int
cli_send(struct cli *c)
{
    static const struct option options[] = {{"count", required_argument, NULL, 'n'},
                                            {"hook", required_argument, NULL, 'k'},
                                            {NULL, 0, NULL, 0}};
    struct sending s = {.fd = -1};
    struct err err = {0};
    const char *hook = c->config->hooks[0].name;
    uint64_t count = 1;

    for (int o; (o = getopt_long(c->argc, c->argv, "n:k:", options, NULL)) != -1;) {
        if (o == 'n' && !text_number(&count, span_of(optarg), 1000000000))
            return cli_usage("--count takes a number");
        if (o == 'k')
            hook = optarg;
        if (o == '?')
            return EXIT_CODE_USAGE;
    }
    if (optind + 1 != c->argc)
        return cli_usage("send takes a type, or all");
    struct secrets *secrets = secrets_load(c->config, &err);
    if (!secrets)
        return cli_fail(&err);
    set_target(&s, c->config, secrets, hook);
    int result = send_all(&s, c->argv[optind], count, &err);
    if (s.sent > 0 || result == 0)
        printf(c->json ? "{\"sent\":%llu,\"good\":%llu}\n"
                       : "%llu sent, %llu answered 200\n",
               (unsigned long long)s.sent, (unsigned long long)s.good);
    buf_release(&s.path);
    secrets_release(secrets);
    if (result < 0)
        return cli_fail(&err);
    return s.sent == s.good ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}
