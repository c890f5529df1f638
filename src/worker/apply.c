#include "worker/apply.h"

#include "config/reach.h"

#include <inttypes.h>
#include <stdlib.h>

enum { UNCLEAR_MAX = 20, SAME_MAX = 3 };

void
apply_release(struct apply *a)
{
    hooks_release(&a->found);
}

static int
list(struct apply *a, struct err *err)
{
    a->listed = account_list(a->account, &a->found, err) == 0;
    return a->listed ? 0 : -1;
}

int
apply_plan(struct apply *a, struct plan *plan, struct err *err)
{
    *plan = (struct plan){0};
    if (list(a, err) < 0)
        return -1;
    plan_make(plan, a->wanted, &a->found, a->prune);
    return 0;
}

// is_taken asks whether what AC will post to the hook is accepted.
static int
is_taken(const struct apply *a, const struct hook *wanted, struct err *err)
{
    if (config_takes(a->config, wanted->url + strlen(a->config->public_url)) != 0)
        return 0;
    return err_exit(err, EXIT_CODE_CONFIG,
                    "left as it is: the receiver would answer 404 to its new URL. Reload "
                    "acrelayd (restart it for a new secret under the units), then apply");
}

static int
write_step(struct apply *a, const struct step *s, struct err *err)
{
    if (s->kind == STEP_LEAVE)
        return 0;
    if (s->kind != STEP_REMOVE && is_taken(a, s->wanted, err) < 0)
        return -1;
    if (s->kind == STEP_CREATE)
        return account_create(a->account, s->wanted, err);
    if (s->kind == STEP_CHANGE)
        return account_change(a->account, s->found->id, s->wanted, err);
    return account_remove(a->account, s->found->id, err);
}

static void
count(struct apply *a, const struct step *s)
{
    a->created += s->kind == STEP_CREATE;
    a->changed += s->kind == STEP_CHANGE;
    a->removed += s->kind == STEP_REMOVE;
}

// What concerns one hook only: AC does not accept it as it is.
static bool
is_about_one_hook(const struct err *err)
{
    return err->kind != ERR_AGAIN && err->exit == EXIT_CODE_CONFIG;
}

static const char *
name_of(const struct step *s)
{
    return s->wanted ? s->wanted->name : s->found->name;
}

// write_plan carries out what it can. 0 all done, 1 unclear: list again, -1 stop. What is to be
// removed stays while anything is refused that may be there to take its place.
static int
write_plan(struct apply *a, const struct plan *plan, struct err *first, struct err *err)
{
    for (size_t i = 0; i < plan->len; i++) {
        const struct step *s = &plan->at[i];
        if (s->kind == STEP_REMOVE && first->kind != ERR_NONE)
            continue;
        if (write_step(a, s, err) == 0) {
            count(a, s);
            if (a->progress)
                a->progress(i + 1, plan->len, a->context);
            continue;
        }
        err_context(err, "hook %s", name_of(s));
        if (err->kind == ERR_AGAIN)
            return 1;
        if (!is_about_one_hook(err))
            return -1;
        a->refused(err->text, a->context);
        if (first->kind == ERR_NONE)
            *first = *err;
    }
    return 0;
}

static size_t
count_left(const struct plan *plan)
{
    size_t left = 0;

    for (size_t i = 0; i < plan->len; i++)
        left += plan->at[i].kind == STEP_LEAVE;
    return left;
}

int
apply_run(struct apply *a, struct err *err)
{
    int unclear = 0, same = 0;

    a->created = a->changed = a->removed = 0;
    for (;;) {
        struct err first = {0};
        struct plan plan;
        if (apply_plan(a, &plan, err) < 0)
            return -1;
        a->left = count_left(&plan);
        int result = plan.writes ? write_plan(a, &plan, &first, err) : 0;
        size_t writes = plan.writes;
        plan_release(&plan);
        if (result < 0)
            return -1;
        if (first.kind != ERR_NONE) {
            (void)list(a, err); // what is there now; the first error is the one to tell
            *err = first;
            return -1;
        }
        if (writes == 0)
            return 0;
        if (result > 0 && ++unclear >= UNCLEAR_MAX)
            return -1;
        if (result == 0 && ++same >= SAME_MAX)
            return err_exit(
                err, EXIT_CODE_FAILURE,
                "ActiveCampaign says yes to changes that its list does not show "
                "afterwards: see `acrelay-worker plan`");
    }
}

// --- anew ----------------------------------------------------------------------------------

static const struct hook *
newest(const struct hooks *found, const struct hook *wanted, uint64_t after)
{
    const struct hook *best = NULL;

    for (size_t i = 0; i < found->len; i++) {
        const struct hook *h = &found->at[i];
        if (h->id > after && h->list == wanted->list &&
            strcmp(h->url, wanted->url) == 0 && (!best || h->id > best->id))
            best = h;
    }
    return best;
}

static uint64_t
highest_id(const struct hooks *found)
{
    uint64_t id = 0;

    for (size_t i = 0; i < found->len; i++)
        if (found->at[i].id > id)
            id = found->at[i].id;
    return id;
}

static int
remove_older(struct apply *a, const struct hook *wanted, uint64_t kept, struct err *err)
{
    for (size_t i = 0; i < a->found.len; i++) {
        const struct hook *h = &a->found.at[i];
        if (!h->name || strcmp(h->name, wanted->name) != 0 || h->list != wanted->list ||
            h->id == kept)
            continue;
        if (account_remove(a->account, h->id, err) < 0)
            return -1;
        a->removed++;
    }
    return 0;
}

static int
recreate_one(struct apply *a, const struct hook *wanted, struct err *err)
{
    uint64_t before = highest_id(&a->found);

    if (is_taken(a, wanted, err) < 0)
        return -1;
    // An unclear answer is no error yet: the list tells.
    if (account_create(a->account, wanted, err) < 0 && err->kind != ERR_AGAIN)
        return -1;
    if (list(a, err) < 0)
        return -1;
    const struct hook *fresh = newest(&a->found, wanted, before);
    if (!fresh)
        return err_set(err, ERR_AGAIN,
                       "the new webhook is not in ActiveCampaign's list; the "
                       "old one was left");
    a->created++;
    return remove_older(a, wanted, fresh->id, err);
}

static bool
is_pending(const struct plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->len; i++)
        if (plan->at[i].kind != STEP_LEAVE && strcmp(name_of(&plan->at[i]), name) == 0)
            return true;
    return false;
}

int
apply_recreate(struct apply *a, const char *name, struct err *err)
{
    struct plan plan;

    a->created = a->removed = 0;
    if (apply_plan(a, &plan, err) < 0)
        return -1;
    bool pending = is_pending(&plan, name);
    plan_release(&plan);
    if (pending)
        return err_exit(err, EXIT_CODE_CHANGES,
                        "hook %s is not as the file says yet: run `acrelay-worker apply` "
                        "first",
                        name);
    for (size_t i = 0; i < a->wanted->len; i++)
        if (strcmp(a->wanted->at[i].name, name) == 0 &&
            recreate_one(a, &a->wanted->at[i], err) < 0)
            return -1;
    return 0;
}
