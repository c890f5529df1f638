// A configuration: made of a file, held, asked, and narrowed.
#include "config/config.h"

#include "base/file.h"
#include "base/log.h"
#include "config/value.h"
#include "event/delivery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

// There is room for one of each hook, and the end.
static void
list_streams(struct config *c)
{
    c->streams.len = 0;
    for (size_t i = 0; i < c->hooks_len; i++)
        if (!config_list_has(&c->streams, c->hooks[i].stream))
            c->streams.at[c->streams.len++] = c->hooks[i].stream;
    c->streams.at[c->streams.len] = NULL;
}

struct config *
config_parse(const char *file, struct span text, struct problems *problems)
{
    struct reading r = {.file = file, .problems = problems};
    struct yaml_fault fault;
    struct yaml_node *root = yaml_parse(text, false, &fault);

    if (!root)
        problem_add(&r, ERROR, fault.at, "%s", fault.text);
    reader_read(&r, root);
    yaml_release(root);
    if (r.errors == 0) {
        list_streams(r.config);
        settings_check(&r);
    }
    if (r.errors == 0)
        return r.config;
    config_release(r.config);
    return NULL;
}

// What could not be read is named once: file_read begins with the path.
static void
report_unreadable(const char *file, const char *why, struct problems *problems)
{
    struct reading r = {.file = file, .problems = problems};
    size_t len = strlen(file);
    int error = access(file, R_OK) < 0 ? errno : 0;

    if (strncmp(why, file, len) == 0 && strncmp(why + len, ": ", 2) == 0)
        why += len + 2;
    problem_add(&r, ERROR, (struct place){0},
                "%s;%s --config or ACRELAY_CONFIG names another file", why,
                error == ENOENT   ? " acrelay init creates it;"
                : error == EACCES ? " let this user read it;"
                                  : "");
}

// Opening a FIFO waits for a writer, at each reload too. A shell's <(...) is one, with a writer.
static int
read_text(const char *file, struct buf *to, struct err *err)
{
    struct stat st;

    if (stat(file, &st) == 0 && S_ISFIFO(st.st_mode) && strncmp(file, "/dev/", 5) != 0)
        return err_set(err, ERR_INPUT, "is a FIFO, not a file");
    return file_read(file, to, err);
}

struct config *
config_read(const char *file, struct buf *text, struct problems *problems)
{
    struct buf own, *to = text ? text : &own;
    struct config *c = NULL;
    struct err err;

    buf_init(to, YAML_BYTES_MAX);
    if (read_text(file, to, &err) == 0)
        c = config_parse(file, buf_span(to), problems);
    else
        report_unreadable(file, err.text, problems);
    if (!text)
        buf_release(&own);
    return c;
}

struct config *
config_read_shown(const char *file)
{
    struct problems problems = {0}; // nobody wants them
    struct reading r = {.file = file, .problems = &problems, .errors = 1};
    struct yaml_fault fault;
    struct buf text;

    buf_init(&text, YAML_BYTES_MAX);
    (void)read_text(file, &text, &(struct err){0}); // empty: the defaults
    struct yaml_node *root = yaml_parse(buf_span(&text), true, &fault);
    reader_read(&r, root);
    yaml_release(root);
    buf_release(&text);
    free(problems.at);
    return r.config;
}

const char *
problem_line(const struct problem *p, char to[PROBLEM_LINE])
{
    char place[32] = "";

    if (p->at.line)
        snprintf(place, sizeof place, ":%d:%d", p->at.line, p->at.column);
    snprintf(to, PROBLEM_LINE, "%.350s%s: %s", p->file, place, p->text);
    return to;
}

const char *
problems_first(const struct problems *p, char to[PROBLEM_LINE])
{
    const struct problem *at = p->at;

    while (at->warning)
        at++;
    return problem_line(at, to);
}

void
problems_print(const struct problems *p, enum problems_to to)
{
    char line[PROBLEM_LINE];

    for (const struct problem *at = p->at; at < p->at + p->len; at++)
        if (to == PROBLEMS_LOG)
            log_write(at->warning ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "config: %s",
                      problem_line(at, line));
        else if (to == PROBLEMS_STDERR || !at->warning)
            fprintf(stderr, "%s%s\n", at->warning ? "warning: " : "",
                    problem_line(at, line));
}

struct config *
config_hold(struct config *c)
{
    atomic_fetch_add(&c->holders, 1);
    return c;
}

const struct config_hook *
config_find_hook(const struct config *c, struct span name)
{
    for (size_t i = 0; i < c->hooks_len; i++)
        if (span_is(name, c->hooks[i].name))
            return &c->hooks[i];
    return NULL;
}

const struct config_hook *
config_served(const struct config *c, size_t i)
{
    static char name[] = CONFIG_TEST_HOOK;
    static const struct config_hook test = {
        .name = name, .stream = name, .duplicates = DELIVERY_KEEP};

    return i < c->hooks_len ? &c->hooks[i] : &test;
}

const struct config_hook *
config_find_served(const struct config *c, struct span name)
{
    return span_is(name, CONFIG_TEST_HOOK) ? config_served(c, c->hooks_len)
                                           : config_find_hook(c, name);
}

int
config_partitions(const struct config *c)
{
    return c->redis_partitions > 1 ? c->redis_partitions : 1;
}

const char *
config_tag(const struct config *c, int i, char to[CONFIG_TAG])
{
    if (config_partitions(c) == 1)
        snprintf(to, CONFIG_TAG, "%s", c->redis_namespace);
    else
        snprintf(to, CONFIG_TAG, "%s.%d", c->redis_namespace, i);
    return to;
}

int
config_partition_of(struct span subject, int n)
{
    unsigned crc = 0;

    for (size_t i = 0; i < subject.len; i++) {
        crc ^= (unsigned)(unsigned char)subject.at[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = crc << 1 ^ (crc & 0x8000 ? 0x1021 : 0);
    }
    return (int)(crc & 16383) % n;
}

void
config_release(struct config *c)
{
    if (!c || atomic_fetch_sub(&c->holders, 1) > 1)
        return;
    for (struct config_block *b = c->memory, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(c);
}

// --- narrowing -------------------------------------------------------------------------------------

// What a text that is not valid still shows: which hooks and secrets it leaves out. Judged with
// care in both directions. A secret that was taken out because it leaked must not be accepted;
// a hook that only comes after a mistake, or in a part that is not written yet, must not be
// answered 404. So a list counts when it is whole, is there once, and each of its items could be
// read.

// A text that does not end with a line's end is not written to its end: what is open there may
// go on.
static void
mark_tail(struct yaml_node *node)
{
    while (node) {
        node->cut = true;
        node = node->len ? node->items[node->len - 1] : NULL;
    }
}

// The value of a setting that is shown whole; NULL when it is not.
static const struct yaml_node *
find_whole(const struct yaml_node *root, const char *name)
{
    const struct yaml_node *found = NULL;

    for (size_t i = 0; i < root->len; i += 2) {
        if (strcmp(root->items[i]->text, name) != 0)
            continue;
        if (found || root->items[i + 1]->cut)
            return NULL;
        found = root->items[i + 1];
    }
    bool empty = found && found->kind == YAML_SCALAR && !*found->text;
    return empty ? NULL : found;
}

static void
narrow_secrets(struct config *c, const struct config *shown, const struct yaml_node *list)
{
    struct config_list *l = &c->secret_files;
    size_t kept = 0;

    if (shown->secret_files.len != (list->kind == YAML_LIST ? list->len : 1))
        return;
    for (size_t i = 0; i < l->len; i++) {
        if (config_list_has(&shown->secret_files, l->at[i]))
            l->at[kept++] = l->at[i];
    }
    l->len = kept;
    l->at[kept] = NULL;
}

static void
narrow_hooks(struct config *c, const struct config *shown, const struct yaml_node *list)
{
    size_t kept = 0;

    if (list->kind != YAML_LIST || shown->hooks_len != list->len)
        return;
    for (size_t i = 0; i < shown->hooks_len; i++)
        if (!shown->hooks[i].name)
            return;
    for (size_t i = 0; i < c->hooks_len; i++)
        if (config_find_hook(shown, span_of(c->hooks[i].name)))
            c->hooks[kept++] = c->hooks[i];
    c->hooks_len = kept;
}

void
config_narrow(struct config *c, struct span text)
{
    struct yaml_fault fault;
    struct yaml_node *root = yaml_parse(text, true, &fault);

    if (root && text.len > 0 && text.at[text.len - 1] != '\n')
        mark_tail(root);
    if (root && root->kind == YAML_MAP) {
        struct problems problems = {0}; // nobody wants them
        struct reading r = {.file = c->file, .problems = &problems};
        reader_read(&r, root);
        struct config *shown = r.config;
        const struct yaml_node *secrets = find_whole(root, "secret_files");
        const struct yaml_node *hooks = find_whole(root, "hooks");
        if (secrets)
            narrow_secrets(c, shown, secrets);
        if (hooks)
            narrow_hooks(c, shown, hooks);
        config_release(shown);
        list_streams(c);
        free(problems.at);
    }
    yaml_release(root);
}
