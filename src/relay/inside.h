// What the files of the relay share. Internal to the floor.
#ifndef ACRELAY_RELAY_INSIDE_H
#define ACRELAY_RELAY_INSIDE_H

#include "base/clock.h"
#include "relay/relay.h"

#include <pthread.h>

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
    char words[256];
};

struct relay {
    struct relay_options options; // the texts below are ours
    char *host, *path, *user, *namespace, *account, *directory;
    struct buf password;
    char owner[SCRIPT_OWNER];
    char streams[RELAY_STREAMS_MAX][RELAY_NAME];
    size_t streams_len;
    struct buf hooks; // names, each with its NUL

    pthread_t thread;
    pthread_mutex_t lock; // for what follows, up to the thread's own
    pthread_cond_t bell;  // stop, reload, or the first attempt to read the cursor is over
    bool stopping, reloaded, attempted;
    struct relay_status status;
    int fd;                    // of the live connection, -1: none
    struct relay_options next; // reloadable figures, with password and streams in:
    struct buf next_password;
    char next_streams[RELAY_STREAMS_MAX][RELAY_NAME];
    size_t next_streams_len;
    struct buf next_hooks;

    // the thread's own
    struct journal *journal;
    struct cursor *reader;
    struct entry_maker *maker;
    struct script script;
    struct redis *redis;
    char moved_host[256];
    uint16_t moved_port;
    uint64_t cursor;         // as Redis said last
    char check[ENTRY_CHECK]; // the cursor's, as Redis said last or was sent
    bool placed;             // the reader stands behind the cursor, nothing is in doubt
    int64_t received_us;     // of the record at the cursor, 0: not known
    int64_t wall_us;         // wall clock minus boot clock at the last check, 0: none yet
    int64_t checked_us;      // boot clock then
    uint64_t doubt; // records up to here may have receipts of two different clocks
    bool forgets;   // with the next batch all fingerprints are forgotten
    bool known;     // a cursor was read in this life
    bool warned_info, warned_role, warned_trim, warned_ids, noticed;
    bool role_hidden;   // Redis does not let us ask for it
    int64_t polled_ms;  // when Redis was polled last, 0: it must be
    int64_t heard_ms;   // when it last answered a poll or a batch
    int64_t wait_ms;    // next back-off
    int64_t gone_ms;    // since when it does not ship, 0: it does
    uint64_t waiting;   // records behind the cursor when Redis was back
    int64_t trimmed_ms; // when it trimmed last
    int64_t exact_ms;   // when it trimmed to the entry last, 0: it is due
    struct clock_watch redis_clock;
    int64_t newest_us,
        newest_at_us;   // id of the newest entry, boot clock when it was read
    int64_t started_us; // boot clock
    bool has_past;      // the journal had records then
    char left[RELAY_STREAMS_MAX][RELAY_NAME]; // streams that no hook names any more
    size_t left_len;
    uint64_t dead_gone;   // dead letters trimmed and not told yet
    int64_t dead_gone_ms; // when that was told last, 0: never
    int64_t dead_told_ms; // when dead letters were told last, 0: never
    char said[128];       // the last complaint, so that it is said once

    // the batch
    struct buf last_payload;
    struct record last;            // newest record of the batch, payload in last_payload
    bool last_is_record;           // else a gap
    char batch_check[ENTRY_CHECK]; // the cursor's check behind the batch
    struct buf held_payload;
    struct record held; // was read and did not fit any more
    bool has_held;
    uint64_t batch_bytes, batch_dead, batch_gaps;
    int64_t batch_received_us; // of its newest record

    // refuse.c
    struct suspect suspect;
    struct suspect proven; // the last one that became a dead letter
    int64_t proven_ms;     // when, 0: none
    size_t records_max;    // of a batch: less after one was cut off, more when one passes
    int64_t narrowed_ms;   // when it was made less, 0: it may grow at once
    int64_t refused_told_ms; // when such a letter was told last, 0: never
};

// attach.c: relay_attach opens a connection and polls. relay_poll asks for role, eviction
// policy and cursor in one exchange with a deadline of its own, and goes to where the cursor
// stands: what Redis lost while nothing was sent is found so. What to do next: REPLY_DONE ship,
// else as reply.h says.
enum reply relay_attach(struct relay *r);
enum reply relay_poll(struct relay *r);
// relay_limit_wait sets how long the next command may take.
void relay_limit_wait(struct relay *r);
void relay_detach(struct relay *r);

// ship.c: relay_ship sends what waits, one batch; REPLY_DONE when there was nothing or it
// is in. relay_go_to puts the reader behind `sequence` and compares our record there with the
// cursor's check, "" for none.
enum reply relay_ship(struct relay *r, bool *idle);
// relay_probe makes a script call without records at cursor `at`: a write that changes nothing.
enum reply relay_probe(struct relay *r, uint64_t at);
enum place {
    PLACE_OURS,    // or there is nothing to compare
    PLACE_ANOTHER, // it is another record
    PLACE_UNREAD,  // the journal cannot be read there now; *err
};
enum place relay_go_to(struct relay *r, uint64_t sequence, struct span check,
                       struct err *err);

// refuse.c: relay_try_suspect makes sure, before a record is tried again that failed alone, that
// other writes succeed, and decides whether a dead letter goes in its place, which
// relay_make_letter makes (-1: its bytes cannot be kept, and that is said). relay_refused,
// relay_cut: the batch failed so; relay_passed: it is in. All return what to do next.
bool relay_is_suspect(const struct relay *r);
enum reply relay_try_suspect(struct relay *r);
int relay_make_letter(struct relay *r, const struct record *record, struct entry *e);
enum reply relay_refused(struct relay *r, struct span words);
enum reply relay_cut(struct relay *r, const char *words, bool timed_out);
void relay_passed(struct relay *r);
// relay_sweep_aside removes kept bytes whose letters were trimmed.
void relay_sweep_aside(struct relay *r);

// relay_complain says a reason once and keeps it in the status.
void relay_complain(struct relay *r, enum relay_state state, bool alarm,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));
void relay_count_word(struct relay *r, struct span words);

// doubt.c: receipt_went_back says whether the clock was set back between two records, one
// after the other (0: not known). relay_check_clock looks for steps that no receipt shows, and
// raises r->doubt.
bool receipt_went_back(int64_t before_us, int64_t received_us);
void relay_check_clock(struct relay *r);

// trim.c: every trim_ms, and to the entry once an hour.
void relay_trim(struct relay *r);

// streams.c: streams stay known, in {ns}:streams, until they are empty: also those that no
// hook names any more. relay_remember_streams takes those of the batch that was sent last,
// relay_replace_streams those that a reload takes out of the file;
// relay_sync_streams writes the set and reads what others left there.
void relay_remember_streams(struct relay *r);
void relay_replace_streams(struct relay *r, char streams[][RELAY_NAME], size_t len);
void relay_sync_streams(struct relay *r);
// relay_forget_hooks takes hooks that are not in the file out of {ns}:last.
void relay_forget_hooks(struct relay *r);

#endif
