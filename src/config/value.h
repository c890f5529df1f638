// What the files of this floor share: the table of settings, the types of their values, and
// a file that is being read.
#ifndef ACRELAY_CONFIG_VALUE_H
#define ACRELAY_CONFIG_VALUE_H

#include "config/config.h"

#include <stddef.h>

struct setting {
    const char *path; // "redis.url"; a hook's settings have no section
    size_t offset;    // in struct config or struct config_hook
    const struct value_type *type;
    const char *sentence;
    const char *fallback; // default, as written in the file; NULL: none, optional
    const char *example;  // for the example file, where it is not the default
    double min, max;      // bounds of a number, a duration's in us; 0, 0: none
    bool required;
    bool restart; // a change takes effect only with a restart
};

extern const struct setting config_settings[], hook_settings[],
    service_settings[]; // ended by path NULL

enum { SETTINGS_MAX = 96 }; // in one table

// A file that is being read.
struct reading {
    const char *file;
    struct config *config;
    struct problems *problems;
    size_t errors; // problems that are not warnings
    bool has_hooks;
    struct place places[SETTINGS_MAX]; // of config_settings; line 0: not set
};

// One scalar on its way into its field.
struct value {
    const char *text; // variables replaced
    void *field;
    const struct setting *setting;
    struct reading *reading;
    struct place place;
};

// A type of values carries all that is asked of it. A list is read item by item, into memory that
// has room for all of them and a zeroed one; it has at least one unless it may be empty.
struct value_type {
    const char *expected;
    const char *(*read)(const struct value *v); // NULL, or what is wrong
    const struct value_field *field;
    const void *with; // what `read` needs beside: letters, choices or units
    bool may_be_empty;
    void (*format)(char *to, size_t size, double bound); // NULL: it has no bounds
};

// The field that a type reads into. Zeroed, it is empty. A list's begins with its items.
struct value_field {
    size_t size;
    size_t item_size; // of a list; else 0
    bool is_text;     // or begins with one, as written; else its bytes are compared
    bool (*same)(const void *a, const void *b); // of a list
};

extern const struct value_type value_name, value_zone, value_api_url, value_file,
    value_pem, value_files, value_public_url, value_public_urls, value_redis_url,
    value_namespace, value_duration_us, value_duration_ms, value_size, value_count,
    value_int, value_rate, value_bool, value_address, value_addresses, value_path,
    value_host, value_hosts, value_leader, value_hook_name, value_service_name,
    value_operations, value_label, value_events, value_sources, value_lists, value_stream,
    value_duplicates, value_format;

// The two fields that hold text, a char * and a struct config_list. value_store_text sets the one
// and adds to the other; NULL, or what is wrong.
extern const struct value_field text_field, list_field;
const char *value_store_text(const struct value *v, const char *text);

// A URL's host is a name, an IPv4 address, or an IPv6 one in brackets; its port may be missing.
struct url_host {
    struct span name; // without brackets
    struct span port; // digits, or empty
    bool is_address;
    union address address;
};

// url_read_host reads HOST[:PORT] whole. NULL, or what is wrong. url_take_scheme drops "scheme://"
// where the URL begins so.
const char *url_read_host(struct url_host *h, struct span text);
bool url_take_scheme(struct span *url, const char *scheme);

// redis_url_read reads a URL of Redis (redis.url in acrelay.yaml(5)), all but the member `text`. NULL, or what is
// wrong. "user:password@" is cut out of it into *user and *password, as written; where they are NULL
// it is refused.
const char *redis_url_read(struct redis_url *u, struct span url, struct span *user,
                           struct span *password);

struct config_block {
    struct config_block *next;
    _Alignas(max_align_t) char bytes[];
};

// reading_copy copies bytes into memory that lives as long as the configuration, with so many
// zeroed ones after them.
void *reading_copy(struct reading *r, struct span bytes, size_t more);

// problem_add reports a problem at a place of the file ({0}: of the whole).
enum problem_kind { ERROR, WARNING };
void problem_add(struct reading *r, enum problem_kind kind, struct place at,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));

// settings_check reports what does not fit together, in a configuration whose every value is
// valid by itself.
void settings_check(struct reading *r);

// reader_read reads all that can be read of a tree (NULL: defaults only) into r->config, which it
// makes; the caller is the holder.
void reader_read(struct reading *r, const struct yaml_node *root);

#endif
