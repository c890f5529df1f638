// One Caddy serves all accounts of the machine: the Caddyfile has what concerns Caddy itself, and
// imports a site of each account beside it. Both begin with a line by which setup knows them as
// its own: what lacks it is the operator's, and is left as it is.
#include "cli/setup.h"

#include "base/file.h"

#include <errno.h>
#include <glob.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define UNIT "acrelay-https.service"
#define CADDY "/usr/bin/caddy"
#define DIRECTORY "/etc/acrelay"
#define CADDYFILE DIRECTORY "/Caddyfile"
#define ROOT DIRECTORY "/caddy-acme-root.pem"
#define ADMIN "unix//run/acrelay-https/admin.sock"
#define OURS                                                                             \
    "# Written by acrelay setup, which overwrites it unless this line is removed.\n"

enum {
    FILE_MAX = 64 << 10,
    PROBE_MS = 5000,
    HOST_MAX = 256,
    TIMED_OUT = 124 // as timeout(1) exits
};

// --- where the name leads -------------------------------------------------------------------

static void
read_host(const struct setup *s, char host[HOST_MAX])
{
    struct span rest = span_of(strstr(s->c->public_url, "://") + 3);
    bool brackets = span_starts(rest, SPAN("["));

    rest = span_from(rest, brackets);
    rest = span_to(rest, span_find(rest, brackets ? ']' : ':'));
    snprintf(host, HOST_MAX, "%.*s", (int)rest.len, rest.at);
}

// An address of this machine is one that a socket can have.
static bool
is_here(const struct addrinfo *a)
{
    union address local = {.any = {0}};
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(&local, a->ai_addr,
           a->ai_addrlen < sizeof local ? a->ai_addrlen : sizeof local);
    local.in.sin_port = 0; // both families have it in the same place
    bool here = fd >= 0 && bind(fd, &local.any, a->ai_addrlen) == 0;
    if (fd >= 0)
        close(fd);
    return here;
}

static bool
arrives(int listener, const unsigned char *sent, size_t len)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    unsigned char got[32];

    while (poll(&p, 1, PROBE_MS) > 0) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        struct timeval wait = {.tv_sec = 1};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        bool same = recv(fd, got, len, MSG_WAITALL) == (ssize_t)len &&
                    memcmp(got, sent, len) == 0;
        close(fd);
        if (same)
            return true;
    }
    return false;
}

// Behind a NAT the name has another machine's address: what is sent to port 443 there must arrive
// at a socket that listens here for a moment.
static bool
leads_here(const struct addrinfo *a, const struct socket_address *port)
{
    unsigned char nonce[32];
    union address to = {.any = {0}};
    struct timeval wait = {.tv_sec = PROBE_MS / 1000};
    int listener = sockets_listen(port, NULL);
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(&to, a->ai_addr, a->ai_addrlen < sizeof to ? a->ai_addrlen : sizeof to);
    to.in.sin_port = port->at.in.sin_port;
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    bool found = listener >= 0 && fd >= 0 &&
                 getrandom(nonce, sizeof nonce, 0) == sizeof nonce &&
                 connect(fd, &to.any, a->ai_addrlen) == 0 &&
                 send(fd, nonce, sizeof nonce, MSG_NOSIGNAL) == sizeof nonce &&
                 arrives(listener, nonce, sizeof nonce);
    if (fd >= 0)
        close(fd);
    if (listener >= 0)
        close(listener);
    return found;
}

static int
check_name(const char *host, const struct socket_address *port, struct err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all = NULL;
    char shown[SOCKETS_TEXT] = "";
    union address first = {.any = {0}};

    output_wait("asking for the address of %s", host);
    int failed = getaddrinfo(host, NULL, &hints, &all);
    output_wait_end();
    if (failed)
        return err_exit(err, EXIT_CODE_UNAVAILABLE,
                        "%s has no address (%s): create a DNS record (A or AAAA) that "
                        "leads to this machine, or correct public_url",
                        host, gai_strerror(failed));
    bool here = false;
    for (const struct addrinfo *a = all; a && !here; a = a->ai_next)
        here = is_here(a);
    for (const struct addrinfo *a = all; a && !here; a = a->ai_next)
        here = leads_here(a, port);
    memcpy(&first, all->ai_addr, all->ai_addrlen);
    freeaddrinfo(all);
    sockets_format(&first, shown);
    *strrchr(shown, ':') = '\0';
    if (!here)
        return err_exit(
            err, EXIT_CODE_CONFIG,
            "%s leads to %s, which is not this machine: correct its DNS record or "
            "public_url, or, where a proxy there passes posts on, use --no-https",
            host, shown);
    setup_show("ok", "name", "%s leads to this machine (%s)", host, shown);
    return 0;
}

// --- port 443 -------------------------------------------------------------------------------

static int
check_port(const struct socket_address *port, struct err *err)
{
    char holder[CHECK_HOLDER];
    int reason = sockets_try(port);

    if (reason == 0) {
        setup_show("ok", "port", "%s is free", port->text);
        return 0;
    }
    if (reason != EADDRINUSE)
        return err_exit(err, EXIT_CODE_PORT, "%s: %s", port->text, strerror(reason));
    check_holder(port, holder);
    bool is_caddy = span_starts(span_of(holder), SPAN("caddy"));
    return err_exit(
        err, EXIT_CODE_PORT,
        "port 443 is held by %s: %s, or let it pass /hook/ on to the receiver "
        "(see /usr/share/doc/acrelay/examples/proxy) and use --no-https",
        holder,
        is_caddy ? "if that is Debian's caddy.service and serves nothing you "
                   "need, systemctl disable --now caddy"
                 : "stop it");
}

// For a copy that anyone may read, since Caddy's user need not be able to read the file itself.
static int
read_root(const struct setup *s, struct buf *to, struct err *err)
{
    const char *path = options_text(s->cli->options, "acme-root", NULL);

    buf_add_text(to, OURS);
    if (!path)
        return 0;
    if (file_read(path, to, NULL) == 0 &&
        strstr(buf_text(to), "-----BEGIN CERTIFICATE-----") &&
        !strstr(buf_text(to), "PRIVATE KEY"))
        return 0;
    return err_exit(err, EXIT_CODE_CONFIG,
                    "--acme-root requires a file with a CA certificate (PEM) and no "
                    "private key, not %s",
                    path);
}

int
https_check(const struct setup *s, struct err *err)
{
    struct socket_address port = {.text = (char[]){"[::]:443"}};
    char host[HOST_MAX];
    struct buf root;

    buf_init(&root, FILE_MAX);
    int readable = read_root(s, &root, err);
    buf_release(&root);
    if (readable < 0)
        return -1;
    if (strncmp(s->c->public_url, "https://", 8) != 0)
        return err_exit(err, EXIT_CODE_CONFIG,
                        "public_url is not https: correct it, or use --no-https");
    if (access(CADDY, X_OK) < 0)
        return err_exit(
            err, EXIT_CODE_UNAVAILABLE,
            "Caddy is not installed: apt install caddy (and systemctl disable "
            "--now caddy, if it serves nothing else), or use --no-https with a "
            "proxy of your own");
    if (setup_is_running(UNIT))
        return 0;
    sockets_parse(&port.at, span_of(port.text));
    if (sockets_try(&port) == EAFNOSUPPORT) {
        port.text = (char[]){"0.0.0.0:443"};
        sockets_parse(&port.at, span_of(port.text));
    }
    read_host(s, host);
    return check_port(&port, err) < 0 ? -1 : check_name(host, &port, err);
}

// --- the files ------------------------------------------------------------------------------

// What follows the word on its line, "" without one.
static struct span
find_word(struct span file, struct span word)
{
    while (file.len > 0) {
        struct span line = span_cut(&file, '\n');
        if (span_starts(line, word))
            return span_from(line, word.len);
    }
    return file;
}

// The CA that was given before stays until another is given, its root as long as the CA does.
static void
add_ca(const struct setup *s, struct buf *to)
{
    const char *acme = options_text(s->cli->options, "acme", NULL);
    struct buf now;

    buf_init(&now, FILE_MAX);
    (void)file_read(CADDYFILE, &now, NULL); // there need not be one
    struct span before = find_word(buf_span(&now), SPAN("\tacme_ca ")),
                root = find_word(buf_span(&now), SPAN("\tacme_ca_root ")),
                ca = acme ? span_of(acme) : before;
    if (options_has(s->cli->options, "acme-root"))
        root = SPAN(ROOT);
    else if (!span_equal(ca, before))
        root.len = 0;
    if (ca.len > 0)
        buf_add_format(to, "\tacme_ca %.*s\n", (int)ca.len, ca.at);
    if (root.len > 0)
        buf_add_format(to, "\tacme_ca_root %.*s\n", (int)root.len, root.at);
    buf_release(&now);
}

static void
add_main(const struct setup *s, struct buf *to)
{
    buf_add_text(to, OURS "{\n\tadmin " ADMIN "\n"
                          "\tauto_https disable_redirects\n\tgrace_period 30s\n");
    add_ca(s, to);
    // the path of a hook is a password
    buf_add_text(to,
                 "\tlog {\n\t\tlevel ERROR\n\t\tformat filter {\n\t\t\twrap json\n"
                 "\t\t\tfields {\n\t\t\t\trequest>uri delete\n\t\t\t}\n\t\t}\n\t}\n}\n"
                 "import " DIRECTORY "/*.caddy\n");
}

static void
add_site(const struct setup *s, struct buf *to)
{
    const struct socket_address *a = &s->c->listen.at[0];
    char upstream[SOCKETS_TEXT + 8];

    if (a->path)
        snprintf(upstream, sizeof upstream, "unix/%s", a->path);
    else
        sockets_format_target(a->at, upstream);
    buf_add_format(to,
                   OURS "%s {\n\trequest_body {\n\t\tmax_size %llu\n\t}\n"
                        "\thandle /hook/* {\n\t\treverse_proxy %s {\n\t\t\tlb_retries 0\n"
                        "\t\t\ttransport http {\n\t\t\t\tkeepalive off\n"
                        "\t\t\t\tdial_timeout 30s\n\t\t\t\tresponse_header_timeout 60s\n"
                        "\t\t\t}\n\t\t}\n\t}\n\thandle {\n\t\trespond 404\n\t}\n}\n",
                   s->c->public_url, (unsigned long long)s->c->body_max, upstream);
}

// Caddy's user must be able to read it. 1 when it is written, 0 when it is left as it was, -1.
static int
write_file(const char *path, struct buf *content, struct err *err)
{
    struct buf now;
    int result = 0;

    buf_init(&now, FILE_MAX);
    bool is_there = access(path, F_OK) == 0;
    if (is_there && file_read(path, &now, err) < 0)
        result = -1;
    else if (is_there && !span_starts(buf_span(&now), SPAN(OURS)))
        setup_show("kept", "https", "%s is your own and is not changed", path);
    else if (!span_equal(buf_span(&now), buf_span(content))) {
        unlink(path);
        result = file_create(path, buf_span(content), 0644, err) < 0 ? -1 : 1;
        if (result > 0)
            setup_show("done", "https", "%s written", path);
    }
    buf_release(&now);
    return result;
}

static void
site_path(const struct setup *s, char to[PATH_MAX])
{
    snprintf(to, PATH_MAX, DIRECTORY "/%s.caddy", *s->account ? s->account : "acrelay");
}

static int
write_files(const struct setup *s, struct err *err)
{
    char site[PATH_MAX];
    struct buf text;
    int root = 0;

    site_path(s, site);
    buf_init(&text, FILE_MAX);
    if (options_has(s->cli->options, "acme-root"))
        root = read_root(s, &text, err) < 0 ? -1 : write_file(ROOT, &text, err);
    buf_clear(&text);
    add_main(s, &text);
    int first = root < 0 ? root : write_file(CADDYFILE, &text, err);
    buf_clear(&text);
    add_site(s, &text);
    int second = first < 0 ? first : write_file(site, &text, err);
    buf_release(&text);
    return second < 0 ? second : root || first || second;
}

static void
remove_file(const char *path)
{
    struct buf now;

    buf_init(&now, FILE_MAX);
    if (file_read(path, &now, NULL) == 0 && span_starts(buf_span(&now), SPAN(OURS)) &&
        unlink(path) == 0)
        setup_show("removed", "https", "%s", path);
    buf_release(&now);
}

// --- the unit -------------------------------------------------------------------------------

// What a program says at its end is its reason.
static int
run(const char *const *words, enum exit_code exit, const char *failure, struct err *err)
{
    struct buf said;

    buf_init(&said, 1 << 20);
    output_wait(UNIT);
    int code = setup_run(&said, err, words);
    output_wait_end();
    struct span rest = buf_span(&said), line = rest, last = rest;
    while (code > 0 && rest.len > 0)
        if ((line = span_cut(&rest, '\n')).len > 0)
            last = line;
    if (code == TIMED_OUT)
        err_exit(err, EXIT_CODE_UNAVAILABLE,
                 UNIT
                 " has not reloaded within 60 s: `journalctl -u acrelay-https` shows "
                 "why. `systemctl restart acrelay-https` ends this, and refuses posts "
                 "for a moment; then run setup again");
    else if (code > 0)
        err_exit(err, exit, "%s: %.*s", failure, (int)(last.len < 300 ? last.len : 300),
                 last.at);
    buf_release(&said);
    return code == 0 ? 0 : -1;
}

static int
check_files(struct err *err)
{
    static const char *const adapt[] = {CADDY, "adapt", "--config", CADDYFILE, NULL};

    return run(adapt, EXIT_CODE_CONFIG, "Caddy refuses " CADDYFILE, err);
}

static bool
unit_shows(const char *property)
{
    static const char *const words[] = {
        "systemctl", "show", UNIT, "--property=ActiveState", "--property=ReloadResult",
        NULL};
    struct buf said;
    struct err unused;

    buf_init(&said, 1 << 10);
    (void)setup_run(&said, &unused, words);
    bool result = strstr(buf_text(&said), property);
    buf_release(&said);
    return result;
}

// Any answer shows that there is a certificate.
static bool
has_certificate(const struct setup *s)
{
    struct http_call call = {.url = s->c->public_url, .timeout_ms = PROBE_MS};
    struct err why;

    return http_client_once(&call, NULL, &why) > 0;
}

// Caddy 2.6 does not report the end of a reload that failed: for systemd it goes on, and every
// further one waits for it, until Caddy itself is asked for one that succeeds.
//
// A reload takes new files over, and asks for a certificate at once, for which Caddy waits longer
// after each failure. Other accounts' posts go on meanwhile.
static int
reload(struct err *err)
{
    static const char *const by_systemd[] = {"timeout", "60", "systemctl",
                                             "reload",  UNIT, NULL};
    static const char *const by_caddy[] = {"timeout",  "60",      CADDY,       "reload",
                                           "--config", CADDYFILE, "--address", ADMIN,
                                           "--force",  NULL};

    if (run(unit_shows("=reloading") ? by_caddy : by_systemd, EXIT_CODE_UNAVAILABLE,
            UNIT " refuses to reload, and goes on with the files of before", err) < 0)
        return -1;
    setup_show("done", "unit", UNIT " reloaded");
    return 0;
}

int
https_start(const struct setup *s, struct err *err)
{
    char site[PATH_MAX];
    struct err ignored;

    site_path(s, site);
    bool was_running = setup_is_running(UNIT);
    bool is_new = !was_running || access(site, F_OK) < 0;
    // Written and not loaded, it would be taken for loaded the next time.
    if (!is_new && check_files(err) < 0)
        return -1;
    int written = write_files(s, err);
    if (written < 0 || check_files(err) < 0 ||
        (!was_running && setup_start(UNIT, err) < 0)) {
        if (!was_running) // the files stay: *err and the journal name lines of them
            (void)setup_stop(UNIT, &ignored);
        else if (is_new) // what has worked until now goes on, and can be reloaded
            remove_file(site);
        return -1;
    }
    if (!was_running)
        return 0;
    bool is_loaded = unit_shows("=active") && unit_shows("ReloadResult=success");
    if (written > 0 || !is_loaded || !has_certificate(s))
        return reload(err);
    setup_show("already", "unit", UNIT " runs");
    return 0;
}

int
https_stop(const struct setup *s, struct err *err)
{
    char site[PATH_MAX];
    glob_t others;

    site_path(s, site);
    remove_file(site);
    if (glob(DIRECTORY "/*.caddy", 0, NULL, &others) == 0) {
        globfree(&others);
        return setup_is_running(UNIT) ? reload(err) : 0;
    }
    if (setup_stop(UNIT, err) < 0)
        return -1;
    remove_file(CADDYFILE);
    remove_file(ROOT);
    return 0;
}
