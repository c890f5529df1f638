#include "edge/reloads.h"

#include "base/metric.h"

#include <pthread.h>
#include <stdio.h>

static struct {
    pthread_mutex_t lock;
    struct metric *ok, *total, *failed, *last_good;
    unsigned long long count;
    bool is_ok, is_last_good;
    char message[600];
} reloads = {.lock = PTHREAD_MUTEX_INITIALIZER, .is_ok = true};

void
reloads_start(void)
{
    static const char help[] = "Reloads by what became of them.";

    reloads.ok = metric_gauge("acrelay_config_last_reload_successful",
                              "Whether the last reload was taken over.", NULL);
    reloads.total =
        metric_counter("acrelay_config_reloads_total", help, "result", "ok", NULL);
    reloads.failed =
        metric_counter("acrelay_config_reloads_total", help, "result", "refused", NULL);
    reloads.last_good = metric_gauge("acrelay_config_last_good",
                                     "1 while the last good configuration is used "
                                     "instead of a file that is not valid.",
                                     NULL);
    metric_set(reloads.ok, 1);
}

void
reloads_report(bool ok, const char *message)
{
    metric_set(reloads.ok, ok);
    metric_add(ok ? reloads.total : reloads.failed, 1);
    pthread_mutex_lock(&reloads.lock);
    reloads.count++;
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

// The text is one line of a log: only these two need more.
static void
add_quoted(struct buf *json, const char *text)
{
    buf_add_byte(json, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buf_add_byte(json, '\\');
        buf_add_byte(json, *text);
    }
    buf_add_byte(json, '"');
}

void
reloads_write(struct buf *json)
{
    pthread_mutex_lock(&reloads.lock);
    buf_add_format(json,
                   "\"reload\":{\"count\":%llu,\"ok\":%s,\"last_good\":%s,\"message\":",
                   reloads.count, reloads.is_ok ? "true" : "false",
                   reloads.is_last_good ? "true" : "false");
    add_quoted(json, reloads.message);
    pthread_mutex_unlock(&reloads.lock);
    buf_add_byte(json, '}');
}
