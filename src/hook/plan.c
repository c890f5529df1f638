// Each wanted hook takes one found hook: the one it adopts, one of the same name and list,
// and when all those are taken, one of the same name whose list nobody wants. What nobody
// took is a twin when its name and list are wanted, else it is unwanted.
#include "hook/plan.h"

#include <stdlib.h>

struct matching {
    const struct hooks *wanted, *found;
    const struct hook **taken_by; // for each found hook: the wanted one, or NULL
    const struct hook **takes;    // for each wanted hook: the found one, or NULL
};

unsigned
plan_differs(const struct hook *wanted, const struct hook *found)
{
    unsigned differs = 0;

    if (strcmp(wanted->label, found->label) != 0)
        differs |= DIFFERS_LABEL;
    if (strcmp(wanted->url, found->url) != 0)
        differs |= DIFFERS_URL;
    if (!hook_words_equal(&wanted->events, &found->events))
        differs |= DIFFERS_EVENTS;
    if (!hook_words_equal(&wanted->sources, &found->sources))
        differs |= DIFFERS_SOURCES;
    if (wanted->list != found->list)
        differs |= DIFFERS_LIST;
    return differs;
}

static bool
has_name(const struct hook *hook, const char *name)
{
    return hook->name && strcmp(hook->name, name) == 0;
}

static bool
is_wanted(const struct hooks *wanted, const struct hook *found)
{
    for (size_t i = 0; i < wanted->len; i++)
        if (has_name(found, wanted->at[i].name) && wanted->at[i].list == found->list)
            return true;
    return false;
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
        if (m->found->at[i].id == id && !m->taken_by[i])
            take(m, w, i);
}

static bool
is_better(const struct hook *wanted, const struct hook *a, const struct hook *b)
{
    bool a_right = strcmp(a->url, wanted->url) == 0,
         b_right = strcmp(b->url, wanted->url) == 0;

    return a_right != b_right ? a_right : a->id > b->id;
}

// with_list: only of the same list. Without: only one whose own list nobody wants.
static void
take_own(struct matching *m, size_t w, bool with_list)
{
    const struct hook *wanted = &m->wanted->at[w];
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < m->found->len; i++) {
        const struct hook *found = &m->found->at[i];
        if (m->taken_by[i] || !has_name(found, wanted->name))
            continue;
        if (with_list ? found->list != wanted->list : is_wanted(m->wanted, found))
            continue;
        if (best == SIZE_MAX || is_better(wanted, found, &m->found->at[best]))
            best = i;
    }
    if (best != SIZE_MAX)
        take(m, w, best);
}

static void
match(struct matching *m)
{
    for (size_t w = 0; w < m->wanted->len; w++)
        take_adopted(m, w);
    for (size_t w = 0; w < m->wanted->len; w++)
        if (!m->takes[w])
            take_own(m, w, true);
    for (size_t w = 0; w < m->wanted->len; w++)
        if (!m->takes[w])
            take_own(m, w, false);
}

static void
add_step(struct plan *plan, struct step step)
{
    plan->at = memory_grow(plan->at, (plan->len + 1) * sizeof *plan->at);
    plan->at[plan->len++] = step;
    plan->writes += step.kind != STEP_LEAVE;
}

static void
plan_wanted(struct plan *plan, const struct hook *wanted, const struct hook *found)
{
    if (!found) {
        add_step(plan, (struct step){.kind = STEP_CREATE, .wanted = wanted});
        return;
    }
    unsigned differs = plan_differs(wanted, found);
    bool foreign = !found->name;
    if (differs == 0)
        plan->good++;
    else
        add_step(plan, (struct step){STEP_CHANGE, foreign ? WHY_ADOPTED : WHY_DIFFERS,
                                     wanted, found, differs});
}

static void
plan_leftover(struct plan *plan, const struct hooks *wanted, const struct hook *found,
              bool prune)
{
    if (is_wanted(wanted, found))
        add_step(plan, (struct step){STEP_REMOVE, WHY_TWIN, NULL, found, 0});
    else
        add_step(plan, (struct step){prune ? STEP_REMOVE : STEP_LEAVE, WHY_UNWANTED, NULL,
                                     found, 0});
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
        plan_wanted(plan, &wanted->at[i], m.takes[i]);
    for (size_t i = 0; i < found->len; i++)
        if (found->at[i].name && !m.taken_by[i])
            plan_leftover(plan, wanted, &found->at[i], prune);
    free(m.takes);
    free(m.taken_by);
}

void
plan_release(struct plan *plan)
{
    free(plan->at);
    *plan = (struct plan){0};
}
