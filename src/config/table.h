// The table of settings: from it come the reader, the example file, the manual's list and
// that of `check --print settings`. Internal to the floor.
#ifndef ACRELAY_CONFIG_TABLE_H
#define ACRELAY_CONFIG_TABLE_H

#include "config/config.h"
#include "edge/yaml.h"

struct reading; // reader.c

struct setting {
    const char *path; // "redis.url"; a hook's settings have no section
    size_t offset;    // in struct config or struct config_hook
    const struct kind *kind;
    const char *preset;  // default, as written in the file; NULL: none, optional
    const char *example; // for the example file, where it is not the preset
    double least, most;  // bounds of a number, in the field's unit; 0, 0: none
    bool required;
    bool restart; // a change takes effect only with a restart
    const char *sentence;
};

// A kind of value: what is expected, in words, and how one scalar is read into the field. A
// kind that is a list is read item by item, and has at least one item unless it may be empty.
// read returns NULL, or what is wrong.
struct kind {
    const char *expected;
    const char *(*read)(struct reading *r, const struct setting *s, const char *text,
                        void *field);
    bool list, may_be_empty;
    void (*release)(void *field);
};

extern const struct setting config_settings[], hook_settings[]; // ended by path NULL

extern const struct kind kind_name, kind_zone, kind_api_url, kind_file, kind_files,
    kind_public_url, kind_public_urls, kind_redis_url, kind_user, kind_namespace,
    kind_duration_us, kind_duration_ms, kind_size, kind_count, kind_int, kind_rate,
    kind_bool, kind_address, kind_addresses, kind_path, kind_hosts, kind_leader,
    kind_hook_name, kind_label, kind_events, kind_sources, kind_lists, kind_stream,
    kind_repeats;

// reading_file is the path of the file being read; reading_warn adds a warning at the value
// being read.
const char *reading_file(const struct reading *r);
void reading_warn(struct reading *r, const char *what);
struct config *reading_config(struct reading *r);

// reading_tell adds a mistake at the place of a setting, or at the start of the file where
// it is not set, reading_warn_at a warning; reading_tell_hook a mistake at that of a hook.
void reading_tell(struct reading *r, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void reading_warn_at(struct reading *r, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void reading_tell_hook(struct reading *r, const struct config_hook *hook,
                       const char *text);

// reading_part reads all of a tree that can be read, whatever is wrong with the rest.
struct config *reading_part(const char *file, const struct yaml_node *root);
void reading_release_hook(struct config_hook *hook);

// rules_check tells what does not fit together, in a configuration whose every value is
// good by itself.
void rules_check(struct reading *r);

#endif
