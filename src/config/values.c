// The types of values. Durations and sizes carry units, so that nobody has to guess whether
// 4000 was meant in milliseconds.
#include "config/value.h"

#include "base/clock.h"
#include "base/text.h"
#include "command/operation.h"
#include "event/event.h"

#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

enum { PROBLEMS_MAX = 2000 }; // more of them say nothing new, and each takes memory

// --- what a reading collects -----------------------------------------------------------------------

void *
reading_copy(struct reading *r, struct span bytes, size_t more)
{
    struct config_block *b = memory_get(sizeof *b + bytes.len + more);

    b->next = r->config->memory;
    r->config->memory = b;
    if (bytes.len)
        memcpy(b->bytes, bytes.at, bytes.len);
    memset(b->bytes + bytes.len, 0, more);
    return b->bytes;
}

void
problem_add(struct reading *r, enum problem_kind kind, struct place at,
            const char *format, ...)
{
    struct problems *list = r->problems;
    char raw[700];
    va_list args;

    r->errors += kind == ERROR;
    if (list->len == PROBLEMS_MAX)
        return;
    list->at = memory_grow(list->at, (list->len + 1) * sizeof *list->at);
    struct problem *p = &list->at[list->len++];
    p->file = r->file;
    p->at = at;
    p->warning = kind == WARNING;
    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(p->text, sizeof p->text, span_of(raw));
}

// --- texts, and lists of them: a char *, a struct config_list -------------------------------------

const char *
value_store_text(const struct value *v, const char *text)
{
    char *copy = reading_copy(v->reading, span_of(text), 1);
    struct config_list *list = v->field;

    if (!v->setting->type->field->item_size) {
        *(char **)v->field = copy;
        return NULL;
    }
    if (config_list_has(list, text))
        return "listed twice";
    list->at[list->len++] = copy;
    return NULL;
}

const struct value_field text_field = {.size = sizeof(char *), .is_text = true};
const struct value_field list_field = {.size = sizeof(struct config_list),
                                       .item_size = sizeof(char *)};

// --- words of certain letters ---------------------------------------------------------------------

struct letters {
    const char *first, *rest;
    size_t max;
    const char *error;
};

static const char *
check_letters(const char *text, const struct letters *l)
{
    size_t len = strlen(text);
    bool ok = len >= 1 && len <= l->max && strchr(l->first, text[0]) &&
              strspn(text, l->rest) == len;

    return ok ? NULL : l->error;
}

static const char *
read_word(const struct value *v)
{
    const char *error = check_letters(v->text, v->setting->type->with);

    return error ? error : value_store_text(v, v->text);
}

static const char *
read_stream(const struct value *v)
{
    static const char *const taken[] = {"account", "dead",          "hooks",
                                        "last",    "leader",        "receivers",
                                        "streams", CONFIG_TEST_HOOK};
    bool is_taken = strncmp(v->text, "commands.", 9) == 0;

    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        is_taken = is_taken || strcmp(v->text, taken[i]) == 0;
    return is_taken ? "the name of a key that acrelay uses" : read_word(v);
}

static const char *
read_hook_name(const struct value *v)
{
    return strcmp(v->text, CONFIG_TEST_HOOK) == 0
               ? "the name of the hook that is always there to test the installation"
               : read_word(v);
}

static const char *
read_event(const struct value *v)
{
    if (strcmp(v->text, "all") == 0 || strcmp(v->text, "*") == 0)
        return "not an event type: ActiveCampaign has none for all events, so name each "
               "one (`acrelay send --list` shows the known ones)";
    const char *error = check_letters(v->text, v->setting->type->with);
    if (error)
        return error;
    struct nearest near = nearest_start(span_of(v->text));
    for (const char *const *e = event_types; *e; e++)
        nearest_try(&near, span_of(*e));
    if (!span_is(near.word, v->text))
        problem_add(v->reading, WARNING, v->place,
                    "unknown event type %s%s%.*s%s: if ActiveCampaign does not know it "
                    "either, it never triggers this hook",
                    v->text, near.word.len ? " (did you mean " : "", (int)near.word.len,
                    near.word.len ? near.word.at : "", near.word.len ? "?)" : "");
    return value_store_text(v, v->text);
}

// hosts: as a browser sends them in Host, without a port
static const struct letters
    name_letters = {LOWER UPPER DIGITS, LOWER UPPER DIGITS "_.-", 63, "not a name"},
    hook_letters = {LOWER DIGITS, LOWER DIGITS "-", 63, "not a hook name"},
    space_letters = {LOWER DIGITS "_-", LOWER DIGITS "_-", 32, "not a namespace"},
    stream_letters = {LOWER DIGITS, LOWER DIGITS "_.-", 63, "not a stream name"},
    service_letters = {LOWER DIGITS, LOWER DIGITS "-", 63, "not a name of a service"},
    host_letters = {LOWER UPPER DIGITS, LOWER UPPER DIGITS "._-", 253, "not a host name"},
    event_letters = {LOWER, LOWER DIGITS "_", 64, "not an event type"};

const struct value_type value_name = {"letters, digits, '_', '.' and '-', at most 63",
                                      read_word, .field = &text_field,
                                      .with = &name_letters};
const struct value_type value_hook_name = {
    "lower-case letters, digits and '-', at most 63", read_hook_name,
    .field = &text_field, .with = &hook_letters};
const struct value_type value_service_name = {
    "lower-case letters, digits and '-', at most 63", read_word, .field = &text_field,
    .with = &service_letters};
const struct value_type value_namespace = {
    "lower-case letters, digits, '_' and '-', at most 32", read_word,
    .field = &text_field, .with = &space_letters};
const struct value_type value_stream = {
    "lower-case letters, digits, '_', '.' and '-', at most 63", read_stream,
    .field = &text_field, .with = &stream_letters};
const struct value_type value_host = {"a host name", read_word, .field = &text_field,
                                      .with = &host_letters};
const struct value_type value_hosts = {"host names", read_word, .field = &list_field,
                                       .with = &host_letters, .may_be_empty = true};
const struct value_type value_events = {"event types like subscribe", read_event,
                                        .field = &list_field, .with = &event_letters};

// --- operations of commands -----------------------------------------------------------------------

static void
try_operation(struct nearest *near, const struct operation *o)
{
    struct span path = span_of(o->path);

    nearest_try(near, span_of(o->id));
    nearest_try(near, span_cut(&path, '/'));
}

static const char *
read_operation(const struct value *v)
{
    struct nearest near = nearest_start(span_of(v->text));
    const struct operation *named = NULL;

    for (const struct operation *o = operations; o->id; o++) {
        try_operation(&near, o);
        if (operation_is_allowed(o, v->text))
            named = o;
    }
    if (named)
        return named->refused
                   ? "not for commands: webhooks are the worker's (plan and apply)"
                   : value_store_text(v, v->text);
    problem_add(
        v->reading, ERROR, v->place,
        "allow: \"%.100s\" is neither an operation nor the first segment of one's "
        "path%s%.*s%s",
        v->text, near.word.len ? "; did you mean " : "", (int)near.word.len,
        near.word.len ? near.word.at : "", near.word.len ? "?" : "");
    return NULL;
}

const struct value_type value_operations = {
    "operations like Contact_updateContact, or first segments of paths like contacts",
    read_operation, .field = &list_field, .may_be_empty = true};

// --- labels, zones, paths -------------------------------------------------------------------------

static const char *
read_label(const struct value *v)
{
    if (!*v->text || strlen(v->text) > 200)
        return "empty or longer than 200 bytes";
    for (const char *c = v->text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return "a label with control characters";
    return value_store_text(v, v->text);
}

static const char *
read_zone(const struct value *v)
{
    if (*v->text && !clock_is_zone(v->text))
        return "not a time zone that this machine knows";
    return value_store_text(v, v->text);
}

static const char *
read_path(const struct value *v)
{
    if (v->text[0] != '/' || strlen(v->text) > 200)
        return "not an absolute path of at most 200 bytes";
    return value_store_text(v, v->text);
}

// In $CREDENTIALS_DIRECTORY, else beside the configuration.
static const char *
read_file(const struct value *v)
{
    static const struct letters variable = {LOWER UPPER "_", LOWER UPPER DIGITS "_", 255,
                                            "not the name of an environment variable"};
    const char *credentials = getenv("CREDENTIALS_DIRECTORY"), *text = v->text;
    const char *file = v->reading->file, *slash = strrchr(file, '/');
    char path[PATH_MAX];

    if (!*text)
        return "an empty path";
    if (strncmp(text, "env:", 4) == 0) {
        const char *error = check_letters(text + 4, &variable);
        return error ? error : value_store_text(v, text);
    }
    if (text[0] != '/' && credentials &&
        snprintf(path, sizeof path, "%s/%s", credentials, text) < PATH_MAX &&
        access(path, F_OK) == 0)
        return value_store_text(v, path);
    int keep = text[0] == '/' || !slash ? 0 : (int)(slash - file + 1);
    if (snprintf(path, sizeof path, "%.*s%s", keep, file, text) >= PATH_MAX)
        return "a path that is too long";
    return value_store_text(v, path);
}

static const char *
read_pem(const struct value *v)
{
    return strncmp(v->text, "env:", 4) == 0 ? "a variable, and this must be a file"
                                            : read_file(v);
}

const struct value_type value_label = {"a label of 1 to 200 bytes", read_label,
                                       .field = &text_field};
const struct value_type value_zone = {"an IANA name like America/Chicago", read_zone,
                                      .field = &text_field};
const struct value_type value_path = {"an absolute path", read_path,
                                      .field = &text_field};
const struct value_type value_file = {"the path of a file, or env:NAME", read_file,
                                      .field = &text_field};
const struct value_type value_pem = {"the path of a PEM file", read_pem,
                                     .field = &text_field};
const struct value_type value_files = {"paths of files, or env:NAME", read_file,
                                       .field = &list_field};

// --- one of several -------------------------------------------------------------------------------

// Of a list the words are kept, else the index.
static const char *
read_choice(const struct value *v)
{
    const char *const *choices = v->setting->type->with;

    for (int i = 0; choices[i]; i++)
        if (strcmp(v->text, choices[i]) == 0) {
            if (v->setting->type->field->item_size)
                return value_store_text(v, v->text);
            *(int *)v->field = i;
            return NULL;
        }
    return "not one of the choices";
}

// Also in capitals, as YAML 1.1 has them.
static const char *
read_bool(const struct value *v)
{
    static const char *const choices[] = {"false", "true", "no", "yes", "off", "on"};

    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
        if (strcasecmp(v->text, choices[i]) == 0) {
            *(bool *)v->field = i & 1;
            return NULL;
        }
    return "not one of the choices";
}

static const struct value_field bool_field = {.size = sizeof(bool)};
static const struct value_field int_field = {.size = sizeof(int)};
static const char *const leaders[] = {"local", "redis", NULL};
static const char *const duplicates[] = {"mark", "drop", "keep", NULL};
static const char *const formats[] = {"binary", "structured", NULL};
static const char *const sources[] = {"public", "admin", "api", "system", NULL};

const struct value_type value_bool = {"true or false", read_bool, .field = &bool_field};
const struct value_type value_leader = {"local or redis", read_choice,
                                        .field = &int_field, .with = leaders};
const struct value_type value_format = {"binary or structured", read_choice,
                                        .field = &int_field, .with = formats};
const struct value_type value_duplicates = {"mark, drop or keep", read_choice,
                                            .field = &int_field, .with = duplicates};
const struct value_type value_sources = {"public, admin, api, system", read_choice,
                                         .field = &list_field, .with = sources};

// --- numbers --------------------------------------------------------------------------------------

struct unit {
    const char *name;
    double factor;
};

static const struct unit times[] = {{"us", 1},   {"ms", 1e3},   {"s", 1e6},
                                    {"m", 60e6}, {"h", 3600e6}, {"d", 86400e6},
                                    {NULL, 0}};
static const struct unit sizes[] = {{"B", 1},
                                    {"KiB", 1024},
                                    {"MiB", 1048576},
                                    {"GiB", 1073741824.0},
                                    {"TiB", 1099511627776.0},
                                    {NULL, 0}};

// A field's own unit is so many of the first one.
struct scale {
    const struct unit *units;
    double per;
};

static const struct scale in_us = {times, 1}, in_ms = {times, 1000},
                          in_bytes = {sizes, 1};

static const char *
check_bounds(const struct setting *s, double amount)
{
    if (s->min == 0 && s->max == 0)
        return NULL;
    if (amount < s->min)
        return "too small";
    return amount > s->max ? "too large" : NULL;
}

static const char *
read_amount(const struct value *v)
{
    const struct scale *scale = v->setting->type->with;
    char *end;

    if (!isdigit((unsigned char)v->text[0]) || strchr(v->text, 'x'))
        return "not a number with a unit";
    double amount = strtod(v->text, &end);
    for (const struct unit *u = scale->units; u->name; u++)
        if (strcmp(end, u->name) == 0) {
            const char *error = check_bounds(v->setting, amount *= u->factor);
            if (!error)
                *(int64_t *)v->field = (int64_t)(amount / scale->per);
            return error;
        }
    return *end ? "an unknown unit" : "a number without a unit";
}

// Into an int, or 64 bits.
static const char *
read_number(const struct value *v)
{
    uint64_t n;

    if (!text_number(&n, span_of(v->text), INT64_MAX))
        return "not a whole number";
    const char *error = check_bounds(v->setting, (double)n);
    if (!error && v->setting->type->field->size == sizeof(int))
        *(int *)v->field = (int)n;
    else if (!error)
        *(uint64_t *)v->field = n;
    return error;
}

static const char *
read_rate(const struct value *v)
{
    char *end;
    double n = strtod(v->text, &end);
    bool is_number = isdigit((unsigned char)v->text[0]) && !*end;
    const char *error = is_number ? check_bounds(v->setting, n) : "not a number";

    if (!error)
        *(double *)v->field = n;
    return error;
}

static const char *
read_id(const struct value *v)
{
    struct config_ids *ids = v->field;
    uint64_t n;

    if (!text_number(&n, span_of(v->text), INT32_MAX))
        return "not a list's id";
    for (size_t i = 0; i < ids->len; i++) {
        if (ids->at[i] == n)
            return "listed twice";
        if (ids->at[i] == 0 || n == 0)
            return "combined with 0, which already means all lists";
    }
    ids->at[ids->len++] = n;
    return NULL;
}

static void
format_duration(char *to, size_t size, double us)
{
    text_duration(to, size, (int64_t)(us / 1000));
}

static void
format_size(char *to, size_t size, double bytes)
{
    text_bytes(to, size, (uint64_t)bytes);
}

static void
format_number(char *to, size_t size, double number)
{
    snprintf(to, size, "%.15g", number);
}

static const struct value_field long_field = {.size = sizeof(int64_t)};
static const struct value_field ids_field = {.size = sizeof(struct config_ids),
                                             .item_size = sizeof(uint64_t)};

const struct value_type value_duration_us = {"a duration like 250ms, 10s, 5m, 24h, 7d",
                                             read_amount, .field = &long_field,
                                             .with = &in_us, .format = format_duration};
const struct value_type value_duration_ms = {"a duration like 250ms, 10s, 5m, 24h",
                                             read_amount, .field = &long_field,
                                             .with = &in_ms, .format = format_duration};
const struct value_type value_size = {"a size like 512KiB, 1MiB, 8GiB", read_amount,
                                      .field = &long_field, .with = &in_bytes,
                                      .format = format_size};
const struct value_type value_count = {"a whole number", read_number,
                                       .field = &long_field, .format = format_number};
const struct value_type value_int = {"a whole number", read_number, .field = &int_field,
                                     .format = format_number};
const struct value_type value_rate = {"a number", read_rate, .field = &long_field,
                                      .format = format_number};
const struct value_type value_lists = {"0 for all lists, or ids of lists", read_id,
                                       .field = &ids_field};
