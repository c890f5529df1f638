#include "edge/admin.h"

#include "base/metric.h"
#include "base/text.h"
#include "edge/http_client.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    PAGE_MAX = 16 << 20, // of metrics: those of 1,000 hooks are at most 2 MiB
    THREADS = 16, // a slow client holds one; whoever checks the health must find another
    DETAILS_MAX = 8,
    DETAIL_TEXT = 600,
    HOSTS_MAX = 64,
    FETCH_MS = 5000,
    INSTALLATION = 128,
    PATH_TEXT = 1200,
    MISDIRECTED = 421,
};

static struct {
    bool (*ready)(struct buf *checks, void *context);
    void *context;
    char installation[INSTALLATION];
    pthread_mutex_t lock; // for what follows
    struct {
        const char *name;
        char text[DETAIL_TEXT];
    } details[DETAILS_MAX];
    char *hosts[HOSTS_MAX];
    size_t hosts_len;
    char file[PATH_TEXT], state_dir[PATH_TEXT]; // quoted
    unsigned long long reloads, asked, begun, done;
    bool is_ok, is_last_good;
    char message[DETAIL_TEXT];
} admin = {.lock = PTHREAD_MUTEX_INITIALIZER, .is_ok = true};

enum { BUILD, OK, TOTAL, REFUSED, LAST_GOOD, METRICS };
static const char reloads_help[] = "Reloads by result.";
static struct metric metrics[METRICS] = {
    [BUILD] =
        METRIC_WITH(GAUGE, "acrelay_build_info", "Always 1, labeled with the version.",
                    "version=\"" ACRELAY_VERSION "\""),
    [OK] = METRIC(GAUGE, "acrelay_config_last_reload_successful",
                  "Whether the last reload succeeded."),
    [TOTAL] = METRIC_WITH(COUNTER, "acrelay_config_reloads_total", reloads_help,
                          "result=\"ok\""),
    [REFUSED] = METRIC_WITH(COUNTER, "acrelay_config_reloads_total", reloads_help,
                            "result=\"refused\""),
    [LAST_GOOD] =
        METRIC(GAUGE, "acrelay_config_last_good",
               "1 while the last good configuration is used instead of an invalid file."),
};

// --- hosts ---------------------------------------------------------------------------------

void
admin_set_hosts(char *const *names, size_t len)
{
    pthread_mutex_lock(&admin.lock);
    for (size_t i = 0; i < admin.hosts_len; i++)
        free(admin.hosts[i]);
    admin.hosts_len = len < HOSTS_MAX ? len : HOSTS_MAX;
    for (size_t i = 0; i < admin.hosts_len; i++)
        admin.hosts[i] = memory_copy(span_of(names[i]));
    pthread_mutex_unlock(&admin.lock);
}

void
admin_set_installation(const char *file, const char *state_dir)
{
    char *real = realpath(file, NULL);

    pthread_mutex_lock(&admin.lock);
    text_quote(admin.file, PATH_TEXT, span_of(real ? real : file));
    text_quote(admin.state_dir, PATH_TEXT, span_of(state_dir));
    pthread_mutex_unlock(&admin.lock);
    free(real);
}

static bool
is_listed(struct span host)
{
    bool found = false;

    pthread_mutex_lock(&admin.lock);
    for (size_t i = 0; i < admin.hosts_len && !found; i++)
        found = span_is_nocase(host, admin.hosts[i]);
    pthread_mutex_unlock(&admin.lock);
    return found;
}

// A browser always sends a Host; what speaks HTTP/1.0 without one is a balancer's check.
bool
admin_allows_host(const struct http_request *r)
{
    union address address;
    char full[300];
    size_t count;
    struct span host = span_trim(http_find_header(r, "Host", &count));

    if (count != 1)
        return count == 0 && !r->is_http_11;
    if (host.len > 255)
        return false;
    bool ipv6 = host.len > 0 && host.at[0] == '[';
    struct span tail = span_from(host, ipv6 ? span_find(host, ']') + 1 : 0);
    bool has_port = span_find(tail, ':') < tail.len;
    snprintf(full, sizeof full, "%.*s%s", (int)host.len, host.at, has_port ? "" : ":1");
    if (!sockets_parse(&address, span_of(full)))
        return true;
    host = span_to(host, span_find(host, ':'));
    return span_is_nocase(host, "localhost") || is_listed(host);
}

// --- reloads -------------------------------------------------------------------------------

void
admin_reload_begin(void)
{
    pthread_mutex_lock(&admin.lock);
    admin.begun = admin.asked;
    pthread_mutex_unlock(&admin.lock);
}

// With the lock.
static void
set_result(bool ok, const char *message)
{
    metric_set(&metrics[OK], ok);
    admin.is_ok = ok;
    snprintf(admin.message, sizeof admin.message, "%s", message);
}

void
admin_reload_end(bool ok, const char *message)
{
    metric_add(&metrics[ok ? TOTAL : REFUSED], 1);
    pthread_mutex_lock(&admin.lock);
    admin.reloads++;
    admin.done = admin.begun;
    set_result(ok, message);
    pthread_mutex_unlock(&admin.lock);
}

void
admin_use_last_good(const char *why)
{
    metric_set(&metrics[LAST_GOOD], why != NULL);
    pthread_mutex_lock(&admin.lock);
    admin.is_last_good = why != NULL;
    set_result(why == NULL, why ? why : "");
    pthread_mutex_unlock(&admin.lock);
}

static void
add_reload_and_installation(struct buf *page)
{
    char message[2 * sizeof admin.message];

    pthread_mutex_lock(&admin.lock);
    text_quote(message, sizeof message, span_of(admin.message));
    buf_add_format(page,
                   "\"reload\":{\"count\":%llu,\"done\":%llu,\"ok\":%s,"
                   "\"last_good\":%s,\"message\":\"%s\"},"
                   "\"installation\":{\"file\":\"%s\",\"state_dir\":\"%s\"}",
                   admin.reloads, admin.done, admin.is_ok ? "true" : "false",
                   admin.is_last_good ? "true" : "false", message, admin.file,
                   admin.state_dir);
    pthread_mutex_unlock(&admin.lock);
}

// --- pages -----------------------------------------------------------------------------------

void
admin_set_detail(const char *name, const char *text)
{
    size_t i = 0;

    pthread_mutex_lock(&admin.lock);
    while (i < DETAILS_MAX && admin.details[i].name &&
           strcmp(admin.details[i].name, name) != 0)
        i++;
    assert(i < DETAILS_MAX);
    admin.details[i].name = name;
    snprintf(admin.details[i].text, DETAIL_TEXT, "%s", text);
    pthread_mutex_unlock(&admin.lock);
}

static void
reply_page(struct http_request *r, int code, const char *type, struct span body)
{
    char header[96];

    snprintf(header, sizeof header, "Content-Type: %s\r\nCache-Control: no-store\r\n",
             type);
    http_reply(r, code, header, body, true);
}

static void
add_details(struct buf *page)
{
    char text[2 * DETAIL_TEXT];
    const char *comma = "";

    buf_add_text(page, "\"details\":{");
    pthread_mutex_lock(&admin.lock);
    for (size_t i = 0; i < DETAILS_MAX && admin.details[i].name; i++) {
        if (!admin.details[i].text[0])
            continue;
        text_quote(text, sizeof text, span_of(admin.details[i].text));
        buf_add_format(page, "%s\"%s\":\"%s\"", comma, admin.details[i].name, text);
        comma = ",";
    }
    pthread_mutex_unlock(&admin.lock);
    buf_add_text(page, "},");
}

static void
reply_ready(struct http_request *r)
{
    struct buf checks, page;

    buf_init(&checks, 4096);
    buf_init(&page, 16384);
    bool ready = admin.ready(&checks, admin.context);
    buf_add_format(&page, "{\"ready\":%s,\"checks\":{%s},", ready ? "true" : "false",
                   buf_text(&checks));
    add_details(&page);
    add_reload_and_installation(&page);
    buf_add_text(&page, "}\n");
    reply_page(r, ready ? 200 : 503, "application/json", buf_span(&page));
    buf_release(&checks);
    buf_release(&page);
}

static void
reply_metrics(struct http_request *r)
{
    struct buf page;

    buf_init(&page, PAGE_MAX);
    if (metric_write(&page) == 0)
        reply_page(r, 200, "text/plain; version=0.0.4; charset=utf-8", buf_span(&page));
    else
        reply_page(r, 500, "text/plain",
                   SPAN("the metrics are more than 16 MiB: those of hooks that left the "
                        "file stay until a restart, so restart this program\n"));
    buf_release(&page);
}

// No page of a browser can send this unasked: a form has another type.
static void
reply_reload(struct http_request *r)
{
    char text[64];

    if (!span_is(http_find_header(r, "Content-Type", NULL), "application/json")) {
        http_reply(r, 415, "", SPAN("Content-Type: application/json\n"), true);
        return;
    }
    pthread_mutex_lock(&admin.lock);
    unsigned long long asked = ++admin.asked;
    pthread_mutex_unlock(&admin.lock);
    kill(getpid(), SIGHUP);
    int len = snprintf(text, sizeof text, "{\"reload\":%llu}\n", asked);
    reply_page(r, 202, "application/json", span_make(text, (size_t)len));
}

// One who does not know all of it asks for its beginning: the account.
static bool
is_misdirected(const struct http_request *r)
{
    struct span asked = http_find_header(r, "Acrelay-Installation", NULL),
                ours = span_of(admin.installation);

    return !span_starts(ours, asked) ||
           (asked.len > 0 && asked.len < ours.len && ours.at[asked.len] != ' ');
}

static void
handle(struct http_request *r, void *context)
{
    (void)context;
    if (!admin_allows_host(r))
        reply_page(r, 403, "text/plain",
                   SPAN("Host: an IP address, localhost, or a name in admin_hosts\n"));
    else if (is_misdirected(r))
        reply_page(r, MISDIRECTED, "text/plain",
                   SPAN("this is another installation's\n"));
    else if (span_is(r->method, "POST") && span_is(r->path, "/reload"))
        reply_reload(r);
    else if (!span_is(r->method, "GET") && !span_is(r->method, "HEAD"))
        http_reply(r, 405, "Allow: GET\r\n", SPAN("only GET\n"), true);
    else if (span_is(r->path, "/livez"))
        reply_page(r, 200, "text/plain", SPAN("ok\n"));
    else if (span_is(r->path, "/readyz"))
        reply_ready(r);
    else if (span_is(r->path, "/metrics"))
        reply_metrics(r);
    else if (span_is(r->path, "/version"))
        reply_page(r, 200, "application/json",
                   SPAN("{\"version\":\"" ACRELAY_VERSION "\"}\n"));
    else
        reply_page(r, 404, "text/plain",
                   SPAN("/livez /readyz /metrics /version; POST /reload\n"));
}

struct http_server *
admin_start(const struct socket_address *at, const char *setting,
            const char *installation, bool (*ready)(struct buf *checks, void *context),
            void *context, struct err *err)
{
    int socket = sockets_listen(at, err);
    struct http_options options = {.sockets = &socket,
                                   .sockets_len = 1,
                                   .threads = THREADS,
                                   .queue = 2 * THREADS,
                                   .request_timeout_ms = 2000,
                                   .idle_ms = 500,
                                   .handle = handle};

    if (socket < 0) {
        err_context(err, "%s", setting);
        return NULL;
    }
    metric_show(metrics, METRICS);
    metric_set(&metrics[BUILD], 1);
    metric_set(&metrics[OK], admin.is_ok);
    admin.ready = ready;
    admin.context = context;
    snprintf(admin.installation, sizeof admin.installation, "%s", installation);
    struct http_server *server = http_start(&options, err);
    close(socket); // the server has its own descriptor of it
    return server;
}

// --- the client ----------------------------------------------------------------------------

int
admin_fetch(const struct socket_address *to, const char *installation, bool posts,
            const char *path, struct buf *page, struct err *err)
{
    char line[INSTALLATION + 30];
    struct http_call call = {.to = to,
                             .url = path,
                             .method = posts ? "POST" : NULL,
                             .type = SPAN("application/json"),
                             .line = line,
                             .timeout_ms = FETCH_MS};

    snprintf(line, sizeof line, "Acrelay-Installation: %s",
             installation ? installation : "");
    int code = http_client_once(&call, page, err);
    if (code != MISDIRECTED)
        return code;
    return err_set(err, ERR_INPUT,
                   "the acrelay there has another account.name or redis.namespace: give "
                   "this file an address of its own, or restart what is to use it");
}

int
admin_takes(const struct socket_address *to, const char *installation,
            const struct socket_addresses *listen, const char *path)
{
    int takes = -1;
    struct buf page;
    struct err err;

    buf_init(&page, 1 << 16);
    bool runs = admin_fetch(to, installation, false, "/version", &page, &err) == 200 &&
                strstr(buf_text(&page), "\"version\""); // a program of ours
    for (size_t i = 0; runs && i < listen->len && takes < 0; i++) {
        int code = admin_fetch(&listen->at[i], installation, false, path, &page, &err);
        takes = code == 405 ? 1 : code == 404 ? 0 : -1;
    }
    buf_release(&page);
    return takes;
}

void
admin_fetch_metrics(struct buf *page, const struct socket_address *to,
                    const char *installation)
{
    struct err err;

    buf_init(page, PAGE_MAX);
    if (admin_fetch(to, installation, false, "/metrics", page, &err) != 200)
        buf_clear(page);
}

bool
admin_find_metric(const struct buf *page, const char *name, double *sum)
{
    struct span rest = buf_span(page);
    bool found = false;

    *sum = 0;
    while (rest.len > 0) {
        struct span line = span_cut(&rest, '\n');
        if (!span_starts(line, span_of(name)))
            continue;
        char next = line.len > strlen(name) ? line.at[strlen(name)] : '\0';
        if (next != ' ' && next != '{')
            continue;
        line = span_after_last(line, ' ');
        char number[64];
        snprintf(number, sizeof number, "%.*s", (int)line.len, line.at);
        *sum += strtod(number, NULL);
        found = true;
    }
    return found;
}
