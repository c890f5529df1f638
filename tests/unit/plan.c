#include "hook/plan.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static struct hook *
add(struct hooks *to, uint64_t id, const char *name, const char *url, uint64_t list)
{
    struct hook *h = hooks_add(to);

    h->id = id;
    h->name = name ? memory_copy(span_of(name)) : NULL;
    h->label = memory_copy(span_of("label"));
    h->url = memory_copy(span_of(url));
    hook_words_add(&h->events, SPAN("subscribe"));
    hook_words_add(&h->sources, SPAN("api"));
    h->list = list;
    return h;
}

static bool
same(const struct hook *a, const struct hook *b)
{
    return plan_differs(a, b) == 0;
}

// carry_out does to `found` what AC would do.
static void
carry_out(const struct plan *plan, const struct hooks *found, struct hooks *after,
          uint64_t *next_id)
{
    for (size_t i = 0; i < found->len; i++) {
        const struct hook *now = &found->at[i];
        bool removed = false;
        for (size_t k = 0; k < plan->len; k++) {
            if (plan->at[k].found != &found->at[i])
                continue;
            removed = removed || plan->at[k].kind == STEP_REMOVE;
            if (plan->at[k].kind == STEP_CHANGE)
                now = plan->at[k].wanted;
        }
        if (removed)
            continue;
        struct hook *h = hooks_add(after);
        hook_copy(h, now);
        h->id = found->at[i].id;
        h->adopt = 0;
    }
    for (size_t k = 0; k < plan->len; k++)
        if (plan->at[k].kind == STEP_CREATE) {
            struct hook *h = hooks_add(after);
            hook_copy(h, plan->at[k].wanted);
            h->id = (*next_id)++;
            h->adopt = 0;
        }
}

Test(plan, creates_what_is_absent_and_leaves_others_alone)
{
    struct hooks wanted = {0}, found = {0};
    struct plan plan;

    add(&wanted, 0, "a", "https://x/hook/a/t", 0);
    add(&found, 7, NULL, "https://other/", 0);
    plan_make(&plan, &wanted, &found, true);
    cr_assert_eq(plan.len, 1);
    cr_assert_eq(plan.at[0].kind, STEP_CREATE);
    plan_release(&plan);
    hooks_release(&wanted);
    hooks_release(&found);
}

Test(plan, names_what_differs)
{
    struct hooks wanted = {0}, found = {0};
    struct plan plan;

    add(&wanted, 0, "a", "https://x/hook/a/new", 0);
    hook_words_add(&wanted.at[0].events, SPAN("sent"));
    add(&found, 7, "a", "https://x/hook/a/old", 0);
    plan_make(&plan, &wanted, &found, false);
    cr_assert_eq(plan.len, 1);
    cr_assert_eq(plan.at[0].kind, STEP_CHANGE);
    cr_assert_eq(plan.at[0].differs, DIFFERS_URL | DIFFERS_EVENTS);
    plan_release(&plan);
    hooks_release(&wanted);
    hooks_release(&found);
}

Test(plan, keeps_the_right_twin_and_removes_the_others_last)
{
    struct hooks wanted = {0}, found = {0};
    struct plan plan;

    add(&wanted, 0, "a", "https://x/hook/a/new", 0);
    add(&found, 3, "a", "https://x/hook/a/old", 0);
    add(&found, 4, "a", "https://x/hook/a/new", 0);
    add(&found, 5, "a", "https://x/hook/a/new", 0);
    plan_make(&plan, &wanted, &found, false);
    cr_assert_eq(plan.len, 2);
    cr_assert_eq(plan.at[0].kind, STEP_REMOVE);
    cr_assert_eq(plan.at[0].found->id, 3);
    cr_assert_eq(plan.at[1].found->id, 4);
    plan_release(&plan);
    hooks_release(&wanted);
    hooks_release(&found);
}

Test(plan, adopts_the_hook_that_the_file_names)
{
    struct hooks wanted = {0}, found = {0};
    struct plan plan;

    add(&wanted, 0, "a", "https://x/hook/a/t", 0)->adopt = 9;
    add(&found, 9, NULL, "https://n8n/abc", 0);
    plan_make(&plan, &wanted, &found, false);
    cr_assert_eq(plan.len, 1);
    cr_assert_eq(plan.at[0].kind, STEP_CHANGE);
    cr_assert_eq(plan.at[0].why, WHY_ADOPTED);
    cr_assert_eq(plan.at[0].found->id, 9);
    plan_release(&plan);
    hooks_release(&wanted);
    hooks_release(&found);
}

Test(plan, removes_what_the_file_does_not_name_only_with_prune)
{
    struct hooks wanted = {0}, found = {0};
    struct plan plan;

    add(&found, 3, "gone", "https://x/hook/gone/t", 0);
    plan_make(&plan, &wanted, &found, false);
    cr_assert_eq(plan.at[0].kind, STEP_LEAVE);
    cr_assert_eq(plan.writes, 0);
    plan_release(&plan);
    plan_make(&plan, &wanted, &found, true);
    cr_assert_eq(plan.at[0].kind, STEP_REMOVE);
    plan_release(&plan);
    hooks_release(&wanted);
    hooks_release(&found);
}

Test(plan, moves_a_hook_to_another_list_instead_of_making_a_second)
{
    struct hooks wanted = {0}, found = {0};
    struct plan plan;

    add(&wanted, 0, "a", "https://x/hook/a/t", 4);
    add(&found, 3, "a", "https://x/hook/a/t", 3);
    plan_make(&plan, &wanted, &found, false);
    cr_assert_eq(plan.len, 1);
    cr_assert_eq(plan.at[0].kind, STEP_CHANGE);
    cr_assert_eq(plan.at[0].differs, DIFFERS_LIST);
    plan_release(&plan);
    hooks_release(&wanted);
    hooks_release(&found);
}

static struct span
name_in(const char *url)
{
    static const char *const bases[] = {"https://x"};

    return hook_name_in(url, bases, 1);
}

Test(hook, is_ours_only_with_a_name_that_we_would_give)
{
    char url[200];

    cr_expect(span_is(name_in("https://x/hook/a-1/t"), "a-1"));
    cr_expect_eq(name_in("https://x/hook/-a/t").len, 0);
    cr_expect_eq(name_in("https://x/hook/A/t").len, 0);
    cr_expect_eq(name_in("https://x/hook/a\033[31m/t").len, 0);
    cr_expect_eq(name_in("https://x/hook//t").len, 0);
    cr_expect_eq(name_in("https://x/hook/a").len, 0);
    snprintf(url, sizeof url, "https://x/hook/%063d/t", 0);
    cr_expect_eq(name_in(url).len, 63);
    snprintf(url, sizeof url, "https://x/hook/%064d/t", 0);
    cr_expect_eq(name_in(url).len, 0);
}

// --- properties over random accounts -------------------------------------------------------

static void
make_random(unsigned seed, struct hooks *wanted, struct hooks *found, bool *prune)
{
    char name[16], url[64];

    srand(seed);
    *prune = rand() % 2;
    int names = 1 + rand() % 5;
    for (int i = 0; i < names; i++) {
        int lists = 1 + rand() % 2, first = rand() % 2;
        for (int list = first; list < first + lists; list++) {
            snprintf(name, sizeof name, "h%d", i);
            snprintf(url, sizeof url, "https://x/hook/h%d/new", i);
            add(wanted, 0, name, url, (uint64_t)list);
        }
    }
    int there = rand() % 12;
    for (int i = 0; i < there; i++) {
        bool ours = rand() % 3 > 0;
        int n = rand() % 7; // more names than are wanted
        snprintf(name, sizeof name, "h%d", n);
        snprintf(url, sizeof url, ours ? "https://x/hook/h%d/%s" : "https://other/%d/%s",
                 n, rand() % 2 ? "new" : "old");
        struct hook *h =
            add(found, (uint64_t)i + 1, ours ? name : NULL, url, (uint64_t)(rand() % 3));
        if (rand() % 2)
            hook_words_add(&h->events, SPAN("sent"));
    }
    if (there && rand() % 3 == 0)
        wanted->at[0].adopt = (uint64_t)(1 + rand() % there);
}

static size_t
count_like(const struct hooks *in, const struct hook *h)
{
    size_t n = 0;

    for (size_t i = 0; i < in->len; i++)
        n +=
            in->at[i].name && strcmp(in->at[i].name, h->name) == 0 && same(&in->at[i], h);
    return n;
}

static void
check_after(const struct hooks *wanted, const struct hooks *found,
            const struct hooks *after, const struct plan *plan, unsigned seed)
{
    size_t left = plan->len - plan->writes, ours = 0;

    for (size_t i = 0; i < wanted->len; i++)
        cr_assert_eq(count_like(after, &wanted->at[i]), 1, "seed %u: hook %zu", seed, i);
    for (size_t i = 0; i < after->len; i++)
        ours += after->at[i].name != NULL;
    cr_assert_eq(ours, wanted->len + left, "seed %u: %zu of ours", seed, ours);
    for (size_t i = 0; i < found->len; i++) {
        const struct hook *h = &found->at[i];
        if (h->name || h->id == wanted->at[0].adopt)
            continue;
        const struct hook *now = hooks_find(after, h->id);
        cr_assert(now && !now->name && same(h, now), "seed %u: foreign hook changed",
                  seed);
    }
}

Test(plan, gives_what_is_wanted_then_nothing_and_never_touches_foreign_hooks)
{
    for (unsigned seed = 1; seed <= 20000; seed++) {
        struct hooks wanted = {0}, found = {0}, after = {0};
        struct plan plan, again;
        uint64_t next_id = 1000;
        bool prune;
        make_random(seed, &wanted, &found, &prune);
        plan_make(&plan, &wanted, &found, prune);
        carry_out(&plan, &found, &after, &next_id);
        check_after(&wanted, &found, &after, &plan, seed);
        plan_make(&again, &wanted, &after, prune);
        cr_assert_eq(again.writes, 0, "seed %u: %zu writes the second time", seed,
                     again.writes);
        plan_release(&plan);
        plan_release(&again);
        hooks_release(&wanted);
        hooks_release(&found);
        hooks_release(&after);
    }
}
