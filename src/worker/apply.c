#include "worker/worker.h"

#include "base/log.h"
#include "edge/admin.h"
#include "program/output.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/param.h>

// WAITS_MAX: lists, KNOWN_LAG_MS apart, that may still not show what was done.
enum { UNCLEAR_MAX = 20, SAME_MAX = 3, WAITS_MAX = 3, REFUSED_MAX = 1 << 20 };
enum { HELD_MAX_MS = 90000 };

struct apply_done {
    enum step_kind kind;
    uint64_t id; // 0: created, and the answer did not say
    const struct hook *wanted;
};

void
apply_release(struct apply *a)
{
    plan_release(&a->plan);
    hooks_release(&a->found);
    hooks_release(&a->old);
    free(a->recreated.at); // what its hooks have is the worker's
    buf_release(&a->refused);
    free(a->done);
    a->done = NULL;
}

// What was not there at first, and is not what the answers to our creations named, is somebody else's.
// Where an answer was lost, or named none, it may be any that is newer than all that were there: the
// first lists may have lost an older one.
static void
drop_others(struct apply *a, const char *name)
{
    const struct known *k = &a->w->known;
    uint64_t newer_than = UINT64_MAX, last = 0;

    for (size_t i = 0; i < a->old.len; i++)
        last = MAX(last, a->old.at[i].id);
    for (size_t i = 0; i < k->len; i++)
        if (k->at[i].id == 0 && strcmp(k->at[i].name, name) == 0)
            newer_than = last;
    for (size_t i = a->found.len; i-- > 0;) {
        struct hook *h = &a->found.at[i];
        if (!hook_is_named(h, name) || h->id == 0 || h->id > newer_than ||
            known_find(k, h->id))
            continue;
        hook_release(h);
        *h = a->found.at[--a->found.len];
    }
}

// The plan points into what is found.
int
apply_plan(struct apply *a, bool again, struct err *err)
{
    plan_release(&a->plan);
    a->listed = ac_client_list(a->w->client, again, &a->found, err) == 0;
    if (a->listed && a->recreated.len)
        drop_others(a, a->recreated.at[0].name);
    a->listed = a->listed && known_settle(&a->w->known, a->w->client, &a->w->wanted,
                                          &a->found, err) == 0;
    if (!a->listed)
        return -1;
    for (size_t i = 0; i < a->found.len; i++)
        a->found.at[i].old = hooks_find(&a->old, a->found.at[i].row);
    plan_make(&a->plan, a->recreated.len ? &a->recreated : &a->w->wanted, &a->found,
              a->prune);
    return 0;
}

static bool
wait_for_list(struct apply *a)
{
    const struct rest_options *rest = &a->w->client->options.rest;
    int64_t ms = times_ms("worker_lag", KNOWN_LAG_MS);

    log_info(
        "worker: ActiveCampaign does not show the changes yet; checking again in %lld ms",
        (long long)ms);
    return rest->wait(ms, rest->context);
}

// --- what was done, and what a list has shown ----------------------------------------------

static void
add_done(struct apply *a, enum step_kind kind, uint64_t id, const struct hook *wanted)
{
    a->done = memory_grow(a->done, (a->unconfirmed + 1) * sizeof *a->done);
    a->done[a->unconfirmed++] = (struct apply_done){kind, id, wanted};
}

enum shown { SHOWN, NOT_SHOWN, OVERTAKEN };

static enum shown
find_done(const struct apply *a, const struct apply_done *done)
{
    const struct hook *found = done->id ? hooks_find(&a->found, done->id) : NULL;

    if (done->kind == STEP_REMOVE)
        return found ? NOT_SHOWN : SHOWN;
    if (done->kind == STEP_CREATE && found)
        return SHOWN;
    if (done->kind == STEP_CHANGE && (!found || found->written == 0))
        return OVERTAKEN; // somebody changed or removed it since
    for (size_t i = 0; i < a->plan.len; i++)
        if (a->plan.at[i].wanted == done->wanted && a->plan.at[i].kind < STEP_LEAVE)
            return NOT_SHOWN;
    return SHOWN;
}

// confirm counts what the list shows of what was done.
static void
confirm(struct apply *a)
{
    size_t left = 0;

    for (size_t i = 0; i < a->unconfirmed; i++) {
        const struct apply_done *done = &a->done[i];
        enum shown shown = find_done(a, done);
        if (shown == NOT_SHOWN) {
            a->done[left++] = *done;
            continue;
        }
        a->created += shown == SHOWN && done->kind == STEP_CREATE;
        a->changed += shown == SHOWN && done->kind == STEP_CHANGE;
        a->removed += shown == SHOWN && done->kind == STEP_REMOVE;
        if (done->wanted)
            known_save(&a->w->known, &a->w->redis, done->wanted->name);
    }
    a->unconfirmed = left;
}

// --- writing -------------------------------------------------------------------------------

// Whether what AC will post to the hook is accepted.
static int
check_taken(const struct apply *a, const struct hook *wanted, struct err *err)
{
    const struct config *c = a->w->config;
    const char *path = wanted->url + strlen(c->public_url);

    if (admin_takes(&c->receiver_admin, c->installation, &c->listen, path) != 0)
        return 0;
    return err_exit(err, EXIT_CODE_CONFIG,
                    "left as it is: the receiver on %s would answer 404 to its new URL. "
                    "Reload acrelayd (under systemd, restart it for a new secret), then "
                    "apply",
                    c->listen.at[0].text);
}

// check_unchanged: somebody may have made it a webhook of others since the list, which is not ours to
// change or remove. What GET does not say clearly is left to the write.
static int
check_unchanged(struct apply *a, const struct hook *found, struct err *err)
{
    struct hook now = {0};

    enum ac_client_found there = ac_client_get(a->w->client, found->id, &now, err);
    bool other = there == AC_CLIENT_THERE &&
                 (found->name ? !hook_is_named(&now, found->name)
                              : hook_differs(found, &now) & DIFFERS_URL);
    hook_release(&now);
    if (there == AC_CLIENT_ERROR)
        return -1;
    return other ? err_write(err, ERR_AGAIN, EXIT_CODE_CHANGES,
                             "webhook #%" PRIu64
                             " got another URL meanwhile, by someone else: it is listed "
                             "again before anything is written on it",
                             found->id)
                 : 0;
}

// write_hook makes `wanted` of `found`, as ac_client_write does.
static int
write_hook(struct apply *a, const struct hook *found, const struct hook *wanted,
           struct err *err)
{
    enum step_kind kind = !found ? STEP_CREATE : wanted ? STEP_CHANGE : STEP_REMOVE;
    struct ac_client_answer answer;

    if (wanted && check_taken(a, wanted, err) < 0)
        return -1;
    if (found && check_unchanged(a, found, err) < 0)
        return -1;
    int result = ac_client_write(a->w->client, found, wanted, &answer, err);
    // A webhook that was there before is not the one just created: it stays whose it is.
    if (!found &&
        (hooks_find(&a->found, answer.id) || known_find(&a->w->known, answer.id)))
        answer.id = answer.digest = 0;
    if (result == 0)
        add_done(a, kind, found ? found->id : answer.id, wanted);
    if (result == 0 || answer.unclear)
        known_wrote(&a->w->known, found, wanted, &answer);
    else if (found && err->kind == ERR_AGAIN && err->exit == EXIT_CODE_CHANGES)
        known_wrote(&a->w->known, found, NULL, &answer); // whatever lists go on to show
    if (!found && (result == 0 || answer.unclear))
        known_save(&a->w->known, &a->w->redis, wanted->name);
    return result;
}

// Not while one was created in the last hour that AC shows nowhere. Such a one may be lost, and another
// is created then, but not beside an old one that goes on.
static int
create(struct apply *a, const struct hook *wanted, struct err *err)
{
    const struct known *k = &a->w->known;

    for (size_t i = 0; i < k->len; i++) {
        const struct known_hook *e = &k->at[i];
        if (!(e->gone || (e->lost && a->recreated.len)) ||
            !known_is_of(e, wanted->list) || strcmp(e->name, wanted->name) != 0)
            continue;
        if (e->unclear)
            return err_write(
                err, ERR_AGAIN, EXIT_CODE_CHANGES,
                "ActiveCampaign did not say whether it was created, and does "
                "not list it: it is created again only after further lists");
        char id[32] = "without saying its id";
        if (e->id)
            snprintf(id, sizeof id, "as #%" PRIu64, e->id);
        return err_exit(
            err, EXIT_CODE_CHANGES,
            "ActiveCampaign created it %s and shows it nowhere. It is not created a "
            "second time for an hour, or until a reload: check the webhooks on "
            "ActiveCampaign's own page",
            id);
    }
    return write_hook(a, NULL, wanted, err);
}

// A list may show a hook that is gone, or as it was: before a twin is removed, the one that stays is
// asked for, and it goes only when that one was seen to be there.
static int
remove_twin(struct apply *a, const struct step *s, struct err *err)
{
    struct ac_client_answer none = {0};
    struct hook now = {0};

    enum ac_client_found there = ac_client_get(a->w->client, s->twin->id, &now, err);
    bool moved = there == AC_CLIENT_THERE && now.list != s->twin->list;
    hook_release(&now);
    if (there == AC_CLIENT_ERROR)
        return -1;
    if (there == AC_CLIENT_THERE && !moved)
        return write_hook(a, s->found, NULL, err);
    if (there == AC_CLIENT_UNCLEAR)
        return err_exit(
            err, EXIT_CODE_CHANGES,
            "webhook #%" PRIu64 " is not removed, though #%" PRIu64
            " has the same effect: ActiveCampaign answers GET /webhooks/%" PRIu64
            ", but not with that webhook. Until it does, events may arrive twice",
            s->found->id, s->twin->id, s->twin->id);
    if (!moved)
        known_wrote(&a->w->known, s->twin, NULL, &none);
    return err_set(err, ERR_AGAIN,
                   "the other webhook, which had the same effect, is gone or on another "
                   "list by now; checking again");
}

// Why a hook is not created beside what is at AC already, and what to do.
static int
refuse(const struct step *s, struct err *err)
{
    struct hook_url url;
    bool parsed = hook_url_parse(&url, s->found->url);

    if (s->why == WHY_UNREADABLE)
        return err_exit(err, EXIT_CODE_CONFIG,
                        "not created: ActiveCampaign has a webhook with this URL whose "
                        "id cannot be read: remove it there, then apply");
    return err_exit(err, EXIT_CODE_CONFIG,
                    "not created: webhook #%" PRIu64
                    " at %s looks like ours, and every event would arrive twice. Add "
                    "that address to previous_public_urls, or remove the webhook (if it "
                    "belongs to another acrelay, give both hooks labels of their own)",
                    s->found->id, parsed ? url.host : "an address that cannot be read");
}

static int
write_step(struct apply *a, const struct step *s, struct err *err)
{
    switch (s->kind) {
    case STEP_CREATE:
        return create(a, s->wanted, err);
    case STEP_CHANGE:
        return write_hook(a, s->found, s->wanted, err);
    case STEP_REMOVE:
        return s->why == WHY_TWIN ? remove_twin(a, s, err)
                                  : write_hook(a, s->found, NULL, err);
    case STEP_REFUSE:
        return refuse(s, err);
    case STEP_LEAVE:
    case STEP_KEEP:
        break;
    }
    return 0;
}

static const char *
name_of(const struct step *s)
{
    return s->wanted ? s->wanted->name : s->found->name;
}

// write_plan carries out what it can. 0 all done, 1 unclear: list again, -1 stop. What is to be
// removed stays while anything is refused that may be there to take its place.
static int
write_plan(struct apply *a, struct err *first, struct err *err)
{
    int result = 0;

    for (size_t i = 0; i < a->plan.len; i++) {
        const struct step *s = &a->plan.at[i];
        if (s->kind == STEP_REMOVE && (first->kind != ERR_NONE || result))
            continue;
        if (write_step(a, s, err) == 0) {
            output_count(i + 1, a->plan.len);
            continue;
        }
        if (a->recreated.len == 0) // else it is the only one
            err_context(err, "hook %s", name_of(s));
        if (err->kind == ERR_AGAIN) {
            result = 1;
            if (err->exit != EXIT_CODE_CHANGES)
                break;
            continue; // this one is gone; the others are not
        }
        // Else it concerns one hook only: AC does not accept it as it is, or we do not write it.
        if (err->exit != EXIT_CODE_CONFIG && err->exit != EXIT_CODE_CHANGES)
            return -1;
        if (a->recreated.len == 0)
            buf_add_format(&a->refused, "%s\n", err->text);
        if (first->kind == ERR_NONE)
            *first = *err;
    }
    return result;
}

// Hooks of others that post with a token of ours.
static void
report_doubles(struct apply *a)
{
    bool certain;

    for (size_t i = 0; i < a->found.len; i++) {
        const struct hook *h = &a->found.at[i],
                          *like = plan_alike(&a->w->wanted, h, &certain);
        if (!like || !certain || h->id == like->adopt)
            continue;
        buf_add_format(
            &a->refused,
            "hook %s: webhook #%" PRIu64
            " posts to another address with our token; if that address also leads "
            "here, every event arrives twice. Add the address to "
            "previous_public_urls, or remove the webhook\n",
            like->name, h->id);
    }
}

// By a Retry-After that is too long to be waited for in a round.
static bool
is_held(const struct apply *a)
{
    return rest_held_ms(a->w->client->rest) > HELD_MAX_MS;
}

// try_once writes what the plan says. 1: list again, 0: nothing is left to do, -1.
static int
try_once(struct apply *a, int *unclear, int *same, struct err *err)
{
    struct err first = {0}, ignored;
    int result = write_plan(a, &first, err);

    if (result < 0)
        return -1;
    if (first.kind != ERR_NONE) {
        if (!is_held(a) && apply_plan(a, false, &ignored) == 0) // what is there now
            confirm(a);
        *err = first; // is the one to report
        return -1;
    }
    if (a->plan.writes == 0) {
        if (a->recreated.len == 0)
            report_doubles(a);
        return a->unconfirmed
                   ? err_exit(err, EXIT_CODE_FAILURE,
                              "ActiveCampaign accepted changes that its list does not "
                              "show: see `acrelay-worker list`")
                   : 0;
    }
    if (result > 0)
        return ++*unclear < UNCLEAR_MAX && !is_held(a) && wait_for_list(a) ? 1 : -1;
    if (++*same < SAME_MAX)
        return 1;
    return err_exit(err, EXIT_CODE_FAILURE,
                    "ActiveCampaign accepts changes that its list does not show "
                    "afterwards: see `acrelay-worker plan`");
}

int
apply_run(struct apply *a, struct err *err)
{
    int unclear = 0, same = 0, waits = 0, result = 1;

    buf_init(&a->refused, REFUSED_MAX);
    while (result > 0) {
        if (apply_plan(a, false, err) < 0)
            return -1;
        // One list may be empty, or lack rows, by mistake: what is created is missing in two.
        if (a->plan.count[STEP_CREATE] && apply_plan(a, true, err) < 0)
            return -1;
        confirm(a);
        // A list that is late is waited for, not corrected.
        if (a->unconfirmed == 0 || waits++ >= WAITS_MAX || !wait_for_list(a)) {
            result = try_once(a, &unclear, &same, err);
            waits = 0;
        }
    }
    return result;
}

// --- creating again ------------------------------------------------------------------------

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
    const struct hooks *wanted = &a->w->wanted;

    // Two lists: what one of them lost is no stranger later, nor what is created.
    if (apply_plan(a, false, err) < 0 || apply_plan(a, true, err) < 0)
        return -1;
    if (is_pending(&a->plan, name))
        return err_exit(
            err, EXIT_CODE_CHANGES,
            "hook %s does not match the file yet: run `acrelay-worker apply` first",
            name);
    for (size_t i = 0; i < wanted->len; i++)
        if (hook_is_named(&wanted->at[i], name)) {
            struct hook *hook = hooks_add(&a->recreated);
            *hook = wanted->at[i];
            hook->adopt = 0; // it was, or is not there: a list may show it only now
        }
    assert(a->recreated.len > 0); // else all would be
    a->old = a->found;
    a->found = (struct hooks){0};
    a->prune = false;
    int result = apply_run(a, err);
    if (result == 0)
        a->created = a->recreated.len; // those too whose answer was lost
    else if (err->exit == EXIT_CODE_CHANGES) {
        err->exit = EXIT_CODE_FAILURE;
        err_context(err, "the old webhook is kept, and removed by apply or the next "
                         "round once ActiveCampaign lists the new one");
    }
    return result;
}
