// A feed reads the journal once for several partitions: its thread makes the entries, and each
// partition takes what is its own from there. It holds a bounded piece of the journal, its newest
// part, until all that follow it have passed; a partition that is elsewhere, because Redis lost data
// or it was too slow for the others, reads the journal by a cursor of its own until it is back there.
#ifndef ACRELAY_RELAY_FEED_H
#define ACRELAY_RELAY_FEED_H

#include "relay/layout.h"
#include "relay/relay.h"

struct feed;

// An item is a record, and what becomes of it. Nobody changes it.
struct feed_item {
    struct record record;
    struct entry entry; // not of a gap, which is another to each partition
    int owner;          // tag; of a gap -1
    size_t bytes;
    int holders;
    char *made; // what the entry has that is not of the payload
    char payload[];
};

enum { FEED_WINDOW = 64 };

// A follower is a partition's place in the feed. It is the partition's, but for what feed.c marks.
struct feed_follower {
    struct feed *feed; // NULL: there is none
    int tag;
    struct feed_item *window[FEED_WINDOW],
        *before; // held; `before` is the one passed last
    size_t len, at;
    _Atomic(bool) follows; // feed.c: else it reads by its own cursor
    bool began;            // feed.c: it wants to
    uint64_t next;         // feed.c: place of the next item
    int64_t moved_ms;
    bool sleeps, woken;
    pthread_cond_t more;
};

// feed_open borrows all and starts the thread; NULL with *err when there is none to be had. feed_stop
// ends it, once no follower's thread runs any more.
struct feed *feed_open(struct journal *j, const struct layout *l, const char *account,
                       struct err *err);
void feed_stop(struct feed *f);
void feed_close(struct feed *f); // after the followers; NULL is fine

// feed_left_behind gives how many would follow, and read by themselves.
size_t feed_left_behind(struct feed *f);

// feed_begin makes a follower, which does not follow yet (f NULL: and never will). feed_end releases
// it after feed_stop.
void feed_begin(struct feed *f, struct feed_follower *w, int tag);
void feed_end(struct feed_follower *w);

// feed_follow begins to follow where the follower has passed `after`, if the feed has what comes then.
bool feed_follow(struct feed_follower *w, uint64_t after);

// feed_next gives the next item, of whatever owner, valid until the call after the next; NULL when
// there is none, or it does not follow any more: `follows` tells.
const struct feed_item *feed_next(struct feed_follower *w);

// feed_leave: the follower goes elsewhere.
void feed_leave(struct feed_follower *w);

// feed_wait blocks until there is an item of its own, feed_wake is called by another thread, or
// wait_ms have passed.
void feed_wait(struct feed_follower *w, int64_t wait_ms);
void feed_wake(struct feed_follower *w);

#endif
