#include "sim.h"

#include "base/clock.h"
#include "base/file.h"
#include "program/options.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BODY_MAX = 1 << 20, LOG_MAX = 64 << 20 };

struct sim sim = {.lock = PTHREAD_MUTEX_INITIALIZER, .next_id = 1, .next_number = 1};

static const struct option options_own[] = {
    {"port", "N", "on 127.0.0.1; 0, the preset, for any", OPTION_NUMBER, NULL},
    {"token-file", "FILE", "the API token that is accepted", OPTION_TEXT, NULL},
    {"deliver-to", "PORT",
     "where events go, on 127.0.0.1, whatever host a URL names; 0: to the URL",
     OPTION_NUMBER, NULL},
    {"fire", "N", "fire so many life-like events a minute", OPTION_NUMBER, NULL},
    {"time-factor", "N", "how many times faster time goes; 1 unless given", OPTION_NUMBER,
     NULL},
    {0},
};

static const struct program program_acsim = {
    .name = "acsim",
    .sentence = "Simulates an ActiveCampaign account: webhooks, PUT operations, events.",
    .options = options_own,
    .more =
        "GET /sim/figures, /sim/hooks, /sim/log, /sim/objects, /sim/calls, /sim/writes;\n"
        "POST /sim/switch, /sim/answer, /sim/fire; tests/simulator/control.c has them "
        "all.\n",
};

// --- requests ------------------------------------------------------------------------------

static void
read_body(struct mg_connection *conn, struct buf *body)
{
    char piece[4096];
    int n;

    buf_init(body, BODY_MAX);
    while ((n = mg_read(conn, piece, sizeof piece)) > 0)
        if (buf_add(body, span_make(piece, (size_t)n)) < 0)
            break;
}

static void
write_answer(struct mg_connection *conn, const struct answer *a, enum fault fault)
{
    char limits[80] = "";
    char *made = a->json ? cJSON_PrintUnformatted(a->json) : NULL;
    int status = fault == FAULT_524 ? 524 : a->status;
    struct span body = span_of(made ? made : a->text ? a->text : "");
    const char *type = body.len && *body.at == '<' ? "text/html" : "application/json";

    if (fault == FAULT_HTML) {
        body = SPAN("<!DOCTYPE html><html><body>Just a moment...</body></html>");
        type = "text/html";
    }
    if (fault == FAULT_524) {
        body = SPAN("<!DOCTYPE html><html><title>524: A timeout occurred</title></html>");
        type = "text/html";
    }
    if (fault == FAULT_EMPTY)
        body.len = 0;
    if (fault == FAULT_TRUNCATE)
        mg_disable_keep_alive(conn);
    if (sim.switches.limit > 0)
        snprintf(limits, sizeof limits,
                 "RateLimit-Limit: %d\r\nRateLimit-Remaining: %zu\r\n",
                 sim.switches.limit, sim.remaining);
    mg_printf(conn,
              "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s%s\r\n",
              status, mg_get_response_code_text(conn, status), type, body.len, limits,
              a->headers);
    mg_write(conn, body.at, fault == FAULT_TRUNCATE ? body.len / 2 : body.len);
    free(made);
}

static void
log_request(struct mg_connection *conn, const struct mg_request_info *info, int status,
            int64_t us)
{
    char path[300], host[100];

    text_escape(path, sizeof path, span_of(info->request_uri));
    text_escape(host, sizeof host, span_of(mg_get_header(conn, "Host")));
    buf_add_format(&sim.log,
                   "{\"us\":%lld,\"end_us\":%lld,\"method\":\"%s\",\"path\":\"%s\","
                   "\"status\":%d,\"host\":\"%s\"}\n",
                   (long long)us, (long long)clock_mono_us(), info->request_method, path,
                   status, host);
}

static bool
has_token(struct mg_connection *conn)
{
    const char *given = mg_get_header(conn, "Api-Token");

    return given && strcmp(given, sim.token) == 0;
}

static void
answer_api(struct mg_connection *conn, const struct mg_request_info *info,
           struct span body)
{
    const char *trial = mg_get_header(conn, "validateOnly");
    struct request r = {.method = info->request_method,
                        .path = info->request_uri + 6,
                        .query = info->query_string,
                        .body = body,
                        .is_write = strcmp(info->request_method, "GET") != 0,
                        .validate_only = trial && strcmp(trial, "true") == 0};
    struct answer a = {0};
    int slow_ms = 0;

    pthread_mutex_lock(&sim.lock);
    int64_t start = clock_mono_us();
    struct operation *op = calls_count(&r);
    sim.figures.requests++;
    sim.figures.writes += r.is_write;
    enum fault fault = faults_pick(&r, &a, &slow_ms);
    if (a.status == 0 && !has_token(conn)) {
        sim.figures.refused_token++;
        a.status = 403;
        a.text = "{\"message\":\"Forbidden\"}";
    }
    if (a.status == 0 && fault != FAULT_CUT_BEFORE) {
        api_answer(&a, &r);
        calls_answered(op, &r, &a, slow_ms ? FAULT_SLOW : fault);
    }
    bool cut = fault == FAULT_CUT_BEFORE || fault == FAULT_CUT_AFTER;
    log_request(conn, info, cut ? 0 : a.status, start);
    pthread_mutex_unlock(&sim.lock);
    if (slow_ms)
        clock_sleep_ms((int64_t)(slow_ms / sim.time_factor));
    if (cut)
        mg_disable_keep_alive(conn);
    else
        write_answer(conn, &a, fault);
    cJSON_Delete(a.json);
}

static void
answer_fire(struct mg_connection *conn, struct span body)
{
    cJSON *root = cJSON_ParseWithLength(body.at, body.len);
    const cJSON *type = cJSON_GetObjectItem(root, "type"),
                *source = cJSON_GetObjectItem(root, "source"),
                *count = cJSON_GetObjectItem(root, "count"),
                *list = cJSON_GetObjectItem(root, "list"),
                *twice = cJSON_GetObjectItem(root, "double");
    struct answer a = {.status = 200, .json = cJSON_CreateObject()};
    size_t posts = 0;

    for (int i = 0; cJSON_IsString(type) && i < (count ? count->valueint : 1); i++) {
        struct firing f = {.type = type->valuestring,
                           .source =
                               cJSON_IsString(source) ? source->valuestring : "public",
                           .list = list ? (uint64_t)list->valueint : 0,
                           .double_per_mille = twice ? twice->valueint : 0};
        posts += fire(&f);
    }
    cJSON_AddNumberToObject(a.json, "posts", (double)posts);
    write_answer(conn, &a, FAULT_NONE);
    cJSON_Delete(a.json);
    cJSON_Delete(root);
}

static void
answer_control(struct mg_connection *conn, const struct mg_request_info *info,
               struct span body)
{
    struct answer a = {0};

    pthread_mutex_lock(&sim.lock);
    control_answer(&a, info->request_method, info->request_uri + 4, body);
    write_answer(conn, &a, FAULT_NONE);
    pthread_mutex_unlock(&sim.lock);
    cJSON_Delete(a.json);
}

static int
begin_request(struct mg_connection *conn)
{
    const struct mg_request_info *info = mg_get_request_info(conn);
    struct answer none = {.status = 404, .text = "<!DOCTYPE html><html>Not Found</html>"};
    struct buf body;

    read_body(conn, &body);
    if (strncmp(info->request_uri, "/api/3/", 7) == 0)
        answer_api(conn, info, buf_span(&body));
    else if (strcmp(info->request_uri, "/sim/fire") == 0)
        answer_fire(conn, buf_span(&body));
    else if (strncmp(info->request_uri, "/sim/", 5) == 0)
        answer_control(conn, info, buf_span(&body));
    else
        write_answer(conn, &none, FAULT_NONE);
    buf_release(&body);
    return 1;
}

// --- start ---------------------------------------------------------------------------------

static int
fail(const char *text)
{
    fprintf(stderr, "acsim: %s\n", text);
    return EXIT_CODE_FAILURE;
}

static int
read_token(const struct options *o)
{
    struct err err;
    struct buf token;
    const char *file = options_text(o, "token-file", NULL);

    buf_init(&token, 4096);
    if (file && file_read_secret(file, 1, &token, &err) < 0)
        return fail(err.text);
    sim.token = memory_copy(file ? buf_span(&token) : SPAN("simulated-token"));
    buf_release(&token);
    return EXIT_CODE_OK;
}

static struct mg_context *
start(const struct options *o)
{
    char port[40];
    struct mg_callbacks callbacks = {.begin_request = begin_request};

    snprintf(port, sizeof port, "127.0.0.1:%llu",
             (unsigned long long)options_number(o, "port", 0));
    const char *settings[] = {"listening_ports",
                              port,
                              "num_threads",
                              "16",
                              "enable_keep_alive",
                              "yes",
                              "keep_alive_timeout_ms",
                              "60000",
                              "request_timeout_ms",
                              "60000",
                              "tcp_nodelay",
                              "1",
                              "decode_url",
                              "no",
                              NULL};
    mg_init_library(0);
    return mg_start(&callbacks, NULL, settings);
}

int
main(int argc, char **argv)
{
    struct options o;
    struct mg_server_port port;
    sigset_t signals;
    int got = 0, code = options_parse(&o, &program_acsim, argc, argv);

    if (code >= 0)
        return code;
    if ((code = read_token(&o)) != EXIT_CODE_OK)
        return code;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    buf_init(&sim.log, LOG_MAX);
    sim.switches =
        (struct switches){.limit = 5, .retry_after = 1, .seed = 1, .ids = 1000000};
    operations_load();
    changes_start();
    sim.time_factor = (double)options_number(&o, "time-factor", 1);
    sim.deliver = (struct socket_address){
        .at.in = {.sin_family = AF_INET,
                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                  .sin_port = htons((uint16_t)options_number(&o, "deliver-to", 8080))}};
    struct mg_context *context = start(&o);
    if (!context || mg_get_server_ports(context, 1, &port) < 1)
        return fail("cannot listen; is the port in use?");
    printf("acsim: ActiveCampaign simulated on http://127.0.0.1:%d\n", port.port);
    fflush(stdout);
    if (options_number(&o, "fire", 0))
        fire_start((double)options_number(&o, "fire", 0) / 60);
    sigwait(&signals, &got);
    _exit(EXIT_CODE_OK);
}
