// Each wanted hook takes one found hook: the one it adopts, one of the same name and list,
// and when all those are taken, one of the same name whose list nobody wants. What nobody
// took is a twin when its name and list are wanted, else it is unwanted. Where AC shows another
// list than was asked for, what was written on a hook says whose it is.
#include "hook/plan.h"

#include <stdio.h>
#include <stdlib.h>

struct matching {
    const struct hooks *wanted, *found;
    const struct hook **taken_by; // for each found hook: the wanted one, or NULL
    const struct hook **takes;    // for each wanted hook: the found one, or NULL
};

static bool
is_same(const struct hook *wanted, const struct hook *found)
{
    return hook_is_named(found, wanted->name) && wanted->list == found->list;
}

static bool
is_wanted(const struct hooks *wanted, const struct hook *found)
{
    for (size_t i = 0; i < wanted->len; i++)
        if (is_same(&wanted->at[i], found))
            return true;
    return false;
}

static bool
is_free(const struct matching *m, size_t found)
{
    return !m->taken_by[found] && !m->found->at[found].old;
}

static void
take(struct matching *m, size_t wanted, size_t found)
{
    m->takes[wanted] = &m->found->at[found];
    m->taken_by[found] = &m->wanted->at[wanted];
}

static void
take_adopted(struct matching *m, size_t w)
{
    uint64_t id = m->wanted->at[w].adopt;

    for (size_t i = 0; id && i < m->found->len; i++)
        if (m->found->at[i].id == id && is_free(m, i))
            take(m, w, i);
}

static bool
is_better(const struct hook *wanted, const struct hook *a, const struct hook *b)
{
    bool a_right = !(hook_differs(wanted, a) & DIFFERS_URL),
         b_right = !(hook_differs(wanted, b) & DIFFERS_URL);

    return a_right != b_right ? a_right : a->id > b->id;
}

// with_list: only of the same list. Without: only one whose own list nobody wants.
static void
take_own(struct matching *m, size_t w, bool with_list)
{
    const struct hook *wanted = &m->wanted->at[w];
    size_t best = SIZE_MAX;

    if (m->takes[w])
        return;
    for (size_t i = 0; i < m->found->len; i++) {
        const struct hook *found = &m->found->at[i];
        if (!is_free(m, i) || !hook_is_named(found, wanted->name) || found->id == 0)
            continue;
        if (with_list ? found->list != wanted->list : is_wanted(m->wanted, found))
            continue;
        if (best == SIZE_MAX || is_better(wanted, found, &m->found->at[best]))
            best = i;
    }
    if (best != SIZE_MAX)
        take(m, w, best);
}

static bool
has_own(const struct matching *m, const struct hook *wanted)
{
    for (size_t i = 0; i < m->found->len; i++)
        if (is_free(m, i) && is_same(wanted, &m->found->at[i]))
            return true;
    return false;
}

// What was written as this hook, and is shown with another list.
static void
take_written(struct matching *m, size_t w)
{
    const struct hook *wanted = &m->wanted->at[w];
    uint64_t digest = hook_digest(wanted);

    if (m->takes[w] || has_own(m, wanted))
        return;
    for (size_t i = 0; i < m->found->len && !m->takes[w]; i++)
        if (is_free(m, i) && m->found->at[i].written == digest &&
            hook_is_named(&m->found->at[i], wanted->name))
            take(m, w, i);
}

static void
match(struct matching *m)
{
    for (size_t w = 0; w < m->wanted->len; w++)
        take_adopted(m, w);
    for (size_t w = 0; w < m->wanted->len; w++)
        take_written(m, w);
    for (size_t w = 0; w < m->wanted->len; w++)
        take_own(m, w, true);
    for (size_t w = 0; w < m->wanted->len; w++)
        take_own(m, w, false);
}

static void
add_step(struct plan *plan, struct step step)
{
    plan->at = memory_grow(plan->at, (plan->len + 1) * sizeof *plan->at);
    plan->at[plan->len++] = step;
    plan->writes += step.kind < STEP_LEAVE;
    plan->count[step.kind]++;
}

// --- what is not created -------------------------------------------------------------------

static bool
is_alike(const struct hook *wanted, const struct hook *found, bool *certain)
{
    struct hook_url url;
    char label[HOOK_NAME + 16];

    *certain = false;
    if (strstr(found->url, "/hook/") && hook_url_parse(&url, found->url) &&
        strcmp(url.name, wanted->name) == 0)
        for (size_t i = 0; i < wanted->tokens.len && !*certain; i++)
            *certain = strcmp(url.token, wanted->tokens.at[i]) == 0;
    snprintf(label, sizeof label, "acrelay %s", wanted->name);
    struct hook named = {.label = label, .url = found->url};
    return *certain || !(hook_differs(&named, found) & DIFFERS_LABEL);
}

const struct hook *
plan_alike(const struct hooks *wanted, const struct hook *found, bool *certain)
{
    *certain = false;
    for (size_t i = 0; i < wanted->len; i++)
        if (!found->name && is_alike(&wanted->at[i], found, certain))
            return &wanted->at[i];
    return NULL;
}

// It is created, unless there is a hook at AC beside which it must not be.
static void
plan_absent(struct plan *plan, const struct hook *wanted, const struct hooks *found)
{
    bool certain;

    for (size_t i = 0; i < found->len; i++) {
        const struct hook *h = &found->at[i];
        if (h->old || (h->name ? h->id != 0 || !hook_is_named(h, wanted->name)
                               : !is_alike(wanted, h, &certain)))
            continue;
        add_step(plan, (struct step){.kind = STEP_REFUSE,
                                     .why = h->name ? WHY_UNREADABLE : WHY_ALIKE,
                                     .wanted = wanted,
                                     .found = h});
        return;
    }
    add_step(plan, (struct step){.kind = STEP_CREATE, .wanted = wanted});
}

static bool
is_kept(const struct hook *wanted, const struct hook *found)
{
    return found->settled && found->written == hook_digest(wanted);
}

static void
plan_wanted(struct plan *plan, const struct hook *wanted, const struct hook *found)
{
    struct step step = {
        .wanted = wanted, .found = found, .differs = hook_differs(wanted, found)};
    bool kept = is_kept(wanted, found);

    step.kind = kept ? STEP_KEEP : STEP_CHANGE;
    step.why = kept ? WHY_STORED : found->name ? WHY_DIFFERS : WHY_ADOPTED;
    if (step.differs)
        add_step(plan, step);
    else
        plan->ok++;
}

static bool
is_absent(const struct matching *m, const char *name)
{
    for (size_t w = 0; w < m->wanted->len; w++)
        if (!m->takes[w] && hook_is_named(&m->wanted->at[w], name))
            return true;
    return false;
}

// The one that was taken and does the same: it is wanted on that list, or kept on it, where AC
// made that list of another.
static const struct hook *
find_twin(const struct matching *m, const struct hook *found)
{
    for (size_t w = 0; w < m->wanted->len; w++) {
        const struct hook *wanted = &m->wanted->at[w], *taken = m->takes[w];
        if (taken && hook_is_named(found, wanted->name) &&
            (wanted->list == found->list ||
             (taken->list == found->list && is_kept(wanted, taken))))
            return taken;
    }
    return NULL;
}

static void
plan_leftover(struct plan *plan, const struct matching *m, const struct hook *found,
              bool prune)
{
    struct step step = {.kind = STEP_LEAVE, .why = WHY_UNWANTED, .found = found};

    if (found->old && is_absent(m, found->name))
        return; // until all that takes its place is there
    if (found->id == 0 || found->list == HOOK_LIST_UNREADABLE) {
        step.why = WHY_UNREADABLE;
    } else if (found->stays) {
        step.why = WHY_STAYS;
    } else if ((step.twin = find_twin(m, found))) {
        step.why = WHY_TWIN;
        step.kind = STEP_REMOVE;
    } else if (prune) {
        step.kind = STEP_REMOVE;
    }
    add_step(plan, step);
}

void
plan_make(struct plan *plan, const struct hooks *wanted, const struct hooks *found,
          bool prune)
{
    struct matching m = {.wanted = wanted, .found = found};
    size_t takes = (wanted->len + 1) * sizeof *m.takes,
           taken = (found->len + 1) * sizeof *m.taken_by;

    *plan = (struct plan){0};
    m.takes = memset(memory_get(takes), 0, takes);
    m.taken_by = memset(memory_get(taken), 0, taken);
    match(&m);
    for (size_t i = 0; i < wanted->len; i++)
        if (m.takes[i])
            plan_wanted(plan, &wanted->at[i], m.takes[i]);
        else
            plan_absent(plan, &wanted->at[i], found);
    for (size_t i = 0; i < found->len; i++)
        if (found->at[i].name && !m.taken_by[i])
            plan_leftover(plan, &m, &found->at[i], prune);
    free(m.takes);
    free(m.taken_by);
}

void
plan_release(struct plan *plan)
{
    free(plan->at);
    *plan = (struct plan){0};
}
