// What the files of the relay share. Arrows: relay -> partition -> batch, trim, confirm -> connect ->
// report -> script, entry, layout, tools; trim -> stream.
#ifndef ACRELAY_RELAY_INTERNAL_H
#define ACRELAY_RELAY_INTERNAL_H

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "relay/feed.h"
#include "relay/layout.h"
#include "relay/relay.h"

#include <limits.h>
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
    RELAY_LAGGING,
    RELAY_UNCONFIRMED,
    RELAY_UNPUBLISHED,
    RELAY_OLDEST_AGE,
    RELAY_METRICS,
};
extern struct metric relay_metrics[RELAY_METRICS];

// A configuration that is held, and what is made of it: read once, and held by each partition.
struct relay_settings {
    _Atomic(size_t) holders;
    struct config *config;
    struct redis_options redis;
    struct redis_secrets secrets;
};

// What is sent in the place of a record that Redis does not take. REFUSED: not even an empty one.
enum letter { LETTER_NONE, LETTER_WHOLE, LETTER_EMPTY, LETTER_REFUSED };

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

// The relay owns the partitions: a thread and a connection for each tag that the layout names.
struct relay {
    struct journal *journal;
    struct feed *feed;    // NULL: there is one partition, which reads by itself
    struct layout layout; // as it was at the start
    char directory[PATH_MAX], owner[SCRIPT_OWNER];
    char account[64];       // a configuration may be released before
    pthread_mutex_t lock;   // of what the partitions share, here and below
    pthread_cond_t wake;    // stop, reload, or an attempt to read a cursor is over
    _Atomic(bool) stopping; // set with the lock
    uint64_t unread_from;   // see relay_read_unread; 0: no record came so
    char damage[256];       // why there are no partitions at all; "": there are
    size_t len;
    struct partition *partitions[LAYOUT_TAGS_MAX];
};

// What comes next: a record or a gap, and its item in the feed, which has it for as long as it is
// needed; NULL: it is the partition's own to make.
struct next {
    struct record record;
    const struct feed_item *item;
};

struct partition {
    struct relay *relay;
    int tag;                    // of layout.h
    char label[CONFIG_TAG + 4]; // " {ac.2}" for messages; "": it is the only one
    uint64_t first, last;       // what it can own, by the layout
    pthread_t thread;

    // with relay.lock
    bool attempted;              // to read the cursor
    int fd;                      // of the live connection, -1: none
    struct relay_status status;  // written by the thread only
    struct relay_settings *next; // of a reload; NULL: none
    uint64_t safe;               // all that it owns up to here may leave the journal
    int64_t heard_us;            // when the cursor was read or moved last (clock_boot_us)
    uint64_t letters_from;       // its dead letters before are gone; 0: not known
    bool is_empty;               // it is over, and so are its streams
    bool duplicates_paused, clock_held;
    double clock_step_s;

    // the thread's own
    struct relay_settings *settings;
    struct {
        int64_t backoff_min, backoff_max, stop_wait, refused_wait, trim, poll, connect,
            command, deadline,
            tls; // ms
    } times;
    struct journal *journal;
    struct feed_follower follower;
    struct cursor *reader; // where it does not follow the feed
    bool reads;            // by that, which stands where it passed last
    struct entry_maker maker;
    struct script script;
    int64_t backoff_ms; // 0: the first wait

    // where it stands
    uint64_t cursor;         // as last read or moved
    uint64_t passed;         // the reader has passed the records up to here
    char check[ENTRY_CHECK]; // the cursor's, as last read or sent
    bool placed;             // the reader stands after the cursor, nothing is in doubt
    bool has_held;           // batch.held was read and did not fit any more
    int64_t received_us;     // of the last record it passed, 0: not known
    int64_t moved_ms;        // when the cursor was moved last

    // connect.c
    struct redis *redis; // NULL: no connection
    struct {
        struct redis_find find;
        bool role_hidden;  // Redis does not let us ask for it
        int64_t opened_ms; // when the connection was
        int64_t polled_ms; // when Redis was polled last, 0: it must be
        int64_t heard_ms;  // when it last answered a poll or a batch
        int64_t down_ms;   // since when nothing is published, 0: it is
        uint64_t waiting;  // records after the cursor when Redis was back
        struct once trouble, no_role, no_info, no_account;
        int lines;       // about troubles, of which one follows the other within a minute
        int64_t line_ms; // when the last of them was logged
        bool alarmed;    // one of them was an alarm
    } connection;

    // batch.c
    struct {
        struct buf last_payload, held_payload;
        struct record last; // that the reader passed, payload in last_payload
        struct next held;
        char check[ENTRY_CHECK]; // the cursor's after the batch
        uint64_t bytes, skipped;
        // What was sent after `sent_after`, until it is known how much of it is in: of several batches
        // whose answers are lost each may be executed, and one only.
        struct {
            uint64_t sequence;
            enum event_reason reason;
            bool is_gap;
        } sent[SCRIPT_RECORDS_MAX];
        size_t sent_len;
        uint64_t sent_after;
        bool uncounted;
        uint64_t found_at;   // the cursor that a script did not expect, plus 1; 0: none
        size_t records_max;  // less after one was cut off, more when one passes
        int64_t narrowed_ms; // when it was made less, 0: it may grow at once
        uint64_t in_doubt; // records up to here may have receipts of two different clocks
        bool forgets;      // with the next batch all fingerprints are forgotten
        int64_t wall_us;   // wall clock minus boot clock at the last check, 0: none yet
        int64_t checked_us; // boot clock then
        struct once notice, full;
        struct suspect suspect;
        struct suspect replaced; // as it was when its letter was sent
        struct suspect proven;   // the last one that became a dead letter
        int64_t proven_ms;       // when, 0: none
    } batch;

    // confirm.c
    struct {
        int64_t asked_ms; // when Redis was asked over this connection, 0: not yet
        int missed;       // answers in a row that were not enough
        struct once late;
    } confirm;

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

// tools.c: what a partition reports to the relay that holds it.

// relay_publish lets the journal know up to where all partitions are safe, and when the longest
// silent one was heard. With the lock.
void relay_publish(struct relay *r);

// `state_dir/cursor-unread` has the first sequence that was given out while a partition had not read
// its cursor since the start, or after the cursor that it had when it found that a copy of the journal
// is in use. It is there until all publish: a restart in between must not take those records for
// published because a cursor is beyond them. relay_read_unread reads what an earlier process left;
// relay_mark_unread writes it, relay_mark_start where a cursor is not known; relay_publish removes it.
// relay_has_unread: there are such records, up to `last`.
void relay_read_unread(struct relay *r);
void relay_mark_unread(struct relay *r, uint64_t first);
void relay_mark_start(struct relay *r);
bool relay_has_unread(struct relay *r, uint64_t last);

// relay_show_worst sets the gauges that show the worst partition.
void relay_show_worst(struct relay *r);

// relay_show_certificates sets the gauges of when those of the partition's connection expire.
void relay_show_certificates(const struct partition *p);

// tools.c
void settings_release(struct relay_settings *s); // takes a holder away; NULL is fine

// partition.c: its thread.
// partition_make holds the settings.
struct partition *partition_make(struct relay *r, int tag,
                                 struct relay_settings *settings);
int partition_start(struct partition *p, struct err *err);
// partition_wake ends its wait for records.
void partition_wake(struct partition *p);
void partition_release(struct partition *p);

// partition_is_over: what it owns ended with a change of redis.partitions, and is safe. With the
// lock, or by its thread.
static inline bool
partition_is_over(const struct partition *p)
{
    return p->status.known && p->safe >= p->last;
}

// report.c: report_trouble logs once why nothing is published, as an alarm where an operator must act
// (REPLY_STOP, _DISK, _FENCED), and keeps it in the status. Returns `reply`.
enum reply report_trouble(struct partition *p, enum reply reply, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// report_refusal counts an answer that is an error, and reports it where it is not about one
// record; what to do next.
enum reply report_refusal(struct partition *p, const struct script_answer *a);
// report_unreadable reports that the journal cannot be read: a person must act where it is the disk.
enum reply report_unreadable(struct partition *p, const struct err *err);
// report_error classes an error reply to a question, and reports it.
enum reply report_error(struct partition *p, struct span message);

// connect.c: connect_check opens a connection where there is none, and where that is new, in doubt
// or long ago asks for role, eviction policy and cursor in one exchange with a deadline of its own,
// and goes to where the cursor stands: what Redis lost while nothing was sent is found so. What to
// do next: REPLY_DONE ship, else as script.h says.
enum reply connect_check(struct partition *p);
void connect_close(struct partition *p);
// connect_probe makes a script call without records at cursor `at`: a write that changes nothing.
enum reply connect_probe(struct partition *p, uint64_t at);
// connect_move takes over where the cursor stands, by Redis's word.
void connect_move(struct partition *p, uint64_t sequence, const char *check);
// receivers.c: registers this receiver and its state in Redis.
void receivers_register(struct partition *p);
// refused.c: a record that Redis does not take. refused_is_next: it is the next one, and goes alone.
bool refused_is_next(const struct partition *p);
// refused_try makes sure, before it is tried again, that other writes succeed, and decides whether a
// dead letter goes in its place.
enum reply refused_try(struct partition *p);
// refused_letter turns the entry into that letter; -1: its bytes cannot be kept, which is reported.
int refused_letter(struct partition *p, const struct record *record, struct entry *e);
// The record, alone in its batch, was refused; the connection was lost with the batch; the batch is
// in, and it was the letter with this sequence (0: none).
enum reply refused_by_answer(struct partition *p, bool by_cut, const char *message);
enum reply refused_by_cut(struct partition *p, const char *message, bool timed_out);
void refused_passed(struct partition *p, uint64_t letter);

// batch.c: batch_ship sends what waits, one batch; REPLY_DONE when there was nothing or it is in.
// The partition must be placed.
enum reply batch_ship(struct partition *p, bool *idle);

// stream.c: a stream of the partition's. stream_key writes its key; stream_length gives its entries, -1
// where Redis does not say; stream_field gives what XINFO STREAM says of it, NULL where that is nothing.
void stream_key(const struct partition *p, char to[SCRIPT_KEY], const char *name);
int64_t stream_length(struct partition *p, const char *key);
const struct redis_reply *stream_field(struct partition *p, const char *key,
                                       const char *name);
// stream_trim trims by age where `now_us` is known, else by number only, and shows the stream's
// figures. Returns how many entries are gone.
uint64_t stream_trim(struct partition *p, const char *name, int64_t age_us,
                     int64_t now_us, bool exact);
// stream_report_refused: an error in the place of a figure. A dead connection is not reported: the
// next batch meets it.
void stream_report_refused(struct partition *p, const struct redis_reply *reply);

// confirm.c: confirm_if_due asks whether what was published is where redis.confirm wants it, and lets
// the journal know. REPLY_DONE, whatever the answer; else what to do next.
enum reply confirm_if_due(struct partition *p);

// trim.c: trim_if_due trims every trim time, to the entry once an hour. trim_add_batch has the streams
// of the batch trimmed too, also by who comes after us: records may name one that no hook names any more.
void trim_if_due(struct partition *p);
void trim_add_batch(struct partition *p);

#endif
