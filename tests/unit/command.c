// Operations and commands: the table, what fits it, and what is refused.
#include "command/command.h"

#include "base/text.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

// --- operations ----------------------------------------------------------------------------

static const char *
matched(const char *subject)
{
    const struct operation *o = operation_match(span_of(subject));

    return o ? o->id : "";
}

Test(operation, there_are_38_and_one_is_refused)
{
    size_t count = 0, refused = 0;

    for (const struct operation *o = operations; o->id; o++) {
        count++;
        refused += o->refused != NULL;
        cr_expect_eq(operation_find(span_of(o->id)), o);
    }
    cr_expect_eq(count, 38);
    cr_expect_eq(refused, 1);
    cr_expect_null(operation_find(SPAN("Contact_updateContacts")));
    cr_expect_null(operation_find(SPAN("")));
}

Test(operation, every_path_matches_its_own_operation_alone)
{
    for (const struct operation *o = operations; o->id; o++) {
        char subject[OPERATION_SUBJECT_MAX] = "";
        struct span rest = span_of(o->path);
        while (rest.len) {
            struct span word = span_cut(&rest, '/');
            size_t len = strlen(subject);
            snprintf(subject + len, sizeof subject - len, "%s%.*s", len ? "/" : "",
                     word.at[0] == '{' ? 4 : (int)word.len,
                     word.at[0] == '{' ? "a-7~" : word.at);
        }
        cr_expect_str_eq(matched(subject), o->id);
    }
}

Test(operation, takes_two_ids_none_and_strings)
{
    cr_expect_str_eq(matched("deals/3/notes/7"), "Deal_updateNote");
    cr_expect_str_eq(matched("accounts/3/notes/7"), "Note_updateNote");
    cr_expect_str_eq(matched("siteTracking"), "Tracking_enableDisableSite");
    cr_expect_str_eq(matched("taskOutccomes/2"), "Outcome_updateTaskOutcome");
    cr_expect_str_eq(matched("customObjects/schemas/0f1e-2d.3_4"), "Schema_updateSchema");
}

Test(operation, does_not_match_what_a_url_would_read_otherwise)
{
    static const char *const subjects[] = {"",
                                           "contacts",
                                           "contacts/",
                                           "/contacts/66",
                                           "contacts//",
                                           "contacts/6/6",
                                           "contacts/66/",
                                           "contacts/..",
                                           "contacts/.",
                                           "contacts/%2e",
                                           "contacts/a..b",
                                           "contacts/6?x=1",
                                           "contacts/6#",
                                           "contacts/ 6",
                                           "contacts/6\n",
                                           "contacts/6\\7",
                                           "deals/../notes/7",
                                           "siteTracking/1",
                                           "dealStages/3/deal",
                                           "contacts/\xc3\xbc",
                                           "contact/66",
                                           "Contacts/66"};
    char id[OPERATION_ID_MAX + 2];

    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
        cr_expect_str_eq(matched(subjects[i]), "", "%s", subjects[i]);
    cr_expect_null(operation_match(span_make("contacts/6\0", 11)));
    memset(id, '7', sizeof id);
    id[sizeof id - 1] = '\0';
    char subject[OPERATION_SUBJECT_MAX];
    snprintf(subject, sizeof subject, "contacts/%s", id);
    cr_expect_str_eq(matched(subject), "");
    subject[strlen(subject) - 1] = '\0';
    cr_expect_str_eq(matched(subject), "Contact_updateContact");
}

Test(operation, is_allowed_by_its_first_segment_or_its_name)
{
    const struct operation *o = operation_find(SPAN("Deal_updateNote"));

    cr_expect(operation_is_allowed(o, "deals"));
    cr_expect(operation_is_allowed(o, "Deal_updateNote"));
    cr_expect_not(operation_is_allowed(o, "notes"));
    cr_expect_not(operation_is_allowed(o, "deal"));
    o = operation_find(SPAN("Schema_updateSchema"));
    cr_expect(operation_is_allowed(o, "customObjects"));
    cr_expect_not(operation_is_allowed(o, "schemas"));
}

Test(operation, takes_only_its_own_query)
{
    const struct operation *stage = operation_find(SPAN("Deal_updateStage")),
                           *deal = operation_find(SPAN("Deal_updateExistingDeal"));

    cr_expect_eq(operation_check_query(stage, SPAN("reorder=1"), NULL), 0);
    cr_expect_eq(operation_check_query(stage, SPAN(""), NULL), 0);
    cr_expect_eq(operation_check_query(stage, SPAN("reorder"), NULL), -1);
    cr_expect_eq(operation_check_query(stage, SPAN("reorder=1&x=2"), NULL), -1);
    cr_expect_eq(operation_check_query(stage, SPAN("reorder=%31"), NULL), -1);
    cr_expect_eq(operation_check_query(stage, SPAN("order=1"), NULL), -1);
    cr_expect_eq(operation_check_query(deal, SPAN("reorder=1"), NULL), -1);
}

// --- commands ------------------------------------------------------------------------------

static struct span fields[COMMAND_FIELDS];

static void
set_contact(void)
{
    memset(fields, 0, sizeof fields);
    fields[COMMAND_SPECVERSION] = SPAN("1.0");
    fields[COMMAND_ID] = SPAN("order-7");
    fields[COMMAND_TYPE_FIELD] = SPAN("com.activecampaign.command.Contact_updateContact");
    fields[COMMAND_SUBJECT] = SPAN("contacts/66");
    fields[COMMAND_DATA] = SPAN("{ \"contact\": {\"firstName\": \"Ann\"} }");
}

// The sentence with which it is refused; "" when it is not.
static const char *
refused(char *const *allow)
{
    static struct err err;
    struct command c;

    err = (struct err){0};
    int result = command_read(&c, fields, allow, &err);
    cr_expect_eq(result, err.kind ? -1 : 0);
    command_release(&c);
    return err.text;
}

static void
is_refused(const char *because)
{
    cr_expect(strstr(refused(NULL), because), "\"%s\" instead of \"%s\"", refused(NULL),
              because);
}

Test(command, is_read_as_the_contract_says)
{
    struct command c;
    struct buf path;

    set_contact();
    fields[COMMAND_TYPE_FIELD] = SPAN("com.activecampaign.command.Deal_updateStage");
    fields[COMMAND_SUBJECT] = SPAN("dealStages/4");
    fields[COMMAND_DATA] = SPAN("{\"dealStage\":{}, \"more\": 1.50}");
    fields[COMMAND_PRIORITY] = SPAN("high");
    fields[COMMAND_NOT_AFTER] = SPAN("2026-03-02T12:20:00.5+01:00");
    fields[COMMAND_QUERY] = SPAN("reorder=1");
    fields[COMMAND_REPLACE] = SPAN("1");
    cr_assert_eq(command_read(&c, fields, NULL, NULL), 0);
    cr_expect_str_eq(c.operation->id, "Deal_updateStage");
    cr_expect(span_is(c.id, "order-7"));
    cr_expect_eq(c.priority, COMMAND_HIGH);
    cr_expect_eq(c.not_after_us, 1772450400000000);
    cr_expect(c.replace);
    cr_expect(span_is(buf_span(&c.body), "{\"dealStage\":{},\"more\":1.50}"));
    buf_init(&path, 1000);
    command_path(&c, &path);
    cr_expect_str_eq(buf_text(&path), "/api/3/dealStages/4?reorder=1");
    buf_release(&path);
    command_release(&c);
}

Test(command, an_id_has_1_to_128_bytes)
{
    char id[COMMAND_ID_MAX + 1];

    memset(id, 'x', sizeof id);
    set_contact();
    fields[COMMAND_ID] = SPAN("");
    is_refused("ce_id has 0 bytes");
    fields[COMMAND_ID] = span_make(id, sizeof id);
    is_refused("ce_id has 129 bytes");
    fields[COMMAND_ID].len--;
    cr_expect_str_eq(refused(NULL), "");
}

Test(command, names_an_operation_that_its_path_fits)
{
    set_contact();
    fields[COMMAND_TYPE_FIELD] = SPAN("com.activecampaign.command.Contact_deleteContact");
    is_refused("names no operation");
    fields[COMMAND_TYPE_FIELD] = SPAN("Contact_updateContact");
    is_refused("names no operation");
    fields[COMMAND_TYPE_FIELD] =
        SPAN("com.activecampaign.command.Webhook_updateExisting");
    fields[COMMAND_SUBJECT] = SPAN("webhooks/1");
    is_refused("webhooks are the worker's: plan and apply");
    set_contact();
    fields[COMMAND_SUBJECT] = SPAN("deals/66");
    is_refused("does not fit");
    fields[COMMAND_SUBJECT] = SPAN("contacts/../users/1");
    is_refused("does not fit");
}

Test(command, is_refused_where_the_service_may_not)
{
    char *contacts[] = {(char[]){"contacts"}, NULL}, *none[] = {NULL},
         *deals[] = {(char[]){"deals"}, (char[]){"Deal_updateStage"}, NULL};

    set_contact();
    cr_expect_str_eq(refused(contacts), "");
    cr_expect(strstr(refused(none), "may not use"));
    cr_expect(strstr(refused(deals), "may not use"));
}

Test(command, needs_an_object_with_the_envelope)
{
    static const char *const bad[] = {"",
                                      "[]",
                                      "\"contact\"",
                                      "{\"contact\":[]}",
                                      "{\"contact\":null}",
                                      "{\"Contact\":{}}",
                                      "{\"x\":{\"contact\":{}}}",
                                      "{\"contact\":{}",
                                      "{\"contact\":{}}x",
                                      "{\"contact\":{},}"};

    set_contact();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fields[COMMAND_DATA] = span_of(bad[i]);
        is_refused("data ");
    }
    fields[COMMAND_DATA] = SPAN("{\"contact\":1,\"contact\":{}}");
    cr_expect_str_eq(refused(NULL), "");
    fields[COMMAND_TYPE_FIELD] = SPAN("com.activecampaign.command.Config_updateSettings");
    fields[COMMAND_SUBJECT] = SPAN("configs/x");
    fields[COMMAND_DATA] = SPAN("{\"anything\":1}");
    cr_expect_str_eq(refused(NULL), "");
    fields[COMMAND_CONTENT_TYPE] = SPAN("text/plain");
    is_refused("content-type");
    fields[COMMAND_CONTENT_TYPE] = SPAN("Application/JSON; charset=utf-8");
    cr_expect_str_eq(refused(NULL), "");
}

Test(command, may_have_a_body_of_1_mib)
{
    static char body[COMMAND_BODY_MAX + 1];

    memset(body, 'x', sizeof body);
    memcpy(body, "{\"contact\":{\"a\":\"", 17);
    memcpy(body + COMMAND_BODY_MAX - 3, "\"}}", 3);
    set_contact();
    fields[COMMAND_DATA] = span_make(body, COMMAND_BODY_MAX);
    cr_expect_str_eq(refused(NULL), "");
    fields[COMMAND_DATA].len++;
    is_refused("larger than 1 MiB");
}

Test(command, is_refused_for_a_manner_that_is_none)
{
    set_contact();
    fields[COMMAND_PRIORITY] = SPAN("urgent");
    is_refused("priority");
    set_contact();
    fields[COMMAND_NOT_AFTER] = SPAN("2026-03-02T11:20:00");
    is_refused("not_after");
    set_contact();
    fields[COMMAND_REPLACE] = SPAN("maybe");
    is_refused("replace");
    set_contact();
    fields[COMMAND_QUERY] = SPAN("reorder=1");
    is_refused("takes no query");
    set_contact();
    fields[COMMAND_VALIDATE_ONLY] = SPAN("true");
    is_refused("validateOnly");
    set_contact();
    fields[COMMAND_SPECVERSION] = SPAN("0.3");
    is_refused("ce_specversion");
}

// White space, priority and times do not make another command of it; all else does.
Test(command, has_a_digest_of_what_it_does)
{
    struct command a, b;

    set_contact();
    cr_assert_eq(command_read(&a, fields, NULL, NULL), 0);
    fields[COMMAND_DATA] = SPAN("{\"contact\":{\"firstName\":\"Ann\"}}");
    fields[COMMAND_PRIORITY] = SPAN("low");
    cr_assert_eq(command_read(&b, fields, NULL, NULL), 0);
    cr_expect_arr_eq(a.digest, b.digest, DIGEST_BYTES);
    command_release(&b);
    fields[COMMAND_SUBJECT] = SPAN("contacts/67");
    cr_assert_eq(command_read(&b, fields, NULL, NULL), 0);
    cr_expect_arr_neq(a.digest, b.digest, DIGEST_BYTES);
    command_release(&b);
    fields[COMMAND_SUBJECT] = SPAN("contacts/66");
    fields[COMMAND_DATA] = SPAN("{\"contact\":{\"firstName\":\"Anna\"}}");
    cr_assert_eq(command_read(&b, fields, NULL, NULL), 0);
    cr_expect_arr_neq(a.digest, b.digest, DIGEST_BYTES);
    command_release(&b);
    command_release(&a);
}

// --- answers -------------------------------------------------------------------------------

Test(command, judges_an_answer_by_its_status)
{
    const struct {
        int status;
        const char *body;
        enum command_verdict verdict;
    } answers[] = {{200, "{}", COMMAND_DONE},
                   {201, "", COMMAND_DONE},
                   {200, "<html>", COMMAND_AGAIN},
                   {200, "\r\n", COMMAND_DONE},
                   {200, "\n[]", COMMAND_DONE},
                   {200, "Down for maintenance", COMMAND_AGAIN},
                   {200, "{\"contact\":{\"id\":\"1\"}", COMMAND_AGAIN},
                   {200, "[{\"name\":\"}\\\"", COMMAND_AGAIN},
                   {200, "[{\"name\":\"}\\\"\"}] ", COMMAND_DONE},
                   {400, "Bad request.", COMMAND_IN_DOUBT},
                   {400, "{}", COMMAND_FINAL},
                   {404, "<html>", COMMAND_IN_DOUBT},
                   {422, "{\"errors\":[]}", COMMAND_FINAL},
                   {403, "{\"message\":\"Forbidden\"}", COMMAND_IN_DOUBT},
                   {403, "<html>", COMMAND_AGAIN},
                   {403, "Blocked", COMMAND_AGAIN},
                   {401, "", COMMAND_IN_DOUBT},
                   {429, "", COMMAND_BUSY},
                   {503, "<html>", COMMAND_BUSY},
                   {0, "", COMMAND_AGAIN},
                   {302, "", COMMAND_AGAIN},
                   {500, "", COMMAND_AGAIN},
                   {522, "<html>", COMMAND_AGAIN}};

    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        cr_expect_eq(command_judge(answers[i].status, span_of(answers[i].body)),
                     answers[i].verdict, "%d %s", answers[i].status, answers[i].body);
}

Test(command, keeps_of_an_answer_json_as_data_and_text_as_detail)
{
    char detail[COMMAND_DETAIL_MAX];
    static char page[5000];
    struct span data;

    command_answer(200, SPAN(" {\"contact\":{}}"), &data, detail);
    cr_expect(span_is(data, " {\"contact\":{}}"));
    cr_expect_str_eq(detail, "");
    memset(page, '<', sizeof page);
    command_answer(522, span_make(page, sizeof page), &data, detail);
    cr_expect_eq(data.len, 0);
    cr_expect(strlen(detail) > 900 && strlen(detail) < COMMAND_DETAIL_MAX);
    command_answer(404, SPAN(""), &data, detail);
    cr_expect_str_eq(detail, "ActiveCampaign answers 404");
    command_answer(200, SPAN("{\"contact\":{}"), &data, detail);
    cr_expect_eq(data.len, 0);
    cr_expect_str_eq(detail, "{\"contact\":{}");
}
