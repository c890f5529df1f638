// What the files of the relay share. Arrows: relay -> batch, trim -> connect -> script, entry,
// tools.
#ifndef ACRELAY_RELAY_INTERNAL_H
#define ACRELAY_RELAY_INTERNAL_H

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "relay/relay.h"

#include <pthread.h>
#include <stdatomic.h>

// Of the configuration, and of the metrics' table in tools.c.
enum { RELAY_STREAMS_MAX = 128, RELAY_NAME = 64, RELAY_HOUR_MS = 3600000 };

enum relay_metric {
    RELAY_BATCHES,
    RELAY_ENTRIES,
    RELAY_DUPLICATES_MARKED,
    RELAY_DUPLICATES_DROPPED,
    RELAY_DUPLICATES_PAUSED,
    RELAY_DEAD_LETTERS,
    RELAY_DEAD_TRIMMED,
    RELAY_GAPS,
    RELAY_REWINDS,
    RELAY_TRIMMED,
    RELAY_TRIMMED_UNREAD,
    RELAY_CLOCK_HELD,
    RELAY_CLOCK_STEP,
    RELAY_REDIS_UP,
    RELAY_IS_SHIPPING,
    RELAY_CURSOR_KNOWN,
    RELAY_UNPUBLISHED,
    RELAY_OLDEST_AGE,
    RELAY_METRICS,
};
extern struct metric relay_metrics[RELAY_METRICS];

// tools.c: an error reply of Redis by its first word.
void relay_count_error(const char *word);

// A configuration that is held, and what is made of it.
struct relay_settings {
    struct config *config; // NULL: none
    struct redis_options redis;
    struct redis_secrets secrets;
};

// What is sent in the place of a record that Redis does not take.
enum letter { LETTER_NONE, LETTER_WHOLE, LETTER_EMPTY };

// A record that failed with nothing else in its batch.
struct suspect {
    uint64_t after; // the cursor before it, valid while tries > 0
    int tries;
    bool by_cut;     // the connection was cut, else Redis answered an error
    bool probed;     // another write has succeeded since the last try
    uint64_t bytes;  // of its stored payload
    int64_t wait_ms; // until the next try
    enum letter letter;
    char message[256];
};

struct relay {
    pthread_t thread;
    pthread_mutex_t lock; // for what follows, up to the thread's own
    pthread_cond_t wake;  // stop, reload, or the first attempt to read the cursor is over
    _Atomic(bool) stopping;     // set with the lock
    bool attempted;             // to read the cursor
    int fd;                     // of the live connection, -1: none
    struct relay_status status; // written by the thread only
    struct relay_settings next; // of a reload

    // the thread's own
    struct relay_settings settings;
    struct {
        int64_t backoff_min, backoff_max, stop_wait, refused_wait, trim, poll, connect,
            command,
            deadline; // ms
    } times;
    char owner[SCRIPT_OWNER];
    struct journal *journal;
    struct cursor *reader;
    char account[64]; // a configuration may be released before
    struct entry_maker maker;
    struct script script;
    int64_t backoff_ms; // 0: the first wait

    // where it stands
    uint64_t cursor;         // as last read or moved
    char check[ENTRY_CHECK]; // the cursor's, as last read or sent
    bool placed;             // the reader stands after the cursor, nothing is in doubt
    bool has_held;           // batch.held was read and did not fit any more
    int64_t received_us;     // of the record at the cursor, 0: not known

    // connect.c
    struct redis *redis; // NULL: no connection
    struct {
        struct redis_find find;
        bool role_hidden;  // Redis does not let us ask for it
        int64_t polled_ms; // when Redis was polled last, 0: it must be
        int64_t heard_ms;  // when it last answered a poll or a batch
        int64_t down_ms;   // since when nothing is published, 0: it is
        uint64_t waiting;  // records after the cursor when Redis was back
        struct once trouble, no_role, no_info, no_account;
    } connection;

    // batch.c
    struct {
        struct buf last_payload, held_payload;
        struct record last; // newest record of the batch, payload in last_payload
        struct record held;
        bool last_is_record;     // else a gap
        char check[ENTRY_CHECK]; // the cursor's after the batch
        uint64_t bytes, dead, gaps;
        int64_t received_us; // of its newest record
        size_t records_max;  // less after one was cut off, more when one passes
        int64_t narrowed_ms; // when it was made less, 0: it may grow at once
        uint64_t in_doubt; // records up to here may have receipts of two different clocks
        bool forgets;      // with the next batch all fingerprints are forgotten
        int64_t wall_us;   // wall clock minus boot clock at the last check, 0: none yet
        int64_t checked_us; // boot clock then
        struct once notice, full;
        struct suspect suspect;
        struct suspect proven; // the last one that became a dead letter
        int64_t proven_ms;     // when, 0: none
    } batch;

    // trim.c
    struct {
        int64_t trimmed_ms;       // when it trimmed last, 0: it is due
        int64_t exact_ms;         // when it trimmed to the entry last, 0: it is due
        struct clock_watch clock; // watches Redis's
        int64_t newest_us,
            newest_at_us;   // id of the newest entry, boot clock when it was read
        int64_t started_us; // boot clock
        bool has_past;      // the journal had records then
        bool reloaded;      // the configuration is another
        char streams[RELAY_STREAMS_MAX]
                    [RELAY_NAME];           // "dead", those of the configuration,
        size_t streams_len, configured_len; // and those that no hook names any more
        struct once refused, ids;
    } trim;
};

// connect.c: connect_check opens a connection where there is none, and where that is new, in doubt
// or long ago asks for role, eviction policy and cursor in one exchange with a deadline of its own,
// and goes to where the cursor stands: what Redis lost while nothing was sent is found so. What to
// do next: REPLY_DONE ship, else as script.h says.
enum reply connect_check(struct relay *r);
void connect_close(struct relay *r);
// connect_probe makes a script call without records at cursor `at`: a write that changes nothing.
enum reply connect_probe(struct relay *r, uint64_t at);
// connect_refusal counts an answer that is an error, and reports it where it is not about one
// record; what to do next.
enum reply connect_refusal(struct relay *r, const struct script_answer *a);
// connect_move takes over where the cursor stands, by Redis's word.
void connect_move(struct relay *r, uint64_t sequence, const char *check);
// connect_report logs once why nothing is published, as an alarm where an operator must act
// (REPLY_STOP, REPLY_FENCED), and keeps it in the status. Returns `reply`.
enum reply connect_report(struct relay *r, enum reply reply, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// batch.c: batch_ship sends what waits, one batch; REPLY_DONE when there was nothing or it is in.
// The relay must be placed.
enum reply batch_ship(struct relay *r, bool *idle);

// trim.c: trim_if_due keeps the streams of the last batch in mind, and trims every trim time, to
// the entry once an hour.
void trim_if_due(struct relay *r);

#endif
