// The YAML tree is walked once along the table. Every mistake is reported with its place, and
// reading goes on after it, so that all are reported in one go.
#include "config/value.h"

#include "base/text.h"

#include <assert.h>
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define SERVICES "commands.services"

enum { VALUE_MAX = 1 << 16 };

// --- variables ------------------------------------------------------------------------------------

// ${NAME} and ${NAME:-text} in a value are taken from the environment, after YAML was read: what
// is in a variable is text and never structure. $${ is ${ itself.
static bool
is_name(struct span s)
{
    bool ok = s.len > 0 && s.len < 256 && !isdigit((unsigned char)s.at[0]);

    for (size_t i = 0; i < s.len; i++)
        ok = ok && (isalnum((unsigned char)s.at[i]) || s.at[i] == '_');
    return ok;
}

// As in a shell, ":-" also stands in for an empty value.
static const char *
add_variable(struct span inside, struct buf *to)
{
    char name[256];
    struct span rest = inside, word = span_cut(&rest, ':');
    bool has_default = word.len < inside.len;

    if (!is_name(word) || (has_default && !span_starts(rest, SPAN("-"))))
        return "not a valid variable: write ${NAME} or ${NAME:-text}";
    if (memmem(rest.at, rest.len, "${", 2))
        return "a variable in the default of another: a default must be plain text";
    snprintf(name, sizeof name, "%.*s", (int)word.len, word.at);
    const char *value = getenv(name);
    if (has_default && (!value || !*value))
        buf_add(to, span_from(rest, 1));
    else if (value)
        buf_add_text(to, value);
    else
        return "a variable that is not set in the environment; ${NAME:-text} gives it a "
               "default";
    return NULL;
}

static const char *
expand(const char *text, struct buf *to)
{
    struct span rest = span_of(text);

    while (rest.len > 0) {
        if (span_starts(rest, SPAN("$${"))) {
            buf_add_text(to, "${");
            rest = span_from(rest, 3);
        } else if (span_starts(rest, SPAN("${"))) {
            size_t end = span_find(rest, '}');
            if (end == rest.len)
                return "a variable without its }";
            const char *error = add_variable(span_make(rest.at + 2, end - 2), to);
            if (error)
                return error;
            rest = span_from(rest, end + 1);
        } else {
            buf_add_byte(to, rest.at[0]);
            rest = span_from(rest, 1);
        }
    }
    return to->full ? "too long after replacing its variables" : NULL;
}

// --- one setting ----------------------------------------------------------------------------------

// What may hold a password is not repeated.
static bool
may_be_shown(const char *text)
{
    return !strstr(text, "://") || !strpbrk(text, "@?");
}

static void
report_value(struct reading *r, const struct setting *s, const struct yaml_node *n,
             const char *error)
{
    char min[32], max[32];
    bool bounds = s->min != 0 || s->max != 0;

    if (!may_be_shown(n->text)) {
        problem_add(r, ERROR, n->at, "%s: this is %s; expected %s", s->path, error,
                    s->type->expected);
        return;
    }
    if (bounds) {
        s->type->format(min, sizeof min, s->min);
        s->type->format(max, sizeof max, s->max);
    }
    problem_add(r, ERROR, n->at, "%s: \"%.200s\" is %s; expected %s%s%s%s%s", s->path,
                n->text, error, s->type->expected, bounds ? ", from " : "",
                bounds ? min : "", bounds ? " to " : "", bounds ? max : "");
}

static void
read_scalar(struct reading *r, const struct setting *s, const struct yaml_node *n,
            void *field)
{
    struct value v = {.field = field, .setting = s, .reading = r, .place = n->at};
    struct buf text;

    if (n->kind != YAML_SCALAR) {
        problem_add(r, ERROR, v.place, "%s: one value belongs here; expected %s", s->path,
                    s->type->expected);
        return;
    }
    buf_init(&text, VALUE_MAX);
    const char *error = expand(n->text, &text);
    v.text = buf_text(&text);
    if (!error)
        error = s->type->read(&v);
    buf_release(&text);
    if (error)
        report_value(r, s, n, error);
}

static void
read_setting(struct reading *r, const struct setting *s, const struct yaml_node *n,
             char *base)
{
    void *field = base + s->offset;
    size_t item_size = s->type->field->item_size, len = n->kind == YAML_LIST ? n->len : 1;

    if (item_size && len > CONFIG_LIST_MAX) {
        problem_add(r, ERROR, n->at, "%s: a list of %zu values; expected at most %d",
                    s->path, len, CONFIG_LIST_MAX);
        return;
    }
    if (item_size) { // not the default's any more
        void *items = reading_copy(r, SPAN(""), (len + 1) * item_size);
        memset(field, 0, s->type->field->size);
        memcpy(field, &items, sizeof items);
    }
    if (!item_size || n->kind != YAML_LIST)
        read_scalar(r, s, n, field);
    else if (len == 0 && !s->type->may_be_empty)
        problem_add(r, ERROR, n->at, "%s: the list is empty; expected %s", s->path,
                    s->type->expected);
    else
        for (size_t i = 0; i < len; i++)
            read_scalar(r, s, n->items[i], field);
}

// Defaults are written as in the file: a list is [a, b].
static void
read_defaults(struct reading *r, const struct setting *table, void *base)
{
    for (const struct setting *s = table; s->path; s++) {
        struct yaml_fault fault;
        char text[256];
        if (!s->fallback)
            continue;
        snprintf(text, sizeof text, "v: %s\n", s->fallback);
        struct yaml_node *n = yaml_parse(span_of(text), false, &fault);
        assert(n);
        read_setting(r, s, n->items[1], base);
        yaml_release(n);
    }
}

// --- maps -----------------------------------------------------------------------------------------

// A struct that is filled along its table.
struct target {
    const struct setting *table;
    void *base;
    struct place *places; // of each setting in the file; line 0: not set
};

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

// What a mistyped key was meant to set is not missing as well; nor is what a section has.
static void
mark_meant(struct reading *r, struct target *to, struct span meant, struct place at)
{
    r->has_hooks = r->has_hooks || span_is(meant, "hooks");
    for (const struct setting *s = to->table; meant.len && s->path; s++)
        if (span_starts(span_of(s->path), meant) && strchr(".", s->path[meant.len]))
            to->places[s - to->table] = at;
}

static void
report_unknown(struct reading *r, struct target *to, const char *path,
               const struct yaml_node *key, const struct yaml_node *value)
{
    struct nearest near = nearest_start(span_of(path));
    const struct setting *table = to->table;
    bool is_alone = value->kind == YAML_SCALAR && !*value->text;

    if (strcmp(path, "receiver.trusted_proxies") == 0) {
        problem_add(
            r, ERROR, key->at,
            "%s: this setting no longer exists and never had an effect: remove it", path);
        return;
    }
    for (const struct setting *s = table; s->path; s++) {
        nearest_try(&near, span_of(s->path));
        if (strncmp(s->path, path, strlen(path)) == 0 &&
            strcmp(s->path + strlen(path), "_file") == 0) // a secret stands in a file
            near = (struct nearest){.word = span_of(s->path)};
        for (const char *dot = s->path; (dot = strchr(dot + 1, '.'));) // its sections
            nearest_try(&near, span_make(s->path, (size_t)(dot - s->path)));
    }
    if (table == config_settings) {
        nearest_try(&near, SPAN("hooks"));
        nearest_try(&near, SPAN(SERVICES));
    }
    problem_add(r, ERROR, key->at, "%s: there is no such setting%s%.*s%s", path,
                near.word.len ? "; did you mean " : "", (int)near.word.len,
                near.word.len ? near.word.at : "",
                near.word.len ? "?"
                : is_alone    ? "; several values need [ ] around them"
                              : "");
    mark_meant(r, to, near.word, key->at);
}

static void read_hooks(struct reading *r, const struct yaml_node *n);
static void read_services(struct reading *r, const struct yaml_node *n);

// The first key of the map that reads so.
static const struct yaml_node *
find_key(const struct yaml_node *map, const char *text)
{
    size_t i = 0;

    while (strcmp(map->items[i]->text, text) != 0)
        i += 2;
    return map->items[i];
}

static void
read_map(struct reading *r, struct target *to, const char *section,
         const struct yaml_node *map)
{
    for (size_t i = 0; i < map->len; i += 2) {
        const struct yaml_node *key = map->items[i], *value = map->items[i + 1];
        const struct yaml_node *first = find_key(map, key->text);
        char path[160];
        snprintf(path, sizeof path, "%s%s%.100s", section, *section ? "." : "",
                 key->text);
        const struct setting *s = find(to->table, path);
        if (first != key) {
            problem_add(r, ERROR, key->at, "%s: already set in line %d", path,
                        first->at.line);
        } else if (s) {
            to->places[s - to->table] = value->at;
            read_setting(r, s, value, to->base);
        } else if (to->table == config_settings && strcmp(path, "hooks") == 0) {
            read_hooks(r, value);
        } else if (to->table == config_settings && strcmp(path, SERVICES) == 0) {
            read_services(r, value);
        } else if (!is_section(to->table, path)) {
            report_unknown(r, to, path, key, value);
        } else if (value->kind == YAML_SCALAR && !*value->text) {
            continue; // a section whose settings are all commented out
        } else if (value->kind != YAML_MAP) {
            problem_add(r, ERROR, value->at,
                        "%s: settings belong here, each on a line of its own", path);
        } else {
            read_map(r, to, path, value);
        }
    }
}

// Fills a struct from its map.
static void
read_struct(struct reading *r, struct target *to, const struct yaml_node *map,
            struct place at)
{
    read_map(r, to, "", map);
    for (const struct setting *s = to->table; s->path; s++)
        if (s->required && !to->places[s - to->table].line)
            problem_add(r, ERROR, at, "%s is missing; expected %s, for example %s",
                        s->path, s->type->expected, s->example);
}

// --- hooks ----------------------------------------------------------------------------------------

static void
read_hook(struct reading *r, const struct yaml_node *n)
{
    struct config *c = r->config;
    struct config_hook *h = &c->hooks[c->hooks_len++];
    struct place places[SETTINGS_MAX] = {0};

    *h = (struct config_hook){.at = n->at};
    read_defaults(r, hook_settings, h);
    read_struct(r, &(struct target){hook_settings, h, places}, n, n->at);
    if (!h->name)
        return;
    for (const struct config_hook *other = c->hooks; other < h; other++)
        if (other->name && strcmp(other->name, h->name) == 0)
            problem_add(r, ERROR, n->at,
                        "hooks: the name %s is already used by the hook in line %d",
                        h->name, other->at.line);
    if (!h->label) {
        h->label = reading_copy(r, SPAN("acrelay "), strlen(h->name) + 1);
        strcat(h->label, h->name);
    }
}

static void
read_hooks(struct reading *r, const struct yaml_node *n)
{
    r->has_hooks = true;
    if (n->kind != YAML_LIST || n->len == 0 || n->len > CONFIG_HOOKS_MAX) {
        problem_add(r, ERROR, n->at, "hooks: expected a list of 1 to %d hooks",
                    CONFIG_HOOKS_MAX);
        return;
    }
    r->config->hooks = reading_copy(r, SPAN(""), n->len * sizeof *r->config->hooks);
    r->config->streams.at = reading_copy(r, SPAN(""), (n->len + 1) * sizeof(char *));
    for (size_t i = 0; i < n->len; i++)
        if (n->items[i]->kind == YAML_MAP)
            read_hook(r, n->items[i]);
        else
            problem_add(r, ERROR, n->items[i]->at,
                        "hooks: expected settings of a hook, like name: contacts");
}

// --- services -------------------------------------------------------------------------------------

static void
read_service(struct reading *r, const struct yaml_node *n)
{
    struct config *c = r->config;
    struct config_service *s = &c->services[c->services_len++];
    struct place places[SETTINGS_MAX] = {0};

    *s = (struct config_service){.at = n->at};
    read_defaults(r, service_settings, s);
    read_struct(r, &(struct target){service_settings, s, places}, n, n->at);
    for (const struct config_service *other = c->services; s->name && other < s; other++)
        if (other->name && strcmp(other->name, s->name) == 0)
            problem_add(r, ERROR, n->at,
                        SERVICES
                        ": the name %s is already used by the service in line %d",
                        s->name, other->at.line);
}

static void
read_services(struct reading *r, const struct yaml_node *n)
{
    if (n->kind != YAML_LIST || n->len == 0 || n->len > CONFIG_SERVICES_MAX) {
        problem_add(r, ERROR, n->at, SERVICES ": expected a list of 1 to %d services",
                    CONFIG_SERVICES_MAX);
        return;
    }
    r->config->services = reading_copy(r, SPAN(""), n->len * sizeof *r->config->services);
    for (size_t i = 0; i < n->len; i++)
        if (n->items[i]->kind == YAML_MAP)
            read_service(r, n->items[i]);
        else
            problem_add(r, ERROR, n->items[i]->at,
                        SERVICES ": expected settings of a service, like name: crm");
}

// --- the whole ------------------------------------------------------------------------------------

// [::] takes IPv4 too, unless 0.0.0.0 is listed with that port too.
static void
split_families(struct socket_addresses *listen)
{
    for (size_t i = 0; i < listen->len; i++)
        for (size_t k = 0; k < listen->len; k++)
            if (listen->at[k].at.any.sa_family == AF_INET &&
                listen->at[k].at.in.sin_port == listen->at[i].at.in6.sin6_port)
                listen->at[i].only_ipv6 = true;
}

const char *
config_suffix(const char *file, char to[CONFIG_SUFFIX])
{
    static const char type[] = ".yaml";
    const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
    char directory[PATH_MAX], real[PATH_MAX];
    size_t len = strlen(name), end = sizeof type - 1;

    snprintf(directory, sizeof directory, "%.*s", slash ? (int)(slash - file) : 1,
             slash ? file : ".");
    *to = '\0';
    if (strcmp(realpath(directory, real) ? real : directory, "/etc/acrelay") == 0 &&
        len > end && strcmp(name + len - end, type) == 0 &&
        strcmp(name, "acrelay.yaml") != 0)
        snprintf(to, CONFIG_SUFFIX, "-%.*s", (int)(len - end), name);
    return to;
}

// The default that is not the same for each file.
static void
set_state_dir(struct reading *r)
{
    char suffix[CONFIG_SUFFIX];

    config_suffix(r->file, suffix);
    r->config->state_dir =
        reading_copy(r, span_of(r->config->state_dir), strlen(suffix) + 1);
    strcat(r->config->state_dir, suffix);
}

static void
set_installation(struct reading *r)
{
    struct config *c = r->config;
    const struct setting *space = find(config_settings, "redis.namespace");
    char text[128];

    if (!c->account_name)
        return;
    snprintf(text, sizeof text, "%s %s", c->account_name, c->redis_namespace);
    if (r->errors && strcmp(c->redis_namespace, space->fallback) == 0)
        *strchr(text, ' ') = '\0'; // another may be in what could not be read
    c->installation = reading_copy(r, span_of(text), 1);
}

void
reader_read(struct reading *r, const struct yaml_node *root)
{
    const struct place start = {1, 1};
    struct config *c = memory_get(sizeof *c);

    *c = (struct config){.holders = 1};
    r->config = c;
    c->file = reading_copy(r, span_of(r->file), 1);
    read_defaults(r, config_settings, c);
    set_state_dir(r);
    if (!root)
        return;
    if (root->kind != YAML_MAP) {
        problem_add(r, ERROR, root->at, "expected settings, like public_url: ...");
        return;
    }
    read_struct(r, &(struct target){config_settings, c, r->places}, root, start);
    if (!r->has_hooks)
        problem_add(
            r, ERROR, start,
            "hooks is missing; expected a list of hooks, each with name and events");
    split_families(&c->listen);
    set_installation(r);
}
