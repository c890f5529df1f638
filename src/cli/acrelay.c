// acrelay: the command line. It reads the options that every command has, the configuration,
// and hands over.
#include "base/log.h"
#include "cli/cli.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "Usage: acrelay [--config FILE] [--json] COMMAND [ARGUMENT]...\n"
    "\n"
    "  check                     read the configuration and the secrets, try Redis\n"
    "  token HOOK                print the URL of a hook: it is a password\n"
    "  send TYPE|all [--count N] [--hook NAME]\n"
    "                            post samples to the receiver\n"
    "  tail [--from ID] [--stream NAME] [--count N]\n"
    "                            show events as they reach the stream\n"
    "  dead list|show ID|replay ID|drop ID\n"
    "                            dead letters\n"
    "  journal dump [--from N]   what the journal holds; the receiver may run\n"
    "  journal verify            read all of it; exit code 2 when something is damaged\n"
    "  journal claim             make the cursor ours, after a move to this machine\n"
    "  config-example            print the example configuration\n"
    "\n"
    "  -c, --config FILE         ($ACRELAY_CONFIG, /etc/acrelay/acrelay.yaml)\n"
    "      --json                for programs\n"
    "  -h, --help, --version\n"
    "Exit codes: 0 ok, 1 failure, 2 damage found, 64 usage, 69 Redis or receiver away,\n"
    "73 no journal there, 77 permission, 78 configuration.\n";

int
cli_fail(const struct err *err)
{
    fprintf(stderr, "acrelay: %s\n", err->text);
    return err->exit ? (int)err->exit : EXIT_CODE_FAILURE;
}

int
cli_usage(const char *what)
{
    fprintf(stderr, "acrelay: %s. Try: acrelay --help\n", what);
    return EXIT_CODE_USAGE;
}

static int
check(struct cli *c)
{
    struct err err = {0};
    struct secrets *secrets = secrets_load(c->config, &err);

    if (!secrets)
        return cli_fail(&err);
    struct redis *r = cli_redis(c->config, &err);
    printf("configuration  %s: good, %zu hooks\n", c->file, c->config->hooks_len);
    printf("secrets        %zu, readable by their owner only\n", secrets_len(secrets));
    printf("redis          %s: %s\n", c->config->redis_url, r ? "answers" : err.text);
    secrets_release(secrets);
    redis_close(r);
    return r ? EXIT_CODE_OK : EXIT_CODE_UNAVAILABLE;
}

static int
print_example(void)
{
    struct buf b;

    buf_init(&b, 1 << 16);
    config_write_example(&b);
    fputs(buf_text(&b), stdout);
    buf_release(&b);
    return EXIT_CODE_OK;
}

static const struct {
    const char *name;
    int (*run)(struct cli *c);
} commands[] = {{"check", check},   {"token", cli_token}, {"send", cli_send},
                {"tail", cli_tail}, {"dead", cli_dead},   {"journal", cli_journal}};

static int
run(struct cli *c)
{
    struct buf problems;

    if (strcmp(c->argv[0], "config-example") == 0)
        return print_example();
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(c->argv[0], commands[i].name) != 0)
            continue;
        buf_init(&problems, 1 << 20);
        c->config = config_read(c->file, &problems);
        fputs(buf_text(&problems), stderr);
        buf_release(&problems);
        if (!c->config)
            return EXIT_CODE_CONFIG;
        int code = commands[i].run(c);
        config_release(c->config);
        return code;
    }
    return cli_usage("there is no such command");
}

int
main(int argc, char **argv)
{
    enum { VERSION = 256, JSON };
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"json", no_argument, NULL, JSON},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, VERSION},
                                            {NULL, 0, NULL, 0}};
    struct cli c = {.file = config_default_path()};

    signal(SIGPIPE, SIG_IGN);
    log_start(LOG_FORM_TEXT, LOG_LEVEL_ERROR);
    for (int o; (o = getopt_long(argc, argv, "+c:h", options, NULL)) != -1;) {
        if (o == 'c')
            c.file = optarg;
        else if (o == JSON)
            c.json = true;
        else if (o == 'h')
            return fputs(usage, stdout), EXIT_CODE_OK;
        else if (o == VERSION)
            return puts("acrelay " ACRELAY_VERSION), EXIT_CODE_OK;
        else
            return fputs("Try: acrelay --help\n", stderr), EXIT_CODE_USAGE;
    }
    if (optind >= argc)
        return cli_usage("a command is missing");
    c.argc = argc - optind;
    c.argv = argv + optind;
    optind = 0; // each command reads its own options
    return run(&c);
}
