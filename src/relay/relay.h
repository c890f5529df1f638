// The relay carries the journal's records into their streams: one thread that reads the
// journal in order, sends a batch per script call and moves on only where the cursor in
// Redis says so (DESIGN.md section 6). Whatever happens to Redis, the network or this
// process, it goes on behind that cursor; until then the journal waits.
#ifndef ACRELAY_RELAY_RELAY_H
#define ACRELAY_RELAY_RELAY_H

#include "edge/redis.h"
#include "journal/journal.h"
#include "relay/script.h"

enum { RELAY_STREAMS_MAX = 128, RELAY_NAME = 64, RELAY_CLASSES_MAX = 24 };

struct relay_options {
    struct redis_options redis; // texts are copied
    const char *namespace;
    const char *account;
    const char *directory;      // the journal's: owner is made of machine id and this
    const char *const *streams; // NULL-ended names to trim beside "dead"; may be NULL
    const char *const *hooks;   // NULL-ended names; {ns}:last forgets others. NULL: none

    int64_t repeats_window_us;
    uint64_t repeats_max;
    int64_t retain_age_us;   // 0: no bound
    int64_t retain_dead_us;  // age of dead letters, 0: no bound
    uint64_t retain_entries; // 0: no bound

    // Times in milliseconds; 0 means the default that stands behind.
    int64_t wait_least_ms, wait_most_ms; // back-off, doubled from 50 to 2000
    int64_t stop_wait_ms;                // after an alarm: 5000
    int64_t refused_wait_ms;             // between tries of a refused record: 4000
    int refused_times;                   // until it is a dead letter: 5
    int64_t trim_ms;                     // 10000
    int64_t poll_ms; // role, policy and cursor are read so often: 5000
};

struct relay;

// relay_start starts the thread. Before it returns it waits, half a second at most, for the
// thread's first attempt to read the cursor, so that a journal that lost its tail does not give
// its numbers away again (journal_skip_to). *err is set only when no thread can be had.
struct relay *relay_start(const struct relay_options *options, struct journal *j,
                          struct err *err);

// relay_stop ends the thread within a second, or two while it connects, and releases everything; what is not shipped
// waits in the journal. NULL is fine.
void relay_stop(struct relay *r);

// relay_reload takes over streams, hooks, password, repeats_max and retain_*; the next connection or
// batch uses them. A relay that waits after an alarm tries again at once.
void relay_reload(struct relay *r, const struct relay_options *options);

enum relay_state {
    RELAY_CONNECTING, // Redis is away or says wait
    RELAY_SHIPPING,
    RELAY_STOPPED, // an operator must act: `words` says why
    RELAY_FENCED,  // the cursor is another place's: `acrelay journal claim`
};

struct relay_status {
    enum relay_state state;
    bool up;         // Redis answered last
    char words[128]; // escaped: why it does not ship; "" while it does
    uint64_t cursor; // last sequence known to be in its stream
    bool known;      // Redis has told it since the start; until then it is 0
    uint64_t batches, entries, repeats_marked, repeats_dropped, dead_letters, gaps;
    uint64_t rewinds, rewound; // times the cursor had gone back, and by how many records
    bool repeats_full;         // repeats_max is reached: detection pauses
    uint64_t trimmed, trimmed_unread; // entries; the latter before a group had read them
    uint64_t dead_trimmed;            // dead letters
    bool clock_held;       // Redis's clock stepped: nothing is trimmed for its age
    int64_t clock_step_us; // how far it is then from where it should be, else 0
    struct relay_class {
        char word[REPLY_WORD];
        uint64_t count;
    } classes[RELAY_CLASSES_MAX]; // error replies by first word; ends at an empty word
    struct relay_stream {
        char name[RELAY_NAME];
        uint64_t length,
            lag; // lag: of the slowest group, trimmed entries among it; 0 when there is none
    } streams[RELAY_STREAMS_MAX]; // as of the last trim; ends at an empty name
};

// relay_read_status copies the figures; any thread.
void relay_read_status(struct relay *r, struct relay_status *status);

// relay_owner names the place: the first 32 hex digits of SHA-256 over machine id and the
// real path of the directory. Without a machine id the host's name stands for it.
void relay_owner(char to[SCRIPT_OWNER], const char *directory);

// relay_claim makes the cursor of this journal ours, whosever it was, and forgets its
// check: the operator's word that no other copy of the journal ships any more. *cursor is
// where it stands (0: there was none).
int relay_claim(const struct redis_options *redis, const char *namespace,
                const char *journal_id, const char *directory, uint64_t *cursor,
                struct err *err);

// relay_replay adds the entry once more, with ce_replay (its time) at the end: an
// operator's act outside the cursor. -1: refused (ERR_INPUT) or the connection is dead.
int relay_replay(struct redis *r, const char *namespace, const struct entry *e,
                 struct err *err);

#endif
