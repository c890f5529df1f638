// A queue is what waits of one service: its commands by subject, in the order in which they
// came. Only the first of a subject may run; which subject is next, its priorities say. Pure,
// and bounded: bodies stay in Redis.
#ifndef ACRELAY_COMMAND_QUEUE_H
#define ACRELAY_COMMAND_QUEUE_H

#include "command/command.h"

#include <sys/queue.h>

struct queued {
    // The entry, and what was read of it.
    uint64_t entry_ms, entry_number; // its id is "<entry_ms>-<entry_number>"
    const struct operation *operation;
    enum command_priority priority;
    int64_t not_after_ms; // 0: none
    uint64_t manner;      // a checksum of query and validateOnly
    uint64_t id;          // a checksum of ce_id, 0: none
    bool replace;
    bool is_known;     // an earlier command with its ce_id had an outcome
    unsigned attempts; // that were used up; more than 0: it may have been carried out
    bool tried;        // a call was made
    // What becomes of it.
    enum command_outcome outcome; // once it is decided
    bool dead;                    // and a copy goes to the dead commands
    // The lane's and the queue's.
    int64_t retry_ms; // not before
    uint64_t passed;  // calls that got through when it met its last 503
    bool met_503;
    uint64_t number;               // order of arrival
    size_t service;                // in the lane
    struct queue_subject *subject; // in the queue
    TAILQ_ENTRY(queued) place;     // among those of its subject, or in the lane
};

TAILQ_HEAD(queued_list, queued);

struct queue {
    size_t len;
    // queue.c's
    TAILQ_HEAD(, queue_subject) subjects; // of which anything waits, as they came
    void *by_name;                        // a tree of them (tsearch)
    struct queued
        *alone; // a bulk move whose turn it is: nothing else of the service runs
};

void queue_release(struct queue *q); // frees what waits, too

// queue_add puts a command, which the queue owns from now on, after those of its subject, and
// returns the one before it, NULL if it is the first.
struct queued *queue_add(struct queue *q, struct span subject, struct queued *c);

// queue_remove takes one out of the queue; it is the caller's then.
void queue_remove(struct queue *q, struct queued *c);

// queue_next gives the command that is next at now_ms, or NULL; *due_ms becomes the time when
// one may be tried again, if that is earlier.
struct queued *queue_next(struct queue *q, int64_t now_ms, int64_t *due_ms);

// queue_each calls `visit` for every command; it may remove that one.
void queue_each(struct queue *q, void (*visit)(struct queued *c, void *context),
                void *context);

// queue_oldest_ms is the time of the oldest entry, 0: nothing waits.
uint64_t queue_oldest_ms(const struct queue *q);

#endif
