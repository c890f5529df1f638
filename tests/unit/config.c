// The configuration: what is read, and that every mistake is told at once with its place.
#include "config/config.h"
#include "config_text.h"

#include <netinet/in.h>

Test(config, needs_little_and_has_defaults_for_the_rest)
{
    struct config *c = read_text(least);

    cr_assert_not_null(c, "%s", buf_text(&problems));
    cr_assert_eq(problems.len, 0);
    cr_assert_str_eq(c->public_url, "https://hooks.acme.example");
    cr_assert_str_eq(c->secret_files.at[0], "/tmp/hook-secret");
    cr_assert_str_eq(c->redis_url.hosts[0].name, "127.0.0.1");
    cr_assert_eq(c->redis_url.hosts[0].port, 6379);
    cr_assert_eq(c->listen.len, 1);
    cr_assert_eq(c->listen.at[0].at.in.sin_port, htons(8080));
    cr_assert_eq(c->threads, 128);
    cr_assert_eq(c->body_max, 1 << 20);
    cr_assert_eq(c->ack_timeout_ms, 4000);
    cr_assert_eq(c->redis_retain_age_us, INT64_C(7) * 86400 * 1000000);
    cr_assert_str_eq(c->hooks[0].label, "acrelay contacts");
    cr_assert_eq(c->hooks[0].sources.len, 4);
    cr_assert_eq(c->hooks[0].lists.len, 1);
    cr_assert_eq(c->hooks[0].lists.at[0], 0);
    cr_assert_eq(config_find_hook(c, SPAN("contacts")), &c->hooks[0]);
    cr_assert_null(config_find_hook(c, SPAN("other")));
    config_release(c);
    buf_release(&problems);
}

Test(config, keeps_urls_in_one_spelling)
{
    static const struct {
        const char *written, *kept;
    } cases[] = {{"https://Hooks.Acme.Example", "https://hooks.acme.example"},
                 {"HTTPS://hooks.acme.example:443/", "https://hooks.acme.example"},
                 {"https://hooks.acme.example.//", "https://hooks.acme.example"},
                 {"https://hooks.acme.example:0443", "https://hooks.acme.example"},
                 {"https://hooks.acme.example:8443", "https://hooks.acme.example:8443"},
                 {"http://hooks.acme.example:80", "http://hooks.acme.example"}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[600];
        snprintf(text, sizeof text,
                 "account: {name: acme}\npublic_url: %s\nprevious_public_urls: [%s]\n"
                 "secret_files: [hook-secret]\n"
                 "hooks:\n  - {name: contacts, events: [subscribe]}\n",
                 cases[i].written, cases[i].written);
        struct config *c = read_text(text);
        cr_assert_not_null(c, "%s", buf_text(&problems));
        cr_expect_str_eq(c->public_url, cases[i].kept);
        cr_expect_str_eq(c->previous_public_urls.at[0], cases[i].kept);
        config_release(c);
        buf_release(&problems);
    }
}

Test(config, tells_ten_mistakes_in_one_go)
{
    struct config *c = read_text("account: {name: a b}\n"
                                 "public_url: ftp://x\n"
                                 "secret_files: []\n"
                                 "redis:\n"
                                 "  url: redis://me:pw@host\n"
                                 "receiver:\n"
                                 "  lisen: [127.0.0.1:80]\n"
                                 "  listen: [127.0.0.1:443s]\n"
                                 "  body_max: 3\n"
                                 "  ack_timeout: 99h\n"
                                 "hooks:\n"
                                 "  - {name: Contacts, events: [subscribe]}\n"
                                 "  - {name: a, events: [subscibe], duplicates: no}\n"
                                 "  - {name: a, events: [open]}\n");

    cr_assert_null(c);
    expect_problem("1:17: account.name: \"a b\" is not a name");
    expect_problem(
        "2:13: public_url: \"ftp://x\" is not a URL that begins with https://");
    expect_problem("3:15: secret_files: the list is empty");
    expect_problem("5:8: redis.url: this is a user or password");
    cr_expect_null(strstr(buf_text(&problems), "pw@"));
    expect_problem("7:3: receiver.lisen: there is no such setting; did you mean "
                   "receiver.listen?");
    expect_problem("8:12: receiver.listen: \"127.0.0.1:443s\" is a TLS port");
    expect_problem(
        "9:13: receiver.body_max: \"3\" is a number without a unit; expected a "
        "size like 512KiB, 1MiB, 8GiB, from 1 KiB to 16 MiB");
    expect_problem("10:16: receiver.ack_timeout: \"99h\" is too large; expected a "
                   "duration like 250ms, 10s, 5m, 24h, from 100 ms to 1 min");
    expect_problem("12:12: name: \"Contacts\" is not a hook name");
    expect_warning("13:24: unknown event type subscibe (did you mean subscribe?): if "
                   "ActiveCampaign does not know it either, it never triggers this hook");
    expect_problem("13:47: duplicates: \"no\" is not one of the choices");
    expect_problem("14:5: hooks: the name a is already used by the hook in line 13");
    buf_release(&problems);
}

// One more line in a good file gives one problem.
static void
expect_of(const char *line, const char *place_and_text)
{
    char text[1000];

    snprintf(text, sizeof text, "%s\n%s", line, least);
    struct config *c = read_text(text);
    expect_problem(place_and_text);
    config_release(c);
    buf_release(&problems);
}

Test(config, refuses_what_does_not_fit_together)
{
    expect_of("redis: {user: me}", "1:15: redis.user: ");
    expect_of("journal: {keep_max: 2GiB, max: 1GiB}", "1:21: journal.keep_max: ");
    expect_of("receiver: {admin: '127.0.0.1:8080'}",
              "1:19: receiver.admin: 127.0.0.1:8080 is used twice");
    expect_of("receiver: {listen: ['unix:/a', 'unix:/a']}",
              "1:20: receiver.listen: unix:/a is used twice");
}

// A hook of these settings gives one problem.
static void
expect_of_hook(const char *settings, const char *place_and_text)
{
    char text[1000];

    snprintf(text, sizeof text,
             "account: {name: acme}\npublic_url: https://a.example\nsecret_files: [s]\n"
             "hooks:\n  - {name: a, %s}\n",
             settings);
    cr_expect_null(read_text(text), "%s", settings);
    expect_problem(place_and_text);
    buf_release(&problems);
}

// Line 4 is "hooks:" in the least file; each hook here stands in a line of its own.
Test(config, bounds_the_streams_and_not_the_hooks_that_share_them)
{
    struct buf text;

    buf_init(&text, 1 << 16);
    buf_add_text(&text, "account: {name: acme}\n"
                        "public_url: https://hooks.acme.example/\n"
                        "secret_files: [hook-secret]\n"
                        "hooks:\n");
    for (int i = 0; i < 200; i++)
        buf_add_format(&text, "  - {name: h%d, events: [open], stream: s%d}\n", i,
                       i % 62);
    struct config *c = read_text(buf_text(&text));
    cr_expect_not_null(c, "%s", buf_text(&problems));
    config_release(c);
    buf_release(&problems);
    buf_add_text(&text, "  - {name: other, events: [open], stream: other}\n");
    cr_expect_null(read_text(buf_text(&text)));
    expect_problem("205:5: hook other: more than 62 different streams");
    buf_release(&problems);
    buf_release(&text);
}

// A directory of zones would make libc use UTC without a word.
Test(config, takes_a_time_zone_and_no_directory_of_them)
{
    static const char file[] = "account: {name: acme, time_zone: %s}\n"
                               "public_url: https://hooks.acme.example/\n"
                               "secret_files: [hook-secret]\n"
                               "hooks: [{name: a, events: [open]}]\n";
    static const char *const zones[] = {"America/Chicago", "America", "leapseconds"};

    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++) {
        char text[512];
        snprintf(text, sizeof text, file, zones[i]);
        struct config *c = read_text(text);
        cr_expect_eq(c != NULL, i == 0, "%s", zones[i]);
        if (i > 0)
            expect_problem("1:34: account.time_zone");
        config_release(c);
        buf_release(&problems);
    }
}

Test(config, takes_an_empty_list_only_where_none_is_a_choice)
{
    expect_of("receiver: {listen: []}", "1:20: receiver.listen: the list is empty");
    expect_of_hook("events: []", "5:23: events: the list is empty");
    expect_of_hook("events: [open], list: []", "5:37: list: the list is empty");
    expect_of_hook("events: [open], sources: []", "5:40: sources: the list is empty");

    char text[1000];
    snprintf(text, sizeof text, "admin_hosts: []\nprevious_public_urls: []\n%s", least);
    struct config *c = read_text(text);
    cr_assert_not_null(c, "%s", buf_text(&problems));
    cr_assert_eq(c->admin_hosts.len, 0);
    config_release(c);
    buf_release(&problems);
}

Test(config, explains_where_tls_ends)
{
    expect_of("receiver: {listen: [443s]}",
              "1:21: receiver.listen: \"443s\" is a TLS port");
    expect_of("receiver: {listen: ['0.0.0.0:443 ssl']}", "1:21: receiver.listen: ");
    expect_of("receiver: {listen: ['https://0.0.0.0']}", "1:21: receiver.listen: ");
}

static void
expect_api_url(const char *url, const char *read)
{
    char text[1000];

    snprintf(text, sizeof text,
             "account: {name: acme, api_url: '%s', api_token_file: t}\n%s", url,
             strchr(least, '\n') + 1);
    struct config *c = read_text(text);
    if (read)
        cr_expect(c && strcmp(c->account_api_url, read) == 0, "%s", url);
    else
        cr_expect_null(c, "%s", url);
    config_release(c);
    buf_release(&problems);
}

Test(config, takes_an_api_url_as_people_paste_it)
{
    expect_api_url("https://acme.api-us1.com", "https://acme.api-us1.com");
    expect_api_url("https://acme.api-us1.com/", "https://acme.api-us1.com");
    expect_api_url("https://acme.api-us1.com/api/3/", "https://acme.api-us1.com");
    expect_api_url("http://127.0.0.1:9000/api/3", "http://127.0.0.1:9000");
    expect_api_url("http://acme.api-us1.com", NULL);
    expect_api_url("http://127.evil.example", NULL);
    expect_api_url("https://me:pw@acme.api-us1.com", NULL);
    expect_api_url("https://acme.api-us1.com?x", NULL);
    expect_api_url("https://acme.api-us1.com#x", NULL);
    expect_api_url("https://acme.api-us1.com:0", NULL);
    expect_api_url("https://acme api", NULL);
}

Test(config, warns_of_a_public_url_that_activecampaign_cannot_reach)
{
    static const char *const far[] = {"http://a.example", "https://a.example:8443",
                                      "https://10.1.2.3", "https://172.20.0.1",
                                      "https://localhost"};

    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        char text[1000];
        snprintf(text, sizeof text,
                 "account: {name: acme}\npublic_url: %s\nsecret_files: [s]\n"
                 "hooks: [{name: a, events: [open]}]\n",
                 far[i]);
        struct config *c = read_text(text);
        cr_expect_not_null(c);
        expect_warning("2:13: ");
        config_release(c);
        buf_release(&problems);
    }
}

Test(config, tells_what_is_missing_and_a_file_that_is_not_there)
{
    cr_assert_null(read_text(""));
    expect_problem("1:1: account.name is missing");
    expect_problem("1:1: public_url is missing");
    expect_problem("1:1: secret_files is missing");
    expect_problem("1:1: hooks is missing");
    buf_release(&problems);
    struct problems found = {0};
    char line[PROBLEM_LINE];
    cr_assert_null(config_read("/nowhere/acrelay.yaml", NULL, &found));
    cr_assert_eq(found.len, 1);
    cr_assert_str_eq(
        problem_line(found.at, line),
        "/nowhere/acrelay.yaml: cannot open: No such file or directory; "
        "acrelay init creates it; --config or ACRELAY_CONFIG names another file");
    free(found.at);
}

Test(config, names_the_changes_that_need_a_restart)
{
    static const char *const sections[] = {"redis.", "worker.", NULL};
    struct err err = {0};
    struct config *a = read_text(least);
    struct config *b = read_text("account: {name: acme}\n"
                                 "public_url: https://other.example\n"
                                 "secret_files: [hook-secret]\n"
                                 "redis: {url: 'unix:///run/redis.sock'}\n"
                                 "receiver: {listen: ['unix:/run/acrelay.sock']}\n"
                                 "hooks:\n"
                                 "  - {name: deals, events: [deal_add]}\n");

    cr_assert(a && b, "%s", buf_text(&problems));
    cr_assert_eq(config_check_reload(a, a, NULL, &err), 0);
    cr_assert_eq(config_check_reload(a, b, NULL, &err), -1);
    cr_assert_str_eq(err.text, "a change of redis.url, receiver.listen needs a restart");
    cr_assert_eq(config_check_reload(a, b, sections, &err), -1);
    cr_assert_str_eq(err.text, "a change of redis.url needs a restart");
    config_release(a);
    config_release(b);
    buf_release(&problems);
}

Test(config, ships_the_example_that_its_table_makes)
{
    struct buf made, shipped;
    struct err err;

    buf_init(&made, 1 << 16);
    buf_init(&shipped, 1 << 16);
    cr_assert_eq(config_write(CONFIG_EXAMPLE, &made), 0);
    cr_assert_eq(file_read("conf/acrelay.yaml", &shipped, &err), 0, "%s", err.text);
    cr_assert(
        span_equal(buf_span(&made), buf_span(&shipped)),
        "conf/acrelay.yaml is not what the table makes: acrelay check --print example");
    struct config *c = read_text(buf_text(&made));
    cr_assert_not_null(c, "%s", buf_text(&problems));
    config_release(c);
    buf_release(&made);
    buf_release(&shipped);
    buf_release(&problems);
}

Test(secret, gives_the_token_that_anyone_can_compute)
{
    char token[SECRET_TOKEN_TEXT];
    struct err err = {0};
    struct buf url;

    struct config *c = read_text(least);
    cr_assert_not_null(c);
    c->secret_files.at[0] = path;
    cr_assert_eq(file_replace(path, SPAN("0123456789abcdef0123456789abcdef\n"), &err), 0);
    struct secrets *s = secrets_load(c, &err);
    cr_assert_not_null(s, "%s", err.text);
    // printf 'acrelay hook v1\ncontacts' | openssl dgst -sha256 -hmac <secret> -binary |
    // basenc --base64url
    secrets_token(s, 0, SPAN("contacts"), token);
    cr_assert_str_eq(token, "mRrDWg9e-4pxcYw-Qn6IPaqCGARg36m7GMletObR3co");
    buf_init(&url, 300);
    secrets_url(s, 0, c->public_url, SPAN("contacts"), &url);
    cr_assert_str_eq(buf_text(&url), "https://hooks.acme.example/hook/contacts/"
                                     "mRrDWg9e-4pxcYw-Qn6IPaqCGARg36m7GMletObR3co");
    secrets_release(s);
    unlink(path);
    config_release(c);
    buf_release(&url);
    buf_release(&problems);
}
Test(config, writes_a_file_of_some_settings_that_reads_as_meant)
{
    struct config_line lines[] = {{"redis.url", "unix:///run/it's here?db=2"},
                                  {"public_url", "https://hooks.acme.example"},
                                  {"account.name", "acme"},
                                  {"account.time_zone", NULL},
                                  {"secret_files", "hook-secret"},
                                  {0}};
    struct buf text;

    buf_init(&text, 1 << 16);
    config_write_lines(lines, &text);
    buf_add_text(&text, "hooks: [{name: a, events: [subscribe]}]\n");
    struct config *c = read_text(buf_text(&text));
    cr_assert(c, "%s%s", buf_text(&problems), buf_text(&text));
    cr_expect_str_eq(c->redis_url.path, "/run/it's here");
    cr_expect_eq(c->redis_url.database, 2);
    cr_expect_str_eq(c->public_url, "https://hooks.acme.example");
    cr_expect_eq(c->secret_files.len, 1u);
    cr_expect_null(c->account_time_zone);
    cr_expect_null(strstr(buf_text(&text), "namespace"));
    config_release(c);
    buf_release(&text);
}

// --- commands ------------------------------------------------------------------------------

#define WITH_COMMANDS(LINES)                                                             \
    "account: {name: acme}\npublic_url: https://hooks.acme.example/\n"                   \
    "secret_files: [hook-secret]\nhooks: [{name: a, events: [subscribe]}]\n"             \
    "commands:\n" LINES

Test(config, has_no_commands_unless_services_are_named)
{
    struct config *c = read_text(least);

    cr_assert_not_null(c, "%s", buf_text(&problems));
    cr_expect_eq(c->services_len, 0);
    cr_expect_eq(c->commands_rate, 3);
    cr_expect_eq(c->commands_max, 100000);
    config_release(c);
    buf_release(&problems);
}

Test(config, reads_services_with_rights_and_weights)
{
    struct config *c =
        read_text(WITH_COMMANDS("  rate: 2.5\n"
                                "  services:\n"
                                "    - name: crm\n"
                                "      allow: [contacts, Deal_updateStage]\n"
                                "      weight: 3\n"
                                "    - {name: shop-2, allow: ecomOrders}\n"));

    cr_assert_not_null(c, "%s", buf_text(&problems));
    cr_expect_eq(problems.len, 0, "%s", buf_text(&problems));
    cr_expect_eq(c->services_len, 2);
    cr_expect_eq(c->commands_rate, 2.5);
    cr_expect_str_eq(c->services[0].name, "crm");
    cr_expect_str_eq(c->services[0].allow.at[1], "Deal_updateStage");
    cr_expect_eq(c->services[0].weight, 3);
    cr_expect_eq(c->services[1].weight, 1);
    config_release(c);
    buf_release(&problems);
}

Test(config, does_not_call_missing_what_a_mistyped_key_was_meant_to_set)
{
    cr_assert_null(read_text("acount: {name: acme}\n"
                             "pubic_url: https://hooks.acme.example/\n"
                             "hoks:\n"
                             "  - {name: contacts, events: [subscribe]}\n"));
    expect_problem("1:1: acount: there is no such setting; did you mean account?");
    expect_problem("2:1: pubic_url: there is no such setting; did you mean public_url?");
    expect_problem("3:1: hoks: there is no such setting; did you mean hooks?");
    expect_problem("1:1: secret_files is missing"); // as nothing was meant to set it
    cr_expect_null(strstr(buf_text(&problems), "account.name is missing"));
    cr_expect_null(strstr(buf_text(&problems), "public_url is missing"));
    cr_expect_null(strstr(buf_text(&problems), "hooks is missing"));
    cr_assert_null(read_text("account: {nam: acme}\n"
                             "public_url: https://hooks.acme.example/\n"
                             "secret_files: [hook-secret]\n"
                             "hooks:\n"
                             "  - {name: contacts, evnts: [subscribe]}\n"));
    expect_problem("5:22: evnts: there is no such setting; did you mean events?");
    cr_expect_null(strstr(buf_text(&problems), "is missing"), "%s", buf_text(&problems));
    buf_release(&problems);
}

// It would pause detection for ever; who wants none writes `duplicates: keep` at the hooks.
Test(config, at_least_one_duplicate_is_remembered)
{
    cr_expect_null(read_text("duplicates: {max: 0}\n"));
    expect_problem("1:19: duplicates.max: \"0\" is too small; expected a whole number, "
                   "from 1 to 1000000000");
}

static void
expect_only(const char *text, const char *problem)
{
    cr_assert_null(read_text(text), "%s", problem);
    expect_problem(problem);
    cr_expect_eq(strchr(buf_text(&problems), '\n') + 1 - buf_text(&problems),
                 (ptrdiff_t)problems.len, "%s", buf_text(&problems));
    buf_release(&problems);
}

Test(config, says_where_the_mistake_begins_and_what_was_meant)
{
    char text[1000];

    snprintf(text, sizeof text, "%sredis:\n  url: \"redis://h\n  user: me\n", least);
    expect_only(text,
                "9:1: not YAML: while scanning a quoted scalar that begins in line 7, "
                "found unexpected end of stream");
    snprintf(text, sizeof text, "%sredis: {url: redis://h\nreceiver: {}\n", least);
    expect_only(text,
                "7:9: not YAML: while parsing a flow mapping that begins in line 6, "
                "did not find expected ',' or '}'");
    snprintf(text, sizeof text, "%s# \xff\n", least);
    expect_only(text, "6:3: not YAML: invalid leading UTF-8 octet (the file must be text "
                      "in UTF-8)");
    snprintf(text, sizeof text, "%sredis: {password: pw}\n", least);
    expect_only(text, "6:9: redis.password: there is no such setting; did you mean "
                      "redis.password_file?");
    snprintf(text, sizeof text, "%s  - {name: b, events: open, sent}\n", least);
    expect_only(text, "6:29: sent: there is no such setting; several values need [ ] "
                      "around them");
}

Test(config, reports_mistakes_of_services)
{
    cr_expect_null(read_text(WITH_COMMANDS("  services:\n"
                                           "    - {name: crm, allow: [contact]}\n"
                                           "    - {name: crm, weight: 0}\n"
                                           "    - {name: C_R, allow: [webhooks]}\n"
                                           "    - {allow: [tags], wait: 1}\n")));
    expect_problem("7:27: allow: \"contact\" is neither an operation nor the first "
                   "segment of one's path; did you mean contacts?");
    expect_problem("8:27: weight: \"0\" is too small");
    expect_problem("8:7: commands.services: the name crm is already used by the service "
                   "in line 7");
    expect_problem("9:14: name: \"C_R\" is not a name of a service");
    expect_problem("9:27: allow: \"webhooks\" is not for commands");
    expect_problem("10:7: name is missing");
    buf_release(&problems);
}

Test(config, limits_the_rate_of_commands_to_that_of_all)
{
    struct config *c = read_text(WITH_COMMANDS("  rate: 5\n"
                                               "  services: [{name: crm}]\n"));

    cr_assert_not_null(c, "%s", buf_text(&problems));
    expect_warning("6:9: commands.rate: more than worker.api_rate");
    expect_warning("7:14: service crm: allow is not set");
    cr_expect_eq(c->commands_rate, 4);
    config_release(c);
    buf_release(&problems);
}
