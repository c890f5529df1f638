// The addresses that the programs listen on: whether they are free, and who has them.
#include "cli/cli.h"

#include "base/file.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// --- who listens on an address ----------------------------------------------------------

// /proc/net/tcp, tcp6 and unix (proc(5)) have the inodes of sockets that listen; each is a link
// in the /proc/PID/fd of who has it, as far as /proc shows that to us (to root: always).
enum { LISTENING = 0x0a, LISTENING_UNIX = 0x10000 };

struct listener {
    char inodes[256]; // "[1234][5678]", as those links show them
    long pid;         // 0: not seen
    char name[32];    // of the process, escaped
};

static bool
is_systemd(const struct listener *l)
{
    return span_starts(span_of(l->name), SPAN("systemd"));
}

// One line of a table: the address is a path, or any with the port.
static bool
is_listening(const struct socket_address *a, const char *line, unsigned long *inode)
{
    unsigned port, state, flags;
    char path[128];

    if (a->path) // both families have the port in the same place
        return sscanf(line, "%*s %*s %*s %x %*s %*s %lu %127s", &flags, inode, path) ==
                   3 &&
               (flags & LISTENING_UNIX) && strcmp(path, a->path) == 0;
    return sscanf(line, " %*d: %*[0-9A-F]:%x %*s %x %*s %*s %*s %*s %*s %lu", &port,
                  &state, inode) == 3 &&
           port == ntohs(a->at.in.sin_port) && state == LISTENING;
}

static void
add_inodes(struct listener *l, const struct socket_address *a, const char *table)
{
    FILE *file = fopen(table, "re");
    char line[4096];
    unsigned long inode;

    while (file && fgets(line, sizeof line, file)) {
        size_t len = strlen(l->inodes);
        if (is_listening(a, line, &inode) && inode && len + 24 < sizeof l->inodes)
            snprintf(l->inodes + len, 24, "[%lu]", inode);
    }
    if (file)
        fclose(file);
}

static void
take_process(struct listener *l, const char *link)
{
    char to[64] = "", path[64];
    struct buf name;

    if (readlink(link, to, sizeof to - 1) < 0 || strncmp(to, "socket:", 7) != 0 ||
        !strstr(l->inodes, to + 7))
        return;
    l->pid = strtol(link + strlen("/proc/"), NULL, 10);
    snprintf(path, sizeof path, "/proc/%ld/comm", l->pid);
    buf_init(&name, 256);
    file_read(path, &name, NULL);
    struct span line = buf_span(&name);
    text_escape(l->name, sizeof l->name, span_cut(&line, '\n'));
    buf_release(&name);
}

// Of several (a socket unit's and its service) the one that is not systemd.
static void
find_listener(struct listener *l, const struct socket_address *a)
{
    glob_t found;

    add_inodes(l, a, a->path ? "/proc/net/unix" : "/proc/net/tcp");
    if (!a->path)
        add_inodes(l, a, "/proc/net/tcp6");
    if (!l->inodes[0] || glob("/proc/[0-9]*/fd/*", GLOB_NOSORT, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc && (!l->pid || is_systemd(l)); i++)
        take_process(l, found.gl_pathv[i]);
    globfree(&found);
}

void
check_holder(const struct socket_address *a, char to[CHECK_HOLDER])
{
    struct listener l = {.pid = 0};

    find_listener(&l, a);
    if (l.pid)
        snprintf(to, CHECK_HOLDER, "%s (process %ld)", l.name, l.pid);
    else
        snprintf(to, CHECK_HOLDER, "another process");
}

// --- ports ----------------------------------------------------------------------------

// No program of ours answers on its admin address.
static void
report_listener(struct report *r, const char *what, const struct socket_address *a)
{
    struct listener l = {.pid = 0};

    find_listener(&l, a);
    if (is_systemd(&l) && strcmp(what, "listen") == 0)
        report_ok(r, what,
                  "%s is held by systemd's socket unit, where posts wait until acrelayd "
                  "is running",
                  a->text);
    else if (span_starts(span_of(l.name), SPAN("acrelay")))
        report_error(r, EXIT_CODE_PORT, what,
                     "it hangs, has another admin address, or is another installation's: "
                     "see its log",
                     "%s is held by %s (process %ld), which does not answer on its admin "
                     "address",
                     a->text, l.name, l.pid);
    else if (l.pid)
        report_error(
            r, EXIT_CODE_PORT, what, "stop that process, or choose another address",
            "%s: Address already in use, by %s (process %ld)", a->text, l.name, l.pid);
    else
        report_error(
            r, EXIT_CODE_PORT, what,
            "run ss -ltnp as root to see which process holds it. If it is systemd for "
            "acrelayd.socket, that is correct: posts wait there, so start acrelayd",
            "%s: Address already in use", a->text);
}

static void
check_address(struct report *r, const char *what, const struct socket_address *a,
              bool running, bool ours)
{
    int reason = sockets_try(a);

    if (reason == 0)
        report_ok(r, what, "%s is free", a->text);
    else if (reason == ENOENT && span_starts(span_of(a->path), SPAN("/run/")))
        report_warning(r, what,
                       "under systemd its socket unit makes it: start that; otherwise "
                       "make it yourself",
                       "%s: its directory is not there yet", a->text);
    else if (reason != EADDRINUSE)
        report_error(r, reason == EACCES ? EXIT_CODE_PERMISSION : EXIT_CODE_PORT, what,
                     reason == EADDRNOTAVAIL
                         ? "choose an address of this machine (ip address shows them)"
                         : NULL,
                     "%s: %s", a->text, strerror(reason));
    else if (running && ours)
        report_ok(r, what, "%s is held by the running acrelay", a->text);
    else if (running)
        report_add(r, a == &r->cli->config->worker_admin ? REPORT_WARNING : REPORT_ERROR,
                   EXIT_CODE_PORT, what, "stop that one, or choose another address",
                   "%s is held by an acrelay with another state_dir", a->text);
    else
        report_listener(r, what, a);
}

void
check_addresses(struct report *r)
{
    const struct config *c = r->cli->config;
    const struct admin_state *receiver = &r->cli->receiver, *worker = &r->cli->worker;
    bool runs = receiver->code != 0;
    bool ours = receiver->has_state_dir || journal_is_held(c->state_dir);

    for (size_t i = 0; i < c->listen.len; i++)
        check_address(r, "listen", &c->listen.at[i], runs, ours);
    check_address(r, "admin", &c->receiver_admin, runs, ours);
    check_address(r, "worker admin", &c->worker_admin, worker->code != 0,
                  !worker->is_other);
}
