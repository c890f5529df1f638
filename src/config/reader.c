// Reading: the YAML tree is walked once along the table. Every mistake is told with its
// place, and reading goes on behind it, so that all are told in one go.
#include "config/table.h"

#include "base/file.h"
#include "base/text.h"
#include "config/expand.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { SETTINGS_MAX = 64 /* bits of `seen` */, VALUE_MAX = 1 << 16 };
#define WARNING "warning: "

struct reading {
    const char *file;
    struct config *config;
    struct buf *problems;
    size_t wrong;
    int line, column;                               // of the value being read
    int lines[SETTINGS_MAX], columns[SETTINGS_MAX]; // of the values of config_settings
};

const char *
reading_file(const struct reading *r)
{
    return r->file;
}

struct config *
reading_config(struct reading *r)
{
    return r->config;
}

__attribute__((format(printf, 4, 5))) static void
tell(struct reading *r, int line, int column, const char *format, ...)
{
    char raw[700], text[800];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(text, sizeof text, span_of(raw));
    buf_add_format(r->problems, "%s:%d:%d: %s\n", r->file, line, column, text);
    r->wrong++;
}

void
reading_warn(struct reading *r, const char *what)
{
    tell(r, r->line, r->column, WARNING "%s", what);
    r->wrong--;
}

struct span
config_next_problem(struct span *problems, bool *warning)
{
    struct span line = span_cut(problems, '\n');

    *warning = memmem(line.at, line.len, ": " WARNING, strlen(": " WARNING)) != NULL;
    return line;
}

__attribute__((format(printf, 4, 0))) static void
tell_at(struct reading *r, const char *warning, const char *path, const char *format,
        va_list args)
{
    char text[600];
    size_t i = 0;

    while (config_settings[i].path && strcmp(config_settings[i].path, path) != 0)
        i++;
    assert(config_settings[i].path && i < SETTINGS_MAX);
    vsnprintf(text, sizeof text, format, args);
    bool set = r->lines[i] > 0;
    tell(r, set ? r->lines[i] : 1, set ? r->columns[i] : 1, "%s%s: %s", warning, path,
         text);
}

void
reading_tell(struct reading *r, const char *path, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell_at(r, "", path, format, args);
    va_end(args);
}

void
reading_warn_at(struct reading *r, const char *path, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell_at(r, WARNING, path, format, args);
    va_end(args);
    r->wrong--;
}

void
reading_tell_hook(struct reading *r, const struct config_hook *hook, const char *text)
{
    tell(r, hook->line, hook->column, "hook %s: %s", hook->name, text);
}

// --- one setting ---------------------------------------------------------------------------

static void
format_bounds(char *to, size_t size, const struct setting *s)
{
    char least[32], most[32];

    to[0] = '\0';
    if (s->least == 0 && s->most == 0)
        return;
    if (s->kind == &kind_size) {
        text_bytes(least, sizeof least, (uint64_t)s->least);
        text_bytes(most, sizeof most, (uint64_t)s->most);
    } else if (s->kind == &kind_duration_us || s->kind == &kind_duration_ms) {
        double ms = s->kind == &kind_duration_us ? 1000 : 1;
        text_duration(least, sizeof least, (int64_t)(s->least / ms));
        text_duration(most, sizeof most, (int64_t)(s->most / ms));
    } else {
        snprintf(least, sizeof least, "%g", s->least);
        snprintf(most, sizeof most, "%.15g", s->most);
    }
    snprintf(to, size, ", from %s to %s", least, most);
}

// What may hold a password is not repeated.
static bool
may_be_shown(const char *text)
{
    return !strstr(text, "://") || !strpbrk(text, "@?");
}

static void
read_scalar(struct reading *r, const struct setting *s, const struct yaml_node *n,
            void *field)
{
    char bounds[96];

    r->line = n->line;
    r->column = n->column;
    if (n->kind != YAML_SCALAR) {
        tell(r, n->line, n->column, "%s: one value belongs here; expected %s", s->path,
             s->kind->expected);
        return;
    }
    struct buf value;
    buf_init(&value, VALUE_MAX);
    const char *wrong = expand_value(n->text, &value);
    if (!wrong)
        wrong = s->kind->read(r, s, buf_text(&value), field);
    buf_release(&value);
    format_bounds(bounds, sizeof bounds, s);
    if (wrong && !may_be_shown(n->text))
        tell(r, n->line, n->column, "%s: this is %s; expected %s", s->path, wrong,
             s->kind->expected);
    else if (wrong)
        tell(r, n->line, n->column, "%s: \"%.200s\" is %s; expected %s%s", s->path,
             n->text, wrong, s->kind->expected, bounds);
}

static void
read_value(struct reading *r, const struct setting *s, const struct yaml_node *n,
           char *base)
{
    void *field = base + s->offset;

    if (!s->kind->list || n->kind != YAML_LIST) {
        read_scalar(r, s, n, field);
        return;
    }
    if (n->len == 0 && !s->kind->may_be_empty)
        tell(r, n->line, n->column, "%s: the list is empty; expected %s", s->path,
             s->kind->expected);
    for (size_t i = 0; i < n->len; i++)
        read_scalar(r, s, n->items[i], field);
}

// Presets are written as in the file: a list is [a, b].
static void
read_preset(struct reading *r, const struct setting *s, char *base)
{
    struct yaml_fault fault;
    char text[256];

    if (!s->preset)
        return;
    snprintf(text, sizeof text, "v: %s\n", s->preset);
    struct yaml_node *n = yaml_parse(span_of(text), &fault);
    if (!n)
        abort(); // a preset of ours that is no YAML
    read_value(r, s, n->pairs[0].value, base);
    yaml_release(n);
}

// --- maps ------------------------------------------------------------------------------------

// Does the table have settings below this section?
static bool
is_section(const struct setting *table, const char *path)
{
    size_t len = strlen(path);

    for (const struct setting *s = table; s->path; s++)
        if (strncmp(s->path, path, len) == 0 && s->path[len] == '.')
            return true;
    return false;
}

static const struct setting *
find(const struct setting *table, const char *path)
{
    for (const struct setting *s = table; s->path; s++)
        if (strcmp(s->path, path) == 0)
            return s;
    return NULL;
}

static void
tell_unknown(struct reading *r, const struct setting *table, const char *path,
             const struct yaml_node *key)
{
    static const char *const others[] = {"account",    "redis",  "receiver",
                                         "journal",    "worker", "redis.retain",
                                         "duplicates", "hooks"};
    struct nearest near = nearest_start(span_of(path));

    if (strcmp(path, "receiver.trusted_proxies") == 0) {
        tell(r, key->line, key->column,
             "%s: there is no such setting any more; it did nothing: take it out", path);
        return;
    }
    for (const struct setting *s = table; s->path; s++)
        nearest_try(&near, span_of(s->path));
    if (table == config_settings)
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            nearest_try(&near, span_of(others[i]));
    const char *best = near.word.at;
    tell(r, key->line, key->column, "%s: there is no such setting%s%s%s", path,
         best ? "; did you mean " : "", best ? best : "", best ? "?" : "");
}

static void read_hooks(struct reading *r, const struct yaml_node *n);

static void
read_map(struct reading *r, const struct setting *table, const char *section,
         const struct yaml_node *map, char *base, uint64_t *seen)
{
    for (size_t i = 0; i < map->len; i++) {
        const struct yaml_pair *p = &map->pairs[i];
        char path[160];
        snprintf(path, sizeof path, "%s%s%.100s", section, *section ? "." : "",
                 p->key->text);
        const struct setting *s = find(table, path);
        if (p->first) {
            tell(r, p->key->line, p->key->column, "%s: it stands in line %d already",
                 path, p->first->line);
        } else if (s) {
            *seen |= UINT64_C(1) << (s - table);
            if (table == config_settings) {
                r->lines[s - table] = p->value->line;
                r->columns[s - table] = p->value->column;
            }
            if (s->kind->list && s->preset)
                s->kind->release(base + s->offset);
            read_value(r, s, p->value, base);
        } else if (table == config_settings && strcmp(path, "hooks") == 0) {
            read_hooks(r, p->value);
        } else if (!is_section(table, path)) {
            tell_unknown(r, table, path, p->key);
        } else if (p->value->kind == YAML_SCALAR && !*p->value->text) {
            continue; // a section whose settings are all commented out
        } else if (p->value->kind != YAML_MAP) {
            tell(r, p->value->line, p->value->column,
                 "%s: settings belong here, each on a line of its own", path);
        } else {
            read_map(r, table, path, p->value, base, seen);
        }
    }
}

static void
check_required(struct reading *r, const struct setting *table, uint64_t seen, int line,
               int column)
{
    for (const struct setting *s = table; s->path; s++)
        if (s->required && !(seen & UINT64_C(1) << (s - table)))
            tell(r, line, column, "%s is missing; expected %s, for example %s", s->path,
                 s->kind->expected, s->example);
}

// --- hooks -----------------------------------------------------------------------------------

static void
read_hook(struct reading *r, const struct yaml_node *n)
{
    struct config *c = r->config;
    struct config_hook *h = &c->hooks[c->hooks_len];
    uint64_t seen = 0;

    *h = (struct config_hook){.line = n->line, .column = n->column};
    c->hooks_len++;
    for (const struct setting *s = hook_settings; s->path; s++)
        read_preset(r, s, (char *)h);
    read_map(r, hook_settings, "", n, (char *)h, &seen);
    check_required(r, hook_settings, seen, n->line, n->column);
    if (!h->name)
        return;
    for (size_t i = 0; i + 1 < c->hooks_len; i++)
        if (c->hooks[i].name && strcmp(c->hooks[i].name, h->name) == 0)
            tell(r, n->line, n->column,
                 "hooks: the name %s is taken by the hook in line %d", h->name,
                 c->hooks[i].line);
    if (!h->label) {
        h->label = memory_get(strlen(h->name) + 9);
        sprintf(h->label, "acrelay %s", h->name);
    }
}

static void
read_hooks(struct reading *r, const struct yaml_node *n)
{
    if (n->kind != YAML_LIST || n->len == 0 || n->len > CONFIG_HOOKS_MAX) {
        tell(r, n->line, n->column, "hooks: expected a list of 1 to %d hooks",
             CONFIG_HOOKS_MAX);
        return;
    }
    r->config->hooks = memory_get(n->len * sizeof *r->config->hooks);
    for (size_t i = 0; i < n->len; i++) {
        if (n->items[i]->kind == YAML_MAP)
            read_hook(r, n->items[i]);
        else
            tell(r, n->items[i]->line, n->items[i]->column,
                 "hooks: expected settings of a hook, like name: contacts");
    }
}

// --- the whole ---------------------------------------------------------------------------------

// [::] takes IPv4 too, unless 0.0.0.0 with that port stands beside it.
static void
split_families(struct config *c)
{
    for (size_t i = 0; i < c->listen.len; i++)
        for (size_t k = 0; k < c->listen.len; k++)
            if (c->listen.at[k].at.any.sa_family == AF_INET &&
                c->listen.at[k].at.in.sin_port == c->listen.at[i].at.in6.sin6_port)
                c->listen.at[i].only_ipv6 = true;
}

// Reads all that can be read into r->config.
static void
read_root(struct reading *r, const struct yaml_node *root)
{
    uint64_t seen = 0;

    if (root->kind != YAML_MAP) {
        tell(r, root->line, root->column, "expected settings, like public_url: ...");
        return;
    }
    read_map(r, config_settings, "", root, (char *)r->config, &seen);
    check_required(r, config_settings, seen, 1, 1);
    bool named = false;
    for (size_t i = 0; i < root->len; i++)
        named = named || strcmp(root->pairs[i].key->text, "hooks") == 0;
    if (!named)
        tell(r, 1, 1,
             "hooks is missing; expected a list of hooks, each with name and events");
}

static struct config *
make_config(struct reading *r)
{
    struct config *c = memory_get(sizeof *c);

    *c = (struct config){.file = memory_copy(span_of(r->file))};
    r->config = c;
    for (const struct setting *s = config_settings; s->path; s++)
        read_preset(r, s, (char *)c);
    return c;
}

struct config *
config_parse(const char *file, struct span text, struct buf *problems)
{
    struct reading r = {.file = file, .problems = problems};
    struct yaml_fault fault = {0};
    struct config *c = make_config(&r);
    struct yaml_node *root = yaml_parse(text, &fault);

    if (root)
        read_root(&r, root);
    else
        tell(&r, fault.line ? fault.line : 1, fault.column ? fault.column : 1, "%s",
             fault.text);
    yaml_release(root);
    if (r.wrong == 0)
        rules_check(&r);
    split_families(c);
    if (r.wrong == 0)
        return c;
    config_release(c);
    return NULL;
}

struct config *
reading_part(const char *file, const struct yaml_node *root)
{
    struct buf problems;
    struct reading r = {.file = file, .problems = &problems};

    buf_init(&problems, 1 << 16); // not looked at; a full one is fine
    struct config *c = make_config(&r);
    read_root(&r, root);
    buf_release(&problems);
    return c;
}

int
config_load(const char *file, struct buf *text, struct buf *problems)
{
    struct err err;

    buf_init(text, YAML_BYTES_MAX);
    if (file_read(file, text, &err) == 0)
        return 0;
    size_t skip = strlen(file) + 2; // "file: " stands before it
    bool named = strncmp(err.text, file, skip - 2) == 0 && strlen(err.text) > skip;
    buf_add_format(problems, "%s: %s; --config or ACRELAY_CONFIG names another file\n",
                   file, err.text + (named ? skip : 0));
    return -1;
}

struct config *
config_read(const char *file, struct buf *problems)
{
    struct buf text;
    struct config *c = NULL;

    if (config_load(file, &text, problems) == 0)
        c = config_parse(file, buf_span(&text), problems);
    buf_release(&text);
    return c;
}

static void
release_fields(const struct setting *table, char *base)
{
    for (const struct setting *s = table; s->path; s++)
        if (s->kind->release)
            s->kind->release(base + s->offset);
}

void
reading_release_hook(struct config_hook *hook)
{
    release_fields(hook_settings, (char *)hook);
}

void
config_release(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->hooks_len; i++)
        reading_release_hook(&c->hooks[i]);
    release_fields(config_settings, (char *)c);
    free(c->hooks);
    free(c->redis_host);
    free(c->redis_path);
    free(c->file);
    free(c);
}

const struct config_hook *
config_find_hook(const struct config *c, struct span name)
{
    for (size_t i = 0; i < c->hooks_len; i++)
        if (span_is(name, c->hooks[i].name))
            return &c->hooks[i];
    return NULL;
}

bool
config_has_stream_before(const struct config *c, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(c->hooks[k].stream, c->hooks[i].stream) == 0)
            return true;
    return false;
}
