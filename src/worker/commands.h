// Commands: what services want to have changed at ActiveCampaign (acrelay-commands(7)). The worker
// that holds the lease reads their streams into a lane, makes the calls, and writes one result for
// each entry. Nothing here has to survive: whatever ends, entries that have no result are pending
// in Redis, and are read again before anything new. One thread.
#ifndef ACRELAY_WORKER_COMMANDS_H
#define ACRELAY_WORKER_COMMANDS_H

#include "base/log.h"
#include "command/lane.h"
#include "worker/worker.h"

struct commands;

// commands_work does what is due, one call at most, and returns in how many ms it wants to be
// called again, 1000 at most.
int64_t commands_work(struct commands *c);

// commands_reset forgets what was read; before the configuration becomes another one, too, which is
// `next` then, else NULL. Commands that wait of a service that is not in it are reported.
void commands_reset(struct commands *c, const struct config *next);

// --- what the files share ----------------------------------------------------------------------

enum {
    COMMANDS_TAKE = 32,  // entries that are read at once, of at most 1 MiB each
    COMMANDS_ENTRY = 44, // "18446744073709551615-18446744073709551615"
};

struct commands_service {
    const struct config_service *config;
    bool is_read; // what was pending
    char after[COMMANDS_ENTRY];
    struct queued *unwritten; // its outcome is decided, `result` would write it
    struct redis_args result;
    struct once full, wrong_type, stray;
    uint64_t stray_ms; // when it was added; 0: none
    struct metric *waiting, *oldest, *held, *calls, *outcomes[COMMAND_OUTCOMES];
};

struct commands {
    struct worker *w;  // the rest is zero at first
    struct lane *lane; // NULL: another worker leads, or Redis is away
    struct commands_service services[CONFIG_SERVICES_MAX];
    // What was read is worth nothing any more when the connection or the count of finished
    // entries is another one (Redis may have lost its last second), or the lease was taken again
    // (another worker may have had it).
    unsigned connections, term;
    char finished[24];      // as Redis counts them; "": not known
    uint64_t seen_finished; // the same as it was last, over connections
    struct rate_limit rate;
    unsigned paced_term; // that `rate` knows the calls of
    int64_t redis_us;    // Redis's clock, as believed, less that of boot
    struct clock_watch clock;
    int64_t open_ms, poll_ms, tidy_ms, metrics_ms, forget_ms; // not before
    struct redis_args step;
    char message[COMMAND_DETAIL_MAX]; // of the last failure
    int status;                       // that it was answered with, 0: none
    struct once forgotten;
    bool was_stopped;
};

// As believed: while Redis's clock has stepped, the time as it was.
static inline int64_t
commands_redis_now_us(const struct commands *c)
{
    return clock_boot_us() + c->redis_us;
}

// commands_take reads what is new in the streams, and what is pending before that
// (commands_take.c).
void commands_take(struct commands *c);

// commands_may_forget says whether something may be removed for its age: Redis's clock has been
// watched for a while, and is steady.
static inline bool
commands_may_forget(const struct commands *c)
{
    return !c->clock.holding && clock_boot_ms() >= c->forget_ms;
}

// commands_step does a step of the lane that is no LANE_WAIT (commands_send.c).
void commands_step(struct commands *c, const struct lane_step *step);

// commands_report_trimmed reports how many dead commands Redis says were trimmed, at most once an
// hour; commands_report_deleted that somebody deleted an entry, which has no result.
void commands_report_trimmed(struct span count);
void commands_report_deleted(const struct commands *c, const struct commands_service *s);

// commands_write_again writes s->unwritten.
void commands_write_again(struct commands *c, struct commands_service *s);

// --- Redis (commands_redis.c) ----------------------------------------------------------------

// commands_connect begins again; false: Redis is away or another worker leads.
bool commands_connect(struct commands *c);
bool commands_is_current(const struct commands *c);

// commands_hold has a service wait whose keys Redis does not let us write: nothing of it is read or
// written meanwhile. The others go on.
void commands_hold(struct commands *c, struct commands_service *s);
static inline bool
commands_is_held(const struct commands *c, size_t service)
{
    return c->lane->services[service].held_ms > clock_boot_ms();
}

enum commands_reply {
    COMMANDS_OK,
    COMMANDS_GONE,  // somebody deleted the entry
    COMMANDS_LOST,  // what was read is forgotten
    COMMANDS_LATER, // Redis refuses, or a key is of the wrong type: the service waits
};

// commands_run runs a step of commands.lua for a service, with what is the step's own; *reply is
// valid until the next command.
enum commands_reply commands_run(struct commands *c, struct commands_service *s,
                                 const char *step, const struct redis_args *args,
                                 const struct redis_reply **reply);

struct command_result {
    const struct commands_service *service;
    const char *entry;
    const struct command *command;
    enum command_outcome outcome;
    int status;
    unsigned attempts;
    bool repeat;
    const char *dead; // why a copy goes to the dead commands; NULL: none does
    const char *detail;
    struct span data;
};

// commands_format_result sets `to` to what the step "finish" needs, which writes a result and
// forgets the entry; commands_write_result runs it. What was refused or
// expired may come again with the same id; any other outcome but a repeat's is remembered by it.
void commands_format_result(const struct commands *c, struct redis_args *to,
                            const struct command_result *result);
enum commands_reply commands_write_result(struct commands *c, struct commands_service *s,
                                          enum command_outcome outcome,
                                          const struct redis_args *args);

// commands_read_fields takes those of an entry in a reply.
void commands_read_fields(struct span to[COMMAND_FIELDS],
                          const struct redis_reply *entry);

// What is remembered of an id.
struct command_memory {
    bool same; // it was the same command
    enum command_outcome outcome;
    int status;
    unsigned attempts;
};
bool commands_read_memory(struct command_memory *to, struct span text,
                          const struct command *c);

#endif
