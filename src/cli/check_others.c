// What two accounts must not share: the file against the other configurations beside it, as
// /etc/acrelay has one for each. Passed over is a *.yaml that is none or is not valid, and another
// file of the same account.name: a copy, or one for the worker alone.
#include "cli/cli.h"

#include <dirent.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { OTHERS_MAX = 256 };

static void
report_shared(struct report *r, const struct config *other, const char *what,
              const char *value)
{
    report_error(r, EXIT_CODE_CONFIG, "accounts", "give each account its own",
                 "%s and %s have the same %s, %s", r->cli->file, other->file, what,
                 value);
}

static bool
is_same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool
is_same_redis(const struct config *c, const struct config *other)
{
    const struct redis_url *a = &c->redis_url, *b = &other->redis_url;
    const struct redis_host *x = &a->hosts[0], *y = &b->hosts[0];

    if (c->redis_url_file ||
        other->redis_url_file) // opened by nobody who does not connect
        return is_same(c->redis_url_file, other->redis_url_file);
    return a->kind == b->kind && strcmp(a->master, b->master) == 0 &&
           strcmp(x->name, y->name) == 0 && x->port == y->port &&
           strcmp(a->path, b->path) == 0 && a->database == b->database;
}

static const struct socket_address *
address_at(const struct config *c, size_t i)
{
    if (i < c->listen.len)
        return &c->listen.at[i];
    return i == c->listen.len       ? &c->receiver_admin
           : i == c->listen.len + 1 ? &c->worker_admin
                                    : NULL;
}

static void
compare(struct report *r, const struct config *other)
{
    const struct config *c = r->cli->config;
    const struct socket_address *a, *b;

    if (is_same(c->account_name, other->account_name))
        return;
    if (is_same(c->state_dir, other->state_dir))
        report_shared(r, other, "receiver.state_dir", c->state_dir);
    if (is_same_redis(c, other) && is_same(c->redis_namespace, other->redis_namespace))
        report_shared(r, other, "redis.namespace in one Redis", c->redis_namespace);
    for (size_t i = 0; (a = address_at(c, i)); i++)
        for (size_t k = 0; (b = address_at(other, k)); k++)
            if (strcmp(a->text, b->text) == 0)
                report_shared(r, other, "address", a->text);
}

static void
compare_file(struct report *r, const char *path)
{
    struct problems problems = {0};
    struct stat ours, theirs;

    if (stat(path, &theirs) < 0 || !S_ISREG(theirs.st_mode) ||
        stat(r->cli->file, &ours) < 0 ||
        (ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino))
        return;
    struct config *other = config_read(path, NULL, &problems);
    if (other)
        compare(r, other);
    config_release(other);
    free(problems.at);
}

static bool
is_yaml(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && strcmp(dot, ".yaml") == 0 && name[0] != '.';
}

void
check_others(struct report *r)
{
    char copy[PATH_MAX], path[PATH_MAX];

    snprintf(copy, sizeof copy, "%s", r->cli->file);
    const char *directory = dirname(copy);
    DIR *d = opendir(directory);
    size_t n = 0;
    for (struct dirent *e; d && n < OTHERS_MAX && (e = readdir(d));)
        if (is_yaml(e->d_name) &&
            snprintf(path, sizeof path, "%s/%s", directory, e->d_name) < PATH_MAX) {
            compare_file(r, path);
            n++;
        }
    if (d)
        closedir(d);
}
