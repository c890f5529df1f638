// What the three programs do first, before they hold a secret.
#include "program/options.h"
#include "program/output.h"

#include "base/log.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

// The leak check at a sanitizer's end is a debugger of its own.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED
#endif

// The wrong way round, so that a reader or writer there gets an error, as if it were still
// closed, and does not take nothing for an input or a lost text for a printed one.
static void
open_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

static void
protect_process(void)
{
    struct rlimit none = {0, 0};

    open_standard();
    umask(077);
    setrlimit(RLIMIT_CORE, &none); // lowering a limit cannot fail
#ifndef SANITIZED
    prctl(PR_SET_DUMPABLE, 0);
#endif
    signal(SIGPIPE, SIG_IGN);
}

static bool
has_color(bool json)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return !json && isatty(STDOUT_FILENO) && !(no && *no) &&
           !(term && strcmp(term, "dumb") == 0);
}

// --- the configuration -----------------------------------------------------------------------

enum { ACCOUNT_MAX = 32 };
#define ACCOUNT_LETTERS "abcdefghijklmnopqrstuvwxyz0123456789"

// acrelay.yaml is the file of the units without a name: another state_dir is theirs.
static bool
is_account(const char *name)
{
    size_t len = strlen(name);

    return len >= 1 && len <= ACCOUNT_MAX && name[0] != '-' &&
           strspn(name, ACCOUNT_LETTERS "-") == len && strcmp(name, "acrelay") != 0;
}

static int
check_account(const struct options *o)
{
    const char *name = options_text(o, "account", NULL);
    char shown[128]; // it may hold anything

    if (name && options_has(o, "config")) {
        fprintf(stderr,
                "%s: --config and --account both name the configuration: give one\n",
                o->program->name);
        return EXIT_CODE_USAGE;
    }
    if (!name || is_account(name))
        return -1;
    text_escape(shown, sizeof shown, span_of(name));
    fprintf(stderr,
            "%s: --account does not accept %s: a name has lower-case letters, digits and "
            "'-', at most %d; acrelay.yaml is used without --account\n",
            o->program->name, shown, ACCOUNT_MAX);
    return EXIT_CODE_USAGE;
}

const char *
program_config(const struct options *o)
{
    static char path[sizeof "/etc/acrelay/.yaml" + ACCOUNT_MAX];
    const char *name = options_text(o, "account", NULL), *file = getenv("ACRELAY_CONFIG");

    if (name) {
        snprintf(path, sizeof path, "/etc/acrelay/%s.yaml", name);
        return path;
    }
    return options_text(o, "config", file && *file ? file : "/etc/acrelay/acrelay.yaml");
}

// --- the start ---------------------------------------------------------------------------------

int
program_start(struct options *o, const struct program *p, int argc, char **argv)
{
    protect_process();
    int code = options_parse(o, p, argc, argv);
    if (code < 0)
        code = check_account(o);
    if (code >= 0)
        return code;
    const char *form = options_text(o, "log", "auto");
    int i = 0; // the words stand in the order of enum log_form
    while (strcmp(options_log_forms[i], form) != 0)
        i++;
    log_start((enum log_form)i,
              options_has(o, "verbose") ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    bool json = options_has(o, "json");
    output.program = p->name;
    output.json = json;
    output.color = has_color(json);
    return code;
}

void
program_block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    sigprocmask(SIG_BLOCK, signals, NULL);
}
