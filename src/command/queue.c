// Subjects stand in slots of an array, which is looked through for the next one (a call takes a
// hundred times longer), and found by name through chains. A slot that becomes empty is used
// again.
#include "command/queue.h"

#include <stdlib.h>

struct queue_subject {
    char *name; // NULL: the slot is free
    struct queued *first, *last;
    size_t waiting[COMMAND_PRIORITIES];
    size_t chained; // the next slot of its chain, or the next free one; + 1
};

enum { SLOTS_MIN = 16 };

// --- slots ---------------------------------------------------------------------------------

static uint64_t
checksum(struct span s) // FNV-1a
{
    uint64_t sum = 14695981039346656037u;

    for (size_t i = 0; i < s.len; i++)
        sum = (sum ^ (unsigned char)s.at[i]) * 1099511628211u;
    return sum;
}

static size_t *
chain_of(const struct queue *q, struct span name)
{
    return &q->heads[checksum(name) & (q->slots_max - 1)];
}

static void
chain(struct queue *q, size_t slot)
{
    size_t *head = chain_of(q, span_of(q->slots[slot].name));

    q->slots[slot].chained = *head;
    *head = slot + 1;
}

static void
grow(struct queue *q)
{
    q->slots_max = q->slots_max ? q->slots_max * 2 : SLOTS_MIN;
    q->slots = memory_grow(q->slots, q->slots_max * sizeof *q->slots);
    free(q->heads);
    q->heads = memory_get(q->slots_max * sizeof *q->heads);
    memset(q->heads, 0, q->slots_max * sizeof *q->heads);
    for (size_t i = 0; i < q->slots_len; i++) // none is free
        chain(q, i);
}

static size_t
add_slot(struct queue *q, struct span name)
{
    if (!q->free && q->slots_len == q->slots_max)
        grow(q);
    size_t slot = q->free ? q->free - 1 : q->slots_len++;
    if (q->free)
        q->free = q->slots[slot].chained;
    q->slots[slot] = (struct queue_subject){.name = memory_copy(name)};
    chain(q, slot);
    return slot;
}

static size_t
find_slot(struct queue *q, struct span name)
{
    for (size_t at = q->slots_max ? *chain_of(q, name) : 0; at;
         at = q->slots[at - 1].chained)
        if (span_is(name, q->slots[at - 1].name))
            return at - 1;
    return add_slot(q, name);
}

static void
free_slot(struct queue *q, size_t slot)
{
    struct queue_subject *s = &q->slots[slot];
    size_t *at = chain_of(q, span_of(s->name));

    while (*at != slot + 1)
        at = &q->slots[*at - 1].chained;
    *at = s->chained;
    free(s->name);
    *s = (struct queue_subject){.chained = q->free};
    q->free = slot + 1;
}

// --- commands ------------------------------------------------------------------------------

struct queued *
queue_add(struct queue *q, struct span subject, struct queued *c)
{
    c->slot = find_slot(q, subject);
    struct queue_subject *s = &q->slots[c->slot];
    c->before = s->last;
    c->after = NULL;
    if (s->last)
        s->last->after = c;
    else
        s->first = c;
    s->last = c;
    s->waiting[c->priority]++;
    q->len++;
    return c->before;
}

void
queue_remove(struct queue *q, struct queued *c)
{
    struct queue_subject *s = &q->slots[c->slot];

    if (c->before)
        c->before->after = c->after;
    else
        s->first = c->after;
    if (c->after)
        c->after->before = c->before;
    else
        s->last = c->before;
    c->before = c->after = NULL;
    s->waiting[c->priority]--;
    q->len--;
    if (q->alone == c)
        q->alone = NULL;
    if (!s->first)
        free_slot(q, c->slot);
}

void
queue_each(struct queue *q, void (*visit)(struct queued *, void *), void *context)
{
    for (size_t i = 0; i < q->slots_len; i++)
        for (struct queued *c = q->slots[i].first, *after; c; c = after) {
            after = c->after;
            visit(c, context);
        }
}

static void
release(struct queued *c, void *context)
{
    (void)context;
    free(c);
}

void
queue_release(struct queue *q)
{
    queue_each(q, release, NULL);
    for (size_t i = 0; i < q->slots_len; i++)
        free(q->slots[i].name);
    free(q->slots);
    free(q->heads);
    *q = (struct queue){0};
}

uint64_t
queue_oldest_ms(const struct queue *q)
{
    uint64_t oldest = 0;

    for (size_t i = 0; i < q->slots_len; i++) {
        const struct queued *c = q->slots[i].first;
        if (c && (!oldest || c->entry_ms < oldest))
            oldest = c->entry_ms;
    }
    return oldest;
}

// --- whose turn it is ----------------------------------------------------------------------

static int
priority_of(const struct queue_subject *s)
{
    int p = 0;

    while (!s->waiting[p])
        p++;
    return p;
}

// The first command of the subject whose turn it is at now_ms: of all, or of those that may
// have been carried out and are not the bulk move that waits for them.
static struct queued *
find_next(const struct queue *q, bool only_in_doubt, int64_t now_ms, int64_t *due_ms)
{
    struct queued *best = NULL;
    int best_priority = 0;

    for (size_t i = 0; i < q->slots_len; i++) {
        struct queued *c = q->slots[i].first;
        if (!c || (only_in_doubt && (!c->attempts || c == q->alone)))
            continue;
        if (c->retry_ms > now_ms) {
            if (c->retry_ms < *due_ms)
                *due_ms = c->retry_ms;
            continue;
        }
        int priority = priority_of(&q->slots[i]);
        if (!best || priority < best_priority ||
            (priority == best_priority && c->number < best->number)) {
            best = c;
            best_priority = priority;
        }
    }
    return best;
}

static bool
is_any_in_doubt(const struct queue *q)
{
    for (size_t i = 0; i < q->slots_len; i++) {
        const struct queued *c = q->slots[i].first;
        if (c && c->attempts && c != q->alone)
            return true;
    }
    return false;
}

struct queued *
queue_next(struct queue *q, int64_t now_ms, int64_t *due_ms)
{
    if (!q->alone) {
        struct queued *c = find_next(q, false, now_ms, due_ms);
        if (!c || !c->operation->is_bulk)
            return c;
        q->alone = c;
    }
    if (is_any_in_doubt(q))
        return find_next(q, true, now_ms, due_ms);
    if (q->alone->retry_ms <= now_ms)
        return q->alone;
    if (q->alone->retry_ms < *due_ms)
        *due_ms = q->alone->retry_ms;
    return NULL;
}
