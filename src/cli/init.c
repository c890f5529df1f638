// init: from four answers to a configuration, a secret of its own and the file of the API token.
// Nothing is written until everything is known to be valid, and nothing that exists is changed: a
// file gets its name by link(2), which never replaces another, the configuration's last.
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "hook/ac_client.h"
#include "program/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    ANSWER_MAX = 512,
    TOKEN_MAX = 4096,
    FILE_MAX = 64 << 10,
    SECRET_RANDOM = 32,
    ADMIN_PORT = 9182,
    ADDRESS_MAX = 96
};

// In the order in which they are asked.
enum answer { API_URL, NAME, PUBLIC_URL, REDIS_URL, ANSWERS };

static const struct {
    const char *path, *option, *question;
    const char *example; // valid; of Redis the default
} questions[ANSWERS] = {
    [API_URL] =
        {"account.api_url", "api-url",
         "API URL, as ActiveCampaign's Settings > Developer shows it (empty: none)",
         "https://acme.api-us1.com"},
    [NAME] = {"account.name", "name", "Name of the account, for the events' ce_source",
              "acme"},
    [PUBLIC_URL] = {"public_url", "public-url",
                    "Public URL of this machine, to which ActiveCampaign posts "
                    "(https://HOST)",
                    "https://hooks.acme.example"},
    [REDIS_URL] = {"redis.url", "redis-url", "Redis URL", "redis://127.0.0.1:6379/0"},
};

static const char hooks[] =
    "\n# A hook is one webhook at ActiveCampaign, with a URL and a set of events of its "
    "own.\n"
    "# `acrelay send --list` shows the event types, acrelay.yaml(5) all settings.\n"
    "hooks:\n"
    "  - name: contacts\n"
    "    events: [subscribe, unsubscribe, update, contact_tag_added, "
    "contact_tag_removed]\n"
    "  #- name: deals\n"
    "  #  events: [deal_add, deal_update, deal_note_add]\n"
    "  #  stream: deals\n";

struct new_file {
    char path[PATH_MAX];
    mode_t mode;
    struct buf content;
    bool exists, is_made;
};

struct init {
    struct cli *cli;
    bool asks; // a person is at a terminal
    // of one of several accounts; "" for acrelay.yaml
    char account[CONFIG_SUFFIX], listen[CONFIG_SUFFIX + 32], admin[2][ADDRESS_MAX];
    char answers[ANSWERS][ANSWER_MAX];
    struct new_file secret, token, config; // in the order in which they are made
};

// --- the answers ------------------------------------------------------------------------

// The file that the answers give; or while `which` is asked, one to check it by, with examples of
// the others, which are valid.
static void
write_config(struct init *in, enum answer which)
{
    bool is_account = *in->account, has_token = which != ANSWERS || *in->answers[API_URL];
    const char *answers[ANSWERS];
    char secret[PATH_MAX], token[PATH_MAX];
    struct buf *to = &in->config.content;

    for (enum answer i = 0; i < ANSWERS; i++)
        answers[i] =
            which == ANSWERS || i == which ? in->answers[i] : questions[i].example;
    snprintf(secret, sizeof secret, "%s", in->secret.path);
    snprintf(token, sizeof token, "%s", in->token.path);
    const struct config_line lines[] = {
        {"account.name", answers[NAME]},
        {"account.api_url", has_token ? answers[API_URL] : NULL},
        {"account.api_token_file", has_token ? basename(token) : NULL},
        {"public_url", answers[PUBLIC_URL]},
        {"secret_files", basename(secret)},
        {"redis.url", answers[REDIS_URL]},
        {"redis.namespace", is_account ? in->account : NULL},
        {"receiver.listen", is_account ? in->listen : NULL},
        {"receiver.admin", is_account ? in->admin[0] : NULL},
        {"worker.admin", is_account ? in->admin[1] : NULL},
        {0}};

    buf_clear(to);
    buf_add_text(to,
                 "# acrelay: written by `acrelay init`. All settings are described in "
                 "acrelay.yaml(5); `acrelay\n# check --print example` prints a file "
                 "with all of them.\n");
    config_write_lines(lines, to);
    buf_add_text(to, hooks);
}

// Whether the reader of the configuration takes the answer, or all of them (ANSWERS). Its warnings
// are for an answer at hand.
static int
check_answers(struct init *in, enum answer which, struct err *err)
{
    struct problems problems = {0};

    write_config(in, which);
    struct config *c =
        config_parse(in->config.path, buf_span(&in->config.content), &problems);
    for (size_t i = 0; i < problems.len; i++)
        if (!problems.at[i].warning)
            err_exit(err, EXIT_CODE_CONFIG, "%s", problems.at[i].text);
        else if (c && which != ANSWERS)
            fprintf(stderr, "warning: %s: %s\n", questions[which].path,
                    problems.at[i].text);
    int result = c ? 0 : -1;
    config_release(c);
    free(problems.at);
    return result;
}

// "acme" of https://acme.api-us1.com.
static void
guess_name(struct init *in, char to[ANSWER_MAX])
{
    const char *host = strstr(in->answers[API_URL], "://");
    struct span rest = span_of(host ? host + 3 : "");
    struct span name = span_cut(&rest, '.');

    snprintf(to, ANSWER_MAX, "%.*s", (int)name.len, rest.len ? name.at : "");
}

// Until it is valid.
static int
ask(struct init *in, enum answer which, const char *fallback, struct err *err)
{
    char *to = in->answers[which], question[2 * ANSWER_MAX];
    struct buf line;

    for (;;) {
        snprintf(question, sizeof question, "%s%s%s%s: ", questions[which].question,
                 *fallback ? " [" : "", fallback, *fallback ? "]" : "");
        buf_init(&line, ANSWER_MAX - 1);
        int result = terminal_read(question, &line, true, err);
        struct span text = span_trim(buf_span(&line));
        snprintf(to, ANSWER_MAX, "%.*s", (int)text.len, text.at);
        buf_release(&line);
        if (result < 0)
            return -1;
        if (!*to)
            snprintf(to, ANSWER_MAX, "%s", fallback);
        if ((!*to && which == API_URL) || check_answers(in, which, err) == 0)
            return 0;
        fprintf(stderr, "  %s\n", err->text);
    }
}

static int
answer(struct init *in, enum answer which, struct err *err)
{
    const char *given = options_text(in->cli->options, questions[which].option, NULL);
    char fallback[ANSWER_MAX] = "";

    if (which == NAME)
        guess_name(in, fallback);
    else if (which == REDIS_URL)
        snprintf(fallback, sizeof fallback, "%s", questions[which].example);
    if (!given && in->asks)
        return ask(in, which, fallback, err);
    given = given ? given : fallback;
    if (!*given && which == API_URL)
        return 0;
    if (!*given)
        return err_exit(err, EXIT_CODE_USAGE,
                        "there is no terminal to ask at, so init requires --public-url, "
                        "and --api-url with --token-file (or --name alone)");
    if (strlen(given) >= ANSWER_MAX)
        return err_exit(err, EXIT_CODE_USAGE, "--%s is too long",
                        questions[which].option);
    strcpy(in->answers[which], given);
    return check_answers(in, which, err);
}

// --- the token --------------------------------------------------------------------------

static int
check_token(const struct buf *token, struct err *err)
{
    for (size_t i = 0; i < token->len; i++)
        if (token->at[i] < 0x21 || token->at[i] > 0x7e)
            return err_exit(
                err, EXIT_CODE_CONFIG,
                "this is not an API token: it has spaces or other characters that "
                "none has");
    return token->len >= AC_CLIENT_TOKEN_MIN
               ? 0
               : err_exit(err, EXIT_CODE_CONFIG,
                          "this is not an API token: it has %zu bytes; at least %d are "
                          "expected",
                          token->len, AC_CLIENT_TOKEN_MIN);
}

static int
ask_token(struct buf *token, struct err *err)
{
    for (;;) {
        if (terminal_read(
                "API token, which that page calls Key (not shown as you type): ", token,
                false, err) < 0)
            return -1;
        if (check_token(token, err) == 0)
            return 0;
        fprintf(stderr, "  %s\n", err->text);
        buf_clear(token);
    }
}

static int
read_token(struct buf *token, const char *file, struct err *err)
{
    if (strcmp(file, "-") != 0)
        return file_read_secret(file, 1, token, err) < 0 ? -1 : check_token(token, err);
    buf_room(token, TOKEN_MAX); // growing would leave copies
    if (file_read("/dev/stdin", token, err) < 0)
        return -1;
    while (token->len > 0 && strchr("\r\n", token->at[token->len - 1]))
        token->len--;
    return check_token(token, err);
}

static int
take_token(struct init *in, struct err *err)
{
    const char *file = options_text(in->cli->options, "token-file", NULL);

    if (!*in->answers[API_URL])
        return file ? err_exit(err, EXIT_CODE_USAGE, "--token-file requires --api-url")
                    : 0;
    if (file && in->token.exists)
        return err_exit(
            err, EXIT_CODE_FAILURE,
            "%s exists and is not replaced: leave out --token-file to use it, "
            "or remove it",
            in->token.path);
    if (in->token.exists)
        return read_token(&in->token.content, in->token.path, err);
    if (file)
        return read_token(&in->token.content, file, err);
    if (in->asks)
        return ask_token(&in->token.content, err);
    return err_exit(err, EXIT_CODE_USAGE,
                    "--api-url also requires --token-file (- for standard input)");
}

// --- the files --------------------------------------------------------------------------

static void
name_file(struct new_file *f, const struct init *in, const char *name, mode_t mode)
{
    char copy[PATH_MAX];

    snprintf(copy, sizeof copy, "%s", in->cli->file);
    if (name)
        snprintf(f->path, sizeof f->path, "%.3800s/%s%s%s", dirname(copy), in->account,
                 *in->account ? "-" : "", name);
    else
        snprintf(f->path, sizeof f->path, "%.3900s", in->cli->file);
    f->mode = mode;
    buf_init(&f->content, name ? TOKEN_MAX : FILE_MAX);
    f->exists = access(f->path, F_OK) == 0 || errno != ENOENT;
}

// Whether any configuration beside this one has that text.
static bool
is_mentioned(const char *text)
{
    glob_t found;
    bool result = false;

    if (glob("/etc/acrelay/*.yaml", 0, NULL, &found) != 0)
        return false;
    for (size_t i = 0; i < found.gl_pathc && !result; i++) {
        struct buf file;
        buf_init(&file, YAML_BYTES_MAX);
        result = file_read(found.gl_pathv[i], &file, NULL) == 0 &&
                 strstr(buf_text(&file), text);
        buf_release(&file);
    }
    globfree(&found);
    return result;
}

// What two accounts on one machine must not share: see deploy/systemd/account.sed for the socket.
static void
choose_addresses(struct init *in)
{
    const char *suffix = config_suffix(in->cli->file, in->listen);
    int port = ADMIN_PORT;

    snprintf(in->account, sizeof in->account, "%s", suffix + (*suffix == '-'));
    snprintf(in->listen, sizeof in->listen, "unix:/run/acrelay/%s.sock", in->account);
    for (int i = 0; i < 2; port++) {
        struct socket_address a = {.text = in->admin[i]};
        snprintf(in->admin[i], ADDRESS_MAX, "127.0.0.1:%d", port);
        sockets_parse(&a.at, span_of(a.text));
        i += port == 65535 || (!is_mentioned(a.text) && sockets_try(&a) == 0);
    }
}

// What can be known before the first question.
static int
check_place(const struct init *in, struct err *err)
{
    char copy[PATH_MAX];

    snprintf(copy, sizeof copy, "%s", in->config.path);
    const char *directory = dirname(copy);
    if (options_has(in->cli->options, "print"))
        return 0;
    if (in->config.exists)
        return err_exit(
            err, EXIT_CODE_FAILURE,
            "%s exists and is not changed: edit it, or continue with `acrelay "
            "setup`",
            in->config.path);
    if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) == 0)
        return 0;
    return err_exit(err, EXIT_CODE_DIRECTORY, "%s: %s: %s", directory, strerror(errno),
                    errno == ENOENT ? "create it first" : "run this as root");
}

// One that exists is kept, if it can be used.
static int
make_secret(struct new_file *f, struct err *err)
{
    unsigned char bytes[SECRET_RANDOM];
    char text[SECRET_RANDOM * 2];

    if (f->exists)
        return file_read_secret(f->path, SECRET_BYTES_MIN, &f->content, err);
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return err_errno(err, "getrandom");
    buf_add(&f->content,
            span_make(text, text_base64(text, sizeof text, bytes, sizeof bytes, false)));
    explicit_bzero(bytes, sizeof bytes);
    explicit_bzero(text, sizeof text);
    return 0;
}

static int
make_files(struct init *in, struct err *err)
{
    struct new_file *const files[] = {&in->secret, &in->token, &in->config};

    for (int i = 0; i < 3; i++) {
        struct new_file *f = files[i];
        if (f->exists || f->content.len == 0)
            continue;
        if (f != &in->config)
            buf_add_byte(&f->content, '\n');
        f->is_made = file_create(f->path, buf_span(&f->content), f->mode, err) == 0;
        if (f->is_made)
            continue;
        for (; i >= 0; i--)
            if (files[i]->is_made)
                unlink(files[i]->path);
        if (err->exit == EXIT_CODE_FAILURE)
            err->exit = EXIT_CODE_DIRECTORY;
        return err_context(err, "nothing was written");
    }
    return 0;
}

// --- the command ------------------------------------------------------------------------

static void
show_file(const struct new_file *f, const char *what)
{
    if (f->content.len == 0)
        return;
    output_text("file", span_of(f->path));
    output_text("result", span_of(f->is_made ? "written" : "kept"));
    output_say("%-8s %s (%s, mode %03o)\n", f->is_made ? "written" : "kept", f->path,
               what, (unsigned)f->mode);
}

static void
show_next(const struct init *in)
{
    if (*in->account)
        printf("Next: acrelay setup --account %s\n", in->account);
    else if (strcmp(in->config.path, "/etc/acrelay/acrelay.yaml") == 0)
        puts("Next: acrelay setup");
    else
        printf("Next: acrelay check --config %s\n", in->config.path);
}

static int
make_all(struct init *in, struct err *err)
{
    if (check_place(in, err) < 0)
        return -1;
    for (enum answer i = 0; i < ANSWERS; i++)
        if (answer(in, i, err) < 0 || (i == API_URL && take_token(in, err) < 0))
            return -1;
    if (make_secret(&in->secret, err) < 0 || check_answers(in, ANSWERS, err) < 0)
        return -1;
    if (options_has(in->cli->options, "print")) {
        printf("%s", buf_text(&in->config.content));
        return 0;
    }
    if (make_files(in, err) < 0)
        return -1;
    show_file(&in->secret, "secret of the hooks' URLs");
    show_file(&in->token, "API token");
    show_file(&in->config, "configuration");
    if (!output.json)
        show_next(in);
    return 0;
}

static int
run_init(void *cli, struct err *err)
{
    static struct init in;

    in.cli = cli;
    in.asks = terminal_is_there();
    choose_addresses(&in);
    name_file(&in.secret, &in, "hook-secret", 0600);
    name_file(&in.token, &in, "api-token", 0600);
    name_file(&in.config, &in, NULL, 0644);
    int result = make_all(&in, err);
    buf_wipe(&in.secret.content);
    buf_wipe(&in.token.content);
    buf_release(&in.config.content);
    return result < 0 ? -1 : EXIT_CODE_OK;
}

static const struct option init_options[] = {
    OPTION_IS_TEXT("api-url", "URL", "API URL of the ActiveCampaign account"),
    OPTION_IS_TEXT("token-file", "FILE",
                   "file with its API token (- for standard input); copied"),
    OPTION_IS_TEXT("name", "NAME", "name of the account (default: from the API URL)"),
    OPTION_IS_TEXT("public-url", "URL", "https URL to which ActiveCampaign posts"),
    OPTION_IS_TEXT("redis-url", "URL", "Redis (default: redis://127.0.0.1:6379/0)"),
    OPTION_IS_FLAG("print", "print the configuration and write nothing"),
    {0},
};

const struct subcommand cli_init_commands[] = {
    {"init", "", "create the configuration, the secret and the API token's file", 0, 0,
     init_options, run_init, false, NULL},
    {0},
};
