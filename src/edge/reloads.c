#include "edge/reloads.h"

#include "base/metric.h"
#include "base/text.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static struct {
    pthread_mutex_t lock;
    struct metric *ok, *total, *failed, *last_good;
    unsigned long long count, asked, begun, done;
    bool is_ok, is_last_good;
    char message[600];
} reloads = {.lock = PTHREAD_MUTEX_INITIALIZER, .is_ok = true};

void
reloads_start(void)
{
    static const char help[] = "Reloads by what became of them.";

    reloads.ok = metric_find(METRIC_GAUGE, "acrelay_config_last_reload_successful",
                             "Whether the last reload was taken over.", NULL);
    reloads.total = metric_find(METRIC_COUNTER, "acrelay_config_reloads_total", help,
                                "result", "ok", NULL);
    reloads.failed = metric_find(METRIC_COUNTER, "acrelay_config_reloads_total", help,
                                 "result", "refused", NULL);
    reloads.last_good = metric_find(METRIC_GAUGE, "acrelay_config_last_good",
                                    "1 while the last good configuration is used "
                                    "instead of a file that is not valid.",
                                    NULL);
    metric_set(reloads.ok, 1);
}

unsigned long long
reloads_ask(void)
{
    pthread_mutex_lock(&reloads.lock);
    unsigned long long asked = ++reloads.asked;
    pthread_mutex_unlock(&reloads.lock);
    kill(getpid(), SIGHUP);
    return asked;
}

void
reloads_begin(void)
{
    pthread_mutex_lock(&reloads.lock);
    reloads.begun = reloads.asked;
    pthread_mutex_unlock(&reloads.lock);
}

void
reloads_report(bool ok, const char *message)
{
    metric_set(reloads.ok, ok);
    metric_add(ok ? reloads.total : reloads.failed, 1);
    pthread_mutex_lock(&reloads.lock);
    reloads.count++;
    reloads.done = reloads.begun;
    reloads.is_ok = ok;
    snprintf(reloads.message, sizeof reloads.message, "%s", message);
    pthread_mutex_unlock(&reloads.lock);
}

void
reloads_use_last_good(const char *why)
{
    metric_set(reloads.last_good, why != NULL);
    metric_set(reloads.ok, why == NULL);
    pthread_mutex_lock(&reloads.lock);
    reloads.is_last_good = why != NULL;
    reloads.is_ok = why == NULL;
    snprintf(reloads.message, sizeof reloads.message, "%s", why ? why : "");
    pthread_mutex_unlock(&reloads.lock);
}

void
reloads_write(struct buf *json)
{
    char message[2 * sizeof reloads.message];

    pthread_mutex_lock(&reloads.lock);
    text_quote(message, sizeof message, span_of(reloads.message));
    buf_add_format(json,
                   "\"reload\":{\"count\":%llu,\"done\":%llu,\"ok\":%s,"
                   "\"last_good\":%s,\"message\":\"%s\"}",
                   reloads.count, reloads.done, reloads.is_ok ? "true" : "false",
                   reloads.is_last_good ? "true" : "false", message);
    pthread_mutex_unlock(&reloads.lock);
}
