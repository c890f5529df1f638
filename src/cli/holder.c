// /proc/net/tcp, tcp6 and unix (proc(5)) have the inodes of sockets that listen; each is a link
// in the /proc/PID/fd of who has it.
#include "cli/holder.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { INODES_MAX = 16, LISTENING = 0x0a, LINE = 4096 };

struct inodes {
    unsigned long at[INODES_MAX];
    size_t len;
};

static void
add_inode(struct inodes *inodes, unsigned long inode)
{
    if (inode && inodes->len < INODES_MAX)
        inodes->at[inodes->len++] = inode;
}

static void
add_tcp(struct inodes *inodes, const char *table, unsigned port)
{
    FILE *file = fopen(table, "re");
    char line[LINE];

    while (file && fgets(line, sizeof line, file)) {
        unsigned local, state;
        unsigned long inode;
        if (sscanf(line, " %*d: %*[0-9A-F]:%x %*s %x %*s %*s %*s %*s %*s %lu", &local,
                   &state, &inode) == 3 &&
            local == port && state == LISTENING)
            add_inode(inodes, inode);
    }
    if (file)
        fclose(file);
}

static void
add_unix(struct inodes *inodes, const char *path)
{
    FILE *file = fopen("/proc/net/unix", "re");
    char line[LINE];

    while (file && fgets(line, sizeof line, file)) {
        char at[128];
        unsigned flags;
        unsigned long inode;
        if (sscanf(line, "%*s %*s %*s %x %*s %*s %lu %127s", &flags, &inode, at) == 3 &&
            (flags & 0x10000) && strcmp(at, path) == 0)
            add_inode(inodes, inode);
    }
    if (file)
        fclose(file);
}

static bool
has_inode(const struct inodes *inodes, const char *pid)
{
    char path[300], link[64];
    bool found = false;

    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && !found && (e = readdir(dir));) {
        unsigned long inode;
        ssize_t len = readlinkat(dirfd(dir), e->d_name, link, sizeof link - 1);
        link[len > 0 ? len : 0] = '\0';
        if (sscanf(link, "socket:[%lu]", &inode) != 1)
            continue;
        for (size_t i = 0; i < inodes->len; i++)
            found = found || inodes->at[i] == inode;
    }
    if (dir)
        closedir(dir);
    return found;
}

static void
take_process(struct holder *h, const char *pid)
{
    char path[64], name[32] = "";
    FILE *file;

    snprintf(path, sizeof path, "/proc/%.20s/comm", pid);
    file = fopen(path, "re");
    if (file && !fgets(name, sizeof name, file))
        name[0] = '\0';
    if (file)
        fclose(file);
    name[strcspn(name, "\n")] = '\0';
    h->pid = (pid_t)strtol(pid, NULL, 10);
    text_escape(h->name, sizeof h->name, span_of(name));
    h->is_systemd = span_starts(span_of(name), SPAN("systemd"));
}

bool
holder_find(struct holder *h, const struct socket_address *a)
{
    struct inodes inodes = {.len = 0};

    *h = (struct holder){.is_systemd = true};
    if (a->path) {
        add_unix(&inodes, a->path);
    } else { // both families have the port in the same place
        add_tcp(&inodes, "/proc/net/tcp", ntohs(a->at.in.sin_port));
        add_tcp(&inodes, "/proc/net/tcp6", ntohs(a->at.in.sin_port));
    }
    DIR *proc = inodes.len ? opendir("/proc") : NULL;
    for (struct dirent *e; proc && h->is_systemd && (e = readdir(proc));)
        if (e->d_name[0] >= '0' && e->d_name[0] <= '9' && has_inode(&inodes, e->d_name))
            take_process(h, e->d_name);
    if (proc)
        closedir(proc);
    return h->pid != 0;
}
