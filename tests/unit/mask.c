#include "event/mask.h"

#include "config/config.h"

#include <criterion/criterion.h>

static struct buf to;

static void
start(void)
{
    buf_release(&to);
    buf_init(&to, 1 << 20);
}

static void
check_text(const char *given, const char *shown)
{
    start();
    mask_text(&to, span_of(given), false);
    cr_expect_str_eq(buf_text(&to), shown, "%s became %s", given, buf_text(&to));
}

static void
check_value(const char *key, const char *given, const char *shown)
{
    start();
    mask_value(&to, span_of(key), span_of(given), false);
    cr_expect_str_eq(buf_text(&to), shown, "%s=%s became %s", key, given, buf_text(&to));
}

static void
check_form(const char *given, const char *shown)
{
    start();
    mask_form(&to, span_of(given), false);
    cr_expect_str_eq(buf_text(&to), shown, "%s became %s", given, buf_text(&to));
}

static void
check_object(const char *given, const char *shown)
{
    start();
    cr_expect(mask_object(&to, span_of(given), false), "%s", given);
    cr_expect_str_eq(buf_text(&to), shown, "%s became %s", given, buf_text(&to));
}

Test(mask, what_follows_a_masked_number_is_looked_at_again)
{
    check_text("555 123 4567ann@example.com", MASK MASK);
    check_text("\"ann@example.com and \"@", "\"" MASK " and \"@");
    check_form("a=%00+ann@example.com", "a=%00%20" MASK);
}

Test(mask, an_email_address_is_found_wherever_it_stands)
{
    check_text("ann@example.com", MASK);
    check_text("write to ann.b+c@mail.example.com, or bob@x.org.",
               "write to " MASK ", or " MASK);
    check_text("Ann <ann@example.com>", "Ann <" MASK ">");
    check_text("mailto:ann@example.com?subject=x", "mailto:" MASK);
    check_text("\"Ann B\"@example.com", "\"" MASK);
    check_text("o'brien@example.com", MASK);
    check_text("\xc3\xa4nn@ex\xc3\xa4mple.com", MASK);
    check_text("a@b@c@d", MASK);
}

Test(mask, an_at_sign_in_disguise_is_one)
{
    check_text("ann%40example.com", MASK);
    check_text("ann%2540example.com", MASK);
    check_text("ann&#64;example.com", MASK);
    check_text("ann&#X40;example.com", MASK);
    check_text("ann\xef\xbc\xa0"
               "example.com",
               MASK);
}

Test(mask, what_is_no_address_stays)
{
    check_text("", "");
    check_text("@", "@");
    check_text("@ann", "@ann");
    check_text("ann@", "ann@");
    check_text("50% off & more", "50% off & more");
    check_text("contact/66", "contact/66");
}

Test(mask, phone_numbers_are_found_and_dates_are_none)
{
    check_text("+15551234567", MASK);
    check_text("call (555) 123-4567 now", "call " MASK " now");
    check_text("+49 30 1234567", MASK);
    check_text("555.123.4567", MASK);
    check_text("2026-11-24 00:13:53", "2026-11-24 00:13:53");
    check_text("24.11.2026", "24.11.2026");
    check_text("2026-11-24T00:13:53.000042Z", "2026-11-24T00:13:53.000042Z");
    check_text("1795865066164", "1795865066164");
    check_text("12 of 34", "12 of 34");
    check_text("550e8400-e29b-41d4-a716-446655440000",
               "550e8400-e29b-41d4-a716-446655440000");
}

Test(mask, a_number_in_a_text_is_a_phone_number_and_one_alone_is_an_id)
{
    check_text("call 5551234", "call " MASK);
    check_text("5551234567 is Ann's, or (5551234)", MASK " is Ann's, or " MASK ")");
    check_text("tel:5551234.", "tel:" MASK ".");
    check_text("5551234", "5551234");
    check_text("contact/5551234 was updated", "contact/5551234 was updated");
    check_text("order #5551234, 5551234abc", "order #5551234, 5551234abc");
    check_text("123456 or 1234567890123456", "123456 or 1234567890123456");
    check_form("id=5551234&note=call+5551234", "id=5551234&note=call%20" MASK);
}

Test(mask, a_body_is_masked_as_what_it_is_read_as)
{
    static const struct {
        const char *type, *encoding, *body, *shown;
    } bodies[] = {
        {"", "", "email=ann", "email=" MASK},
        {"application/json; charset=utf-8", "", "{ \"email\": \"ann\" }",
         "{ \"email\": \"" MASK "\" }"},
        {"", "", "{\"email\":\"ann\"}", "{\"email\":\"" MASK "\"}"},
        {"", "", "{email=ann", MASK "=" MASK},
        {"application/json", "", "email=ann", MASK},
        {"multipart/form-data; boundary=x", "", "x", MASK},
        {"", "gzip", "x=1", MASK},
    };

    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct delivery d = {.type = span_of(bodies[i].type),
                             .encoding = span_of(bodies[i].encoding),
                             .body = span_of(bodies[i].body)};
        start();
        mask_body(&to, &d, false);
        cr_expect_str_eq(buf_text(&to), bodies[i].shown, "%s became %s", bodies[i].body,
                         buf_text(&to));
    }
}

Test(mask, a_key_says_what_its_value_is)
{
    check_value("contact[email]", "ann", MASK);
    check_value("contact[E-Mail][0]", "ann", MASK);
    check_value("contact[phone]", "5551234567", MASK);
    check_value("contact[ip]", "::1", MASK);
    check_value("list[sender_addr1]", "1 Main St", MASK);
    check_value("billing_address.line1", "1 Main St", MASK);
    check_value("address[country]", "US", MASK);
    check_value("contact[fields][12]", "5551234567", MASK);
    check_value("contact[email]", "", "");
    check_value("contact[id]", "5551234567", "5551234567");
    check_value("capacity", "large", "large");
    check_value("ship", "fast", "fast");
}

Test(mask, json_inside_a_value_is_read_and_broken_json_is_masked_whole)
{
    check_value("payload", "{\"phone\":5551234}", "{\"phone\":\"" MASK "\"}");
    check_value("payload", " {\"a\" : {\"email\"\n:[ \"x\"]}}",
                " {\"a\" : {\"email\"\n:[ \"" MASK "\"]}}");
    check_value("payload", "{\"phone\":5551234", MASK);
    check_value("payload", "[5551234]", MASK);
    check_value("payload", "{\"in\":\"{\\\"phone\\\":\\\"5551234\\\"}\"}",
                "{\"in\":\"{\\\"phone\\\":\\\"" MASK "\\\"}\"}");
}

Test(mask, json_keeps_all_but_what_is_masked_as_it_was_sent)
{
    check_object("{\"b\":1,\"a\":1.50,\"n\":12345678901234567890,\"t\":true,\"e\":"
                 "\"\\u00e9\",\"b\":{}}",
                 "{\"b\":1,\"a\":1.50,\"n\":12345678901234567890,\"t\":true,\"e\":"
                 "\"\\u00e9\",\"b\":{}}");
}

Test(mask, escapes_and_depth_hide_nothing_in_json)
{
    check_object("{\"x\":\"ann\\u0040example.com\"}", "{\"x\":\"" MASK "\"}");
    check_object("{\"\\u0065mail\":\"ann\"}", "{\"\\u0065mail\":\"" MASK "\"}");
    check_object("{\"phone\":[{\"home\":5551234,\"work\":null},\"x\"],\"id\":5551234}",
                 "{\"phone\":[{\"home\":\"" MASK "\",\"work\":null},\"" MASK
                 "\"],\"id\":5551234}");
    check_object("{\"a\":{\"email\":\"x\",\"b\":\"y\"},\"c\":\"z\"}",
                 "{\"a\":{\"email\":\"" MASK "\",\"b\":\"y\"},\"c\":\"z\"}");
    check_object("{\"ann@example.com\":1}", "{\"" MASK "\":1}");
    check_object("{\"x\":\"\\ud800ann@example.com\",\"y\":\"\\ud83d\\ude00 "
                 "ann@example.com\"}",
                 "{\"x\":\"" MASK "\",\"y\":\"\xf0\x9f\x98\x80 " MASK "\"}");
    check_object("{\"q\":\"say \\\"ann@example.com\\\"\"}",
                 "{\"q\":\"say \\\"" MASK "\\\"\"}");
    start();
    cr_expect_not(mask_object(&to, SPAN("[1]"), false));
    cr_expect_not(mask_object(&to, SPAN("{\"a\":"), false));
    cr_expect_eq(to.len, 0);
}

Test(mask, a_form_is_decoded_before_it_is_judged)
{
    check_form("a=1&contact%5Bemail%5D=ann%40example.com&b=",
               "a=1&contact%5Bemail%5D=" MASK "&b=");
    check_form("contact%5B%65mail%5D=ann", "contact%5B%65mail%5D=" MASK);
    check_form("note=ann%40ex%61mple.com+called", "note=" MASK "%20called");
    check_form("ann%40example.com=1", MASK "=1");
    check_form("email=ann%00%40b", "email=" MASK);
    check_form("%7B%22phone%22%3A%225551234%22%7D", MASK);
    check_form("my+phone+5551234=x", MASK "=" MASK);
    check_form("phone=%2B1+555&&x", "phone=" MASK "&&x");
    check_form("a=%zz%&b=%4", "a=%zz%&b=%4");
}

#define TOKEN "aB3dEfGhIjKlMnOpQrStUvWxYz0123456789-_aBcDe"

Test(mask, a_hooks_token_is_never_shown_also_when_all_else_is)
{
    cr_assert_eq(strlen(TOKEN), SECRET_TOKEN);
    start();
    mask_text(&to, SPAN("ann@example.com https://h.example/hook/a/" TOKEN "?x"), true);
    cr_expect_str_eq(buf_text(&to),
                     "ann@example.com https://h.example/hook/a/" MASK "?x");
    start();
    mask_form(&to, SPAN("t=" TOKEN "&u=%61" TOKEN "&phone=5551234"), true);
    cr_expect_str_eq(buf_text(&to), "t=" MASK "&u=" MASK "&phone=5551234");
    start();
    mask_object(&to, SPAN("{\"" TOKEN "\":{\"email\":\"x " TOKEN "\"}}"), true);
    cr_expect_str_eq(buf_text(&to), "{\"" MASK "\":{\"email\":\"x " MASK "\"}}");
}

// A body of 256 KiB takes milliseconds, whatever it is made of.
Test(mask, no_body_takes_long, .timeout = 100)
{
    static const char *const pieces[] = {"1 ", "@",   "a@",  "\"@",  "(",
                                         "+1", "%40", "a-A", "\"a@ "};
    struct buf body;

    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        buf_init(&body, 1 << 20);
        while (body.len < 256 << 10)
            buf_add_text(&body, pieces[i]);
        start();
        mask_text(&to, buf_span(&body), false);
        buf_release(&body);
    }
}
