// A lane decides what becomes of the commands that wait, one call after the other: whose turn it
// is, when one is tried again, when all of it pauses or stops (acrelay-commands(7)). It has no
// clock and does no I/O: times come in, steps come out; only the jitter is random. One thread.
//
//     for (;;) {
//         struct lane_step step = lane_next(lane, now_ms, wall_ms, call_ms);
//         LANE_SEND:   call ActiveCampaign; if lane_answered(...), write the result and lane_remove
//         LANE_FINISH: write the result without a call, and lane_remove
//         LANE_PROBE:  ask /users/me, and lane_probed
//         LANE_WAIT:   until step.due_ms, or until a command is added
//     }
#ifndef ACRELAY_COMMAND_LANE_H
#define ACRELAY_COMMAND_LANE_H

#include "command/queue.h"

struct lane_times {                   // in ms
    int64_t backoff_min, backoff_max; // of one command
    int64_t pause_min, pause_max;     // of all, where 429 or 503 name no time
    int64_t stop_after;               // once nothing got through for this long
    int64_t probe_min, probe_max;     // while it is stopped
};

struct lane_share {
    struct queue queue;
    int weight;
    int64_t credit;  // round robin: grows by weight, and is paid by who is next
    int64_t held_ms; // no step before; the caller's to set
    struct queued_list decided; // without a call
};

struct lane {
    struct lane_times times;
    struct lane_share *services;
    size_t len;
    uint64_t max;           // that wait, by service
    uint64_t number;        // of commands that were added
    uint64_t passed;        // calls that got through: ActiveCampaign did it, or said no
    int64_t pause_until_ms; // nothing is sent before
    int64_t pause_step_ms;
    int64_t trouble_ms; // since when nothing gets through, 0: the last one did
    bool stopped;       // and only probes go out
    bool trial;         // one command may be sent all the same: the probe was answered
    int64_t probe_ms, probe_step_ms;
    int64_t expiry_ms; // the earliest not_after, by wall clock
};

// lane_open makes a lane of so many services, whose weights are set by the caller; weights are
// 1 until then.
struct lane *lane_open(size_t services, uint64_t max);
void lane_close(struct lane *l); // NULL is fine

// lane_add adds a command that was read (what stands first in struct queued), a copy of *read,
// which gets a place. NULL: the service has its maximum waiting, and it is to be refused.
struct queued *lane_add(struct lane *l, size_t service, struct span subject,
                        const struct queued *read);

enum lane_step_kind { LANE_WAIT, LANE_SEND, LANE_FINISH, LANE_PROBE };
struct lane_step {
    enum lane_step_kind kind;
    struct queued *command; // of LANE_SEND and LANE_FINISH
    int64_t due_ms;         // of LANE_WAIT; INT64_MAX: until one is added
};

// lane_next gives the next step. now_ms never steps; wall_ms is what not_after is compared with;
// before call_ms no call may be made, no matter who used up the rate.
struct lane_step lane_next(struct lane *l, int64_t now_ms, int64_t wall_ms,
                           int64_t call_ms);

// lane_answered takes what became of a call. true: the command's outcome is decided.
bool lane_answered(struct lane *l, struct queued *c, enum command_verdict verdict,
                   int status, int64_t retry_after_ms, int64_t now_ms);

// lane_probed takes whether the account answered with this token; lane_refused that it refuses
// the token: nothing can get through, so the lane stops at once.
void lane_probed(struct lane *l, bool answered, int64_t now_ms);
void lane_refused(struct lane *l, int64_t now_ms);

// lane_remove forgets a command: its result is written, or its entry is gone.
void lane_remove(struct lane *l, struct queued *c);

// lane_forget forgets what waits of a service.
void lane_forget(struct lane *l, size_t service);

// lane_waiting is how many commands wait, decided ones included.
size_t lane_waiting(const struct lane *l);

#endif
