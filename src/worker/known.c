#include "worker/known.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { HOUR_MS = 3600 * 1000 };

struct known_hook *
known_add(struct known *k, uint64_t id, const char *name)
{
    struct known_hook *e = known_find(k, id);

    if (!e) {
        k->at = memory_grow(k->at, (k->len + 1) * sizeof *k->at);
        e = &k->at[k->len++];
    }
    *e = (struct known_hook){.id = id, .since_us = clock_boot_us()};
    snprintf(e->name, sizeof e->name, "%s", name);
    return e;
}

static void
forget_marked(struct known *k)
{
    for (size_t i = k->len; i-- > 0;)
        if (k->at[i].forget)
            k->at[i] = k->at[--k->len];
}

void
known_forget(struct known *k, bool only_unlisted)
{
    for (size_t i = 0; i < k->len; i++)
        k->at[i].forget = !only_unlisted || !(k->at[i].listed || k->at[i].removed);
    forget_marked(k);
    if (only_unlisted)
        return;
    free(k->at);
    *k = (struct known){0};
}

static void
wrote_unclear(struct known *k, const struct hook *wanted)
{
    struct known_hook *e = NULL;

    for (size_t i = 0; i < k->len && !e; i++)
        if (k->at[i].unclear && k->at[i].list == wanted->list &&
            strcmp(k->at[i].name, wanted->name) == 0)
            e = &k->at[i];
    if (!e)
        e = known_add(k, 0, wanted->name);
    e->list = wanted->list;
    e->unclear++;
    e->since_us = clock_boot_us();
    e->gone = true;
}

void
known_wrote(struct known *k, const struct hook *found, const struct hook *wanted,
            const struct ac_client_answer *answer)
{
    const char *name = wanted ? wanted->name : found->name;

    if (answer->unclear) {
        wrote_unclear(k, wanted);
        return;
    }
    const struct known_hook *last = found ? known_find(k, found->id) : NULL;
    bool again = last && wanted && last->written == wanted->digest;
    struct known_hook *e = known_add(k, found ? found->id : answer->id, name ? name : "");
    e->again = again;
    e->listed = found;
    e->removed = !wanted;
    if (!wanted)
        return;
    e->list = wanted->list;
    e->written = wanted->digest;
    e->before = found ? hook_digest(found) : 0;
    e->answered = answer->digest;
}

// --- settling ------------------------------------------------------------------------------

struct settling {
    struct known *known;
    struct ac_client *client;
    const struct hooks *wanted;
    struct hooks *found;
};

static bool
is_past(const struct known_hook *e, int64_t ms)
{
    return clock_boot_us() - e->since_us >= ms * 1000;
}

static const struct hook *
find_wanted(const struct settling *s, uint64_t digest)
{
    for (size_t i = 0; i < s->wanted->len; i++)
        if (s->wanted->at[i].digest == digest)
            return &s->wanted->at[i];
    return NULL;
}

static void
add_set(struct buf *to, const char *field, const struct string_set *set)
{
    char word[80];

    buf_add_format(to, "%s%s [", to->len ? ", " : "", field);
    for (size_t i = 0; i < set->len; i++) {
        text_escape(word, sizeof word, span_of(set->at[i]));
        buf_add_format(to, "%s%s", i ? ", " : "", word);
    }
    buf_add_byte(to, ']');
}

static void
report(const struct hook *wanted, const struct hook *found, unsigned differs)
{
    char label[200];
    struct buf text;

    buf_init(&text, 1 << 14);
    text_escape(label, sizeof label, span_of(found->label));
    if (differs & DIFFERS_LABEL)
        buf_add_format(&text, "name \"%s\"", label);
    if (differs & DIFFERS_URL)
        buf_add_format(&text, "%sanother URL", text.len ? ", " : "");
    if (differs & DIFFERS_EVENTS)
        add_set(&text, "events", &found->events);
    if (differs & DIFFERS_SOURCES)
        add_set(&text, "sources", &found->sources);
    if (differs & DIFFERS_LIST && found->list == HOOK_LIST_UNREADABLE)
        buf_add_format(&text, "%sa list that cannot be read", text.len ? ", " : "");
    else if (differs & DIFFERS_LIST)
        buf_add_format(&text, "%slist %" PRIu64, text.len ? ", " : "", found->list);
    log_warn("worker: hook %s (#%" PRIu64
             "): ActiveCampaign accepted it but stores %s; it is not written again until "
             "the file or the webhook changes",
             wanted->name, found->id, buf_text(&text));
    if (differs & DIFFERS_URL && !hook_is_served(found))
        log_alarm(
            "worker: hook %s (#%" PRIu64
            "): the receiver answers 404 to the URL as ActiveCampaign stores it: "
            "its events are lost. See \"ActiveCampaign stores a hook differently\" in "
            "OPERATING.md",
            wanted->name, found->id);
    buf_release(&text);
}

// Whether what is there now can be what AC made of what was written. One that looks as before
// may be late, or was lost where the answer showed nothing; one that looks neither as before nor as
// AC answered was changed since, or AC answers what it does not store: these two are written once
// more, and then it is as before.
static bool
is_made_of_it(const struct known_hook *e, uint64_t now)
{
    if (now == e->before)
        return (e->answered || e->again) &&
               is_past(e, 2 * times_ms("worker_lag", KNOWN_LAG_MS));
    return e->answered == 0 || now == e->answered;
}

// judge takes what GET shows of a hook that was written.
static void
judge(struct settling *s, struct known_hook *e, const struct hook *now)
{
    uint64_t digest = hook_digest(now);
    const struct hook *wanted = find_wanted(s, e->written);
    unsigned differs = wanted ? hook_differs(wanted, now) : 0;
    bool first = e->stored == 0 || e->stored == e->before;

    if (e->written == 0 || digest == e->stored)
        return;
    if (first && differs && digest == e->before && !is_made_of_it(e, digest))
        return; // late
    if (!first || (differs && !is_made_of_it(e, digest))) {
        e->written = e->stored = 0; // somebody changed it since
        e->forget = !now->name;     // it is of others now
        return;
    }
    e->stored = digest;
    e->differs = differs != 0;
    if (differs)
        report(wanted, now, differs);
}

static bool
is_as_written(const struct settling *s, const struct known_hook *e,
              const struct hook *row)
{
    const struct hook *wanted = e->stored ? NULL : find_wanted(s, e->written);

    return wanted ? hook_differs(wanted, row) == 0 : hook_digest(row) == e->stored;
}

// Whether one of this name and list was created and lost before.
static bool
is_second(const struct known *k, const struct known_hook *e)
{
    for (size_t i = 0; i < k->len; i++)
        if (&k->at[i] != e && k->at[i].lost && k->at[i].list == e->list &&
            strcmp(k->at[i].name, e->name) == 0)
            return true;
    return false;
}

// One whose id the answer did not say: a new one of its name and list ends the doubt. It need not be
// that one, so what was written says nothing about it.
static void
settle_nameless(struct settling *s, struct known_hook *e)
{
    unsigned doublings = e->unclear < 4 ? 2 * (e->unclear - 1) : 6; // to 16 minutes

    e->lost = e->unclear == 0 && is_past(e, times_ms("worker_gone", KNOWN_GONE_MS)) &&
              !is_second(s->known, e);
    e->gone =
        e->unclear
            ? !is_past(e, times_ms("worker_unclear", KNOWN_UNCLEAR_MS) * (1 << doublings))
            : !e->lost;
    for (size_t i = 0; i < s->found->len && !e->forget; i++) {
        const struct hook *h = &s->found->at[i];
        e->forget = hook_is_named(h, e->name) && known_is_of(e, h->list) &&
                    !known_find(s->known, h->id);
    }
    e->forget = e->forget || is_past(e, HOUR_MS);
}

// One that a list has shown, and that nobody here removed; unless another worker put one in its place.
static void
report_gone(const struct settling *s, const struct known_hook *e)
{
    for (size_t i = 0; i < s->found->len; i++)
        if (hook_is_named(&s->found->at[i], e->name) &&
            known_is_of(e, s->found->at[i].list))
            return;
    for (size_t i = 0; i < s->wanted->len; i++)
        if (e->listed && strcmp(s->wanted->at[i].name, e->name) == 0) {
            log_warn(
                "worker: hook %s: its webhook #%" PRIu64
                " is gone from ActiveCampaign, and acrelay did not remove it: events "
                "are lost until it is created again. Find out who removed it",
                e->name, e->id);
            return;
        }
}

// Lists do not show it, and GET does not say that it is gone: for an hour nothing is created in its
// place.
static void
settle_unclear(struct known_hook *e)
{
    if (e->listed)
        e->since_us = clock_boot_us();
    e->listed = false;
    e->gone = !is_past(e, HOUR_MS);
    e->forget = !e->gone;
}

static void
settle_absent(struct settling *s, struct known_hook *e, struct hook *row)
{
    if (row) {
        hook_release(row);
        *row = s->found->at[--s->found->len];
    }
    if (e->removed) {
        e->listed = false;
        return;
    }
    if (!s->known->quiet)
        report_gone(s, e);
    e->lost = !e->listed && is_past(e, times_ms("worker_gone", KNOWN_GONE_MS)) &&
              !is_second(s->known, e);
    e->gone = !e->listed && !e->lost;
    e->forget = e->listed || is_past(e, HOUR_MS);
}

static int
settle_one(struct settling *s, struct known_hook *e, struct err *err)
{
    struct hook *row = hooks_find(s->found, e->id), now = {0};

    if (e->id == 0)
        return settle_nameless(s, e), 0;
    e->gone = e->lost = false;
    e->forget = e->removed && is_past(e, HOUR_MS);
    // A removed one that the list does not show is asked for once: a list may lack what is there.
    if (e->removed && !row && !e->listed)
        return 0;
    e->listed = row || e->listed;
    if (!e->removed && row && e->written == 0) {
        e->forget = !row->name; // of others now
        return 0;
    }
    if (!e->removed && row && is_as_written(s, e, row)) {
        e->stored = hook_digest(row);
        return 0;
    }
    enum ac_client_found there = ac_client_get(s->client, e->id, &now, err);
    if (there == AC_CLIENT_ERROR)
        return -1;
    if (there == AC_CLIENT_ABSENT)
        return settle_absent(s, e, row), 0;
    if (there == AC_CLIENT_UNCLEAR && !row) {
        if (!e->removed)
            settle_unclear(e);
        return 0;
    }
    if (there == AC_CLIENT_THERE) {
        if (row)
            hook_release(row);
        else
            row = hooks_add(s->found);
        *row = now;
    }
    row->stays = e->removed;
    if (!e->removed)
        judge(s, e, row);
    return 0;
}

// Only where a list lost what one has shown before is it read again.
static bool
has_lost(const struct known *k, const struct hooks *found)
{
    for (size_t i = 0; i < k->len; i++)
        if (k->at[i].id && k->at[i].listed && !k->at[i].removed &&
            !hooks_find(found, k->at[i].id))
            return true;
    return false;
}

static void
take_over(struct settling *s)
{
    for (size_t i = 0; i < s->found->len; i++) {
        struct hook *h = &s->found->at[i];
        struct known_hook *e = known_find(s->known, h->id);
        if (!e && h->name && h->id) {
            e = known_add(s->known, h->id, h->name);
            e->list = h->list;
            e->listed = true;
        }
        if (e && !h->name && e->stored == hook_digest(h) && find_wanted(s, e->written))
            h->name = memory_copy(span_of(e->name)); // AC made its URL of ours
        if (e && h->name)
            snprintf(e->name, sizeof e->name, "%s", h->name);
        if (e && e->list == HOOK_LIST_UNREADABLE)
            e->list = h->list;
        h->written = e ? e->written : 0;
        h->settled = e && e->stored && e->stored == hook_digest(h);
    }
}

int
known_settle(struct known *k, struct ac_client *client, const struct hooks *wanted,
             struct hooks *found, struct err *err)
{
    struct settling s = {k, client, wanted, found};
    int result = 0;

    if (has_lost(k, found) && ac_client_list(client, true, found, err) < 0)
        return -1;
    for (size_t i = 0; i < k->len && result == 0; i++)
        result = settle_one(&s, &k->at[i], err);
    forget_marked(k);
    take_over(&s);
    return result;
}
