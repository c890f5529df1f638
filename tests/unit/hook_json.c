#include "hook/hook_json.h"

#include <criterion/criterion.h>
#include <stdio.h>

Test(hook_json, reads_ids_and_totals_as_strings_or_numbers)
{
    struct hooks hooks = {0};
    struct err err;
    uint64_t total;
    size_t count;
    struct span page =
        SPAN("{\"webhooks\":[{\"id\":\"12\",\"listid\":\"0\",\"name\":\"A\","
             "\"url\":\"u\",\"events\":[\"b\",\"a\",\"b\"],\"links\":[]},"
             "{\"id\":13,\"listid\":null},{\"id\":\"12\"}],"
             "\"meta\":{\"total\":2}}");

    cr_assert_eq(hook_json_read_page(&hooks, &total, &count, page, &err), 0);
    cr_assert_eq(total, 2);
    cr_assert_eq(count, 3, "what the page held");
    cr_assert_eq(hooks.len, 2, "a repeated hook counts once");
    cr_assert_eq(hooks.at[0].id, 12);
    cr_assert_eq(hooks.at[0].events.len, 2);
    cr_assert_str_eq(hooks.at[0].events.at[0], "a");
    cr_assert_eq(hooks.at[1].list, 0);
    hooks_release(&hooks);
}

Test(hook_json, refuses_what_is_no_list_of_hooks)
{
    static const char *const bodies[] = {
        "", "[]", "{}", "<html>", "{\"webhooks\":{}}", "{\"webhooks\":[{\"id\":\"1\""};

    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct hooks hooks = {0};
        struct err err = {0};
        uint64_t total;
        size_t count;
        cr_assert_eq(
            hook_json_read_page(&hooks, &total, &count, span_of(bodies[i]), &err), -1,
            "%s", bodies[i]);
        cr_assert_eq(err.kind, ERR_INPUT);
        hooks_release(&hooks);
    }
}

// Most are of others: each is there, with what can be read of it and the field that cannot.
Test(hook_json, one_odd_row_does_not_hide_the_others)
{
    static const struct {
        const char *row, *unreadable;
        uint64_t list;
    } cases[] = {
        {"null", "id", 0},
        {"7", "id", 0},
        {"[]", "id", 0},
        {"{\"name\":\"no id\"}", "id", 0},
        {"{\"id\":null}", "id", 0},
        {"{\"id\":\"x\"}", "id", 0},
        {"{\"id\":-1}", "id", 0},
        {"{\"id\":1e300}", "id", 0},
        {"{\"id\":1.5}", "id", 0},
        {"{\"id\":true}", "id", 0},
        {"{\"id\":\"99999999999999999999999\"}", "id", 0},
        {"{\"id\":[1,2]}", "id", 0},
        {"{\"id\":\"5\",\"listid\":\"1,2\"}", "listid", HOOK_LIST_UNREADABLE},
        {"{\"id\":\"5\",\"listid\":[1,2]}", "listid", HOOK_LIST_UNREADABLE},
        {"{\"id\":\"5\",\"listid\":-1}", "listid", HOOK_LIST_UNREADABLE},
        {"{\"id\":\"5\",\"listid\":\"all\"}", "listid", HOOK_LIST_UNREADABLE},
        {"{\"id\":\"5\",\"listid\":true}", "listid", HOOK_LIST_UNREADABLE},
        {"{\"id\":\"5\",\"listid\":{\"a\":1}}", "listid", HOOK_LIST_UNREADABLE},
        {"{\"id\":\"5\",\"listid\":false}", NULL, 0},
        {"{\"id\":\"5\",\"listid\":\"\"}", NULL, 0},
        {"{\"id\":\"5\",\"listid\":[\"4\"]}", NULL, 4},
        {"{\"id\":\" 5 \",\"listid\":4.0}", NULL, 4},
        {"{\"id\":\"5\",\"name\":7}", "name", 0},
        {"{\"id\":\"5\",\"url\":[\"x\"]}", "url", 0},
        {"{\"id\":\"5\",\"events\":7}", "events", 0},
        {"{\"id\":\"5\",\"events\":[null]}", "events", 0},
        {"{\"id\":\"5\",\"sources\":true}", "sources", 0},
        {"{\"id\":\"5\",\"events\":{\"0\":\"sent\",\"2\":\"open\"}}", NULL, 0},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hooks hooks = {0};
        struct err err = {0};
        char body[300];
        uint64_t total;
        size_t count;
        snprintf(
            body, sizeof body,
            "{\"webhooks\":[%s,{\"id\":\"9\",\"url\":\"u\"}],\"meta\":{\"total\":null}}",
            cases[i].row);
        cr_assert_eq(hook_json_read_page(&hooks, &total, &count, span_of(body), &err), 0);
        cr_expect_eq(count, 2);
        cr_assert_eq(hooks.len, 2, "%s", cases[i].row);
        cr_expect_eq(hooks.at[1].id, 9);
        cr_expect_eq(hooks.at[0].list, cases[i].list, "%s", cases[i].row);
        const char *unreadable = hooks.at[0].unreadable ? hooks.at[0].unreadable : "",
                   *expected = cases[i].unreadable ? cases[i].unreadable : "";
        cr_expect_str_eq(unreadable, expected, "%s", cases[i].row);
        bool has_id = strcmp(expected, "id") != 0;
        cr_expect(has_id ? hooks.at[0].id == 5 : hooks.at[0].row >> 63, "%s",
                  cases[i].row);
        hooks_release(&hooks);
    }
}

Test(hook_json, writes_the_whole_object)
{
    struct hook hook = {.label = memory_copy(SPAN("My \"Hook\"")),
                        .url = memory_copy(SPAN("https://x/hook/a/t")),
                        .list = 5};
    struct buf text;

    string_set_add(&hook.events, SPAN("sent"));
    string_set_add(&hook.sources, SPAN("api"));
    buf_init(&text, 1000);
    hook_json_write(&text, &hook);
    cr_assert_str_eq(buf_text(&text),
                     "{\"webhook\":{\"name\":\"My \\\"Hook\\\"\",\"url\":"
                     "\"https://x/hook/a/t\",\"events\":[\"sent\"],\"sources\":[\"api\"],"
                     "\"listid\":5}}");
    buf_release(&text);
    hook_release(&hook);
}

Test(hook_json, explains_every_shape_of_error)
{
    static const struct {
        const char *body, *said;
    } cases[] = {
        {"{\"message\":\"No Result found for Subscriber with id 1\"}",
         "No Result found for Subscriber with id 1"},
        {"{\"message\":\"Forbidden\"}{\"message\":\"twice\"}", "Forbidden"},
        {"{\"errors\":[{\"status\":403,\"title\":\"Forbidden\",\"detail\":\"not you\"}]}",
         "not you"},
        {"{\"errors\":[{\"title\":\"is missing\",\"detail\":\"\",\"code\":422,\"source\":"
         "{\"pointer\":\"/data/attributes/name\"}}]}",
         "is missing (name)"},
        {"{\"errors\":[{\"error\":\"bad\",\"source\":{\"type\":\"pointer\",\"value\":"
         "\"url\"}}]}",
         "bad (url)"},
        {"{\"errors\":[\"Field name is required\",\"Field url is required\"]}",
         "Field name is required; Field url is required"},
        {"{\"errors\":\"Bulk operation failed\"}", "Bulk operation failed"},
        {"{}", ""},
        {"", ""},
        {" <!DOCTYPE html><html>", "HTML instead of JSON"},
        {"Bad request. No body", "Bad request. No body"},
        {"\x1b[31m", "\\x1b[31m"},
        // What may be ours and a password is not repeated.
        {"{\"errors\":[\"url https://x/hook/a/token is taken\"]}",
         "url https://... is taken"},
        {"Bad {\"url\":\"https:\\/\\/x\\/hook\\/a\\/token\"}",
         "Bad {\"url\":\"https:\\/\\/...\"}"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char said[300];
        hook_json_explain(said, sizeof said, span_of(cases[i].body));
        cr_assert_str_eq(said, cases[i].said, "%s", cases[i].body);
    }
}

Test(hook_json, knows_an_answer_that_is_not_activecampaigns)
{
    static const char *const own[] = {"{}", "{\"message\":\"Forbidden\"}",
                                      " {\"errors\":[{\"status\":403}]}",
                                      "{\"user\":{\"id\":\"1\"}}"},
                             *const others[] = {
                                 "",
                                 "<!DOCTYPE html><title>Just a moment...</title>",
                                 "error code: 1020",
                                 "\"Forbidden\"",
                                 "[]",
                                 "{\"message\":\"cut",
                                 "{\"title\":\"Error 1020\",\"cloudflare_error\":true}",
                                 "{\"message\":\"x\",\"cloudflare_error\":true}"};
    char text[300];

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        cr_assert(hook_json_explain(text, sizeof text, span_of(own[i])), "%s", own[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        cr_assert_not(hook_json_explain(text, sizeof text, span_of(others[i])), "%s",
                      others[i]);
}
