// The configuration of all three programs: one YAML file, read through one table of
// settings (acrelay.yaml(5)). A struct config is immutable once made. Threads share it by
// counting who holds it; a setting is read through the pointer when it is needed.
#ifndef ACRELAY_CONFIG_CONFIG_H
#define ACRELAY_CONFIG_CONFIG_H

#include "base/buf.h"
#include "base/err.h"
#include "edge/redis_find.h"
#include "edge/sockets.h"
#include "edge/yaml.h"

#include <stdatomic.h>
#include <stdint.h>

enum {
    CONFIG_HOOKS_MAX = 1000,
    CONFIG_STREAMS_MAX = 62, // different ones
    CONFIG_LIST_MAX = 64,    // values in any other list
    CONFIG_SERVICES_MAX = 64,
    CONFIG_PARTITIONS_MAX = 64,
};

// When a record is safe in Redis: a number above 0 is that of replicas that must have it.
enum config_confirm { CONFIG_CONFIRM_MEMORY = 0, CONFIG_CONFIRM_AOF = -1 };

// How events stand in a stream: CloudEvents in binary or in structured mode.
enum config_format { CONFIG_BINARY, CONFIG_STRUCTURED };

// A NULL-ended list of strings and its length.
struct config_list {
    char **at;
    size_t len;
};

static inline bool
config_list_has(const struct config_list *list, const char *text)
{
    for (size_t i = 0; i < list->len; i++)
        if (strcmp(list->at[i], text) == 0)
            return true;
    return false;
}

struct config_ids {
    uint64_t *at;
    size_t len;
};

struct config_hook {
    char *name;                 // [a-z0-9][a-z0-9-]{0,62}
    char *label;                // as AC shows it; "acrelay <name>" unless set
    struct config_list events;  // at least one
    struct config_list sources; // public admin api system
    struct config_ids lists;    // one or more; {0} is all lists
    char *stream;               // "events"
    int format;                 // enum config_format, the same for all hooks of a stream
    int duplicates;             // enum delivery_duplicates: 0 mark, 1 drop, 2 keep
    bool include_raw;
    int64_t expect_every_us; // 0: not set
    bool repair;
    uint64_t adopt;  // id of a hook at AC to turn into this one; 0: none
    struct place at; // in the file
};

// A service that may send commands.
struct config_service {
    char *name;               // [a-z0-9][a-z0-9-]{0,62}
    struct config_list allow; // first segments of paths, or operationIds
    int weight;
    struct place at; // in the file
};

struct config {
    _Atomic(size_t) holders;
    struct config_block *memory; // of all that follows, freed at once
    char *file;                  // path it was read from

    char *account_name;
    char *account_api_url;        // scheme://host[:port], no trailing slash, no /api/3
    char *account_api_token_file; // resolved path, or NULL; only the worker opens it
    char *account_time_zone;      // NULL when not set
    char *public_url;             // scheme://host, no trailing slash
    struct config_list previous_public_urls;
    struct config_list secret_files; // resolved paths, newest first
    struct config_list admin_hosts;

    struct redis_url redis_url; // without hosts and path when redis_url_file is set
    char *redis_url_file;       // resolved path of a secret, or NULL
    char *redis_user;           // or NULL
    char *redis_password_file;  // resolved path, or NULL
    char *redis_sentinel_user, *redis_sentinel_password_file; // the same
    char *redis_tls_ca_file, *redis_tls_cert_file,
        *redis_tls_key_file;     // resolved paths, or NULL
    char *redis_tls_server_name; // or NULL
    char *redis_namespace;
    int redis_partitions; // 0 is 1
    int redis_confirm;    // by so many replicas; or one of enum config_confirm
    int64_t redis_retain_age_us, redis_retain_dead_us;
    uint64_t redis_retain_entries;

    struct socket_addresses listen;
    struct socket_address receiver_admin;
    char *state_dir;
    char *instance; // the owner of the cursor is derived from it; NULL when not set
    uint64_t body_max;
    int threads;
    int64_t request_timeout_ms, ack_timeout_ms;

    int64_t journal_keep_us;
    uint64_t journal_keep_max,
        journal_max; // journal_max 0: 8 GiB or half the file system
    int64_t journal_lock_wait_ms;

    int64_t duplicates_window_us;
    uint64_t duplicates_max;

    struct socket_address worker_admin;
    int64_t worker_interval_ms;
    double worker_api_rate;
    bool worker_prune;
    int worker_leader_redis; // 1: leader is redis, 0: local

    double commands_rate; // at most worker_api_rate, whatever the file says
    uint64_t commands_max;
    int64_t commands_retain_age_us, commands_retain_dead_us;
    uint64_t commands_retain_entries;
    struct config_service *services; // none: there are no commands
    size_t services_len;

    struct config_hook *hooks;
    size_t hooks_len;
    struct config_list streams; // of the hooks, each once
    // "ACCOUNT NAMESPACE", as its programs know each other (edge/admin.h); as far as a file that is
    // not valid shows it.
    char *installation;
};

// --- reading ---------------------------------------------------------------------------------

// What is wrong with a file. Warnings (an unknown event type, a public_url that AC cannot reach)
// come with a configuration too.
struct problem {
    const char *file; // as given to config_read
    struct place at;  // line 0: it concerns the file as a whole
    bool warning;
    char text[800]; // escaped
};

struct problems {
    struct problem *at; // the holder's, to free
    size_t len;
};

// config_read reads the file. On mistakes it returns NULL, and every one of them is added to
// *problems. No secret is opened. *text (NULL: not wanted) is the caller's to release: what stood
// in the file, empty where it could not be read. config_parse reads a text as if it stood in `file`.
struct config *config_read(const char *file, struct buf *text, struct problems *problems);
struct config *config_parse(const char *file, struct span text,
                            struct problems *problems);

// problem_line writes "FILE:LINE:COLUMN: what is wrong; what was expected".
// problems_first writes the line of the first mistake, before which warnings may stand.
// problems_print writes a line for each to the log, to stderr, or only errors to stderr.
enum { PROBLEM_LINE = 1200 };
const char *problem_line(const struct problem *p, char to[PROBLEM_LINE]);
const char *problems_first(const struct problems *p, char to[PROBLEM_LINE]);
enum problems_to { PROBLEMS_LOG, PROBLEMS_STDERR, PROBLEMS_STDERR_ERRORS };
void problems_print(const struct problems *p, enum problems_to to);

// config_read_shown gives what a file that is not valid still shows, with the defaults of all else, to find
// the running programs by. It may lack what a valid one must have.
struct config *config_read_shown(const char *file);

// config_narrow takes those hooks and secret_files out of c, an earlier configuration of that
// file, that a text which is not valid shows to have been removed. What comes after its
// faults, or was not written yet, is not removed. Either may be left empty. Nobody else holds c.
void config_narrow(struct config *c, struct span text);

// config_hold adds a holder and returns c; config_release (NULL is fine) takes one away, and the last
// one frees it. Any thread.
struct config *config_hold(struct config *c);
void config_release(struct config *c);

// --- asking ----------------------------------------------------------------------------------

// config_find_hook finds a hook by name, NULL when there is none.
const struct config_hook *config_find_hook(const struct config *c, struct span name);

// Streams, cursors and all else of the relay lie under one hash tag, redis.namespace ({ac}), or with
// redis.partitions N under {ac.0} to {ac.N-1}; so the keys of a call share a slot. The worker's keys
// and the commands are in {ac} always. config_tag writes tag i, without braces, and gives it.
enum { CONFIG_TAG = 40 };
int config_partitions(const struct config *c); // 1 or more
const char *config_tag(const struct config *c, int i, char to[CONFIG_TAG]);

// config_partition_of gives which of n partitions has the entries of a ce_subject (those of a dead
// letter: "hook/" and its name): the slot of Redis Cluster that a key of that name has
// (CRC-16/XMODEM & 16383), modulo n. That hash, because every cluster client has it: a consumer
// finds the partition of a contact with its client's keySlot(subject) % n, without a library of ours.
int config_partition_of(struct span subject, int n);

// config_suffix gives "-NAME" for a file /etc/acrelay/NAME.yaml, as --account and the units of an
// account have it, and "" for acrelay.yaml and files elsewhere. Directories that two accounts must
// not share by default end with it: /var/lib/acrelay-NAME is that of the journal.
enum { CONFIG_SUFFIX = 256 }; // any name that a file may have
const char *config_suffix(const char *file, char to[CONFIG_SUFFIX]);

// The receiver also serves the test hook, so that the path from public_url to a stream can be tested at
// any time: it is in no file, and never registered at ActiveCampaign; its stream of the same name is
// for such tests alone, and is trimmed to about CONFIG_TEST_ENTRIES.
#define CONFIG_TEST_HOOK "acrelay-test"
enum { CONFIG_TEST_ENTRIES = 1000 };

// config_served is hook i of those that are served: the file's hooks_len, and then the test hook.
// config_find_served finds one of them by name.
const struct config_hook *config_served(const struct config *c, size_t i);
const struct config_hook *config_find_served(const struct config *c, struct span name);

// config_check_reload: -1 with *err when settings differ that take effect only with a restart,
// of all sections or of those that begin so (NULL-ended: {"redis.", "worker.", NULL}).
int config_check_reload(const struct config *now, const struct config *next,
                        const char *const *sections, struct err *err);

// config_write writes, from the table of settings: the commented example file, the list of
// settings for the manual page (mdoc), or a plain list for `check --print settings`.
enum config_document { CONFIG_EXAMPLE, CONFIG_MANUAL, CONFIG_HELP };
int config_write(enum config_document document, struct buf *to);

// config_write_lines writes a file with these settings (ended by a path of NULL) in the table's
// order, each under its sentence; a value is plain text, of a list its only item. The hooks are
// the caller's to add.
struct config_line {
    const char *path, *value; // value NULL: left out
};
void config_write_lines(const struct config_line *lines, struct buf *to);

// --- secrets ---------------------------------------------------------------------------------

enum { SECRET_BYTES_MIN = 32, SECRET_TOKEN = 43, SECRET_TOKEN_TEXT = 44 };

// All secrets of secret_files, newest first. Read-only once loaded; any thread.
struct secrets {
    size_t len;
    struct buf at[CONFIG_LIST_MAX];
};

// secrets_load reads every file of c->secret_files; EXIT_CODE_PERMISSION for one that others
// can read, EXIT_CODE_CONFIG for one that is missing or too short.
struct secrets *secrets_load(const struct config *c, struct err *err);
void secrets_release(struct secrets *s); // overwrites them; NULL is fine

// secrets_token writes the token of a hook under the i-th secret, which makes the hook's URL a
// password: base64url, unpadded, of HMAC-SHA-256(secret, "acrelay hook v1\n" + name),
// all 43 characters. secrets_url appends the URL: <base>/hook/<name>/<token>.
void secrets_token(const struct secrets *s, size_t i, struct span hook,
                   char token[SECRET_TOKEN_TEXT]);
void secrets_url(const struct secrets *s, size_t i, const char *base, struct span hook,
                 struct buf *to);

// config_redis connects as the configuration says, in `wait_ms` at most and for each command
// (0: redis.h's own): to the server that has the keys of `tag` (NULL: redis.namespace). NULL with
// *err; its exit code is EXIT_CODE_UNAVAILABLE, unless it was a secret. `find` is what is kept from
// one connection to the next (redis_find.h), NULL: nothing.
struct redis *config_redis(const struct config *c, const char *tag,
                           struct redis_find *find, int64_t wait_ms, struct err *err);

// config_redis_options fills *o; *secrets and the configuration must live as long as o is used.
// *secrets is the caller's to wipe, whatever the result. -1: EXIT_CODE_CONFIG, or
// EXIT_CODE_PERMISSION for a secret's mode.
struct redis_secrets {
    struct buf url, password, sentinel;
};
int config_redis_options(struct redis_options *o, const struct config *c,
                         struct redis_secrets *secrets, struct err *err);
void redis_secrets_wipe(struct redis_secrets *s);

#endif
