// A ring of items, in the journal's order, bounded by number and bytes. The thread appends, and
// takes away the oldest ones that all followers have passed, when it needs their room. Followers take
// a window of items at a time and hold those: so who is slow, or gone, never has its memory taken.
//
// When the ring is full and the one that is farthest behind does not move, while another has
// nothing left to do, the slow one is left behind: it reads by its own cursor. When none moves,
// because Redis is away, the thread waits: so nothing is read twice then.
//
// It begins where the first one begins that wants to follow, and again there when nobody follows.
#include "relay/feed.h"

#include "base/clock.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

enum {
    ITEMS_MAX = 4096,
    BYTES_MAX = 16 << 20,
    WINDOW_BYTES_MAX = 1 << 20,
    STALL_MS = 500,
    RETRY_MS = 100,
    IDLE_MS = 1000,
};

struct feed {
    const struct layout *layout;
    pthread_t thread;
    struct cursor *reader; // the thread's, as the next
    struct entry_maker maker;

    pthread_mutex_t lock; // of what follows
    pthread_cond_t room;  // to the thread: an item was taken, somebody follows, it stops
    bool stopping;
    bool moves; // the thread is to go on after `last`
    struct feed_item *ring[ITEMS_MAX];
    uint64_t begin, end;   // places in the ring, counted for ever
    size_t bytes;          // in it
    uint64_t before, last; // what is in the ring comes after `before`, up to `last`
    struct feed_follower *followers[LAYOUT_TAGS_MAX];
    size_t len;
};

// --- items -----------------------------------------------------------------------------------

// keep_event copies what is the maker's, until it makes the next event. All else of the entry is in
// the item already: in its payload, or in the entry itself.
static void
keep_event(struct feed_item *item)
{
    uintptr_t begin = (uintptr_t)item,
              end = (uintptr_t)(item->payload + item->record.payload.len);
    enum { SPANS = sizeof item->entry.event / sizeof(struct span) }; // it is nothing else
    struct span *spans = (struct span *)&item->entry.event;
    bool is_ours[SPANS];
    size_t bytes = 0;

    for (size_t i = 0; i < SPANS; i++) {
        uintptr_t at = (uintptr_t)spans[i].at;
        is_ours[i] = at >= begin && at < end;
        bytes += is_ours[i] ? 0 : spans[i].len;
    }
    char *room = item->made = memory_get(bytes);
    for (size_t i = 0; i < SPANS; i++) {
        if (is_ours[i] || spans[i].len == 0)
            continue;
        memcpy(room, spans[i].at, spans[i].len);
        spans[i].at = room;
        room += spans[i].len;
    }
    item->bytes += bytes;
}

static struct feed_item *
make_item(struct feed *f, const struct record *record)
{
    size_t len = record->payload.len, bytes = sizeof(struct feed_item) + len;
    struct feed_item *item = memory_get(bytes);

    *item = (struct feed_item){.record = *record, .owner = -1, .bytes = bytes};
    if (len)
        memcpy(item->payload, record->payload.at, len);
    item->record.payload = span_make(item->payload, len);
    if (record->gap_first)
        return item;
    entry_make(&f->maker, &item->record, &item->entry);
    item->owner = relay_owner(f->layout, record->sequence, &item->entry);
    keep_event(item);
    return item;
}

// With the lock, as all that follows up to the thread.
static void
drop(struct feed_item *item)
{
    if (!item || --item->holders > 0)
        return;
    free(item->made);
    free(item);
}

// --- the ring ----------------------------------------------------------------------------------

static struct feed_item **
place(struct feed *f, uint64_t i)
{
    return &f->ring[i % ITEMS_MAX];
}

static bool
is_full(const struct feed *f, const struct feed_item *item)
{
    return f->end > f->begin &&
           (f->end - f->begin == ITEMS_MAX || f->bytes + item->bytes > BYTES_MAX);
}

static bool
is_followed(const struct feed *f)
{
    for (size_t i = 0; i < f->len; i++)
        if (f->followers[i]->follows)
            return true;
    return false;
}

// take_oldest takes the oldest item away, if all have passed it.
static bool
take_oldest(struct feed *f)
{
    for (size_t i = 0; i < f->len; i++)
        if (f->followers[i]->follows && f->followers[i]->next == f->begin)
            return false;
    struct feed_item *item = *place(f, f->begin++);
    f->before = item->record.sequence;
    f->bytes -= item->bytes;
    drop(item);
    return true;
}

// leave_behind: who holds up another that has nothing left to do.
static void
leave_behind(struct feed *f)
{
    int64_t now_ms = clock_mono_ms();
    bool starves = false;

    for (size_t i = 0; i < f->len; i++)
        starves =
            starves || (f->followers[i]->follows && f->followers[i]->next == f->end);
    for (size_t i = 0; i < f->len && starves; i++) {
        struct feed_follower *w = f->followers[i];
        if (w->next == f->begin && now_ms - w->moved_ms >= STALL_MS)
            w->follows = false;
    }
}

static void
wait_for_room(struct feed *f)
{
    struct timespec at = clock_timespec(clock_mono_us() + RETRY_MS * 1000);

    (void)pthread_cond_clockwait(&f->room, &f->lock, CLOCK_MONOTONIC, &at);
}

static void
wake_owner(struct feed *f, int owner)
{
    for (size_t i = 0; i < f->len; i++)
        if (f->followers[i]->sleeps && (owner < 0 || f->followers[i]->tag == owner))
            pthread_cond_signal(&f->followers[i]->more);
}

static void
push(struct feed *f, struct feed_item *item)
{
    pthread_mutex_lock(&f->lock);
    while (!f->stopping && !f->moves && is_full(f, item)) {
        if (take_oldest(f))
            continue;
        leave_behind(f);
        if (!take_oldest(f))
            wait_for_room(f);
    }
    item->holders = 1;
    if (f->stopping || f->moves) {
        drop(item);
    } else {
        *place(f, f->end++) = item;
        f->bytes += item->bytes;
        f->last = item->record.sequence;
        wake_owner(f, item->owner);
    }
    pthread_mutex_unlock(&f->lock);
}

// --- the thread ----------------------------------------------------------------------------------

// begin_round waits until somebody follows. False: it stops.
static bool
begin_round(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    while (!f->stopping && !is_followed(f))
        pthread_cond_wait(&f->room, &f->lock);
    if (f->moves)
        cursor_seek(f->reader, f->last);
    f->moves = false;
    bool goes_on = !f->stopping;
    pthread_mutex_unlock(&f->lock);
    return goes_on;
}

// give_up: the journal cannot be read. Each partition meets that by itself, and reports it.
static void
give_up(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->len; i++) {
        f->followers[i]->follows = false;
        pthread_cond_signal(&f->followers[i]->more);
    }
    pthread_mutex_unlock(&f->lock);
    clock_sleep_ms(RETRY_MS);
}

static void *
run(void *feed)
{
    struct feed *f = feed;
    struct record record;
    struct err err;

    while (begin_round(f)) {
        enum cursor_result found = cursor_next(f->reader, &record, &err);
        if (found == CURSOR_END)
            cursor_wait(f->reader, IDLE_MS);
        else if (found == CURSOR_ERROR)
            give_up(f);
        else
            push(f, make_item(f, &record));
    }
    return NULL;
}

struct feed *
feed_open(struct journal *j, const struct layout *l, const char *account, struct err *err)
{
    struct feed *f = memory_get(sizeof *f);

    memset(f, 0, sizeof *f);
    f->layout = l;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->room, NULL);
    f->reader = cursor_open(j, 0);
    f->maker = (struct entry_maker){.events = event_maker_open(),
                                    .account = span_of(account),
                                    .journal_id = span_of(journal_id(j))};
    if (thread_start(&f->thread, "reader", run, f, err) == 0)
        return f;
    feed_close(f);
    return NULL;
}

void
feed_stop(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    f->stopping = true;
    pthread_cond_signal(&f->room);
    pthread_mutex_unlock(&f->lock);
    cursor_wake(f->reader);
    pthread_join(f->thread, NULL);
}

void
feed_close(struct feed *f)
{
    if (!f)
        return;
    while (f->begin < f->end)
        drop(*place(f, f->begin++));
    event_maker_close(f->maker.events);
    cursor_close(f->reader);
    pthread_cond_destroy(&f->room);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

size_t
feed_left_behind(struct feed *f)
{
    size_t left = 0;

    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->len; i++)
        left += !f->followers[i]->follows && f->followers[i]->began;
    pthread_mutex_unlock(&f->lock);
    return left;
}

// --- followers -----------------------------------------------------------------------------------

void
feed_begin(struct feed *f, struct feed_follower *w, int tag)
{
    *w = (struct feed_follower){.feed = f, .tag = tag};
    if (!f)
        return;
    pthread_cond_init(&w->more, NULL);
    pthread_mutex_lock(&f->lock);
    f->followers[f->len++] = w;
    pthread_mutex_unlock(&f->lock);
}

// let_go of the window; with the lock.
static void
let_go(struct feed_follower *w, bool all)
{
    if (w->len > 0 || all) {
        drop(w->before);
        w->before = NULL;
    }
    if (w->len > 0 && !all)
        w->before = w->window[--w->len];
    while (w->len > 0)
        drop(w->window[--w->len]);
    w->at = 0;
}

void
feed_end(struct feed_follower *w)
{
    if (!w->feed)
        return;
    let_go(w, true);
    pthread_cond_destroy(&w->more);
}

// With the lock: the place of the first item after a sequence.
static uint64_t
find(struct feed *f, uint64_t after)
{
    uint64_t low = f->begin, high = f->end;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if ((*place(f, middle))->record.sequence > after)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

// With the lock: nobody follows, so that it can begin anywhere.
static void
restart(struct feed *f, uint64_t after)
{
    while (f->begin < f->end)
        drop(*place(f, f->begin++));
    f->bytes = 0;
    f->before = f->last = after;
    f->moves = true;
}

bool
feed_follow(struct feed_follower *w, uint64_t after)
{
    struct feed *f = w->feed;

    if (!f)
        return false;
    pthread_mutex_lock(&f->lock);
    bool first = !is_followed(f);
    if (first)
        restart(f, after);
    w->began = true;
    w->follows = after >= f->before && after <= f->last;
    w->next = w->follows ? find(f, after) : 0;
    w->moved_ms = clock_mono_ms();
    pthread_cond_signal(&f->room);
    bool follows = w->follows;
    pthread_mutex_unlock(&f->lock);
    if (first)
        cursor_wake(f->reader);
    return follows;
}

// With the lock.
static void
take_window(struct feed_follower *w)
{
    struct feed *f = w->feed;
    size_t bytes = 0;

    while (w->len < FEED_WINDOW && w->next < f->end &&
           (w->len == 0 || bytes <= WINDOW_BYTES_MAX)) {
        struct feed_item *item = *place(f, w->next++);
        item->holders++;
        bytes += item->bytes;
        w->window[w->len++] = item;
    }
    if (w->len == 0)
        return;
    w->moved_ms = clock_mono_ms();
    pthread_cond_signal(&f->room);
}

const struct feed_item *
feed_next(struct feed_follower *w)
{
    if (w->at == w->len) {
        pthread_mutex_lock(&w->feed->lock);
        let_go(w, false);
        if (w->follows)
            take_window(w);
        pthread_mutex_unlock(&w->feed->lock);
    }
    return w->at < w->len ? w->window[w->at++] : NULL;
}

void
feed_leave(struct feed_follower *w)
{
    if (!w->feed)
        return;
    pthread_mutex_lock(&w->feed->lock);
    w->follows = w->began = false;
    let_go(w, true);
    pthread_cond_signal(&w->feed->room);
    pthread_mutex_unlock(&w->feed->lock);
}

// With the lock.
static bool
has_own(const struct feed_follower *w)
{
    for (uint64_t i = w->next; i < w->feed->end; i++) {
        int owner = (*place(w->feed, i))->owner;
        if (owner < 0 || owner == w->tag)
            return true;
    }
    return false;
}

void
feed_wait(struct feed_follower *w, int64_t wait_ms)
{
    struct feed *f = w->feed;
    struct timespec at = clock_timespec(clock_mono_us() + wait_ms * 1000);

    pthread_mutex_lock(&f->lock);
    w->sleeps = true;
    while (!w->woken && w->follows && !has_own(w))
        if (pthread_cond_clockwait(&w->more, &f->lock, CLOCK_MONOTONIC, &at) != 0)
            break;
    w->sleeps = w->woken = false;
    pthread_mutex_unlock(&f->lock);
}

void
feed_wake(struct feed_follower *w)
{
    if (!w->feed)
        return;
    pthread_mutex_lock(&w->feed->lock);
    w->woken = true;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->feed->lock);
}
