#include "worker/apply.h"

#include "base/clock.h"
#include "base/log.h"
#include "edge/admin_client.h"
#include "worker/refusal.h"

#include <inttypes.h>
#include <stdlib.h>

// WAITS_MAX: lists, KNOWN_LAG_MS apart, that may still not show what was done.
enum { UNCLEAR_MAX = 20, SAME_MAX = 3, WAITS_MAX = 3 };

struct apply_done {
    enum step_kind kind;
    uint64_t id; // 0: created, and the answer did not say
    const struct hook *wanted;
};

void
apply_release(struct apply *a)
{
    hooks_release(&a->found);
    free(a->done);
    a->done = NULL;
}

static int
list(struct apply *a, bool again, struct err *err)
{
    a->listed = false;
    if (ac_client_list(a->account, again, &a->found, err) < 0 ||
        known_settle(a->known, a->account, a->wanted, &a->found, err) < 0)
        return -1;
    a->listed = true;
    return 0;
}

static size_t
count_steps(const struct plan *plan, enum step_kind kind)
{
    size_t n = 0;

    for (size_t i = 0; i < plan->len; i++)
        n += plan->at[i].kind == kind;
    return n;
}

static int
list_and_plan(struct apply *a, bool again, struct plan *plan, struct err *err)
{
    *plan = (struct plan){0};
    if (list(a, again, err) < 0)
        return -1;
    plan_make(plan, a->wanted, &a->found, a->prune);
    return 0;
}

int
apply_plan(struct apply *a, struct plan *plan, struct err *err)
{
    return list_and_plan(a, false, plan, err);
}

// One list may be empty, or lack rows, by mistake: what is created is missing in two.
static int
plan_to_write(struct apply *a, struct plan *plan, struct err *err)
{
    if (list_and_plan(a, false, plan, err) < 0)
        return -1;
    if (count_steps(plan, STEP_CREATE) == 0)
        return 0;
    plan_release(plan);
    return list_and_plan(a, true, plan, err);
}

static bool
wait_for_list(struct apply *a)
{
    int64_t ms = times_ms("worker_lag", KNOWN_LAG_MS);

    log_info("worker: ActiveCampaign does not show yet what was done; looking again in "
             "%lld ms",
             (long long)ms);
    return a->account->options.wait(ms, a->account->options.context);
}

// --- what was done, and what a list has shown ----------------------------------------------

static void
save(struct apply *a, const char *name)
{
    if (a->store)
        known_save(a->known, a->store, name);
}

static void
add_done(struct apply *a, enum step_kind kind, uint64_t id, const struct hook *wanted)
{
    a->done = memory_grow(a->done, (a->unconfirmed + 1) * sizeof *a->done);
    a->done[a->unconfirmed++] = (struct apply_done){kind, id, wanted};
}

enum shown { SHOWN, NOT_SHOWN, OVERTAKEN };

static enum shown
look_for(const struct apply *a, const struct plan *plan, const struct apply_done *done)
{
    const struct hook *found = done->id ? hooks_find(&a->found, done->id) : NULL;

    if (done->kind == STEP_REMOVE)
        return found ? NOT_SHOWN : SHOWN;
    if (done->kind == STEP_CREATE && found)
        return SHOWN;
    if (done->kind == STEP_CHANGE && (!found || found->written == 0))
        return OVERTAKEN; // somebody changed or removed it since
    for (size_t i = 0; i < plan->len; i++)
        if (plan->at[i].wanted == done->wanted && plan->at[i].kind < STEP_LEAVE)
            return NOT_SHOWN;
    return SHOWN;
}

// confirm counts what the list shows of what was done.
static void
confirm(struct apply *a, const struct plan *plan)
{
    size_t left = 0;

    for (size_t i = 0; i < a->unconfirmed; i++) {
        const struct apply_done *done = &a->done[i];
        enum shown shown = look_for(a, plan, done);
        if (shown == NOT_SHOWN) {
            a->done[left++] = *done;
            continue;
        }
        a->created += shown == SHOWN && done->kind == STEP_CREATE;
        a->changed += shown == SHOWN && done->kind == STEP_CHANGE;
        a->removed += shown == SHOWN && done->kind == STEP_REMOVE;
        if (done->wanted)
            save(a, done->wanted->name);
    }
    a->unconfirmed = left;
}

// --- writing -------------------------------------------------------------------------------

// is_taken asks whether what AC will post to the hook is accepted.
static int
is_taken(const struct apply *a, const struct hook *wanted, struct err *err)
{
    if (admin_client_takes(&a->config->receiver_admin, &a->config->listen,
                           wanted->url + strlen(a->config->public_url)) != 0)
        return 0;
    return err_exit(err, EXIT_CODE_CONFIG,
                    "left as it is: the receiver would answer 404 to its new URL. Reload "
                    "acrelayd (restart it for a new secret under the units), then apply");
}

static int
create(struct apply *a, const struct hook *wanted, struct err *err)
{
    const struct known_hook *missing = known_missing(a->known, wanted);
    struct ac_client_answer answer;

    if (missing && missing->unclear)
        return err_exit(err, EXIT_CODE_CHANGES,
                        "ActiveCampaign did not say whether it was created, and does not "
                        "show it: lists are awaited before it is created again"),
               err->kind = ERR_AGAIN, -1;
    if (missing)
        return err_exit(err, EXIT_CODE_CHANGES,
                        "ActiveCampaign created it as #%" PRIu64
                        " and shows it nowhere. It is "
                        "not created a second time: look at ActiveCampaign's own page of "
                        "webhooks; an hour later, or after a reload, it may be created",
                        missing->id);
    if (is_taken(a, wanted, err) < 0)
        return -1;
    if (ac_client_write(a->account, NULL, wanted, &answer, err) < 0) {
        if (answer.unclear) {
            known_unclear(a->known, wanted);
            save(a, wanted->name);
        }
        return -1;
    }
    known_created(a->known, wanted, &answer);
    add_done(a, STEP_CREATE, answer.id, wanted);
    save(a, wanted->name);
    return 0;
}

static int
change(struct apply *a, const struct step *s, struct err *err)
{
    struct ac_client_answer answer;

    if (is_taken(a, s->wanted, err) < 0)
        return -1;
    if (ac_client_write(a->account, s->found, s->wanted, &answer, err) < 0) {
        if (err->kind == ERR_AGAIN && err->exit == EXIT_CODE_CHANGES)
            known_removed(a->known, s->found); // whatever lists go on to show
        return -1;
    }
    known_changed(a->known, s->found, s->wanted, &answer);
    add_done(a, STEP_CHANGE, s->found->id, s->wanted);
    return 0;
}

static int
remove_hook(struct apply *a, const struct hook *found, struct err *err)
{
    struct ac_client_answer unused;

    if (ac_client_write(a->account, found, NULL, &unused, err) < 0)
        return -1;
    known_removed(a->known, found);
    add_done(a, STEP_REMOVE, found->id, NULL);
    return 0;
}

// A list may show a hook that is gone: before a twin is removed, one that stays is asked for.
static int
remove_twin(struct apply *a, const struct plan *plan, const struct hook *twin,
            struct err *err)
{
    for (size_t i = 0; i < a->found.len; i++) {
        const struct hook *h = &a->found.at[i];
        struct hook now = {0};
        bool stays = h->id && h->name && strcmp(h->name, twin->name) == 0;
        for (size_t k = 0; k < plan->len; k++)
            stays = stays && !(plan->at[k].kind == STEP_REMOVE && plan->at[k].found == h);
        if (!stays)
            continue;
        enum ac_client_found there = ac_client_get(a->account, h->id, &now, err);
        hook_release(&now);
        if (there == AC_CLIENT_ERROR)
            return -1;
        if (there != AC_CLIENT_ABSENT)
            return remove_hook(a, twin, err);
        known_removed(a->known, h);
    }
    return err_set(err, ERR_AGAIN, "the webhook that does the same is gone");
}

static int
write_step(struct apply *a, const struct plan *plan, const struct step *s,
           struct err *err)
{
    switch (s->kind) {
    case STEP_CREATE:
        return create(a, s->wanted, err);
    case STEP_CHANGE:
        return change(a, s, err);
    case STEP_REMOVE:
        return s->why == WHY_TWIN ? remove_twin(a, plan, s->found, err)
                                  : remove_hook(a, s->found, err);
    case STEP_REFUSE:
        return refusal_set(s, err);
    case STEP_LEAVE:
    case STEP_KEEP:
        break;
    }
    return 0;
}

// What concerns one hook only: AC does not accept it as it is, or we do not write it.
static bool
is_about_one_hook(const struct err *err)
{
    return err->kind != ERR_AGAIN &&
           (err->exit == EXIT_CODE_CONFIG || err->exit == EXIT_CODE_CHANGES);
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
    int result = 0;

    for (size_t i = 0; i < plan->len; i++) {
        const struct step *s = &plan->at[i];
        if (s->kind == STEP_REMOVE && (first->kind != ERR_NONE || result))
            continue;
        if (write_step(a, plan, s, err) == 0) {
            if (a->progress)
                a->progress(i + 1, plan->len, a->context);
            continue;
        }
        err_context(err, "hook %s", name_of(s));
        if (err->kind == ERR_AGAIN) {
            result = 1;
            if (err->exit != EXIT_CODE_CHANGES)
                break;
            continue; // this one is gone; the others are not
        }
        if (!is_about_one_hook(err))
            return -1;
        a->refused(err->text, a->context);
        if (first->kind == ERR_NONE)
            *first = *err;
    }
    return result;
}

// try_once writes what the plan says. 1: list again, 0: nothing is left to do, -1.
static int
try_once(struct apply *a, const struct plan *plan, int *unclear, int *same,
         struct err *err)
{
    struct err first = {0}, ignored;
    int result = write_plan(a, plan, &first, err);

    if (result < 0)
        return -1;
    if (first.kind != ERR_NONE) {
        struct plan after;
        if (apply_plan(a, &after, &ignored) == 0) { // what is there now
            confirm(a, &after);
            plan_release(&after);
        }
        *err = first; // is the one to tell
        return -1;
    }
    if (plan->writes == 0)
        refusal_report_doubles(a->wanted, &a->found, a->refused, a->context);
    if (plan->writes == 0 && a->unconfirmed == 0)
        return 0;
    if (plan->writes == 0)
        return err_exit(err, EXIT_CODE_FAILURE,
                        "ActiveCampaign accepted what its list does not show: see list");
    if (result > 0)
        return ++*unclear < UNCLEAR_MAX && wait_for_list(a) ? 1 : -1;
    if (++*same < SAME_MAX)
        return 1;
    return err_exit(err, EXIT_CODE_FAILURE,
                    "ActiveCampaign says yes to changes that its list does not show "
                    "afterwards: see `acrelay-worker plan`");
}

int
apply_run(struct apply *a, struct err *err)
{
    int unclear = 0, same = 0, waits = 0, result = 1;

    a->created = a->changed = a->removed = a->unconfirmed = 0;
    while (result > 0) {
        struct plan plan;
        if (plan_to_write(a, &plan, err) < 0)
            return -1;
        confirm(a, &plan);
        a->left = count_steps(&plan, STEP_LEAVE);
        a->kept = plan.kept;
        // A list that is late is waited for, not corrected.
        if (a->unconfirmed == 0 || waits++ >= WAITS_MAX || !wait_for_list(a)) {
            result = try_once(a, &plan, &unclear, &same, err);
            waits = 0;
        }
        plan_release(&plan);
    }
    return result;
}

// --- anew ----------------------------------------------------------------------------------

// The one that was just created: by its id, or where the answer did not say, the new one.
static const struct hook *
find_fresh(const struct apply *a, const struct hook *wanted, uint64_t id,
           const struct hooks *before)
{
    for (size_t i = 0; i < a->found.len; i++) {
        const struct hook *h = &a->found.at[i];
        if (id ? h->id == id
               : h->name && h->id && strcmp(h->name, wanted->name) == 0 &&
                     !hooks_find(before, h->id))
            return h;
    }
    return NULL;
}

static int
remove_older(struct apply *a, const struct hook *wanted, const struct hooks *before,
             struct err *err)
{
    uint64_t digest = hook_digest(wanted);

    for (size_t i = 0; i < before->len; i++) {
        const struct hook *h = &before->at[i];
        if (h->id && h->name && strcmp(h->name, wanted->name) == 0 &&
            (h->list == wanted->list || h->written == digest) &&
            remove_hook(a, h, err) < 0)
            return -1;
    }
    return 0;
}

// Lists until one shows what was done.
static int
wait_confirmed(struct apply *a, struct err *err)
{
    for (int waits = 0;; waits++) {
        struct plan plan;
        if (apply_plan(a, &plan, err) < 0)
            return -1;
        confirm(a, &plan);
        plan_release(&plan);
        if (a->unconfirmed == 0)
            return 0;
        if (waits == WAITS_MAX || !wait_for_list(a))
            return err_set(err, ERR_AGAIN,
                           "ActiveCampaign's list does not show yet what was done");
    }
}

static int
wait_fresh(struct apply *a, const struct hook *wanted, uint64_t id,
           const struct hooks *before, struct err *err)
{
    for (int waits = 0;; waits++) {
        if (list(a, false, err) < 0)
            return -1;
        if (find_fresh(a, wanted, id, before))
            return 0;
        if (waits == WAITS_MAX || !wait_for_list(a))
            return err_set(
                err, ERR_AGAIN,
                "the new webhook is not in ActiveCampaign's list; the old one was "
                "left");
    }
}

static int
recreate_one(struct apply *a, const struct hook *wanted, struct err *err)
{
    struct hooks before = a->found;
    struct ac_client_answer answer = {0};
    int result;

    a->found = (struct hooks){0};
    if (is_taken(a, wanted, err) < 0) {
        result = -1;
    } else if ((result = ac_client_write(a->account, NULL, wanted, &answer, err)) == 0) {
        known_created(a->known, wanted, &answer);
        save(a, wanted->name);
    } else if (err->kind == ERR_AGAIN) {
        result = 0; // an unclear answer is no error yet: the list tells
    }
    if (result == 0)
        result = wait_fresh(a, wanted, answer.id, &before, err);
    if (result == 0) {
        add_done(a, STEP_CREATE, answer.id, wanted);
        if (a->recreated)
            a->recreated(wanted->name, a->context);
        result = remove_older(a, wanted, &before, err);
    }
    if (result == 0)
        result = wait_confirmed(a, err);
    hooks_release(&before);
    return result;
}

static bool
is_pending(const struct plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->len; i++) {
        const struct step *s = &plan->at[i];
        if (s->kind != STEP_LEAVE && s->kind != STEP_KEEP &&
            strcmp(name_of(s), name) == 0)
            return true;
    }
    return false;
}

int
apply_recreate(struct apply *a, const char *name, struct err *err)
{
    struct plan plan;

    a->created = a->removed = a->unconfirmed = 0;
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
