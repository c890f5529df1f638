// Values from the environment, and words that are no values.
#include "config_text.h"

static struct config *
read_label(const char *label)
{
    char text[1000];

    snprintf(text, sizeof text,
             "account: {name: acme}\npublic_url: https://a.example\nsecret_files: [s]\n"
             "hooks:\n  - {name: a, events: [open], label: %s}\n",
             label);
    return read_text(text);
}

static void
expect_label(const char *written, const char *read)
{
    struct config *c = read_label(written);

    cr_assert_not_null(c, "%s: %s", written, buf_text(&problems));
    cr_expect_str_eq(c->hooks[0].label, read, "%s", written);
    config_release(c);
    buf_release(&problems);
}

Test(config_values, come_from_the_environment)
{
    setenv("T_NAME", "a value", 1);
    setenv("T_EMPTY", "", 1);
    setenv("T_YAML", "x', list: 7, y: 'z}\n  - {name: b", 1);
    unsetenv("T_NONE");
    expect_label("\"${T_NAME}\"", "a value");
    expect_label("'<${T_NAME}>'", "<a value>");
    expect_label("'${T_NONE:-a default}'", "a default");
    expect_label("'${T_EMPTY:-a default}'", "a default");
    expect_label("'${T_NAME:-a default}'", "a value");
    expect_label("'a${T_NONE:-}b'", "ab");
    expect_label("'${T_NONE:-a:b-c}'", "a:b-c");
    expect_label("'$${T_NAME}'", "${T_NAME}");
    expect_label("'$T_NAME $5 $ {x}'", "$T_NAME $5 $ {x}");
}

Test(config_values, may_begin_with_a_byte_order_mark)
{
    struct buf text;

    buf_init(&text, 4096);
    buf_add_format(&text, "\xef\xbb\xbf%s", least);
    struct config *c = read_text(buf_text(&text));

    cr_assert_not_null(c, "%s", buf_text(&problems));
    cr_expect_str_eq(c->account_name, "acme");
    buf_release(&text);
    config_release(c);
}

Test(config_values, need_quotes_in_braces_where_they_are_variables)
{
    static const char hint[] = "in { } and [ ] a value like ${NAME} needs quotes: "
                               "\"${NAME}\"";

    cr_assert_null(read_text("account: {name: ${NAME}}\n"));
    expect_problem("1:18: not YAML: ");
    cr_expect_not_null(strstr(buf_text(&problems), hint), "%s", buf_text(&problems));
    cr_assert_null(read_text("account: {name: a b: c}\n"));
    expect_problem("1:2");
    cr_expect_null(strstr(buf_text(&problems), hint), "%s", buf_text(&problems));
    buf_release(&problems);
}

// What stands in a variable is text, whatever it looks like.
Test(config_values, never_are_structure)
{
    setenv("T_YAML", "x', list: 7, y: 'z}", 1);
    expect_label("\"${T_YAML}\"", "x', list: 7, y: 'z}");
    setenv("T_YAML", "[a, b]", 1);
    expect_label("\"${T_YAML}\"", "[a, b]");
    setenv("T_YAML", "${T_NAME}", 1);
    expect_label("\"${T_YAML}\"", "${T_NAME}");
}

static void
expect_wrong_label(const char *written, const char *what)
{
    cr_expect_null(read_label(written), "%s", written);
    expect_problem("5:");
    cr_expect_not_null(strstr(buf_text(&problems), what), "%s: %s", written,
                       buf_text(&problems));
    buf_release(&problems);
}

Test(config_values, say_which_variable_is_missing)
{
    unsetenv("T_NONE");
    setenv("T_LINES", "two\nlines", 1);
    expect_wrong_label("'x ${T_NONE} y'",
                       "\"x ${T_NONE} y\" is a variable that is not set");
    expect_wrong_label("'${T_NONE'", "without its }");
    expect_wrong_label("'${}'", "not a valid variable");
    expect_wrong_label("'${1A}'", "not a valid variable");
    expect_wrong_label("'${A B}'", "not a valid variable");
    expect_wrong_label("'${A:?x}'", "not a valid variable");
    expect_wrong_label("'${A:-${B}}'", "in the default of another");
    expect_wrong_label("'${T_LINES}'", "control characters");
}

// The value of a variable may be a secret that was put into the wrong place.
Test(config_values, do_not_show_what_a_variable_holds)
{
    setenv("T_SECRET", "redis://me:hunter2@h", 1);
    char text[600];
    snprintf(text, sizeof text,
             "redis: {url: '${T_SECRET}', namespace: '${T_SECRET}'}\n"
             "receiver: {threads: '${T_SECRET}', listen: ['${T_SECRET}']}\n%s",
             least);
    cr_expect_null(read_text(text));
    expect_problem("1:14: redis.url: \"${T_SECRET}\" is a user or password");
    expect_problem("1:");
    cr_expect_null(strstr(buf_text(&problems), "hunter2"), "%s", buf_text(&problems));
    buf_release(&problems);
}

Test(config_values, name_places_of_secrets)
{
    char text[600];

    setenv("T_PLACE", "/run/secrets/hook", 1);
    snprintf(text, sizeof text,
             "account: {name: acme}\npublic_url: https://a.example\n"
             "secret_files: ['${T_PLACE}', 'env:HOOK_SECRET']\n"
             "redis: {password_file: 'env:REDIS_PASSWORD'}\n"
             "hooks: [{name: a, events: [open]}]\n");
    struct config *c = read_text(text);
    cr_assert_not_null(c, "%s", buf_text(&problems));
    cr_expect_str_eq(c->secret_files.at[0], "/run/secrets/hook");
    cr_expect_str_eq(c->secret_files.at[1], "env:HOOK_SECRET");
    cr_expect_str_eq(c->redis_password_file, "env:REDIS_PASSWORD");
    config_release(c);
    buf_release(&problems);
    snprintf(text, sizeof text, "redis: {password_file: 'env:A-B'}\n%s", least);
    cr_expect_null(read_text(text));
    expect_problem("1:24: redis.password_file: \"env:A-B\" is not the name of an env");
    buf_release(&problems);
}

static struct config *
read_redis(const char *settings)
{
    char text[400];

    snprintf(text, sizeof text, "redis: {%s}\n%s", settings, least);
    return read_text(text);
}

Test(config_values, say_when_a_record_is_safe)
{
    static const struct {
        const char *written;
        int read;
    } good[] = {{"", CONFIG_CONFIRM_MEMORY},
                {"confirm: memory", CONFIG_CONFIRM_MEMORY},
                {"confirm: aof", CONFIG_CONFIRM_AOF},
                {"confirm: replicas=2", 2}};
    static const char *const bad[] = {"replicas",    "replicas=0", "replicas=101",
                                      "replicas=-1", "disk",       "aof=1"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct config *c = read_redis(good[i].written);
        cr_assert_not_null(c, "%s: %s", good[i].written, buf_text(&problems));
        cr_expect_eq(c->redis_confirm, good[i].read, "%s", good[i].written);
        config_release(c);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[60];
        snprintf(text, sizeof text, "confirm: '%s'", bad[i]);
        cr_expect_null(read_redis(text), "%s", text);
        expect_problem("1:18: redis.confirm: ");
        buf_release(&problems);
    }
}

Test(config_values, name_the_tags_of_partitions)
{
    static const char *const names[] = {"ac.0", "ac.1", "ac.2"};
    struct config *c = read_redis("partitions: 3");
    char tag[CONFIG_TAG];

    cr_assert_not_null(c);
    cr_assert_eq(config_partitions(c), 3);
    for (int i = 0; i < 3; i++)
        cr_expect_str_eq(config_tag(c, i, tag), names[i]);
    config_release(c);
    c = read_redis("partitions: 1");
    cr_assert_not_null(c);
    cr_assert_eq(config_partitions(c), 1);
    cr_expect_str_eq(config_tag(c, 0, tag), "ac");
    config_release(c);
    cr_expect_null(read_redis("partitions: 65"));
    expect_problem("1:21: redis.partitions: ");
    buf_release(&problems);
}

// "123456789" is the specification's own example of CRC-16/XMODEM; the other slots are what
// CLUSTER KEYSLOT answers.
Test(config_values, spread_subjects_by_the_slots_of_redis_cluster)
{
    cr_expect_eq(config_partition_of(SPAN("123456789"), 16384), 0x31c3);
    cr_expect_eq(config_partition_of(SPAN("foo"), 16384), 12182);
    cr_expect_eq(config_partition_of(SPAN("foo"), 5), 12182 % 5);
    cr_expect_eq(config_partition_of(SPAN(""), 64), 0);
    for (int n = 1; n <= CONFIG_PARTITIONS_MAX; n *= 4) {
        int found[CONFIG_PARTITIONS_MAX] = {0}, subjects = 10000;
        char subject[32];
        for (int i = 0; i < subjects; i++) {
            snprintf(subject, sizeof subject, "contact/%d", i);
            found[config_partition_of(span_of(subject), n)]++;
        }
        for (int i = 0; i < n; i++)
            cr_expect(abs(found[i] - subjects / n) <= subjects / n / 5, "%d of %d: %d", i,
                      n, found[i]);
    }
}

Test(config_values, leave_the_name_of_the_test_hook_alone)
{
    struct config *c =
        read_text("account: {name: acme}\npublic_url: https://h.example\nsecret_files: "
                  "[s]\nhooks:\n"
                  "  - {name: acrelay-test, events: [subscribe]}\n"
                  "  - {name: a, events: [subscribe], stream: acrelay-test}\n");

    cr_expect_null(c);
    expect_problem("5:12: name: \"acrelay-test\" is the name of the hook that is always");
    expect_problem(
        "6:44: stream: \"acrelay-test\" is the name of a key that acrelay uses");
    c = read_text(least);
    cr_assert(c);
    cr_expect_null(config_find_hook(c, SPAN(CONFIG_TEST_HOOK)));
    cr_expect_str_eq(config_find_served(c, SPAN(CONFIG_TEST_HOOK))->stream,
                     CONFIG_TEST_HOOK);
    config_release(c);
}

Test(config_values, give_no_stream_the_name_of_a_key_of_ours)
{
    static const char *const names[] = {"account", "dead",         "hooks",
                                        "last",    "leader",       "receivers",
                                        "streams", "commands.dead"};
    char text[300], problem[100];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(
            text, sizeof text,
            "account: {name: acme}\npublic_url: https://h.example\nsecret_files: [s]\n"
            "hooks:\n  - {name: a, events: [subscribe], stream: %s}\n",
            names[i]);
        cr_expect_null(read_text(text), "%s", names[i]);
        snprintf(problem, sizeof problem, "5:44: stream: \"%s\" is the name of a key",
                 names[i]);
        expect_problem(problem);
        buf_release(&problems);
    }
}

Test(config_values, have_no_word_for_all_events)
{
    char text[600];

    snprintf(text, sizeof text,
             "account: {name: acme}\npublic_url: https://a.example\nsecret_files: [s]\n"
             "hooks:\n  - {name: a, events: all}\n  - {name: b, events: [open, '*']}\n");
    cr_expect_null(read_text(text));
    expect_problem("5:23: events: \"all\" is not an event type: ");
    expect_problem("6:30: events: \"*\" is not an event type");
    buf_release(&problems);
}

// --- what a text that is not valid shows -----------------------------------------------------

static const char two[] = "account: {name: acme}\n"
                          "public_url: https://hooks.acme.example/\n"
                          "secret_files: [/s/one, /s/two]\n"
                          "hooks:\n"
                          "  - {name: a, events: [open]}\n"
                          "  - {name: b, events: [open]}\n";

// `left`: the last characters of the secrets' paths, and the hooks' names.
static void
expect_left(const char *text, const char *left)
{
    char found[64] = "";
    struct config *c = read_text(two);

    cr_assert_not_null(c);
    config_narrow(c, span_of(text));
    for (size_t i = 0; i < c->secret_files.len; i++)
        strncat(found, c->secret_files.at[i] + 3, 1);
    strcat(found, " ");
    for (size_t i = 0; i < c->hooks_len; i++)
        strcat(found, c->hooks[i].name);
    cr_expect_str_eq(found, left, "%s", text);
    config_release(c);
    buf_release(&problems);
}

Test(config_narrow, takes_out_what_is_seen_to_be_removed)
{
    expect_left("acount: x\nsecret_files: [/s/two]\n", "t ab");
    expect_left("acount: x\nsecret_files: /s/two\n", "t ab");
    expect_left("secret_files: [/s/new]\nx: y\n", " ab");
    expect_left("secret_files: []\nx: y\n", " ab");
    expect_left("hooks: [{name: b, event: [x]}]\nx: y\n", "ot b");
    expect_left("hooks:\n  - name: c\n\nx: y\n", "ot ");
    expect_left("secret_files:\n  - /s/two\nhooks:\n\t- broken\n", "t ab");
}

Test(config_narrow, takes_out_nothing_that_may_only_be_hidden)
{
    expect_left("", "ot ab");
    expect_left("\n", "ot ab");
    expect_left("\x01\xff", "ot ab");
    expect_left("[a, list]\n", "ot ab");
    expect_left("secret_file: [/s/two]\nhook: []\n", "ot ab");
    expect_left("secret_files:\nhooks:\n", "ot ab");
    expect_left("secret_files: [/s/two", "ot ab");
    expect_left("secret_files: [/s/two, &x y]\n", "ot ab");
    expect_left("secret_files:\n  - /s/tw", "ot ab");
    expect_left("secret_files: /s/tw", "ot ab");
    expect_left("secret_files: ['', /s/two]\n", "ot ab");
    expect_left("secret_files: [/s/one]\nx: y\nsecret_files: [/s/two]\n", "ot ab");
    expect_left("hooks:\n  - {name: b, ev", "ot ab");
    expect_left("hooks:\n  - {name: b, events: [open]}\n  - {nme: a}\n", "ot ab");
    expect_left("hooks:\n  - {name: b}\n  - {name: A}\n", "ot ab");
    expect_left("hooks:\n  - {name: b}\n  - just text\n", "ot ab");
    expect_left("hooks: {name: b}\n", "ot ab");
    expect_left("hooks:\n  - {name: b}\n  - {name: c, list: *x}\n", "ot ab");
}
