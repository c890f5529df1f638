// What the commands of `acrelay` share. A command is a row of the table at the end of its file:
// one function of the struct cli, which reads what it needs from the options and prints to stdout.
#ifndef ACRELAY_CLI_CLI_H
#define ACRELAY_CLI_CLI_H

#include "command/command.h"
#include "config/config.h"
#include "edge/http_client.h"
#include "event/delivery.h"
#include "journal/verify.h"
#include "program/options.h"
#include "program/output.h"
#include "relay/script.h"

#include <limits.h>

// Less room than for one segment: deliveries are, or soon will be, answered with 503.
enum { JOURNAL_SEGMENT = 16 << 20 };

// A program of ours as its admin listener shows it.
struct admin_state {
    int code; // of /readyz; 0: no answer, see `reason`
    char journal[600], redis[600],
        activecampaign[600];  // why the check is false; "" it is not
    char journal_advice[300]; // what to do about the journal
    uint64_t reloads_done;
    bool reload_ok, last_good; // last_good: it does not use the file, which is not valid
    char reload[600];          // why the last reload was refused, or what it gave
    char file[600], state_dir[600]; // it runs with; "": an older one, which does not say
    bool has_state_dir;             // that of our file
    bool is_other;                  // neither that nor our file
    char reason[200];
    struct buf metrics; // /metrics; empty: no answer
    double left_posts;  // of them: to hooks that left the file, answered 404
};

struct cli {
    const struct options *options;
    const char *file;         // configuration
    struct config *config;    // read before the command runs; NULL where it needs none
    struct problems problems; // of the file
    bool is_last_good; // `config` is the last good one, because the file is invalid
    char last_good[PATH_MAX];            // where that is looked for
    struct admin_state receiver, worker; // once asked
};

extern const struct subcommand cli_check_commands[], cli_doctor_commands[],
    cli_send_commands[], cli_tail_commands[], cli_status_commands[],
    cli_reload_commands[], cli_journal_commands[], cli_repair_commands[],
    cli_dead_commands[], cli_init_commands[], cli_setup_commands[], cli_put_commands[],
    cli_inspect_commands[], cli_show_commands[];

// cli_load_config reads the configuration if that is not done yet; c->config stays NULL when it has
// mistakes, which are then in c->problems. With or_last_good, the last good configuration is used
// instead, if acrelayd keeps one in $STATE_DIRECTORY (else the default of receiver.state_dir).
// cli_read_config prints the mistakes too, and what is used, on stderr; -1 with *err without any.
// cli_file_advice says what to do about a file that cannot be used.
void cli_load_config(struct cli *c, bool or_last_good);
int cli_read_config(struct cli *c, bool or_last_good, struct err *err);
const char *cli_file_advice(const struct cli *c);

// cli_directory is --directory, else receiver.state_dir (reading the configuration if that
// is not done yet); NULL with *err when it has mistakes.
const char *cli_directory(struct cli *c, struct err *err);

// cli_fail_unknown says that what was asked for is not there, and which word is near. -1.
struct nearest;
int cli_fail_unknown(struct err *err, enum exit_code code, const struct nearest *near,
                     const char *what, const char *where);

// --- Redis ------------------------------------------------------------------------------

// A page of entries is read at once: 40 of the largest, of 24 MiB, are no more than one reply may have.
enum { CLI_PAGE_LEN = 40, CLI_REPLY_BYTES = 1 << 30 };
#define CLI_PAGE "40" // the same, after COUNT

// cli_redis connects as the configuration says, to the node that has the keys of a tag, 5 s for each
// step; NULL with *err, which names the address, and whose exit code is what Redis's words mean.
struct redis *cli_redis(const struct cli *c, const char *tag, struct err *err);

// cli_redis_us is Redis's time, in whole seconds; 0: not known.
int64_t cli_redis_us(struct redis *r);

// The tags under which streams lie: those of redis.partitions, then those that an earlier number of
// partitions has used and whose streams may still hold something. Each has a connection of its own,
// opened when it is asked for.
enum { TAGS_MAX = CONFIG_PARTITIONS_MAX + 1 };
struct tags {
    const struct cli *cli;
    size_t len, configured;
    char at[TAGS_MAX][CONFIG_TAG]; // without braces
    struct redis *redis[TAGS_MAX]; // NULL: not connected
};

// tags_open asks Redis for them; -1 with *err when all of it is away. tags_of_namespace is the one of the
// worker's keys and the commands, and asks nothing. tags_close closes all connections.
int tags_open(struct tags *t, const struct cli *c, struct err *err);
void tags_of_namespace(struct tags *t, const struct cli *c);
void tags_close(struct tags *t);

// tags_redis gives the connection of tag i, a new one where there is none or it is dead; NULL with
// *err.
struct redis *tags_redis(struct tags *t, size_t i, struct err *err);

// tags_place gives the nth place where deliveries are, tag by tag: the streams of the file's hooks,
// that of the test hook, and the dead letters. false after the last.
struct tags_place {
    char key[SCRIPT_KEY];
    size_t tag;
    bool is_test, is_dead;
};
bool tags_place(const struct tags *t, size_t n, struct tags_place *p);

// A receiver of this namespace, as it registered itself in Redis.
enum { RECEIVERS_MAX = 64, RECEIVER_TEXT = 64 };
struct receiver {
    char owner[SCRIPT_OWNER], name[RECEIVER_TEXT], journal[RECEIVER_TEXT];
    int64_t heard_s; // how long ago it was heard of
    uint64_t waiting, oldest_s;
    bool is_silent; // for a minute, and left deliveries behind that only its journal has
};
struct receivers {
    struct receiver at[RECEIVERS_MAX];
    size_t len;
};

// receivers_read adds those of each tag that says; receiver_text describes one.
void receivers_read(struct receivers *all, struct tags *t);
enum { RECEIVER_LINE = 160 };
const char *receiver_text(const struct receiver *r, char to[RECEIVER_LINE]);

// cli_reply gives the reply; NULL when it is missing or an error, and *err says so, with the exit
// code that Redis's words mean. cli_ask is redis_ask with that.
const struct redis_reply *cli_reply(const struct redis_reply *reply, struct err *err);
#define cli_ask(r, err, ...) cli_reply(redis_ask(r, err, __VA_ARGS__, NULL), err)

// cli_advise appends relay_advice to it, for a command that ends with this error.
void cli_advise(struct err *err);

// cli_entry takes entry i of a reply: its fields (NULL: there is none), and its id. cli_end asks for the id
// of a stream's newest entry, "0" where it has none; -1 with *err.
enum { ENTRY_ID = 64 };
const struct redis_reply *cli_entry(const struct redis_reply *entries, size_t i,
                                    char id[ENTRY_ID]);
int cli_end(struct redis *r, const char *key, char id[ENTRY_ID], struct err *err);

// cli_field finds a field's value in an entry of a stream (fields: name, value, name, value ...),
// empty when it is not there; of a structured event "ce_source" and the like are found in its JSON.
struct span cli_field(const struct redis_reply *fields, const char *name);

// cli_mask_field masks one of the fields as what it is (event/mask.h); ids of ours are none.
// cli_print_field prints its value, as --mask shows it where it `masks`, cut at `width` columns.
void cli_mask_field(struct buf *to, const struct redis_reply *fields, struct span name,
                    struct span value, bool reveals);
void cli_print_field(const struct redis_reply *fields, const char *name,
                     struct span value, size_t width, bool masks);

// cli_add_entry adds the members of an entry to a document, its id first; `data` as the JSON that it
// is; `raw` (NULL: its own) in place of that field, which is left out where it is empty.
// cli_add_masked adds a value, masked by its name (mask_value).
void cli_add_entry(struct buf *to, struct span id, const struct redis_reply *fields,
                   const struct span *raw, bool masks);
void cli_add_masked(struct buf *to, const char *name, struct span value, bool reveals);

// cli_is_before says whether one id of an entry comes before another.
bool cli_is_before(const char *a, const char *b);

// cli_type is a ce_type without "com.activecampaign.".
struct span cli_type(struct span type);

// cli_print_event prints a line for people. cli_print_result prints the result of a command (acrelay-commands(7)), and ActiveCampaign's
// answer `with_data`; JSON has that always.
void cli_print_event(const struct redis_reply *fields, bool with_data, bool masks);
void cli_print_result(struct span id, const struct redis_reply *fields, bool with_data,
                      bool masks);

#define OPTION_MASK                                                                      \
    OPTION_IS_FLAG("mask", "mask e-mail, postal and IP addresses, phone numbers")

// --- commands -------------------------------------------------------------------------------

// commands_key writes the key of a service's stream: "commands" or "results".
void commands_key(char to[SCRIPT_KEY], const struct config *c, const char *stream,
                  struct span service);

// commands_find_service finds one of the file; NULL with *err.
const struct config_service *commands_find_service(const struct cli *c, struct span name,
                                                   struct err *err);

// commands_add adds a command to the service's stream and gives its entry id; -1 with *err.
int commands_add(struct redis *r, const char *key,
                 const struct span fields[COMMAND_FIELDS], char entry[ENTRY_ID],
                 struct err *err);

// What a service's stream of commands holds.
struct commands_state {
    int64_t waiting;
    int64_t oldest_ms; // when the oldest was added, by Redis's clock; 0: none waits
};

// commands_read asks Redis for it; -1 with *err.
int commands_read(struct redis *r, const struct config *c, const char *service,
                  struct commands_state *s, struct err *err);

// commands_have_leader says whether a worker leads: 1, 0, or -1 with *err when Redis does not say.
int commands_have_leader(struct redis *r, const struct config *c, struct err *err);

// --- the running programs ---------------------------------------------------------------

// admin_json_fetch asks both programs for /readyz and /metrics (again), 5 s each at most, and says
// on stderr whom it asks.
void admin_json_fetch(struct cli *c);

// admin_json_report_other warns of a program that runs with another file and state_dir. It may be the
// same installation all the same: a file for the worker alone.
struct report;
void admin_json_report_other(struct report *r, const char *what, const char *program,
                             const struct admin_state *state);

// admin_json_is_404 says whether the receiver here answers a post to this path with 404.
bool admin_json_is_404(const struct config *c, const char *path);

// admin_json_receiver reads what a receiver registered in Redis; false when it is no object. now_s is
// Redis's time.
bool admin_json_receiver(struct receiver *r, struct span json, int64_t now_s);

// A poster posts to the receiver over one connection. Start with {0}.
struct poster {
    struct secrets *secrets;
    const struct socket_address *to; // NULL: to `url`, whatever the hook
    const char *url;
    struct span place; // for messages: where it posts to
    struct http_client client;
};

// poster_find finds the receiver by the configuration (its first listen address) and loads the
// secrets. poster_post posts a delivery; the status code, or -1.
int poster_find(struct poster *p, struct cli *c, struct err *err);
int poster_post(struct poster *p, const struct delivery *d, struct err *err);
void poster_release(struct poster *p);

// --- a journal --------------------------------------------------------------------------

#define OPTION_DIRECTORY                                                                 \
    OPTION_IS_TEXT("directory", "DIR",                                                   \
                   "the journal's directory (default: receiver.state_dir)")
#define OPTIONS_RANGE                                                                    \
    OPTION_DIRECTORY, OPTION_IS_NUMBER("from", "first sequence number"),                 \
        OPTION_IS_NUMBER("to", "last sequence number")

// A walk over the records of a journal, or of one segment's file. Without --from it begins at what is kept.
struct journal_walk {
    // NULL: all are counted. With it, those within --from and --to, and gaps are printed, too
    int (*each)(const struct record *record, void *context, struct err *err);
    void *context;
    const char *segment; // of this file only
    uint64_t from, to;
    struct verify_total
        total; // `id` is known before the first record; not of one segment
    int64_t first_us, last_us; // receipt
};

// journal_walk walks to the end; -1 with *err, as `each` gives it too.
int journal_walk(struct journal_walk *w, struct cli *c, struct err *err);

// journal_add_delivery adds the members that describe a record to the JSON document.
void journal_add_delivery(const struct record *record, bool raw, bool masks);

// --- check and doctor -------------------------------------------------------------------

enum report_level { REPORT_OK, REPORT_WARNING, REPORT_ERROR };

// What `check` and `doctor` found: each finding is ok, a warning or an error, with what it is
// about, a sentence, and what to do unless it is ok.
struct report {
    struct cli *cli;
    bool deep;           // doctor: also what is no matter of configuration
    enum exit_code code; // of the first error
    size_t errors, warnings;
    bool is_shown; // the configuration is what a file that is not valid still shows
    bool redis_usable, disk_is_full;
    struct redis_url redis_url; // also of redis.url_file
    char redis_user[256];       // the same
    bool is_silent;             // nothing is printed
    char worst[1024];           // the first sentence of the worst level
    const char *worst_advice;
    enum report_level worst_level;
};

// report_add prints a finding at once. `advice` says what to do, NULL when the sentence does;
// `code` is the exit code when this is the first error.
void report_add(struct report *r, enum report_level level, enum exit_code code,
                const char *what, const char *advice, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

#define report_ok(r, what, ...)                                                          \
    report_add(r, REPORT_OK, EXIT_CODE_OK, what, NULL, __VA_ARGS__)
#define report_warning(r, what, advice, ...)                                             \
    report_add(r, REPORT_WARNING, EXIT_CODE_OK, what, advice, __VA_ARGS__)
#define report_error(r, code, what, advice, ...)                                         \
    report_add(r, REPORT_ERROR, code, what, advice, __VA_ARGS__)

// A check looks at one thing; `asks` is shown while it takes a while. `by_shown`: it is made by what a
// file that is not valid still shows, too.
struct check {
    const char *asks;
    void (*run)(struct report *r);
    bool by_shown;
};

// report_run runs the checks of `check` (files, secrets, Redis, directory and ports; the last three
// not when offline) and then `more`, one after the other as long as there is a configuration,
// prints the sum, and returns the exit code.
int report_run(struct report *r, bool offline, const struct check *more, size_t len);

// check_others compares the file with the other configurations in its directory: no two accounts
// may share a state_dir, an address, or a namespace of one Redis.
void check_others(struct report *r);

// check_addresses checks those of the file: free, held by a program of ours, or by another.
void check_addresses(struct report *r);

// check_holder says which process listens on an address: "nginx (process 123)".
enum { CHECK_HOLDER = 64 };
void check_holder(const struct socket_address *a, char to[CHECK_HOLDER]);

// How Redis is reached: check_hosts checks the group of a unix socket, and asks the sentinels or nodes
// of redis.url; check_redis_tls checks how long the certificates of a connection are valid.
void check_hosts(struct report *r);
void check_redis_tls(struct report *r, const struct redis *redis);

// check_redis checks all that the relay needs of Redis, and writes nothing there.
void check_redis(struct report *r);

// check_info reports what Redis's INFO says against using this server, and writes its version
// ("version 7.0.15"). check_info_value is the value of "name:value" there; empty: none.
enum { CHECK_VERSION = 64 };
void check_info(struct report *r, struct span info, char version[CHECK_VERSION]);
struct span check_info_value(struct span info, const char *name);

// receivers_report judges all that share the namespace, where there are several.
void receivers_report(struct report *r);

// commands_report judges what waits for the worker, of a file with services.
void commands_report(struct report *r, struct redis *redis);

// check_rights_ask asks whether the user may do all that the relay does under a tag, or the worker for
// commands of services (NULL). The reply is {whether a command is unknown, those that are lacking},
// or a text from a Redis that cannot tell.
const struct redis_reply *check_rights_ask(struct redis *r, const struct config *c,
                                           const char *tag, struct err *err);

// check_redis_open is cli_redis, if it answers, and as a master; else NULL with *err, which holds
// Redis's own words. What the user may not ask (NOPERM) is not held against it.
struct redis *check_redis_open(const struct cli *c, const char *tag, struct err *err);

// doctor_receiver and doctor_worker judge a program by what it answered.
void doctor_receiver(struct report *r);
void doctor_worker(struct report *r);

#endif
