// NORMAL-FORM.md, rule by rule: a body and what stands in the stream.
#include "event/event.h"
#include "event/form.h"

#include "event/samples.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static struct event_maker *maker;
static struct event event;

static void
open_maker(void)
{
    struct err err;

    maker = event_maker_open();
    cr_assert_eq(event_zone_set("America/Chicago", &err), 0);
}

static void
close_maker(void)
{
    event_maker_close(maker);
}

static enum event_reason
make_encoded(const char *type, const char *encoding, struct span body)
{
    struct event_origin origin = {.account = SPAN("acme"),
                                  .journal_id = SPAN("00112233445566778899aabbccddeeff"),
                                  .sequence = 42,
                                  .received_us = INT64_C(1700000000000042),
                                  .fingerprint = SPAN("00")};
    struct delivery d = {.hook = SPAN("contacts"),
                         .stream = SPAN("events"),
                         .type = span_of(type),
                         .encoding = span_of(encoding),
                         .body = body};

    return event_make(maker, &origin, &d, &event);
}

static enum event_reason
make_typed(const char *type, struct span body)
{
    return make_encoded(type, "", body);
}

static enum event_reason
make(const char *body)
{
    return make_typed("application/x-www-form-urlencoded", span_of(body));
}

static void
expect(const char *body, const char *data)
{
    cr_assert_eq(make(body), EVENT_OK, "%s", body);
    cr_expect(span_is(event.data, data), "%s\n  gave   %.*s\n  wanted %s", body,
              (int)event.data.len, event.data.at, data);
}

// Most cases have no list: what is added for that is left out of the table.
static void
expect_all(const char *cases[][2], size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char body[512], data[1024];
        snprintf(body, sizeof body, "list=0&%s", cases[i][0]);
        snprintf(data, sizeof data, "{\"list\":[],%s}", cases[i][1]);
        expect(body, data);
    }
}
#define EXPECT_ALL(cases) expect_all(cases, sizeof(cases) / sizeof *(cases))

TestSuite(event, .init = open_maker, .fini = close_maker);

Test(event, r1_splits_and_decodes_pairs)
{
    const char *cases[][2] = {
        {"a=b%26c&&d=e=f", "\"a\":\"b&c\",\"d\":\"e=f\""},
        {"a=x+y%2Bz", "\"a\":\"x y+z\""},
        {"a=%zz%4&b=%", "\"a\":\"%zz%4\",\"b\":\"%\""},
        {"a&b=", "\"a\":\"\",\"b\":\"\""},
        {"a%5Bb%5D=1&a[c]=2", "\"a\":{\"b\":\"1\",\"c\":\"2\"}"},
        {"a=%2541", "\"a\":\"%41\""},
        {"a=1;b=2", "\"a\":\"1;b=2\""},
    };
    EXPECT_ALL(cases);
}

Test(event, r2_reads_what_is_not_utf8_as_windows_1252)
{
    const char *cases[][2] = {
        {"a=gr%FC%DFe", "\"a\":\"gr\xc3\xbc\xc3\x9f"
                        "e\""},
        {"a=%80%81", "\"a\":\"\xe2\x82\xac\xc2\x81\""},
        {"a=%C3%BC", "\"a\":\"\xc3\xbc\""},
        {"a=%C3%BC%FC", "\"a\":\"\xc3\x83\xc2\xbc\xc3\xbc\""},
    };
    EXPECT_ALL(cases);
    cr_assert_eq(make("a=x%00y"), EVENT_NUL);
    cr_assert_eq(make("a%00=x"), EVENT_NUL);
}

Test(event, r3_reads_keys)
{
    const char *cases[][2] = {
        {"contact[fields][gr%C3%B6%C3%9Fe [cm]]=1",
         "\"contact\":{\"fields\":{\"gr\xc3\xb6\xc3\x9f"
         "e [cm]\":\"1\"}}"},
        {"a[b=1", "\"a[b\":\"1\""},
        {"a[b]c=1", "\"a[b]c\":\"1\""},
        {"a]=1", "\"a]\":\"1\""},
        {"[a]=1", "\"_relay\":{\"rest\":[[\"[a]\",\"1\"]]}"},
        {"=1", "\"_relay\":{\"rest\":[[\"\",\"1\"]]}"},
        {"a[1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1]=x",
         "\"_relay\":{\"rest\":[[\"a[1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1][1]"
         "\","
         "\"x\"]]}"},
    };
    EXPECT_ALL(cases);
}

// Keys that begin like the one before are decoded once: what they mean must not depend on it.
Test(event, reads_keys_that_begin_alike_as_if_each_were_the_first)
{
    const char *cases[][2] = {
        {"a%5Bx%5D=1&a%5By%5D=2&a[z]=3", "\"a\":{\"x\":\"1\",\"y\":\"2\",\"z\":\"3\"}"},
        {"a[x]=1&b=2&a[y]=3", "\"a\":{\"x\":\"1\",\"y\":\"3\"},\"b\":\"2\""},
        {"a[x[y]=1&a[x[z]=2&a[x]=3", "\"a\":{\"x[y\":\"1\",\"x[z\":\"2\",\"x\":\"3\"}"},
        {"a[x]=1&a[y=2&a[z]=3", "\"a\":{\"x\":\"1\",\"z\":\"3\"},\"a[y\":\"2\""},
        {"a[x]=1&a[x][y]=2&a[x][z]=3&a[w]=4",
         "\"a\":{\"x\":\"1\",\"w\":\"4\"},"
         "\"_relay\":{\"rest\":[[\"a[x][y]\",\"2\"],[\"a[x][z]\",\"3\"]]}"},
        {"a[][x]=1&a[][y]=2", "\"a\":[{\"x\":\"1\"},{\"y\":\"2\"}]"},
        {"a[x][]=1&a[x][]=2&a[x][k]=3",
         "\"a\":{\"x\":{\"0\":\"1\",\"1\":\"2\",\"k\":\"3\"}}"},
        {"a[x]=1&a[x]]=2&a[]]=3", "\"a\":{\"x\":\"1\",\"x]\":\"2\",\"]\":\"3\"}"},
        {"\xc3\xa9[x]=1&\xc3\xa9[y]=2&\xc3\xa9[\xff]=3",
         "\"\xc3\xa9\":{\"x\":\"1\",\"y\":\"2\"},"
         "\"\xc3\x83\xc2\xa9\":{\"\xc3\xbf\":\"3\"}"},
        {"a\"[x]=1&a\"[y]=2", "\"a\\\"\":{\"x\":\"1\",\"y\":\"2\"}"},
        {"_relay[x]=1&_relay[y]=2",
         "\"_relay\":{\"rest\":[[\"_relay[x]\",\"1\"],[\"_relay[y]\",\"2\"]]}"},
        {"a[x]=1&a[x]=2&a[y]=3",
         "\"a\":{\"x\":\"1\",\"y\":\"3\"},\"_relay\":{\"rest\":[[\"a[x]\",\"2\"]]}"},
        {"a%5Bx%5D=1&a%5Bx%5D%5B%5D=2&a%5B%5D=3",
         "\"a\":{\"x\":\"1\",\"0\":\"3\"},\"_relay\":{\"rest\":[[\"a[x][]\",\"2\"]]}"},
    };

    EXPECT_ALL(cases);
}

// A run is copied sixteen bytes at a time: every place of a byte that means something.
Test(event, reads_what_means_something_wherever_it_stands)
{
    static const char *const found[][2] = {{"%41", "A"},    {"+", " "},
                                           {"\\", "\\\\"},  {"\"", "\\\""},
                                           {"=", "="},      {"[", "["},
                                           {"%", "%"},      {"%4", "%4"},
                                           {"%22", "\\\""}, {"\xe2\x80\xa8", "\\u2028"}};
    char body[160], data[200];

    for (size_t n = 0; n < sizeof found / sizeof *found; n++)
        for (int before = 0; before < 40; before++)
            for (int behind = 0; behind < 40; behind += 13) {
                snprintf(body, sizeof body, "v=%.*s%s%.*s", before,
                         "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", found[n][0], behind,
                         "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy");
                snprintf(data, sizeof data, "{\"v\":\"%.*s%s%.*s\",\"list\":[]}", before,
                         "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", found[n][1], behind,
                         "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy");
                expect(body, data);
            }
}

Test(event, r4_builds_the_tree)
{
    const char *cases[][2] = {
        {"a[007]=x&a[-1]=y&a[9]=z", "\"a\":{\"007\":\"x\",\"-1\":\"y\",\"9\":\"z\"}"},
        {"a[]=x&a[]=y", "\"a\":[\"x\",\"y\"]"},
        {"a[5]=x&a[]=y", "\"a\":{\"5\":\"x\",\"6\":\"y\"}"},
        {"a[][b]=1&a[][b]=2", "\"a\":[{\"b\":\"1\"},{\"b\":\"2\"}]"},
        {"b=1&a=2&b2=3", "\"b\":\"1\",\"a\":\"2\",\"b2\":\"3\""},
    };
    EXPECT_ALL(cases);
}

Test(event, r5_loses_nothing)
{
    const char *cases[][2] = {
        {"a=1&a=2", "\"a\":\"1\",\"_relay\":{\"rest\":[[\"a\",\"2\"]]}"},
        {"a=1&a[b]=2", "\"a\":\"1\",\"_relay\":{\"rest\":[[\"a[b]\",\"2\"]]}"},
        {"a[b]=1&a=2", "\"a\":{\"b\":\"1\"},\"_relay\":{\"rest\":[[\"a\",\"2\"]]}"},
        {"_relay=x&_relay[y]=z",
         "\"_relay\":{\"rest\":[[\"_relay\",\"x\"],[\"_relay[y]\",\"z\"]]}"},
    };
    EXPECT_ALL(cases);
}

Test(event, splits_choices_between_their_outer_bars)
{
    static const struct {
        const char *value, *json;
    } cases[] = {{"||", "[]"},
                 {"|||", "\"|||\""},
                 {"||||", "[]"},
                 {"|||||", "[\"|\"]"},
                 {"||||||", "[\"\",\"\"]"},
                 {"||a||", "[\"a\"]"},
                 {"||a|||", "[\"a|\"]"},
                 {"||a|||b||", "[\"a\",\"|b\"]"},
                 {"||a||b||", "[\"a\",\"b\"]"},
                 {"||a", "\"||a\""}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[64], json[128];
        snprintf(body, sizeof body, "contact[fields][1]=%s", cases[i].value);
        snprintf(json, sizeof json, "{\"contact\":{\"fields\":{\"1\":%s}},\"list\":[]}",
                 cases[i].json);
        expect(body, json);
    }
}

Test(event, opens_no_key_behind_the_greatest_index)
{
    expect("a[999999999999999999]=x&a[]=1&a[]=2",
           "{\"a\":{\"999999999999999999\":\"x\",\"1000000000000000000\":\"1\","
           "\"1000000000000000001\":\"2\"},\"list\":[]}");
    expect("a[9223372036854775806]=x&a[]=1&a[]=2&a[][b]=3",
           "{\"a\":{\"9223372036854775806\":\"x\",\"9223372036854775807\":\"1\"},"
           "\"list\":[],"
           "\"_relay\":{\"rest\":[[\"a[]\",\"2\"],[\"a[][b]\",\"3\"]]}}");
    expect("a[9223372036854775808]=x&a[]=1",
           "{\"a\":{\"9223372036854775808\":\"x\",\"0\":\"1\"},\"list\":[]}");
}

Test(event, r6_gives_list_one_shape)
{
    expect("a=1", "{\"a\":\"1\",\"list\":[]}");
    expect("list=", "{\"list\":[]}");
    expect("list=14", "{\"list\":[{\"id\":\"14\"}]}");
    expect("list[0]=14", "{\"list\":[{\"id\":\"14\"}]}");
    expect("list[0][id]=14&list[0][name]=N",
           "{\"list\":[{\"id\":\"14\",\"name\":\"N\"}]}");
    expect("list[][id]=1&list[][id]=2", "{\"list\":[{\"id\":\"1\"},{\"id\":\"2\"}]}");
    expect("list[id]=3&list[name]=x", "{\"list\":[{\"id\":\"3\",\"name\":\"x\"}]}");
    expect("list[7][id]=1", "{\"list\":[{\"id\":\"1\",\"index\":\"7\"}]}");
    expect("list[1]=a&list[0]=b", "{\"list\":[{\"id\":\"a\",\"index\":\"1\"},"
                                  "{\"id\":\"b\",\"index\":\"0\"}]}");
}

Test(event, r6_gives_other_known_paths_one_shape)
{
    const char *cases[][2] = {
        {"note=hi", "\"note\":{\"text\":\"hi\"}"},
        {"note[id]=2&note[text]=hi", "\"note\":{\"id\":\"2\",\"text\":\"hi\"}"},
        {"task[note]=hi", "\"task\":{\"note\":\"hi\"}"},
        {"updated_fields=x", "\"updated_fields\":[\"x\"]"},
        {"updated_fields[0]=a&updated_fields[1]=b", "\"updated_fields\":[\"a\",\"b\"]"},
        {"updated_fields[]=a", "\"updated_fields\":[\"a\"]"},
        {"updated_fields=", "\"updated_fields\":[]"},
        {"updated_fields[value]=5", "\"updated_fields\":[\"value\"],\"_relay\":{"
                                    "\"updated_values\":{\"value\":\"5\"}}"},
        {"updated_fields[1]=a", "\"updated_fields\":[\"1\"],\"_relay\":{"
                                "\"updated_values\":{\"1\":\"a\"}}"},
        {"contact[tags]=t1, t2", "\"contact\":{\"tags\":[\"t1\",\"t2\"]}"},
        {"contact[tags]=", "\"contact\":{\"tags\":[]}"},
        {"contact[tags]=a,b",
         "\"contact\":{\"tags\":[\"a\",\"b\"]},\"_relay\":{\"tags\":\"a,b\"}"},
        {"contact[tags][0]=a&contact[tags][1]=b", "\"contact\":{\"tags\":[\"a\",\"b\"]}"},
        {"contact[tags][]=a, b", "\"contact\":{\"tags\":[\"a, b\"]}"},
        {"contact[tags][3]=a&contact[tags][5]=b",
         "\"contact\":{\"tags\":[\"a\",\"b\"]},"
         "\"_relay\":{\"tags\":{\"3\":\"a\",\"5\":\"b\"}}"},
        {"contact[tags][1]=a&contact[tags][0]=b",
         "\"contact\":{\"tags\":[\"a\",\"b\"]},"
         "\"_relay\":{\"tags\":{\"1\":\"a\",\"0\":\"b\"}}"},
        {"contact[tags][][x]=a&contact[tags][][y]=b",
         "\"contact\":{\"tags\":[\"a\",\"b\"]},"
         "\"_relay\":{\"tags\":[{\"x\":\"a\"},{\"y\":\"b\"}]}"},
        {"contact[fields][12]=v&contact[fields][3]=||a||b||",
         "\"contact\":{\"fields\":{\"12\":\"v\",\"3\":[\"a\",\"b\"]}}"},
        {"contact[fields][1]=||&contact[fields][2]=||||&contact[fields][3]=|||",
         "\"contact\":{\"fields\":{\"1\":[],\"2\":[],\"3\":\"|||\"}}"},
        {"contact[fields][3][0]=a", "\"contact\":{\"fields\":{\"3\":[\"a\"]}}"},
        {"deal[fields][0][id]=1&deal[fields][0][key]=K&deal[fields][0][value]=||x||",
         "\"deal\":{\"fields\":[{\"id\":\"1\",\"key\":\"K\",\"value\":[\"x\"]}]}"},
        {"account[fields][Label]=v",
         "\"account\":{\"fields\":[{\"key\":\"Label\",\"value\":\"v\"}]}"},
        {"deal[fields][3]=v", "\"deal\":{\"fields\":[{\"id\":\"3\",\"value\":\"v\"}]}"},
        {"account[fields][Label][0]=v&account[fields][Label][1]=||w||",
         "\"account\":{\"fields\":[{\"key\":\"Label\",\"value\":[\"v\",[\"w\"]]}]}"},
        {"deal[fields][3][]=v",
         "\"deal\":{\"fields\":[{\"id\":\"3\",\"value\":[\"v\"]}]}"},
        {"deal[fields][3][]=v&deal[fields][7][id]=1",
         "\"deal\":{\"fields\":[{\"id\":\"3\",\"value\":[\"v\"]},"
         "{\"id\":\"1\",\"index\":\"7\"}]}"},
        {"deal[fields][3][5]=v", "\"deal\":{\"fields\":[{\"5\":\"v\",\"index\":\"3\"}]}"},
        {"account[fields][4][key]=K&account[fields][4][value][0]=a",
         "\"account\":{\"fields\":[{\"key\":\"K\",\"value\":[\"a\"],\"index\":\"4\"}]}"},
        {"active_subscriptions[0]=1", "\"active_subscriptions\":[\"1\"]"},
        {"active_subscriptions=1", "\"active_subscriptions\":[\"1\"]"},
        {"active_subscriptions=", "\"active_subscriptions\":[]"},
    };
    EXPECT_ALL(cases);
}

Test(event, r6_leaves_as_sent_what_an_array_would_not_give_back)
{
    const char *cases[][2] = {
        {"updated_fields[0][x]=a", "\"updated_fields\":{\"0\":{\"x\":\"a\"}}"},
        {"updated_fields[][x]=a", "\"updated_fields\":[{\"x\":\"a\"}]"},
        {"updated_fields[value][old]=4",
         "\"updated_fields\":{\"value\":{\"old\":\"4\"}}"},
        {"updated_fields[0]=a&updated_fields[1][x]=b",
         "\"updated_fields\":{\"0\":\"a\",\"1\":{\"x\":\"b\"}}"},
        {"active_subscriptions[3]=1", "\"active_subscriptions\":{\"3\":\"1\"}"},
        {"active_subscriptions[][]=1", "\"active_subscriptions\":[[\"1\"]]"},
        {"deal[fields][0][index]=1", "\"deal\":{\"fields\":{\"0\":{\"index\":\"1\"}}}"},
        {"deal[fields][0][index]=1&deal[fields][3][]=v",
         "\"deal\":{\"fields\":{\"0\":{\"index\":\"1\"},\"3\":[\"v\"]}}"},
        {"deal[fields][3][][x]=v&deal[fields][4]=w",
         "\"deal\":{\"fields\":{\"3\":[{\"x\":\"v\"}],\"4\":\"w\"}}"},
        {"account[fields][3][][x]=||v||",
         "\"account\":{\"fields\":{\"3\":[{\"x\":\"||v||\"}]}}"},
    };
    EXPECT_ALL(cases);
    expect("list[0][id]=1&list[0][index]=2",
           "{\"list\":{\"0\":{\"id\":\"1\",\"index\":\"2\"}}}");
    expect("list[0]=1&list[1][]=2", "{\"list\":{\"0\":\"1\",\"1\":[\"2\"]}}");
    expect("list[][]=1", "{\"list\":[[\"1\"]]}");
}

Test(event, r7_makes_known_zero_dates_null_and_leaves_money)
{
    const char *cases[][2] = {
        {"deal[create_date]=0000-00-00 00:00:00", "\"deal\":{\"create_date\":null}"},
        {"task[dueDate]=0000-00-00", "\"task\":{\"dueDate\":null}"},
        {"deal[value]=1,044,055.00&deal[value_raw]=1044055",
         "\"deal\":{\"value\":\"1,044,055.00\",\"value_raw\":\"1044055\"}"},
        {"a=0000-00-00", "\"a\":\"0000-00-00\""},
    };
    EXPECT_ALL(cases);
}

static void
expect_json(const char *body, const char *data)
{
    cr_assert_eq(make_typed("application/json; charset=utf-8", span_of(body)), EVENT_OK,
                 "%s", body);
    cr_expect(span_is(event.data, data), "%.*s", (int)event.data.len, event.data.at);
}

Test(event, r8_passes_json_on_verbatim)
{
    expect_json(" {\"a\" : 1.50 , \"a\":[ true,null ] }\n",
                "{\"a\":1.50,\"a\":[true,null]}");
    expect_json("{\"n\":123456789012345678901234567890}",
                "{\"n\":123456789012345678901234567890}");
    expect_json("{\"type\":\"deal_add\",\"x\":{\"type\":\"no\"}}",
                "{\"type\":\"deal_add\",\"x\":{\"type\":\"no\"}}");
    cr_assert(span_is(event.type, "com.activecampaign.deal_add"));
    cr_assert_eq(make_typed("", SPAN("{\"a\":1}")), EVENT_OK);
    cr_assert(span_is(event.data, "{\"a\":1}"));
    static const char *const broken[] = {"[1]",
                                         "\"x\"",
                                         "{\"a\":01}",
                                         "{\"a\":1,}",
                                         "{\"a\":\"\\u0000\"}",
                                         "{\"a\":\"\\x\"}",
                                         "{} {}",
                                         "{\"a\":\"\xff\"}",
                                         "{\"a\"}",
                                         "{\"a\":+1}",
                                         "{\"a\":tru}",
                                         "  ",
                                         "{\"a\":\"\n\"}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        cr_expect_eq(make_typed("application/json", span_of(broken[i])), EVENT_JSON, "%s",
                     broken[i]);
}

Test(event, r8_refuses_json_that_is_too_deep_or_too_long)
{
    char *text = malloc(200000);

    strcpy(text, "{\"a\":");
    memset(text + 5, '[', 31);
    memset(text + 36, ']', 31);
    strcpy(text + 67, "}");
    cr_assert_eq(make_typed("application/json", span_of(text)), EVENT_OK);
    strcpy(text, "{\"a\":");
    memset(text + 5, '[', 32);
    memset(text + 37, ']', 32);
    strcpy(text + 69, "}");
    cr_assert_eq(make_typed("application/json", span_of(text)), EVENT_JSON);
    free(text);
}

Test(event, r8_makes_dead_letters_of_other_bodies)
{
    cr_assert_eq(make(""), EVENT_EMPTY);
    cr_assert_eq(make_typed("multipart/form-data; boundary=x", SPAN("--x")),
                 EVENT_MULTIPART);
    cr_assert(span_is(event.raw, "--x"));
    cr_assert_gt(event.detail.len, 0);
}

Test(event, r8_reads_on_where_the_content_encoding_does_not_compress)
{
    static const char *const compress[] = {
        "gzip", "x-GZIP", "deflate", "br", "identity, zstd", "compress", "utf-8,gzip"};
    static const char *const others[] = {"utf-8", "identity", "UTF8", "none",
                                         ",",     "gzipped",  ""};

    for (size_t i = 0; i < sizeof compress / sizeof *compress; i++)
        cr_expect_eq(make_encoded("", compress[i], SPAN("a=1")), EVENT_ENCODING, "%s",
                     compress[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        cr_expect_eq(make_encoded("", others[i], SPAN("a=1")), EVENT_OK, "%s", others[i]);
}

Test(event, r9_has_bounds_for_pairs)
{
    size_t len = 10001 * 2;
    char *body = malloc(len + 1);

    for (size_t i = 0; i < len; i += 2)
        memcpy(body + i, "&a", 2);
    cr_assert_eq(make_typed("", span_make(body, len)), EVENT_PAIRS);
    cr_assert_eq(make_typed("", span_make(body, len - 2)), EVENT_OK);
    free(body);
}

Test(event, r9_escapes_only_what_json_needs)
{
    expect("list=0&a=%22%5C%01%0A%2F%7F%E2%80%A8%E2%80%AA",
           "{\"list\":[],\"a\":\"\\\"\\\\\\u0001\\n/\x7f\\u2028\xe2\x80\xaa\"}");
}

static void
expect_envelope(const char *body, const char *type, const char *subject, const char *time)
{
    const char *media = body[0] == '{' ? "application/json" : "";
    char whole[128];

    snprintf(whole, sizeof whole, "com.activecampaign.%s", type);
    cr_assert_eq(make_typed(media, span_of(body)), EVENT_OK);
    cr_expect(span_is(event.type, whole), "%s: %.*s", body, (int)event.type.len,
              event.type.at);
    cr_expect(span_is(event.subject, subject), "%s: %.*s", body, (int)event.subject.len,
              event.subject.at);
    if (time)
        cr_expect(span_is(event.time, time), "%s: %.*s", body, (int)event.time.len,
                  event.time.at);
}

Test(event, r10_fills_the_envelope)
{
    const char *received = "2023-11-14T22:13:20Z";

    expect_envelope("type=subscribe&contact[id]=66&date_time=2024-02-28T07:16:48-06:00",
                    "subscribe", "contact/66", "2024-02-28T13:16:48Z");
    expect_envelope("type=deal_update&deal[id]=9&contact[id]=1", "deal_update", "deal/9",
                    received);
    expect_envelope("type=deal_pipeline_add&pipeline[id]=3", "deal_pipeline_add",
                    "pipeline/3", NULL);
    expect_envelope("type=sent&campaign[id]=5", "sent", "campaign/5", NULL);
    expect_envelope("type=list_add&list[id]=3&list[name]=x", "list_add", "list/3", NULL);
    expect_envelope("seriesid=1&contact[id]=2", "automation", "contact/2", NULL);
    expect_envelope("type=new_thing&account[id]=4", "new_thing", "account/4", NULL);
    expect_envelope("type=bad type", "unknown", "hook/contacts", NULL);
    expect_envelope("x=1", "unknown", "hook/contacts", NULL);
    expect_envelope("type=update&contact[id]=a%2Fb", "update", "hook/contacts", NULL);
    cr_assert(span_is(event.id, "00112233445566778899aabbccddeeff-00000000000000000042"));
    cr_assert(span_is(event.source, "/activecampaign/acme/contacts"));
    cr_assert(span_is(event.recorded, "2023-11-14T22:13:20.000042Z"));
    cr_assert(span_is(event.sequence, "00000000000000000042"));
}

Test(event, r10_takes_an_empty_type_for_none)
{
    expect_envelope("type=&contact[id]=7", "automation", "contact/7", NULL);
    expect_envelope("type&seriesid=7", "automation", "hook/contacts", NULL);
    expect_envelope("type=", "unknown", "hook/contacts", NULL);
    expect_envelope("type[]=x&contact[id]=7", "unknown", "contact/7", NULL);
}

Test(event, r10_fills_the_envelope_from_json_by_the_same_rules)
{
    const char *received = "2023-11-14T22:13:20Z";

    expect_envelope("{\"type\":\"update\",\"date_time\":\"2024-02-28T07:16:48-06:00\","
                    "\"contact\":{\"id\":\"66\"}}",
                    "update", "contact/66", "2024-02-28T13:16:48Z");
    expect_envelope("{\"type\":\"deal_update\",\"deal\":{\"x\":{\"id\":1},\"id\":9},"
                    "\"contact\":{\"id\":1}}",
                    "deal_update", "deal/9", received);
    expect_envelope("{\"contact\":{\"id\":\"2\"},\"seriesid\":\"1\"}", "automation",
                    "contact/2", NULL);
    expect_envelope("{\"type\":\"\",\"seriesid\":1}", "automation", "hook/contacts",
                    NULL);
    expect_envelope("{\"type\":\"list_add\",\"list\":{\"id\":3}}", "list_add", "list/3",
                    NULL);
    // the last of two, escapes read, nested ones not taken
    expect_envelope("{\"type\":\"open\",\"a\":{\"type\":\"no\"},\"t\\u0079pe\":"
                    "\"cl\\u0069ck\",\"contact\":{\"id\":1,\"id\":\"7\"}}",
                    "click", "contact/7", NULL);
    expect_envelope("{\"contact\":{\"id\":1},\"contact\":null}", "unknown",
                    "hook/contacts", NULL);
    // what is no text or whole number
    expect_envelope("{\"type\":{\"a\":1},\"contact\":[{\"id\":1}]}", "unknown",
                    "hook/contacts", NULL);
    expect_envelope("{\"type\":true,\"deal\":{\"id\":1.5}}", "unknown", "hook/contacts",
                    NULL);
    expect_envelope("{\"type\":\"caf\\u00e9\",\"deal\":{\"id\":-5}}", "unknown",
                    "deal/-5", NULL);
    expect_envelope(
        "{\"type\":\"update\",\"date_time\":1709126208,\"contact\":{\"id\":\"\"}}",
        "update", "hook/contacts", received);
    expect_envelope("{}", "unknown", "hook/contacts", received);
}

static void
expect_moment(const char *text, const char *utc)
{
    char body[128];

    snprintf(body, sizeof body, "type=update&date_time=%s", text);
    expect_envelope(body, "update", "hook/contacts", utc);
}

Test(event, r10_reads_times_with_and_without_offset)
{
    expect_moment("2023-07-12 06:49:04", "2023-07-12T11:49:04Z");
    expect_moment("2023-01-12 06:49:04", "2023-01-12T12:49:04Z");
    expect_moment("2024-11-03 01:30:00", "2024-11-03T06:30:00Z"); // doubled: the earlier
    // skipped: read with the offset before
    expect_moment("2024-03-10 02:30:00", "2024-03-10T08:30:00Z");
    expect_moment("2024-07-01 12:30:60", "2024-07-01T17:31:00Z"); // a leap second
    expect_moment("2024-02-28T07:16:48%2B0530", "2024-02-28T01:46:48Z");
    expect_moment("2023-02-30 00:00:00", "2023-11-14T22:13:20Z");
    expect_moment("0000-00-00 00:00:00", "2023-11-14T22:13:20Z");
}

Test(event, r10_reads_times_at_changes_of_offset_that_are_no_summer_time)
{
    static const struct {
        const char *zone, *wall, *utc;
    } cases[] = {
        {"Asia/Pyongyang", "2018-05-04T23:45:00", "2018-05-04T15:15:00Z"},    // skipped
        {"America/Nuuk", "2023-03-25 22:30:00", "2023-03-26T01:30:00Z"},      // skipped
        {"Europe/Simferopol", "2014-10-26 01:30:00", "2014-10-25T21:30:00Z"}, // twice
        {"Pacific/Apia", "2011-12-30 12:00:00", "2011-12-30T22:00:00Z"}, // a skipped day
        {"America/Chicago", "2024-11-03 00:59:60", "2024-11-03T06:00:00Z"},
    };
    struct err err;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_assert_eq(event_zone_set(cases[i].zone, &err), 0);
        expect_moment(cases[i].wall, cases[i].utc);
    }
}

Test(event, r10_takes_the_receipt_for_a_time_outside_1970_to_9999)
{
    const char *received = "2023-11-14T22:13:20Z";

    expect_moment("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z");
    expect_moment("9999-12-31T23:59:59-23:59", received);
    expect_moment("9999-12-31 23:59:59", received); // Chicago
    expect_moment("9999-12-31T23:59:60Z", received);
    expect_moment("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z");
    expect_moment("1970-01-01T00:00:00%2B0001", received);
    expect_moment("0001-01-01T00:00:00Z", received);
}

Test(event, takes_no_zone_that_is_none)
{
    static const char *const none[] = {"America", "leapseconds", "../etc/passwd",
                                       "No/Where"};
    struct err err;

    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        cr_expect_eq(event_zone_set(none[i], &err), -1, "%s", none[i]);
    cr_expect_eq(event_zone_set("UTC", &err), 0);
    cr_expect_eq(event_zone_set("", &err), 0);
}

// The lengths of a stored delivery are moved from the body to another part.
static void
expect_too_long(size_t at, size_t len)
{
    char body[3000] = {0};
    struct delivery d = {.hook = SPAN("contacts"),
                         .stream = SPAN("events"),
                         .body = span_make(body, sizeof body)};
    size_t rest = sizeof body - len;
    struct buf b;
    struct err err;

    buf_init(&b, 4000);
    cr_assert_eq(delivery_encode(&b, &d), 0);
    b.at[at] = (char)len;
    b.at[at + 1] = (char)(len >> 8);
    b.at[10] = (char)rest;
    b.at[11] = (char)(rest >> 8);
    cr_expect_eq(delivery_decode(&d, buf_span(&b), &err), -1, "%zu bytes at %zu", len,
                 at);
    buf_release(&b);
}

Test(event, decodes_nothing_beyond_the_ceilings)
{
    expect_too_long(4, DELIVERY_TYPE_MAX + 1);
    expect_too_long(6, DELIVERY_TYPE_MAX + 1);
    expect_too_long(8, DELIVERY_QUERY_MAX + 1);
}

Test(event, stores_a_delivery_and_reads_it_back)
{
    struct delivery d = {.hook = SPAN("contacts"),
                         .stream = SPAN("events"),
                         .type = SPAN("a/b"),
                         .encoding = SPAN("gzip"),
                         .query = SPAN("x=1"),
                         .body = SPAN("type=sent"),
                         .duplicates = DELIVERY_KEEP,
                         .include_raw = true,
                         .structured = true};
    struct delivery back;
    struct buf b;
    struct err err;

    buf_init(&b, 1000);
    cr_assert_eq(delivery_encode(&b, &d), 0);
    cr_assert_eq(delivery_decode(&back, buf_span(&b), &err), 0);
    cr_assert(span_equal(back.hook, d.hook) && span_equal(back.stream, d.stream));
    cr_assert(span_equal(back.type, d.type) && span_equal(back.encoding, d.encoding));
    cr_assert(span_equal(back.query, d.query) && span_equal(back.body, d.body));
    cr_assert(back.include_raw && back.duplicates == DELIVERY_KEEP && back.structured);
    for (size_t len = 0; len < b.len; len++)
        cr_assert_eq(delivery_decode(&back, span_make(b.at, len), &err), -1);
    buf_release(&b);
}

Test(event, keeps_every_combination_of_its_flags)
{
    struct delivery d = {.hook = SPAN("h"), .stream = SPAN("s")}, back;
    struct buf b;
    struct err err;

    for (unsigned flags = 0; flags < 16; flags++) {
        bool known = (flags & 6) != 6;
        d.include_raw = flags & 1;
        d.duplicates = known ? flags >> 1 & 3 : DELIVERY_KEEP;
        d.structured = flags & 8;
        buf_init(&b, 1000);
        cr_assert_eq(delivery_encode(&b, &d), 0);
        b.at[1] = (char)flags;
        cr_assert_eq(delivery_decode(&back, buf_span(&b), &err), known ? 0 : -1, "%u",
                     flags);
        cr_assert(!known || (back.include_raw == d.include_raw &&
                             back.duplicates == d.duplicates &&
                             back.structured == d.structured),
                  "%u", flags);
        buf_release(&b);
    }
}

Test(event, makes_sense_of_every_sample)
{
    struct sample s;
    size_t count = 0;

    for (size_t at = 0; samples_next(&s, &at); count++) {
        bool json = span_is(samples_type(&s), "application/json");
        const char *type = json ? "application/json" : "";
        cr_assert_eq(make_typed(type, s.body), EVENT_OK, "%.*s", (int)s.name.len,
                     s.name.at);
        struct span kind = span_from(event.type, strlen("com.activecampaign."));
        cr_expect(span_starts(s.name, kind), "%.*s", (int)s.name.len, s.name.at);
        cr_expect(event.subject.len > 0, "%.*s", (int)s.name.len, s.name.at);
    }
    for (const char *const *type = event_types; *type; type++)
        cr_expect(samples_find(&s, span_of(*type)), "no sample of %s", *type);
    cr_assert_geq(count, 35);
}
