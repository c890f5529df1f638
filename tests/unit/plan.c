#include "hook/plan.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static struct hook *
add(struct hooks *to, uint64_t id, const char *name, const char *url, uint64_t list)
{
    struct hook *h = hooks_add(to);

    h->id = h->row = id;
    h->name = name ? memory_copy(span_of(name)) : NULL;
    h->label = memory_copy(span_of("label"));
    h->url = memory_copy(span_of(url));
    string_set_add(&h->events, SPAN("subscribe"));
    string_set_add(&h->sources, SPAN("api"));
    h->list = list;
    return h;
}

static void
copy(struct hook *to, const struct hook *from)
{
    *to = *from;
    to->name = from->name ? memory_copy(span_of(from->name)) : NULL;
    to->label = memory_copy(span_of(from->label));
    to->url = memory_copy(span_of(from->url));
    to->events = to->sources = to->tokens = (struct string_set){0};
    for (size_t i = 0; i < from->events.len; i++)
        string_set_add(&to->events, span_of(from->events.at[i]));
    for (size_t i = 0; i < from->sources.len; i++)
        string_set_add(&to->sources, span_of(from->sources.at[i]));
}

static bool
same(const struct hook *a, const struct hook *b)
{
    return hook_differs(a, b) == 0;
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
        copy(h, now);
        h->id = h->row = found->at[i].id;
        h->adopt = 0;
    }
    for (size_t k = 0; k < plan->len; k++)
        if (plan->at[k].kind == STEP_CREATE) {
            struct hook *h = hooks_add(after);
            copy(h, plan->at[k].wanted);
            h->id = h->row = (*next_id)++;
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
    string_set_add(&wanted.at[0].events, SPAN("sent"));
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
    for (size_t i = 0; i < plan.len; i++)
        cr_assert_eq(plan.at[i].twin->id, 5);
    plan_release(&plan);
    hooks_release(&wanted);
    hooks_release(&found);
}

// As lists show it while a hook on two lists is created again: nothing new, one new, both. One whose
// id cannot be read, beside which nothing is created otherwise, was there before.
Test(plan, removes_what_is_old_when_all_that_replaces_it_is_there)
{
    struct hooks wanted = {0}, found = {0};
    struct plan plan;

    add(&wanted, 0, "a", "https://x/hook/a/t", 5)->adopt = 3;
    add(&wanted, 0, "a", "https://x/hook/a/t", 6);
    add(&found, 3, "a", "https://x/hook/a/t", 5)->old = true;
    add(&found, 4, "a", "https://x/hook/a/t", 6)->old = true;
    add(&found, 0, "a", "https://x/hook/a/t", 7)->old = true;
    for (uint64_t fresh = 0; fresh <= 2; fresh++) {
        if (fresh) // a lower id is new too
            add(&found, fresh, "a", "https://x/hook/a/t", 4 + fresh);
        plan_make(&plan, &wanted, &found, false);
        cr_assert_eq(plan.count[STEP_CREATE], 2 - fresh);
        cr_assert_eq(plan.count[STEP_REMOVE], fresh == 2 ? 2 : 0);
        cr_assert_eq(plan.writes, plan.count[STEP_CREATE] + plan.count[STEP_REMOVE]);
        for (size_t i = 0; i < plan.len; i++)
            cr_assert(plan.at[i].kind != STEP_REMOVE || plan.at[i].found->old);
        plan_release(&plan);
    }
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

static const char *
name_in(const char *url)
{
    static struct hook_url parts;

    return hook_url_parse(&parts, url) && (strcmp(parts.host, "x") == 0 ||
                                           strcmp(parts.host, "old.example:8443") == 0)
               ? parts.name
               : "";
}

Test(hook, is_ours_only_with_a_name_that_we_would_give)
{
    char url[200];

    cr_expect_str_eq(name_in("https://x/hook/a-1/t"), "a-1");
    cr_expect_str_eq(name_in("https://x/hook/-a/t"), "");
    cr_expect_str_eq(name_in("https://x/hook/A/t"), "");
    cr_expect_str_eq(name_in("https://x/hook/a\033[31m/t"), "");
    cr_expect_str_eq(name_in("https://x/hook//t"), "");
    cr_expect_str_eq(name_in("https://x/hook/a"), "");
    snprintf(url, sizeof url, "https://x/hook/%063d/t", 0);
    cr_expect_eq(strlen(name_in(url)), 63);
    snprintf(url, sizeof url, "https://x/hook/%064d/t", 0);
    cr_expect_str_eq(name_in(url), "");
}

Test(hook, is_ours_in_whatever_spelling_its_url_comes_back)
{
    static const char *const ours[] = {
        "HTTPS://X/hook/a-b/t",     "https://x:443/hook/a-b/t",
        "https://x./hook/a-b/t",    "https://x/hook/a-b/t/",
        "https://x/hook/a%2Db/t",   "https://x/hook/a%2db/t",
        "http://x/hook/a-b/t",      "http://x:80/hook/a-b/t",
        "https://x/hook/a-b/t?q=1", "https://OLD.example:8443/hook/a-b/t"};
    static const char *const others[] = {"https://x:444/hook/a-b/t",
                                         "https://old.example/hook/a-b/t",
                                         "ftp://x/hook/a-b/t",
                                         "https://u@x/hook/a-b/t",
                                         "https://x/HOOK/a-b/t",
                                         "https://x/a-b/t",
                                         "https://xx/hook/a-b/t",
                                         "x/hook/a-b/t",
                                         "",
                                         "https://x/hook/a%2fb/t",
                                         "https:///hook/a-b/t",
                                         "https://"};

    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        cr_expect_str_eq(name_in(ours[i]), "a-b", "%s", ours[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        cr_expect_str_eq(name_in(others[i]), "", "%s", others[i]);
}

static unsigned
differs(const char *url_a, const char *label_a, const char *url_b, const char *label_b)
{
    char *texts[] = {memory_copy(span_of(url_a)), memory_copy(span_of(label_a)),
                     memory_copy(span_of(url_b)), memory_copy(span_of(label_b))};
    struct hook a = {.url = texts[0], .label = texts[1]},
                b = {.url = texts[2], .label = texts[3]};
    unsigned result = hook_differs(&a, &b);

    for (size_t i = 0; i < 4; i++)
        free(texts[i]);
    return result;
}

static bool
is_same_url(const char *a, const char *b)
{
    return differs(a, "", b, "") == 0;
}

static bool
is_same_label(const char *a, const char *b)
{
    return differs("", a, "", b) == 0;
}

Test(hook, says_whether_the_receiver_takes_a_path)
{
    struct hook_url url;

    cr_expect(hook_url_parse(&url, "https://X:443/hook/a-b/t-1?q=1") && url.exact);
    cr_expect_str_eq(url.host, "x");
    cr_expect_str_eq(url.token, "t-1");
    cr_expect(hook_url_parse(&url, "https://x/hook/a-b/t%2D1") && !url.exact);
    cr_expect_str_eq(url.token, "t-1");
    cr_expect(hook_url_parse(&url, "https://x/hook/a-b/t//") && !url.exact);
    cr_expect_str_eq(url.token, "t");
}

Test(hook, urls_and_labels_are_equal_in_other_spellings)
{
    cr_expect(
        is_same_url("https://X.example:443/hook/a/T", "https://x.example/hook/a/T"));
    cr_expect_not(is_same_url("https://x/hook/a/T", "https://x/hook/a/t"));
    cr_expect_not(is_same_url("https://x/hook/a/T", "https://x/hook/a/T/"));
    cr_expect_not(is_same_url("https://x/hook/a/T", "http://x/hook/a/T"));
    cr_expect(is_same_label("R&D <\"'>", "R&amp;D &lt;&quot;&#039;&gt;"));
    cr_expect(is_same_label("A & B", "A &amp;amp; B"));
    cr_expect(is_same_label("caf\xc3\xa9 &", "caf&#xE9; &amp;"));
    cr_expect(is_same_label("&amp;", "&"));
    cr_expect_not(is_same_label("R&D", "R&E"));
    cr_expect_not(is_same_label("a&", "a&lt;"));
    cr_expect_not(is_same_label("R&D", "R&D;&#99999999;&#x;&unknown;"));
}

Test(plan, does_not_write_again_what_activecampaign_made_of_it)
{
    struct hooks wanted = {0}, found = {0};
    struct plan plan;

    add(&wanted, 0, "a", "https://x/hook/a/t", 4);
    string_set_add(&wanted.at[0].events, SPAN("sms_sent"));
    add(&found, 7, "a", "https://x/hook/a/t", 0);
    found.at[0].written = hook_digest(&wanted.at[0]);
    plan_make(&plan, &wanted, &found, true);
    cr_assert_eq(plan.writes, 1, "not settled: it may be late");
    plan_release(&plan);
    found.at[0].settled = true;
    plan_make(&plan, &wanted, &found, true);
    cr_assert_eq(plan.writes, 0);
    cr_assert_eq(plan.count[STEP_KEEP], 1);
    cr_assert_eq(plan.at[0].differs, DIFFERS_EVENTS | DIFFERS_LIST);
    plan_release(&plan);
    string_set_add(&wanted.at[0].events, SPAN("sent"));
    plan_make(&plan, &wanted, &found, true);
    cr_assert_eq(plan.writes, 1, "the file changed");
    plan_release(&plan);
    hooks_release(&wanted);
    hooks_release(&found);
}

// AC drops the list: both hooks of the name are shown on all lists.
Test(plan, knows_by_what_was_written_whose_a_hook_with_another_list_is)
{
    struct hooks wanted = {0}, found = {0};
    struct plan plan;

    add(&wanted, 0, "a", "https://x/hook/a/t", 5);
    add(&wanted, 0, "a", "https://x/hook/a/t", 0);
    for (size_t i = 0; i < 2; i++) {
        add(&found, 7 + i, "a", "https://x/hook/a/t", 0)->settled = true;
        found.at[i].written = hook_digest(&wanted.at[i]);
    }
    plan_make(&plan, &wanted, &found, true);
    cr_assert_eq(plan.writes, 0);
    cr_assert_eq(plan.ok, 1);
    cr_assert_eq(plan.count[STEP_KEEP], 1);
    plan_release(&plan);
    hook_release(&wanted.at[--wanted.len]);
    plan_make(&plan, &wanted, &found, false);
    cr_assert_eq(plan.count[STEP_KEEP], 1);
    cr_assert_eq(plan.writes, 1, "the other one is its twin now");
    cr_assert_eq(plan.at[1].found->id, 8);
    plan_release(&plan);
    hooks_release(&wanted);
    hooks_release(&found);
}

Test(plan, creates_nothing_beside_what_looks_like_ours)
{
    static const struct {
        const char *url, *label;
        enum step_kind kind;
    } cases[] = {{"https://hooks2/hook/a/t", "odd", STEP_REFUSE},
                 {"http://hooks2:8080/hook/a/older/", "odd", STEP_REFUSE},
                 {"https://hooks2/elsewhere", "acrelay a", STEP_REFUSE},
                 {"https://hooks2/hook/a/another", "odd", STEP_CREATE},
                 {"https://hooks2/hook/b/t", "acrelay b", STEP_CREATE},
                 {"", "", STEP_CREATE}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hooks wanted = {0}, found = {0};
        struct plan plan;
        struct hook *w = add(&wanted, 0, "a", "https://x/hook/a/t", 0);
        string_set_add(&w->tokens, SPAN("t"));
        string_set_add(&w->tokens, SPAN("older"));
        struct hook *f = add(&found, 7, NULL, cases[i].url, 0);
        free(f->label);
        f->label = memory_copy(span_of(cases[i].label));
        plan_make(&plan, &wanted, &found, true);
        cr_expect_eq(plan.len, 1);
        cr_expect_eq(plan.at[0].kind, cases[i].kind, "%s %s", cases[i].url,
                     cases[i].label);
        cr_expect_eq(plan.count[STEP_REFUSE], cases[i].kind == STEP_REFUSE);
        plan_release(&plan);
        hooks_release(&wanted);
        hooks_release(&found);
    }
}

Test(plan, leaves_what_cannot_be_read_and_creates_nothing_beside_it)
{
    struct hooks wanted = {0}, found = {0};
    struct plan plan;

    add(&wanted, 0, "a", "https://x/hook/a/t", 0);
    add(&wanted, 0, "b", "https://x/hook/b/t", 0);
    add(&found, 0, "a", "https://x/hook/a/t", 0)->unreadable = "id";
    add(&found, 8, "b", "https://x/hook/b/t", HOOK_LIST_UNREADABLE)->unreadable =
        "listid";
    add(&found, 9, "b", "https://x/hook/b/t", 0);
    plan_make(&plan, &wanted, &found, true);
    cr_assert_eq(plan.writes, 0);
    cr_assert_eq(plan.count[STEP_REFUSE], 1, "a");
    cr_assert_eq(plan.ok, 1, "b");
    plan_release(&plan);
    hooks_release(&wanted);
    hooks_release(&found);
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
            string_set_add(&h->events, SPAN("sent"));
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
