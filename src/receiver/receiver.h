// The receiver's parts, as main() puts them together. Its own state is one thread's.
#ifndef ACRELAY_RECEIVER_RECEIVER_H
#define ACRELAY_RECEIVER_RECEIVER_H

#include "base/log.h"
#include "base/metric.h"
#include "config/config.h"
#include "edge/http.h"
#include "journal/journal.h"
#include "relay/relay.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

// --- snapshot.c: what the intake goes by: a configuration, its secrets, and the hooks whose URLs are
// known. Shared by requests under way, replaced as a whole by a reload: the last holder of an old one
// releases it, secrets overwritten. ---------------------------------------------------------------

// One that is served, or a former one, which earlier configurations alone had.
struct snapshot_hook {
    char *name;
    const struct config_hook *config; // NULL: a former one, which is not let in
    char (*tokens)[SECRET_TOKEN_TEXT];
    struct metric *accepted, *last; // of one that is served: 200s, and when the last came
    _Atomic(bool) is_missed;        // of a former one: a post to it came, and was logged
};

struct snapshot {
    _Atomic(size_t) holders;
    struct config *config;
    struct secrets *secrets;
    // By name, and after them one that stands for unknown names.
    struct snapshot_hook *hooks;
    size_t hooks_len;
};

// snapshot_make takes the configuration and opens its secrets; the caller is the holder. Former
// hooks are those of `before` and of the configuration `earlier` (NULL: none). On an error the
// configuration is released.
struct snapshot *snapshot_make(struct config *c, const struct snapshot *before,
                               const struct config *earlier, struct err *err);
void snapshot_drop(struct snapshot *s); // takes a holder away; NULL is fine

// snapshot_find gives the index of a hook, hooks_len for an unknown name.
size_t snapshot_find(const struct snapshot *s, struct span name);

// snapshot_count counts an answer; `hook` is what the gate found (SIZE_MAX: none). An answer that the
// HTTP library gave by itself has no snapshot.
void snapshot_count(struct snapshot *s, size_t hook, int code);

// --- gate.c: decides on a request by its head alone: which hook, or which
// answer. Pure. -----------------------------------------------------------------------------------

struct gate_verdict {
    int code;    // 0: let in; else the answer
    size_t hook; // index in snapshot->hooks, when the URL is right; else SIZE_MAX
    bool chunked;
    uint64_t length; // of the body, when not chunked
    bool wants_continue;
    struct span type, encoding;
};

// gate_judge checks in this order: 404, 405, 431 for 64 headers or more (not all of them are known
// then), 400, 411, 414, 431 for a type that is too long, 413.
struct gate_verdict gate_judge(const struct snapshot *s, const struct http_request *r);

// --- acrelayd.c ---------------------------------------------------------------------------------

enum { SOCKETS_MAX = 64 };

// Where the configuration comes from: the file; or, at a start while the file is not valid, the
// last good configuration, until the file is valid. The file is then checked every 5 s, and
// read when two checks found it the same. So it is in the first seconds after a start, when
// it may have been read while it was being written. Otherwise only SIGHUP has it read.
struct source {
    char kept_path[PATH_MAX]; // of the last good one; "": there is no directory for it
    bool is_last_good;        // in use
    bool is_valid;            // the file, when it was read last
    struct buf text;          // of the file, as read last
    struct buf good;          // while is_last_good: its text
    uint64_t seen;            // its stamp
    bool judged;              // the file as `seen` was read
    int64_t step_ms, check_ms, until_ms;
    struct once trouble; // with a file that was read by itself
};

// How many files and connections may be open. Connections never take the last descriptors: the
// journal could not begin a segment then, and good deliveries would be answered 503.
// The reserve is for journal, relay, admin, reload, ...
enum { LIMITS_RESERVE = 64, LIMITS_QUEUE = 128 };

struct limits {
    uint64_t descriptors;
    int threads; // connections served at once
    int queue;   // more of them accepted, which wait for a thread
};

struct receiver {
    const char *file, *state_dir; // of the command line
    bool force;
    struct source source;
    struct snapshot *snapshot; // the intake holds it
    struct journal *journal;
    struct relay *relay;
    pthread_mutex_t lock; // of `running`: journal and relay may be asked while it is held
    bool running;
    int64_t started_us; // by boot clock
    struct intake *intake;
    struct limits limits;
    struct http_server *server, *admin;
    int sockets[SOCKETS_MAX];
    size_t sockets_len;
};

// --- reload.c --------------------------------------------------------------------------------

// reload_start makes the snapshot of the file, or of the last good configuration, with an alarm.
// -1 with *err when neither can be used, or a secret is missing.
int reload_start(struct receiver *r, struct err *err);

// reload_read makes one of the file alone; NULL with *err.
struct snapshot *reload_read(struct receiver *r, struct err *err);

// reload_keep: the configuration read last is in use. Its text is kept as the last good one; a
// failure is logged, and the receiver goes on without.
void reload_keep(struct receiver *r);

// reload_run reads the file and takes it over, all or nothing: where asked (SIGHUP), else where it
// is due. True when it was due and only a restart takes it over, so that the last good
// configuration is used no longer than it must.
bool reload_run(struct receiver *r, bool asked);

// --- intake.c: takes a request through the gate into the journal and answers it -----------------

struct intake;

// intake_open holds the snapshot from now on, and sets what *options has of its own: the
// callbacks and their context.
struct intake *intake_open(struct journal *j, struct snapshot *s,
                           struct http_options *options);

// intake_replace takes over a new snapshot and drops the old one, which requests in progress may
// still hold.
void intake_replace(struct intake *i, struct snapshot *s);

// intake_drain has every answer close its connection from now on.
void intake_drain(struct intake *i);

// intake_report_lost logs how many deliveries were not stored without a line of their own;
// called now and then, and with INT64_MAX at the end.
void intake_report_lost(int64_t now_ms);

// --- status.c ----------------------------------------------------------------------------------

// status_notify has `systemctl status` show where posts are accepted, how many deliveries were
// stored and published, and what waits and why.
void status_notify(const struct receiver *r, const struct journal_status *j,
                   const struct relay_status *relay);

// status_after_failed_start says what becomes of posts, for the end of a log line.
const char *status_after_failed_start(struct receiver *r, const struct err *err);

// --- limits.c ----------------------------------------------------------------------------------

// limits_fit fits the threads that are wished for into so many descriptors (0: the soft limit of
// open files, which is raised to the hard one as far as we can use it): fewer, if they must be.
// -1 when there is no room for the fewest.
int limits_fit(struct limits *l, int threads, uint64_t descriptors, struct err *err);

#endif
