// Places in the configuration: Redis, addresses to listen on, URLs; as people have them.
#include "config_text.h"

#include <arpa/inet.h>

static struct config *
read_line(const char *line, const char *value)
{
    const char *gap = strstr(line, "%s");
    char whole[2000];

    snprintf(whole, sizeof whole, "%.*s%s%s\n%s", (int)(gap - line), line, value, gap + 2,
             least);
    return read_text(whole);
}

static void
expect_redis(const char *url, const char *host, int port, const char *socket,
             int database)
{
    struct config *c = read_line("redis: {url: '%s'}", url);

    cr_assert_not_null(c, "%s: %s", url, buf_text(&problems));
    const struct redis_host *first = &c->redis_url.hosts[0];
    cr_expect_str_eq(first->name, host ? host : "", "%s", url);
    cr_expect_str_eq(c->redis_url.path, socket ? socket : "", "%s", url);
    if (host)
        cr_expect_eq(first->port, port, "%s: %d", url, first->port);
    cr_expect_eq(c->redis_url.database, database, "%s", url);
    config_release(c);
    buf_release(&problems);
}

Test(config_places, takes_a_redis_as_people_name_it)
{
    expect_redis("redis://stack_redis:6379", "stack_redis", 6379, NULL, 0);
    expect_redis("redis://redis_1:6380/4", "redis_1", 6380, NULL, 4);
    expect_redis("REDIS://h", "h", 6379, NULL, 0);
    expect_redis("redis://[::1]:6379/2", "::1", 6379, NULL, 2);
    expect_redis("redis://[fd00::5]", "fd00::5", 6379, NULL, 0);
    expect_redis("redis://:6380/1", "127.0.0.1", 6380, NULL, 1);
    expect_redis("redis:///3", "127.0.0.1", 6379, NULL, 3);
    expect_redis("redis://10.1.2.3/0", "10.1.2.3", 6379, NULL, 0);
    expect_redis("unix:/run/redis.sock", NULL, 0, "/run/redis.sock", 0);
    expect_redis("unix:///run/redis.sock", NULL, 0, "/run/redis.sock", 0);
    expect_redis("unix:///run/redis.sock?db=2", NULL, 0, "/run/redis.sock", 2);
    expect_redis("UNIX:///run/redis.sock", NULL, 0, "/run/redis.sock", 0);
}

static void
expect_wrong(const char *line, const char *value, const char *what)
{
    cr_expect_null(read_line(line, value), "%s", value);
    cr_expect_not_null(strstr(buf_text(&problems), what), "%s: no \"%s\" in %s", value,
                       what, buf_text(&problems));
    buf_release(&problems);
}

Test(config_places, says_what_is_wrong_with_a_redis)
{
    static const char line[] = "redis: {url: '%s'}";

    expect_wrong(line, "redis://h/0?x=y", "with a query");
    expect_wrong(line, "redis://h/zero", "whose database is not a number");
    expect_wrong(line, "unix:///run/r.sock?x=2", "a query other than ?db=N");
    expect_wrong(line, "unix:///run/r.sock?db=two", "whose database is not a number");
    expect_wrong(line, "unix:run/r.sock", "not the path of a unix socket");
    expect_wrong(line, "/run/redis.sock", "unix:// belongs before it");
    expect_wrong(line, "redis://[::1:6379", "invalid host");
    expect_wrong(line, "redis://[::g]:6379", "invalid IPv6 address");
    expect_wrong(line, "redis://[::1]x", "invalid host or port");
    expect_wrong(line, "redis://h:0", "invalid host or port");
    expect_wrong(line, "redis://a b", "invalid host");
    expect_wrong(line,
                 "redis://r\xc3\xa9"
                 "dis:6379",
                 "punycode");
}

Test(config_places, takes_tls_sentinels_and_clusters)
{
    struct config *c = read_line("redis: {url: '%s'}",
                                 "rediss+sentinel://s1:1,[::1],s_3:3/my-master.1/5");
    const struct redis_url *u = &c->redis_url;

    cr_assert(u->tls && u->kind == REDIS_SENTINEL && u->hosts_len == 3);
    cr_expect_str_eq(u->hosts[1].name, "::1");
    cr_expect_eq(u->hosts[1].port, 26379);
    cr_expect_str_eq(u->hosts[2].name, "s_3");
    cr_expect_eq(u->hosts[2].port, 3);
    cr_expect_str_eq(u->master, "my-master.1");
    cr_expect_eq(u->database, 5);
    config_release(c);
    c = read_line("redis: {url: '%s'}", "redis+cluster://a,b:7001");
    u = &c->redis_url;
    cr_assert(!u->tls && u->kind == REDIS_CLUSTER && u->hosts_len == 2);
    cr_expect_eq(u->hosts[0].port, 6379);
    cr_expect_eq(u->hosts[1].port, 7001);
    config_release(c);
    c = read_line("redis: {url: '%s'}", "rediss://r.example:6380/2");
    cr_assert(c->redis_url.tls && c->redis_url.kind == REDIS_PLAIN);
    cr_expect_eq(c->redis_url.hosts[0].port, 6380);
    config_release(c);
    buf_release(&problems);
}

Test(config_places, says_what_is_wrong_with_sentinels_clusters_and_tls)
{
    static const char line[] = "redis: {url: '%s'}";

    expect_wrong(line, "redis+cluster://h/2", "a cluster has only database 0");
    expect_wrong(line, "redis+cluster://a,,b", "invalid host");
    expect_wrong(line, "redis+sentinel://a,b", "without the name of its master");
    expect_wrong(line, "redis+sentinel://a/my name", "without the name of its master");
    expect_wrong(line, "redis://a,b", "a Redis URL with several hosts");
    expect_wrong(line, "redis+cluster://a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q",
                 "more than 16");
    expect_wrong(line, "rediss://me:pw@h", "redis.url_file");
    expect_wrong("redis: {url: 'redis://h', url_file: %s}", "u", "redis.url is set too");
    expect_wrong("redis: {tls: {ca_file: %s}}", "ca.pem", "write rediss:// there");
    expect_wrong("redis: {url: 'rediss://h', tls: {cert_file: %s}}", "c.pem",
                 "require each other");
    expect_wrong("redis: {tls: {ca_file: '%s'}}", "env:CA", "must be a file");
}

// The URL that a file holds, or what is wrong with it.
static struct redis_options
read_secret_url(const char *url, const char *more, struct redis_secrets *secret,
                struct err *err)
{
    char line[200];

    setenv("T_URL", url, 1);
    snprintf(line, sizeof line, "redis: {url_file: 'env:T_URL'%s%%s}", more);
    struct config *c = read_line(line, "");
    cr_assert_not_null(c, "%s", buf_text(&problems));
    struct redis_options o;
    *err = (struct err){0};
    (void)config_redis_options(&o, c, secret, err);
    o.url.text = NULL; // the configuration's
    config_release(c);
    return o;
}

Test(config_places, takes_a_redis_with_its_password_from_a_file)
{
    struct redis_secrets secret;
    struct err err;
    struct redis_options o =
        read_secret_url("rediss://default:p%40ss%2f%25@h.example:1/2", "", &secret, &err);

    cr_assert_str_eq(err.text, "");
    cr_expect_str_eq(o.user, "default");
    cr_expect(span_is(o.password, "p@ss/%"));
    cr_expect_str_eq(o.url.hosts[0].name, "h.example");
    cr_expect(o.url.tls && o.url.database == 2 && o.url.hosts[0].port == 1);
    redis_secrets_wipe(&secret);
    o = read_secret_url("redis://:only@h", "", &secret, &err);
    cr_expect(!o.user && span_is(o.password, "only"));
    redis_secrets_wipe(&secret);
    o = read_secret_url("rediss://h", "", &secret, &err); // without a login
    cr_assert_str_eq(err.text, "");
    cr_expect(!o.user && o.password.len == 0 && o.url.tls);
    redis_secrets_wipe(&secret);
}

Test(config_places, shows_nothing_of_a_url_in_a_file)
{
    static const char *const urls[][3] = {
        {"http://me:hunter2@h", "", "not a Redis URL"},
        {"redis://me:hunter2%4@h", "", "%25"},
        {"redis://me:hun/ter2@h", "", "write '/' as %2F"},
        {"redis://hunter2@h", "", "a user but no password"},
        {"redis://me:hunter2@h/x", "", "is not a number"},
        {"redis://me:hunter2@h", ", password_file: p", "only one"},
        {"redis://me:hunter2@h", ", tls: {server_name: n}", "rediss://"}};

    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct redis_secrets secret;
        struct err err;
        (void)read_secret_url(urls[i][0], urls[i][1], &secret, &err);
        cr_expect(strstr(err.text, urls[i][2]), "%s: %s", urls[i][0], err.text);
        cr_expect(!strstr(err.text, "ter2"), "%s", err.text);
        cr_expect_eq(err.exit, EXIT_CODE_CONFIG);
        redis_secrets_wipe(&secret);
    }
}

static void
expect_public_url(const char *url, const char *read)
{
    char text[1000];

    snprintf(text, sizeof text,
             "account: {name: acme}\npublic_url: '%s'\nsecret_files: [s]\n"
             "hooks: [{name: a, events: [open]}]\n",
             url);
    struct config *c = read_text(text);
    cr_assert_not_null(c, "%s: %s", url, buf_text(&problems));
    cr_expect_str_eq(c->public_url, read);
    config_release(c);
    buf_release(&problems);
}

Test(config_places, writes_urls_in_one_spelling)
{
    expect_public_url("HTTPS://Hooks.Acme.Example", "https://hooks.acme.example");
    expect_public_url("https://hooks.acme.example:443/", "https://hooks.acme.example");
    expect_public_url("https://hooks.acme.example:8443",
                      "https://hooks.acme.example:8443");
    expect_public_url("http://a_b:80", "http://a_b");
    expect_public_url("https://[2001:DB8::1]:443", "https://[2001:db8::1]");
    expect_public_url("https://[2001:db8::1]:444", "https://[2001:db8::1]:444");
}

Test(config_places, takes_an_api_on_this_machine_by_ipv6_too)
{
    char text[1000];
    static const char *const urls[][2] = {
        {"http://[::1]:9000", "http://[::1]:9000"},
        {"HTTPS://Acme.api-us1.com:443/api/3/", "https://acme.api-us1.com"},
        {"https://api_mock", "https://api_mock"},
        {"http://[::2]:9000", NULL}};

    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        snprintf(text, sizeof text,
                 "account: {name: acme, api_url: '%s', api_token_file: t}\n%s",
                 urls[i][0], strchr(least, '\n') + 1);
        struct config *c = read_text(text);
        cr_expect_eq(c != NULL, urls[i][1] != NULL, "%s", urls[i][0]);
        if (c && urls[i][1])
            cr_expect_str_eq(c->account_api_url, urls[i][1]);
        config_release(c);
        buf_release(&problems);
    }
}

Test(config_places, listens_on_ipv6_and_on_both)
{
    struct config *c = read_line("receiver: {listen: %s}",
                                 "['[::]:8080', '[::1]:8081', '127.0.0.1:8082',"
                                 " 'unix:///run/a.sock', '[::]:8083', "
                                 "'0.0.0.0:8083']");

    cr_assert_not_null(c, "%s", buf_text(&problems));
    cr_assert_eq(c->listen.len, 6);
    cr_expect_eq(c->listen.at[0].at.any.sa_family, AF_INET6);
    cr_expect_eq(c->listen.at[1].at.in6.sin6_port, htons(8081));
    cr_expect_eq(c->listen.at[2].at.any.sa_family, AF_INET);
    cr_expect_str_eq(c->listen.at[3].path, "/run/a.sock");
    cr_expect(!c->listen.at[0].only_ipv6 && c->listen.at[4].only_ipv6);
    config_release(c);
    buf_release(&problems);
}

Test(config_places, says_what_is_wrong_with_an_address)
{
    static const char line[] = "receiver: {listen: ['%s']}";

    expect_wrong(line, "/run/acrelay.sock", "unix: belongs before it");
    expect_wrong(line, "::1:80", "in brackets");
    expect_wrong(line, "[::1]", "with a port");
    expect_wrong(line, "[::1]:0", "invalid port");
    expect_wrong(line, "localhost:80", "not an IPv4 address, or an IPv6 one in brackets");
    expect_wrong("receiver: {%s: [10.0.0.0/8]}", "trusted_proxies", "no longer exists");
}

Test(config_places, warns_of_an_admin_listener_that_others_reach)
{
    static const struct {
        const char *address;
        bool warned;
    } cases[] = {
        {"127.0.0.1:9199", false},  {"[::1]:9180", false},  {"10.2.3.4:9180", false},
        {"[fd00::1]:9180", false},  {"unix:/run/a", false}, {"192.168.1.1:1", false},
        {"0.0.0.0:9180", true},     {"[::]:9180", true},    {"198.51.100.7:1", true},
        {"[2001:db8::1]:80", true}, {"172.32.0.1:1", true}};

    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const char *line = i % 2 ? "worker: {admin: '%s'}" : "receiver: {admin: '%s'}";
        struct config *c = read_line(line, cases[i / 2].address);
        cr_assert_not_null(c, "%s", buf_text(&problems));
        cr_expect_eq(strstr(buf_text(&problems), ":1:") &&
                         strstr(buf_text(&problems), "warning: "),
                     cases[i / 2].warned, "%s %s", line, cases[i / 2].address);
        config_release(c);
        buf_release(&problems);
    }
}

Test(config_places, takes_names_of_the_admin_listener)
{
    struct config *c = read_line("admin_hosts: %s", "[receiver, acrelay_1.internal]");

    cr_assert_not_null(c, "%s", buf_text(&problems));
    cr_expect_str_eq(c->admin_hosts.at[1], "acrelay_1.internal");
    config_release(c);
    buf_release(&problems);
    expect_wrong("admin_hosts: ['%s']", "a:80", "not a host name");
}

Test(config_places, lists_have_at_most_64_values)
{
    struct buf listen;

    buf_init(&listen, 4096);
    for (int port = 1; port <= 64; port++)
        buf_add_format(&listen, "%s127.0.0.1:%d", port > 1 ? ", " : "[", port);
    struct config *c = read_line("receiver: {listen: %s]}", buf_text(&listen));
    cr_assert_not_null(c, "%s", buf_text(&problems));
    cr_expect_eq(c->listen.len, 64);
    config_release(c);
    cr_assert_null(read_line("receiver: {listen: %s, 127.0.0.1:65]}", buf_text(&listen)));
    expect_problem("1:20: receiver.listen: a list of 65 values; expected at most 64");
    buf_release(&listen);
    buf_release(&problems);
}

static void
expect_state_dir(const char *file, const char *wanted)
{
    struct problems found = {0};
    struct config *c = config_parse(file, span_of(least), &found);

    cr_assert_not_null(c, "%s", file);
    cr_expect_str_eq(c->state_dir, wanted, "%s: %s", file, c->state_dir);
    config_release(c);
    free(found.at);
}

Test(config_places, has_a_state_dir_of_its_own_for_each_account)
{
    expect_state_dir("/etc/acrelay/acrelay.yaml", "/var/lib/acrelay");
    expect_state_dir("/etc/acrelay/beta.yaml", "/var/lib/acrelay-beta");
    // The longest name that a file may have.
    char name[251] = "", file[300], state_dir[300];
    memset(name, 'x', sizeof name - 1);
    snprintf(file, sizeof file, "/etc/acrelay/%s.yaml", name);
    snprintf(state_dir, sizeof state_dir, "/var/lib/acrelay-%s", name);
    expect_state_dir(file, state_dir);
    expect_state_dir("/etc/acrelay/sub/beta.yaml", "/var/lib/acrelay");
    expect_state_dir("/srv/beta.yaml", "/var/lib/acrelay");
    expect_state_dir("beta.yaml", "/var/lib/acrelay");
    expect_state_dir("/etc/acrelay/beta", "/var/lib/acrelay");
}
