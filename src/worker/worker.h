// The parts of acrelay-worker: what is loaded (worker.c), the right to write (leader.c), the hooks'
// silence and states (monitor.c), and the loop of `run` (run.c). One thread.
#ifndef ACRELAY_WORKER_WORKER_H
#define ACRELAY_WORKER_WORKER_H

#include "base/clock.h"
#include "program/options.h"
#include "hook/plan.h"
#include "worker/known.h"

// --- what is loaded ------------------------------------------------------------------------

struct worker {
    const struct options *options;
    const char *file;
    struct config *config;
    struct secrets *secrets;
    struct hooks wanted; // one for each hook and list of the file
    struct known known;  // outlives a reload
    struct ac_client *client;
    struct worker_redis redis; // quiet, unless who needs it says otherwise
    struct leader *leader;
};

// worker_load reads configuration and secrets, where they are not there yet, into an empty worker
// (file and options set), makes of them what is wanted, and opens the account. `callbacks` has
// those and `once`; without `wait` it sleeps and keeps the lease, and their context is the worker.
// Mistakes of the file are written to stderr, by `run` to the log; *err has the rest.
int worker_load(struct worker *w, const struct ac_client_options *callbacks,
                struct err *err);
void worker_unload(struct worker *w);

// worker_load_known reads what Redis has of the hooks of the configuration, once; where it is away
// another time.
void worker_load_known(struct worker *w);

// worker_replace takes over another one, which was loaded from the same file later: what is known
// of hooks, the lease and the rate limit of requests are carried over.
void worker_replace(struct worker *w, const struct worker *fresh);

// Commands that only show (show.c), and `run` (run.c).
extern const struct subcommand worker_show_commands[], worker_run_commands[];

// --- applying ------------------------------------------------------------------------------

// Applying: list, plan, write, and again until a list shows that there is nothing to do. So
// nothing that is lost or unclear on the way (an answer, the process itself) needs a special
// case: the next list shows what became of it.

struct apply_done; // a write that was accepted and that no list has shown yet

struct apply {
    struct worker *w; // the receiver of its configuration is asked, where it runs here
    bool prune;
    // results
    struct hooks found;     // as the last list had it; apply_release frees it
    struct plan plan;       // of `found`
    struct hooks recreated; // by apply_recreate, which writes no others: borrowed
    struct hooks old;       // what was there before it
    bool listed; // whether the last list succeeded; else `found` is not all, and no plan
    size_t created, changed, removed; // and shown so by a list
    struct apply_done *done;
    size_t unconfirmed; // accepted by AC, and not shown by a list
    struct buf refused; // by apply_run alone: a line for each hook that was
};

// apply_plan lists (`again` as in ac_client_list) and plans, and writes nothing.
int apply_plan(struct apply *a, bool again, struct err *err);

// apply_run makes it so. A URL that the receiver here would answer with 404, because it has not
// loaded that hook or secret yet, is not written: AC would post to it, and those events would be lost. A
// hook that AC does not accept does not keep the others from being created or changed, but
// nothing is removed then; -1 with the first such error at the end. ERR_AGAIN: later may work.
// What is created is missing in two lists. A hook that AC accepted and shows nowhere is not
// created a second time.
int apply_run(struct apply *a, struct err *err);

// apply_recreate does so for the hooks of this name alone, as though they were not there: it
// creates them again, and deletes the old ones only when a list shows the new ones. One that somebody
// else created meanwhile is left to the next apply, unless it can be ours (an answer was lost). Refused with
// EXIT_CODE_CHANGES while apply has something to do for that name: an old one that is on another
// list, say, would be left.
int apply_recreate(struct apply *a, const char *name, struct err *err);

void apply_release(struct apply *a);

// --- the files it was loaded from ----------------------------------------------------------

// The configuration and the secrets it names. A change counts when all of them have stood still,
// because half a file may be valid too, and deletes hooks. The caller gives stamps and time.
enum { FILES_STILL_MS = 5000 };

struct files {
    int64_t still_ms;   // so long nothing may have changed; set before the first check
    int64_t changed_ms; // when the last change was seen
    uint64_t config, secrets; // stamps as seen last; config 0: it is not there
    uint64_t loaded;          // the configuration in use
    bool announce;            // what it removes has not been announced yet
    int64_t announced_ms;
    // set by files_check
    int64_t still_in_ms; // until they stand still if nothing changes any more, 0 now
    bool want_reload;    // there is a change, and it stands still
    // What is loaded is what is there, stands still, and what it removes was asked for, or
    // announced twice still_ms ago: a writer may pause.
    bool may_remove;
};

// files_secrets is a stamp of all secrets that a configuration names.
uint64_t files_secrets(const struct config *c);

// files_check takes what is there now; call it every second or so.
void files_check(struct files *f, uint64_t config, uint64_t secrets, int64_t now_ms);

// files_loaded: what files_check saw last was read, asked for by an operator or by itself.
// files_announced: what it removes was announced.
void files_loaded(struct files *f, bool asked);
void files_announced(struct files *f, int64_t now_ms);

// --- the leader ----------------------------------------------------------------------------

// A leader is the right to write to AC, which one worker has at a time.
//
// local: locks, taken for each round of writing, that keep two workers of one configuration file
// from writing at the same time: `run` and an `apply` by hand too. Only who may run the worker can
// take them.
// redis: a lease of 15 s on {namespace}:leader, renewed every 5 s. Time that a stopped process
// or a suspended machine does not notice has passed on its clock (CLOCK_BOOTTIME) too: no write
// begins when less is left of the lease than a request may take.
enum { LEADER_LEASE_MS = 15000 };

struct leader;
// EXIT_CODE_DIRECTORY when there is no place for the lock, or one is not private.
struct leader *leader_open(struct worker_redis *redis, struct err *err);
void leader_close(struct leader *l); // gives the lease back; NULL is fine

// leader_take begins a round: it tries to be the leader, up to wait_ms. leader_leave ends it: it gives
// locks back and keeps a lease. leader_refused says why this worker may not lead at all, because in Redis
// the namespace is another account's; NULL: it may.
bool leader_take(struct leader *l, int64_t wait_ms);
const char *leader_refused(const struct leader *l);
void leader_leave(struct leader *l);

// leader_tick renews the lease when it is time; call it at least every second. NULL is fine.
void leader_tick(struct leader *l);

// leader_has_changed says, between rounds, that the lease was lost, won, or lost and won, since the
// last one: it is time for another.
bool leader_has_changed(const struct leader *l);

// leader_may_write says whether a write may begin now. Not once the lease was lost in this round,
// even where it was won again: what the round knows may be old.
bool leader_may_write(struct leader *l);

// Commands go by the lease alone, which a local leader holds beside its locks where there are
// services that may send some: all that is written of them compares it. leader_may_command says
// whether one may be sent now. leader_self is what stands in the lease; leader_term counts how
// often it was taken again: another worker may have had it in between.
bool leader_may_command(struct leader *l);
const char *leader_self(const struct leader *l);
unsigned leader_term(const struct leader *l);

// --- silence -------------------------------------------------------------------------------

// How long a hook has been silent. Its last event has Redis's time, so "now" is Redis's too, and
// no clock of this machine matters; what this process saw itself counts on CLOCK_BOOTTIME. A
// clock that steps is not believed (clock_watch in base/clock.h). Pure.

// Redis's clock, as read last.
struct silence_clock {
    struct clock_watch watch; // its settle_us is set before the first reading
    int64_t redis_us, boot_us;
    int64_t step_us; // boot clock, 0: none; times from before cannot be compared with now
    bool steady;     // and just read
};

// The last event of a hook; times by Redis, and by boot clock when this process saw it.
struct silence {
    int64_t last_us, seen_us, since_us; // 0: none; since_us: watched since, by boot clock
};

// silence_clock_set takes both clocks, read one right after the other. Returns whether Redis's
// has just stepped.
bool silence_clock_set(struct silence_clock *c, int64_t redis_us, int64_t boot_us);

// silence_record takes what Redis has as the last event, 0 nothing. An earlier one than known is
// one that Redis lost.
void silence_record(struct silence *s, const struct silence_clock *c, int64_t last_us);

// silence_us gives how long it is silent, *watched_us how much of that this process watched: no
// clock that may step has a part in that one.
int64_t silence_us(const struct silence *s, const struct silence_clock *c,
                   int64_t *watched_us);

// --- the monitor ---------------------------------------------------------------------------

// A monitor knows how each hook does between rounds: whether it is registered, when it had its
// last event, and whether that is longer ago than expect_every. Its metrics may be read by any
// thread.
struct monitor {
    struct monitored *at;
    size_t len;
    struct silence_clock clock; // set its watch.settle_us, the rest is zero at first
    bool states_known;          // those that Redis has were taken over
    bool listed;                // what is known are AC's lists
    struct worker_redis partitions[CONFIG_PARTITIONS_MAX]; // where last events are
    bool lacks; // one of them is away, and is not asked again in this check
};

// monitor_record takes over what a round found and what is still to be done.
// a NULL: this worker is not the leader; its metrics go to 0, and what another one may change
// meanwhile is read again by the next monitor_check.
void monitor_record(struct monitor *m, const struct worker *w, const struct apply *a);

// monitor_check reads the hooks' last events from Redis, reports a new silence once, and writes
// the states into {namespace}:hooks.
void monitor_check(struct monitor *m, struct worker *w);

// monitor_notify has `systemctl status` show how the hooks are, who leads, and when the next round
// is (boot clock). trouble: of the last round, "" for none.
void monitor_notify(const struct worker *w, bool leads, const char *trouble,
                    int64_t round_ms);

// monitor_repair re-creates a silent hook whose `repair` is on: at most once a day (a failure too
// is tried again tomorrow), and only when the silence can be believed: this process watched all
// of it, Redis is there and its clock steady, the relay has nothing waiting, and the receiver has
// been up for expect_every.
int monitor_repair(struct monitor *m, struct worker *w, struct err *err);

#endif
