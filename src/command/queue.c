// Subjects stand in a list, which is looked through for the next one (3 ms where 100,000 wait; a
// call takes far longer), and in a tree by name.
#include "command/queue.h"

#include <search.h>
#include <stdlib.h>

struct queue_subject {
    char *name;
    struct queued_list commands;
    size_t waiting[COMMAND_PRIORITIES];
    TAILQ_ENTRY(queue_subject) place;
};

// --- subjects ------------------------------------------------------------------------------

static int
compare_names(const void *a, const void *b)
{
    const struct queue_subject *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static void
free_subject(struct queue_subject *s)
{
    free(s->name);
    free(s);
}

static struct queue_subject *
find_subject(struct queue *q, struct span name)
{
    struct queue_subject *fresh = memory_get(sizeof *fresh);

    *fresh = (struct queue_subject){.name = memory_copy(name)};
    if (!q->by_name) // none yet, or none any more
        TAILQ_INIT(&q->subjects);
    struct queue_subject **found = tsearch(fresh, &q->by_name, compare_names);
    if (!found)
        memory_none();
    if (*found != fresh) {
        free_subject(fresh);
        return *found;
    }
    TAILQ_INIT(&fresh->commands);
    TAILQ_INSERT_TAIL(&q->subjects, fresh, place);
    return fresh;
}

static void
remove_subject(struct queue *q, struct queue_subject *s)
{
    tdelete(s, &q->by_name, compare_names);
    TAILQ_REMOVE(&q->subjects, s, place);
    free_subject(s);
}

// --- commands ------------------------------------------------------------------------------

struct queued *
queue_add(struct queue *q, struct span subject, struct queued *c)
{
    struct queue_subject *s = find_subject(q, subject);
    struct queued *before = TAILQ_LAST(&s->commands, queued_list);

    c->subject = s;
    TAILQ_INSERT_TAIL(&s->commands, c, place);
    s->waiting[c->priority]++;
    q->len++;
    return before;
}

void
queue_remove(struct queue *q, struct queued *c)
{
    struct queue_subject *s = c->subject;

    TAILQ_REMOVE(&s->commands, c, place);
    s->waiting[c->priority]--;
    q->len--;
    if (q->alone == c)
        q->alone = NULL;
    if (TAILQ_EMPTY(&s->commands))
        remove_subject(q, s);
}

void
queue_each(struct queue *q, void (*visit)(struct queued *, void *), void *context)
{
    for (struct queue_subject *s = TAILQ_FIRST(&q->subjects), *next; s; s = next) {
        next = TAILQ_NEXT(s, place);
        for (struct queued *c = TAILQ_FIRST(&s->commands), *after; c; c = after) {
            after = TAILQ_NEXT(c, place);
            visit(c, context);
        }
    }
}

static void
release(struct queued *c, void *queue)
{
    queue_remove(queue, c);
    free(c);
}

void
queue_release(struct queue *q)
{
    queue_each(q, release, q);
}

uint64_t
queue_oldest_ms(const struct queue *q)
{
    const struct queue_subject *s;
    uint64_t oldest = 0;

    TAILQ_FOREACH (s, &q->subjects, place)
        if (!oldest || TAILQ_FIRST(&s->commands)->entry_ms < oldest)
            oldest = TAILQ_FIRST(&s->commands)->entry_ms;
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
// have been carried out and are not the bulk move that waits for them. *any: there is one of
// these, now or later.
static struct queued *
find_next(const struct queue *q, bool only_in_doubt, int64_t now_ms, int64_t *due_ms,
          bool *any)
{
    const struct queue_subject *s;
    struct queued *best = NULL;
    int best_priority = 0;

    *any = false;
    TAILQ_FOREACH (s, &q->subjects, place) {
        struct queued *c = TAILQ_FIRST(&s->commands);
        if (only_in_doubt && (!c->attempts || c == q->alone))
            continue;
        *any = true;
        if (c->retry_ms > now_ms) {
            if (c->retry_ms < *due_ms)
                *due_ms = c->retry_ms;
            continue;
        }
        int priority = priority_of(s);
        if (!best || priority < best_priority ||
            (priority == best_priority && c->number < best->number)) {
            best = c;
            best_priority = priority;
        }
    }
    return best;
}

struct queued *
queue_next(struct queue *q, int64_t now_ms, int64_t *due_ms)
{
    struct queued *c;
    bool any;

    if (!q->alone) {
        c = find_next(q, false, now_ms, due_ms, &any);
        if (!c || !c->operation->is_bulk)
            return c;
        q->alone = c;
    }
    c = find_next(q, true, now_ms, due_ms, &any);
    if (any)
        return c;
    if (q->alone->retry_ms <= now_ms)
        return q->alone;
    if (q->alone->retry_ms < *due_ms)
        *due_ms = q->alone->retry_ms;
    return NULL;
}
