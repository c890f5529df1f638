// AC's other side: events to the hooks that ask for them, once, never again; a double now and
// then. A hook that answers 410 Gone fires no more, and nothing shows it.
#include "sim.h"

#include "base/clock.h"
#include "event/samples.h"

#include <stdlib.h>
#include <unistd.h>

bool
words_have(const cJSON *words, const char *word)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, words)
    {
        if (cJSON_IsString(item) && strcmp(item->valuestring, word) == 0)
            return true;
    }
    return false;
}

// "This parameter has no effect on the following webhook events": AC's create-webhook page.
static bool
knows_lists(const char *type)
{
    static const char *const with[] = {"subscribe", "unsubscribe", "update",  "sent",
                                       "open",      "click",       "forward", "share",
                                       "bounce",    "reply"};

    for (size_t i = 0; i < sizeof with / sizeof *with; i++)
        if (strcmp(with[i], type) == 0)
            return true;
    return false;
}

static bool
wants(const struct sim_hook *h, const struct firing *f)
{
    return !h->dead && words_have(h->events, f->type) &&
           words_have(h->sources, f->source) &&
           (h->list == 0 || !knows_lists(f->type) || h->list == f->list);
}

static const char *
path_of(const char *url)
{
    const char *host = strstr(url, "://");
    const char *path = host ? strchr(host + 3, '/') : NULL;

    if (!sim.deliver.at.in.sin_port)
        return url;
    return path ? path : "/";
}

static int
post_once(const char *path, struct span body)
{
    struct http_call call = {.to = sim.deliver.at.in.sin_port ? &sim.deliver : NULL,
                             .url = path,
                             .method = "POST",
                             .body = body,
                             .type = SPAN("application/x-www-form-urlencoded"),
                             .timeout_ms = 30000};
    struct err err;

    return http_client_once(&call, NULL, &err);
}

static void
note(uint64_t id, int status)
{
    pthread_mutex_lock(&sim.lock);
    struct sim_hook *h = account_find(id);
    sim.figures.ok += status >= 200 && status < 300;
    sim.figures.other += status < 200 || status >= 300;
    if (h && status == 410)
        h->dead = true;
    pthread_mutex_unlock(&sim.lock);
}

struct target {
    uint64_t id;
    char *path;
    int times;
};

static size_t
find_targets(const struct firing *f, struct target **targets, uint64_t *number)
{
    size_t len = 0;

    pthread_mutex_lock(&sim.lock);
    *number = sim.next_number++;
    *targets = memory_get((sim.hooks_len + 1) * sizeof **targets);
    for (size_t i = 0; i < sim.hooks_len; i++) {
        const struct sim_hook *h = &sim.hooks[i];
        if (!wants(h, f))
            continue;
        bool twice = (int)(random_next() % 1000) < f->double_per_mille;
        (*targets)[len++] =
            (struct target){h->id, memory_copy(span_of(path_of(h->url))), twice ? 2 : 1};
        sim.figures.fired++;
        sim.figures.doubled += twice;
    }
    pthread_mutex_unlock(&sim.lock);
    return len;
}

size_t
fire(const struct firing *f)
{
    struct target *targets;
    struct sample sample;
    struct buf body;
    uint64_t number;
    size_t posts = 0, len = find_targets(f, &targets, &number);

    buf_init(&body, 1 << 20);
    if (f->body.len)
        sample = (struct sample){span_of(f->type), f->body};
    if (f->body.len || samples_find(&sample, span_of(f->type)))
        samples_vary(&body, &sample, number);
    for (size_t i = 0; i < len; i++) {
        for (int n = 0; n < targets[i].times; n++, posts++)
            note(targets[i].id, post_once(targets[i].path, buf_span(&body)));
        free(targets[i].path);
    }
    free(targets);
    buf_release(&body);
    return posts;
}

static double fire_rate;

static void *
fire_on(void *unused)
{
    static const char *const sources[] = {"public", "admin", "api", "system"};
    struct sample sample;
    size_t at = 0, turn = 0;

    (void)unused;
    for (;;) {
        char type[64];
        if (!samples_next(&sample, &at)) {
            at = 0;
            continue;
        }
        struct span rest = sample.name, name = span_cut(&rest, '.');
        if (rest.len || name.len >= sizeof type)
            continue; // a variant of a type
        memcpy(type, name.at, name.len);
        type[name.len] = '\0';
        struct firing f = {
            .type = type, .source = sources[turn++ % 4], .double_per_mille = 20};
        if (fire(&f))
            clock_sleep_ms((int64_t)(1000 / fire_rate / sim.time_factor));
        else
            clock_sleep_ms(2);
    }
    return NULL;
}

void
fire_start(double rate)
{
    pthread_t thread;

    fire_rate = rate;
    if (pthread_create(&thread, NULL, fire_on, NULL) == 0)
        pthread_detach(thread);
}
